//! The store on a real embedded stream: commands go in by the topic, answers are read from the topics.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod answers;
mod beside;
mod broken;
mod database;
mod env;
mod faults;
mod group;
mod harness;
mod once;
