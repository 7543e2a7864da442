//! Tails the views and the replies: applies what passes, and wakes who waits for it.
//!
//! Every partition is tailed by assignment, from explicit offsets that are fetched before the first command is sent and
//! without a consumer group: no rebalance can lose an answer.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::counter;
use contract::record::{Offset, Partition};
use contract::wire::{DecodeError, cloudevents};
use contract::{Env, Registry, Stored, Topic};
use stream::{Stream, StreamError};
use tracing::{error, info, warn};

use super::{Held, Views};
use crate::config::ViewMode;
use crate::dispatch::{Answers, Retrieves};
use crate::metrics::UNREADABLE;
use crate::ready::Ready;

/// Records that one step takes; between steps other tasks get their turn.
const BATCH: usize = 512;

/// How long to wait before a stream that cannot be read is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What the tails need.
pub(crate) struct Follow {
    pub(crate) stream: Arc<dyn Stream>,
    pub(crate) registry: Registry,
    pub(crate) mode: ViewMode,
    pub(crate) views: Arc<Views>,
    pub(crate) answers: Arc<Answers>,
    pub(crate) retrieves: Arc<Retrieves>,
    pub(crate) ready: Arc<Ready>,
    pub(crate) env: Arc<dyn Env>,
}

impl Follow {
    /// Starts a task per partition of either topic, once the stream tells where they begin and end.
    pub(crate) fn start(self: Arc<Self>) {
        let env = Arc::clone(&self.env);
        env.spawn(Box::pin(async move {
            let Some(topology) = self.patiently(|| self.stream.topology()).await else { return };
            self.ready.reached(topology.partitions);
            let bounds = async |topic| self.patiently(|| self.stream.bounds(topic)).await;
            let (Some(replies), Some(views)) = (bounds(Topic::Replies).await, bounds(Topic::Views).await) else {
                return;
            };
            for (partition, bounds) in (0..).zip(replies) {
                self.spawn(Topic::Replies, partition, bounds.end, bounds.end);
            }
            for (partition, bounds) in (0..).zip(views) {
                let from = match self.mode {
                    ViewMode::Materialised => bounds.start,
                    ViewMode::OnDemand => bounds.end,
                };
                self.spawn(Topic::Views, partition, from, bounds.end);
            }
        }));
    }

    /// What the stream answers; waits for one that is away or must be mended, `None` once it is closed.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StreamError>>,
    {
        let mut told = None;
        loop {
            let error = match ask().await {
                Ok(answer) => return Some(answer),
                Err(StreamError::Closed) => return None,
                Err(error) => error,
            };
            self.ready.away(match error {
                StreamError::Unusable(_) => "cannot be used as it is; the operator's log says what to change",
                _ => "not reached yet",
            });
            if told.as_ref() != Some(&error) {
                warn!(%error, "waiting for the stream");
                told = Some(error);
            }
            self.env.sleep(RETRY_AFTER).await;
        }
    }

    fn spawn(self: &Arc<Self>, topic: Topic, partition: Partition, from: Offset, until: Offset) {
        let follow = Arc::clone(self);
        self.env.spawn(Box::pin(async move { follow.run(topic, partition, from, until).await }));
    }

    /// Reads one partition for as long as the stream is open.
    async fn run(&self, topic: Topic, partition: Partition, mut next: Offset, until: Offset) {
        self.passed(topic, partition, next, until);
        loop {
            let Err(error) = self.read(topic, partition, &mut next, until).await else { continue };
            match error {
                StreamError::Closed => return,
                StreamError::OutOfRange { start, .. } => {
                    // Views cannot be trimmed; of replies, only those nobody can still wait for are.
                    error!(topic = topic.name(), partition, %error, "going on from the first record there is");
                    next = start;
                }
                StreamError::Unavailable(_) | StreamError::Unusable(_) | StreamError::Revoked => {
                    warn!(topic = topic.name(), partition, %error, "trying again");
                }
            }
            self.env.sleep(RETRY_AFTER).await;
        }
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        next: &mut Offset,
        until: Offset,
    ) -> Result<(), StreamError> {
        let mut tail = self.stream.tail(topic, partition, *next).await?;
        loop {
            let records = tail.next(BATCH).await?;
            if records.is_empty() {
                // The tail passed the end as it was when it was opened, and that was not before `until` was asked for.
                *next = until.max(*next);
            }
            for stored in records {
                match topic {
                    Topic::Views => self.view(&stored),
                    _ => self.reply(&stored),
                }
                *next = stored.offset + 1;
            }
            self.passed(topic, partition, *next, until);
        }
    }

    fn passed(&self, topic: Topic, partition: Partition, next: Offset, until: Offset) {
        if topic == Topic::Views && self.ready.progress(partition, next, until) {
            info!("views are complete");
        }
    }

    fn view(&self, stored: &Stored) {
        let view = match cloudevents::decode_view(&stored.record) {
            Ok(view) => view,
            Err(error) => return self.unreadable(stored, &error),
        };
        let (Some(entity_type), Some(id)) = (self.registry.get(view.key.entity_type.as_str()), &view.key.id) else {
            // A type that this gateway does not serve.
            return;
        };
        match Held::new(entity_type, id.clone(), view.version, view.time, view.object, &view.data_schema) {
            Ok(held) => {
                let held = Arc::new(held);
                self.views.apply(entity_type.name(), Arc::clone(&held));
                self.retrieves.detach(&view.key);
                self.answers.view(&view.key, view.correlation, held);
            }
            Err(reason) => {
                let error = DecodeError { reason, correlation: Some(view.correlation), key: Some(view.key) };
                self.unreadable(stored, &error);
            }
        }
    }

    fn reply(&self, stored: &Stored) {
        match cloudevents::decode_reply(&stored.record) {
            Ok(reply) => self.answers.reply(reply),
            Err(error) => self.unreadable_event(stored, "dos.replies", &error),
        }
    }

    /// An older view would be wrong, so the entity has none until a readable one comes.
    fn unreadable(&self, stored: &Stored, error: &DecodeError) {
        self.unreadable_event(stored, "dos.views", error);
        if let Some(key) = &error.key {
            self.views.mark_unreadable(key);
            self.retrieves.detach(key);
        }
    }

    fn unreadable_event(&self, stored: &Stored, topic: &'static str, error: &DecodeError) {
        counter!(UNREADABLE, "topic" => topic).increment(1);
        warn!(topic, partition = stored.partition, offset = stored.offset, %error, "passed over an event that cannot be read");
    }
}
