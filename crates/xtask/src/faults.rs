//! `cargo xtask faults`: the fault test of `crates/dos/tests/faults`, with more rounds than the test command has.

use std::time::Duration;

use anyhow::Result;

use crate::shell::{Program, workspace_root};

/// The test, by its path in the test binary.
pub(crate) const TEST: &str = "run::nothing_is_lost_whatever_dies";
/// The document with the figures.
const REPORT: &str = "docs/faults.md";
/// The first run compiles every dependency.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// What one fault of each kind takes: load, fault, recovery, check.
const ROUNDS_LIMIT: Duration = Duration::from_secs(10 * 60);
/// How many times as long as promised things may take in the run that is part of the test command.
const BOUNDED_PATIENCE: u32 = 4;

/// Arguments of `faults`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each kind of fault comes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Decides what is written, and which fault comes when; every run prints its own.
    #[arg(long)]
    seed: Option<u64>,
    /// On a machine that does other things as well: every promised time may be so many times as long, and the report says so.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    patience: u32,
    /// Test the optimised program.
    #[arg(long)]
    release: bool,
}

/// Builds the test binary and runs the one test, which prints its progress and puts its figures into the document.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let profile: &[&str] = if arguments.release { &["--release"] } else { &[] };
    build(profile)?;
    let mut test = test(profile)
        .env("DOS_TEST_FAULTS_ROUNDS", arguments.rounds.to_string())
        .env("DOS_TEST_FAULTS_PATIENCE", arguments.patience.to_string())
        .env("DOS_TEST_FAULTS_REPORT", workspace_root().join(REPORT));
    if let Some(seed) = arguments.seed {
        test = test.env("DOS_TEST_FAULTS_SEED", seed.to_string());
    }
    test.run(ROUNDS_LIMIT * arguments.rounds)
}

/// One fault of each kind, with another seed each time. On whatever machine it is: the full run judges the times.
pub(crate) fn run_bounded() -> Result<()> {
    build(&[])?;
    test(&[]).env("DOS_TEST_FAULTS_PATIENCE", BOUNDED_PATIENCE.to_string()).run(ROUNDS_LIMIT)
}

/// With the features that the whole workspace is built with, so that nothing is built twice.
fn binary(profile: &[&str]) -> Program {
    Program::cargo().args(["test", "--workspace", "--test", "faults"]).args(profile)
}

fn build(profile: &[&str]) -> Result<()> {
    binary(profile).args(["--no-run"]).run(BUILD_LIMIT)
}

fn test(profile: &[&str]) -> Program {
    binary(profile).args(["--", "--exact", TEST, "--nocapture"])
}
