//! Settings: from a file, then the environment, then flags; checked as a whole before a port is bound.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use contract::Registry;
use figment::Figment;
use figment::error::{Kind, OneOf};
use figment::providers::{Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};

mod environment;
mod scaled;
mod secret;
mod sections;

use environment::Environment;
pub use scaled::{Location, Role};
pub use secret::{Properties, Secret};
pub use sections::{Cache, Database, Feed, Http, Kafka, Log, Redis, Snapshot, Store, Stream};

/// The annotated defaults, as `dos config` prints them.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// A host's name or a port alone is no address to listen on.
const ADDRESS_HINT: &str = "; ADDRESS:PORT needs an IP address and a port, such as 127.0.0.1:8080";

/// What `dos serve`, `dos gateway` and `dos store` are told.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address of the API.
    pub listen: SocketAddr,
    /// Address of the metrics.
    pub admin_listen: Option<SocketAddr>,
    /// Folder of the data.
    pub data_dir: PathBuf,
    /// Folder of entity types.
    pub entities: Option<PathBuf>,
    /// Where reads come from.
    pub views: Views,
    /// What callers without credentials may do.
    pub anonymous: Option<Anonymous>,
    /// Where clients reach the API.
    pub public_url: Option<String>,
    /// Names this instance; not set, it gets a name that no other has.
    pub instance: Option<String>,
    /// Of the HTTP side.
    pub http: Http,
    /// Of the on-demand views.
    pub cache: Cache,
    /// Of the cache that gateways share.
    pub redis: Redis,
    /// Of the materialised view's snapshots.
    pub snapshot: Snapshot,
    /// Of the change feed.
    pub feed: Feed,
    /// Of the embedded stream.
    pub stream: Stream,
    /// Of the stream on Kafka.
    pub kafka: Kafka,
    /// Of the data store's database beside Kafka.
    pub database: Database,
    /// Of the data store.
    pub store: Store,
    /// Of the log.
    pub log: Log,
}

/// Where reads come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Views {
    /// The complete view in memory.
    Materialised,
    /// A bounded cache, then a retrieve event.
    OnDemand,
}

/// What callers without credentials may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: None,
            data_dir: "dos-data".into(),
            entities: None,
            views: Views::Materialised,
            anonymous: None,
            public_url: None,
            instance: None,
            http: Http::default(),
            cache: Cache::default(),
            redis: Redis::default(),
            snapshot: Snapshot::default(),
            feed: Feed::default(),
            stream: Stream::default(),
            kafka: Kafka::default(),
            database: Database::default(),
            store: Store::default(),
            log: Log::default(),
        }
    }
}

impl Settings {
    /// Reads the file, if there is one, the environment, then what `flags` serialises to.
    ///
    /// # Errors
    /// The setting's name, where it came from, and what is wrong with it.
    pub fn load(file: Option<&Path>, flags: &impl Serialize) -> anyhow::Result<Self> {
        let mut figment = Figment::new();
        if let Some(file) = file {
            // The provider takes a file that is missing for an empty one.
            std::fs::read_to_string(file)
                .with_context(|| format!("the settings file {} cannot be read", file.display()))?;
            figment = figment.merge(Toml::file_exact(file));
        }
        figment = figment.merge(Environment::new()).merge(Serialized::defaults(flags));
        let settings: Self = figment.extract().map_err(|error| {
            let faults: Vec<String> = error.into_iter().map(|fault| explain(&fault)).collect();
            anyhow::anyhow!("{}", faults.join("; "))
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// Whether the API's address may be as open as it is; of a store alone nobody asks.
    ///
    /// # Errors
    /// What to say besides.
    pub fn check_listen(&self) -> anyhow::Result<()> {
        if self.anonymous.is_none() && !is_loopback(self.listen.ip()) {
            bail!(
                "listen: {} can be reached from other machines, and this gateway lets everyone in; say with \
                 --anonymous read or --anonymous write what they may do",
                self.listen
            );
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        if let Some(url) = &self.public_url {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let fits = rest.is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#<>\"".contains(&b))
            });
            if !fits {
                bail!("public_url: {url:?} is not of the form https://host/path");
            }
        }
        if let Some(instance) = &self.instance
            && !contract::EntityId::is_valid(instance)
        {
            bail!("instance: {instance:?} is not 1 to 64 of A-Z a-z 0-9 . _ -");
        }
        let at_least = [
            ("http.in_flight_max", self.http.in_flight_max as u64, 1),
            ("http.connections_max", self.http.connections_max as u64, 1),
            ("http.write_wait_ms", self.http.write_wait_ms, 1),
            ("http.read_wait_ms", self.http.read_wait_ms, 1),
            ("http.receive_timeout_ms", self.http.receive_timeout_ms, 1),
            ("cache.ttl_s", self.cache.ttl_s, 1),
            ("snapshot.interval_s", self.snapshot.interval_s, 1),
            ("feed.hours", self.feed.hours, 1),
            ("feed.subscribers_max", self.feed.subscribers_max as u64, 1),
            ("feed.buffer_bytes", self.feed.buffer_bytes as u64, 64 << 10),
            ("feed.heartbeat_ms", self.feed.heartbeat_ms, 100),
            ("stream.partitions", u64::from(self.stream.partitions.unwrap_or(1)), 1),
            ("stream.retention_hours", self.stream.retention_hours, 24),
            // A body of 1 MiB, written as JSON once more, with its headers.
            ("stream.message_bytes_max", self.stream.message_bytes_max as u64, 2 << 20),
            ("kafka.partitions", u64::from(self.kafka.partitions.unwrap_or(1)), 1),
            ("kafka.replication", u64::from(self.kafka.replication.unwrap_or(1)), 1),
            ("kafka.min_insync_replicas", u64::from(self.kafka.min_insync_replicas.unwrap_or(1)), 1),
            ("kafka.retention_hours", self.kafka.retention_hours, 24),
            // What topics must take, or the largest objects would be refused.
            ("kafka.message_bytes_max", self.kafka.message_bytes_max as u64, 1 << 20),
            ("kafka.append_timeout_ms", self.kafka.append_timeout_ms, 100),
            ("kafka.session_timeout_ms", self.kafka.session_timeout_ms, 1000),
            ("database.connections_max", self.database.connections_max as u64, 2),
            ("store.batch_max", self.store.batch_max as u64, 1),
            ("store.outcome_retention_hours", self.store.outcome_retention_hours, 24),
        ];
        for (name, value, least) in at_least {
            if value < least {
                bail!("{name}: {value} is below {least}");
            }
        }
        for (name, value, most) in [
            ("http.connections_max", self.http.connections_max as u64, 1 << 20),
            ("stream.partitions", u64::from(self.stream.partitions.unwrap_or(1)), 1024),
            ("kafka.partitions", u64::from(self.kafka.partitions.unwrap_or(1)), 1024),
            ("kafka.message_bytes_max", self.kafka.message_bytes_max as u64, 64 << 20),
            ("kafka.append_timeout_ms", self.kafka.append_timeout_ms, 15 * 60 * 1000),
            ("kafka.session_timeout_ms", self.kafka.session_timeout_ms, 5 * 60 * 1000),
            ("database.connections_max", self.database.connections_max as u64, 1000),
        ] {
            if value > most {
                bail!("{name}: {value} is above {most}");
            }
        }
        self.shared_cache().map(drop)
    }

    /// The entity types: the embedded ones, with those of `entities` on top.
    ///
    /// # Errors
    /// The file and what is wrong with it.
    pub fn registry(&self) -> anyhow::Result<Registry> {
        registry(self.entities.as_deref())
    }

    /// The cache that gateways share, if there is one.
    ///
    /// # Errors
    /// The setting's name, and what is wrong with it.
    pub fn shared_cache(&self) -> anyhow::Result<Option<gateway::SharedCache>> {
        let Some(url) = &self.redis.url else { return Ok(None) };
        let prefix = &self.redis.prefix;
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_graphic()) {
            bail!("redis.prefix: {prefix:?} is not of letters, digits and signs");
        }
        let ca_file = match &self.redis.ca_file {
            Some(path) => {
                let pem = std::fs::read(path);
                Some(pem.with_context(|| format!("redis.ca_file: {} cannot be read", path.display()))?)
            }
            None => None,
        };
        // The text is not shown, for it may hold a password.
        let cache = gateway::SharedCache::new(url.reveal(), prefix, ca_file);
        cache.map(Some).map_err(|reason| anyhow::anyhow!("redis.url: {reason}"))
    }

    /// The gateway's part, under this name.
    ///
    /// # Errors
    /// The setting's name, and what is wrong with it.
    pub fn gateway(&self, instance: &str) -> anyhow::Result<gateway::Config> {
        let millis = Duration::from_millis;
        Ok(gateway::Config {
            instance: instance.to_owned(),
            public_url: self.public_url.as_deref().unwrap_or_default().trim_end_matches('/').to_owned(),
            topic_prefix: match self.kafka.brokers {
                Some(_) => self.kafka.topic_prefix.clone(),
                None => String::new(),
            },
            views: match self.views {
                Views::Materialised => gateway::ViewMode::Materialised,
                Views::OnDemand => gateway::ViewMode::OnDemand,
            },
            in_flight_max: self.http.in_flight_max,
            connections_max: self.http.connections_max,
            write_wait: millis(self.http.write_wait_ms),
            read_wait: millis(self.http.read_wait_ms),
            receive_timeout: millis(self.http.receive_timeout_ms),
            drain_timeout: millis(self.http.drain_timeout_ms),
            cache_bytes: self.cache.size_bytes,
            cache_ttl: Duration::from_secs(self.cache.ttl_s),
            not_found_ttl: Duration::from_secs(self.cache.not_found_ttl_s),
            shared_cache: self.shared_cache()?,
            snapshot_dir: self.snapshot.dir.clone(),
            snapshot_every: Duration::from_secs(self.snapshot.interval_s),
            feed: gateway::FeedConfig {
                hours: self.feed.hours,
                subscribers_max: self.feed.subscribers_max,
                buffer_bytes: self.feed.buffer_bytes,
                heartbeat: millis(self.feed.heartbeat_ms),
            },
        })
    }

    /// What callers of the API without credentials may do.
    pub fn access(&self) -> gateway::Access {
        match self.anonymous {
            Some(Anonymous::Read) => gateway::Access::Read,
            Some(Anonymous::Write) | None => gateway::Access::Write,
        }
    }

    /// The embedded stream's part.
    pub fn stream(&self) -> stream::embedded::Options {
        stream::embedded::Options {
            partitions: self.stream.partitions.unwrap_or(stream::embedded::Options::default().partitions),
            partitions_strict: self.stream.partitions.is_some(),
            retention: Duration::from_secs(self.stream.retention_hours.saturating_mul(3600)),
            message_bytes_max: self.stream.message_bytes_max,
            file_bytes_max: (self.stream.file_bytes_max > 0).then_some(self.stream.file_bytes_max),
            ..Default::default()
        }
    }

    /// The store's part, under this name.
    pub fn store(&self, instance: &str) -> store::Config {
        store::Config {
            instance: instance.to_owned(),
            batch_max: self.store.batch_max,
            outcome_retention: Duration::from_secs(self.store.outcome_retention_hours.saturating_mul(3600)),
            // A materialised view answers its lists itself, but gateways that nobody here knows of may share a PostgreSQL.
            lists: self.store.lists.or_else(|| (!self.shares_database()).then_some(self.views == Views::OnDemand)),
        }
    }
}

/// The embedded entity types, with those of a folder on top.
///
/// # Errors
/// The file and what is wrong with it.
pub fn registry(folder: Option<&Path>) -> anyhow::Result<Registry> {
    let mut files = Vec::new();
    if let Some(folder) = folder {
        let context = || format!("entities: the folder {} cannot be read", folder.display());
        for entry in std::fs::read_dir(folder).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("entities: {} cannot be read", path.display()))?;
            files.push((name, text));
        }
        if files.is_empty() {
            bail!("entities: there is no TYPE.json in {}", folder.display());
        }
        files.sort();
    }
    Registry::with_files(&files).context("entities")
}

/// A fault with the setting's name and its source.
fn explain(fault: &figment::Error) -> String {
    let name = fault.path.join(".");
    // The library puts its marks around the whole list of what would do, which has marks itself.
    let fault_text = match &fault.kind {
        Kind::UnknownVariant(found, known) => format!("unknown variant: found `{found}`, expected {}", OneOf(known)),
        Kind::UnknownField(found, known) => format!("unknown field: found `{found}`, expected {}", OneOf(known)),
        kind => kind.to_string().trim_end().to_owned(),
    };
    let hint = if matches!(name.as_str(), "listen" | "admin_listen") { ADDRESS_HINT } else { "" };
    let source = fault.metadata.as_ref().map(|metadata| match &metadata.source {
        Some(source) => format!(" (from {source})"),
        None => format!(" (from {})", metadata.name),
    });
    let prefix = if name.is_empty() { String::new() } else { format!("{name}: ") };
    format!("{prefix}{fault_text}{hint}{}", source.unwrap_or_default())
}

/// What `--listen` takes.
///
/// # Errors
/// What is wrong, and what an address looks like.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|error| format!("{error}{ADDRESS_HINT}"))
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}
