//! What is stored of an entity.

use std::sync::Arc;

use bytes::Bytes;
use contract::{CommandId, Key, Timestamp, View};

/// One version of an entity: its state, or that it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// It exists.
    Live(Entity),
    /// It was deleted.
    Deleted(Tombstone),
}

/// One version of an entity that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// 1, 2, 3 .. for ever.
    pub version: u64,
    /// The full object as JSON.
    pub object: Bytes,
    /// Names the schema that wrote the object, as [`contract::EntityType::data_schema`].
    pub data_schema: Arc<str>,
    /// The object's `created`.
    pub created: Timestamp,
    /// The object's `updated`.
    pub updated: Timestamp,
    /// When this version came to be: the time of its view.
    pub time: Timestamp,
    /// The command that made this version.
    pub command: CommandId,
}

/// What is left of an entity that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// One more than the last state had.
    pub version: u64,
    /// When it was deleted: the time of that event.
    pub time: Timestamp,
    /// The command that deleted it.
    pub command: CommandId,
}

impl Revision {
    /// The version, which a deletion counts on.
    pub const fn version(&self) -> u64 {
        match self {
            Self::Live(entity) => entity.version,
            Self::Deleted(tombstone) => tombstone.version,
        }
    }

    /// The state; none once it was deleted.
    pub const fn live(&self) -> Option<&Entity> {
        match self {
            Self::Live(entity) => Some(entity),
            Self::Deleted(_) => None,
        }
    }

    /// The view of this version: the same event however often it is made.
    pub fn view(&self, key: Key) -> View {
        match self {
            Self::Live(entity) => View {
                key,
                version: entity.version,
                time: entity.time,
                correlation: entity.command,
                object: Some(entity.object.clone()),
                data_schema: entity.data_schema.as_ref().to_owned(),
            },
            Self::Deleted(Tombstone { version, time, command }) => View {
                key,
                version: *version,
                time: *time,
                correlation: *command,
                object: None,
                data_schema: String::new(),
            },
        }
    }
}
