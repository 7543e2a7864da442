//! `GET /operation/{id}`: what became of a write whose answer did not wait.

use std::time::Duration;

use bytes::Bytes;
use contract::{Action, EntityId, Key, OperationId, Outcome, OutcomeStatus, Problem, ReplyBody, Slug, Timestamp};
use http::StatusCode;
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use serde_json::{Map, Value, json};

use super::super::middleware::Call;
use super::super::request::{check_accept, query};
use super::super::response::{self, Answered, Context, Failure, NO_STORE};
use super::labels;
use crate::dispatch::{Answer, Operation, unexpected};

/// How long an operation is said to be pending from memory alone.
const ASK_AFTER: Duration = Duration::from_secs(10);

/// The operation: from memory, or by a retrieve event behind the command on its partition, so that "unknown" is final.
pub(crate) async fn operation(call: &Call<'_>, raw: &str) -> Result<Answered, Failure> {
    check_accept(&call.parts.headers, "application/json")?;
    query(call.parts.uri.query(), &[])?;
    let id = OperationId::parse(raw).filter(|id| call.gateway.registry.get(id.key.entity_type.as_str()).is_some());
    let id = id.ok_or_else(|| not_found("this is no operation's id"))?;
    let outcome = match call.gateway.dispatch.answers.operation(id.command) {
        // Its view may never come here: a later one has replaced it on the topic while this gateway was behind.
        Some(Operation::Pending(Some(since))) if call.gateway.env.monotonic().saturating_sub(since) >= ASK_AFTER => {
            match ask(call, &id).await {
                Ok(outcome) => outcome,
                Err(_) => return Ok(pending(call, &id)),
            }
        }
        Some(Operation::Pending(_)) => return Ok(pending(call, &id)),
        Some(Operation::Done(outcome)) => outcome,
        None => ask(call, &id).await?,
    };
    let (status, problem) = match outcome.status {
        OutcomeStatus::Succeeded => ("succeeded", None),
        OutcomeStatus::Failed => ("failed", outcome.problem),
        OutcomeStatus::Unknown => {
            return Err(not_found("the data store has not seen this operation, or not within the last day"));
        }
    };
    // A write whose idempotency key came before tells of the entity that was made then.
    let about = outcome.entity.as_ref().unwrap_or(&id.key);
    let mut response = response::read(operation_body(call, &id, about, status, problem.as_ref()));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

async fn ask(call: &Call<'_>, id: &OperationId) -> Result<Outcome, Failure> {
    let dispatch = &call.gateway.dispatch;
    let action = Action::Retrieve { operation: Some(id.command) };
    let command = dispatch.command(id.key.clone(), action, None, labels(call));
    match dispatch.ask(command).await? {
        Answer::Reply(reply) => match reply.body {
            ReplyBody::Outcome(outcome) => Ok(outcome),
            ReplyBody::Rejected(problem) => Err(problem.into()),
            _ => Err(unexpected().into()),
        },
        Answer::View(_) | Answer::Deleted(_) => Err(unexpected().into()),
    }
}

fn pending(call: &Call<'_>, id: &OperationId) -> Answered {
    let mut response = response::unstored(StatusCode::OK, operation_body(call, id, &id.key, "pending", None));
    response::set(&mut response, RETRY_AFTER, "1");
    response
}

fn not_found(detail: &'static str) -> Failure {
    Failure::new(Slug::NotFound, detail)
}

/// Where an operation is asked for.
pub(crate) fn operation_url(call: &Call<'_>, id: &OperationId) -> String {
    format!("{}/operation/{id}", call.gateway.config.public_url)
}

/// `{id, status, type, entity_id, href | problem, created}`.
pub(crate) fn operation_body(
    call: &Call<'_>,
    id: &OperationId,
    about: &Key,
    status: &str,
    problem: Option<&Problem>,
) -> Bytes {
    let public_url = &call.gateway.config.public_url;
    let entity_id = about.id.as_ref().map_or("", EntityId::as_str);
    let mut body = Map::new();
    body.insert("id".to_owned(), json!(id.to_string()));
    body.insert("status".to_owned(), json!(status));
    body.insert("type".to_owned(), json!(about.entity_type.as_str()));
    body.insert("entity_id".to_owned(), json!(entity_id));
    match problem {
        Some(problem) => {
            let context = Context { public_url, path: call.parts.uri.path(), request_id: call.request_id, read: false };
            body.insert("problem".to_owned(), response::problem_value(problem, context));
        }
        None => {
            body.insert("href".to_owned(), json!(format!("{public_url}/{}/{entity_id}", about.entity_type)));
        }
    }
    // The command's id is a UUIDv7, which begins with the time at which it was made.
    let created = id.command.0.get_timestamp().map(|time| {
        let (seconds, nanos) = time.to_unix();
        let millis = i64::try_from(seconds).unwrap_or(0).saturating_mul(1000) + i64::from(nanos / 1_000_000);
        Timestamp::from_millis(millis).to_string()
    });
    body.insert("created".to_owned(), created.map_or(Value::Null, Value::String));
    response::json(&body)
}
