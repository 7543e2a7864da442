//! The loop between the stream and the database.
//!
//! ```text
//! group -> (coordinator) --- a task per partition ---> read a batch, load, decide, commit ---> and so on
//! ```
//!
//! A batch's entities, outcomes, outgoing events and position are one commit, so wherever the process ends, the next
//! one finds all of it or nothing, and begins at the position it finds. The position is compared and set: a store that
//! lost a partition without knowing commits nothing.

use std::sync::Arc;
use std::time::Duration;

use contract::{Env, Registry, Topic};
use stream::{Stream, StreamError};
use tokio::sync::watch;

use crate::database::Database;

mod batch;
mod coordinator;
mod names;
mod worker;

pub use names::describe as describe_metrics;

/// The consumer group of all stores.
const GROUP: &str = "store";
/// How long a batch under way may take once its partition is to be given up.
const GRACE: Duration = Duration::from_millis(900);
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
}

impl Default for Config {
    fn default() -> Self {
        Self { instance: "1".to_owned(), batch_max: 256, outcome_retention: Duration::from_secs(25 * 3600) }
    }
}

/// A running store. Dropping it stops it as [`Store::stop`] does, without waiting.
pub struct Store {
    stop: watch::Sender<bool>,
    failed: watch::Receiver<Option<String>>,
    env: Arc<dyn Env>,
}

/// What all tasks share.
struct Shared {
    config: Config,
    source: String,
    registry: Registry,
    stream: Arc<dyn Stream>,
    database: Arc<dyn Database>,
    env: Arc<dyn Env>,
    failed: watch::Sender<Option<String>>,
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
        let (stop, stopped) = watch::channel(false);
        let (failed, failure) = watch::channel(None);
        let source = format!("/store/{}", config.instance);
        let shared = Shared { config, source, registry, stream, database, env: Arc::clone(&env), failed };
        env.spawn(Box::pin(coordinator::run(Arc::new(shared), membership, stopped)));
        Ok(Self { stop, failed: failure, env })
    }

    /// Completes, with the reason, once a partition has stopped for good: its commands are answered no more.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // All tasks have ended in good order.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends reading, finishes the batches under way or abandons them after a second at most, and leaves the group.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        tokio::select! {
            () = self.stop.closed() => {}
            () = self.env.sleep(GRACE + GRACE) => tracing::warn!("the store did not stop in time; what it was at is abandoned"),
        }
    }
}

impl Shared {
    /// A partition stops for good.
    fn fail(&self, reason: String) {
        tracing::error!(%reason, "a partition of commands is answered no more");
        metrics::counter!(names::FAILED).increment(1);
        self.failed.send_if_modified(|failed| failed.is_none().then(|| *failed = Some(reason)).is_some());
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
