//! What a gateway asks of the data store.

use serde_json::{Map, Value};

use crate::id::{CommandId, Key};
use crate::idempotency::Idempotency;
use crate::list::ListQuery;
use crate::precondition::Precondition;
use crate::time::Timestamp;

/// One request to the data store.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Made afresh for each request; every event it causes carries it as `correlationid`.
    pub id: CommandId,
    /// The entity, or for a list only its type. Decides the partition.
    pub key: Key,
    /// What to do.
    pub action: Action,
    /// Conditions on the entity's state, decided by the data store.
    pub precondition: Option<Precondition>,
    /// What a write that is sent again is known by, beside its id; none on reads.
    pub idempotency: Option<Idempotency>,
    /// When the gateway made it.
    pub time: Timestamp,
    /// Who made it, such as `/gateway/1`.
    pub source: String,
    /// The client's label of the request, for logs only.
    pub request_id: Option<String>,
    /// W3C trace context, passed on as it came.
    pub traceparent: Option<String>,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Creates the entity from these fields; `created` and `updated` among them are kept.
    Create(Map<String, Value>),
    /// Merges these fields into the entity [RFC 7396]; `created` and `updated` among them are kept.
    Update(Map<String, Value>),
    /// Deletes the entity; its version goes on.
    Delete,
    /// Answers with the entity; with an operation, answers with that command's outcome instead.
    Retrieve {
        /// The command whose outcome is asked for.
        operation: Option<CommandId>,
    },
    /// Answers with one page of the type's entities.
    List(ListQuery),
}

impl Action {
    /// The last part of the event's type.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Update(_) => "update",
            Self::Delete => "delete",
            Self::Retrieve { .. } => "retrieve",
            Self::List(_) => "list",
        }
    }

    /// Whether it may change the entity.
    pub const fn is_write(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Update(_) | Self::Delete)
    }
}
