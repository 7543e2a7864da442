//! The adapter's tables, made or brought up to date, and the log they belong to.

use rusqlite::{Connection, OptionalExtension as _};

use super::TransactError;
use crate::database::Log;

/// The version of the layout that this program writes.
pub const VERSION: i64 = 3;

/// What each version added to the one before. What was released is never edited: a change is a new entry.
const MIGRATIONS: [&str; 3] = [
    "
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
",
    // Files of version 1 were always an embedded stream's own, and so belong to it.
    "
ALTER TABLE store_entities ADD COLUMN command BLOB;
ALTER TABLE store_positions RENAME TO store_positions_1;
CREATE TABLE store_positions (
    partition INTEGER PRIMARY KEY, owner INTEGER NOT NULL DEFAULT 0, next INTEGER, sequence INTEGER NOT NULL DEFAULT 0,
    published INTEGER NOT NULL DEFAULT 0, views INTEGER);
INSERT INTO store_positions (partition, next) SELECT partition, next FROM store_positions_1;
INSERT INTO store_meta (name, value) SELECT name, value FROM stream_meta
    WHERE name IN ('cluster', 'partitions') AND EXISTS (SELECT 1 FROM store_positions_1);
DROP TABLE store_positions_1;
CREATE TABLE store_outbox (
    partition INTEGER NOT NULL, sequence INTEGER NOT NULL, topic TEXT NOT NULL, key BLOB NOT NULL, headers BLOB NOT NULL,
    value BLOB NOT NULL, PRIMARY KEY (partition, sequence)) WITHOUT ROWID;
",
    "
ALTER TABLE store_outcomes ADD COLUMN entity TEXT;
CREATE TABLE store_keys (
    number INTEGER PRIMARY KEY, time INTEGER NOT NULL, key BLOB NOT NULL, fingerprint BLOB NOT NULL, first BLOB NOT NULL);
CREATE UNIQUE INDEX store_keys_by_key ON store_keys (key);
CREATE TABLE store_index (
    type TEXT NOT NULL, field TEXT NOT NULL, value BLOB NOT NULL, id TEXT NOT NULL, PRIMARY KEY (type, field, value, id))
    WITHOUT ROWID;
CREATE INDEX store_index_names ON store_index (type, id, value) WHERE field = '<name';
",
];

pub(super) fn run(connection: &Connection) -> Result<(), TransactError> {
    connection
        .execute("CREATE TABLE IF NOT EXISTS store_meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID", ())?;
    let sql = "SELECT value FROM store_meta WHERE name = 'version'";
    let found = connection.query_row(sql, (), |row| row.get::<_, i64>(0)).optional()?.unwrap_or(0);
    let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len());
    let done = done.ok_or_else(|| {
        TransactError::Aborted(format!(
            "the store's tables have version {found}, and this program reads up to version {VERSION}; use the program that wrote them, or a newer one"
        ))
    })?;
    for migration in &MIGRATIONS[done..] {
        connection.execute_batch(migration)?;
    }
    if found != VERSION {
        connection.execute("INSERT OR REPLACE INTO store_meta (name, value) VALUES ('version', ?1)", (VERSION,))?;
    }
    Ok(())
}

/// The log that the tables belong to: this one, unless there was one before.
pub(super) fn bind(connection: &Connection, log: &Log) -> Result<Log, TransactError> {
    let insert = "INSERT OR IGNORE INTO store_meta (name, value) VALUES (?1, ?2)";
    connection.execute(insert, ("cluster", &log.cluster))?;
    connection.execute(insert, ("partitions", log.partitions))?;
    let select = "SELECT value FROM store_meta WHERE name = ?1";
    Ok(Log {
        cluster: connection.query_row(select, ("cluster",), |row| row.get(0))?,
        partitions: connection.query_row(select, ("partitions",), |row| row.get(0))?,
    })
}

/// The database's name: this one, unless it had one before.
pub(super) fn name(connection: &Connection, proposed: &str) -> Result<String, TransactError> {
    connection.execute("INSERT OR IGNORE INTO store_meta (name, value) VALUES ('database', ?1)", (proposed,))?;
    let select = "SELECT value FROM store_meta WHERE name = 'database'";
    Ok(connection.query_row(select, (), |row| row.get(0))?)
}
