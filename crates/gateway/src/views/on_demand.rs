//! A bounded cache of views, kept current by the views that pass; what it lacks is asked for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::Key;
use moka::Expiry;
use moka::ops::compute::Op;
use moka::sync::Cache;
use tokio::sync::watch;

use super::{Held, Look};
use crate::config::Config;

/// What a retrieve led to, for everyone who waited for it.
pub(crate) type Flown<T> = watch::Receiver<Option<T>>;

/// The cache, and the retrieves under way.
pub(crate) struct OnDemand {
    cache: Cache<Key, Slot>,
}

#[derive(Clone, Debug)]
enum Slot {
    View(Held),
    Absent,
    /// With this version.
    Deleted(u64),
    Unreadable,
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
    pub(crate) fn new(config: &Config) -> Self {
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
        Self { cache }
    }

    pub(crate) fn look(&self, key: &Key) -> Look {
        match self.cache.get(key) {
            Some(Slot::View(held)) => Look::Found(held),
            Some(Slot::Absent) => Look::Absent,
            Some(Slot::Deleted(_)) => Look::Deleted,
            Some(Slot::Unreadable) => Look::Unreadable,
            None => Look::Unknown,
        }
    }

    /// Takes a view if it is newer than what is there.
    pub(crate) fn apply(&self, key: &Key, held: &Held) {
        self.cache.entry_by_ref(key).and_compute_with(|entry| match entry.map(|entry| entry.into_value()) {
            Some(Slot::View(before)) if before.version() >= held.version() => Op::Nop,
            Some(Slot::Deleted(version)) if version >= held.version() => Op::Nop,
            _ => Op::Put(Slot::View(held.clone())),
        });
    }

    /// Takes a deletion if it is newer than what is there.
    pub(crate) fn delete(&self, key: &Key, version: u64) {
        self.cache.entry_by_ref(key).and_compute_with(|entry| match entry.map(|entry| entry.into_value()) {
            Some(Slot::View(before)) if before.version() >= version => Op::Nop,
            Some(Slot::Deleted(before)) if before >= version => Op::Nop,
            _ => Op::Put(Slot::Deleted(version)),
        });
    }

    /// Remembers for a while that there is no such entity.
    pub(crate) fn mark_absent(&self, key: &Key) {
        self.cache
            .entry_by_ref(key)
            .and_compute_with(|entry| if entry.is_some() { Op::Nop } else { Op::Put(Slot::Absent) });
    }

    /// Marks an entity whose latest record cannot be read.
    pub(crate) fn mark_unreadable(&self, key: &Key) {
        self.cache.insert(key.clone(), Slot::Unreadable);
    }

    /// Forgets what is older than a version that is known to exist.
    pub(crate) fn forget_before(&self, key: &Key, version: u64) {
        self.cache.entry_by_ref(key).and_compute_with(|entry| match entry.map(|entry| entry.into_value()) {
            Some(Slot::View(held)) if held.version() >= version => Op::Nop,
            Some(Slot::Deleted(deleted)) if deleted >= version => Op::Nop,
            None => Op::Nop,
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

    /// A newer view passed: who asks from now on must not get the answer of an older question.
    pub(crate) fn detach(&self, key: &Key) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.remove(key);
        self.count.store(by_key.len(), Ordering::SeqCst);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Ends a flight; whether no view of the key came meanwhile, so that its result may be kept.
    pub(crate) fn land(&self, key: &Key, number: u64) -> bool {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let still = by_key.get(key).is_some_and(|flight| flight.number == number);
        if still {
            by_key.remove(key);
            self.count.store(by_key.len(), Ordering::SeqCst);
        }
        still
    }
}
