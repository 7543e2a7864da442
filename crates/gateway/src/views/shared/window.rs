//! What one partition's tail has passed and Redis may not know yet. Pure: no clock, no I/O.

use std::collections::{HashMap, VecDeque};

use contract::{Key, Offset};

use super::super::Held;

/// Changes that wait for Redis, per partition; over either bound they are given up.
const CHANGES_MAX: usize = 4096;
const BYTES_MAX: usize = 4 << 20;
/// What one script takes.
const BATCH_CHANGES_MAX: usize = 128;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What a record makes of its key.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    View(Held),
    /// It was deleted, with this version.
    Deleted(u64),
    /// The record could not be read: nothing older may be given.
    Unreadable,
}

impl Change {
    /// No entry is as new as a record that cannot be read.
    fn version(&self) -> u64 {
        match self {
            Self::View(held) => held.version(),
            Self::Deleted(version) => *version,
            Self::Unreadable => u64::MAX,
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::View(held) => held.size_bytes(),
            Self::Deleted(_) | Self::Unreadable => 0,
        }
    }
}

/// The generation and the applied position of a partition, as Redis has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) generation: String,
    pub(super) position: Offset,
}

/// Whether an entry may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is as new as everything that was passed here. `ahead`: it may be newer.
    Yes { ahead: bool },
    /// It may be older than what was passed here.
    No,
}

/// A row of changes without a gap, for one script.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) from: Offset,
    pub(super) to: Offset,
    /// A new generation must begin, whatever Redis says.
    pub(super) renew: bool,
    /// Per key the newest, or that it must go.
    pub(super) changes: Vec<(Key, Change)>,
    given_up: u64,
}

pub(super) struct Window {
    /// Everything before it is in Redis, or was given up.
    from: Offset,
    /// The next offset of the tail.
    passed: Offset,
    changes: VecDeque<(Offset, Key, Change)>,
    /// Per key in `changes`: how often, and the newest version.
    newest: HashMap<Key, (usize, u64)>,
    size_bytes: usize,
    /// How often changes were given up; while `renew`, a new generation is owed.
    given_up: u64,
    renew: bool,
    /// Redis was seen without a position that reaches this window.
    lost: bool,
}

impl Window {
    pub(super) fn new(at: Offset) -> Self {
        Self {
            from: at,
            passed: at,
            changes: VecDeque::new(),
            newest: HashMap::new(),
            size_bytes: 0,
            given_up: 0,
            renew: false,
            // Nobody may have written while no gateway ran.
            lost: true,
        }
    }

    pub(super) fn passed(&self) -> Offset {
        self.passed
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.changes.len()
    }

    /// The tail has passed a record, or a gap where no record is.
    pub(super) fn pass(&mut self, next: Offset, change: Option<(Key, Change)>) {
        if next <= self.passed {
            return;
        }
        if let Some((key, change)) = change {
            let newest = self.newest.entry(key.clone()).or_insert((0, 0));
            *newest = (newest.0 + 1, newest.1.max(change.version()));
            self.size_bytes += change.size_bytes();
            self.changes.push_back((next - 1, key, change));
        }
        self.passed = next;
        if self.changes.len() > CHANGES_MAX || self.size_bytes > BYTES_MAX {
            self.give_up();
        }
    }

    /// Redis was seen without a state: it is to be given one.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// The tail goes on elsewhere: what lies between was not seen.
    pub(super) fn restart(&mut self, at: Offset) {
        self.passed = at;
        self.give_up();
    }

    /// Forgets what waits: from now on no entry of the generation that Redis has can be told from an old one.
    fn give_up(&mut self) {
        self.changes.clear();
        self.newest.clear();
        self.size_bytes = 0;
        self.from = self.passed;
        self.given_up += 1;
        self.renew = true;
    }

    /// Whether an entry of this version, found together with this state, is as new as everything passed. The entry's
    /// generation must be the state's.
    pub(super) fn trusts(&mut self, state: Option<&State>, key: &Key, version: u64) -> Trust {
        let Some(state) = state.filter(|state| state.position >= self.from) else {
            self.lost = true;
            return Trust::No;
        };
        let newer = self.newest.get(key).is_some_and(|(_, newest)| *newest > version);
        if self.renew || newer { Trust::No } else { Trust::Yes { ahead: state.position > self.passed } }
    }

    /// What is to be written next.
    pub(super) fn batch(&self) -> Option<Batch> {
        if self.from == self.passed && !self.renew && !self.lost {
            return None;
        }
        let (mut to, mut bytes) = (self.from, 0);
        let mut newest: HashMap<&Key, &Change> = HashMap::new();
        let mut taken = 0;
        for (offset, key, change) in &self.changes {
            bytes += change.size_bytes();
            if taken == BATCH_CHANGES_MAX || (bytes > BATCH_BYTES_MAX && taken > 0) {
                break;
            }
            taken += 1;
            to = offset + 1;
            let slot = newest.entry(key).or_insert(change);
            if change.version() > slot.version() {
                *slot = change;
            }
        }
        if taken == self.changes.len() {
            to = self.passed;
        }
        let changes = newest.into_iter().map(|(key, change)| (key.clone(), change.clone())).collect();
        Some(Batch { from: self.from, to, renew: self.renew, changes, given_up: self.given_up })
    }

    /// Redis has taken a batch.
    pub(super) fn written(&mut self, batch: &Batch) {
        if batch.given_up != self.given_up {
            // More was given up meanwhile: what was written does not reach this window.
            return;
        }
        (self.renew, self.lost) = (false, false);
        self.from = self.from.max(batch.to);
        while let Some((_, key, change)) = self.changes.pop_front_if(|(offset, ..)| *offset < batch.to) {
            self.size_bytes -= change.size_bytes();
            if let Some(newest) = self.newest.get_mut(&key) {
                newest.0 -= 1;
                if newest.0 == 0 {
                    self.newest.remove(&key);
                }
            }
        }
    }
}
