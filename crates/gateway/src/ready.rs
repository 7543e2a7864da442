//! Whether the gateway can answer, and if not, why.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Progress of the tails towards where the topics ended at start.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Set once everything below is done, so that a request checks one flag.
    open: AtomicBool,
    complete: AtomicBool,
    closing: AtomicBool,
    views: Vec<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    read: AtomicU64,
    wanted: AtomicU64,
    done: AtomicBool,
}

impl Ready {
    pub(crate) fn new(partitions: u32) -> Self {
        let views = (0..partitions).map(|_| Progress::default()).collect();
        Self { open: AtomicBool::new(false), complete: AtomicBool::new(false), closing: AtomicBool::new(false), views }
    }

    /// Says how far a partition's tail has come; true once, when the last of them has come far enough.
    pub(crate) fn progress(&self, partition: u32, read: u64, wanted: u64) -> bool {
        let Some(progress) = self.views.get(partition as usize) else { return false };
        progress.read.store(read, Ordering::Relaxed);
        progress.wanted.store(wanted, Ordering::Relaxed);
        if read >= wanted && !progress.done.swap(true, Ordering::AcqRel) {
            let all = self.views.iter().all(|progress| progress.done.load(Ordering::Acquire));
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
        if !self.is_open() {
            let sum = |value: fn(&Progress) -> &AtomicU64| -> u64 {
                self.views.iter().map(|progress| value(progress).load(Ordering::Relaxed)).sum()
            };
            let (read, wanted) = (sum(|p| &p.read), sum(|p| &p.wanted));
            errors.insert("views", format!("reading the views topic: {read} of {wanted} offsets passed"));
        }
        errors
    }
}
