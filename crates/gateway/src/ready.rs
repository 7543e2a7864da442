//! Whether the gateway can answer, and if not, why.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// What is said of a stream that a person must mend.
pub(crate) const UNUSABLE: &str = "cannot be used as it is; the operator's log says what to change";

/// Progress of the tails towards where the topics ended at start.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Set once everything below is done, so that a request checks one flag.
    open: AtomicBool,
    complete: AtomicBool,
    closing: AtomicBool,
    /// A partition each, once the stream told how many there are.
    views: OnceLock<Vec<Progress>>,
    /// Why it did not tell yet.
    away: Mutex<&'static str>,
    /// It was reached, and has changed so that it takes no commands any more.
    refused: AtomicBool,
}

#[derive(Debug, Default)]
struct Progress {
    read: AtomicU64,
    wanted: AtomicU64,
    done: AtomicBool,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self {
            open: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            views: OnceLock::new(),
            away: Mutex::new("not reached yet"),
            refused: AtomicBool::new(false),
        }
    }

    /// The stream was reached and has so many partitions. Only the first call counts: the number is fixed.
    pub(crate) fn reached(&self, partitions: u32) {
        self.views.get_or_init(|| (0..partitions).map(|_| Progress::default()).collect());
    }

    /// Why the stream cannot be used yet, without names of hosts.
    pub(crate) fn away(&self, reason: &'static str) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// The stream that was reached cannot be used any more. Reads go on from what is there.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Release);
    }

    /// Says how far a partition's tail has come; true once, when the last of them has come far enough.
    pub(crate) fn progress(&self, partition: u32, read: u64, wanted: u64) -> bool {
        let Some(views) = self.views.get() else { return false };
        let Some(progress) = views.get(partition as usize) else { return false };
        progress.read.store(read, Ordering::Relaxed);
        progress.wanted.store(wanted, Ordering::Relaxed);
        if read >= wanted && !progress.done.swap(true, Ordering::AcqRel) {
            let all = views.iter().all(|progress| progress.done.load(Ordering::Acquire));
            return all && !self.complete.swap(true, Ordering::AcqRel);
        }
        false
    }

    /// From now on requests about entities are answered.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// From now on the gateway is on its way out.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether requests that need views are answered.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// What is missing, by part; empty when ready.
    pub(crate) fn errors(&self) -> BTreeMap<&'static str, String> {
        let mut errors = BTreeMap::new();
        if self.closing.load(Ordering::Acquire) {
            errors.insert("gateway", "shutting down".to_owned());
        }
        if self.refused.load(Ordering::Acquire) {
            errors.insert("stream", UNUSABLE.to_owned());
        }
        if !self.is_open() {
            let Some(views) = self.views.get() else {
                errors.insert("stream", (*self.away.lock().unwrap_or_else(PoisonError::into_inner)).to_owned());
                return errors;
            };
            let sum = |value: fn(&Progress) -> &AtomicU64| -> u64 {
                views.iter().map(|progress| value(progress).load(Ordering::Relaxed)).sum()
            };
            let (read, wanted) = (sum(|p| &p.read), sum(|p| &p.wanted));
            errors.insert("views", format!("reading the views topic: {read} of {wanted} offsets passed"));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::Ready;

    #[test]
    fn a_stream_that_was_not_reached_is_the_reason() {
        let ready = Ready::new();
        assert!(!ready.progress(0, 1, 1), "nothing is complete before the number of partitions is known");
        assert_eq!(ready.errors().get("stream").map(String::as_str), Some("not reached yet"));
        ready.reached(2);
        assert!(ready.errors().contains_key("views") && !ready.errors().contains_key("stream"));
        assert!(!ready.progress(0, 3, 3) && ready.progress(1, 0, 0) && !ready.progress(1, 0, 0));
        assert!(!ready.is_open(), "what was read is put in order first");
        ready.open();
        assert!(ready.is_open() && ready.errors().is_empty());
        ready.refuse();
        assert!(ready.is_open() && ready.errors().contains_key("stream"), "reads go on, and it is not ready");
    }
}
