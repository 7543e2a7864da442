//! The command line.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use contract::Env;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::client::import::Interrupt;
use crate::client::progress::{self, Unit};
use crate::client::{export, import, tail};
use crate::env::System;
use crate::settings::{self, DEFAULT_FILE, Role};

mod run;
mod tools;

/// How a program ends that SIGINT or SIGTERM stopped: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Directory of Services: an HTTP API in front of an event stream, with the data store that answers it.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run gateway and data store in one process, with everything in one file unless --kafka is given
    Serve(run::ServeArgs),
    /// Run a gateway, of which there may be many, on Kafka
    Gateway(run::GatewayArgs),
    /// Run a data store, of which there may be many on PostgreSQL, on Kafka
    Store(run::StoreArgs),
    // Without a comment here the help shows what stands at the arguments.
    Import(import::Args),
    Export(export::Args),
    Tail(tail::Args),
    /// List, show and send again events that no store could read
    Quarantine(tools::QuarantineArgs),
    /// Check the settings, and what they point to: Kafka, topics, permissions, database, data folder, clocks
    Doctor(tools::DoctorArgs),
    /// Print the OpenAPI 3.1 description of the API
    Openapi(OpenapiArgs),
    /// Print the AsyncAPI 3.0 description of the topics and their messages
    Asyncapi(AsyncapiArgs),
    /// Print every setting with its default and what it means
    Config,
}

#[derive(Debug, Args)]
struct OpenapiArgs {
    /// JSON instead of YAML
    #[arg(long)]
    json: bool,
    /// Folder of entity types (TYPE.json) that replace or add to the embedded ones
    #[arg(long, value_name = "DIR")]
    entities: Option<PathBuf>,
    /// Where clients reach the API
    #[arg(long, value_name = "URL", default_value = "")]
    public_url: String,
}

#[derive(Debug, Args)]
struct AsyncapiArgs {
    /// JSON instead of YAML
    #[arg(long)]
    json: bool,
    /// Folder of entity types (TYPE.json) that replace or add to the embedded ones
    #[arg(long, value_name = "DIR")]
    entities: Option<PathBuf>,
    /// What the topics' names begin with, as in the setting kafka.topic_prefix
    #[arg(long, value_name = "PREFIX", default_value = "")]
    topic_prefix: String,
}

impl CommandLine {
    /// Does what was asked; errors go to standard error.
    pub fn run(self) -> ExitCode {
        match self.dispatch() {
            Ok(code) => code,
            // The reader of our output has what it wanted.
            Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("error: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }

    fn dispatch(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(args) => run::run(Role::Both, &args, args.config(), args.import()),
            Command::Gateway(args) => run::run(Role::Gateway, &args, args.config(), None),
            Command::Store(args) => run::run(Role::Store, &args, args.config(), None),
            Command::Import(args) => client(async |env, interrupt| {
                let progress = progress::for_stderr(Unit::Bytes);
                let report = import::run(&args, env, &*progress, &interrupt).await?;
                report.write(&mut std::io::stdout().lock())?;
                Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }),
            Command::Export(args) => client(async |env, interrupt| {
                let progress = progress::for_stderr(Unit::Rows);
                let report = tokio::select! {
                    biased;
                    report = export::run(&args, env, &*progress) => report?,
                    () = interrupted(interrupt) => return Ok(ExitCode::FAILURE),
                };
                report.write(&mut std::io::stdout().lock())?;
                Ok(ExitCode::SUCCESS)
            }),
            Command::Tail(args) => client(async |env, interrupt| {
                tokio::select! {
                    biased;
                    shown = crate::tail::run(&args, &*env) => shown?,
                    () = interrupted(interrupt) => {}
                }
                Ok(ExitCode::SUCCESS)
            }),
            Command::Quarantine(args) => client(async |env, interrupt| {
                let (job, settings) = args.read()?;
                tokio::select! {
                    biased;
                    done = crate::quarantine::run(&job, &settings, &env) => done?,
                    () = interrupted(interrupt) => {}
                }
                Ok(ExitCode::SUCCESS)
            }),
            Command::Doctor(args) => client(async |env, interrupt| {
                let settings = args.settings()?;
                tokio::select! {
                    biased;
                    is_well = crate::doctor::run(&settings, &env) => {
                        Ok(if is_well? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
                    }
                    () = interrupted(interrupt) => Ok(ExitCode::FAILURE),
                }
            }),
            Command::Openapi(args) => {
                let registry = settings::registry(args.entities.as_deref())?;
                let document = gateway::openapi(&registry, &args.public_url, gateway::API_VERSION);
                print(&document, args.json)
            }
            Command::Asyncapi(args) => {
                let registry = settings::registry(args.entities.as_deref())?;
                print(&gateway::asyncapi(&registry, &args.topic_prefix, gateway::API_VERSION), args.json)
            }
            Command::Config => {
                std::io::stdout().lock().write_all(DEFAULT_FILE.as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn print(document: &serde_json::Value, as_json: bool) -> anyhow::Result<ExitCode> {
    let text = if as_json { format!("{document:#}\n") } else { gateway::to_yaml(document) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a client's job. A signal interrupts it, and then says how the program ends, as shells expect it.
fn client(job: impl AsyncFnOnce(Arc<dyn Env>, Interrupt) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (stop, stopped) = watch::channel(false);
        let mut job = std::pin::pin!(job(Arc::new(System::new()), stopped));
        let code = tokio::select! {
            biased;
            done = &mut job => return done,
            _ = interrupt.recv() => INTERRUPTED,
            _ = terminate.recv() => TERMINATED,
        };
        stop.send_replace(true);
        if let Err(error) = job.await {
            complain(&format!("error: {error:#}"));
        }
        Ok(ExitCode::from(code))
    })
}

async fn interrupted(mut interrupt: Interrupt) {
    // The sender lives as long as the job.
    let _ = interrupt.wait_for(|interrupted| *interrupted).await.map(|interrupted| *interrupted);
}

/// A line for people. One that cannot be written is no reason to stop.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
