//! The store's part of a process: waits for its database, works, and says how it stands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{Env, Registry};
use store::{Config, Database, Status, Store};
use stream::Stream;
use tokio::sync::{oneshot, watch};

use super::backends::Tables;

/// How long the database may take to say that it is there.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// A store that runs, or will once its database is there.
pub(super) struct StorePart {
    stop: watch::Sender<bool>,
    failed: watch::Receiver<Option<String>>,
    ended: oneshot::Receiver<()>,
    health: Arc<StoreHealth>,
    tables: Arc<Tables>,
}

/// What a probe is answered from.
pub(super) struct StoreHealth {
    env: Arc<dyn Env>,
    /// None until the database was reached.
    working: Mutex<Option<Working>>,
}

#[derive(Clone)]
struct Working {
    database: Arc<dyn Database>,
    status: watch::Receiver<Status>,
}

impl StorePart {
    pub(super) fn start(
        config: Config,
        registry: Registry,
        stream: Arc<dyn Stream>,
        tables: Tables,
        env: &Arc<dyn Env>,
    ) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let (fail, failed) = watch::channel(None);
        let (end, ended) = oneshot::channel();
        let health = Arc::new(StoreHealth { env: Arc::clone(env), working: Mutex::default() });
        let tables = Arc::new(tables);
        let (own, kept, world) = (Arc::clone(&health), Arc::clone(&tables), Arc::clone(env));
        env.spawn(Box::pin(async move {
            let work = async {
                let database = kept.reach(&*world).await?;
                let store = Store::start(config, registry, stream, Arc::clone(&database), world).await;
                let store = store.map_err(|error| error.to_string())?;
                *own.working() = Some(Working { database, status: store.status() });
                Ok(store)
            };
            let begun = tokio::select! {
                biased;
                () = told(&mut stopped) => None,
                begun = work => Some(begun),
            };
            let reason = match begun {
                None => None,
                Some(Err(reason)) => Some(reason),
                Some(Ok(store)) => {
                    let failure = tokio::select! {
                        biased;
                        () = told(&mut stopped) => None,
                        reason = store.failed() => Some(reason),
                    };
                    store.stop().await;
                    failure
                }
            };
            if let Some(reason) = reason {
                fail.send_replace(Some(reason));
                // What became of it is told until nobody is left to hear it.
                told(&mut stopped).await;
            }
            // Nobody may wait for it.
            let _ = end.send(());
        }));
        Self { stop, failed, ended, health, tables }
    }

    pub(super) fn health(&self) -> Arc<StoreHealth> {
        Arc::clone(&self.health)
    }

    /// Completes, with the reason, when it has failed for good.
    pub(super) async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        let store = async {
            let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            match reason {
                Some(reason) => reason,
                // It ended in good order.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reason = self.tables.failed() => format!("database: {reason}"),
            reason = store => reason,
        }
    }

    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        // Fails only where it ended already.
        let _ = self.ended.await;
        self.tables.close().await;
    }
}

/// Completes when it is time to stop, also when nobody is left to say so.
async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

impl StoreHealth {
    fn working(&self) -> std::sync::MutexGuard<'_, Option<Working>> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether commands are carried out.
    pub(super) fn is_ready(&self) -> bool {
        self.working().as_ref().is_some_and(|working| working.status.borrow().trouble().is_none())
    }

    /// What is missing, by part, without names of hosts; empty when ready. Asks the database.
    pub(super) async fn errors(&self) -> BTreeMap<&'static str, String> {
        let working = self.working().clone();
        let Some(Working { database, status }) = working else {
            return BTreeMap::from([("database", "not reached yet".to_owned())]);
        };
        let mut errors = BTreeMap::new();
        if let Some((part, trouble)) = status.borrow().trouble() {
            errors.insert(part, trouble);
        }
        let answer = tokio::select! {
            biased;
            answer = database.standing(0) => answer.is_ok(),
            () = self.env.sleep(PROBE_LIMIT) => false,
        };
        if !answer {
            errors.insert("database", "it does not answer; the log says why".to_owned());
        }
        errors
    }
}
