//! What each route does.

mod batch;
mod changes;
mod idempotency;
mod list;
mod operation;
mod read;
mod system;
mod write;

pub(crate) use batch::BATCHES_MAX;
pub(crate) use changes::{Scope, follow, poll};
pub(crate) use list::list;
pub(crate) use operation::operation;
pub(crate) use read::get;
pub(crate) use system::{
    alive, asyncapi, docs, openapi_json, openapi_yaml, problem_page, ready, root, schema, versions,
};
pub(crate) use write::{delete, patch, post, put};

use contract::{EntityId, Slug};
use percent_encoding::percent_decode_str;

use super::middleware::Call;
use super::request::traceparent;
use super::response::Failure;
use crate::dispatch::Labels;

/// The id in a path, decoded; outside the grammar there is no entity, so that is `404`.
pub(super) fn entity_id(raw: &str) -> Result<EntityId, Failure> {
    let decoded = percent_decode_str(raw).decode_utf8().ok();
    decoded
        .as_deref()
        .and_then(EntityId::parse)
        .ok_or_else(|| Failure::new(Slug::NotFound, "there is no such entity: an id has 1 to 64 of A-Z a-z 0-9 . _ -"))
}

/// What of the request travels with its command.
fn labels(call: &Call<'_>) -> Labels {
    Labels { request_id: Some(call.request_id.to_owned()), traceparent: traceparent(&call.parts.headers) }
}
