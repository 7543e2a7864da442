//! What became of a row, as a line of the answer.

use bytes::Bytes;
use contract::{EntityId, Problem};
use http::StatusCode;
use http::header::{ETAG, LOCATION};
use serde::Serialize;

use super::super::super::outgoing::Outgoing;
use super::super::super::response::{self, Answered, Context, Failure};
use super::super::write::Unchanged;

/// All but the object or the problem, which stands behind it.
#[derive(Serialize)]
struct Head<'a> {
    /// Of the request's body, from 1.
    line: u64,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<&'a str>,
    /// Whether there is a new version; said of rows that were carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<bool>,
    /// Of what was created, or of the operation that tells what became of a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
}

/// The line of a row that was sent to the data store; without the object where the client does not want it.
pub(super) fn answered(number: u64, id: &EntityId, answered: Answered, minimal: bool) -> Bytes {
    let status = answered.status();
    let header = |name| answered.headers().get(name).and_then(|value| value.to_str().ok());
    let accepted = status == StatusCode::ACCEPTED;
    let head = Head {
        line: number,
        status: status.as_u16(),
        id: Some(id.as_str()),
        etag: header(ETAG),
        changed: (!accepted).then(|| answered.extensions().get::<Unchanged>().is_none()),
        location: header(LOCATION),
    };
    let object = match answered.body() {
        Outgoing::Whole(object) if !accepted && !minimal => Some(("object", object.as_ref())),
        _ => None,
    };
    write(&head, object)
}

/// The line of a row that was refused or failed.
pub(super) fn failed(number: u64, id: Option<&EntityId>, failure: &Failure, context: Context<'_>) -> Bytes {
    let location = failure.headers.iter().find(|(name, _)| name == LOCATION).and_then(|(_, value)| value.to_str().ok());
    let status = failure.problem.slug.status();
    let head = Head { line: number, status, id: id.map(EntityId::as_str), etag: None, changed: None, location };
    write(&head, Some(("problem", &response::json(&response::problem_value(&failure.problem, context)))))
}

/// The line of a row that was refused before anything was produced.
pub(super) fn refused(number: u64, id: Option<&EntityId>, problem: Problem, context: Context<'_>) -> Bytes {
    failed(number, id, &Failure::from(problem).nothing_produced(), context)
}

fn write(head: &Head<'_>, rest: Option<(&str, &[u8])>) -> Bytes {
    let mut line = serde_json::to_vec(head).unwrap_or_default();
    if let Some((name, value)) = rest {
        // The head is an object that is not empty.
        line.pop();
        line.extend_from_slice(format!(",\"{name}\":").as_bytes());
        line.extend_from_slice(value);
        line.push(b'}');
    }
    line.push(b'\n');
    line.into()
}
