//! Many seeds, on both cores; and the same seeds without a part of the system.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::Registry;

use super::parts::Part;
use super::run::{Outcome, simulate};

/// In the test command.
const SEEDS: u64 = 1000;
/// Of the long run, in which something was wrong once: tails that compaction overtook took tokens for reached.
const FOUND: [u64; 3] = [5781, 7900, 9560];
const THREADS: usize = 2;
/// How often progress is told, in seeds.
const PROGRESS: u64 = 1000;

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// A panic is a violation like any other.
fn guarded(seed: u64, without: Option<Part>, registry: &Registry) -> Outcome {
    let run = AssertUnwindSafe(|| simulate(seed, without, false, registry));
    catch_unwind(run).unwrap_or_else(|_| Outcome { trace: 0, violations: vec!["a panic".to_owned()] })
}

/// Runs seeds until there are no more, or so many have failed; how many ran, and what failed.
fn search(from: u64, seeds: u64, without: Option<Part>, failures_max: usize) -> (u64, Vec<(u64, Vec<String>)>) {
    let registry = Registry::built_in().unwrap();
    let (next, ran, failed) = (AtomicU64::new(from), AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= from + seeds || failed.lock().unwrap().len() >= failures_max {
                        break;
                    }
                    let Outcome { violations, .. } = guarded(seed, without, &registry);
                    if !violations.is_empty() {
                        if without.is_none() {
                            println!(
                                "seed {seed}; to replay it: cargo xtask simulate --seed {seed}\n  {}",
                                violations.join("\n  ")
                            );
                        }
                        failed.lock().unwrap().push((seed, violations));
                    }
                    let ran = ran.fetch_add(1, Ordering::SeqCst) + 1;
                    if ran % PROGRESS == 0 && seeds > SEEDS {
                        println!("{ran} of {seeds} seeds, {} with a violation", failed.lock().unwrap().len());
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_unstable();
    (ran.into_inner(), failed)
}

#[test]
fn what_was_found_stays_mended() {
    let registry = Registry::built_in().unwrap();
    for seed in FOUND {
        let Outcome { violations, .. } = guarded(seed, None, &registry);
        assert!(violations.is_empty(), "seed {seed}: {}", violations.join("\n"));
    }
}

/// Nothing is violated. `DOS_TEST_SIMULATE_SEEDS` and `_FROM` say which seeds; `_SEED` replays one, with its trace.
#[test]
fn every_seed_keeps_the_laws() {
    if let Some(seed) = variable("DOS_TEST_SIMULATE_SEED") {
        let without = variable::<String>("DOS_TEST_SIMULATE_WITHOUT").and_then(|name| Part::parse(&name));
        let Outcome { trace, violations } = simulate(seed, without, true, &Registry::built_in().unwrap());
        println!("seed {seed}: trace {trace:016x}");
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        return;
    }
    let seeds = variable("DOS_TEST_SIMULATE_SEEDS").unwrap_or(SEEDS);
    let from = variable("DOS_TEST_SIMULATE_FROM").unwrap_or(0);
    let (ran, failed) = search(from, seeds, None, usize::MAX);
    let seeds: Vec<_> = failed.iter().map(|(seed, _)| seed).collect();
    assert!(failed.is_empty(), "of {ran} seeds these violate the laws: {seeds:?}");
}

/// Without a part of the system a law is violated: the simulation can fail. The parts that take many seeds are searched by
/// `cargo xtask simulate --parts N` only; it prints how many each took.
#[test]
fn without_a_part_a_law_is_violated() {
    let limit = variable("DOS_TEST_SIMULATE_PARTS");
    let mut missed = Vec::new();
    for part in Part::ALL.into_iter().filter(|part| limit.is_some() || part.is_missed_soon()) {
        let (ran, failed) = search(0, limit.unwrap_or(SEEDS), Some(part), 1);
        match failed.first() {
            Some((seed, violations)) => println!("{part:?}: {ran} seeds; {seed}: {}", violations[0]),
            None => println!("{part:?}: nothing in {ran} seeds"),
        }
        if failed.is_empty() && !part.is_backed_up() {
            missed.push(part);
        }
    }
    assert!(missed.is_empty(), "nothing is violated without {missed:?}");
}

/// One seed is one run: the hash over all appends, commits and answers is the same.
#[test]
fn a_seed_replays() {
    let registry = Registry::built_in().unwrap();
    for seed in 0..5 {
        let outcome = simulate(seed, None, false, &registry);
        println!("seed {seed}: trace {:016x}", outcome.trace);
        assert_eq!(simulate(seed, None, false, &registry), outcome, "seed {seed}");
    }
}
