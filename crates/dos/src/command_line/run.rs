//! `dos serve`, `dos gateway` and `dos store`: their flags, and the life of such a process.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::Env;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Serialize, Serializer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use super::complain;
use crate::client::import;
use crate::client::progress::{self, Unit};
use crate::env::System;
use crate::serve::Running;
use crate::settings::{self, Anonymous, LogFormat, Role, Secret, Settings, Views};

/// How often histograms are condensed where nobody scrapes them.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Flags of every such process; all but `config` are settings as well.
#[derive(Debug, Args, Serialize)]
struct CommonArgs {
    /// Kafka's brokers; what else there is to say of them stands in the settings file, under [kafka]
    #[arg(long, value_name = "HOST:PORT,..")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "brokers")]
    kafka: Option<String>,
    /// Address and port of metrics and health; not served unless given
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = settings::socket_address)]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_listen: Option<SocketAddr>,
    /// Folder of entity types (TYPE.json) that replace or add to the embedded ones
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    entities: Option<PathBuf>,
    /// Names this instance in the events it makes [default: a random name]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// Settings file (TOML); `dos config` prints one with every default
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// Flags of a process with a gateway.
#[derive(Debug, Args, Serialize)]
struct ApiArgs {
    /// Address and port of the API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = settings::socket_address)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
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
    /// The cache that gateways share, with --views on-demand: redis://HOST/, rediss:// or unix://. Others on this machine
    /// can see a password in a flag: DOS_REDIS__URL is hidden from them
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "url")]
    redis: Option<Secret>,
}

/// Flags of a process with a store on Kafka.
#[derive(Debug, Args, Serialize)]
struct TablesArgs {
    /// Where the entities are, with Kafka: postgres://USER@HOST/NAME or sqlite:DIR. Others on this machine can see a
    /// password in a flag: DOS_DATABASE__URL is hidden from them
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "url")]
    database: Option<Secret>,
}

/// Flags of `serve`.
#[derive(Debug, Args, Serialize)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    #[serde(flatten)]
    api: ApiArgs,
    /// Folder of the data; made if it is missing [default: dos-data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    tables: TablesArgs,
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
    /// Folder or file of JSON Lines to import once the gateway is ready; what is there already is left as it is
    #[arg(long, value_name = "PATH")]
    #[serde(skip)]
    import: Option<PathBuf>,
}

/// Flags of `gateway`.
#[derive(Debug, Args, Serialize)]
pub(super) struct GatewayArgs {
    #[command(flatten)]
    #[serde(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
}

/// Flags of `store`.
#[derive(Debug, Args, Serialize)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    #[serde(flatten)]
    tables: TablesArgs,
    #[command(flatten)]
    #[serde(flatten)]
    common: CommonArgs,
}

impl ServeArgs {
    pub(super) fn config(&self) -> Option<&Path> {
        self.common.config.as_deref()
    }

    pub(super) fn import(&self) -> Option<&Path> {
        self.import.as_deref()
    }
}

impl GatewayArgs {
    pub(super) fn config(&self) -> Option<&Path> {
        self.common.config.as_deref()
    }
}

impl StoreArgs {
    pub(super) fn config(&self) -> Option<&Path> {
        self.common.config.as_deref()
    }
}

/// A flag whose setting has a place in a section.
fn section<S: Serializer>(name: &'static str, value: &impl Serialize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map([(name, value)])
}

pub(super) fn brokers<S: Serializer>(value: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    section("brokers", value, serializer)
}

pub(super) fn url<S: Serializer>(value: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    section("url", value, serializer)
}

/// Runs these parts until a signal comes or one of them fails for good.
pub(super) fn run(
    role: Role,
    flags: &impl Serialize,
    config: Option<&Path>,
    paths: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(config, flags)?;
    if role.has_gateway() {
        settings.check_listen()?;
    }
    if let Some(path) = paths {
        // Before anything is made or bound.
        import::check_paths(&[path.to_owned()]).context("import")?;
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
        live(role, &settings, paths, env, metrics).await
    })
}

async fn live(
    role: Role,
    settings: &Settings,
    paths: Option<&Path>,
    env: Arc<dyn Env>,
    metrics: PrometheusHandle,
) -> anyhow::Result<ExitCode> {
    // From here on a signal is not lost, however early it comes.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let running = Running::start_as(role, settings, Arc::clone(&env), Some(metrics)).await?;
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

/// Waits until everything is ready, imports, says where it is, then waits for ever.
async fn announce(
    settings: &Settings,
    paths: Option<&Path>,
    running: &Running,
    env: &Arc<dyn Env>,
    importing: &Cell<bool>,
) -> anyhow::Result<Option<String>> {
    running.ready().await;
    if let Some(path) = paths {
        importing.set(true);
        import_into(running, path, env).await.context("import")?;
        importing.set(false);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", places(settings, running))?;
    out.flush()?;
    drop(out);
    std::future::pending().await
}

/// The line that says where everything is.
fn places(settings: &Settings, running: &Running) -> String {
    let mut places = match running.address().map(local_url) {
        Some(url) => format!("ready: API {url}  docs {url}/docs"),
        None => format!("ready: store {}", running.instance),
    };
    places += &match &settings.kafka.brokers {
        Some(brokers) => format!("  Kafka {brokers}"),
        None => format!("  data {}", settings.data_dir.join("dos.sqlite").display()),
    };
    if let Some(admin) = running.admin().filter(|_| running.address().is_none()) {
        places += &format!("  admin {}", local_url(admin));
    }
    places
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
    #[cfg(feature = "kafka")]
    stream::kafka::describe_metrics();
    store::describe_metrics();
    Ok(handle)
}
