//! `dos doctor`: whether what the settings point to is there and in order, and how to mend what is not. Changes nothing.

mod database;
mod file;
#[cfg(feature = "kafka")]
mod kafka;

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use contract::Env;

use crate::client::text::printable;
use crate::settings::{Location, Role, Settings, Views};

/// How far the clocks of two machines may differ.
const CLOCK_MAX_MS: i64 = 2_000;

const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

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
    match settings.location(role) {
        Ok(location) => look(settings, location, env, &mut findings).await?,
        Err(error) => findings.fault("settings", &format!("{error:#}"))?,
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
    let log = if settings.kafka.brokers.is_some() { stream(settings, env, findings).await? } else { None };
    match location {
        Some(Location::Stream) => file::look(&settings.data_dir, "data folder", env, findings),
        Some(Location::Folder(folder)) => file::look(&folder, "database", env, findings),
        Some(Location::Postgres(options)) => database::look(&options, log.as_ref(), env, findings).await,
        None => findings.fine("database", "none is set: these are a gateway's settings"),
    }
}

/// The log that the database must belong to, as far as it is known.
#[cfg(feature = "kafka")]
async fn stream(
    settings: &Settings,
    env: &Arc<dyn Env>,
    findings: &mut Findings,
) -> std::io::Result<Option<store::database::Log>> {
    kafka::look(settings, env, findings).await
}

/// Settings that name brokers are refused before.
#[cfg(not(feature = "kafka"))]
#[expect(clippy::unused_async, reason = "as its namesake with Kafka")]
async fn stream(_: &Settings, _: &Arc<dyn Env>, _: &mut Findings) -> std::io::Result<Option<store::database::Log>> {
    Ok(None)
}
