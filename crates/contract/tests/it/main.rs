//! What the contract promises for any input: property tests, and snapshots of one event of each kind.
//!
//! The functions in `checks` are also the bodies of the fuzz targets in `fuzz/`, which run them on far more inputs.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod arbitrary;
mod checks;
mod entity;
mod examples;
mod json;
mod merge_patch;
mod names;
mod precondition;
mod quarantine;
mod seeds;
mod wire;
