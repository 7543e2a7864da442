//! What a developer does, one command each. `cargo xtask` lists them. Tests that break servers start theirs with
//! [`servers`].

mod bench;
mod clock;
mod convert;
mod faults;
mod fuzz;
mod interrupts;
mod kill;
mod packages;
mod running;
mod schemathesis;
pub mod servers;
mod shell;
mod simulate;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The developer's commands of the Directory of Services gateway.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything that must be green: formatting, lints, dependencies, tests, the API reference in a browser, its documents.
    Test(test::Arguments),
    /// Measure reads, writes and restarts against peers and limits, as ratios.
    Bench(bench::Arguments),
    /// Turn the published data set into the JSON Lines that `dos import` reads.
    Convert(convert::Arguments),
    /// Kill, stop and cut off each part of the scaled shape under load, and write docs/faults.md.
    Faults(faults::Arguments),
    /// Run the fuzz targets (nightly and cargo-fuzz).
    Fuzz(fuzz::Arguments),
    /// Kill the program under load, again and again, and count what was lost.
    Kill(kill::Arguments),
    /// Send requests made from the OpenAPI document, good ones and bad ones, and hold the answers against it.
    Schemathesis(schemathesis::Arguments),
    /// Start Kafka, PostgreSQL and Redis for tests, and keep them until ctrl-c.
    Servers(servers::Arguments),
    /// Simulate the whole system on virtual time, from many seeds, and show what a seed does.
    Simulate(simulate::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Faults(arguments) => faults::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Kill(arguments) => kill::run(&arguments),
        Command::Schemathesis(arguments) => schemathesis::run(&arguments),
        Command::Servers(arguments) => servers::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
