//! The adapter's tables, version [`VERSION`]; every table's name begins with `store_`:
//!
//! - `store_meta(name, value)`: `version`; `cluster` and `partitions` of the log that the positions are of; `database`, its own
//!   name; `lists`, whether the index of lists is kept.
//! - `store_entities`: a row per entity. Ids and types compare by bytes (`COLLATE "C"`), as lists are sorted. `object` holds
//!   the bytes of the view, in `bytea`: `jsonb` would give back other bytes.
//!   One that was deleted has `created` at the end of time, where no list looks, and neither schema nor object.
//! - `store_index`: what lists find and sort entities by (`super::super::index`).
//! - `store_counts(type, partition, total)`: entities per type, without those that were deleted; split by the partition whose batch created
//!   them, or all partitions would wait for one row.
//! - `store_outcomes`: a row per remembered command; the oldest by `time` are removed.
//! - `store_keys`: a row per remembered idempotency key: the fingerprint, and the first answer as JSON; removed as the outcomes are.
//! - `store_positions`: a row per partition: its owner, the next command, the last sequence given out, and the marks.
//! - `store_outbox(partition, sequence, ..)`: events that were not yet known as published at the last commit.
//!
//! Times are milliseconds since 1970.

use deadpool_postgres::Object;

use super::pool::{Lease, Pool, bounded, failure};
use crate::database::{Error, Log};

/// The version of the layout that this program writes.
pub const VERSION: i64 = 2;

/// What each version added to the one before. What was released is never edited: a change is a new entry.
const MIGRATIONS: [&str; 2] = [
    r#"
CREATE TABLE store_entities (
    type text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, version bigint NOT NULL, created bigint NOT NULL,
    updated bigint NOT NULL, time bigint NOT NULL, schema text NOT NULL, command uuid NOT NULL, object bytea NOT NULL,
    PRIMARY KEY (type, id)) WITH (fillfactor = 85);
CREATE INDEX store_entities_by_created ON store_entities (type, created, id);
CREATE TABLE store_counts (
    type text COLLATE "C" NOT NULL, partition integer NOT NULL, total bigint NOT NULL, PRIMARY KEY (type, partition));
CREATE TABLE store_outcomes (
    command uuid PRIMARY KEY, time bigint NOT NULL, succeeded boolean NOT NULL, version bigint, created bigint,
    problem text);
CREATE INDEX store_outcomes_by_time ON store_outcomes (time);
CREATE TABLE store_positions (
    partition integer PRIMARY KEY, owner bigint NOT NULL, next bigint, sequence bigint NOT NULL DEFAULT 0,
    published bigint NOT NULL DEFAULT 0, views bigint) WITH (fillfactor = 50);
CREATE TABLE store_outbox (
    partition integer NOT NULL, sequence bigint NOT NULL, topic text NOT NULL, key bytea NOT NULL, headers bytea NOT NULL,
    value bytea NOT NULL, PRIMARY KEY (partition, sequence))
    WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000);
ALTER TABLE store_outbox ALTER COLUMN value SET STORAGE EXTERNAL;
"#,
    r#"
ALTER TABLE store_outcomes ADD COLUMN entity text;
CREATE TABLE store_keys (
    key bytea PRIMARY KEY, time bigint NOT NULL, fingerprint bytea NOT NULL, first bytea NOT NULL);
CREATE INDEX store_keys_by_time ON store_keys (time);
CREATE TABLE store_index (
    type text COLLATE "C" NOT NULL, field text COLLATE "C" NOT NULL, value bytea NOT NULL, id text COLLATE "C" NOT NULL,
    PRIMARY KEY (type, field, value, id));
CREATE INDEX store_index_names ON store_index (type, id, value) WHERE field = '<name';
"#,
];

/// One of many that others may use; ours for this purpose.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7305808869232373)";
const META: &str = "CREATE TABLE IF NOT EXISTS store_meta (name text PRIMARY KEY, value text NOT NULL)";
const SELECT: &str = "SELECT value FROM store_meta WHERE name = $1";
const INSERT: &str = "INSERT INTO store_meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const SET: &str = "INSERT INTO store_meta (name, value) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

pub(super) async fn run(pool: &Pool, schema: Option<&str>) -> Result<(), Error> {
    bounded(async {
        let lease = Lease::new(pool.get().await?);
        let client = lease.client()?;
        let execute = async |sql: &str| client.batch_execute(sql).await.map_err(|error| failure(&error));
        execute("BEGIN").await?;
        // Until the transaction ends.
        execute(LOCK).await?;
        if let Some(schema) = schema {
            execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
        }
        execute(META).await?;
        let found = client.query_opt(SELECT, &[&"version"]).await.map_err(|error| failure(&error))?;
        let found = found.map_or(Ok(0), |row| row.get::<_, String>(0).parse::<usize>());
        let done = found.ok().filter(|done| *done <= MIGRATIONS.len()).ok_or_else(|| {
            Error::Broken(format!(
                "the store's tables are of a newer version than this program knows, which is {VERSION}; use the newer program, or restore a backup made before it"
            ))
        })?;
        for migration in &MIGRATIONS[done..] {
            execute(migration).await?;
        }
        if done < MIGRATIONS.len() {
            let version = VERSION.to_string();
            client.execute(SET, &[&"version", &version]).await.map_err(|error| failure(&error))?;
        }
        execute("COMMIT").await?;
        check_durable(client).await?;
        lease.give_back();
        Ok(())
    })
    .await
}

/// Warns of a server that acknowledges before it has written: then nothing here can keep the promise.
async fn check_durable(client: &tokio_postgres::Client) -> Result<(), Error> {
    for (setting, wrong) in [("synchronous_commit", "off"), ("fsync", "off")] {
        let sql = format!("SHOW {setting}");
        let row = client.query_one(&sql, &[]).await.map_err(|error| failure(&error))?;
        if row.get::<_, &str>(0) == wrong {
            tracing::warn!(setting, "the database server may lose what it acknowledged: set it to on");
        }
    }
    Ok(())
}

/// The log that the tables belong to: this one, unless there was one before.
pub(super) async fn bind(pool: &Pool, log: &Log) -> Result<Log, Error> {
    bounded(async {
        let client = pool.get().await?;
        let cluster = keep(&client, "cluster", &log.cluster).await?;
        let partitions = keep(&client, "partitions", &log.partitions.to_string()).await?;
        Ok(Log { cluster, partitions: partitions.parse().unwrap_or(0) })
    })
    .await
}

/// The database's name: this one, unless it had one before.
pub(super) async fn name(pool: &Pool, proposed: &str) -> Result<String, Error> {
    bounded(async { keep(&pool.get().await?, "database", proposed).await }).await
}

/// The name that it has.
pub(super) async fn named(pool: &Pool) -> Result<Option<String>, Error> {
    bounded(async {
        let row = pool.get().await?.query_opt(SELECT, &[&"database"]).await.map_err(|error| failure(&error))?;
        Ok(row.map(|row| row.get(0)))
    })
    .await
}

/// Whether the index of lists is kept: so, unless that was settled before.
pub(super) async fn keeps_index(pool: &Pool, proposed: bool) -> Result<bool, Error> {
    let kept = bounded(async { keep(&pool.get().await?, "lists", &proposed.to_string()).await }).await?;
    kept.parse().map_err(|_| Error::Broken(format!("store_meta has lists = {kept:?}, which is neither true nor false")))
}

/// What stands under a name for ever: this value, unless there was one before.
async fn keep(client: &Object, name: &str, value: &str) -> Result<String, Error> {
    client.execute(INSERT, &[&name, &value]).await.map_err(|error| failure(&error))?;
    let row = client.query_one(SELECT, &[&name]).await.map_err(|error| failure(&error))?;
    Ok(row.get(0))
}
