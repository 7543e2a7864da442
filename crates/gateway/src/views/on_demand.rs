//! A bounded cache of views, kept current by the views that pass; what it lacks is asked for.
//!
//! No client sees an entity go back: what the cache has is at least as new as whatever was told of the entity here. So a
//! view that passes replaces an older one and is not taken where there is none (this gateway may be behind, and have told
//! of a newer one that it asked for); and whatever tells of a newer one removes the older one first, and detaches
//! the question that is under way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::{Key, Offset, Partition};
use moka::Expiry;
use moka::ops::compute::Op;
use moka::sync::Cache;
use tokio::sync::watch;

use super::shared::{Change, Entry, Shared};
use super::{Held, Look};
use crate::config::Config;

/// What a retrieve led to, for everyone who waited for it.
pub(crate) type Flown<T> = watch::Receiver<Option<T>>;

/// The cache in the process, and the one that gateways share.
pub(crate) struct OnDemand {
    cache: Cache<Key, Slot>,
    shared: Option<Arc<Shared>>,
}

#[derive(Clone, Debug)]
enum Slot {
    View(Held),
    Absent,
    /// With this version.
    Deleted(u64),
    Unreadable,
}

impl Slot {
    /// What tells of no version gives way to all that does.
    fn version(&self) -> u64 {
        match self {
            Self::View(held) => held.version(),
            Self::Deleted(version) => *version,
            Self::Absent | Self::Unreadable => 0,
        }
    }
}

struct Ttl {
    view: Duration,
    not_found: Duration,
}

impl Expiry<Key, Slot> for Ttl {
    fn expire_after_create(&self, _: &Key, slot: &Slot, _: Instant) -> Option<Duration> {
        Some(match slot {
            Slot::View(_) | Slot::Deleted(_) | Slot::Unreadable => self.view,
            Slot::Absent => self.not_found,
        })
    }

    fn expire_after_update(&self, key: &Key, slot: &Slot, at: Instant, _: Option<Duration>) -> Option<Duration> {
        self.expire_after_create(key, slot, at)
    }
}

impl OnDemand {
    pub(crate) fn new(config: &Config, shared: Option<Arc<Shared>>) -> Self {
        let weigh = |key: &Key, slot: &Slot| {
            let held = match slot {
                Slot::View(held) => held.size_bytes(),
                Slot::Absent | Slot::Deleted(_) | Slot::Unreadable => 0,
            };
            let id = key.id.as_ref().map_or(0, |id| id.as_str().len());
            u32::try_from(held + id + 128).unwrap_or(u32::MAX)
        };
        let ttl = Ttl { view: config.cache_ttl, not_found: config.not_found_ttl };
        let cache = Cache::builder().max_capacity(config.cache_bytes).weigher(weigh).expire_after(ttl).build();
        Self { cache, shared }
    }

    pub(crate) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    pub(crate) fn look(&self, key: &Key) -> Look {
        match self.cache.get(key) {
            Some(Slot::View(held)) => Look::Found(held),
            Some(Slot::Absent) => Look::Absent,
            Some(Slot::Deleted(version)) => Look::Deleted(version),
            Some(Slot::Unreadable) => Look::Unreadable,
            None => Look::Unknown,
        }
    }

    /// What the shared cache knows of an entity that this one lacks.
    pub(crate) async fn recall(&self, key: &Key) -> Look {
        let Some(shared) = &self.shared else { return Look::Unknown };
        match shared.look(key, |entry| self.insert(key, entry)).await {
            Some(Entry::View(held)) => Look::Found(held),
            Some(Entry::Deleted(version)) => Look::Deleted(version),
            Some(Entry::Absent) => Look::Absent,
            None => Look::Unknown,
        }
    }

    /// A view has passed: it replaces what is there, if it is newer. Where nothing is there nobody knows whether it is the
    /// newest, for a store that lost its partition may publish late.
    pub(crate) fn pass(&self, key: Key, held: &Held, partition: Partition, offset: Offset) {
        if let Some(shared) = &self.shared {
            shared.pass(partition, offset + 1, Some((key.clone(), Change::View(held.clone()))));
        }
        self.replace(key, Slot::View(held.clone()));
    }

    /// A deletion has passed: like a view.
    pub(crate) fn pass_deletion(&self, key: &Key, version: u64, partition: Partition, offset: Offset) {
        if let Some(shared) = &self.shared {
            shared.pass(partition, offset + 1, Some((key.clone(), Change::Deleted(version))));
        }
        self.replace(key.clone(), Slot::Deleted(version));
    }

    fn replace(&self, key: Key, slot: Slot) {
        self.cache.entry(key).and_compute_with(|entry| match entry.map(|entry| entry.into_value()) {
            None => Op::Nop,
            Some(before) if before.version() >= slot.version() => Op::Nop,
            Some(_) => Op::Put(slot),
        });
    }

    /// How far the tail of a key's partition is, for what is asked of the data store now.
    pub(crate) fn passed(&self, key: &Key) -> Option<Offset> {
        self.shared.as_ref()?.passed(key)
    }

    /// Keeps what a retrieve gave; no view of the key has passed since, up to an offset.
    pub(crate) fn remember(&self, key: &Key, entry: Entry, as_of: Option<Offset>) {
        self.insert(key, &entry);
        if let (Some(shared), Some(as_of)) = (&self.shared, as_of) {
            shared.insert(key, as_of, entry);
        }
    }

    /// This version is told of, whether or not its view has passed.
    pub(crate) fn tell(&self, key: &Key, version: u64) {
        if let Some(shared) = &self.shared {
            shared.raise(key, version);
        }
    }

    fn insert(&self, key: &Key, entry: &Entry) {
        let slot = match entry {
            Entry::View(held) => Slot::View(held.clone()),
            Entry::Deleted(version) => Slot::Deleted(*version),
            Entry::Absent => Slot::Absent,
        };
        self.cache.entry_by_ref(key).and_compute_with(|before| match before.map(|before| before.into_value()) {
            Some(_) if matches!(slot, Slot::Absent) => Op::Nop,
            // It was asked for before that record passed.
            Some(Slot::Unreadable) => Op::Nop,
            Some(before) if before.version() >= slot.version() => Op::Nop,
            _ => Op::Put(slot),
        });
    }

    /// Marks an entity whose latest record cannot be read.
    pub(crate) fn mark_unreadable(&self, key: &Key, partition: Partition, offset: Offset) {
        if let Some(shared) = &self.shared {
            shared.pass(partition, offset + 1, Some((key.clone(), Change::Unreadable)));
        }
        self.cache.insert(key.clone(), Slot::Unreadable);
    }

    /// Forgets what is older than a version that is known to exist; that the latest record cannot be read stays so.
    pub(crate) fn forget_before(&self, key: &Key, version: u64) {
        self.tell(key, version);
        self.cache.entry_by_ref(key).and_compute_with(|entry| match entry.map(|entry| entry.into_value()) {
            None | Some(Slot::Unreadable) => Op::Nop,
            Some(slot) if slot.version() >= version => Op::Nop,
            Some(_) => Op::Remove,
        });
    }

    /// Forgets what is another object than the one that was told.
    pub(crate) fn forget_other(&self, key: &Key, object: &[u8]) {
        self.cache.entry_by_ref(key).and_compute_with(|entry| match entry.map(|entry| entry.into_value()) {
            Some(Slot::View(held)) if held.object() == object => Op::Nop,
            None | Some(Slot::Unreadable) => Op::Nop,
            Some(_) => Op::Remove,
        });
    }
}

/// Retrieves under way, one per key: whoever misses the same key waits for the same answer.
pub(crate) struct Flights<T> {
    by_key: Mutex<HashMap<Key, Flight<T>>>,
    /// So that a view that passes costs no lock while nothing is under way.
    count: AtomicUsize,
    numbers: AtomicU64,
}

struct Flight<T> {
    number: u64,
    result: Flown<T>,
}

/// What a miss is to do.
pub(crate) enum Boarding<T> {
    /// Wait for the answer that another asked for.
    Joined(Flown<T>),
    /// Ask, and send the answer to all.
    Leads { number: u64, send: watch::Sender<Option<T>>, result: Flown<T> },
}

impl<T: Clone> Flights<T> {
    pub(crate) fn new() -> Self {
        Self { by_key: Mutex::default(), count: AtomicUsize::new(0), numbers: AtomicU64::new(0) }
    }

    pub(crate) fn board(&self, key: &Key) -> Boarding<T> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = by_key.get(key) {
            return Boarding::Joined(flight.result.clone());
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (send, result) = watch::channel(None);
        by_key.insert(key.clone(), Flight { number, result: result.clone() });
        self.count.store(by_key.len(), Ordering::SeqCst);
        Boarding::Leads { number, send, result }
    }

    /// A newer view passes: who asks from now on must not get the answer of an older question. Comes before the view is
    /// taken anywhere, so that an answer that is kept meanwhile is replaced by it.
    pub(crate) fn detach(&self, key: &Key) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.remove(key);
        self.count.store(by_key.len(), Ordering::SeqCst);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Ends a flight; keeps its result if nothing newer was told of the key meanwhile. Both under one lock: a view that
    /// passes first detaches the flight and then replaces what was kept.
    pub(crate) fn land(&self, key: &Key, number: u64, keep: impl FnOnce()) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let still = by_key.get(key).is_some_and(|flight| flight.number == number);
        if still {
            keep();
            by_key.remove(key);
            self.count.store(by_key.len(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::{EntityId, Registry, Timestamp};

    use super::*;
    use crate::config::ViewMode;

    fn held(version: u64) -> Held {
        let registry = Registry::built_in().unwrap();
        let entity_type = registry.get("costoption").unwrap();
        let time = Timestamp::from_millis(i64::try_from(version).unwrap());
        let object = entity_type.render(&EntityId::parse("a").unwrap(), &serde_json::Map::new(), time, time);
        Held::new(entity_type, "a", version, time, &object, entity_type.data_schema()).unwrap()
    }

    fn views() -> OnDemand {
        let wait = Duration::from_secs(60);
        let config = Config {
            instance: String::new(),
            public_url: String::new(),
            topic_prefix: String::new(),
            views: ViewMode::OnDemand,
            in_flight_max: 1,
            connections_max: 1,
            write_wait: wait,
            read_wait: wait,
            receive_timeout: wait,
            drain_timeout: wait,
            cache_bytes: 1 << 20,
            cache_ttl: wait,
            not_found_ttl: wait,
            shared_cache: None,
            snapshot_dir: None,
            snapshot_every: wait,
            feed: Default::default(),
        };
        OnDemand::new(&config, None)
    }

    #[test]
    fn a_view_that_passes_replaces_an_older_one_and_nothing_else() {
        let (views, key) = (views(), Key::parse("costoption:a").unwrap());
        let version = || match views.look(&key) {
            Look::Found(held) => Some(held.version()),
            Look::Absent => Some(0),
            Look::Deleted(version) => Some(100 + version),
            Look::Unreadable | Look::Unknown => None,
        };
        views.pass(key.clone(), &held(1), 0, 1);
        assert_eq!(version(), None, "it may be older than what was told before");
        views.remember(&key, Entry::Absent, None);
        assert_eq!(version(), Some(0));
        views.pass(key.clone(), &held(2), 0, 2);
        views.pass(key.clone(), &held(1), 0, 1);
        assert_eq!(version(), Some(2));
        views.remember(&key, Entry::View(held(3)), None);
        views.remember(&key, Entry::View(held(2)), None);
        assert_eq!(version(), Some(3));
        views.forget_other(&key, held(3).object());
        assert_eq!(version(), Some(3));
        views.forget_other(&key, held(4).object());
        assert_eq!(version(), None);

        views.pass_deletion(&key, 4, 0, 4);
        assert_eq!(version(), None);
        views.remember(&key, Entry::View(held(3)), None);
        views.pass_deletion(&key, 3, 0, 5);
        assert_eq!(version(), Some(3), "not newer");
        views.pass_deletion(&key, 4, 0, 6);
        views.remember(&key, Entry::View(held(3)), None);
        views.remember(&key, Entry::Absent, None);
        views.pass(key.clone(), &held(4), 0, 7);
        assert_eq!(version(), Some(104));
        views.forget_before(&key, 4);
        assert_eq!(version(), Some(104));
        views.forget_before(&key, 5);
        assert_eq!(version(), None);
        views.remember(&key, Entry::Deleted(6), None);
        assert_eq!(version(), Some(106));
        views.pass(key.clone(), &held(7), 0, 8);
        assert_eq!(version(), Some(7));
        views.mark_unreadable(&key, 0, 9);
        views.remember(&key, Entry::View(held(7)), None);
        assert!(matches!(views.look(&key), Look::Unreadable), "what was asked for before it passed is older");
        views.pass(key.clone(), &held(9), 0, 10);
        assert_eq!(version(), Some(9));
    }

    #[test]
    fn a_detached_question_is_not_kept() {
        let (flights, key) = (Flights::<u64>::new(), Key::parse("costoption:a").unwrap());
        let Boarding::Leads { number, .. } = flights.board(&key) else { panic!("the first one asks") };
        assert!(matches!(flights.board(&key), Boarding::Joined(_)));
        flights.detach(&key);
        let Boarding::Leads { number: second, .. } = flights.board(&key) else { panic!("a new question") };
        let mut kept = Vec::new();
        flights.land(&key, number, || kept.push(number));
        flights.land(&key, second, || kept.push(second));
        assert_eq!(kept, [second]);
        assert!(flights.is_empty());
    }
}
