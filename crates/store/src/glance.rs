//! Whether a store would be let to its work, asked without changing anything: the checks of [`crate::consumer`] before a
//! partition's first command, on tables that are looked at as they are.

use contract::{Key, Offset, Partition};
use rusqlite::OptionalExtension as _;
use stream::Stream;
use stream::embedded::Follower;

use crate::Database as _;
use crate::consumer::first;
use crate::database::postgres::Postgres;
use crate::database::{Error, Log, sqlite};

/// A database, without its migrations.
pub enum Glance {
    /// Tables are yet to be made.
    Empty,
    /// In PostgreSQL.
    Server(Postgres),
    /// In a file that another process may have.
    File(Follower),
}

impl Glance {
    /// The tables in a file.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn of_file(file: Follower) -> Result<Self, Error> {
        let tables = "SELECT 1 FROM sqlite_master WHERE name = 'store_meta'";
        let found = file.query(|connection| connection.query_row(tables, (), |_| Ok(())).optional());
        Ok(if found.map_err(transient)?.is_some() { Self::File(file) } else { Self::Empty })
    }

    /// The log that the tables in a file belong to; none where they belong to none, or are elsewhere.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn log(&self) -> Result<Option<Log>, Error> {
        let Self::File(file) = self else { return Ok(None) };
        let cluster = meta(file, "cluster")?;
        let partitions = meta(file, "partitions")?.and_then(|count| count.parse().ok());
        Ok(cluster.zip(partitions).map(|(cluster, partitions)| Log { cluster, partitions }))
    }

    /// Why a store on this database would be refused by topics with so many partitions, which `claimed` has claimed.
    ///
    /// # Errors
    /// Where stream or tables do not answer, or the tables have another program's layout.
    pub async fn refusal(
        &self,
        stream: &dyn Stream,
        partitions: u32,
        claimed: Option<&str>,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        let own = self.name().await?;
        for partition in 0..partitions {
            if self.position(partition).await?.is_some() {
                continue;
            }
            if let Some(first) = claimed.filter(|first| own.as_deref() != Some(first)) {
                return Ok(Some(first::claimed(first, own.as_deref())));
            }
            for key in first::viewed(stream, partition).await? {
                if !self.has(&key).await? {
                    return Ok(Some(first::has_view(&key)));
                }
            }
        }
        Ok(None)
    }

    async fn name(&self) -> Result<Option<String>, Error> {
        match self {
            Self::Empty => Ok(None),
            Self::Server(database) => database.named().await,
            Self::File(file) => meta(file, "database"),
        }
    }

    async fn position(&self, partition: Partition) -> Result<Option<Offset>, Error> {
        match self {
            Self::Empty => Ok(None),
            Self::Server(database) => Ok(database.standing(partition).await?.position),
            Self::File(file) => {
                let standing = file.query(|connection| sqlite::standing(connection, partition));
                Ok(standing.map_err(transient)?.position)
            }
        }
    }

    async fn has(&self, key: &Key) -> Result<bool, Error> {
        let loaded = match self {
            Self::Empty => return Ok(false),
            Self::Server(database) => database.load(vec![key.clone()], Vec::new(), Vec::new()).await?,
            Self::File(file) => file.query(|connection| sqlite::load(connection, key.clone())).map_err(transient)??,
        };
        Ok(loaded.entities.contains_key(key))
    }
}

fn meta(file: &Follower, name: &str) -> Result<Option<String>, Error> {
    // A number of partitions is a number there.
    let select = "SELECT CAST(value AS TEXT) FROM store_meta WHERE name = ?1";
    file.query(|connection| connection.query_row(select, (name,), |row| row.get(0)).optional()).map_err(transient)
}

fn transient(error: impl std::fmt::Display) -> Error {
    Error::Transient(error.to_string())
}
