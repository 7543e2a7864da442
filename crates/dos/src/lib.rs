//! The one binary: settings, wiring, telemetry, shutdown, command line.

pub mod client;
pub mod command_line;
mod doctor;
pub mod env;
mod quarantine;
pub mod serve;
pub mod settings;
mod tail;
