//! Reading `dos.views` itself, for a follower whose position has left the log.

use std::time::Duration;

use contract::{Offset, Partition, Topic};
use stream::{StreamError, Tail};
use tokio::sync::OwnedSemaphorePermit;

use super::newest::Newest;
use super::{Change, Feed, Lost};

/// Records of one step.
const BATCH: usize = 64;
/// A client that is slow has its turn for so long; it goes on where it was when it comes again.
const TURN: Duration = Duration::from_secs(60);

/// One partition, read from an offset up to where the log has it.
pub(super) struct Walk {
    tail: Box<dyn Tail>,
    pub(super) partition: Partition,
    /// The log went so far when the tail was opened: where the tail ends, nothing before it is lacking.
    until: Offset,
    newest: Newest,
    /// When its turn is over.
    deadline: Duration,
    _turn: OwnedSemaphorePermit,
}

impl Walk {
    pub(super) async fn open(
        feed: &Feed,
        partition: Partition,
        from: Offset,
        until: Offset,
        turn: OwnedSemaphorePermit,
    ) -> Result<Self, Lost> {
        let tail = feed.stream.tail(Topic::Views, partition, from).await.map_err(|error| lost(&error))?;
        let deadline = feed.env.monotonic() + TURN;
        Ok(Self { tail, partition, until, newest: Newest::default(), deadline, _turn: turn })
    }

    /// The next changes and the offset behind them. Dropping the future loses nothing.
    pub(super) async fn next(&mut self, feed: &Feed, from: Offset) -> Result<(Vec<Change>, Offset), Lost> {
        if feed.env.monotonic() > self.deadline {
            return Err(Lost::Slow);
        }
        let records = self.tail.next(BATCH).await.map_err(|error| lost(&error))?;
        let next = records.last().map_or(self.until.max(from), |last| last.offset + 1);
        let changes = records.iter().filter_map(|stored| Change::read(stored, &feed.registry));
        let changes = changes.filter(|change| self.newest.advances(change));
        Ok((changes.collect(), next))
    }
}

fn lost(error: &StreamError) -> Lost {
    match error {
        StreamError::OutOfRange { .. } => Lost::Unknown,
        StreamError::Closed => Lost::Closed,
        StreamError::Revoked | StreamError::Unusable(_) | StreamError::Unavailable(_) => {
            tracing::warn!(%error, "a feed cannot read the views");
            Lost::Away
        }
    }
}
