//! The system over real HTTP: the folders mirror the URLs; all of the API runs on every shape.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod asyncapi;
mod command_line;
mod data;
mod deploy;
mod entity_types;
mod events;
mod feed;
mod harness;
mod openapi;
mod overload;
#[path = "../shared/random.rs"]
mod random;
mod readme;
mod routes;
mod scaled;
mod shapes;
mod views;
