//! The back ends: which there are, how they are opened, and how they end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use contract::Env;
use store::database::Error;
use store::{Database, Postgres, PostgresOptions, Sqlite};
use stream::Stream;
use stream::embedded::{Embedded, OpenError, Options};

use crate::settings::{Location, Settings};

/// How long to wait before a database that is away is tried again; doubles up to the second.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(4);

/// The event stream.
pub(crate) enum Events {
    /// In a file of this process.
    Embedded(Embedded),
    /// On Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Arc<stream::kafka::Kafka>),
}

impl Events {
    /// Opens the file; on Kafka connects nothing, so that it may be away.
    pub(crate) fn open(settings: &Settings, instance: &str, env: &Arc<dyn Env>) -> anyhow::Result<Self> {
        #[cfg(feature = "kafka")]
        if let Some(options) = settings.kafka(instance) {
            let kafka = stream::kafka::Kafka::open(options, Arc::clone(env));
            return Ok(Self::Kafka(Arc::new(kafka.map_err(|error| anyhow::anyhow!("kafka.{error}"))?)));
        }
        tracing::debug!(instance, "the stream is embedded");
        open_file(&settings.data_dir, settings.stream(), env, "data_dir").map(Self::Embedded)
    }

    pub(crate) fn port(&self) -> Arc<dyn Stream> {
        match self {
            Self::Embedded(embedded) => Arc::new(embedded.clone()),
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => Arc::clone(kafka) as Arc<dyn Stream>,
        }
    }

    /// As a store with these tables may see it: one that commits into the stream's own file reads commands as they are
    /// queued.
    pub(super) fn port_of_store(&self, tables: &Tables) -> Arc<dyn Stream> {
        match (self, tables) {
            (Self::Embedded(embedded), Tables::Stream(_)) => Arc::new(embedded.reading_ahead()),
            _ => self.port(),
        }
    }

    /// Completes, with the reason, when it has failed for good. Kafka never does: it is waited for.
    pub(super) async fn failed(&self) -> String {
        match self {
            Self::Embedded(embedded) => embedded.failed().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => std::future::pending().await,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Embedded(embedded) => embedded.close().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => kafka.close().await,
        }
    }
}

/// The store's database: opened, where it is a file; PostgreSQL may be away.
pub(super) enum Tables {
    /// In the embedded stream's file.
    Stream(Sqlite),
    /// In a file of its own.
    File(Sqlite, Embedded),
    /// On a server.
    Server(PostgresOptions),
}

impl Tables {
    pub(super) async fn open(
        settings: &Settings,
        location: Location,
        events: &Events,
        env: &Arc<dyn Env>,
    ) -> anyhow::Result<Self> {
        let context = "the data store's tables cannot be opened";
        match (location, events) {
            (Location::Stream, Events::Embedded(embedded)) => {
                Ok(Self::Stream(Sqlite::open(embedded.clone()).await.context(context)?))
            }
            // Refused with the settings.
            #[cfg(feature = "kafka")]
            (Location::Stream, Events::Kafka(_)) => {
                anyhow::bail!("database.url: with Kafka the store needs a database")
            }
            (Location::Folder(folder), _) => {
                let file_bytes_max = settings.stream().file_bytes_max;
                let file = open_file(&folder, Options { file_bytes_max, ..Options::default() }, env, "database.url")?;
                Ok(Self::File(Sqlite::beside(file.clone()).await.context(context)?, file))
            }
            (Location::Postgres(options), _) => Ok(Self::Server(options)),
        }
    }

    /// The database, as soon as it is there. An error is for good.
    pub(super) async fn reach(&self, env: &dyn Env) -> Result<Arc<dyn Database>, String> {
        let options = match self {
            Self::Stream(database) | Self::File(database, _) => return Ok(Arc::new(database.clone())),
            Self::Server(options) => options,
        };
        let mut wait = RETRY_FIRST;
        let mut told = None;
        loop {
            let error = match Postgres::open(options).await {
                Ok(database) => return Ok(Arc::new(database)),
                Err(error @ (Error::Broken(_) | Error::Data(_))) => return Err(error.to_string()),
                // Of two that make the tables at once one may meet the other's.
                Err(error) => error,
            };
            if told.as_ref() != Some(&error) {
                tracing::warn!(%error, "the store waits for its database");
                told = Some(error);
            }
            env.sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Completes, with the reason, when a file of its own has failed for good.
    pub(super) async fn failed(&self) -> String {
        match self {
            Self::File(_, file) => file.failed().await,
            Self::Stream(_) | Self::Server(_) => std::future::pending().await,
        }
    }

    pub(super) async fn close(&self) {
        if let Self::File(_, file) = self {
            file.close().await;
        }
    }
}

/// Opens a data file; an error names the setting that is at fault.
fn open_file(folder: &Path, options: Options, env: &Arc<dyn Env>, setting: &'static str) -> anyhow::Result<Embedded> {
    Embedded::open(folder, options, Arc::clone(env)).map_err(|error| {
        let setting = match &error {
            OpenError::Partitions { .. } => "stream.partitions",
            OpenError::NotFolder(_) => setting,
            _ => return error.into(),
        };
        anyhow::Error::new(error).context(setting)
    })
}
