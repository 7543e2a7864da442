//! The cache of on-demand views that gateways share: Redis, between the cache in the process and the retrieve event.
//!
//! # What is promised
//!
//! A read of a gateway never gives an older version than the newest that this gateway's tail has passed, nor an older one
//! than it has told of (in a retrieved object, or by a rejection). Whatever becomes of Redis, only speed is lost.
//!
//! # How
//!
//! Redis holds per partition of the views topic a *state*: a generation, which is a random name, and an applied position.
//! Each entry carries the generation it was written in and its version. Always true, for every key `K` of a partition with
//! the state `(G, P)`:
//!
//! > **(I)** An entry of `K` in the generation `G` has at least the version of every view of `K` below the offset `P`.
//!
//! Three scripts touch it, each one step for Redis:
//!
//! - *pass* takes the views in `[from, to)` that a tail has passed. With `P >= from` it replaces the entries that are older
//!   and sets `P` to `max(P, to)`. Else views are missing, and a fresh generation begins at `to`: it has no entries, so (I)
//!   holds. It never makes an entry where there is none: of a view that comes alone nobody knows whether it is the newest,
//!   as a store that lost its partition may publish late (`docs/adr/0007`).
//! - *insert* keeps what a retrieve gave. A retrieve sent when the tail stood at `M` reflects all views before `M`, for they
//!   were committed before they were published; if no view of the key passes until the tail stands at `M'`, it reflects all
//!   before `M'`. It is refused with `P > M'`, and never replaces a newer one.
//! - *look* gives state and entry at one moment.
//!
//! A gateway keeps, per partition, the changes in `[W, M)` that its tail has passed and Redis has not acknowledged
//! (`window`). It believes an entry of the generation `G` only if `P >= W` and no change in the window is newer: by (I) the
//! entry is as new as everything below `P`, and the window tells of the rest up to `M`. The window is bounded. Over its bound it
//! is given up, which owes Redis a fresh generation: until that is acknowledged nothing in Redis is believed. So what
//! could not be written is gone before Redis is read again.
//!
//! # What may happen
//!
//! | event | why nothing older is given |
//! |---|---|
//! | Redis is emptied, or evicts a state | no state, no belief; the next *pass* begins a fresh generation |
//! | it evicts an entry | there is none; *insert* brings back only what reflects all below `P` |
//! | it comes back from an old dump, or an old replica takes over | (I) held when the dump was made, and its `P` is of that moment: below `W` |
//! | the connection is cut, an answer is lost | the window keeps the changes and sends them again; *pass* may come twice |
//! | all gateways were cut off while a view passed | each has it in its window, or owes a fresh generation |
//! | two gateways at different positions | each compares `P` with its own `W`; what is ahead of it is newer |
//! | a gateway dies at any moment | its window dies with it; a new one begins with `W` at the end of the topic |
//! | a *pass* comes very late | with `P >= from` it finds newer versions; else it begins a generation without entries |
//! | rubbish under a key | it is no state, no entry of the generation, or its hash is wrong: as good as none |
//!
//! Two assumptions: compaction removes no record while a retrieve that was sent before it is under way (Kafka never compacts
//! its active segment), and views of one key are read from one partition. The state and the entries of one script must lie
//! on one server: a Redis Cluster, which spreads keys, is refused by Redis itself, and reads then go on without it.
//!
//! A version told of before its view has passed is remembered in `floors`. They are given up once everything that was on the
//! topic a second later has passed; a store that publishes a view later than that after a reply that depends on it can be
//! overtaken by a read that was evicted from this process meanwhile.

mod address;
mod floors;
mod link;
mod scripts;
mod value;
mod window;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ::metrics::counter;
use contract::{EntityId, Env, Key, Offset, Partition, Registry, partition};
use stream::Stream;
use tokio::sync::{Notify, mpsc};

use crate::config::Config;
use crate::metrics::{SHARED_INSERTS, SHARED_READS};
use floors::Floors;
use link::{Away, Link};
use scripts::{Passed, Scripts};
use value::{decode, decode_state};
use window::{Trust, Window};
use writer::Insert;

pub use address::SharedCache;
pub(crate) use value::Entry;
pub(crate) use window::Change;

/// Inserts that wait for Redis; one more is dropped.
const INSERTS_MAX: usize = 1024;
/// How long a cohort of floors is open, and how long it then waits before the end of the topic is asked for.
const COHORT: Duration = Duration::from_secs(1);
/// How often it is looked whether that end has passed.
const SETTLE_POLL: Duration = Duration::from_millis(50);

/// The cache as one gateway uses it.
pub(crate) struct Shared {
    prefix: String,
    registry: Registry,
    ttl: Duration,
    not_found_ttl: Duration,
    env: Arc<dyn Env>,
    link: Link,
    scripts: Scripts,
    /// Set once the stream has told where its partitions end.
    topic: OnceLock<Topic>,
    floors: Mutex<Floors>,
    inserts: mpsc::Sender<Insert>,
    /// There may be something to write.
    work: Notify,
}

struct Topic {
    cluster: String,
    windows: Vec<Mutex<Window>>,
}

impl Shared {
    pub(crate) fn start(cache: &SharedCache, config: &Config, registry: &Registry, env: &Arc<dyn Env>) -> Arc<Self> {
        let (inserts, waiting) = mpsc::channel(INSERTS_MAX);
        let shared = Arc::new(Self {
            prefix: cache.prefix.clone(),
            registry: registry.clone(),
            ttl: config.cache_ttl,
            not_found_ttl: config.not_found_ttl,
            env: Arc::clone(env),
            link: Link::new(cache.client.clone(), Arc::clone(env)),
            scripts: Scripts::new(),
            topic: OnceLock::new(),
            floors: Mutex::default(),
            inserts,
            work: Notify::new(),
        });
        env.spawn(Box::pin(writer::run(Arc::downgrade(&shared), waiting)));
        shared
    }

    /// The tails begin at these offsets. Until then nothing is read from Redis.
    pub(crate) fn begin(self: &Arc<Self>, cluster: &str, at: &[Offset], stream: Arc<dyn Stream>) {
        let windows = at.iter().map(|offset| Mutex::new(Window::new(*offset))).collect();
        if self.topic.set(Topic { cluster: cluster.to_owned(), windows }).is_ok() {
            self.work.notify_one();
            let (weak, env) = (Arc::downgrade(self), Arc::clone(&self.env));
            self.env.spawn(Box::pin(async move {
                loop {
                    env.sleep(COHORT).await;
                    let Some(shared) = weak.upgrade() else { return };
                    shared.settle(&*stream).await;
                }
            }));
        }
    }

    /// A tail has passed a record, or a gap. Comes before the cache in the process takes the view.
    pub(crate) fn pass(&self, partition: Partition, next: Offset, change: Option<(Key, Change)>) {
        self.window(partition, |window| window.pass(next, change));
    }

    /// A tail goes on elsewhere.
    pub(crate) fn restart(&self, partition: Partition, at: Offset) {
        self.window(partition, |window| window.restart(at));
    }

    /// What was passed is to be written.
    pub(crate) fn flush(&self) {
        self.work.notify_one();
    }

    /// This gateway tells of a version that its tail may not have passed.
    pub(crate) fn raise(&self, key: &Key, version: u64) {
        self.floors.lock().unwrap_or_else(PoisonError::into_inner).raise(key, version);
    }

    /// How far the tail of a key's partition is.
    pub(crate) fn passed(&self, key: &Key) -> Option<Offset> {
        self.window(self.partition(key)?, |window| window.passed())
    }

    /// What Redis knows of an entity, if it is as new as what was passed here. `keep` is called while no view of the key
    /// can pass.
    pub(crate) async fn look(&self, key: &Key, keep: impl FnOnce(&Entry)) -> Option<Entry> {
        let partition = self.partition(key)?;
        let (state, entry) = (self.state_key(partition), self.entry_key(key));
        let found = self.link.ask(async |connection| self.scripts.look(connection, &state, &entry).await).await;
        let outcome = match found {
            Ok((state, value)) => self.judge(key, partition, state.as_deref(), value.as_deref(), keep),
            Err(Away::PassedBy) => Err("passed_by"),
            Err(Away::Failed) => Err("failed"),
        };
        let label = outcome.as_ref().map_or_else(|label| *label, |_| "hit");
        counter!(SHARED_READS, "outcome" => label).increment(1);
        outcome.ok()
    }

    fn judge(
        &self,
        key: &Key,
        partition: Partition,
        state: Option<&[u8]>,
        value: Option<&[u8]>,
        keep: impl FnOnce(&Entry),
    ) -> Result<Entry, &'static str> {
        let state = state.and_then(decode_state);
        let entity_type = self.registry.get(key.entity_type.as_str()).ok_or("miss")?;
        let decoded = value.map(|value| decode(entity_type, key, value).ok_or("rubbish"));
        let (entry, current) = match decoded.transpose()? {
            Some((generation, entry)) => {
                let current = state.as_ref().is_some_and(|state| state.generation == generation);
                (Some(entry), current)
            }
            None => (None, false),
        };
        let version = entry.as_ref().map_or(0, Entry::version);
        let judged = self.window(partition, |window| {
            let trust = window.trusts(state.as_ref(), key, version);
            // Asked under the lock: what the tail passes next comes after what is kept here.
            let Some(entry) = entry.filter(|_| current) else { return Err("miss") };
            let Trust::Yes { ahead } = trust else { return Err("doubtful") };
            let mut floors = self.floors.lock().unwrap_or_else(PoisonError::into_inner);
            if !floors.allows(key, version) {
                return Err("doubtful");
            }
            if ahead {
                floors.raise(key, version);
            }
            keep(&entry);
            Ok(entry)
        });
        if state.is_none() || matches!(judged, Some(Err("doubtful"))) {
            self.flush();
        }
        judged.unwrap_or(Err("miss"))
    }

    /// Keeps what a retrieve gave, for all gateways; it reflects everything before `as_of`.
    pub(crate) fn insert(&self, key: &Key, as_of: Offset, entry: Entry) {
        let Some(partition) = self.partition(key) else { return };
        if self.inserts.try_send(Insert { partition, key: key.clone(), as_of, entry }).is_err() {
            counter!(SHARED_INSERTS, "outcome" => "dropped").increment(1);
        }
    }

    /// Gives up floors whose views must have passed.
    async fn settle(&self, stream: &dyn Stream) {
        if !self.floors.lock().unwrap_or_else(PoisonError::into_inner).close() {
            return;
        }
        self.env.sleep(COHORT).await;
        let Ok(bounds) = stream.bounds(contract::Topic::Views).await else { return };
        for (partition, bounds) in (0..).zip(bounds) {
            while self.window(partition, |window| window.passed()).is_some_and(|passed| passed < bounds.end) {
                self.env.sleep(SETTLE_POLL).await;
            }
        }
        self.floors.lock().unwrap_or_else(PoisonError::into_inner).settle();
    }

    fn partitions(&self) -> Partition {
        self.topic.get().map_or(0, |topic| Partition::try_from(topic.windows.len()).unwrap_or(0))
    }

    fn partition(&self, key: &Key) -> Option<Partition> {
        let count = self.partitions();
        (count > 0).then(|| partition::of_key(key.to_string().as_bytes(), count))
    }

    fn window<T>(&self, partition: Partition, act: impl FnOnce(&mut Window) -> T) -> Option<T> {
        let window = self.topic.get()?.windows.get(usize::try_from(partition).ok()?)?;
        Some(act(&mut window.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn state_key(&self, partition: Partition) -> String {
        let cluster = self.topic.get().map_or("", |topic| topic.cluster.as_str());
        format!("{}:@{cluster}:{partition}", self.prefix)
    }

    fn entry_key(&self, key: &Key) -> String {
        format!("{}:{}:{}", self.prefix, key.entity_type, key.id.as_ref().map_or("", EntityId::as_str))
    }

    fn fresh_generation(&self) -> String {
        self.env.random().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn passed_entry(&self, key: &Key, change: &Change) -> Passed {
        let version = match change {
            Change::View(held) => Some(held.version()),
            Change::Deleted(version) => Some(*version),
            Change::Unreadable => None,
        };
        Passed { key: self.entry_key(key), version, body: Vec::new() }
    }

    fn encode(&self, key: &Key, entry: &Entry) -> Vec<u8> {
        let entity_type = self.registry.get(key.entity_type.as_str());
        value::encode(key, entry, entity_type.map_or("", |entity_type| entity_type.data_schema()))
    }
}
