//! The loop between the stream and the database.
//!
//! ```text
//! group -> (coordinator) --- a task per partition ---> read a batch, load, decide, commit ---> and so on
//!                                                                                   |
//!                                where the stream is another system: (publisher) <--+
//! ```
//!
//! A batch's entities, outcomes, outgoing events and position are one commit, so wherever the process ends, the next
//! one finds all of it or nothing, and begins at the position it finds. Owner and position are compared and set: a store
//! that lost a partition without knowing commits nothing.
//!
//! Where the database does not share its transactions with the stream, the events stay in its outbox, and the partition's
//! owner publishes them (`publisher`): first what the last owner left, then what its own commits lead to. What an
//! earlier owner sent late is put right (`repair`).

use std::sync::Arc;
use std::time::Duration;

use contract::{Env, Partition, Registry, Topic};
use stream::{Stream, StreamError, Topology};
use tokio::sync::watch;

use crate::database::{Database, Error, Log};

mod batch;
mod coordinator;
pub(crate) mod first;
mod names;
mod outbox;
mod publisher;
mod repair;
mod status;
mod underway;
mod worker;

use worker::End;

pub use names::describe as describe_metrics;
pub use status::Status;

/// The consumer group of all stores.
const GROUP: &str = "store";
/// How long a batch under way may take once its partition is to be given up.
const GRACE: Duration = Duration::from_millis(900);
/// How often the stream is asked whether it is still what it was.
const WATCH_EVERY: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// How the store behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Names this store: events have the source `/store/<instance>`.
    pub instance: String,
    /// The most commands of one commit; at least 1.
    pub batch_max: usize,
    /// How long outcomes are remembered, at least. The contract promises 24 hours.
    pub outcome_retention: Duration,
    /// Whether lists are asked for that need the index: any but whole types in the order of `created`. Unset: as the database
    /// has it, and in a new one they are.
    pub lists: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instance: "1".to_owned(),
            batch_max: 256,
            outcome_retention: Duration::from_secs(25 * 3600),
            lists: None,
        }
    }
}

/// A running store. Dropping it stops it as [`Store::stop`] does, without waiting.
pub struct Store {
    stop: watch::Sender<bool>,
    failed: watch::Receiver<Option<String>>,
    status: watch::Receiver<Status>,
    env: Arc<dyn Env>,
}

/// What all tasks share.
struct Shared {
    config: Config,
    /// Whether the index of lists is kept.
    lists: bool,
    source: String,
    registry: Registry,
    stream: Arc<dyn Stream>,
    topology: Topology,
    database: Arc<dyn Database>,
    env: Arc<dyn Env>,
    failed: watch::Sender<Option<String>>,
    status: watch::Sender<Status>,
}

impl Store {
    /// Joins the group of stores and begins to answer commands. Tasks are spawned through `env`.
    pub async fn start(
        config: Config,
        registry: Registry,
        stream: Arc<dyn Stream>,
        database: Arc<dyn Database>,
        env: Arc<dyn Env>,
    ) -> Result<Self, StreamError> {
        let membership = stream.join(GROUP, Topic::Commands).await?;
        let (stop, mut told) = watch::channel(false);
        let (failed, failure) = watch::channel(None);
        let (status, state) = watch::channel(Status::default());
        let source = format!("/store/{}", config.instance);
        let world = Arc::clone(&env);
        let run = async move {
            let bound = tokio::select! {
                biased;
                () = stopped(&mut told) => return,
                bound = bind(&*stream, &*database, &*env, config.lists, &registry) => bound,
            };
            match bound {
                Ok((topology, lists)) => {
                    status.send_modify(|status| status.bound = true);
                    let shared =
                        Shared { config, lists, source, registry, stream, topology, database, env, failed, status };
                    let shared = Arc::new(shared);
                    tokio::select! {
                        biased;
                        () = coordinator::run(Arc::clone(&shared), membership, told) => {}
                        () = shared.watch() => {}
                    }
                }
                Err(End::Failed(reason)) => fail(&failed, reason),
                Err(_) => tracing::info!("the stream or the database was closed before the store began"),
            }
        };
        world.spawn(Box::pin(run));
        Ok(Self { stop, failed: failure, status: state, env: world })
    }

    /// Completes, with the reason, once a partition has stopped for good: its commands are answered no more.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // All tasks have ended in good order.
            None => std::future::pending().await,
        }
    }

    /// How it stands, as it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Ends reading, finishes the batches under way or abandons them after a second at most, and leaves the group.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        tokio::select! {
            biased;
            () = self.stop.closed() => {}
            () = self.env.sleep(GRACE + GRACE) => tracing::warn!("the store did not stop in time; what it was at is abandoned"),
        }
    }
}

impl Shared {
    /// Whether commands of an assigned partition are carried out.
    fn works(&self, partition: Partition, works: bool) {
        self.status.send_if_modified(|status| match status.assigned.get_mut(&partition) {
            Some(before) => std::mem::replace(before, works) != works,
            None => false,
        });
    }

    /// Asks whether the stream is still what it was; never ends.
    async fn watch(&self) {
        loop {
            self.env.sleep(WATCH_EVERY).await;
            if matches!(self.stream.topology().await, Err(StreamError::Unusable(_))) {
                self.status.send_if_modified(|status| !std::mem::replace(&mut status.refused, true));
            }
        }
    }

    /// A partition stops for good.
    fn fail(&self, reason: String) {
        fail(&self.failed, reason);
    }
}

fn fail(failed: &watch::Sender<Option<String>>, reason: String) {
    tracing::error!(%reason, "commands are answered no more");
    metrics::counter!(names::FAILED).increment(1);
    failed.send_if_modified(|failed| failed.is_none().then(|| *failed = Some(reason)).is_some());
}

/// Learns what the stream is, binds the database to it and has the index of lists made, where it is kept; tried until both
/// answer.
async fn bind(
    stream: &dyn Stream,
    database: &dyn Database,
    env: &dyn Env,
    lists: Option<bool>,
    registry: &Registry,
) -> Result<(Topology, bool), End> {
    let mut backoff = Backoff::default();
    loop {
        let reason = match stream.topology().await {
            Ok(topology) => {
                let log = Log { cluster: topology.cluster.clone(), partitions: topology.partitions };
                let ready = async {
                    database.bind(log).await?;
                    let lists = database.keeps_index(lists).await?;
                    database.index(lists.then(|| registry.iter().cloned().collect())).await?;
                    Ok(lists)
                };
                match ready.await {
                    Ok(lists) => return Ok((topology, lists)),
                    Err(Error::Broken(reason)) => return Err(End::Failed(reason)),
                    Err(Error::Closed(reason)) => return Err(End::Closed(reason)),
                    Err(error) => error.to_string(),
                }
            }
            Err(error @ StreamError::Unusable(_)) => return Err(End::Failed(error.to_string())),
            Err(error @ StreamError::Closed) => return Err(End::Closed(error.to_string())),
            Err(error) => error.to_string(),
        };
        if !backoff.failing() {
            tracing::warn!(reason, "the store waits for the stream and the database");
        }
        env.sleep(backoff.next(env)).await;
    }
}

/// Waits that grow from try to try, and one log line per change between going well and not.
#[derive(Default)]
struct Backoff {
    tries: u32,
}

impl Backoff {
    /// How long to wait before the next try: between half and all of a time that doubles up to [`RETRY_MAX`].
    fn next(&mut self, env: &dyn Env) -> Duration {
        let whole = RETRY_FIRST.saturating_mul(1 << self.tries.min(10)).min(RETRY_MAX);
        self.tries = self.tries.saturating_add(1);
        let [random, ..] = env.random();
        whole.mul_f64(0.5 + f64::from(random) / 512.0)
    }

    fn failing(&self) -> bool {
        self.tries > 0
    }
}

/// Completes when it is time to stop, also when nobody is left to say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error is the sender's end.
    drop(stop.wait_for(|stop| *stop).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Still;

    impl Env for Still {
        fn now(&self) -> contract::Timestamp {
            contract::Timestamp::default()
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn random(&self) -> [u8; 10] {
            [255; 10]
        }

        fn sleep(&self, _: Duration) -> contract::env::BoxFuture<()> {
            Box::pin(std::future::ready(()))
        }

        fn spawn(&self, _: contract::env::BoxFuture<()>) {}
    }

    #[test]
    fn waits_grow_to_a_second() {
        let mut backoff = Backoff::default();
        assert!(!backoff.failing());
        let waits: Vec<_> = (0..100).map(|_| backoff.next(&Still)).collect();
        assert!(backoff.failing() && waits[0] <= RETRY_FIRST && waits.is_sorted());
        assert!(waits[99] <= RETRY_MAX && waits[99] > RETRY_MAX / 2);
    }
}
