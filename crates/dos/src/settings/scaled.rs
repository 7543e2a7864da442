//! Which parts run, and where the stream and the database of the scaled shape are.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use contract::Env;

use super::Settings;

/// The parts that a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gateway and store.
    Both,
    /// A gateway.
    Gateway,
    /// A store.
    Store,
}

/// Where a store keeps its entities.
#[derive(Clone, Debug)]
pub enum Location {
    /// In the embedded stream's own file.
    Stream,
    /// In a file in this folder, beside Kafka.
    Folder(PathBuf),
    /// In PostgreSQL.
    Postgres(store::PostgresOptions),
}

impl Role {
    /// Whether a gateway is among them.
    pub fn has_gateway(self) -> bool {
        self != Self::Store
    }

    /// Whether a store is among them.
    pub fn has_store(self) -> bool {
        self != Self::Gateway
    }
}

impl Settings {
    /// This instance's name: the one that was set, or one that no other process has.
    pub fn instance(&self, env: &dyn Env) -> String {
        let made = || env.random().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        self.instance.clone().unwrap_or_else(made)
    }

    /// Checks what these parts need; where the store among them, if there is one, keeps its entities.
    ///
    /// # Errors
    /// The setting's name, and what is wrong with it.
    pub fn location(&self, role: Role) -> anyhow::Result<Option<Location>> {
        let is_scaled = self.kafka.brokers.is_some();
        if !is_scaled && role != Role::Both {
            bail!(
                "kafka.brokers: gateway and store of their own meet on Kafka; say with --kafka HOST:PORT where it is, or run \
                 both in one process with `dos serve`"
            );
        }
        self.check_kafka()?;
        if !role.has_store() {
            return Ok(None);
        }
        let Some(url) = &self.database.url else {
            if is_scaled {
                bail!(
                    "database.url: with Kafka the store needs a database; say with --database postgres://.. or \
                     --database sqlite:DIR where"
                );
            }
            return Ok(Some(Location::Stream));
        };
        if !is_scaled {
            bail!(
                "database.url: without Kafka the entities are in the data folder, beside their events; leave it out, or \
                 say with --kafka HOST:PORT where the brokers are"
            );
        }
        self.database(url.reveal()).map(Some)
    }

    /// Whether other stores may work on the same database.
    pub(super) fn shares_database(&self) -> bool {
        self.database.url.as_ref().is_some_and(|url| !url.reveal().starts_with("sqlite:"))
    }

    /// Whether Kafka's settings can be used, by this program.
    ///
    /// # Errors
    /// The setting and what is wrong with it, or how to build a program that can.
    pub fn check_kafka(&self) -> anyhow::Result<()> {
        if self.kafka.brokers.is_some() && !cfg!(feature = "kafka") {
            bail!(
                "kafka.brokers: this program was built without Kafka; build it with: cargo build --release -p dos \
                 --features kafka (which needs a C compiler, cmake and the headers of OpenSSL)"
            );
        }
        #[cfg(feature = "kafka")]
        if let Some(options) = self.kafka("check") {
            options.check().map_err(|error| anyhow!("kafka.{error}"))?;
        }
        Ok(())
    }

    /// The text holds a password, perhaps, and is not shown.
    fn database(&self, url: &str) -> anyhow::Result<Location> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                bail!("database.url: sqlite:DIR needs a folder");
            }
            return Ok(Location::Folder(path.into()));
        }
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            bail!(
                "database.url: it begins with postgres:// or sqlite: (the text is not shown, for it may hold a password)"
            );
        }
        let options = store::PostgresOptions {
            schema: self.database.schema.clone(),
            ca_file: self.database.ca_file.clone(),
            connections_max: self.database.connections_max,
            ..store::PostgresOptions::new(url)
        };
        options.check().map_err(|error| anyhow!("database: {error}"))?;
        Ok(Location::Postgres(options))
    }

    /// The part of the stream on Kafka, if that is the one; `instance` is what brokers see in their logs.
    #[cfg(feature = "kafka")]
    pub fn kafka(&self, instance: &str) -> Option<stream::kafka::Options> {
        let kafka = &self.kafka;
        Some(stream::kafka::Options {
            brokers: kafka.brokers.clone()?,
            topic_prefix: kafka.topic_prefix.clone(),
            client_id: format!("dos-{instance}"),
            create_topics: kafka.create_topics,
            partitions: kafka.partitions,
            replication: kafka.replication,
            min_insync_replicas: kafka.min_insync_replicas,
            retention: std::time::Duration::from_secs(kafka.retention_hours.saturating_mul(3600)),
            message_bytes_max: kafka.message_bytes_max,
            append_timeout: std::time::Duration::from_millis(kafka.append_timeout_ms),
            session_timeout: std::time::Duration::from_millis(kafka.session_timeout_ms),
            properties: kafka.properties.0.clone(),
            ..stream::kafka::Options::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Database, Kafka};

    fn refusal(role: Role, brokers: Option<&str>, url: Option<&str>) -> String {
        let kafka = Kafka { brokers: brokers.map(str::to_owned), ..Kafka::default() };
        let database = Database { url: url.map(Into::into), ..Database::default() };
        let settings = Settings { kafka, database, ..Settings::default() };
        settings.location(role).map_or_else(|error| error.to_string(), |location| format!("taken: {location:?}"))
    }

    #[test]
    fn what_is_missing_is_named_and_passwords_are_not() {
        for (role, brokers, url, reason) in [
            (Role::Gateway, None, None, "kafka.brokers: "),
            (Role::Store, None, Some("sqlite:x"), "kafka.brokers: "),
            (Role::Both, None, Some("sqlite:x"), "database.url: without Kafka"),
            (Role::Both, Some("a:1"), None, "database.url: with Kafka"),
            (Role::Store, Some("a:1"), Some("sqlite:"), "database.url: sqlite:DIR"),
            (Role::Store, Some("a:1"), Some("mysql://u:hunter2@h/d"), "database.url: it begins with"),
            (Role::Store, Some("a:1"), Some("postgres://u:hunter2@h/d?nothing=1"), "database: "),
            (Role::Store, Some("a:1"), Some("postgres://u:hunter2@h/d"), "taken: "),
            (Role::Store, Some("a:1"), Some("sqlite://dir"), "taken: Some(Folder(\"dir\"))"),
            (Role::Gateway, Some("a:1"), None, "taken: None"),
            (Role::Both, None, None, "taken: Some(Stream)"),
        ] {
            let said = refusal(role, brokers, url);
            assert!(said.starts_with(reason) && !said.contains("hunter2"), "{role:?} {url:?}: {said}");
        }
    }
}
