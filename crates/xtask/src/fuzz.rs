//! `cargo xtask fuzz`: the targets of `fuzz/`, each for a while, from the committed seeds and what earlier runs found.
//!
//! Needs nightly and cargo-fuzz, so it is no part of `cargo xtask test`; the same checks run there as property tests.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell::{Program, workspace_root};

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// What libFuzzer may take beyond its time: reading the corpus, and the input it is at.
const GRACE: Duration = Duration::from_secs(2 * 60);

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The targets to run, as in `fuzz/fuzz_targets`; all if none is named.
    targets: Vec<String>,
    /// How long each target runs.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
}

/// Runs the targets one after the other; a finding does not stop the next target.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let targets = chosen(&all_targets()?, &arguments.targets)?;
    check_tools()?;
    nightly_cargo().args(["fuzz", "build"]).run(BUILD_LIMIT)?;
    let mut failed = Vec::new();
    for target in targets {
        println!("\n== {target}");
        if let Err(error) = run_target(&target, arguments.seconds) {
            println!("== {target}: {error:#}");
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!("the fuzzer found something in {}: see fuzz/artifacts", failed.join(", "));
    }
    Ok(())
}

fn run_target(target: &str, seconds: u64) -> Result<()> {
    // New inputs go into the first directory.
    let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
    fs::create_dir_all(workspace_root().join(&corpus)).with_context(|| format!("cannot make {corpus}"))?;
    let time = format!("-max_total_time={seconds}");
    nightly_cargo()
        .args(["fuzz", "run", target, &corpus, &seeds, "--"])
        .args([&time, "-timeout=10", "-max_len=8192", "-print_final_stats=1"])
        .run(Duration::from_secs(seconds) + GRACE)
}

/// Through rustup, whichever toolchain runs xtask.
fn nightly_cargo() -> Program {
    Program::new("rustup").args(["run", "nightly", "cargo"])
}

fn check_tools() -> Result<()> {
    if nightly_cargo().args(["--version"]).output().is_err() {
        bail!("fuzzing needs the nightly toolchain; to install it: rustup toolchain install nightly");
    }
    if nightly_cargo().args(["fuzz", "--version"]).output().is_err() {
        bail!("fuzzing needs cargo-fuzz; to install it: cargo install cargo-fuzz --locked");
    }
    Ok(())
}

fn all_targets() -> Result<Vec<String>> {
    let directory = workspace_root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter_map(|name| Some(Path::new(&name).file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

fn chosen(all: &[String], named: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target {unknown}; the targets are {}", all.join(", "));
    }
    Ok(if named.is_empty() { all.to_vec() } else { named.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::{all_targets, chosen};
    use crate::shell::workspace_root;

    #[test]
    fn every_target_is_declared_and_has_seeds() {
        let root = workspace_root();
        let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let targets = all_targets().unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            assert!(root.join("fuzz/seeds").join(&target).read_dir().unwrap().count() > 0, "{target}");
        }
    }

    #[test]
    fn an_unknown_target_is_answered_with_the_list() {
        let all = ["a".to_owned(), "b".to_owned()];
        assert_eq!(chosen(&all, &[]).unwrap(), all);
        assert_eq!(chosen(&all, &["b".to_owned()]).unwrap(), ["b"]);
        let error = chosen(&all, &["c".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "there is no fuzz target c; the targets are a, b");
    }
}
