//! What survives where there are several of everything: two gateways, two or three stores, three Kafka brokers,
//! PostgreSQL and Redis, as real processes, with a proxy before every server. Each is killed, stopped, paused or cut off
//! under load, and then the clients' records are held against all of `dos.views` (`docs/faults.md`).

// Only functions marked `#[test]` count as tests for clippy, not their helpers; and the outside of a process has no `Env`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod cluster;
mod fault;
mod load;
mod proxy;
mod reads;
mod report;
mod run;
#[path = "../shared/mod.rs"]
mod shared;
mod topic;
mod watch;
