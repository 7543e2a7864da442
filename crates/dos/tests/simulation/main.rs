//! The whole system on virtual time, from a seed: gateways, stores, a stream and a database that fail in every way they
//! may.
//!
//! Clients talk to the gateways' real request handling without sockets; dispatch, views, `decide`, the consumer loop,
//! publisher and repair are the real ones; the stream and the database behind their ports are simulated. The stream takes
//! appends as a broker takes them from a producer: in order, unless one fails, after which later ones may be stored;
//! acknowledgements get lost; what timed out may be stored much later; a command may come twice; a paused process wakes up
//! and sends what it had; the views are compacted. After each seed, `laws` compares what the clients were told with the
//! topics and the database.
//!
//! One seed is one run, to the last event: `cargo xtask simulate --seed N` shows it.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod alone;
mod broker;
mod clients;
mod cluster;
mod conformance;
mod connection;
mod database;
mod history;
mod laws;
mod parts;
mod run;
mod seeds;
mod tamper;
mod world;
mod writes;
