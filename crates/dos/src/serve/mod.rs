//! The one place that chooses the back ends and wires the program.

mod admin;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use contract::Env;
use gateway::{Access, Gateway};
use metrics_exporter_prometheus::PrometheusHandle;
use store::{Sqlite, Store};
use stream::embedded::{Embedded, OpenError};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::settings::Settings;

/// How often a start is asked whether it is ready.
const READY_POLL: Duration = Duration::from_millis(2);

/// A running system: gateway, store and stream in one process.
pub struct Running {
    /// Where the API answers.
    pub address: SocketAddr,
    gateway: Arc<Gateway>,
    store: Store,
    stream: Embedded,
    stop: watch::Sender<bool>,
    served: oneshot::Receiver<()>,
    env: Arc<dyn Env>,
}

impl Running {
    /// Opens the data, binds the ports and starts every part.
    ///
    /// # Errors
    /// What could not be opened or bound, and why.
    pub async fn start(
        settings: &Settings,
        env: Arc<dyn Env>,
        metrics: Option<PrometheusHandle>,
    ) -> anyhow::Result<Self> {
        let registry = settings.registry()?;
        let admin = settings.admin_listen.filter(|_| metrics.is_some());
        // Data that cannot be served is told before a port is tried; where there is none yet, a port that is taken
        // must leave none behind.
        let early = if is_unused(&settings.data_dir) { Some(Ports::bind(settings, admin).await?) } else { None };
        let stream = Embedded::open(&settings.data_dir, settings.stream(), Arc::clone(&env)).map_err(open_error)?;
        let database = Sqlite::open(stream.clone()).await.context("the data store's tables cannot be opened")?;
        let ports = match early {
            Some(ports) => ports,
            None => Ports::bind(settings, admin).await?,
        };
        let address = ports.api.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        if let (Some(listener), Some(metrics)) = (ports.admin, metrics) {
            env.spawn(Box::pin(admin::serve(listener, metrics, Arc::clone(&env), stopped.clone())));
        }
        let port: Arc<dyn stream::Stream> = Arc::new(stream.clone());
        let store =
            Store::start(settings.store(), registry.clone(), Arc::clone(&port), Arc::new(database), Arc::clone(&env))
                .await
                .context("the data store cannot start")?;
        let gateway = Gateway::start(settings.gateway(), registry, port, Arc::clone(&env));
        let (done, served) = oneshot::channel();
        let serving = gateway::serve(Arc::clone(&gateway), ports.api, settings.access(), stopped);
        env.spawn(Box::pin(async move {
            serving.await;
            // Nobody may wait for it.
            let _ = done.send(());
        }));
        Ok(Self { address, gateway, store, stream, stop, served, env })
    }

    /// The stream, for those who look at events or add some of their own.
    pub fn stream(&self) -> &Embedded {
        &self.stream
    }

    /// Opens a second way in, on a free port of this machine, where writing is allowed whatever `anonymous` says.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub async fn open_door(&self) -> anyhow::Result<Door> {
        let listener = bind("import", SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let serving = gateway::serve(Arc::clone(&self.gateway), listener, Access::Write, self.stop.subscribe());
        let (open, closed) = oneshot::channel::<()>();
        self.env.spawn(Box::pin(async move {
            // Dropped and not stopped: stopping would say that the gateway is no longer ready.
            tokio::select! {
                () = serving => {}
                _ = closed => {}
            }
        }));
        Ok(Door { address, _open: open })
    }

    /// Completes when requests about entities are answered.
    pub async fn ready(&self) {
        while !self.gateway.is_ready() {
            self.env.sleep(READY_POLL).await;
        }
    }

    /// Completes, with the reason, when a part failed for good: the process must end.
    pub async fn failed(&self) -> String {
        tokio::select! {
            biased;
            reason = self.stream.failed() => format!("event stream: {reason}"),
            reason = self.store.failed() => format!("data store: {reason}"),
        }
    }

    /// Takes no new requests, answers those under way, then stops store and stream.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // Fails only where serving ended already.
        let _ = self.served.await;
        self.gateway.stop().await;
        self.store.stop().await;
        self.stream.close().await;
    }
}

/// A way in that lasts as long as this value: nobody new is let in once it is dropped.
pub struct Door {
    /// Where it is.
    pub address: SocketAddr,
    _open: oneshot::Sender<()>,
}

/// The ports that settings name.
struct Ports {
    api: TcpListener,
    admin: Option<TcpListener>,
}

impl Ports {
    async fn bind(settings: &Settings, admin: Option<SocketAddr>) -> anyhow::Result<Self> {
        let api = bind("listen", settings.listen).await?;
        let admin = match admin {
            Some(address) => Some(bind("admin_listen", address).await?),
            None => None,
        };
        Ok(Self { api, admin })
    }
}

/// Whether the folder is missing or empty.
fn is_unused(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Names the setting that is at fault.
fn open_error(error: OpenError) -> anyhow::Error {
    let setting = match &error {
        OpenError::Partitions { .. } => "stream.partitions",
        OpenError::NotFolder(_) => "data_dir",
        _ => return error.into(),
    };
    anyhow::Error::new(error).context(setting)
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("{setting}: cannot listen on {address}; is another program there?"))
}
