//! What clients did and saw.

use std::collections::BTreeMap;

use bytes::Bytes;

/// How a write ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Acknowledged, with this object.
    Done(Bytes),
    /// The entity was deleted.
    Deleted,
    /// The data store refused it.
    Rejected(u16),
    /// Nothing was produced.
    Safe,
    /// The stream has it: this operation tells what becomes of it.
    Accepted(String),
    /// It may have happened. Where the client got an answer, this operation tells.
    Doubt(Option<String>),
}

/// A write, known by its marker: the name that it gives to the entity, and that no other write gives. Where it is sent again
/// under the same idempotency key, each time it was sent is one of these.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) marker: String,
    /// The label of this request, which its command carries.
    pub(crate) label: String,
    /// It has an idempotency key.
    pub(crate) keyed: bool,
    /// The answer says that it was given before.
    pub(crate) replayed: bool,
    /// None where the client did not learn it.
    pub(crate) key: Option<String>,
    pub(crate) began: u64,
    pub(crate) end: End,
}

/// What an answer told about an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Object {
        bytes: Bytes,
        /// None in a list.
        etag: Option<String>,
    },
    /// It is there, with this version.
    Exists(u64),
    /// It was deleted, with this version.
    Gone(u64),
    /// The client's own deletion is done.
    Removed(String),
    Absent,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) client: usize,
    /// The gateway that answered, since it was started.
    pub(crate) incarnation: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) key: String,
    pub(crate) what: What,
    /// It was decided by the data store.
    pub(crate) decided: bool,
    /// The client takes its token from gateway to gateway, and sent it.
    pub(crate) carried: bool,
    /// The token that came with the answer covers it.
    pub(crate) covered: bool,
}

/// All pages of a list.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) client: usize,
    pub(crate) incarnation: u64,
    pub(crate) began: u64,
    /// The client takes its token from gateway to gateway.
    pub(crate) carried: bool,
    /// Key and object of each row.
    pub(crate) rows: Vec<(String, Bytes)>,
}

/// What an operation was said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Pending,
    Succeeded,
    Failed,
    Unknown,
}

#[derive(Default)]
pub(crate) struct History {
    pub(crate) writes: Vec<Write>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) listings: Vec<Listing>,
    pub(crate) lookups: BTreeMap<String, Vec<Found>>,
    /// What a client finds wrong by itself.
    pub(crate) complaints: Vec<String>,
}

impl History {
    /// Operations whose outcome may be asked for.
    pub(crate) fn operations(&self) -> Vec<String> {
        let operation = |write: &Write| match &write.end {
            End::Accepted(operation) | End::Doubt(Some(operation)) => Some(operation.clone()),
            _ => None,
        };
        self.writes.iter().filter_map(operation).collect()
    }
}
