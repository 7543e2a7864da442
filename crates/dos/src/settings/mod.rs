//! Settings: from a file, then the environment, then flags; checked as a whole before a port is bound.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use contract::Registry;
use figment::error::{Kind, OneOf};
use figment::providers::{Env, Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Serialize};

/// The annotated defaults, as `dos config` prints them.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// A host's name or a port alone is no address to listen on.
const ADDRESS_HINT: &str = "; ADDRESS:PORT needs an IP address and a port, such as 127.0.0.1:8080";

/// Variables that are for tests and not settings.
const NOT_SETTINGS: &str = "DOS_TEST_";

/// What `dos serve` is told.
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
    /// Names this instance.
    pub instance: String,
    /// Of the HTTP side.
    pub http: Http,
    /// Of the on-demand views.
    pub cache: Cache,
    /// Of the embedded stream.
    pub stream: Stream,
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
    /// `[stream]`
    Stream {
        /// Partitions of the file; not set, a new one has 4.
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
    /// `[store]`
    Store {
        /// The most commands of one transaction.
        batch_max: usize = 256,
        /// How long outcomes are remembered.
        outcome_retention_hours: u64 = 48,
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
            instance: "1".to_owned(),
            http: Http::default(),
            cache: Cache::default(),
            stream: Stream::default(),
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

    fn check(&self) -> anyhow::Result<()> {
        if self.anonymous.is_none() && !is_loopback(self.listen.ip()) {
            bail!(
                "listen: {} can be reached from other machines, and this gateway lets everyone in; say with \
                 --anonymous read or --anonymous write what they may do",
                self.listen
            );
        }
        if let Some(url) = &self.public_url {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let fits = rest.is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#<>\"".contains(&b))
            });
            if !fits {
                bail!("public_url: {url:?} is not of the form https://host/path");
            }
        }
        if self.instance.is_empty() || !contract::EntityId::is_valid(&self.instance) {
            bail!("instance: {:?} is not 1 to 64 of A-Z a-z 0-9 . _ -", self.instance);
        }
        let at_least = [
            ("http.in_flight_max", self.http.in_flight_max as u64, 1),
            ("http.connections_max", self.http.connections_max as u64, 1),
            ("http.write_wait_ms", self.http.write_wait_ms, 1),
            ("http.read_wait_ms", self.http.read_wait_ms, 1),
            ("http.receive_timeout_ms", self.http.receive_timeout_ms, 1),
            ("cache.ttl_s", self.cache.ttl_s, 1),
            ("stream.partitions", u64::from(self.stream.partitions.unwrap_or(1)), 1),
            ("stream.retention_hours", self.stream.retention_hours, 24),
            // A body of 1 MiB, written as JSON once more, with its headers.
            ("stream.message_bytes_max", self.stream.message_bytes_max as u64, 2 << 20),
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
        ] {
            if value > most {
                bail!("{name}: {value} is above {most}");
            }
        }
        Ok(())
    }

    /// The entity types: the embedded ones, with those of `entities` on top.
    ///
    /// # Errors
    /// The file and what is wrong with it.
    pub fn registry(&self) -> anyhow::Result<Registry> {
        registry(self.entities.as_deref())
    }

    /// The gateway's part.
    pub fn gateway(&self) -> gateway::Config {
        let millis = Duration::from_millis;
        gateway::Config {
            instance: self.instance.clone(),
            public_url: self.public_url.as_deref().unwrap_or_default().trim_end_matches('/').to_owned(),
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
        }
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

    /// The store's part.
    pub fn store(&self) -> store::Config {
        store::Config {
            instance: self.instance.clone(),
            batch_max: self.store.batch_max,
            outcome_retention: Duration::from_secs(self.store.outcome_retention_hours.saturating_mul(3600)),
            // A materialised view answers its lists itself.
            lists: self.views == Views::OnDemand,
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

/// The variables that are settings.
struct Environment(Env);

impl Environment {
    fn new() -> Self {
        let is_setting = |name: &str| !format!("DOS_{name}").to_uppercase().starts_with(NOT_SETTINGS);
        Self(Env::prefixed("DOS_").filter(move |name| is_setting(name.as_str())).split("__"))
    }

    /// No setting outside of a section is a number, nor is one of the log: `DOS_INSTANCE=1` is text.
    fn value(name: &str, text: String) -> Value {
        let is_text = !name.contains('.') || name.starts_with("log.");
        match text.trim().parse::<u64>() {
            Ok(number) if !is_text => Value::from(number),
            _ => Value::from(text),
        }
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("the environment, DOS_...")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut settings = Dict::new();
        for (name, text) in self.0.iter() {
            let name = name.as_str();
            let value = Self::value(name, text);
            match name.split_once('.') {
                None => drop(settings.insert(name.to_owned(), value)),
                Some((section, name)) => {
                    let section = settings.entry(section.to_owned()).or_insert_with(|| Value::from(Dict::new()));
                    // Anything else is a variable of the section's own name, which is refused when it is read.
                    if let Value::Dict(_, section) = section {
                        section.insert(name.to_owned(), value);
                    }
                }
            }
        }
        Ok(Profile::Default.collect(settings))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_a_variable_stays_text() {
        let text = |name: &str, text: &str| assert_eq!(Environment::value(name, text.to_owned()), Value::from(text));
        for name in ["instance", "public_url", "entities", "data_dir", "listen", "log.filter"] {
            for value in ["1", "007", "true", "1.10", "{a=1}", "[x]", "\"q\""] {
                text(name, value);
            }
        }
        text("http.write_wait_ms", "long");
        text("http.write_wait_ms", "-1");
        assert_eq!(Environment::value("stream.partitions", "8".to_owned()), Value::from(8_u64));
    }

    /// What [`Environment::value`] takes for granted.
    #[test]
    fn numbers_stand_in_sections_other_than_the_log() {
        let settings = serde_json::to_value(Settings::default()).unwrap();
        for (name, value) in settings.as_object().unwrap() {
            assert!(!value.is_number() && !value.is_boolean(), "{name}");
            for (inner, value) in value.as_object().into_iter().flatten() {
                let is_optional_number = (name.as_str(), inner.as_str()) == ("stream", "partitions");
                assert_eq!(value.is_number() || is_optional_number, name != "log", "{name}.{inner}");
            }
        }
    }
}
