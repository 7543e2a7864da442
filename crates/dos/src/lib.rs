//! The one binary: settings, wiring, telemetry, shutdown, command line.

pub mod client;
pub mod command_line;
pub mod env;
pub mod serve;
pub mod settings;
mod tail;
