//! The database port's contract, on every adapter.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use contract::{Env, Key, Partition};
use store::database::conformance::{self, Factory};
use store::database::{Database, Error, Log};
use store::{Postgres, Sqlite};
use stream::Stream as _;
use stream::embedded::{Embedded, Options};
use tempfile::{TempDir, tempdir};

use crate::env::TestEnv;
use crate::harness::System;

/// The server that tests use, with a schema of their own.
pub(crate) fn postgres_options() -> store::PostgresOptions {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var("DOS_TEST_POSTGRES").expect(
        "these tests need PostgreSQL: `cargo xtask servers` starts one and tells what to set DOS_TEST_POSTGRES to",
    );
    let schema = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    store::PostgresOptions { schema: Some(schema), ..store::PostgresOptions::new(url) }
}

/// Removes what a test left on the server.
pub(crate) async fn drop_schema(options: &store::PostgresOptions) {
    execute(options, &format!("DROP SCHEMA IF EXISTS {} CASCADE", options.schema.as_ref().unwrap())).await;
}

pub(crate) async fn execute(options: &store::PostgresOptions, sql: &str) {
    let (client, connection) = tokio_postgres::connect(&options.url, tokio_postgres::NoTls).await.unwrap();
    TestEnv::new().spawn(Box::pin(async move { drop(connection.await) }));
    client.batch_execute(sql).await.unwrap();
}

struct OnSqlite {
    dir: TempDir,
    beside: bool,
    open: Mutex<Vec<Embedded>>,
}

impl OnSqlite {
    fn new(beside: bool) -> Self {
        Self { dir: tempdir().unwrap(), beside, open: Mutex::default() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("dos.sqlite")
    }
}

#[async_trait::async_trait]
impl Factory for OnSqlite {
    async fn open(&self) -> Result<Arc<dyn Database>, Error> {
        let env: Arc<dyn Env> = Arc::new(TestEnv::new());
        let options = Options { queue_bytes_max: 256 << 20, message_bytes_max: 16 << 20, ..Options::default() };
        let embedded =
            Embedded::open(self.dir.path(), options, env).map_err(|error| Error::Transient(error.to_string()))?;
        let database =
            if self.beside { Sqlite::beside(embedded.clone()).await } else { Sqlite::open(embedded.clone()).await };
        if database.is_err() {
            embedded.close().await;
        }
        let database = database?;
        self.open.lock().unwrap().push(embedded);
        Ok(Arc::new(database))
    }

    async fn close(&self, database: Arc<dyn Database>) {
        drop(database);
        let embedded = self.open.lock().unwrap().pop().unwrap();
        embedded.close().await;
    }

    async fn make_newer(&self) {
        let connection = rusqlite::Connection::open(self.file()).unwrap();
        connection.execute("UPDATE store_meta SET value = 99 WHERE name = 'version'", ()).unwrap();
    }
}

struct OnPostgres {
    options: store::PostgresOptions,
}

#[async_trait::async_trait]
impl Factory for OnPostgres {
    async fn open(&self) -> Result<Arc<dyn Database>, Error> {
        Ok(Arc::new(Postgres::open(&self.options).await?))
    }

    async fn close(&self, database: Arc<dyn Database>) {
        drop(database);
    }

    async fn make_newer(&self) {
        let schema = self.options.schema.as_ref().unwrap();
        let sql = format!("UPDATE {schema}.store_meta SET value = '99' WHERE name = 'version'");
        execute(&self.options, &sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_conforms_in_the_streams_own_file() {
    conformance::all(&OnSqlite::new(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_conforms_beside_another_stream() {
    conformance::all(&OnSqlite::new(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_conforms() {
    let factory = OnPostgres { options: postgres_options() };
    conformance::all(&factory).await;
    drop_schema(&factory.options).await;
}

/// The layout of version 1, as it was released.
const VERSION_1: &str = "
CREATE TABLE store_meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
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
INSERT INTO store_meta VALUES ('version', 1);
INSERT INTO store_entities VALUES (1, 'provider', 'a', 3, 5, 6, 7, '/schema/x#1', X'7B7D');
INSERT INTO store_positions VALUES (1, 12);
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_version_1_is_brought_up_to_date() {
    let dir = tempdir().unwrap();
    let env: Arc<dyn Env> = Arc::new(TestEnv::new());
    let embedded = Embedded::open(dir.path(), Options::default(), env).unwrap();
    embedded.transact(|transaction| Ok(transaction.connection().execute_batch(VERSION_1)?)).await.unwrap();
    let topology = embedded.topology().await.unwrap();
    let log = Log { cluster: topology.cluster, partitions: topology.partitions };
    let database = Sqlite::open(embedded.clone()).await.unwrap();
    assert_eq!(database.standing(1 as Partition).await.unwrap().position, Some(12));
    let loaded = database.load(vec![Key::parse("provider:a").unwrap()], Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(loaded.entities.values().map(|entity| entity.version()).collect::<Vec<_>>(), [3]);
    // It was an embedded stream's, and cannot become another's.
    let other = Log { cluster: "another".to_owned(), ..log.clone() };
    assert!(matches!(database.bind(other).await, Err(Error::Broken(_))));
    database.bind(log).await.unwrap();
    embedded.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_store_settles_for_all_whether_a_shared_database_keeps_the_index() {
    let options = postgres_options();
    for (first, other) in [(Some(false), true), (None, false)] {
        drop_schema(&options).await;
        let database = Postgres::open(&options).await.unwrap();
        let keeps = database.keeps_index(first).await.unwrap();
        assert_eq!(keeps, first.unwrap_or(true));
        let second = Postgres::open(&options).await.unwrap();
        assert_eq!(second.keeps_index(None).await.unwrap(), keeps);
        assert_eq!(second.keeps_index(Some(keeps)).await.unwrap(), keeps);
        let refused = second.keeps_index(Some(other)).await;
        assert!(matches!(&refused, Err(Error::Broken(reason)) if reason.contains("store.lists")), "{refused:?}");
    }
    drop_schema(&options).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_stream_stops_the_store_and_says_so() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    system.database.bind(Log { cluster: "another".to_owned(), partitions: 2 }).await.unwrap();
    system.start_store().await;
    let reason = crate::harness::bounded("the failure", system.store().failed()).await;
    assert!(reason.contains("another") && reason.contains("docs/operations.md"), "{reason}");
    system.close().await;
}
