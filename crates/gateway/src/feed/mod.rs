//! The change feed: what happened to entities since a position, for those who follow it.
//!
//! # How
//!
//! The tails of the views put each change that they apply into a bounded log per partition ([`Recent`]), which all followers
//! read; none has a tail of its own. A position is a vector of offsets, so a follower that knows one goes on in the log, and on
//! any gateway. What has left the log is read from `dos.views` itself ([`walk`]), by a few at a time: the topic is compacted and
//! keeps deletions, so a walk from any offset gives the latest state of each entity that changed since.
//!
//! # Order
//!
//! Each entity lies in one partition, log and topic are read in the order of their offsets, and a follower leaves the topic
//! for the log only at an offset that both have. A version that is no newer than one already seen (a store published it late, or
//! twice) is passed over, as views do.

mod change;
mod follower;
mod newest;
mod reach;
mod recent;
mod walk;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use contract::{Env, Key, Offset, Partition, Registry, TypeName};
use stream::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::position::{self, Position};
use crate::views::{Held, Progress, Views};
pub(crate) use change::{Change, What};
pub(crate) use follower::{Filter, Follower, Lost, Step};
use recent::{Found, Recent};

/// Followers that read the topic at once; more wait for their turn.
const WALKS_MAX: usize = 8;

/// Settings of the change feed.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// The oldest position that is resumed from; who has an older one begins anew.
    pub hours: u64,
    /// Streams at once; one more is refused.
    pub subscribers_max: usize,
    /// Changes held in memory, of all partitions together.
    pub buffer_bytes: usize,
    /// How often a stream on which nothing happens says so.
    pub heartbeat: Duration,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self { hours: 168, subscribers_max: 2000, buffer_bytes: 32 << 20, heartbeat: Duration::from_secs(15) }
    }
}

/// What all followers share.
pub(crate) struct Feed {
    pub(crate) config: FeedConfig,
    /// Set once the stream has told how many partitions there are.
    partitions: OnceLock<Vec<RwLock<Recent>>>,
    subscribers: Arc<Semaphore>,
    walks: Arc<Semaphore>,
    closed: AtomicBool,
    stream: Arc<dyn Stream>,
    registry: Registry,
    views: Arc<Views>,
    progress: Arc<Progress>,
    env: Arc<dyn Env>,
}

/// What became of a position that a client came with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// It can be gone on from.
    Here,
    /// It is of another stream, or of a part of this one that is no more.
    Unknown,
    /// It is older than what is resumed from.
    TooOld,
    /// This instance has not reached it yet.
    Behind,
}

impl Feed {
    pub(crate) fn new(
        config: FeedConfig,
        stream: Arc<dyn Stream>,
        registry: Registry,
        views: Arc<Views>,
        progress: Arc<Progress>,
        env: Arc<dyn Env>,
    ) -> Self {
        let subscribers = Arc::new(Semaphore::new(config.subscribers_max.min(Semaphore::MAX_PERMITS)));
        let walks = Arc::new(Semaphore::new(WALKS_MAX));
        let (partitions, closed) = (OnceLock::new(), AtomicBool::new(false));
        Self { config, partitions, subscribers, walks, closed, stream, registry, views, progress, env }
    }

    /// The stream has so many partitions.
    pub(crate) fn reached(&self, count: usize) {
        let share = self.config.buffer_bytes / count.max(1);
        self.partitions.get_or_init(|| (0..count).map(|_| RwLock::new(Recent::new(share))).collect());
    }

    /// A partition has caught up, or lost its place: what it applies from here on is kept.
    pub(crate) fn begin(&self, partition: Partition, at: Offset) {
        self.write(partition, |recent| recent.begin(at));
    }

    /// A view was applied.
    pub(crate) fn view(&self, partition: Partition, offset: Offset, entity_type: &TypeName, held: &Held) {
        self.push(partition, Change { offset, entity_type: entity_type.clone(), what: What::View(held.clone()) });
    }

    /// A deletion was applied.
    pub(crate) fn deleted(&self, partition: Partition, offset: Offset, key: &Key, version: u64) {
        let Some(id) = key.id.clone() else { return };
        self.push(partition, Change { offset, entity_type: key.entity_type.clone(), what: What::Deleted(id, version) });
    }

    fn push(&self, partition: Partition, change: Change) {
        let superseded = self.is_superseded(&change);
        self.write(partition, |recent| if superseded { recent.pass(change.offset + 1) } else { recent.push(change) });
    }

    /// Everything before an offset has been applied.
    pub(crate) fn pass(&self, partition: Partition, next: Offset) {
        self.write(partition, |recent| recent.pass(next));
    }

    /// No more is sent: the gateway stops.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.progress.ring();
    }

    /// Whether the gateway stops.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A place for one stream; none where all are taken.
    pub(crate) fn subscribe(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.subscribers).try_acquire_owned().ok()
    }

    /// Here and now. None before the stream was reached.
    pub(crate) fn now(&self) -> Option<Position> {
        self.progress.applied(position::hour(self.env.now()))
    }

    /// Where the topic begins. None where the stream does not tell.
    pub(crate) async fn start(&self) -> Option<Position> {
        let bounds = self.stream.bounds(contract::Topic::Views).await.ok()?;
        Some(Position { offsets: bounds.iter().map(|bounds| bounds.start).collect(), ..self.now()? })
    }

    /// Whether a position can be gone on from; waits for a while where this instance is behind it.
    pub(crate) async fn resume(&self, position: &Position, patience: Duration) -> Resumed {
        if !self.progress.knows(position) {
            return Resumed::Unknown;
        }
        if position::hour(self.env.now()).saturating_sub(position.hour) > self.config.hours {
            return Resumed::TooOld;
        }
        if self.reach(position, patience).await {
            return Resumed::Here;
        }
        match self.stream.bounds(contract::Topic::Views).await {
            // Beyond the end: a stream that was put back to an earlier state has its name still.
            Ok(bounds) if bounds.iter().zip(&position.offsets).any(|(bounds, at)| bounds.end < *at) => Resumed::Unknown,
            _ => Resumed::Behind,
        }
    }

    /// Rings after each step of a tail, and when the gateway stops.
    fn steps(&self) -> watch::Receiver<()> {
        self.progress.steps()
    }

    /// Whether a newer version than this is known here already.
    fn is_superseded(&self, change: &Change) -> bool {
        self.views.has_newer(&change.entity_type, change.id(), change.version())
    }

    fn recent<T>(&self, partition: Partition, read: impl FnOnce(&Recent) -> T) -> Option<T> {
        let recent = self.partitions.get()?.get(usize::try_from(partition).ok()?)?;
        Some(read(&recent.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn write(&self, partition: Partition, change: impl FnOnce(&mut Recent)) {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        if let Some(recent) = self.partitions.get().and_then(|all| all.get(index)) {
            change(&mut recent.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
