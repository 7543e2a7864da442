//! A process's connection to the simulated stream: producer, tails, and member of the group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Offset, Partition, Record, Stored, Topic};
use stream::{AppendError, Bounds, Change, Membership, Stream, StreamError, Tail, Topology};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::broker::{self, Broker, Place};
use super::parts::Part;
use super::tamper::{self, Tampered};
use super::world::{Process, sleep};

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Gateway,
    Store,
}

pub(crate) struct Client {
    pub(crate) broker: Arc<Broker>,
    pub(crate) process: Arc<Process>,
    role: Role,
    /// When the last record to each partition is stored: the next one is stored later.
    last: Mutex<BTreeMap<Place, Instant>>,
    changes: mpsc::UnboundedSender<Change>,
    membership: Mutex<Option<mpsc::UnboundedReceiver<Change>>>,
    /// Revocations that the member has not acted upon yet.
    asked: Arc<Mutex<VecDeque<Partition>>>,
    /// Commands that were sent and not acknowledged yet.
    unacknowledged: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

impl Client {
    pub(crate) fn new(broker: &Arc<Broker>, process: &Arc<Process>, role: Role) -> Arc<Self> {
        let (changes, receiver) = mpsc::unbounded_channel();
        Arc::new(Self {
            broker: Arc::clone(broker),
            process: Arc::clone(process),
            role,
            last: Mutex::default(),
            changes,
            membership: Mutex::new(Some(receiver)),
            asked: Arc::default(),
            unacknowledged: Arc::default(),
        })
    }

    pub(crate) fn assign(&self, number: Partition) {
        drop(self.changes.send(Change::Assigned(vec![number])));
    }

    /// Completes once the member has given the partition up, or its session is over.
    pub(crate) async fn revoke(&self, number: Partition, session: Duration) {
        self.asked.lock().unwrap().push_back(number);
        drop(self.changes.send(Change::Revoked(vec![number])));
        let given_up = async {
            while self.asked.lock().unwrap().contains(&number) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(session, given_up).await.is_err() {
            self.asked.lock().unwrap().retain(|asked| *asked != number);
        }
    }

    /// When a record sent now is stored: after all that were sent before it, and not while the process sleeps.
    pub(crate) fn due(&self, place: Place) -> Instant {
        let world = &self.broker.world;
        let delay = Duration::from_millis(1 + world.below(40)) + self.process.asleep_for();
        if self.role == Role::Store && world.lacks(Part::PublishingOrder) {
            return Instant::now() + delay;
        }
        let mut last = self.last.lock().unwrap();
        let last = last.entry(place).or_insert_with(Instant::now);
        *last = (*last + Duration::from_millis(1)).max(Instant::now() + delay);
        *last
    }

    fn reader(&self, topic: Topic, number: Partition, from: Offset) -> Reader {
        let (broker, process) = (Arc::clone(&self.broker), Arc::clone(&self.process));
        let tampered = match self.role {
            Role::Gateway => Some(Tampered::new(Arc::clone(&broker.world), Arc::clone(&self.unacknowledged))),
            Role::Store => None,
        };
        let hidden = self.role == Role::Store && topic == Topic::Views && broker.world.lacks(Part::Repair);
        let opened_at = Some(broker.end(topic, number));
        Reader { broker, process, topic, number, next: from, opened_at, tampered, hidden }
    }
}

#[async_trait::async_trait]
impl Stream for Client {
    async fn topology(&self) -> Result<Topology, StreamError> {
        self.process.awake().await;
        if self.broker.is_out() || self.broker.world.fails(10) {
            return Err(StreamError::Unavailable("no broker".to_owned()));
        }
        let partitions = self.broker.partitions;
        Ok(Topology { cluster: "simulated".to_owned(), partitions, message_bytes_max: 2 << 20 })
    }

    async fn append(&self, topic: Topic, record: Record) -> Result<(Partition, Offset), AppendError> {
        let correlation = tamper::correlation(&record).unwrap_or_default().to_vec();
        self.unacknowledged.lock().unwrap().insert(correlation.clone());
        // Before the first await: appends are taken in the order in which they are first polled.
        let sent = broker::send(self, topic, record);
        let result = sent.await.unwrap();
        self.process.awake().await;
        self.unacknowledged.lock().unwrap().remove(&correlation);
        result
    }

    async fn bounds(&self, topic: Topic) -> Result<Vec<Bounds>, StreamError> {
        self.process.awake().await;
        if self.broker.is_out() || self.broker.world.fails(20) {
            return Err(StreamError::Unavailable("no broker".to_owned()));
        }
        let bounds = |number| Bounds { start: 0, end: self.broker.end(topic, number) };
        let bounds = (0..self.broker.partitions).map(bounds).collect();
        sleep(self.broker.world.millis(5)).await;
        self.process.awake().await;
        Ok(bounds)
    }

    async fn tail(&self, topic: Topic, number: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        Ok(Box::new(self.reader(topic, number, from)))
    }

    async fn join(&self, _: &str, _: Topic) -> Result<Box<dyn Membership>, StreamError> {
        let changes = self.membership.lock().unwrap().take().unwrap();
        let (broker, process, asked) = (Arc::clone(&self.broker), Arc::clone(&self.process), Arc::clone(&self.asked));
        Ok(Box::new(Member { broker, process, changes, asked, told: Vec::new() }))
    }
}

struct Reader {
    broker: Arc<Broker>,
    process: Arc<Process>,
    topic: Topic,
    number: Partition,
    next: Offset,
    /// Where the partition ended when the tail was opened, until it was told that this is read.
    opened_at: Option<Offset>,
    tampered: Option<Tampered>,
    /// It never gives anything.
    hidden: bool,
}

#[async_trait::async_trait]
impl Tail for Reader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Stored>, StreamError> {
        if self.hidden {
            return std::future::pending().await;
        }
        let world = Arc::clone(&self.broker.world);
        // A tail stalls: what passed meanwhile is read later.
        let stalled = if world.fails(40) { world.millis(4000) } else { world.millis(6) };
        sleep(stalled).await;
        if world.fails(200) {
            return Err(StreamError::Unavailable("the connection was cut".to_owned()));
        }
        loop {
            let arrived = self.broker.arrived.notified();
            self.process.awake().await;
            let records_max = records_max.min(1 + world.below(5) as usize);
            let records = self.broker.read(self.topic, self.number, self.next, records_max);
            if let Some(last) = records.last() {
                self.next = last.offset + 1;
                return Ok(match &mut self.tampered {
                    Some(tampered) => tampered.records(self.topic, records),
                    None => records,
                });
            }
            if self.topic == Topic::Views && self.opened_at.take().is_some() {
                return Ok(Vec::new());
            }
            arrived.await;
        }
    }
}

struct Member {
    broker: Arc<Broker>,
    process: Arc<Process>,
    changes: mpsc::UnboundedReceiver<Change>,
    asked: Arc<Mutex<VecDeque<Partition>>>,
    /// The revocations that were told last: they are acted upon once the next change is asked for.
    told: Vec<Partition>,
}

#[async_trait::async_trait]
impl Membership for Member {
    async fn next(&mut self) -> Result<Change, StreamError> {
        self.process.awake().await;
        let told = std::mem::take(&mut self.told);
        self.asked.lock().unwrap().retain(|asked| !told.contains(asked));
        let change = self.changes.recv().await.ok_or(StreamError::Closed)?;
        self.process.awake().await;
        if let Change::Revoked(partitions) = &change {
            self.told.clone_from(partitions);
        }
        Ok(change)
    }

    async fn read(&mut self, number: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        let (broker, process) = (Arc::clone(&self.broker), Arc::clone(&self.process));
        let opened_at = Some(broker.end(Topic::Commands, number));
        let (topic, tampered, hidden) = (Topic::Commands, None, false);
        Ok(Box::new(Reader { broker, process, topic, number, next: from, opened_at, tampered, hidden }))
    }
}
