//! What survives: the program is killed, stopped, starved of disk and given broken files, and then asked what it still
//! has. The real binary, over real HTTP, each test with a data folder of its own.

// Only functions marked `#[test]` count as tests for clippy, not their helpers; and the outside of a process has no `Env`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod data_file;
mod disk_full;
mod frames;
mod fsync;
mod kill;
mod namespace;
#[path = "../shared/mod.rs"]
mod shared;
mod shutdown;
mod trace;
mod views;
