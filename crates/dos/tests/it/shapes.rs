//! The shapes that the API suite runs on. Each system has topics and tables of its own on servers that all share.

use contract::Env as _;
use dos::env::System;
use dos::settings::{Database, Kafka, Redis, Settings, Views};
use tempfile::TempDir;

/// The back ends of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One file, all views in memory.
    Embedded,
    /// One file, views on demand.
    EmbeddedOnDemand,
    /// One file, views on demand with Redis.
    EmbeddedRedis,
    /// Kafka and PostgreSQL, all views in memory.
    KafkaPostgres,
    /// Kafka and PostgreSQL, views on demand with Redis.
    KafkaPostgresRedis,
    /// Kafka and a file, all views in memory.
    KafkaSqlite,
}

impl Shape {
    /// Settings of a system of its own, with its files in this folder.
    pub(crate) fn settings(self, folder: &TempDir) -> Settings {
        let is_on_demand = matches!(self, Self::EmbeddedOnDemand | Self::EmbeddedRedis | Self::KafkaPostgresRedis);
        let name = System::new().uuid().simple();
        let kafka = Kafka {
            brokers: Some(server("DOS_TEST_KAFKA", "kafka")),
            topic_prefix: format!("it-{name}."),
            // A broker takes its time for each; two are enough for what only several show.
            partitions: Some(2),
            ..Kafka::default()
        };
        let (kafka, database) = match self {
            Self::Embedded | Self::EmbeddedOnDemand | Self::EmbeddedRedis => (Kafka::default(), Database::default()),
            Self::KafkaPostgres | Self::KafkaPostgresRedis => {
                let url = Some(server("DOS_TEST_POSTGRES", "postgres").as_str().into());
                (kafka, Database { url, schema: Some(format!("it_{name}")), ..Database::default() })
            }
            Self::KafkaSqlite => {
                let url = format!("sqlite:{}", folder.path().join("store").display());
                (kafka, Database { url: Some(url.as_str().into()), ..Database::default() })
            }
        };
        let redis = match self {
            Self::EmbeddedRedis | Self::KafkaPostgresRedis => {
                let url = Some(server("DOS_TEST_REDIS", "redis").as_str().into());
                Redis { url, prefix: format!("it:{name}"), ..Redis::default() }
            }
            _ => Redis::default(),
        };
        Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: folder.path().join("data"),
            views: if is_on_demand { Views::OnDemand } else { Views::Materialised },
            redis,
            kafka,
            database,
            ..Settings::default()
        }
    }

    /// Whether gateway and store may run in processes of their own.
    pub(crate) fn is_scaled(self) -> bool {
        !matches!(self, Self::Embedded | Self::EmbeddedOnDemand | Self::EmbeddedRedis)
    }
}

/// Where a server is that tests share.
pub(crate) fn server(variable: &str, name: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set: this test needs a server; start it with `cargo xtask servers {name}` and set what it \
             prints, or run `cargo xtask test tests`"
        )
    })
}
