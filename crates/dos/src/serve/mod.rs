//! The one place that chooses the back ends and wires the program.
//!
//! A process runs a gateway, a store, or both ([`Role`]). They meet on the stream and know nothing of each other, so one
//! piece of code starts them, whatever stream and database there are ([`backends`]).

mod admin;
mod backends;
mod store;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use contract::Env;
use gateway::{Access, Gateway};
use metrics_exporter_prometheus::PrometheusHandle;
use stream::Stream;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

pub(crate) use self::backends::Events;
use self::backends::Tables;
use self::store::StorePart;
use crate::settings::{Location, Role, Settings};

/// How often a start is asked whether it is ready.
const READY_POLL: Duration = Duration::from_millis(2);

/// A running system, or a part of one: what its role names, and the stream.
pub struct Running {
    /// Its name in events.
    pub instance: String,
    api: Option<Api>,
    /// Where metrics and health are.
    admin: Option<SocketAddr>,
    store: Option<StorePart>,
    events: Events,
    port: Arc<dyn Stream>,
    stop: watch::Sender<bool>,
    env: Arc<dyn Env>,
}

/// The gateway's part.
struct Api {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    served: oneshot::Receiver<()>,
}

impl Running {
    /// Starts gateway and store in one process, as [`Running::start_as`] does.
    ///
    /// # Errors
    /// What could not be opened or bound, and why.
    pub async fn start(
        settings: &Settings,
        env: Arc<dyn Env>,
        metrics: Option<PrometheusHandle>,
    ) -> anyhow::Result<Self> {
        Self::start_as(Role::Both, settings, env, metrics).await
    }

    /// Opens the data, binds the ports and starts these parts. Kafka and PostgreSQL may be away: the parts are there, not
    /// ready, and become so by themselves.
    ///
    /// # Errors
    /// What could not be opened or bound, and why.
    pub async fn start_as(
        role: Role,
        settings: &Settings,
        env: Arc<dyn Env>,
        metrics: Option<PrometheusHandle>,
    ) -> anyhow::Result<Self> {
        let registry = settings.registry()?;
        let location = settings.location(role)?;
        let instance = settings.instance(&*env);
        // Data that cannot be served is told before a port is tried; where there is none yet, a port that is taken
        // must leave none behind.
        let early =
            if data_is_there(settings, location.as_ref()) { None } else { Some(Ports::bind(role, settings).await?) };
        let events = Events::open(settings, &instance, &env)?;
        let tables = match location {
            Some(location) => Some(Tables::open(settings, location, &events, &env).await?),
            None => None,
        };
        let ports = match early {
            Some(ports) => ports,
            None => Ports::bind(role, settings).await?,
        };
        let port = events.port();
        let (stop, stopped) = watch::channel(false);
        let store = tables.map(|tables| {
            StorePart::start(settings.store(&instance), registry.clone(), events.port_of_store(&tables), tables, &env)
        });
        let api = match ports.api {
            Some(listener) => {
                let address = listener.local_addr()?;
                let config = settings.gateway(&instance)?;
                let gateway = Gateway::start(config, registry, Arc::clone(&port), Arc::clone(&env));
                let gateway = gateway.map_err(|reason| anyhow::anyhow!("snapshot.dir: {reason}"))?;
                let serving = gateway::serve(Arc::clone(&gateway), listener, settings.access(), stopped.clone());
                let (done, served) = oneshot::channel();
                env.spawn(Box::pin(async move {
                    serving.await;
                    // Nobody may wait for it.
                    let _ = done.send(());
                }));
                Some(Api { address, gateway, served })
            }
            None => None,
        };
        let admin = ports.admin.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(listener) = ports.admin {
            let gateway = api.as_ref().map(|api| Arc::clone(&api.gateway));
            let told = admin::Told { metrics, gateway, store: store.as_ref().map(StorePart::health) };
            env.spawn(Box::pin(admin::serve(listener, told, Arc::clone(&env), stopped)));
        }
        tracing::info!(instance, api = ?api.as_ref().map(|api| api.address), admin = ?admin, "started; waiting to be ready");
        Ok(Self { instance, api, admin, store, events, port, stop, env })
    }

    /// Where the API answers; nowhere for a store alone.
    pub fn address(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(|api| api.address)
    }

    /// Where metrics and health are, if they are served.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The stream, for those who look at events or add some of their own.
    pub fn stream(&self) -> &dyn Stream {
        &*self.port
    }

    /// Opens a second way in, on a free port of this machine, where writing is allowed whatever `anonymous` says.
    ///
    /// # Errors
    /// Where no port can be bound, or there is no gateway.
    pub async fn open_door(&self) -> anyhow::Result<Door> {
        let api = self.api.as_ref().context("there is no gateway in this process")?;
        let listener = bind("import", SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let serving = gateway::serve(Arc::clone(&api.gateway), listener, Access::Write, self.stop.subscribe());
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

    /// Completes when requests about entities are answered; of a store alone, when commands are carried out. Reads go on
    /// without the store, as on a disk that is full: a gateway does not wait for it.
    pub async fn ready(&self) {
        let store = self.store.as_ref().map(StorePart::health);
        let is_ready = || match &self.api {
            Some(api) => api.gateway.is_ready(),
            None => store.as_ref().is_none_or(|store| store.is_ready()),
        };
        while !is_ready() {
            self.env.sleep(READY_POLL).await;
        }
    }

    /// Completes, with the reason, when a part failed for good: the process must end.
    pub async fn failed(&self) -> String {
        let store = async {
            match &self.store {
                Some(store) => store.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reason = self.events.failed() => format!("event stream: {reason}"),
            reason = store => format!("data store: {reason}"),
        }
    }

    /// Takes no new requests, answers those under way, then stops store and stream.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Some(api) = self.api {
            // Fails only where serving ended already.
            let _ = api.served.await;
            api.gateway.stop().await;
        }
        if let Some(store) = self.store {
            store.stop().await;
        }
        self.events.close().await;
    }
}

/// A way in that lasts as long as this value: nobody new is let in once it is dropped.
pub struct Door {
    /// Where it is.
    pub address: SocketAddr,
    _open: oneshot::Sender<()>,
}

/// The ports that a role needs.
struct Ports {
    api: Option<TcpListener>,
    admin: Option<TcpListener>,
}

impl Ports {
    async fn bind(role: Role, settings: &Settings) -> anyhow::Result<Self> {
        let api = if role.has_gateway() { Some(bind("listen", settings.listen).await?) } else { None };
        let admin = match settings.admin_listen {
            Some(address) => Some(bind("admin_listen", address).await?),
            None => None,
        };
        Ok(Self { api, admin })
    }
}

/// Whether there are files of an earlier run to be looked at.
fn data_is_there(settings: &Settings, location: Option<&Location>) -> bool {
    match location {
        Some(Location::Stream) => !is_unused(&settings.data_dir),
        Some(Location::Folder(folder)) => !is_unused(folder),
        Some(Location::Postgres(_)) | None => false,
    }
}

/// Whether the folder is missing or empty.
fn is_unused(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("{setting}: cannot listen on {address}; is another program there?"))
}
