//! `GET /operation/{id}`: what became of a write whose answer did not wait.

use std::time::Duration;

use bytes::Bytes;
use contract::{Action, EntityId, Key, OperationId, Outcome, OutcomeStatus, Problem, ReplyBody, Slug, Timestamp};
use http::StatusCode;
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use serde_json::{Map, Value, json};

use super::super::middleware::Call;
use super::super::negotiation::JSON;
use super::super::request::{PREFERENCE_APPLIED, Preference, check_accept, preference, query};
use super::super::response::{self, Answered, Context, Failure, NO_STORE};
use super::labels;
use crate::dispatch::{Answer, Operation, unexpected};

/// How long an operation is said to be pending from memory alone.
const ASK_AFTER: Duration = Duration::from_secs(10);

/// How often an operation that is waited for is looked at though nothing was told of it.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// The operation: from memory, or by a retrieve event behind the command on its partition, so that "unknown" is final. With
/// `Prefer: wait=N` once it has ended, or after so long.
pub(crate) async fn operation(call: &Call<'_>, raw: &str) -> Result<Answered, Failure> {
    check_accept(&call.parts.headers, JSON)?;
    query(call.parts.uri.query(), &[])?;
    let id = OperationId::parse(raw).filter(|id| call.gateway.registry.get(id.key.entity_type.as_str()).is_some());
    let id = id.ok_or_else(|| not_found("this is no operation's id"))?;
    // Nothing is done here that could be answered later: only the waiting can be heeded.
    let preference = Preference { asynchronous: false, returned: None, ..preference(&call.parts.headers) };
    let found = outcome(call, &id, preference.wait.unwrap_or_default()).await;
    let mut answered = found.and_then(|outcome| match outcome {
        Some(outcome) => ended(call, &id, outcome),
        None => Ok(pending(call, &id)),
    });
    if let Some(applied) = preference.applied(false, false) {
        match &mut answered {
            Ok(response) => response::set(response, PREFERENCE_APPLIED, &applied),
            Err(failure) => failure.set(PREFERENCE_APPLIED, &applied),
        }
    }
    answered
}

/// What became of the operation; none where that is not known yet, and the client waits no longer.
async fn outcome(call: &Call<'_>, id: &OperationId, wait: Duration) -> Result<Option<Outcome>, Failure> {
    let (answers, env) = (&call.gateway.dispatch.answers, &call.gateway.env);
    let deadline = env.monotonic() + wait;
    loop {
        // From here on, so that none that ends after the look is missed.
        let mut ended = std::pin::pin!(answers.next_end());
        ended.as_mut().enable();
        let left = deadline.saturating_sub(env.monotonic());
        match answers.operation(id.command) {
            Some(Operation::Done(outcome)) => return Ok(Some(outcome)),
            // Its view may never come here: a later one has replaced it on the topic while this gateway was behind.
            Some(Operation::Pending(Some(since))) if env.monotonic().saturating_sub(since) >= ASK_AFTER => {
                // Without an answer it is as pending as before.
                return Ok(ask(call, id, left).await.ok());
            }
            Some(Operation::Pending(_)) => {}
            None => return ask(call, id, left).await.map(Some),
        }
        if left.is_zero() {
            return Ok(None);
        }
        tokio::select! {
            biased;
            () = ended => {}
            () = env.sleep(left.min(LOOK_AFTER)) => {}
        }
    }
}

fn ended(call: &Call<'_>, id: &OperationId, outcome: Outcome) -> Result<Answered, Failure> {
    let (status, problem) = match outcome.status {
        OutcomeStatus::Succeeded => ("succeeded", None),
        OutcomeStatus::Failed => ("failed", outcome.problem),
        OutcomeStatus::Unknown => {
            return Err(not_found("the data store has not seen this operation, or not within the last day"));
        }
    };
    // A write whose idempotency key came before tells of the entity that was made then.
    let about = outcome.entity.as_ref().unwrap_or(&id.key);
    let mut response = response::read(operation_body(call, id, about, status, problem.as_ref()));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// As the data store has it; waits as long as any read, or longer where the client does.
async fn ask(call: &Call<'_>, id: &OperationId, wait: Duration) -> Result<Outcome, Failure> {
    let dispatch = &call.gateway.dispatch;
    let action = Action::Retrieve { operation: Some(id.command) };
    let command = dispatch.command(id.key.clone(), action, None, labels(call));
    match dispatch.ask_within(command, dispatch.read_wait.max(wait)).await? {
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
