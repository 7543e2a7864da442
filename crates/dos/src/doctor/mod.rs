//! `dos doctor`: whether what the settings point to is there and in order, and how to mend what is not. Changes nothing.

mod database;
mod file;
#[cfg(feature = "kafka")]
mod kafka;

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use contract::Env;
use store::Glance;
use store::database::Log;

use crate::client::text::printable;
use crate::settings::{Location, Role, Settings, Views};

/// How far the clocks of two machines may differ.
const CLOCK_MAX_MS: i64 = 2_000;

const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

/// Topics that are in use, and what they say of themselves.
struct Served {
    log: Log,
    /// The database that claimed them.
    #[cfg(feature = "kafka")]
    claimed: Option<String>,
    #[cfg(feature = "kafka")]
    options: stream::kafka::Options,
}

/// A store's tables.
struct Tables {
    /// The log that they belong to; none before their first use.
    log: Option<Log>,
    /// None where they cannot be read.
    glance: Option<Glance>,
}

/// What is to be thought of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Fine,
    /// It works, and may not for long.
    Doubt,
    Fault,
}

/// What was found, shown as it comes.
struct Findings {
    color: bool,
    faults: usize,
    doubts: usize,
}

impl Findings {
    fn add(&mut self, level: Level, about: &str, text: &str) -> std::io::Result<()> {
        let (word, color) = match level {
            Level::Fine => ("ok", GREEN),
            Level::Doubt => ("warning", YELLOW),
            Level::Fault => ("problem", RED),
        };
        self.faults += usize::from(level == Level::Fault);
        self.doubts += usize::from(level == Level::Doubt);
        let word = format!("{word:<7}");
        let word = if self.color { format!("{color}{word}{PLAIN}") } else { word };
        // Texts come from servers, too.
        writeln!(std::io::stdout(), "{word}  {}: {}", printable(about), printable(text))
    }

    fn fine(&mut self, about: &str, text: &str) -> std::io::Result<()> {
        self.add(Level::Fine, about, text)
    }

    fn doubt(&mut self, about: &str, text: &str) -> std::io::Result<()> {
        self.add(Level::Doubt, about, text)
    }

    fn fault(&mut self, about: &str, text: &str) -> std::io::Result<()> {
        self.add(Level::Fault, about, text)
    }
}

/// Looks at everything; whether it is in order.
pub(crate) async fn run(settings: &Settings, env: &Arc<dyn Env>) -> anyhow::Result<bool> {
    let mut findings = Findings { color: std::io::stdout().is_terminal(), faults: 0, doubts: 0 };
    match settings.registry() {
        Ok(registry) => findings.fine("entities", &format!("{} types", registry.iter().count()))?,
        Err(error) => findings.fault("entities", &format!("{error:#}"))?,
    }
    // A gateway's settings need no database.
    let role = match settings.kafka.brokers.is_some() && settings.database.url.is_none() {
        true => Role::Gateway,
        false => Role::Both,
    };
    // Of a store nobody asks the API's address.
    if (role == Role::Gateway || settings.kafka.brokers.is_none())
        && let Err(error) = settings.check_listen()
    {
        findings.fault("settings", &format!("{error:#}"))?;
    }
    match settings.location(role) {
        Ok(location) => look(settings, location, env, &mut findings).await?,
        Err(error) => findings.fault("settings", &format!("{error:#}"))?,
    }
    if let Some(folder) = &settings.snapshot.dir {
        file::snapshots(folder, env, &mut findings)?;
    }
    cache(settings, env, &mut findings).await?;
    let Findings { faults, doubts, .. } = findings;
    let said = match (faults, doubts) {
        (0, 0) => "all is well".to_owned(),
        (0, doubts) => format!("it works; warnings: {doubts}"),
        (faults, doubts) => format!("problems: {faults}, warnings: {doubts}"),
    };
    writeln!(std::io::stdout(), "{said}")?;
    Ok(faults == 0)
}

/// The cache that gateways share.
async fn cache(settings: &Settings, env: &Arc<dyn Env>, findings: &mut Findings) -> std::io::Result<()> {
    match settings.shared_cache() {
        Ok(None) => return Ok(()),
        Ok(Some(cache)) => match cache.examine(env).await {
            Ok(text) => findings.fine("redis", &text)?,
            Err(text) => findings.fault("redis", &text)?,
        },
        Err(error) => return findings.fault("settings", &format!("{error:#}")),
    }
    if settings.views == Views::Materialised {
        findings
            .doubt("redis", "materialised views have no use for it; leave redis.url out, or set views to on-demand")?;
    }
    Ok(())
}

async fn look(
    settings: &Settings,
    location: Option<Location>,
    env: &Arc<dyn Env>,
    findings: &mut Findings,
) -> std::io::Result<()> {
    let topics = if settings.kafka.brokers.is_some() { stream(settings, env, findings).await? } else { None };
    let tables = match location {
        Some(Location::Stream) => return file::look(&settings.data_dir, "data folder", env, findings).map(drop),
        Some(Location::Folder(folder)) => match file::look(&folder, "database", env, findings)?.map(Glance::of_file) {
            None => Some(Tables { log: None, glance: Some(Glance::Empty) }),
            Some(glance) => match glance.and_then(|glance| Ok((glance.log()?, glance))) {
                Ok((log, glance)) => Some(Tables { log, glance: Some(glance) }),
                Err(error) => return findings.fault("tables", &error.to_string()),
            },
        },
        Some(Location::Postgres(options)) => database::look(&options, env, findings).await?,
        None => return findings.fine("database", "none is set: these are a gateway's settings"),
    };
    let (Some(topics), Some(Tables { log, glance })) = (topics, tables) else { return Ok(()) };
    belongs(log.as_ref(), &topics.log, findings)?;
    match glance.filter(|_| log.is_none_or(|log| log == topics.log)) {
        Some(glance) => served(&topics, &glance, env, findings).await,
        None => Ok(()),
    }
}

/// Whether tables that have a log have this one.
fn belongs(theirs: Option<&Log>, log: &Log, findings: &mut Findings) -> std::io::Result<()> {
    match theirs {
        Some(theirs) if theirs != log => findings.fault(
            "tables",
            &format!(
                "they belong to the stream {} with {} partitions, and this is {} with {}; use them with that stream, or give \
                 this one a database or schema of its own (docs/operations.md, \"Another stream\")",
                theirs.cluster, theirs.partitions, log.cluster, log.partitions
            ),
        ),
        Some(_) => findings.fine("tables", "they belong to this stream"),
        None => Ok(()),
    }
}

#[cfg(feature = "kafka")]
use kafka::{look as stream, served};

/// Settings that name brokers are refused before.
#[cfg(not(feature = "kafka"))]
#[expect(clippy::unused_async, reason = "as its namesake with Kafka")]
async fn stream(_: &Settings, _: &Arc<dyn Env>, _: &mut Findings) -> std::io::Result<Option<Served>> {
    Ok(None)
}

#[cfg(not(feature = "kafka"))]
#[expect(clippy::unused_async, reason = "as its namesake with Kafka")]
async fn served(_: &Served, _: &Glance, _: &Arc<dyn Env>, _: &mut Findings) -> std::io::Result<()> {
    Ok(())
}
