//! One who follows the changes from a position on.

use std::sync::Arc;

use contract::env::BoxFuture;
use contract::{Key, Offset, Partition, TypeName, partition};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::walk::Walk;
use super::{Change, Feed, Found, What};
use crate::position::Position;

/// Bytes of changes that one step gives, if it gives more than one.
const STEP_BYTES: usize = 32 << 10;

/// Which changes are wanted.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    All,
    Type(TypeName),
    Entity(Key),
}

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The gateway stops.
    Closed,
    /// It did not keep up.
    Slow,
    /// The position is none that can be gone on from.
    Unknown,
    /// The stream cannot be read.
    Away,
}

/// The next changes of one partition, and the offset behind them.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) partition: Partition,
    pub(crate) changes: Vec<Change>,
    pub(crate) next: Offset,
}

/// A position, and what moves it on.
pub(crate) struct Follower {
    feed: Arc<Feed>,
    filter: Filter,
    position: Position,
    /// Deletions before these offsets are not told: who begins with everything does not have what was deleted by then.
    quiet_before: Vec<Offset>,
    steps: watch::Receiver<()>,
    walk: Option<Walk>,
    /// A turn to walk that is waited for; kept when the waiting is interrupted, so that the place in the queue is.
    turn: Option<BoxFuture<Option<OwnedSemaphorePermit>>>,
    /// Whether it once had everything, so that it may be called slow.
    is_live: bool,
    /// The partition that is looked at first: each has its turn.
    first: usize,
}

impl Follower {
    /// From a position of this stream on.
    pub(crate) fn new(feed: &Arc<Feed>, filter: Filter, position: Position) -> Self {
        let mut follower = Self {
            feed: Arc::clone(feed),
            filter,
            position,
            quiet_before: Vec::new(),
            steps: feed.steps(),
            walk: None,
            turn: None,
            is_live: false,
            first: 0,
        };
        follower.skip_others();
        follower
    }

    /// Does not tell of deletions before a position.
    pub(crate) fn quiet_before(&mut self, position: Position) {
        self.quiet_before = position.offsets;
    }

    /// An entity lies in one partition: the others need not be read.
    fn skip_others(&mut self) {
        let (Filter::Entity(key), Some(now)) = (&self.filter, self.feed.now()) else { return };
        let count = u32::try_from(self.position.offsets.len()).unwrap_or(u32::MAX);
        let own = partition::of_key(key.to_string().as_bytes(), count);
        for (number, (at, now)) in (0..).zip(self.position.offsets.iter_mut().zip(now.offsets)) {
            if number != own {
                *at = now.max(*at);
            }
        }
    }

    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// What was told lies before this offset.
    pub(crate) fn advance(&mut self, partition: Partition, next: Offset) {
        if let Some(at) = self.position.offsets.get_mut(partition as usize) {
            *at = next;
        }
    }

    /// The position is of this hour.
    pub(crate) fn touch(&mut self) {
        if let Some(now) = self.feed.now() {
            self.position.hour = now.hour;
        }
    }

    /// Goes on from here and now.
    pub(crate) fn jump(&mut self) {
        (self.walk, self.turn) = (None, None);
        if let Some(now) = self.feed.now() {
            self.position = now;
        }
    }

    /// The next changes, of which [`Follower::advance`] is to be told; waits until there are any. Dropping the future loses
    /// nothing.
    pub(crate) async fn next(&mut self) -> Result<Step, Lost> {
        loop {
            if let Some(step) = self.try_next().await? {
                return Ok(step);
            }
            // The sender lives as long as the feed.
            let _ = self.steps.changed().await;
        }
    }

    /// The next changes, if anything has happened; waits only for a turn to read the topic.
    pub(crate) async fn try_next(&mut self) -> Result<Option<Step>, Lost> {
        self.steps.borrow_and_update();
        loop {
            if self.feed.is_closed() {
                return Err(Lost::Closed);
            }
            let step = match &mut self.walk {
                Some(walk) => {
                    let from = self.position.offsets.get(walk.partition as usize).copied().unwrap_or(0);
                    let (changes, next) = walk.next(&self.feed, from).await?;
                    let partition = walk.partition;
                    if self.feed.recent(partition, |recent| recent.start() <= next).unwrap_or(true) {
                        self.walk = None;
                    }
                    let changes: Vec<_> = changes.into_iter().filter(|change| self.wants(partition, change)).collect();
                    Step { partition, changes, next }
                }
                None => match self.look()? {
                    Looked::Step(step) => step,
                    Looked::Nothing => {
                        self.is_live = true;
                        return Ok(None);
                    }
                    Looked::Behind { partition, from, until } => {
                        self.open(partition, from, until).await?;
                        continue;
                    }
                },
            };
            if step.changes.is_empty() {
                self.advance(step.partition, step.next);
            } else {
                return Ok(Some(step));
            }
        }
    }

    /// What the log has, of the first partition that has any.
    fn look(&mut self) -> Result<Looked, Lost> {
        let count = self.position.offsets.len();
        for index in (self.first..count).chain(0..self.first) {
            let (Ok(partition), Some(from)) = (u32::try_from(index), self.position.offsets.get(index).copied()) else {
                return Err(Lost::Unknown);
            };
            let found = self
                .feed
                .recent(partition, |recent| recent.read(from, STEP_BYTES, |change| self.wants(partition, change)));
            match found {
                Some(Found::Changes { next, .. }) if next <= from => {}
                Some(Found::Changes { changes, next }) => {
                    self.first = (index + 1) % count;
                    return Ok(Looked::Step(Step { partition, changes, next }));
                }
                // Who once had everything and now lacks what left the log takes less than comes.
                Some(Found::Behind { .. }) if self.is_live => return Err(Lost::Slow),
                Some(Found::Behind { next }) => return Ok(Looked::Behind { partition, from, until: next }),
                None => return Err(Lost::Unknown),
            }
        }
        Ok(Looked::Nothing)
    }

    async fn open(&mut self, partition: Partition, from: Offset, until: Offset) -> Result<(), Lost> {
        let turn = self.turn.get_or_insert_with(|| {
            let walks = Arc::clone(&self.feed.walks);
            Box::pin(async move { walks.acquire_owned().await.ok() })
        });
        let turn = turn.await;
        self.turn = None;
        let turn = turn.ok_or(Lost::Closed)?;
        self.walk = Some(Walk::open(&self.feed, partition, from, until, turn).await?);
        Ok(())
    }

    fn wants(&self, partition: Partition, change: &Change) -> bool {
        let is_wanted = match &self.filter {
            Filter::All => true,
            Filter::Type(name) => change.entity_type == *name,
            Filter::Entity(key) => {
                change.entity_type == key.entity_type && key.id.as_ref().is_some_and(|id| id.as_str() == change.id())
            }
        };
        let quiet = self.quiet_before.get(partition as usize).is_some_and(|quiet| change.offset < *quiet);
        // Who catches up is not told of what is known to be over. Without this a deletion that is not told would leave what it
        // deleted.
        let is_current = self.is_live || !self.feed.is_superseded(change);
        is_wanted && is_current && !(quiet && matches!(change.what, What::Deleted(..)))
    }
}

/// What the log has for a follower.
enum Looked {
    Step(Step),
    Nothing,
    Behind { partition: Partition, from: Offset, until: Offset },
}
