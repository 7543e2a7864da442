//! The event stream on Kafka, through librdkafka.
//!
//! ```text
//! append -> (link: is there a leader?) -> one idempotent producer, acks=all
//! tail   -> a queue of its own, split off a consumer that is shared by the topic's tails; by assignment, no group
//! join   -> a thread per member that polls for rebalances; what is assigned is read by tails as above
//! ```
//!
//! Opening connects nothing: with the brokers away the stream is there and says so, and works once they come. Before
//! anything else is done the topics are looked at, made where they are missing and that is wanted, and refused where
//! they would lose data ([`StreamError::Unusable`]); see `topics` and `mark`. A tail reads `read_committed`, so a
//! producer with transactions may stand on the other side. librdkafka wants the name of a group for a consumer that
//! joins none: `<prefix>dos.reader`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use contract::{Env, Offset, Partition, Record, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::{OnceCell, watch};

use self::asker::{Asker, Kind};
use self::link::{Context, Link};
use self::producer::Producer;
use self::reader::Readers;
use self::tail::KafkaTail;
use crate::{AppendError, Bounds, Membership, Stream, StreamError, Tail, Topology};

mod asker;
mod claim;
mod examine;
mod group;
mod link;
mod mark;
mod names;
mod options;
mod producer;
mod reader;
mod record;
mod tail;
#[cfg(test)]
mod tests;
mod topics;

pub use examine::{Examined, Finding, examine};
pub use names::describe as describe_metrics;
pub use options::Options;

/// How long the brokers may take over one question.
const ASK_LIMIT: Duration = Duration::from_secs(3);
/// How long leaving a group may take when the stream is closed.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// How long a client may get nowhere while others do, until another takes its place. librdkafka finds its way back by itself,
/// and quickly; but a client was seen that did not, after a broker had hung.
const LOST_AFTER: Duration = Duration::from_secs(15);
/// How often callbacks are served.
const SERVE_EVERY: Duration = Duration::from_millis(100);
/// How often leaders are asked for, in rounds of [`SERVE_EVERY`]: with everything well, and otherwise.
const LOOK_ROUNDS: u32 = 50;
const LOOK_ROUNDS_TROUBLED: u32 = 2;

/// An option that cannot be used, and why.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct OpenError(String);

/// A stream on Kafka. Dropping it without [`Kafka::close`] gives up what was not acknowledged yet.
pub struct Kafka {
    shared: Arc<Shared>,
}

/// What tails and members share.
struct Shared {
    options: Options,
    env: Arc<dyn Env>,
    link: Arc<Link>,
    producer: Producer,
    readers: Readers,
    asker: Asker,
    /// [`LOST_AFTER`]
    lost_after: Duration,
    topology: OnceCell<Topology>,
    closed: watch::Sender<bool>,
    /// Listened to by the threads of members, until they have left.
    members: watch::Sender<()>,
}

impl Kafka {
    /// Checks the options and makes the clients. Connects nothing; needs a Tokio runtime.
    ///
    /// # Errors
    /// The option that cannot be used, and why.
    pub fn open(options: Options, env: Arc<dyn Env>) -> Result<Self, OpenError> {
        Self::open_patiently(options, env, LOST_AFTER)
    }

    /// With a time after which a client has lost its way.
    fn open_patiently(options: Options, env: Arc<dyn Env>, lost_after: Duration) -> Result<Self, OpenError> {
        options.check()?;
        let link = Arc::new(Link::new(&env));
        let producer = Producer::new(&options, &link, &env)?;
        let readers = Readers::new(&options, &link);
        let asker = Asker::new(&options, &link).map_err(|error| OpenError(error.to_string()))?;
        let (topology, closed, members) = (OnceCell::new(), watch::Sender::new(false), watch::Sender::new(()));
        let shared =
            Arc::new(Shared { options, env, link, producer, readers, asker, lost_after, topology, closed, members });
        shared.env.spawn(Box::pin(look_after(Arc::downgrade(&shared), Arc::clone(&shared.env))));
        Ok(Self { shared })
    }

    /// Takes nothing more, ends tails, waits up to 3 s for memberships to have left their groups, and up to 5 s for what
    /// was taken to be acknowledged.
    pub async fn close(&self) {
        self.shared.closed.send_replace(true);
        // A process that ends before its member has left keeps the member's partitions from others for a session.
        tokio::select! {
            () = self.shared.members.closed() => {}
            () = self.shared.env.sleep(LEAVE_LIMIT) => tracing::warn!("a group was not left in time"),
        }
        let shared = Arc::clone(&self.shared);
        // Fails only where the runtime ends.
        drop(tokio::task::spawn_blocking(move || shared.producer.close()).await);
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.shared.closed.send_replace(true);
    }
}

#[async_trait::async_trait]
impl Stream for Kafka {
    async fn topology(&self) -> Result<Topology, StreamError> {
        let topology = self.shared.topology().await?;
        match self.shared.link.grown() {
            Some(reason) => Err(StreamError::Unusable(reason.to_owned())),
            None => Ok(topology.clone()),
        }
    }

    fn away_for(&self) -> Option<Duration> {
        self.shared.link.away_for()
    }

    async fn append(&self, topic: Topic, record: Record) -> Result<(Partition, Offset), AppendError> {
        let outcome = self.shared.append(topic, &record).await;
        metrics::counter!(names::APPENDS, "outcome" => producer::outcome(&outcome)).increment(1);
        outcome
    }

    async fn bounds(&self, topic: Topic) -> Result<Vec<Bounds>, StreamError> {
        let partitions = self.shared.topology().await?.partitions;
        self.shared.bounds(topic, 0..partitions).await
    }

    async fn tail(&self, topic: Topic, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        Ok(Box::new(self.shared.tail(topic, partition, from, None).await?))
    }

    async fn claim(&self, database: &str) -> Result<String, StreamError> {
        self.shared.topology().await?;
        claim::claim(&self.shared, database).await
    }

    async fn join(&self, group: &str, topic: Topic) -> Result<Box<dyn Membership>, StreamError> {
        self.shared.open()?;
        Ok(Box::new(group::KafkaMembership::new(&self.shared, group, topic)))
    }
}

impl Shared {
    fn open(&self) -> Result<(), StreamError> {
        if *self.closed.borrow() { Err(StreamError::Closed) } else { Ok(()) }
    }

    async fn topology(&self) -> Result<&Topology, StreamError> {
        self.open()?;
        self.topology.get_or_try_init(|| topics::prepare(self)).await
    }

    async fn append(&self, topic: Topic, record: &Record) -> Result<(Partition, Offset), AppendError> {
        self.open().map_err(|error| AppendError::Unavailable(error.to_string()))?;
        let topology = self.topology.get();
        let topology = topology.ok_or_else(|| AppendError::Unavailable("it was not reached yet".to_owned()))?;
        // What commands lead to has a place that all who are here agree on.
        if let Some(reason) = self.link.grown().filter(|_| topic == Topic::Commands) {
            return Err(AppendError::Unavailable(reason.to_owned()));
        }
        let (size_bytes, size_bytes_max) = (record.size_bytes(), topology.message_bytes_max);
        if size_bytes > size_bytes_max {
            return Err(AppendError::TooLarge { size_bytes, size_bytes_max });
        }
        let partition = contract::partition::of_key(&record.key, topology.partitions);
        self.producer.append(topic, partition, record).await
    }

    /// Asks the brokers, in a thread that may block.
    async fn ask<T, F>(&self, question: F) -> Result<T, StreamError>
    where
        F: FnOnce(&BaseConsumer<Context>) -> Result<T, StreamError> + Send + 'static,
        T: Send + 'static,
    {
        self.ask_of(Kind::Topics, question).await
    }

    async fn ask_of<T, F>(&self, kind: Kind, question: F) -> Result<T, StreamError>
    where
        F: FnOnce(&BaseConsumer<Context>) -> Result<T, StreamError> + Send + 'static,
        T: Send + 'static,
    {
        self.open()?;
        let asker = self.asker.client();
        let answer = tokio::task::spawn_blocking(move || question(&asker)).await.map_err(unavailable)?;
        let well = !matches!(answer, Err(StreamError::Unavailable(_)));
        self.asker.answered(kind, well, &self.options, &self.link, &*self.env);
        answer
    }

    async fn bounds(&self, topic: Topic, of: std::ops::Range<Partition>) -> Result<Vec<Bounds>, StreamError> {
        let name = self.options.topic(topic);
        self.ask_of(Kind::Bounds, move |asker| {
            let bounds = |partition| {
                let number = i32::try_from(partition).unwrap_or(i32::MAX);
                let (start, end) = asker
                    .fetch_watermarks(&name, number, ASK_LIMIT)
                    .map_err(|error| refused(&error, &format!("topic {name}")))?;
                let offset = |offset| u64::try_from(offset).map_err(unavailable);
                Ok(Bounds { start: offset(start)?, end: offset(end)? })
            };
            of.map(bounds).collect()
        })
        .await
    }

    /// Where reading from this position begins; an error where it lies outside the log. On a compacted topic nothing is
    /// missed before the start.
    async fn check(&self, topic: Topic, partition: Partition, offset: Offset) -> Result<Offset, StreamError> {
        let bounds = self.bounds(topic, partition..partition + 1).await?;
        let Some(Bounds { start, end }) = bounds.first().copied() else { return Err(unavailable("no bounds")) };
        if offset > end || (offset < start && !topic.is_compacted()) {
            return Err(StreamError::OutOfRange { topic, partition, offset, start, end });
        }
        Ok(offset.max(start))
    }

    async fn tail(
        self: &Arc<Self>,
        topic: Topic,
        partition: Partition,
        from: Offset,
        revoked: Option<watch::Receiver<bool>>,
    ) -> Result<KafkaTail, StreamError> {
        let partitions = self.topology().await?.partitions;
        if partition >= partitions {
            return Err(unavailable(format!("{} has {partitions} partitions", topic.name())));
        }
        let from = self.check(topic, partition, from).await?;
        KafkaTail::new(self, topic, partition, from, revoked)
    }
}

/// Serves callbacks and looks for leaders, until the stream ends.
async fn look_after(shared: Weak<Shared>, env: Arc<dyn Env>) {
    let mut rounds = 0;
    let mut warned = false;
    loop {
        let Some(shared) = shared.upgrade() else { return };
        if shared.open().is_err() {
            return;
        }
        shared.readers.serve();
        reader::serve(&shared.asker.client());
        let whole = shared.link.is_whole();
        metrics::gauge!(names::UP).set(if whole { 1.0 } else { 0.0 });
        if rounds == 0 && shared.topology.get().is_some() {
            topics::look(&shared, &mut warned).await;
            rounds = if shared.link.is_whole() { LOOK_ROUNDS } else { LOOK_ROUNDS_TROUBLED };
        }
        rounds = u32::saturating_sub(rounds, 1);
        let link = Arc::clone(&shared.link);
        drop(shared);
        tokio::select! {
            () = env.sleep(SERVE_EVERY) => {}
            () = link.look.notified() => rounds = 0,
        }
    }
}

/// Drops what blocks while it ends, elsewhere.
fn dispose<T: Send + 'static>(value: T) {
    let ended = std::thread::Builder::new().name("kafka-end".to_owned()).spawn(move || drop(value));
    if let Err(error) = ended {
        // It was dropped here, then.
        tracing::debug!(%error, "no thread to end a client in");
    }
}

/// The same of what a client of librdkafka says; what this user may not do, with the permission that it lacks.
fn refused(error: &KafkaError, what: &str) -> StreamError {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
            unavailable(format!("{what}: not allowed to read it; allow this user READ on it"))
        }
        _ => unavailable(error),
    }
}

fn unavailable(error: impl std::fmt::Display) -> StreamError {
    StreamError::Unavailable(error.to_string())
}
