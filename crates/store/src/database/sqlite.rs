//! The adapter for a database that shares one SQLite file, and one transaction, with the embedded stream.
//!
//! Durable layout, version [`VERSION`]; every table's name begins with `store_`:
//!
//! - `store_meta(name, value)`: `version`.
//! - `store_entities`: a row per entity, with a row id, so that objects of up to 512 KiB lie in the leaves of a tree whose
//!   inner nodes hold small integers only, and `object` last, so that the rest is read without it. Found by
//!   `(type, id)`, listed by `(type, created, id)`.
//! - `store_counts(type, total)`: rows of `store_entities` per type, kept in the same transaction.
//! - `store_outcomes`: a row per remembered command, numbered as they came; the oldest are removed from that end.
//! - `store_positions(partition, next)`: the next command. The log lies in the same file, so it can be no other log's.
//!
//! Times are milliseconds since 1970.

use std::sync::Arc;

use contract::reply::Page;
use contract::{CommandId, EntityType, Key, ListQuery, Offset, Partition};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _};
use stream::embedded::{Embedded, TransactError, Transaction};
use stream::{AppendError, StreamError};

use super::{Batch, Database, Error, Loaded};

mod read;
mod write;

/// The version of the layout that this program writes.
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE store_entities (
    number INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, created INTEGER NOT NULL,
    updated INTEGER NOT NULL, time INTEGER NOT NULL, schema TEXT NOT NULL, object BLOB NOT NULL);
CREATE UNIQUE INDEX store_entities_by_id ON store_entities (type, id);
CREATE INDEX store_entities_by_created ON store_entities (type, created, id);
CREATE TABLE store_counts (type TEXT PRIMARY KEY, total INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE store_outcomes (
    number INTEGER PRIMARY KEY, time INTEGER NOT NULL, command BLOB NOT NULL, status INTEGER NOT NULL, version INTEGER,
    created INTEGER, problem TEXT);
CREATE UNIQUE INDEX store_outcomes_by_command ON store_outcomes (command);
CREATE TABLE store_positions (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
";

/// What a job gives up with when a compare-and-set missed.
const CONFLICT: &str = "conflict";

/// The store's tables in the file of an embedded stream. Durable as the stream is: a commit is answered after its fsync.
#[derive(Clone)]
pub struct Sqlite {
    embedded: Embedded,
}

impl Sqlite {
    /// Makes the tables, or brings those of an older program up to date; refuses those of a newer one.
    pub async fn open(embedded: Embedded) -> Result<Self, Error> {
        embedded.transact(|transaction| migrate(transaction.connection())).await.map_err(|error| match error {
            TransactError::Aborted(reason) => Error::Broken(reason),
            error => failure(error),
        })?;
        Ok(Self { embedded })
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
}

#[async_trait::async_trait]
impl Database for Sqlite {
    async fn position(&self, partition: Partition) -> Result<Option<Offset>, Error> {
        self.read(move |connection| {
            let sql = "SELECT next FROM store_positions WHERE partition = ?1";
            let next =
                connection.prepare_cached(sql)?.query_row((partition,), |row| row.get::<_, i64>(0)).optional()?;
            Ok(Ok(next.map(i64::cast_unsigned)))
        })
        .await
    }

    async fn load(&self, keys: Vec<Key>, commands: Vec<CommandId>) -> Result<Loaded, Error> {
        self.read(move |connection| read::load(connection, keys, commands)).await
    }

    async fn list(&self, entity_type: Arc<EntityType>, query: ListQuery) -> Result<Page, Error> {
        self.read(move |connection| read::list(connection, &entity_type, &query)).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.embedded.transact(move |transaction| write::commit(transaction, batch)).await.map_err(failure)
    }
}

fn migrate(connection: &Connection) -> Result<(), TransactError> {
    connection
        .execute("CREATE TABLE IF NOT EXISTS store_meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID", ())?;
    let sql = "SELECT value FROM store_meta WHERE name = 'version'";
    match connection.query_row(sql, (), |row| row.get::<_, i64>(0)).optional()? {
        None => {
            connection.execute_batch(SCHEMA)?;
            connection.execute("INSERT INTO store_meta (name, value) VALUES ('version', ?1)", (VERSION,))?;
            Ok(())
        }
        Some(VERSION) => Ok(()),
        Some(other) => Err(TransactError::Aborted(format!(
            "the store's tables have version {other}, and this program reads version {VERSION}; use the program that wrote them, or a newer one"
        ))),
    }
}

/// What a job that did not take effect means to the store.
fn failure(error: TransactError) -> Error {
    match error {
        TransactError::Aborted(reason) if reason == CONFLICT => Error::Conflict,
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
