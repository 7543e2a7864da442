//! `GET /T/{id}`.

use std::time::{Duration, UNIX_EPOCH};

use contract::{EntityId, Key, Slug};
use http::header::{ETAG, HeaderValue, LAST_MODIFIED};
use http::{Response, StatusCode};
use httpdate::HttpDate;

use super::super::conditions::{holds, not_modified};
use super::super::middleware::Call;
use super::super::request::{query, wants_no_cache};
use super::super::response::{self, Answered, Failure};
use super::super::router::Resource;
use super::{entity_id, labels};
use crate::dispatch::unreadable;
use crate::views::{Held, Look};

/// The current view; with `Cache-Control: no-cache` as the data store has it.
pub(crate) async fn get(call: &Call<'_>, resource: Resource<'_>, id: &str) -> Result<Answered, Failure> {
    let id = entity_id(id)?;
    query(call.parts.uri.query(), &[])?;
    let key = Key::new(resource.entity_type.name().clone(), id);
    let held = if wants_no_cache(&call.parts.headers) { retrieve(call, &key).await? } else { look(call, &key).await? };
    holds(&call.parts.headers, &held)?;
    Ok(answer(call, &held))
}

pub(super) async fn look(call: &Call<'_>, key: &Key) -> Result<Held, Failure> {
    let views = &call.gateway.views;
    let look = match views.look(key) {
        Look::Unknown => views.recall(key).await,
        look => look,
    };
    match look {
        Look::Found(held) => Ok(held),
        Look::Absent => Err(Failure::new(Slug::NotFound, missing(key))),
        Look::Deleted(version) => Err(Failure::new(Slug::Gone, deleted(key, version))),
        Look::Unreadable => Err(unreadable(key).into()),
        Look::Unknown => retrieve(call, key).await,
    }
}

async fn retrieve(call: &Call<'_>, key: &Key) -> Result<Held, Failure> {
    let gateway = call.gateway;
    gateway.retrieves.get(&gateway.dispatch, key, labels(call)).await.map_err(|mut problem| {
        // A read may always be sent again.
        problem.retry = None;
        problem.into()
    })
}

fn answer(call: &Call<'_>, held: &Held) -> Answered {
    let mut response = if not_modified(&call.parts.headers, held) {
        let mut response: Answered = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(http::header::CACHE_CONTROL, response::NO_CACHE);
        response.headers_mut().insert(http::header::VARY, HeaderValue::from_static("Accept, Authorization"));
        response
    } else {
        response::read(held.body())
    };
    response::set(&mut response, ETAG, held.tag());
    if let Some(date) = last_modified(call, held) {
        response::set(&mut response, LAST_MODIFIED, date);
    }
    response
}

/// The time of the version's event, once that second is over: within it the entity may change again unnoticed
/// [RFC 9110 8.8.2.2].
fn last_modified(call: &Call<'_>, held: &Held) -> Option<HttpDate> {
    let seconds = held.time().as_seconds();
    if call.gateway.env.now().as_seconds() <= seconds {
        return None;
    }
    let seconds = u64::try_from(seconds).ok()?;
    Some(HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// As the data store says it.
fn deleted(key: &Key, version: u64) -> String {
    let id = key.id.as_ref().map_or("", EntityId::as_str);
    format!("the {} {id} was deleted, as version {version}; PUT with If-None-Match: * creates it anew", key.entity_type)
}

/// As the data store says it.
fn missing(key: &Key) -> String {
    let id = key.id.as_ref().map_or("", EntityId::as_str);
    format!("there is no {} with the id {id}", key.entity_type)
}
