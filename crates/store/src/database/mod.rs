//! The port: what the store asks of its database, and its adapters.
//!
//! Where the database shares its transactions with the stream, a commit appends its outgoing events itself. Where it cannot,
//! the commit keeps them: the *outbox*, an ordered queue per partition, which the owner of the partition publishes after
//! the commit and removes once the stream has acknowledged them. How far that has come ([`Marks`]) travels with the next
//! commit.

use std::collections::HashMap;
use std::sync::Arc;

use contract::reply::Page;
use contract::{
    CommandId, Digest, EntityType, Key, ListQuery, Offset, Outcome, OutcomeStatus, Partition, Problem, Record,
    Timestamp, Topic,
};
use thiserror::Error;

use crate::decide::{Keyed, Revision};

mod change;
pub mod conformance;
pub mod index;
mod page;
pub mod postgres;
mod select;
pub mod sqlite;

pub use change::Change;
pub use index::IndexChange;

/// A page of a list holds at most so many bytes of items, but at least one item.
pub const PAGE_BYTES_MAX: usize = 768 * 1024;

/// What one call of [`Database::load`] gives back at most, in bytes of objects, unless it is one entity.
pub const LOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What one call of [`Database::unpublished`] gives back at most, in bytes of records, unless it is one event.
pub const UNPUBLISHED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Entities, outcomes, positions, and the events that leave with them.
///
/// Isolation: several stores may work on one database. A partition's owner is who took it last ([`Database::take`]);
/// [`Database::commit`] and [`Database::mark`] refuse all others, and whatever was decided on a state that is no longer
/// so. Durability: what was committed survives the end of the process and, where the adapter says so, of the machine.
/// Reads see everything that was committed before they were asked. Dropping a future does not take a commit back, nor
/// split it.
#[async_trait::async_trait]
pub trait Database: Send + Sync + 'static {
    /// Binds the database to the log that its positions are of; the first one stands for ever.
    ///
    /// [`Error::Broken`], with what to do, where it was used with another.
    async fn bind(&self, log: Log) -> Result<(), Error>;

    /// Whether it can serve one store only, which then must have all partitions.
    fn is_exclusive(&self) -> bool;

    /// Takes a partition over: from now on whoever had it can neither commit nor mark.
    async fn take(&self, partition: Partition) -> Result<Standing, Error>;

    /// Its name, by which the stream knows it: this one, unless it had one before. It is copied with the database.
    async fn name(&self, proposed: String) -> Result<String, Error>;

    /// Where a partition stands; all zero before it was first taken.
    async fn standing(&self, partition: Partition) -> Result<Standing, Error>;

    /// Whether the index of lists is kept: as is wanted, or as the database has it. Where several stores share it, the first
    /// settled that for all, or rows of one would be missing in the index of another.
    ///
    /// [`Error::Broken`] where that is not what is wanted.
    async fn keeps_index(&self, wanted: Option<bool>) -> Result<bool, Error>;

    /// Makes the index of lists complete for these types, where it is not: from now on every batch brings the changes of it.
    /// None: no batch will, so that it counts for nothing until it is made complete again.
    ///
    /// Other stores may work on the database meanwhile. [`Error::Transient`] where one of them is at it: ask again.
    async fn index(&self, types: Option<Vec<Arc<EntityType>>>) -> Result<(), Error>;

    /// The states of these entities, the outcomes of these commands and the first answers to these idempotency keys, as far as
    /// there are any. Names may repeat.
    ///
    /// [`Error::TooMuch`] where they are more than [`LOAD_BYTES_MAX`].
    async fn load(&self, keys: Vec<Key>, commands: Vec<CommandId>, idempotency: Vec<Digest>) -> Result<Loaded, Error>;

    /// One page, as today's schema shows the objects; `total` may be newer or older than the items.
    ///
    /// [`Error::Data`] where it needs the index of lists, and that is not kept.
    async fn list(&self, entity_type: Arc<EntityType>, query: ListQuery) -> Result<Page, Error>;

    /// Stores all of a batch or nothing of it.
    ///
    /// [`Error::Conflict`] where the owner, the position, a version, an outcome or the first answer to an idempotency key is not
    /// what the batch was decided on.
    /// After [`Error::Transient`] it may have been stored: the position tells.
    async fn commit(&self, batch: Batch) -> Result<Committed, Error>;

    /// The events of a partition's outbox whose sequence is greater than `after`, in order, at most `limit` of them and
    /// [`UNPUBLISHED_BYTES_MAX`].
    async fn unpublished(&self, partition: Partition, after: u64, limit: usize) -> Result<Vec<Outgoing>, Error>;

    /// Moves a partition's marks without a commit; they never go back. [`Error::Conflict`] for whoever is not its owner.
    async fn mark(&self, partition: Partition, owner: u64, marks: Marks) -> Result<(), Error>;
}

/// The log that a database belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Names it: positions of another cluster, or of topics that were made anew, mean nothing here.
    pub cluster: String,
    /// Partitions of each topic.
    pub partitions: u32,
}

impl Log {
    /// What to tell the operator of a database that belongs to `self` and is used with `other`.
    fn refuse(&self, other: &Self) -> Error {
        let Self { cluster, partitions } = self;
        let text = format!(
            "the database belongs to the stream {cluster} with {partitions} partitions and this is {} with {}: its positions mean nothing here; \
             use it with that stream, or give this stream a database of its own (docs/operations.md, \"Another stream\")",
            other.cluster, other.partitions
        );
        Error::Broken(text)
    }
}

/// Where a partition stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Counts the take-overs: names the owner.
    pub owner: u64,
    /// The offset of its next command; none before its first commit.
    pub position: Option<Offset>,
    /// How far publishing has come; none where the events leave with the commit itself.
    pub outbox: Option<Marks>,
}

/// How far the publishing of a partition's outgoing events has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The sequence of the last event that the stream acknowledged, as it did all before; 0 where there was none.
    pub published: u64,
    /// Records of the partition of views before this offset were looked at and repaired; none before its first owner.
    pub views: Option<Offset>,
}

/// What [`Database::load`] found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Entities that exist, or did.
    pub entities: HashMap<Key, Revision>,
    /// Commands that are remembered.
    pub outcomes: HashMap<CommandId, Outcome>,
    /// Idempotency keys that are remembered.
    pub keyed: HashMap<Digest, Keyed>,
}

/// All that some consecutive commands of one partition lead to.
#[derive(Debug)]
pub struct Batch {
    /// The partition.
    pub partition: Partition,
    /// Its owner, as [`Database::take`] gave it.
    pub owner: u64,
    /// The position that the batch was decided on.
    pub expected: Option<Offset>,
    /// The position after it.
    pub next: Offset,
    /// The entities that changed, each once.
    pub changes: Vec<Change>,
    /// What is to be remembered; none of it is remembered yet.
    pub outcomes: Vec<Outcome>,
    /// First answers to idempotency keys; none of the keys is remembered yet, in whatever partition.
    pub keyed: Vec<Keyed>,
    /// When the batch was decided: the age of its outcomes counts from here.
    pub time: Timestamp,
    /// Outcomes and first answers remembered before this may be forgotten, some with each commit.
    pub forget_before: Timestamp,
    /// Events to append, in this order.
    pub outgoing: Vec<(Topic, Record)>,
    /// How far the events of earlier commits have come: what was published is removed.
    pub marks: Marks,
}

/// What a commit left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The sequence of the batch's first outgoing event in its partition's outbox; the others follow without a gap. None
    /// where nothing is to be published.
    pub unpublished: Option<u64>,
}

/// An event in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// 1, 2, 3 .. per partition.
    pub sequence: u64,
    /// Where to append it.
    pub topic: Topic,
    /// The event.
    pub record: Record,
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

/// What became of a command, as the adapters keep it: one that did not succeed and has no problem was never seen.
fn status(succeeded: bool, problem: Option<&Problem>) -> OutcomeStatus {
    match (succeeded, problem) {
        (true, _) => OutcomeStatus::Succeeded,
        (false, Some(_)) => OutcomeStatus::Failed,
        (false, None) => OutcomeStatus::Unknown,
    }
}

/// A topic by its name, as the outbox keeps it.
fn topic(name: &str) -> Result<Topic, Error> {
    let found = Topic::ALL.into_iter().find(|topic| topic.name() == name);
    found.ok_or_else(|| Error::Broken(format!("the outbox names a topic {name:?}, which this program does not know")))
}
