//! The port: what the store asks of its database, and its adapters.

use std::collections::HashMap;
use std::sync::Arc;

use contract::reply::Page;
use contract::{CommandId, EntityType, Key, ListQuery, Offset, Outcome, Partition, Record, Timestamp, Topic};
use thiserror::Error;

use crate::decide::Entity;

pub mod sqlite;

/// A page of a list holds at most so many bytes of items, but at least one item.
pub const PAGE_BYTES_MAX: usize = 768 * 1024;

/// What one call of [`Database::load`] gives back at most, in bytes of objects, unless it is one entity.
pub const LOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Entities, outcomes, positions, and the events that leave with them.
///
/// Isolation: several stores may work on one database, at most one of them on a partition unless it lost it without
/// knowing; [`Database::commit`] refuses whatever was decided on a state that is no longer so. Durability: what was
/// committed survives the end of the process and, where the adapter says so, of the machine. Reads see everything
/// that was committed before they were asked. Dropping a future does not take a commit back, nor split it.
#[async_trait::async_trait]
pub trait Database: Send + Sync + 'static {
    /// The offset of the next command of a partition; none before its first commit.
    async fn position(&self, partition: Partition) -> Result<Option<Offset>, Error>;

    /// The states of these entities and the outcomes of these commands, as far as there are any. Names may repeat.
    ///
    /// [`Error::TooMuch`] where they are more than [`LOAD_BYTES_MAX`].
    async fn load(&self, keys: Vec<Key>, commands: Vec<CommandId>) -> Result<Loaded, Error>;

    /// One page by `created`, then id, as today's schema shows the objects; `total` may be newer or older than the items.
    async fn list(&self, entity_type: Arc<EntityType>, query: ListQuery) -> Result<Page, Error>;

    /// Stores all of a batch or nothing of it.
    ///
    /// [`Error::Conflict`] where the position, a version or an outcome is not what the batch was decided on. After
    /// [`Error::Transient`] it may have been stored: the position tells.
    async fn commit(&self, batch: Batch) -> Result<(), Error>;
}

/// What [`Database::load`] found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Entities that exist.
    pub entities: HashMap<Key, Entity>,
    /// Commands that are remembered.
    pub outcomes: HashMap<CommandId, Outcome>,
}

/// All that some consecutive commands of one partition lead to.
#[derive(Debug)]
pub struct Batch {
    /// The partition.
    pub partition: Partition,
    /// The position that the batch was decided on, as [`Database::position`] gave it.
    pub expected: Option<Offset>,
    /// The position after it.
    pub next: Offset,
    /// The entities that changed, each once.
    pub changes: Vec<Change>,
    /// What is to be remembered; none of it is remembered yet.
    pub outcomes: Vec<Outcome>,
    /// When the batch was decided: the age of its outcomes counts from here.
    pub time: Timestamp,
    /// Outcomes remembered before this may be forgotten, some with each commit.
    pub forget_before: Timestamp,
    /// Events to append, in this order.
    pub outgoing: Vec<(Topic, Record)>,
}

/// What becomes of one entity.
#[derive(Debug)]
pub struct Change {
    /// The entity.
    pub key: Key,
    /// Its version when it was loaded; none where it did not exist.
    pub expected: Option<u64>,
    /// Whether its `created` is another than when it was loaded.
    pub moved: bool,
    /// What is to be stored.
    pub entity: Entity,
}

/// Why the database did not do what it was asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// Something else was stored meanwhile: load and decide again.
    #[error("the state has changed meanwhile")]
    Conflict,
    /// More was asked for than is given at once: ask for less.
    #[error("more was asked for than is given at once")]
    TooMuch,
    /// It may go better later: disk full, overloaded, connection lost.
    #[error("{0}")]
    Transient(String),
    /// Some of the data asked for, or to be stored, is such that it never will.
    #[error("{0}")]
    Data(String),
    /// The database was closed; no call will succeed any more.
    #[error("{0}")]
    Closed(String),
    /// The database is damaged, or another program's; an operator must see to it.
    #[error("{0}")]
    Broken(String),
}
