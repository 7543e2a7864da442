//! Whether the brokers can be reached just now: what an append is refused for before it is handed over.
//!
//! librdkafka tells of lost connections, and a task asks for the leaders of all partitions: at once when a connection
//! was lost, every few seconds otherwise. An append goes to librdkafka only where the last answer named a leader and no
//! word of "all brokers down" came since, so that with the brokers away writes are refused as safe to try again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use contract::{Env, Partition, Topic};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

/// See the module.
pub(super) struct Link {
    env: Arc<dyn Env>,
    up: AtomicBool,
    /// Brokers answer, and every partition has a leader.
    whole: AtomicBool,
    /// When all of it was last seen to be there, in milliseconds of the monotonic clock.
    whole_at: AtomicU64,
    /// Since when brokers answer and every partition has a leader.
    whole_since: Mutex<Option<Duration>>,
    /// Lost connections so far: where none was lost, nothing was sent twice.
    losses: AtomicU64,
    /// Per topic and partition, whether it has a leader.
    leaders: RwLock<Vec<Vec<bool>>>,
    reason: Mutex<String>,
    /// Why commands are refused for good: partitions were added, so others may not agree where a key's records lie.
    grown: OnceLock<String>,
    /// Asks for a look at once.
    pub(super) look: Notify,
}

impl Link {
    pub(super) fn new(env: &Arc<dyn Env>) -> Self {
        Self {
            env: Arc::clone(env),
            up: AtomicBool::new(false),
            whole: AtomicBool::new(false),
            whole_at: AtomicU64::new(0),
            whole_since: Mutex::default(),
            losses: AtomicU64::new(0),
            leaders: RwLock::default(),
            reason: Mutex::default(),
            grown: OnceLock::new(),
            look: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.env.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long some of it has not been seen.
    pub(super) fn away_for(&self) -> Option<Duration> {
        let seen = self.whole_at.load(Ordering::SeqCst);
        (!self.is_whole()).then(|| Duration::from_millis(self.now().saturating_sub(seen)))
    }

    /// An error that is no single message's.
    fn error(&self, is_producer: bool, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        match code {
            RDKafkaErrorCode::AllBrokersDown => {
                self.losses.fetch_add(1, Ordering::SeqCst);
                if is_producer {
                    self.down(None);
                }
            }
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL => {
                self.losses.fetch_add(1, Ordering::SeqCst);
                *lock(&self.reason) = reason.to_owned();
            }
            RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AutoOffsetReset => return,
            _ => tracing::debug!(target: "librdkafka", %error, reason, "an error of a client"),
        }
        self.look.notify_one();
    }

    /// Nobody answers. Without a reason a client says so of itself, and may be wrong.
    pub(super) fn down(&self, reason: Option<String>) {
        if let Some(reason) = reason {
            *lock(&self.reason) = reason;
            *lock(&self.whole_since) = None;
        }
        self.whole.store(false, Ordering::SeqCst);
        if self.up.swap(false, Ordering::SeqCst) {
            tracing::warn!(reason = self.reason(), "no broker can be reached");
        }
    }

    /// Brokers answered: these partitions have leaders.
    pub(super) fn up(&self, leaders: Vec<Vec<bool>>) {
        let mut known = self.leaders.write().unwrap_or_else(PoisonError::into_inner);
        let count = |leaders: &[Vec<bool>]| leaders.iter().flatten().filter(|has| !**has).count();
        let (before, now) = (count(&known), count(&leaders));
        *known = leaders;
        drop(known);
        if now == 0 {
            self.whole_at.store(self.now(), Ordering::SeqCst);
        }
        self.whole.store(now == 0, Ordering::SeqCst);
        if !self.up.swap(true, Ordering::SeqCst) {
            tracing::info!("the brokers are reached");
        }
        let mut whole_since = lock(&self.whole_since);
        *whole_since = if now == 0 { whole_since.or_else(|| Some(self.env.monotonic())) } else { None };
        drop(whole_since);
        if before != now {
            tracing::warn!(partitions = now, "partitions without a leader");
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::SeqCst)
    }

    /// Whether nothing was missing for so long: a client that got nowhere meanwhile has lost its way.
    pub(super) fn is_whole_for(&self, time: Duration) -> bool {
        lock(&self.whole_since).is_some_and(|since| self.env.monotonic().saturating_sub(since) >= time)
    }

    /// Takes it that messages may have been sent twice.
    pub(super) fn lose(&self) {
        self.losses.fetch_add(1, Ordering::SeqCst);
    }

    /// Why nothing can be handed over for this partition, if so.
    pub(super) fn refuses(&self, topic: Topic, partition: Partition) -> Option<String> {
        if !self.up.load(Ordering::SeqCst) {
            return Some(format!("no broker can be reached: {}", self.reason()));
        }
        let leaders = self.leaders.read().unwrap_or_else(PoisonError::into_inner);
        let leader = leaders.get(index(topic)).and_then(|topic| topic.get(partition as usize));
        (leader != Some(&true)).then(|| format!("{}/{partition} has no leader", topic.name()))
    }

    /// Partitions were added to a topic that is in use.
    pub(super) fn grew(&self, reason: String) {
        if self.grown.set(reason).is_ok() {
            tracing::error!(reason = self.grown(), "commands are refused; what was accepted before is still answered");
        }
    }

    pub(super) fn grown(&self) -> Option<&str> {
        self.grown.get().map(String::as_str)
    }

    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    pub(super) fn reason(&self) -> String {
        lock(&self.reason).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A topic's place in [`Topic::ALL`].
fn index(topic: Topic) -> usize {
    Topic::ALL.iter().position(|other| *other == topic).unwrap_or(0)
}

/// What librdkafka calls back.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) link: Arc<Link>,
    pub(super) is_producer: bool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.error(self.is_producer, &error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Context {}

/// One line of librdkafka's. Lost connections are told once, by the link; a property that is another kind of client's is
/// no news either.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    let known = matches!(facility, "FAIL" | "CONFWARN" | "ERROR" | "MAXPOLL");
    match level {
        _ if known => tracing::debug!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message),
        _ => tracing::debug!(target: "librdkafka", facility, message),
    }
}
