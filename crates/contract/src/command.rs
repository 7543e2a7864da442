//! What a gateway asks of the data store.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{CommandId, EntityId, Key};
use crate::time::Timestamp;

/// The most rows that a list command asks for.
pub const LIST_LIMIT_MAX: usize = 200;

/// One request to the data store.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Made afresh for each request; every event it causes carries it as `correlationid`.
    pub id: CommandId,
    /// The entity, or for a list only its type. Decides the partition.
    pub key: Key,
    /// What to do.
    pub action: Action,
    /// A condition on the entity's state, decided by the data store.
    pub precondition: Option<Precondition>,
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
            Self::Retrieve { .. } => "retrieve",
            Self::List(_) => "list",
        }
    }

    /// Whether it may change the entity.
    pub const fn is_write(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Update(_))
    }
}

/// A condition on the entity's state, in the words of RFC 9110 section 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// `If-None-Match: *`: it must not exist.
    Absent,
}

/// A page of a type's entities, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Rows at most.
    pub limit: usize,
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ListPosition>,
}

/// A place in the order of a list: by `created`, then by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    /// The last row's `created`.
    pub created: Timestamp,
    /// The last row's id.
    pub id: EntityId,
}

/// `["2026-01-01T00:00:00Z","id"]`, so that the events stay readable.
impl Serialize for ListPosition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.created.to_string(), self.id.as_str()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ListPosition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let (created, id) = <(String, String)>::deserialize(deserializer)?;
        let created = Timestamp::parse(&created).ok_or_else(|| D::Error::custom("a time in RFC 3339 is expected"))?;
        let id = EntityId::parse(&id).ok_or_else(|| D::Error::custom("an entity id is expected"))?;
        Ok(Self { created, id })
    }
}
