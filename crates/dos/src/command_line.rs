//! The command line.

use std::cell::Cell;
use std::io::{ErrorKind, IsTerminal as _, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use contract::Env;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::client::import::Interrupt;
use crate::client::progress::{self, Unit};
use crate::client::{export, import, tail};
use crate::env::System;
use crate::serve::Running;
use crate::settings::{self, Anonymous, DEFAULT_FILE, LogFormat, Settings, Views};

/// How a program ends that SIGINT or SIGTERM stopped: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;
/// How often histograms are condensed where nobody scrapes them.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Directory of Services: an HTTP API in front of an event stream, with the data store that answers it.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run gateway, event stream and data store in one process, with everything in one file
    Serve(ServeArgs),
    // Without a comment here the help shows what stands at the arguments.
    Import(import::Args),
    Export(export::Args),
    Tail(tail::Args),
    /// Print the OpenAPI 3.1 description of the API
    Openapi(OpenapiArgs),
    /// Print every setting with its default and what it means
    Config,
}

/// Flags of `serve`; all but `config` and `import` are settings as well.
#[derive(Debug, Args, Serialize)]
struct ServeArgs {
    /// Address and port of the API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = settings::socket_address)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Address and port of the metrics; not served unless given
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = settings::socket_address)]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_listen: Option<SocketAddr>,
    /// Folder of the data; made if it is missing [default: dos-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Folder of entity types (TYPE.json) that replace or add to the embedded ones
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    entities: Option<PathBuf>,
    /// Where reads come from [default: materialised]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    views: Option<Views>,
    /// What callers without credentials may do; needed where ADDRESS is not loopback
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous: Option<Anonymous>,
    /// Where clients reach the API, such as https://directory.example.org
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    public_url: Option<String>,
    /// Settings file (TOML); `dos config` prints one with every default
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Folder or file of JSON Lines to import once the gateway is ready; what is there already is left as it is
    #[arg(long, value_name = "PATH")]
    #[serde(skip)]
    import: Option<PathBuf>,
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
            Command::Serve(args) => serve(&args),
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
            Command::Openapi(args) => {
                let registry = settings::registry(args.entities.as_deref())?;
                let document = gateway::openapi(&registry, &args.public_url, gateway::API_VERSION);
                let text = if args.json { format!("{document:#}\n") } else { gateway::to_yaml(&document) };
                std::io::stdout().lock().write_all(text.as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Config => {
                std::io::stdout().lock().write_all(DEFAULT_FILE.as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
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

fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(args.config.as_deref(), args)?;
    if let Some(path) = &args.import {
        // Before anything is made or bound.
        import::check_paths(std::slice::from_ref(path)).context("import")?;
    }
    start_log(&settings)?;
    let metrics = start_metrics()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let env: Arc<dyn Env> = Arc::new(System::new());
        let upkeep = (metrics.clone(), Arc::clone(&env));
        env.spawn(Box::pin(async move {
            loop {
                upkeep.1.sleep(METRICS_UPKEEP).await;
                upkeep.0.run_upkeep();
            }
        }));
        run(&settings, args.import.as_ref(), env, metrics).await
    })
}

async fn run(
    settings: &Settings,
    paths: Option<&PathBuf>,
    env: Arc<dyn Env>,
    metrics: PrometheusHandle,
) -> anyhow::Result<ExitCode> {
    // From here on a signal is not lost, however early it comes.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let running = Running::start(settings, Arc::clone(&env), Some(metrics)).await?;
    let importing = Cell::new(false);
    let failure = tokio::select! {
        biased;
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        reason = running.failed() => Some(reason),
        failed = announce(settings, paths, &running, &env, &importing) => failed?,
    };
    if importing.get() {
        complain("the import was cut off: not every row is in; started again with the same --import, it goes on");
    }
    match failure {
        None => {
            tracing::info!("stopping: answering the requests under way");
            running.stop().await;
            Ok(ExitCode::SUCCESS)
        }
        // Nothing of it can be closed in order any more; the next start finds what was durable.
        Some(reason) => anyhow::bail!("{reason}"),
    }
}

/// Waits until the system is ready, imports, says where everything is, then waits for ever.
async fn announce(
    settings: &Settings,
    paths: Option<&PathBuf>,
    running: &Running,
    env: &Arc<dyn Env>,
    importing: &Cell<bool>,
) -> anyhow::Result<Option<String>> {
    running.ready().await;
    let url = local_url(running.address);
    if let Some(path) = paths {
        importing.set(true);
        import_into(running, path, env).await.context("import")?;
        importing.set(false);
    }
    let data = settings.data_dir.join("dos.sqlite");
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready: API {url}  docs {url}/docs  data {}", data.display())?;
    out.flush()?;
    drop(out);
    std::future::pending().await
}

/// Imports what is not there yet, so that a start changes nothing that somebody has written or deleted since the last
/// one.
async fn import_into(running: &Running, path: &Path, env: &Arc<dyn Env>) -> anyhow::Result<()> {
    // Who may start the program may fill it, whatever callers of the API may do.
    let door = running.open_door().await?;
    let args = import::Args {
        paths: vec![path.to_owned()],
        url: local_url(door.address),
        dry_run: false,
        create_only: true,
        parallel: 64,
        no_timestamps: false,
    };
    let (_stop, never) = watch::channel(false);
    let progress = progress::for_stderr(Unit::Bytes);
    let report = import::run(&args, Arc::clone(env), &*progress, &never).await?;
    report.write(&mut std::io::stdout().lock())?;
    if !report.is_clean() {
        tracing::warn!("some rows were not imported; the others are in, and the gateway goes on");
    }
    Ok(())
}

/// How this machine reaches an address that was bound.
fn local_url(address: SocketAddr) -> String {
    let host = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    format!("http://{host}:{}", address.port())
}

fn start_log(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log.filter).context("log.filter")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let started = match settings.log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("log: {error}"))
}

fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let buckets = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    let handle = PrometheusBuilder::new().set_buckets(&buckets)?.install_recorder()?;
    stream::embedded::describe_metrics();
    store::describe_metrics();
    Ok(handle)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
