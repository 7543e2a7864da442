//! What a batch does to one entity.

use contract::{Key, Timestamp};

use super::IndexChange;
use crate::decide::{Entity, Revision};

/// What becomes of one entity.
#[derive(Debug)]
pub struct Change {
    /// The entity.
    pub key: Key,
    /// Its version when it was loaded; none where there never was one.
    pub expected: Option<u64>,
    /// Whether there was an entity: none that was deleted.
    pub was_live: bool,
    /// Whether it leaves its place in the order of `created`, or comes into it.
    pub moved: bool,
    /// What is to be stored.
    pub next: Revision,
    /// What becomes of it in the index of lists, where that is kept.
    pub index: IndexChange,
}

/// What stands for `created` where an entity was deleted: behind all that lists look at.
pub(super) const NEVER: i64 = i64::MAX;

impl Change {
    /// From what was loaded to what is to be stored.
    pub fn new(key: Key, before: Option<&Revision>, next: Revision, index: IndexChange) -> Self {
        let was = before.and_then(Revision::live);
        let moved = was.map(|entity| entity.created) != next.live().map(|entity| entity.created);
        Self { key, expected: before.map(Revision::version), was_live: was.is_some(), moved, next, index }
    }

    /// By how much the number of the type's entities grows.
    pub(super) fn growth(&self) -> i64 {
        i64::from(self.next.live().is_some()) - i64::from(self.was_live)
    }

    /// The entity's row.
    pub(super) fn row(&self) -> Row<'_> {
        let (key, version) = (&self.key, self.next.version().cast_signed());
        let entity_type = key.entity_type.as_str();
        let id = key.id.as_ref().map(contract::EntityId::as_str).unwrap_or_default();
        match &self.next {
            Revision::Live(Entity { object, data_schema, created, updated, time, command, .. }) => Row {
                entity_type,
                id,
                version,
                created: created.as_millis(),
                updated: updated.as_millis(),
                time: time.as_millis(),
                schema: data_schema,
                object,
                command: command.0,
            },
            Revision::Deleted(tombstone) => Row {
                entity_type,
                id,
                version,
                created: NEVER,
                updated: tombstone.time.as_millis(),
                time: tombstone.time.as_millis(),
                schema: "",
                object: &EMPTY,
                command: tombstone.command.0,
            },
        }
    }
}

static EMPTY: bytes::Bytes = bytes::Bytes::new();

/// A row of `store_entities`. One that was deleted has `created` at the end of time, and neither schema nor object.
pub(super) struct Row<'a> {
    pub(super) entity_type: &'a str,
    pub(super) id: &'a str,
    pub(super) version: i64,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) time: i64,
    pub(super) schema: &'a str,
    pub(super) object: &'a bytes::Bytes,
    pub(super) command: uuid::Uuid,
}

/// What a row of `store_entities` holds.
pub(super) struct Columns<'a> {
    pub(super) version: i64,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) time: i64,
    pub(super) schema: &'a str,
    pub(super) object: &'a [u8],
    pub(super) command: contract::CommandId,
}

impl From<Columns<'_>> for Revision {
    fn from(row: Columns<'_>) -> Self {
        let Columns { command, .. } = row;
        let (version, time) = (row.version.cast_unsigned(), Timestamp::from_millis(row.time));
        if row.created == NEVER {
            return Self::Deleted(crate::decide::Tombstone { version, time, command });
        }
        Self::Live(Entity {
            version,
            object: bytes::Bytes::copy_from_slice(row.object),
            data_schema: row.schema.into(),
            created: Timestamp::from_millis(row.created),
            updated: Timestamp::from_millis(row.updated),
            time,
            command,
        })
    }
}
