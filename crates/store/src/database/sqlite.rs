//! The adapter for one SQLite file with one writer, that of the embedded stream.
//!
//! Either the file is the embedded stream's own ([`Sqlite::open`]): outgoing events are appended in the same transaction,
//! and nothing is left to publish. Or it is a file beside another stream ([`Sqlite::beside`]), opened by
//! `stream::embedded` for its writer, group commit, checkpoints and lock, with its topics unused: outgoing events go to
//! the outbox.
//!
//! Durable layout, version [`VERSION`]; every table's name begins with `store_`:
//!
//! - `store_meta(name, value)`: `version`; `cluster` and `partitions` of the log that the positions are of; `database`, its
//!   own name.
//! - `store_entities`: a row per entity, with a row id, so that objects of up to 512 KiB lie in the leaves of a tree whose
//!   inner nodes hold small integers only, and `object` last, so that the rest is read without it. Found by
//!   `(type, id)`, listed by `(type, created, id)`. (`command` came with version 2, behind it; none in older rows.)
//!   One that was deleted has `created` at the end of time, where no list looks, and neither schema nor object.
//! - `store_counts(type, total)`: entities per type, without those that were deleted; kept in the same transaction.
//! - `store_index`: what lists find and sort entities by, where they are asked for (`super::index`).
//! - `store_outcomes`: a row per remembered command, numbered as they came; the oldest are removed from that end.
//! - `store_keys`: a row per remembered idempotency key: the fingerprint, and the first answer as JSON. Numbered and removed as
//!   the outcomes are.
//! - `store_positions`: a row per partition: its owner, the next command, the last sequence given out, and the marks.
//! - `store_outbox(partition, sequence, ..)`: events that were not yet known as published at the last commit.
//!
//! Times are milliseconds since 1970.

use std::sync::Arc;

use contract::reply::Page;
use contract::{CommandId, Digest, EntityType, Key, ListQuery, Partition};
use rusqlite::{Connection, ErrorCode};
use stream::embedded::{Embedded, TransactError, Transaction};
use stream::{AppendError, StreamError};

use super::{Batch, Committed, Database, Error, Loaded, Log, Marks, Outgoing, Standing};

mod index;
mod list;
mod migrate;
mod outbox;
mod read;
mod write;

pub use migrate::VERSION;

/// What a job gives up with when a compare-and-set missed.
const CONFLICT: &str = "conflict";

/// The store's tables in a file. Durable as the embedded stream is: a commit is answered after its fsync.
#[derive(Clone)]
pub struct Sqlite {
    embedded: Embedded,
    /// Whether outgoing events stay in the file.
    outbox: bool,
}

impl Sqlite {
    /// Opens the tables in the file of the embedded stream that the store works on.
    ///
    /// Makes them, or brings those of an older program up to date; refuses those of a newer one.
    pub async fn open(embedded: Embedded) -> Result<Self, Error> {
        Self::migrated(embedded, false).await
    }

    /// Opens the tables in a file of their own, beside another stream.
    pub async fn beside(file: Embedded) -> Result<Self, Error> {
        Self::migrated(file, true).await
    }

    async fn migrated(embedded: Embedded, outbox: bool) -> Result<Self, Error> {
        let migrated = embedded.transact(|transaction| migrate::run(transaction.connection())).await;
        migrated.map_err(|error| match error {
            TransactError::Aborted(reason) => Error::Broken(reason),
            error => failure(error),
        })?;
        Ok(Self { embedded, outbox })
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        match self.embedded.read(query).await {
            Ok(found) => found,
            Err(StreamError::Closed) => Err(Error::Closed("the file is closed".to_owned())),
            Err(error) => Err(Error::Transient(error.to_string())),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, TransactError> + Send + 'static,
    ) -> Result<T, Error> {
        self.embedded.transact(job).await.map_err(failure)
    }
}

#[async_trait::async_trait]
impl Database for Sqlite {
    async fn bind(&self, log: Log) -> Result<(), Error> {
        let asked = log.clone();
        let bound = self.write(move |transaction| migrate::bind(transaction.connection(), &asked)).await?;
        if bound == log { Ok(()) } else { Err(bound.refuse(&log)) }
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn name(&self, proposed: String) -> Result<String, Error> {
        self.write(move |transaction| migrate::name(transaction.connection(), &proposed)).await
    }

    async fn take(&self, partition: Partition) -> Result<Standing, Error> {
        let outbox = self.outbox;
        self.write(move |transaction| outbox::take(transaction.connection(), partition, outbox)).await
    }

    async fn standing(&self, partition: Partition) -> Result<Standing, Error> {
        let outbox = self.outbox;
        self.read(move |connection| outbox::standing(connection, partition, outbox).map(Ok)).await
    }

    async fn keeps_index(&self, wanted: Option<bool>) -> Result<bool, Error> {
        Ok(wanted.unwrap_or(true))
    }

    async fn index(&self, types: Option<Vec<Arc<EntityType>>>) -> Result<(), Error> {
        index::make(self, types).await
    }

    async fn load(&self, keys: Vec<Key>, commands: Vec<CommandId>, idempotency: Vec<Digest>) -> Result<Loaded, Error> {
        self.read(move |connection| read::load(connection, keys, commands, idempotency)).await
    }

    async fn list(&self, entity_type: Arc<EntityType>, query: ListQuery) -> Result<Page, Error> {
        self.read(move |connection| list::page(connection, &entity_type, &query)).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let outbox = self.outbox;
        self.write(move |transaction| write::commit(transaction, batch, outbox)).await
    }

    async fn unpublished(&self, partition: Partition, after: u64, limit: usize) -> Result<Vec<Outgoing>, Error> {
        self.read(move |connection| outbox::unpublished(connection, partition, after, limit)).await
    }

    async fn mark(&self, partition: Partition, owner: u64, marks: Marks) -> Result<(), Error> {
        self.write(move |transaction| outbox::mark(transaction.connection(), partition, owner, marks)).await
    }
}

/// Where a partition stands, of a file beside a stream that another process may have.
pub(crate) fn standing(connection: &Connection, partition: Partition) -> rusqlite::Result<Standing> {
    outbox::standing(connection, partition, true)
}

/// The state of an entity, likewise.
pub(crate) fn load(connection: &Connection, key: Key) -> rusqlite::Result<Result<Loaded, Error>> {
    read::load(connection, vec![key], Vec::new(), Vec::new())
}

/// A compare-and-set that changed no row missed.
fn one(changed: usize) -> Result<(), TransactError> {
    if changed == 1 { Ok(()) } else { Err(TransactError::Aborted(CONFLICT.to_owned())) }
}

/// What a job that did not take effect means to the store.
fn failure(error: TransactError) -> Error {
    match error {
        TransactError::Aborted(reason) if reason == CONFLICT => Error::Conflict,
        // It was decided on commands that were lost.
        TransactError::Lost => Error::Conflict,
        TransactError::Stream(AppendError::TooLarge { .. }) | TransactError::Aborted(_) | TransactError::Panicked => {
            Error::Data(error.to_string())
        }
        TransactError::Sql(ref sql) => match sql.sqlite_error_code() {
            Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
                Error::Data(error.to_string())
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Broken(error.to_string()),
            _ => Error::Transient(error.to_string()),
        },
        TransactError::Stream(_) => Error::Transient(error.to_string()),
    }
}
