//! Waiting until this instance has passed a position, and finding out that nothing is left to pass.
//!
//! A gateway that started later knows the end of the topic as an offset, one that started before only by the records that it
//! was given. Behind the last of them there may be offsets without a record (the stream's own, or of a transaction), which
//! no tail tells of: so who waits for long has the topic looked at.

use std::time::Duration;

use contract::{Offset, Partition, Topic};

use super::Feed;
use crate::position::{self, Position};

/// A tail that is not held up is there by then.
const LOOK_AFTER: Duration = Duration::from_millis(200);
/// How long a look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

impl Feed {
    /// Waits until everything before a position has been applied; false where that takes too long.
    pub(crate) async fn reach(&self, wanted: &Position, patience: Duration) -> bool {
        let first = LOOK_AFTER.min(patience);
        if self.progress.reach(wanted, &*self.env, first).await {
            return true;
        }
        tokio::select! {
            biased;
            () = self.look(wanted) => {}
            () = self.env.sleep(LOOK_LIMIT.min(patience)) => {}
        }
        self.progress.reach(wanted, &*self.env, patience.saturating_sub(first)).await
    }

    /// Passes the offsets without a record that lie before a position.
    async fn look(&self, wanted: &Position) {
        let Ok(_turn) = self.walks.try_acquire() else { return };
        let Some(applied) = self.progress.applied(position::hour(self.env.now())) else { return };
        let Ok(bounds) = self.stream.bounds(Topic::Views).await else { return };
        let partitions = (0..).zip(applied.offsets.iter().zip(&wanted.offsets)).zip(&bounds);
        for ((partition, (applied, wanted)), bounds) in partitions {
            if applied < wanted && *wanted <= bounds.end {
                self.pass_gap(partition, *applied, bounds.end).await;
            }
        }
    }

    async fn pass_gap(&self, partition: Partition, from: Offset, end: Offset) {
        let Ok(mut tail) = self.stream.tail(Topic::Views, partition, from).await else { return };
        // Where there is a record, the tail of the views comes to it by itself, and what compaction has removed before it may have
        // its successor behind it.
        if !tail.next(1).await.is_ok_and(|records| records.is_empty()) {
            return;
        }
        // What was asked for before the tail was opened has been read where it gives nothing.
        self.pass(partition, end);
        self.progress.apply(partition, end);
        self.progress.ring();
    }
}
