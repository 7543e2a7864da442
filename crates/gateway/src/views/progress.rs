//! How far the tails of the views have come, for whoever waits for it or tells of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use contract::{Env, Offset, Partition};
use tokio::sync::watch;

use crate::position::{self, ClusterHash, Position};

/// Read by every request and written by the tails, each of which has its own partition: no lock is in the way of either.
pub(crate) struct Progress {
    /// Set once the stream has told where its partitions begin.
    topic: OnceLock<Topic>,
    /// Steps of `seen`, so that its text is made once for each and not for each answer.
    steps_seen: AtomicU64,
    seen_text: ArcSwapOption<SeenText>,
    /// Rung after each step of a tail.
    step: watch::Sender<()>,
}

struct Topic {
    cluster: ClusterHash,
    partitions: Vec<Passed>,
}

/// The text of what was seen after so many steps or later, in an hour.
struct SeenText {
    steps: u64,
    hour: u64,
    text: Bytes,
}

struct Passed {
    /// What lies before it is applied, or about to be: a read may show it already.
    seen: AtomicU64,
    /// What lies before it is applied.
    applied: AtomicU64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            topic: OnceLock::new(),
            steps_seen: AtomicU64::new(0),
            seen_text: ArcSwapOption::empty(),
            step: watch::Sender::new(()),
        }
    }

    /// The tails begin at these offsets of this cluster.
    pub(crate) fn begin(&self, cluster: &str, at: &[Offset]) {
        let passed = |at: &Offset| Passed { seen: AtomicU64::new(*at), applied: AtomicU64::new(*at) };
        let topic = Topic { cluster: position::cluster_hash(cluster), partitions: at.iter().map(passed).collect() };
        // Set once: the tails begin once.
        let _ = self.topic.set(topic);
    }

    /// A record is about to be applied.
    pub(crate) fn see(&self, partition: Partition, next: Offset) {
        if let Some(passed) = self.partition(partition)
            && passed.seen.fetch_max(next, Ordering::AcqRel) < next
        {
            // After the offset: a text that is made from this step on has it.
            self.steps_seen.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Everything before an offset has been applied. Comes before the answer to the write that the record is of.
    pub(crate) fn apply(&self, partition: Partition, next: Offset) {
        // Never back: a gap may have been passed that the tail does not know of.
        self.see(partition, next);
        if let Some(passed) = self.partition(partition) {
            passed.applied.fetch_max(next, Ordering::AcqRel);
        }
    }

    /// Wakes who waits.
    pub(crate) fn ring(&self) {
        self.step.send_replace(());
    }

    /// Rings after each step of a tail.
    pub(crate) fn steps(&self) -> watch::Receiver<()> {
        self.step.subscribe()
    }

    /// What has been applied; a read that begins now lacks nothing of it. None before the stream was reached.
    pub(crate) fn applied(&self, hour: u64) -> Option<Position> {
        self.position(hour, |passed| &passed.applied)
    }

    /// Up to everything that an answer from here may show, as text.
    pub(crate) fn seen_text(&self, hour: u64) -> Option<Bytes> {
        // Before the offsets: what is counted here is in the text.
        let steps = self.steps_seen.load(Ordering::Acquire);
        if let Some(made) = &*self.seen_text.load()
            && (made.steps, made.hour) == (steps, hour)
        {
            return Some(made.text.clone());
        }
        let text = Bytes::from(self.position(hour, |passed| &passed.seen)?.encode());
        self.seen_text.store(Some(Arc::new(SeenText { steps, hour, text: text.clone() })));
        Some(text)
    }

    /// Whether a position is one of this stream.
    pub(crate) fn knows(&self, position: &Position) -> bool {
        let fits =
            |topic: &Topic| topic.cluster == position.cluster && topic.partitions.len() == position.offsets.len();
        self.topic.get().is_some_and(fits)
    }

    /// Whether everything before a position has been applied.
    pub(crate) fn has_reached(&self, position: &Position) -> bool {
        let Some(topic) = self.topic.get() else { return false };
        let mut both = topic.partitions.iter().zip(&position.offsets);
        both.all(|(passed, wanted)| passed.applied.load(Ordering::Acquire) >= *wanted)
    }

    /// Waits until everything before a position has been applied; false where that takes too long.
    pub(crate) async fn reach(&self, position: &Position, env: &dyn Env, patience: Duration) -> bool {
        if self.has_reached(position) {
            return true;
        }
        let mut steps = self.steps();
        let reached = async {
            // Looked at after it was subscribed to: a step in between rings.
            while !self.has_reached(position) {
                if steps.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::select! {
            biased;
            reached = reached => reached,
            () = env.sleep(patience) => false,
        }
    }

    fn partition(&self, partition: Partition) -> Option<&Passed> {
        self.topic.get()?.partitions.get(usize::try_from(partition).ok()?)
    }

    fn position(&self, hour: u64, of: fn(&Passed) -> &AtomicU64) -> Option<Position> {
        let Topic { cluster, partitions } = self.topic.get()?;
        let offsets = partitions.iter().map(|passed| of(passed).load(Ordering::Acquire)).collect();
        Some(Position { cluster: *cluster, hour, offsets })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::test_env::env;

    #[tokio::test]
    async fn who_waits_is_woken_once_all_partitions_are_there() {
        let (progress, env) = (Arc::new(Progress::new()), env());
        assert_eq!(progress.seen_text(0), None);
        progress.begin("here", &[3, 0]);
        progress.see(1, 8);
        progress.apply(1, 7);
        let wanted = Position { offsets: vec![4, 7], ..progress.applied(5).unwrap() };
        assert!(progress.knows(&wanted) && !progress.has_reached(&wanted));
        assert!(!progress.knows(&Position { cluster: [0; 8], ..wanted.clone() }));
        assert!(!progress.knows(&Position { offsets: vec![1], ..wanted.clone() }));
        assert!(!progress.reach(&wanted, &*env, Duration::from_millis(20)).await, "not without partition 0");

        let (waits, theirs, position) = (Arc::clone(&progress), Arc::clone(&env), wanted.clone());
        let waiter = async move { waits.reach(&position, &*theirs, Duration::from_secs(20)).await };
        let tail = async {
            env.sleep(Duration::from_millis(20)).await;
            progress.apply(0, 4);
            progress.ring();
        };
        assert!(tokio::join!(waiter, tail).0);
        assert!(progress.has_reached(&wanted));
    }

    #[test]
    fn what_is_seen_may_be_ahead_of_what_is_applied() {
        let progress = Progress::new();
        progress.begin("here", &[3]);
        progress.see(0, 4);
        let position =
            |hour| Position::decode(std::str::from_utf8(&progress.seen_text(hour).unwrap()).unwrap()).unwrap();
        let both = |hour| (progress.applied(hour).unwrap().offsets[0], position(hour).offsets[0]);
        assert_eq!(both(1), (3, 4));
        progress.apply(0, 4);
        assert_eq!(both(1), (4, 4));
        // The text that is kept is that of the offsets and the hour.
        progress.see(0, 9);
        assert_eq!((both(1), both(2), position(2).hour), ((4, 9), (4, 9), 2));
        progress.apply(0, 11);
        assert_eq!(both(2), (11, 11));
    }
}
