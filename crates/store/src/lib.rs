//! The data store that answers the events: takes commands from the stream, decides them, and gives back views and replies.
//!
//! `decide` is what a command means, without I/O; `database` is what is kept, behind a port; `consumer` is the loop
//! between the stream and both.

pub mod consumer;
pub mod database;
pub mod decide;
mod glance;

pub use consumer::{Config, Status, Store, describe_metrics};
pub use database::Database;
pub use database::postgres::{Examined as PostgresExamined, Options as PostgresOptions, Postgres};
pub use database::sqlite::Sqlite;
pub use glance::Glance;
