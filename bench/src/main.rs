//! What the system is measured against, and what fills it. `cargo xtask bench` runs these and compares.

mod canned;
#[cfg(feature = "kafka")]
mod clients;
mod fill;
mod limit;
mod maker;
#[cfg(feature = "kafka")]
mod round_trip;
mod scan;
#[cfg(feature = "kafka")]
mod topic;

use std::process::ExitCode;

use clap::Parser;

/// The same allocator as the system's, so that the limits have no other advantage than doing less.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load generators, limits and peers of the Directory of Services gateway.
#[derive(Parser)]
#[command(name = "bench", max_term_width = 110)]
enum Command {
    /// Answer every request with one canned response, once its body is durable in a file: the limit of a write
    Limit(limit::Arguments),
    /// Make a data folder with many services, as the store would have written them
    Fill(fill::Arguments),
    /// Read every view of a data folder with plain SQLite: the limit of a restart
    Scan(scan::Arguments),
    /// Answer every request with one canned response, once its body went through Kafka, PostgreSQL and Kafka: the limit of
    /// a write in the scaled shape
    #[cfg(feature = "kafka")]
    RoundTrip(round_trip::Arguments),
    /// Fill a topic with many views, as the store would have published them
    #[cfg(feature = "kafka")]
    FillTopic(topic::FillArguments),
    /// Read a topic to its end with a bare consumer: the limit of a cold start
    #[cfg(feature = "kafka")]
    ReadTopic(topic::ReadArguments),
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Limit(arguments) => limit::run(&arguments),
        Command::Fill(arguments) => fill::run(&arguments),
        Command::Scan(arguments) => scan::run(&arguments),
        #[cfg(feature = "kafka")]
        Command::RoundTrip(arguments) => round_trip::run(&arguments),
        #[cfg(feature = "kafka")]
        Command::FillTopic(arguments) => topic::fill(&arguments),
        #[cfg(feature = "kafka")]
        Command::ReadTopic(arguments) => topic::read(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
