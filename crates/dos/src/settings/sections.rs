//! The sections of the settings, each with its defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::LogFormat;
use super::secret::{Properties, Secret};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self { Self { $($field: $default,)* } }
        }
    };
}

section! {
    /// `[http]`
    Http {
        /// Commands that may wait at once.
        in_flight_max: usize = 10_000,
        /// Connections at once.
        connections_max: usize = 10_000,
        /// How long a write waits for its view.
        write_wait_ms: u64 = 5_000,
        /// How long a read waits for the data store.
        read_wait_ms: u64 = 5_000,
        /// How long a request may take to arrive.
        receive_timeout_ms: u64 = 10_000,
        /// How long requests may take after SIGTERM.
        drain_timeout_ms: u64 = 10_000,
    }
}
section! {
    /// `[cache]`
    Cache {
        /// Views held.
        size_bytes: u64 = 256 << 20,
        /// How long a view is held.
        ttl_s: u64 = 3_600,
        /// How long a not-found is remembered.
        not_found_ttl_s: u64 = 60,
    }
}
section! {
    /// `[redis]`, the cache that gateways share
    Redis {
        /// Where it is; not set, there is none.
        url: Option<Secret> = None,
        /// What all its keys begin with.
        prefix: String = "dos:v1".to_owned(),
        /// Certificates to trust instead of the system's.
        ca_file: Option<PathBuf> = None,
    }
}
section! {
    /// `[snapshot]`, of the materialised view
    Snapshot {
        /// Folder of the snapshots; not set, none are made.
        dir: Option<PathBuf> = None,
        /// How often one is written.
        interval_s: u64 = 600,
    }
}
section! {
    /// `[feed]`, the changes that clients follow
    Feed {
        /// The oldest position that is resumed from.
        hours: u64 = 168,
        /// Streams at once.
        subscribers_max: usize = 2_000,
        /// Changes held in memory.
        buffer_bytes: usize = 32 << 20,
        /// How often an idle stream says that it is there.
        heartbeat_ms: u64 = 15_000,
    }
}
section! {
    /// `[stream]`, of the embedded stream
    Stream {
        /// Partitions of the file; not set, a new one has 2.
        partitions: Option<u32> = None,
        /// How long commands and replies are kept.
        retention_hours: u64 = 48,
        /// The largest message.
        message_bytes_max: usize = 2 << 20,
        /// The largest file; 0 is without limit.
        file_bytes_max: u64 = 0,
    }
}
section! {
    /// `[kafka]`
    Kafka {
        /// Where the brokers are; not set, the stream is the embedded one.
        brokers: Option<String> = None,
        /// Stands before the names of topics and groups.
        topic_prefix: String = String::new(),
        /// Whether missing topics are made.
        create_topics: bool = true,
        /// Partitions of the topics; not set, those that exist have any number, and those that are made 4.
        partitions: Option<u32> = None,
        /// Replicas of topics that are made.
        replication: Option<u16> = None,
        /// `min.insync.replicas` of topics that are made.
        min_insync_replicas: Option<u16> = None,
        /// How long commands and replies are kept in topics that are made.
        retention_hours: u64 = 48,
        /// The largest message, and `max.message.bytes` of topics that are made.
        message_bytes_max: usize = 2 << 20,
        /// How long an append may wait for its acknowledgement.
        append_timeout_ms: u64 = 30_000,
        /// How long a store may not be heard of before others get its partitions.
        session_timeout_ms: u64 = 6_000,
        /// Properties of librdkafka.
        properties: Properties = Properties::default(),
    }
}
section! {
    /// `[database]`
    Database {
        /// Where the entities are.
        url: Option<Secret> = None,
        /// The schema of the tables, in PostgreSQL.
        schema: Option<String> = None,
        /// Certificates to trust, with TLS to PostgreSQL.
        ca_file: Option<PathBuf> = None,
        /// The most connections to PostgreSQL.
        connections_max: usize = 16,
    }
}
section! {
    /// `[store]`
    Store {
        /// The most commands of one transaction.
        batch_max: usize = 256,
        /// How long outcomes are remembered.
        outcome_retention_hours: u64 = 48,
        /// Whether the index of lists is kept.
        lists: Option<bool> = None,
    }
}
section! {
    /// `[log]`
    Log {
        /// Which events.
        filter: String = "info".to_owned(),
        /// How they are written.
        format: LogFormat = LogFormat::Text,
    }
}
