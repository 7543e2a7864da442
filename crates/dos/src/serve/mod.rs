//! The one place that chooses the back ends and wires the program.

mod admin;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use contract::Env;
use gateway::Gateway;
use metrics_exporter_prometheus::PrometheusHandle;
use store::{Sqlite, Store};
use stream::embedded::Embedded;
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
        let stream = Embedded::open(&settings.data_dir, settings.stream(), Arc::clone(&env))?;
        let database = Sqlite::open(stream.clone()).await.context("the data store's tables cannot be opened")?;
        let listener = bind("listen", settings.listen).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        if let (Some(admin), Some(metrics)) = (settings.admin_listen, metrics) {
            let listener = bind("admin_listen", admin).await?;
            env.spawn(Box::pin(admin::serve(listener, metrics, Arc::clone(&env), stopped.clone())));
        }
        let port: Arc<dyn stream::Stream> = Arc::new(stream.clone());
        let store =
            Store::start(settings.store(), registry.clone(), Arc::clone(&port), Arc::new(database), Arc::clone(&env))
                .await
                .context("the data store cannot start")?;
        let gateway = Gateway::start(settings.gateway(), registry, port, Arc::clone(&env));
        let (done, served) = oneshot::channel();
        let serving = gateway::serve(Arc::clone(&gateway), listener, stopped);
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
        self.store.stop().await;
        self.stream.close().await;
    }
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("{setting}: cannot listen on {address}; is another program there?"))
}
