//! `cargo xtask bench`: the system against peers and limits, on one machine and in one run.
//!
//! Every result is a ratio: rounds alternate between the two sides and the median of the rounds' ratios counts. No test
//! command runs this, as no test may depend on speed.

mod coldstart;
mod import;
mod lists;
mod machine;
mod reads;
mod report;
mod restart;
mod roundtrip;
mod writes;
mod wrk;

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::shell::{Program, workspace_root};

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure; everything if nothing is named.
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// Rounds; the medians of them are reported.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of load per round and side.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Measure the programs as they were built last.
    #[arg(long)]
    no_build: bool,
    /// Entities of the restart, of the cold start and of the lists.
    #[arg(long, default_value_t = 1_000_000)]
    entities: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// `GET /service/{id}` against nginx with static files of the same bytes
    Reads,
    /// `POST /service` against a canned server in front of append and fdatasync
    Writes,
    /// From start to ready, and memory, against a plain scan of the same rows
    Restart,
    /// `POST /service` through Kafka and PostgreSQL, against a bare loop through both
    Roundtrip,
    /// From start to ready with the views on Kafka, from nothing and from a snapshot, against a bare consumer
    Coldstart,
    /// Pages of lists with filters and orders on many entities, against the same pages on 3,000
    Lists,
    /// `dos import` against one request a row
    Import,
}

impl Display for Bench {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Builds, measures and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_build {
        Program::cargo()
            .args(["build", "--release", "-p", "dos", "-p", "bench", "--features", "dos/kafka"])
            .run(BUILD_LIMIT)?;
    }
    println!("\n{}", machine::describe());
    let mut reports = Vec::new();
    for bench in Bench::value_variants() {
        if !arguments.benches.is_empty() && !arguments.benches.contains(bench) {
            println!("\n== {bench}: not asked for");
            continue;
        }
        println!("\n== {bench}");
        let report = match bench {
            Bench::Reads => reads::run(arguments)?,
            Bench::Writes => writes::run(arguments)?,
            Bench::Restart => restart::run(arguments)?,
            Bench::Roundtrip => roundtrip::run(arguments)?,
            Bench::Coldstart => coldstart::run(arguments)?,
            Bench::Lists => lists::run(arguments)?,
            Bench::Import => import::run(arguments)?,
        };
        println!("{report}");
        reports.push((bench, report));
    }
    println!("\n== summary");
    for (bench, report) in &reports {
        report.goals().for_each(|goal| println!("{bench:<9} {goal}"));
    }
    Ok(())
}

/// A folder of this run's own below `target/bench`, empty.
fn scratch(name: &str) -> Result<PathBuf> {
    let folder = workspace_root().join("target/bench").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A program built by this workspace for release.
fn release(program: &str) -> PathBuf {
    workspace_root().join("target/release").join(program)
}
