//! Tails the views and the replies: applies what passes, and wakes who waits for it.
//!
//! Every partition is tailed by assignment, from explicit offsets that are fetched before the first command is sent and
//! without a consumer group: no rebalance can lose an answer.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::counter;
use contract::record::{Offset, Partition};
use contract::wire::{DecodeError, cloudevents};
use contract::{EntityId, Env, Key, Registry, ReplyBody, Stored, Topic};
use stream::{Stream, StreamError};
use tracing::{error, info, warn};

use super::{Held, Loading, Progress, Snapshots, Views};
use crate::config::ViewMode;
use crate::dispatch::{Answers, Retrieves};
use crate::feed::Feed;
use crate::metrics::UNREADABLE;
use crate::ready::{Ready, UNUSABLE};

/// Records that one step takes; between steps other tasks get their turn.
const BATCH: usize = 512;

/// How long to wait before a stream that cannot be read is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How often the stream is asked whether it is still what it was.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What the tails need.
pub(crate) struct Follow {
    pub(crate) stream: Arc<dyn Stream>,
    pub(crate) registry: Registry,
    pub(crate) mode: ViewMode,
    pub(crate) views: Arc<Views>,
    pub(crate) answers: Arc<Answers>,
    pub(crate) retrieves: Arc<Retrieves>,
    pub(crate) ready: Arc<Ready>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) feed: Arc<Feed>,
    /// Of a materialised view, if there are to be any.
    pub(crate) snapshots: Option<Arc<Snapshots>>,
    pub(crate) env: Arc<dyn Env>,
}

/// How far the reading of one partition has come.
struct Course {
    topic: Topic,
    partition: Partition,
    next: Offset,
    /// Where the partition ended at the start.
    until: Offset,
    /// There until it is reached.
    loading: Option<Loading>,
    lack: Option<Lack>,
}

/// What compaction may have taken from under a tail: it keeps the last record of a key, and one that it removed before the tail
/// came by has its successor further on. Until that was read the view of the key is older than the place that was reached.
#[derive(Clone, Copy, Default)]
struct Lack {
    /// The successors of what earlier gaps had lie before this offset.
    until: Offset,
    /// Offsets without a record were passed since; what took their place may lie behind it.
    gap: bool,
}

impl Course {
    /// Offsets without a record are passed.
    fn pass_gap(&mut self) {
        self.lack.get_or_insert_default().gap = true;
    }
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
            let starts: Vec<Offset> = match (self.mode, &self.snapshots) {
                (ViewMode::Materialised, Some(snapshots)) => snapshots.load(&topology, &views).await,
                (ViewMode::Materialised, None) => views.iter().map(|bounds| bounds.start).collect(),
                (ViewMode::OnDemand, _) => views.iter().map(|bounds| bounds.end).collect(),
            };
            self.views.begin(&topology.cluster, &starts, &self.stream);
            self.progress.begin(&topology.cluster, &starts);
            self.feed.reached(starts.len());
            self.views.expect(views.iter().zip(&starts).map(|(bounds, from)| bounds.end.saturating_sub(*from)).sum());
            for (partition, (bounds, from)) in (0..).zip(views.into_iter().zip(starts)) {
                self.spawn(Topic::Views, partition, from, bounds.end);
            }
            let (stream, ready, env) = (Arc::clone(&self.stream), Arc::clone(&self.ready), Arc::clone(&self.env));
            // What else this holds, such as the folder of snapshots, ends with the tails.
            drop(self);
            watch(&*stream, &ready, &*env).await;
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
                StreamError::Unusable(_) => UNUSABLE,
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
        let loading = Some(Loading::new(until - from));
        let course = Course { topic, partition, next: from, until, loading, lack: None };
        self.env.spawn(Box::pin(async move { follow.run(course).await }));
    }

    /// Reads one partition for as long as the stream is open.
    async fn run(&self, mut course: Course) {
        self.passed(&mut course);
        loop {
            let Err(error) = self.read(&mut course).await else { continue };
            let Course { topic, partition, .. } = course;
            match error {
                StreamError::Closed => return,
                StreamError::OutOfRange { start, .. } => {
                    // Views cannot be trimmed; of replies, only those nobody can still wait for are.
                    error!(topic = topic.name(), partition, %error, "going on from the first record there is");
                    course.next = start;
                    course.pass_gap();
                    if topic == Topic::Views {
                        self.views.restart(partition, start);
                        self.feed.begin(partition, start);
                    }
                }
                StreamError::Unavailable(_) | StreamError::Unusable(_) | StreamError::Revoked => {
                    warn!(topic = topic.name(), partition, %error, "trying again");
                }
            }
            self.env.sleep(RETRY_AFTER).await;
        }
    }

    async fn read(&self, course: &mut Course) -> Result<(), StreamError> {
        let mut tail = self.stream.tail(course.topic, course.partition, course.next).await?;
        loop {
            let records = tail.next(BATCH).await?;
            if records.is_empty() {
                // The tail passed the end as it was when it was opened, and that was not before `until` was asked for.
                course.next = course.until.max(course.next);
            }
            for stored in records {
                if stored.offset > course.next {
                    course.pass_gap();
                }
                match course.topic {
                    Topic::Views if stored.record.is_about_stream() => {}
                    Topic::Views => self.view(&stored, course),
                    _ => self.reply(&stored),
                }
                course.next = stored.offset + 1;
            }
            self.fill(course).await?;
            self.passed(course);
        }
    }

    /// Finds out where the successors end of what was not there any more, once those that were known of are passed.
    async fn fill(&self, course: &mut Course) -> Result<(), StreamError> {
        let Some(Lack { mut until, gap }) = course.lack else { return Ok(()) };
        if course.topic != Topic::Views || course.next < until {
            return Ok(());
        }
        if gap {
            let bounds = self.stream.bounds(Topic::Views).await?;
            let bounds = usize::try_from(course.partition).ok().and_then(|at| bounds.get(at));
            until = bounds.map_or(0, |bounds| bounds.end);
        }
        course.lack = (course.next < until).then_some(Lack { until, gap: false });
        Ok(())
    }

    /// Whether what was there at the start has been read, of this partition and of all.
    fn passed(&self, course: &mut Course) {
        if course.topic != Topic::Views {
            return;
        }
        self.views.passed(course.partition, course.next);
        if let Some(snapshots) = &self.snapshots {
            snapshots.passed(course.partition, course.next);
        }
        if course.next >= course.until
            && let Some(loading) = course.loading.take()
        {
            self.views.loaded(loading);
            self.feed.begin(course.partition, course.next);
        }
        self.feed.pass(course.partition, course.next);
        if course.lack.is_none() {
            self.progress.apply(course.partition, course.next);
            self.progress.ring();
        }
        if self.ready.progress(course.partition, course.next, course.until) {
            self.views.complete();
            self.ready.open();
            if let Some(snapshots) = &self.snapshots {
                snapshots.complete();
            }
            info!("views are complete");
        }
    }

    fn view(&self, stored: &Stored, course: &mut Course) {
        let lacks_nothing = course.lack.is_none();
        let loading = course.loading.as_mut();
        let view = match cloudevents::decode_view_ref(&stored.record) {
            Ok(view) => view,
            Err(error) => return self.unreadable(stored, &error),
        };
        let (partition, next) = (stored.partition, stored.offset + 1);
        // A type that this gateway does not serve is passed over.
        let Some(entity_type) = self.registry.get(view.entity_type) else { return };
        let name = entity_type.name();
        let Some(object) = view.object else {
            let Some(id) = EntityId::parse(view.id) else { return };
            let key = Key::new(name.clone(), id);
            self.retrieves.detach(name, view.id);
            self.progress.see(partition, next);
            self.views.delete(&key, view.version, stored);
            if loading.is_none() {
                self.feed.deleted(partition, stored.offset, &key, view.version);
            }
            if lacks_nothing {
                self.progress.apply(partition, next);
            }
            return self.answers.deleted(&key, view.correlation, view.version);
        };
        match Held::new(entity_type, view.id, view.version, view.time, object, view.data_schema) {
            Ok(held) => {
                // In this order: an answer that is older must not be kept after the view has replaced what was there.
                self.retrieves.detach(name, view.id);
                self.progress.see(partition, next);
                let is_live = loading.is_none();
                self.views.apply(name, &held, stored, loading);
                if is_live {
                    self.feed.view(partition, stored.offset, name, &held);
                }
                if lacks_nothing {
                    self.progress.apply(partition, next);
                }
                self.answers.view(name, view.correlation, held);
            }
            Err(reason) => {
                let key = EntityId::parse(view.id).map(|id| Key::new(name.clone(), id));
                self.unreadable(stored, &DecodeError { reason, correlation: Some(view.correlation), key });
            }
        }
    }

    fn reply(&self, stored: &Stored) {
        match cloudevents::decode_reply(&stored.record) {
            Ok(reply) => {
                // It tells of a version; a question that is under way may have been answered before that.
                if let Some((Key { entity_type, id: Some(id) }, _)) = reply.depends_on()
                    && !matches!(reply.body, ReplyBody::Retrieved(_))
                {
                    self.retrieves.detach(entity_type, id.as_str());
                }
                self.answers.reply(reply);
            }
            Err(error) => self.unreadable_event(stored, "dos.replies", &error),
        }
    }

    /// An older view would be wrong, so the entity has none until a readable one comes.
    fn unreadable(&self, stored: &Stored, error: &DecodeError) {
        self.unreadable_event(stored, "dos.views", error);
        let Some(key) = &error.key else { return };
        if let Some(id) = &key.id {
            self.retrieves.detach(&key.entity_type, id.as_str());
        }
        self.views.mark_unreadable(key, stored);
    }

    fn unreadable_event(&self, stored: &Stored, topic: &'static str, error: &DecodeError) {
        counter!(UNREADABLE, "topic" => topic).increment(1);
        warn!(topic, partition = stored.partition, offset = stored.offset, %error, "passed over an event that cannot be read");
    }
}

/// Until the stream is closed or says that it changed in a way that it must not.
async fn watch(stream: &dyn Stream, ready: &Ready, env: &dyn Env) {
    loop {
        env.sleep(WATCH_EVERY).await;
        match stream.topology().await {
            Err(StreamError::Closed) => return,
            Err(StreamError::Unusable(_)) => return ready.refuse(),
            _ => {}
        }
    }
}
