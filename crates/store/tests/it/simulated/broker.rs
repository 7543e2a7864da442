//! The simulated stream: logs, and clients whose appends may fail, get lost, or come late.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Offset, Partition, Record, Stored, Topic, partition};
use stream::{AppendError, Bounds, Change, Membership, Stream, StreamError, Tail, Topology};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::world::{Process, World, sleep};

type Place = (&'static str, Partition);

pub(crate) struct Broker {
    world: Arc<World>,
    partitions: u32,
    logs: Mutex<BTreeMap<Place, Vec<Stored>>>,
    arrived: Notify,
    /// Records that clients sent and that are not stored or lost yet.
    under_way: Mutex<u64>,
    outage_until: Mutex<Instant>,
    trace: Mutex<DefaultHasher>,
}

impl Broker {
    pub(crate) fn new(world: Arc<World>, partitions: u32) -> Arc<Self> {
        let outage_until = Mutex::new(Instant::now());
        let (logs, arrived, under_way, trace) = (Mutex::default(), Notify::new(), Mutex::default(), Mutex::default());
        Arc::new(Self { world, partitions, logs, arrived, under_way, outage_until, trace })
    }

    pub(crate) fn store(&self, topic: Topic, partition: Partition, record: Record) -> Offset {
        let mut logs = self.logs.lock().unwrap();
        let log = logs.entry((topic.name(), partition)).or_default();
        let offset = log.len() as Offset;
        let since = self.world.now().as_millis();
        (topic.name(), partition, &record.key, record.headers.as_bytes(), since).hash(&mut *self.trace.lock().unwrap());
        log.push(Stored { partition, offset, record });
        drop(logs);
        self.arrived.notify_waiters();
        offset
    }

    pub(crate) fn outage(&self, duration: Duration) {
        *self.outage_until.lock().unwrap() = Instant::now() + duration;
    }

    pub(crate) fn under_way(&self) -> u64 {
        *self.under_way.lock().unwrap()
    }

    pub(crate) fn end(&self, topic: Topic, partition: Partition) -> Offset {
        self.logs.lock().unwrap().get(&(topic.name(), partition)).map_or(0, |log| log.len() as Offset)
    }

    pub(crate) fn all(&self, topic: Topic) -> Vec<Stored> {
        let logs = self.logs.lock().unwrap();
        (0..self.partitions).filter_map(|number| logs.get(&(topic.name(), number))).flatten().cloned().collect()
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.lock().unwrap().finish()
    }

    fn read(&self, topic: Topic, partition: Partition, from: Offset, records_max: usize) -> Vec<Stored> {
        let logs = self.logs.lock().unwrap();
        let log = logs.get(&(topic.name(), partition));
        log.map_or(Vec::new(), |log| log.iter().skip(from as usize).take(records_max).cloned().collect())
    }

    fn is_out(&self) -> bool {
        *self.outage_until.lock().unwrap() > Instant::now()
    }
}

/// A process's connection: producer and member of the group.
pub(crate) struct Client {
    broker: Arc<Broker>,
    process: Arc<Process>,
    /// When the last record to each partition is stored: the next one is stored later.
    last: Mutex<BTreeMap<Place, Instant>>,
    changes: mpsc::UnboundedSender<Change>,
    membership: Mutex<Option<mpsc::UnboundedReceiver<Change>>>,
    /// Revocations that the member has not acted upon yet.
    asked: Arc<Mutex<VecDeque<Partition>>>,
}

/// What becomes of an append.
enum Fate {
    Stored,
    Refused,
    /// The acknowledgement is lost.
    Unanswered,
    /// It timed out and is stored so much later, or never.
    Late(Option<Duration>),
}

impl Client {
    pub(crate) fn new(broker: &Arc<Broker>, process: &Arc<Process>) -> Arc<Self> {
        let (changes, receiver) = mpsc::unbounded_channel();
        Arc::new(Self {
            broker: Arc::clone(broker),
            process: Arc::clone(process),
            last: Mutex::default(),
            changes,
            membership: Mutex::new(Some(receiver)),
            asked: Arc::default(),
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

    fn fate(&self) -> Fate {
        let world = &self.broker.world;
        if self.broker.is_out() {
            return if world.below(2) == 0 { Fate::Refused } else { Fate::Late(None) };
        }
        match world.below(4) {
            _ if !world.fails(15) => Fate::Stored,
            0 => Fate::Refused,
            1 => Fate::Unanswered,
            2 => Fate::Late(None),
            _ => Fate::Late(Some(Duration::from_millis(world.below(30_000)))),
        }
    }

    /// When a record sent now is stored: after all that were sent before it, and not while the process sleeps.
    fn due(&self, place: Place) -> Instant {
        let delay = Duration::from_millis(1 + self.broker.world.below(40)) + self.process.asleep_for();
        let mut last = self.last.lock().unwrap();
        let last = last.entry(place).or_insert_with(Instant::now);
        *last = (*last + Duration::from_millis(1)).max(Instant::now() + delay);
        *last
    }
}

/// Sends a record: it arrives though nobody waits for it, unless its process dies first.
#[allow(clippy::disallowed_methods, reason = "the broker is no process of the simulation")]
fn send(
    client: &Client,
    topic: Topic,
    record: Record,
) -> tokio::task::JoinHandle<Result<(Partition, Offset), AppendError>> {
    let (broker, process) = (Arc::clone(&client.broker), Arc::clone(&client.process));
    let number = partition::of_key(&record.key, broker.partitions);
    let place = (topic.name(), number);
    let (fate, due) = (client.fate(), client.due(place));
    // Of what a dead process had sent, some is in the network.
    let survives = broker.world.below(2) == 0;
    *broker.under_way.lock().unwrap() += 1;
    tokio::spawn(async move {
        let asleep = due.duration_since(Instant::now());
        sleep(asleep).await;
        // It may have been paused since.
        process.awake().await;
        let lost = process.is_dead() && !survives;
        let unknown = || Err(AppendError::Unknown("no answer came in time".to_owned()));
        let result = match fate {
            Fate::Stored if !lost => Ok((number, broker.store(topic, number, record))),
            Fate::Unanswered if !lost => {
                broker.store(topic, number, record);
                unknown()
            }
            Fate::Late(Some(late)) if !lost => {
                let broker = Arc::clone(&broker);
                *broker.under_way.lock().unwrap() += 1;
                tokio::spawn(async move {
                    sleep(late).await;
                    broker.store(topic, number, record);
                    *broker.under_way.lock().unwrap() -= 1;
                });
                unknown()
            }
            Fate::Refused => Err(AppendError::Unavailable("no leader".to_owned())),
            _ => unknown(),
        };
        *broker.under_way.lock().unwrap() -= 1;
        result
    })
}

#[async_trait::async_trait]
impl Stream for Client {
    async fn topology(&self) -> Result<Topology, StreamError> {
        let partitions = self.broker.partitions;
        Ok(Topology { cluster: "simulated".to_owned(), partitions, message_bytes_max: 2 << 20 })
    }

    async fn append(&self, topic: Topic, record: Record) -> Result<(Partition, Offset), AppendError> {
        // Before the first await: appends are taken in the order in which they are first polled.
        let sent = send(self, topic, record);
        let result = sent.await.unwrap();
        self.process.awake().await;
        result
    }

    async fn bounds(&self, topic: Topic) -> Result<Vec<Bounds>, StreamError> {
        let bounds = |number| Bounds { start: 0, end: self.broker.end(topic, number) };
        Ok((0..self.broker.partitions).map(bounds).collect())
    }

    async fn tail(&self, topic: Topic, number: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        let (broker, process) = (Arc::clone(&self.broker), Arc::clone(&self.process));
        Ok(Box::new(Reader { broker, process, topic, number, next: from }))
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
}

#[async_trait::async_trait]
impl Tail for Reader {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Stored>, StreamError> {
        loop {
            let arrived = self.broker.arrived.notified();
            self.process.awake().await;
            let records_max = records_max.min(1 + self.broker.world.below(5) as usize);
            let records = self.broker.read(self.topic, self.number, self.next, records_max);
            if let Some(last) = records.last() {
                self.next = last.offset + 1;
                return Ok(records);
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
        Ok(Box::new(Reader { broker, process, topic: Topic::Commands, number, next: from }))
    }
}
