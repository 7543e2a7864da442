//! `POST /T` and `PUT /T/{id}`: a command goes out, the view that comes back is the answer.

use bytes::Bytes;
use contract::entity::{IdRule, Rules, Timestamps};
use contract::{
    Action, EntityId, FieldError, Key, OperationId, OutcomeStatus, Precondition, Problem, Reply, ReplyBody, Retry, Slug,
};
use contract::{Command, json};
use http::StatusCode;
use http::header::{CONTENT_LOCATION, ETAG, HeaderName, LOCATION, RETRY_AFTER};
use percent_encoding::percent_decode_str;

use super::super::body::{self, Incoming};
use super::super::conditions::{precondition, refuse};
use super::super::middleware::Call;
use super::super::request::{Preference, check_accept, preference, query};
use super::super::response::{self, Answered, Failure};
use super::super::router::Resource;
use super::operation::{operation_body, operation_url};
use super::{entity_id, labels};
use crate::dispatch::{Answer, Write, unexpected};
use crate::views::{Held, Look};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Creates an entity at a new id.
pub(crate) async fn post(call: &Call<'_>, resource: Resource<'_>, body: Incoming) -> Result<Answered, Failure> {
    check_accept(&call.parts.headers, "application/json")?;
    refuse(&call.parts.headers)?;
    let timestamps = timestamps(call)?;
    let rules = Rules { complete: true, id: IdRule::Forbidden, timestamps };
    let data = data(call, resource, rules, body).await?;
    let id = EntityId::from_uuid(call.gateway.env.uuid());
    let key = Key::new(resource.entity_type.name().clone(), id);
    let command = call.gateway.dispatch.command(key, Action::Create(data), None, labels(call));
    write(call, resource, command).await
}

/// Merges fields into an entity; with `If-None-Match: *` creates it at that id.
pub(crate) async fn put(
    call: &Call<'_>,
    resource: Resource<'_>,
    id: &str,
    body: Incoming,
) -> Result<Answered, Failure> {
    let precondition = precondition(&call.parts.headers)?;
    let id = match precondition {
        None => entity_id(id)?,
        Some(Precondition::Absent) => id_to_create(id)?,
    };
    check_accept(&call.parts.headers, "application/json")?;
    let timestamps = timestamps(call)?;
    let rules = Rules { complete: precondition.is_some(), id: IdRule::Equal(&id), timestamps };
    let data = data(call, resource, rules, body).await?;
    let key = Key::new(resource.entity_type.name().clone(), id);
    let action = if precondition.is_some() { Action::Create(data) } else { Action::Update(data) };
    let command = call.gateway.dispatch.command(key, action, precondition, labels(call));
    write(call, resource, command).await
}

/// An id that is to come into being must be within the grammar; here that is the client's mistake, not an absence.
fn id_to_create(raw: &str) -> Result<EntityId, Failure> {
    let decoded = percent_decode_str(raw).decode_utf8().ok();
    decoded.as_deref().and_then(EntityId::parse).ok_or_else(|| {
        Failure::new(
            Slug::InvalidRequest,
            "an entity cannot be created at this id: an id has 1 to 64 of A-Z a-z 0-9 . _ -",
        )
    })
}

fn timestamps(call: &Call<'_>) -> Result<Timestamps, Failure> {
    match query(call.parts.uri.query(), &["timestamps"])?.first().map(|(_, value)| value.as_str()) {
        None => Ok(Timestamps::Ignore),
        Some("keep") => Ok(Timestamps::Keep),
        Some(_) => {
            let error = FieldError::parameter("timestamps", "must be `keep`, or be left out");
            Err(Problem::with_errors(Slug::InvalidRequest, vec![error]).into())
        }
    }
}

async fn data(
    call: &Call<'_>,
    resource: Resource<'_>,
    rules: Rules<'_>,
    incoming: Incoming,
) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
    let gateway = call.gateway;
    let bytes = body::read(&call.parts, incoming, &*gateway.env, gateway.config.receive_timeout).await?;
    let object = json::parse_object(&bytes).map_err(|error| Failure::new(Slug::InvalidJson, error.to_string()))?;
    Ok(resource.entity_type.accept(object, rules)?.into_data())
}

async fn write(call: &Call<'_>, resource: Resource<'_>, command: Command) -> Result<Answered, Failure> {
    let gateway = call.gateway;
    let Preference { wait, applied } = preference(&call.parts.headers, gateway.config.write_wait);
    let creates = matches!(command.action, Action::Create(_));
    let key = command.key.clone();
    let operation = OperationId { command: command.id, key: key.clone() };
    let mut answered = match gateway.dispatch.write(command, wait).await {
        Ok(Write::Answered(Answer::View(held))) => Ok(written(call, &key, &held, creates)),
        Ok(Write::Answered(Answer::Reply(reply))) => replied(call, resource, &operation, reply, creates),
        Ok(Write::Pending(operation)) => Ok(accepted(call, &operation)),
        Err(undelivered) => {
            let failure = Failure::from(undelivered.problem);
            Err(match undelivered.operation {
                Some(operation) => failure.with(LOCATION, &operation_url(call, &operation)),
                None => failure,
            })
        }
    };
    if let Some(applied) = applied {
        match &mut answered {
            Ok(response) => response::set(response, PREFERENCE_APPLIED, &applied),
            Err(failure) => failure.set(PREFERENCE_APPLIED, &applied),
        }
    }
    answered
}

fn written(call: &Call<'_>, key: &Key, held: &Held, created: bool) -> Answered {
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = response::unstored(status, held.body());
    let id = key.id.as_ref().map_or("", EntityId::as_str);
    let url = format!("{}/{}/{id}", call.gateway.config.public_url, key.entity_type);
    if created {
        response::set(&mut response, LOCATION, &url);
    }
    response::set(&mut response, CONTENT_LOCATION, &url);
    response::set(&mut response, ETAG, &held.etag());
    response
}

/// A write that made no view.
fn replied(
    call: &Call<'_>,
    resource: Resource<'_>,
    operation: &OperationId,
    reply: Reply,
    creates: bool,
) -> Result<Answered, Failure> {
    let key = &operation.key;
    let problem = match (reply.body, reply.version, &key.id) {
        (ReplyBody::Rejected(problem), _, _) => problem,
        (ReplyBody::Unchanged(current), Some(version), Some(id)) => {
            let held = Held::new(resource.entity_type, id.as_str(), version, current.view_time, &current.object, "");
            match held {
                Ok(held) => return Ok(written(call, key, &held, false)),
                Err(reason) => {
                    tracing::warn!(%key, reason, "a reply cannot be read");
                    crate::dispatch::unreadable(key).retry(Retry::No)
                }
            }
        }
        // The command came to the data store before, and this is what became of it then.
        (ReplyBody::Outcome(outcome), _, _) => match (outcome.status, outcome.problem) {
            (OutcomeStatus::Failed, Some(problem)) => problem,
            (OutcomeStatus::Unknown, _) => {
                let detail = "the command came so late that its operation was said to be unknown; nothing was done";
                Problem::new(Slug::CommandFailed, detail).retry(Retry::Safe)
            }
            _ => {
                return Ok(match call.gateway.views.look(key) {
                    Look::Found(held) => written(call, key, &held, creates),
                    _ => accepted(call, operation),
                });
            }
        },
        _ => unexpected().retry(Retry::Unknown),
    };
    Err(problem.into())
}

/// `202`: the stream has the command, its outcome is not known yet.
fn accepted(call: &Call<'_>, operation: &OperationId) -> Answered {
    let body: Bytes = operation_body(call, operation, "pending", None);
    let mut response = response::unstored(StatusCode::ACCEPTED, body);
    response::set(&mut response, LOCATION, &operation_url(call, operation));
    response::set(&mut response, RETRY_AFTER, "1");
    response
}
