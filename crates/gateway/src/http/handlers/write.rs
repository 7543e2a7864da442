//! `POST /T`, `PUT`, `PATCH` and `DELETE /T/{id}`: a command goes out, the view that comes back is the answer.

use std::time::Duration;

use bytes::Bytes;
use contract::entity::{IdRule, Rules, Timestamps};
use contract::reply::{FirstAnswer, Repeat, WriteAction};
use contract::{
    Action, Command, ETag, EntityId, FieldError, Key, OperationId, OutcomeStatus, Precondition, Problem, Reply,
};
use contract::{ReplyBody, Retry, Slug, json};
use http::StatusCode;
use http::header::{CONTENT_LOCATION, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::super::body::{self, Incoming};
use super::super::conditions::{check_collection, precondition};
use super::super::middleware::Call;
use super::super::negotiation::{JSON, NDJSON};
use super::super::request::{PREFERENCE_APPLIED, Returned, check_accept, preference, query};
use super::super::response::{self, Answered, Failure};
use super::super::router::Resource;
use super::batch::batch;
use super::idempotency::{self, IDEMPOTENT_REPLAYED};
use super::operation::{operation_body, operation_url};
use super::{entity_id, labels};
use crate::dispatch::{Answer, Write, unexpected};
use crate::views::{Held, Look};

/// Marks the answer to a write that made no new version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unchanged;

/// A write as it was asked for.
struct Asked {
    key: Key,
    action: Action,
    precondition: Option<Precondition>,
    /// As it came, for the fingerprint of an idempotency key.
    body: Bytes,
}

/// Creates an entity at a new id, or many of them.
pub(crate) async fn post(call: &Call<'_>, resource: Resource<'_>, incoming: Incoming) -> Result<Answered, Failure> {
    if body::has_media_type(&call.parts, NDJSON) {
        return batch(call, resource, incoming).await;
    }
    check_accept(&call.parts.headers, JSON)?;
    let precondition = precondition(&call.parts.headers)?;
    check_collection(precondition.as_ref())?;
    let rules = Rules { complete: true, id: IdRule::Forbidden, timestamps: timestamps(call)? };
    let (data, body) = data(call, resource, rules, JSON, incoming).await?;
    let key = Key::new(resource.entity_type.name().clone(), EntityId::from_uuid(call.gateway.env.uuid()));
    write(call, resource, Asked { key, action: Action::Create(data), precondition: None, body }).await
}

/// Merges fields into an entity; with `If-None-Match: *` creates it at that id.
pub(crate) async fn put(
    call: &Call<'_>,
    resource: Resource<'_>,
    id: &str,
    incoming: Incoming,
) -> Result<Answered, Failure> {
    let precondition = precondition(&call.parts.headers)?;
    let creates = precondition.as_ref().is_some_and(Precondition::is_absent);
    let id = if creates { id_to_create(id)? } else { entity_id(id)? };
    check_accept(&call.parts.headers, JSON)?;
    let rules = Rules { complete: creates, id: IdRule::Equal(&id), timestamps: timestamps(call)? };
    let (data, body) = data(call, resource, rules, JSON, incoming).await?;
    let action = if creates { Action::Create(data) } else { Action::Update(data) };
    let key = Key::new(resource.entity_type.name().clone(), id);
    write(call, resource, Asked { key, action, precondition, body }).await
}

/// Merges fields into an entity [RFC 7396].
pub(crate) async fn patch(
    call: &Call<'_>,
    resource: Resource<'_>,
    id: &str,
    incoming: Incoming,
) -> Result<Answered, Failure> {
    let precondition = precondition(&call.parts.headers)?;
    let id = entity_id(id)?;
    check_accept(&call.parts.headers, JSON)?;
    let rules = Rules { complete: false, id: IdRule::Equal(&id), timestamps: timestamps(call)? };
    let (data, body) = data(call, resource, rules, body::MERGE_PATCH_JSON, incoming).await?;
    let key = Key::new(resource.entity_type.name().clone(), id);
    write(call, resource, Asked { key, action: Action::Update(data), precondition, body }).await
}

/// Deletes an entity. A body means nothing here [RFC 9110 9.3.5] and is not read.
pub(crate) async fn delete(call: &Call<'_>, resource: Resource<'_>, id: &str) -> Result<Answered, Failure> {
    let precondition = precondition(&call.parts.headers)?;
    let key = Key::new(resource.entity_type.name().clone(), entity_id(id)?);
    query(call.parts.uri.query(), &[])?;
    write(call, resource, Asked { key, action: Action::Delete, precondition, body: Bytes::new() }).await
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

pub(super) fn timestamps(call: &Call<'_>) -> Result<Timestamps, Failure> {
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
    media_type: &'static str,
    incoming: Incoming,
) -> Result<(Map<String, Value>, Bytes), Failure> {
    let gateway = call.gateway;
    let bytes = body::read(&call.parts, media_type, incoming, &*gateway.env, gateway.config.receive_timeout).await?;
    let object = json::parse_object(&bytes).map_err(|error| Failure::new(Slug::InvalidJson, error.to_string()))?;
    Ok((resource.entity_type.accept(object, rules)?.into_data(), bytes))
}

async fn write(call: &Call<'_>, resource: Resource<'_>, asked: Asked) -> Result<Answered, Failure> {
    let gateway = call.gateway;
    let Asked { key, action, precondition, body } = asked;
    let preference = preference(&call.parts.headers);
    let wait = preference.write_wait(gateway.config.write_wait);
    let idempotency = idempotency::of(&call.parts, precondition.as_ref(), &body)?;
    let mut command = gateway.dispatch.command(key, action, precondition, labels(call));
    command.idempotency = idempotency;
    let mut answered = carry_out(call, resource, command, wait).await;
    let shows_object = answered.as_ref().is_ok_and(gives_object);
    let accepted = answered.as_ref().is_ok_and(|response| response.status() == StatusCode::ACCEPTED);
    if let (Ok(response), Some(Returned::Minimal), true) = (&mut answered, preference.returned, shows_object) {
        minimise(response);
    }
    if let Some(applied) = preference.applied(accepted, shows_object) {
        match &mut answered {
            Ok(response) => response::set(response, PREFERENCE_APPLIED, &applied),
            Err(failure) => failure.set(PREFERENCE_APPLIED, &applied),
        }
    }
    answered
}

/// Sends a command and makes an answer of what comes back.
pub(super) async fn carry_out(
    call: &Call<'_>,
    resource: Resource<'_>,
    command: Command,
    wait: Duration,
) -> Result<Answered, Failure> {
    let does = match command.action {
        Action::Create(_) => WriteAction::Create,
        Action::Delete => WriteAction::Delete,
        _ => WriteAction::Update,
    };
    let operation = OperationId { command: command.id, key: command.key.clone() };
    match call.gateway.dispatch.write(command, wait).await {
        Ok(Write::Answered(Answer::View(held))) => Ok(shown(call, &operation.key, &held, does)),
        Ok(Write::Answered(Answer::Deleted(_))) => Ok(deleted()),
        Ok(Write::Answered(Answer::Reply(reply))) => replied(call, resource, &operation, reply, does),
        Ok(Write::Pending(operation)) => Ok(accepted(call, &operation)),
        Err(undelivered) => {
            let failure = Failure::from(undelivered.problem);
            Err(match undelivered.operation {
                Some(operation) => failure.with(LOCATION, &operation_url(call, &operation)),
                None => failure,
            })
        }
    }
}

fn gives_object(response: &Answered) -> bool {
    matches!(response.status(), StatusCode::OK | StatusCode::CREATED)
}

/// `Prefer: return=minimal`: all but the object.
fn minimise(response: &mut Answered) {
    *response.body_mut() = super::super::outgoing::Outgoing::default();
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().remove(CONTENT_LOCATION);
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
}

fn shown(call: &Call<'_>, key: &Key, held: &Held, does: WriteAction) -> Answered {
    written(call, key, held.tag(), held.body(), does)
}

fn written(call: &Call<'_>, key: &Key, etag: ETag, object: Bytes, does: WriteAction) -> Answered {
    let created = does == WriteAction::Create;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = response::unstored(status, object);
    let id = key.id.as_ref().map_or("", EntityId::as_str);
    let url = format!("{}/{}/{id}", call.gateway.config.public_url, key.entity_type);
    if created {
        response::set(&mut response, LOCATION, &url);
    }
    response::set(&mut response, CONTENT_LOCATION, &url);
    response::set(&mut response, ETAG, etag);
    response
}

fn deleted() -> Answered {
    let mut response = response::unstored(StatusCode::NO_CONTENT, Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// The first answer to an idempotency key, byte for byte.
fn repeated(call: &Call<'_>, repeat: Repeat) -> Result<Answered, Failure> {
    let answered = match (repeat.answer, repeat.version) {
        (FirstAnswer::Object(current), Some(version)) => {
            let etag = ETag::of(version, &current.object);
            Ok(written(call, &repeat.key, etag, current.object, repeat.action))
        }
        (FirstAnswer::Deleted, _) => Ok(deleted()),
        (FirstAnswer::Rejected(problem), _) => Err(Failure::from(problem)),
        (FirstAnswer::Object(_), None) => return Err(unexpected().retry(Retry::Unknown).into()),
    };
    match answered {
        Ok(mut response) => {
            response::set(&mut response, IDEMPOTENT_REPLAYED, "true");
            Ok(response)
        }
        Err(failure) => Err(failure.with(IDEMPOTENT_REPLAYED, "true")),
    }
}

/// A write that made no view.
fn replied(
    call: &Call<'_>,
    resource: Resource<'_>,
    operation: &OperationId,
    reply: Reply,
    does: WriteAction,
) -> Result<Answered, Failure> {
    let key = &operation.key;
    let problem = match (reply.body, reply.version, &key.id) {
        (ReplyBody::Rejected(problem), _, _) => problem,
        (ReplyBody::Unchanged(current), Some(version), Some(id)) => {
            let held = Held::new(resource.entity_type, id.as_str(), version, current.view_time, &current.object, "");
            match held {
                Ok(held) => {
                    let mut response = shown(call, key, &held, WriteAction::Update);
                    response.extensions_mut().insert(Unchanged);
                    return Ok(response);
                }
                Err(reason) => {
                    tracing::warn!(%key, reason, "a reply cannot be read");
                    crate::dispatch::unreadable(key).retry(Retry::No)
                }
            }
        }
        (ReplyBody::Repeated(repeat), _, _) => return repeated(call, repeat),
        // The command came to the data store before, and this is what became of it then.
        (ReplyBody::Outcome(outcome), _, _) => match (outcome.status, outcome.problem) {
            (OutcomeStatus::Failed, Some(problem)) => problem,
            (OutcomeStatus::Unknown, _) => {
                let detail = "the command came so late that its operation was said to be unknown; nothing was done";
                Problem::new(Slug::CommandFailed, detail).retry(Retry::Safe)
            }
            _ if does == WriteAction::Delete => return Ok(deleted()),
            _ => {
                return Ok(match call.gateway.views.look(key) {
                    Look::Found(held) => shown(call, key, &held, does),
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
    let body: Bytes = operation_body(call, operation, &operation.key, "pending", None);
    let mut response = response::unstored(StatusCode::ACCEPTED, body);
    response::set(&mut response, LOCATION, operation_url(call, operation));
    response::set(&mut response, RETRY_AFTER, "1");
    response
}
