//! What was asked and answered, and what the program has of it.

use serde_json::{Map, Value};

use crate::shared::http::{Lost, Response};

/// One write and what its writer was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Write {
    /// A text that no other write has; the value of one of the fields in `patch`.
    pub(crate) marker: String,
    pub(crate) writer: usize,
    /// The entity; none where the program chooses the id.
    pub(crate) entity: Option<String>,
    /// Whether it makes the entity: its first version, or the one after a deletion.
    pub(crate) creates: bool,
    /// Whether it deletes the entity; its marker is then the request's label.
    pub(crate) deletes: bool,
    /// Whether it has an idempotency key; then it may have been sent several times, and each time is one of these.
    pub(crate) keyed: bool,
    /// Whether the answer says that it was given before.
    pub(crate) replayed: bool,
    /// The ETag that it was to find (`If-Match`), if any.
    pub(crate) based_on: Option<String>,
    /// Whether it asked not to wait for its outcome.
    pub(crate) respond_async: bool,
    /// The fields it sets.
    pub(crate) patch: Map<String, Value>,
    pub(crate) outcome: Outcome,
}

/// What a writer knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done: this version, these bytes.
    Acknowledged { id: String, version: u64, etag: String, body: Vec<u8> },
    /// It was done, and the entity is gone.
    Deleted,
    /// The stream has it (`202`); after the restart its operation is asked whether it succeeded.
    Accepted { operation: String, succeeded: Option<bool> },
    /// It was not done: `retry` is `safe` or `no`.
    Refused(u16),
    /// It was not done: the operation that tells of it is unknown for good.
    Never,
    /// Nobody knows: the connection was lost, or `retry` is `unknown` and its operation may tell.
    Unknown { operation: Option<String> },
    /// The answer is none that a write may have.
    Strange(String),
    /// Not sent yet.
    #[default]
    None,
}

/// One view of the topic.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) version: u64,
    /// The command that made it.
    pub(crate) correlation: String,
    /// The label of the request whose command made it, where that is known.
    pub(crate) label: Option<String>,
    /// Empty where the version is the entity's deletion.
    pub(crate) object: Vec<u8>,
}

/// What `GET` gives.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) etag: String,
    /// Empty where the entity was deleted.
    pub(crate) body: Vec<u8>,
}

impl Found {
    /// What an answer to `GET` gives; none where there never was anything.
    pub(crate) fn of(response: Response) -> Option<Self> {
        match (response.status, deleted_as(&response)) {
            (200, _) => {
                let etag = response.header("etag").unwrap_or_default().to_owned();
                Some(Self { etag, body: response.body })
            }
            (410, Some(version)) => Some(Self { etag: format!("\"{version}-deleted\""), body: Vec::new() }),
            _ => None,
        }
    }
}

/// The version as which an answer says that the entity was deleted.
pub(crate) fn deleted_as(response: &Response) -> Option<u64> {
    let problem = response.json();
    let (_, after) = problem["detail"].as_str()?.split_once("was deleted, as version ")?;
    after.split(';').next()?.parse().ok()
}

/// What an answer, or the want of one, tells about a write.
pub(crate) fn outcome(answer: &Result<Response, Lost>) -> Outcome {
    answer.as_ref().map_or(Outcome::Unknown { operation: None }, answered)
}

/// What a whole answer tells.
pub(crate) fn answered(response: &Response) -> Outcome {
    let strange = || Outcome::Strange(format!("{} {}", response.status, String::from_utf8_lossy(&response.body)));
    let body = response.json();
    match (response.status, body["retry"].as_str()) {
        (200 | 201, _) => {
            let etag = response.header("etag").unwrap_or_default();
            let (Some(version), Some(id)) = (version(response), body["id"].as_str()) else { return strange() };
            let (id, etag, body) = (id.to_owned(), etag.to_owned(), response.body.clone());
            Outcome::Acknowledged { id, version, etag, body }
        }
        (204, _) => Outcome::Deleted,
        (202, _) => match response.header("location") {
            Some(operation) => Outcome::Accepted { operation: operation.to_owned(), succeeded: None },
            None => strange(),
        },
        (400.., Some("safe" | "no")) => Outcome::Refused(response.status),
        (400.., Some("unknown")) => Outcome::Unknown { operation: response.header("location").map(str::to_owned) },
        _ => strange(),
    }
}

/// The version that an answer's ETag names.
pub(crate) fn version(response: &Response) -> Option<u64> {
    version_of(response.header("etag")?)
}

/// The version that an ETag names.
pub(crate) fn version_of(etag: &str) -> Option<u64> {
    etag.trim_start_matches('"').split('-').next()?.parse().ok()
}
