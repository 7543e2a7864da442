//! `cargo xtask kill`: the kill test of `crates/dos/tests/durability`, with more rounds than the test command has.

use std::time::Duration;

use anyhow::Result;

use crate::shell::Program;

/// The test, by its path in the test binary.
const TEST: &str = "kill::acknowledged_writes_survive_kill";
/// The first run compiles every dependency.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// What a round takes beside its load: recovery, reading everything back, checking the file.
const ROUND_LIMIT: Duration = Duration::from_secs(60);

/// Arguments of `kill`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often the program is killed under load, always on the same data.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// The longest that a round's load lasts, in milliseconds.
    #[arg(long, default_value_t = 1500)]
    round_ms: u32,
    /// Decides what is written and when the program is killed; every run prints its own.
    #[arg(long)]
    seed: Option<u64>,
    /// Test the optimised program.
    #[arg(long)]
    release: bool,
}

/// Builds the test binary and runs the one test, which prints its progress and a summary.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let profile: &[&str] = if arguments.release { &["--release"] } else { &[] };
    let cargo = || Program::cargo().args(["test", "-p", "dos", "--test", "durability"]).args(profile);
    cargo().args(["--no-run"]).run(BUILD_LIMIT)?;
    let mut test = cargo()
        .args(["--", "--exact", TEST, "--nocapture"])
        .env("DOS_TEST_KILL_ROUNDS", arguments.rounds.to_string())
        .env("DOS_TEST_KILL_ROUND_MS", arguments.round_ms.to_string());
    if let Some(seed) = arguments.seed {
        test = test.env("DOS_TEST_KILL_SEED", seed.to_string());
    }
    let load = Duration::from_millis(u64::from(arguments.round_ms));
    test.run((load + ROUND_LIMIT) * arguments.rounds.saturating_add(1))
}
