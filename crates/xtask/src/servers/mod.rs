//! Real servers for tests and benches: Kafka from Maven Central, PostgreSQL and Redis from Debian packages.
//!
//! Each listens on free loopback ports, keeps its data below `target/servers/`, and is ended, by its own id, when the
//! value that started it is dropped. A server that a variable of the environment points to is used as it is.

mod certificates;
mod kafka;
mod postgres;
mod process;
mod redis;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::interrupts::Watch;
use crate::shell::workspace_root;

pub use kafka::{Kafka, acls};
pub use postgres::Postgres;
pub use redis::Redis;

/// Tells tests where Kafka wants a password.
const SASL_VARIABLE: &str = "DOS_TEST_KAFKA_SASL";
/// The same over TLS, and the certificate of its authority.
const TLS_VARIABLE: &str = "DOS_TEST_KAFKA_TLS";
const AUTHORITY_VARIABLE: &str = "DOS_TEST_KAFKA_CA";
const INTERRUPT_POLL: Duration = Duration::from_millis(100);

/// Arguments of `servers`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which; all if none is named.
    #[arg(value_enum)]
    kinds: Vec<Kind>,
    /// Brokers of the Kafka cluster; with three, topics have three replicas.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    brokers: u16,
}

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Apache Kafka.
    Kafka,
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
}

impl Kind {
    /// The variable that tells tests where it is.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Kafka => "DOS_TEST_KAFKA",
            Self::Postgres => "DOS_TEST_POSTGRES",
            Self::Redis => "DOS_TEST_REDIS",
        }
    }
}

/// Servers that run until this is dropped.
#[derive(Default)]
pub struct Running {
    /// What tests need to find them.
    pub variables: BTreeMap<&'static str, String>,
    /// Where it was started here.
    pub kafka: Option<Kafka>,
    /// Where it was started here.
    pub postgres: Option<Postgres>,
    /// Where it was started here.
    pub redis: Option<Redis>,
}

/// Starts servers, but for those that variables point to already.
///
/// # Errors
/// What is missing, and the command that installs it; or why a server does not answer.
pub fn start(kinds: &[Kind], brokers: u16) -> Result<Running> {
    let mut running = Running::default();
    for kind in kinds {
        if let Ok(address) = std::env::var(kind.variable()) {
            println!("{} is set: {address} is used", kind.variable());
            running.variables.insert(kind.variable(), address);
            continue;
        }
        let address = match kind {
            Kind::Kafka => running.kafka.insert(Kafka::start(brokers, &[]).context("Kafka")?).address(),
            Kind::Postgres => running.postgres.insert(Postgres::start().context("PostgreSQL")?).address(),
            Kind::Redis => running.redis.insert(Redis::start().context("Redis")?).address(),
        };
        running.variables.insert(kind.variable(), address);
    }
    if let Some(kafka) = &running.kafka {
        running.variables.insert(SASL_VARIABLE, kafka.sasl_address());
        running.variables.insert(TLS_VARIABLE, kafka.tls_address());
        running.variables.insert(AUTHORITY_VARIABLE, kafka.authority().display().to_string());
    }
    Ok(running)
}

/// Starts servers of their own for a test that breaks them, with detours to the brokers (see [`Kafka::detour_ends`]).
///
/// # Errors
/// As [`start`].
pub fn start_to_break(brokers: u16, detours: &[Vec<SocketAddr>]) -> Result<(Kafka, Postgres, Redis)> {
    let kafka = Kafka::start(brokers, detours).context("Kafka")?;
    Ok((kafka, Postgres::start().context("PostgreSQL")?, Redis::start().context("Redis")?))
}

/// Starts them, says where they are, and keeps them until ctrl-c.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let watch = Watch::start();
    let kinds = if arguments.kinds.is_empty() { Kind::value_variants() } else { &arguments.kinds };
    let running = start(kinds, arguments.brokers)?;
    for (name, value) in &running.variables {
        println!("export {name}={value}");
    }
    println!("ctrl-c ends them");
    while !watch.is_interrupted() {
        thread::sleep(INTERRUPT_POLL);
    }
    Ok(())
}

/// `target/servers/<name>`.
fn folder(name: &str) -> PathBuf {
    workspace_root().join("target/servers").join(name)
}

/// An empty folder for the data of one run; another run beside this one has its own.
fn data_folder(name: &str) -> Result<PathBuf> {
    let path = folder(name).join(format!("data-{}", std::process::id()));
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Free loopback ports, all different.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<std::io::Result<_>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
