//! `cargo xtask simulate`: the simulation of `crates/dos/tests/simulation`, with more seeds than the test command has.

use std::time::Duration;

use anyhow::Result;

use crate::shell::Program;

/// The tests, by their paths in the test binary.
const SEEDS: &str = "seeds::every_seed_keeps_the_laws";
const PARTS: &str = "seeds::without_a_part_a_law_is_violated";
/// The first run compiles every dependency.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const RUN_LIMIT: Duration = Duration::from_secs(12 * 60 * 60);

/// Arguments of `simulate`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many seeds are run.
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Replay this one seed, and show all that happens in it.
    #[arg(long, conflicts_with_all = ["seeds", "from", "parts"])]
    seed: Option<u64>,
    /// With `--seed`: without this part of the system, as `--parts` names it.
    #[arg(long, requires = "seed")]
    without: Option<String>,
    /// Take each part of the system out in turn, and look in so many seeds for what that violates.
    #[arg(long, value_name = "SEEDS", conflicts_with_all = ["seeds", "from"])]
    parts: Option<u64>,
}

/// Builds the optimised test binary and runs one of its tests, which prints progress and how to replay what it found.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cargo = || Program::cargo().args(["test", "--release", "-p", "dos", "--test", "simulation"]);
    cargo().args(["--no-run"]).run(BUILD_LIMIT)?;
    let test = |name: &str| cargo().args(["--", "--exact", name, "--nocapture"]);
    let test = match (arguments.seed, arguments.parts) {
        (Some(seed), _) => {
            let test = test(SEEDS).env("DOS_TEST_SIMULATE_SEED", seed.to_string());
            arguments.without.iter().fold(test, |test, part| test.env("DOS_TEST_SIMULATE_WITHOUT", part))
        }
        (None, Some(parts)) => test(PARTS).env("DOS_TEST_SIMULATE_PARTS", parts.to_string()),
        (None, None) => test(SEEDS)
            .env("DOS_TEST_SIMULATE_SEEDS", arguments.seeds.to_string())
            .env("DOS_TEST_SIMULATE_FROM", arguments.from.to_string()),
    };
    test.run(RUN_LIMIT)
}
