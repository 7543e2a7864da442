//! The adapter for PostgreSQL, shared by any number of stores.
//!
//! A batch is one transaction of one round trip: from `BEGIN` to `COMMIT` in one pipeline, each statement with arrays. It
//! runs under READ COMMITTED with every expectation spelled out: the position by `(owner, next)`, entities by `version`,
//! new rows by `ON CONFLICT DO NOTHING`, each with the number of rows it must have touched: a statement that touches
//! another number fails, so that `COMMIT` rolls back. REPEATABLE READ would see the same misses as serialisation failures,
//! and others that are none. The position comes first, so two stores on one partition wait for each other there; entities,
//! outcomes and idempotency keys come sorted, and a deadlock, which a foreign partition's command can still lead to, is a
//! conflict as any other.
//!
//! A connection that was left in the middle of a transaction is closed, never used again. Every call has a bound.
//! Dropped futures: what was sent runs to its end or is rolled back, whole.
//!
//! TLS where the connection string says `sslmode=require`; the certificate is then checked, always. A pooler between must
//! keep sessions (prepared statements, settings). The layout is in `migrate`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::reply::Page;
use contract::{CommandId, Digest, EntityType, Key, ListQuery, Partition};

use super::{Batch, Committed, Database, Error, Loaded, Log, Marks, Outgoing, Standing};

mod commit;
mod examine;
mod index;
mod list;
mod migrate;
mod outbox;
mod pool;
mod read;

pub use examine::Examined;
pub use migrate::VERSION;

use pool::Pool;

/// The longest that any call may take; after that nobody knows, and it is tried again.
const CALL_MAX: Duration = Duration::from_secs(20);

/// How to reach the database.
#[derive(Clone)]
pub struct Options {
    /// A connection string, `postgres://user:password@host:port/name?sslmode=require` or `host=.. user=..`.
    pub url: String,
    /// The schema of the tables, which is made if it is missing: `a-z 0-9 _`; none for the server's search path.
    pub schema: Option<String>,
    /// Certificates (PEM) to trust instead of the system's, with `sslmode=require`.
    pub ca_file: Option<PathBuf>,
    /// The most connections, at least 2.
    pub connections_max: usize,
}

impl Options {
    /// The defaults for a connection string.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), schema: None, ca_file: None, connections_max: 16 }
    }

    /// Says what is wrong with them, without connecting; never what is in the connection string.
    pub fn check(&self) -> Result<(), Error> {
        Pool::new(self).map(drop)
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The string holds the password.
        f.debug_struct("Options").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// The store's tables in a PostgreSQL database. Durable as the server is set to be (`synchronous_commit`).
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
}

impl Postgres {
    /// Connects, and makes the tables or brings them up to date, under a lock: several stores may start at once.
    ///
    /// [`Error::Data`] where the options are wrong, [`Error::Broken`] where the tables are a newer program's or must not be
    /// used, or the server does not know the user, the password or the database; [`Error::Transient`] where the server is away: try
    /// again.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        let pool = Pool::new(options)?;
        pool.first().await?;
        migrate::run(&pool, options.schema.as_deref()).await?;
        Ok(Self { pool })
    }

    /// The tables as they are, to be looked at. Connects to nothing yet.
    ///
    /// [`Error::Data`] where the options are wrong.
    pub fn unmigrated(options: &Options) -> Result<Self, Error> {
        Ok(Self { pool: Pool::new(options)? })
    }

    /// Its name, if it has one yet.
    pub(crate) async fn named(&self) -> Result<Option<String>, Error> {
        migrate::named(&self.pool).await
    }

    /// Looks at the server and the tables; makes and changes nothing.
    ///
    /// Errors as of [`Postgres::open`].
    pub async fn examine(options: &Options) -> Result<Examined, Error> {
        examine::run(&Pool::new(options)?, options.schema.as_deref()).await
    }

    /// Closes all connections once they are given back; no call succeeds any more.
    pub fn close(&self) {
        self.pool.close();
    }
}

#[async_trait::async_trait]
impl Database for Postgres {
    async fn bind(&self, log: Log) -> Result<(), Error> {
        let bound = migrate::bind(&self.pool, &log).await?;
        if bound == log { Ok(()) } else { Err(bound.refuse(&log)) }
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    async fn name(&self, proposed: String) -> Result<String, Error> {
        migrate::name(&self.pool, &proposed).await
    }

    async fn take(&self, partition: Partition) -> Result<Standing, Error> {
        outbox::take(&self.pool, partition).await
    }

    async fn standing(&self, partition: Partition) -> Result<Standing, Error> {
        outbox::standing(&self.pool, partition).await
    }

    async fn keeps_index(&self, wanted: Option<bool>) -> Result<bool, Error> {
        let keeps = migrate::keeps_index(&self.pool, wanted.unwrap_or(true)).await?;
        if wanted.is_none_or(|wanted| wanted == keeps) {
            return Ok(keeps);
        }
        Err(Error::Broken(format!(
            "all stores of a database keep an index of lists or none does, and this one began with store.lists = {keeps}; set that, \
             or change it for all as docs/operations.md says"
        )))
    }

    async fn index(&self, types: Option<Vec<Arc<EntityType>>>) -> Result<(), Error> {
        index::make(&self.pool, types).await
    }

    async fn load(&self, keys: Vec<Key>, commands: Vec<CommandId>, idempotency: Vec<Digest>) -> Result<Loaded, Error> {
        read::load(&self.pool, keys, commands, idempotency).await
    }

    async fn list(&self, entity_type: Arc<EntityType>, query: ListQuery) -> Result<Page, Error> {
        list::page(&self.pool, &entity_type, &query).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        commit::run(&self.pool, batch).await
    }

    async fn unpublished(&self, partition: Partition, after: u64, limit: usize) -> Result<Vec<Outgoing>, Error> {
        outbox::unpublished(&self.pool, partition, after, limit).await
    }

    async fn mark(&self, partition: Partition, owner: u64, marks: Marks) -> Result<(), Error> {
        outbox::mark(&self.pool, partition, owner, marks).await
    }
}
