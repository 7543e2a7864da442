//! `cargo xtask test`: everything that must be green, in groups.
//!
//! A failed group does not stop the next one. Nothing is skipped in silence: a group that was not asked for says so in
//! the summary, and what a test needs and cannot find is a failure that names the command to install it.

mod browser;
mod dependencies;
mod deploy;
mod documents;
mod node;

use std::fmt::{self, Display};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::clock::Stopwatch;
use crate::faults;
use crate::packages::{ensure_openssl_headers, ensure_package};
use crate::schemathesis;
use crate::servers::{self, Kind};
use crate::shell::Program;

/// Limits on one command. Generous, since the first run on a small machine compiles every dependency.
const FORMAT_LIMIT: Duration = Duration::from_secs(2 * 60);
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const TEST_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Arguments of `test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The groups to run; all if none is named.
    #[arg(value_enum)]
    groups: Vec<Group>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// `cargo fmt --check`
    Format,
    /// `cargo clippy`, warnings are errors
    Lints,
    /// Licences and banned crates, from `cargo metadata`
    Dependencies,
    /// `cargo test` of the whole workspace
    Tests,
    /// Two gateways, two stores and three brokers, of which one thing after the other dies
    Faults,
    /// The API reference in headless Chromium
    Browser,
    /// The OpenAPI and AsyncAPI documents by linters, and a client that is generated from the first
    Documents,
    /// The files in `deploy/`, by linters and schemas
    Deploy,
    /// Requests made from the OpenAPI document, on a running gateway
    Schemathesis,
}

impl Group {
    fn run(self) -> Result<()> {
        match self {
            Self::Format => Program::cargo().args(["fmt", "--all", "--check"]).run(FORMAT_LIMIT),
            Self::Lints => {
                ensure_openssl_headers()?;
                Program::cargo()
                    .args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
                    .run(BUILD_LIMIT)
            }
            Self::Dependencies => dependencies::check(),
            Self::Tests => run_tests(),
            Self::Faults => faults::run_bounded(),
            Self::Browser => browser::run(),
            Self::Documents => documents::run(),
            Self::Deploy => deploy::run(),
            Self::Schemathesis => schemathesis::run_bounded(),
        }
    }
}

impl Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Runs the groups, prints the summary and fails if a group did.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let stopwatch = Stopwatch::start();
    let mut lines = Vec::new();
    let mut failed = 0;
    for group in Group::value_variants() {
        if !arguments.groups.is_empty() && !arguments.groups.contains(group) {
            lines.push(format!("{group:<14}{:>8}  not asked for", "-"));
            continue;
        }
        println!("\n== {group}");
        let stopwatch = Stopwatch::start();
        let outcome = group.run();
        let verdict = outcome.map_or_else(|error| format!("FAILED  {error:#}"), |()| "ok".to_owned());
        failed += usize::from(verdict != "ok");
        println!("== {group}: {verdict}");
        lines.push(format!("{group:<14}{:>6.1} s  {verdict}", stopwatch.elapsed().as_secs_f64()));
    }
    println!("\n{}\n{:<14}{:>6.1} s", lines.join("\n"), "all", stopwatch.elapsed().as_secs_f64());
    if failed > 0 {
        bail!("{failed} of the groups failed");
    }
    Ok(())
}

/// The integration tests run `dos` under strace and the README's examples with curl, and use servers that are started once
/// for all.
fn run_tests() -> Result<()> {
    ensure_package("strace", "strace")?;
    ensure_package("curl", "curl")?;
    let servers = servers::start(Kind::value_variants(), 1)?;
    let tests = Program::cargo().args(["test", "--workspace", "--no-fail-fast", "--", "--skip", faults::TEST]);
    servers.variables.iter().fold(tests, |tests, (name, value)| tests.env(name, value)).run(TEST_LIMIT)
}
