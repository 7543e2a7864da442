//! What was committed last of each partition, in memory, and the mark that wakes its tails.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::{Offset, Stored};
use tokio::sync::watch;

/// Takes a lock. A poisoned one is taken too: every critical section here leaves whole values at each step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What tails wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The next offset; everything below it is durable.
    pub(super) end: Offset,
    /// Nothing will come any more.
    pub(super) closed: bool,
}

/// One partition of one topic, as readers share it.
pub(super) struct Ring {
    recent: Mutex<Recent>,
    mark: watch::Sender<Mark>,
    start: AtomicU64,
    /// Below it the store needs no commands; `u64::MAX` is "not told".
    keep_from: AtomicU64,
}

struct Recent {
    /// Offsets without gaps, the last is `end - 1`.
    records: VecDeque<Stored>,
    end: Offset,
    size_bytes: usize,
    records_max: usize,
    size_bytes_max: usize,
}

/// What [`Ring::read`] found.
pub(super) enum Found {
    /// The next records, at least one.
    Records(Vec<Stored>),
    /// Nothing is there yet.
    AtEnd,
    /// It is in the file only, which holds all below `end`.
    Behind { end: Offset },
}

impl Ring {
    /// An empty ring of a partition that holds `start..end` in the file.
    pub(super) fn new(
        start: Offset,
        end: Offset,
        keep_from: Option<Offset>,
        records_max: usize,
        size_bytes_max: usize,
    ) -> Self {
        let recent = Recent { records: VecDeque::new(), end, size_bytes: 0, records_max, size_bytes_max };
        Self {
            recent: Mutex::new(recent),
            mark: watch::Sender::new(Mark { end, closed: false }),
            start: AtomicU64::new(start),
            keep_from: AtomicU64::new(keep_from.unwrap_or(u64::MAX)),
        }
    }

    /// Adds what a commit made durable, in order and without gaps, then wakes the tails.
    pub(super) fn publish(&self, committed: impl Iterator<Item = Stored>) {
        let mut recent = lock(&self.recent);
        for stored in committed {
            recent.end = stored.offset + 1;
            recent.size_bytes += stored.record.size_bytes();
            recent.records.push_back(stored);
            while recent.records.len() > recent.records_max || recent.size_bytes > recent.size_bytes_max {
                let Some(oldest) = recent.records.pop_front() else { break };
                recent.size_bytes -= oldest.record.size_bytes();
            }
        }
        let end = recent.end;
        drop(recent);
        // The records are there before the mark moves: a tail that sees the mark finds them.
        self.mark.send_modify(|mark| mark.end = end);
    }

    /// The records from `from` on, at most `records_max`.
    pub(super) fn read(&self, from: Offset, records_max: usize) -> Found {
        let recent = lock(&self.recent);
        if from >= recent.end {
            return Found::AtEnd;
        }
        let first = recent.end - recent.records.len() as u64;
        let Some(skip) = from.checked_sub(first) else { return Found::Behind { end: recent.end } };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Found::Records(recent.records.iter().skip(skip).take(records_max.max(1)).cloned().collect())
    }

    /// Follows the mark.
    pub(super) fn subscribe(&self) -> watch::Receiver<Mark> {
        self.mark.subscribe()
    }

    /// The first offset kept and the next to be written.
    pub(super) fn bounds(&self) -> (Offset, Offset) {
        let start = self.start.load(Ordering::Acquire);
        let end = self.mark.borrow().end;
        (start.min(end), end)
    }

    /// Records that everything before `start` was removed from the file.
    pub(super) fn set_start(&self, start: Offset) {
        self.start.fetch_max(start, Ordering::AcqRel);
    }

    /// What retention may not touch; `None` before it was told.
    pub(super) fn keep_from(&self) -> Option<Offset> {
        Some(self.keep_from.load(Ordering::Acquire)).filter(|offset| *offset != u64::MAX)
    }

    /// Tells what retention may not touch.
    pub(super) fn set_keep_from(&self, offset: Offset) {
        self.keep_from.store(offset, Ordering::Release);
    }

    /// Forgets all records, and everything from `end` on.
    pub(super) fn reset(&self, end: Offset) {
        let mut recent = lock(&self.recent);
        recent.records.clear();
        (recent.size_bytes, recent.end) = (0, end);
        drop(recent);
        self.mark.send_modify(|mark| mark.end = end);
    }

    /// Wakes all tails for the last time.
    pub(super) fn close(&self) {
        self.mark.send_modify(|mark| mark.closed = true);
    }
}
