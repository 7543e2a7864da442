//! The simulated stream: logs that are compacted, and what becomes of an append.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use contract::{Offset, Partition, Record, Stored, Topic, partition};
use stream::AppendError;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Client;
use super::parts::Part;
use super::tamper;
use super::world::{World, sleep};

pub(crate) type Place = (&'static str, Partition);

#[derive(Default)]
struct Log {
    /// All that ever was stored.
    records: Vec<Stored>,
    /// What compaction has removed.
    gone: BTreeSet<Offset>,
}

pub(crate) struct Broker {
    pub(crate) world: Arc<World>,
    pub(crate) partitions: u32,
    logs: Mutex<BTreeMap<Place, Log>>,
    pub(crate) arrived: Notify,
    /// Records that clients sent and that are not stored or lost yet.
    under_way: Mutex<u64>,
    outage_until: Mutex<Instant>,
}

impl Broker {
    pub(crate) fn new(world: Arc<World>, partitions: u32) -> Arc<Self> {
        let outage_until = Mutex::new(Instant::now());
        let (logs, arrived, under_way) = (Mutex::default(), Notify::new(), Mutex::default());
        Arc::new(Self { world, partitions, logs, arrived, under_way, outage_until })
    }

    pub(crate) fn store(&self, topic: Topic, partition: Partition, record: Record) -> Offset {
        let mut logs = self.logs.lock().unwrap();
        let log = logs.entry((topic.name(), partition)).or_default();
        let offset = log.records.len() as Offset;
        let id = record.headers.get("ce_id").unwrap_or_default();
        let id = String::from_utf8_lossy(id);
        self.world.note(format_args!("append {}/{partition}/{offset} {id}", topic.name()));
        log.records.push(Stored { partition, offset, record });
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
        self.logs.lock().unwrap().get(&(topic.name(), partition)).map_or(0, |log| log.records.len() as Offset)
    }

    /// All that ever was stored, by partition and in order.
    pub(crate) fn all(&self, topic: Topic) -> Vec<Stored> {
        let logs = self.logs.lock().unwrap();
        let of_topic = (0..self.partitions).filter_map(|number| logs.get(&(topic.name(), number)));
        of_topic.flat_map(|log| &log.records).cloned().collect()
    }

    /// What a reader that begins now finds.
    pub(crate) fn kept(&self, topic: Topic) -> Vec<Stored> {
        let logs = self.logs.lock().unwrap();
        let of_topic = (0..self.partitions).filter_map(|number| logs.get(&(topic.name(), number)));
        let kept = |log: &Log| -> Vec<Stored> {
            log.records.iter().filter(|stored| !log.gone.contains(&stored.offset)).cloned().collect()
        };
        of_topic.flat_map(kept).collect()
    }

    pub(crate) fn read(&self, topic: Topic, number: Partition, from: Offset, records_max: usize) -> Vec<Stored> {
        let logs = self.logs.lock().unwrap();
        let Some(log) = logs.get(&(topic.name(), number)) else { return Vec::new() };
        let records = log.records.iter().skip(from as usize).filter(|stored| !log.gone.contains(&stored.offset));
        records.take(records_max).cloned().collect()
    }

    /// Removes what has a later record of its key, up to some place.
    pub(crate) fn compact(&self) {
        let mut logs = self.logs.lock().unwrap();
        for number in 0..self.partitions {
            let Some(log) = logs.get_mut(&(Topic::Views.name(), number)) else { continue };
            let until = self.world.below(log.records.len() as u64 + 1);
            let mut last: BTreeMap<&Bytes, Offset> = BTreeMap::new();
            for stored in log.records.iter().take(until as usize) {
                if let Some(before) = last.insert(&stored.record.key, stored.offset) {
                    log.gone.insert(before);
                }
            }
            if self.world.lacks(Part::DeletionView) {
                // As a null value would go.
                let is_deletion =
                    |stored: &&Stored| stored.record.headers.get("ce_type").unwrap_or_default().ends_with(b".deleted");
                let old = log.records.iter().take(until as usize).filter(is_deletion).map(|stored| stored.offset);
                log.gone.extend(old);
            }
            self.world.note(format_args!("compact {number} until {until}"));
        }
    }

    pub(crate) fn is_out(&self) -> bool {
        *self.outage_until.lock().unwrap() > Instant::now()
    }

    /// A command comes once more, and one write in four by a partition that is not its key's.
    fn again(self: &Arc<Self>, number: Partition, record: Record) {
        let kind = record.headers.get("ce_type").unwrap_or_default();
        let is_write = [&b".create"[..], b".update", b".delete"].iter().any(|write| kind.ends_with(write));
        let number = if is_write && self.world.below(4) == 0 { (number + 1) % self.partitions } else { number };
        let record = if self.world.lacks(Part::Dedupe) { tamper::renamed(&self.world, &record) } else { record };
        self.later(number, record, self.world.millis(3000));
    }

    /// A command comes by this partition, after a while.
    #[allow(clippy::disallowed_methods, reason = "the broker is no process of the simulation")]
    pub(crate) fn later(self: &Arc<Self>, number: Partition, record: Record, late: Duration) {
        let broker = Arc::clone(self);
        *broker.under_way.lock().unwrap() += 1;
        tokio::spawn(async move {
            sleep(late).await;
            broker.store(Topic::Commands, number, record);
            *broker.under_way.lock().unwrap() -= 1;
        });
    }
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

impl Fate {
    fn draw(broker: &Broker) -> Self {
        let world = &broker.world;
        if broker.is_out() {
            return if world.below(2) == 0 { Self::Refused } else { Self::Late(None) };
        }
        match world.below(4) {
            _ if !world.fails(15) => Self::Stored,
            0 => Self::Refused,
            1 => Self::Unanswered,
            2 => Self::Late(None),
            _ => Self::Late(Some(world.millis(30_000))),
        }
    }
}

/// Sends a record: it arrives though nobody waits for it, unless its process dies first.
#[allow(clippy::disallowed_methods, reason = "the broker is no process of the simulation")]
pub(crate) fn send(
    client: &Client,
    topic: Topic,
    record: Record,
) -> tokio::task::JoinHandle<Result<(Partition, Offset), AppendError>> {
    let (broker, process) = (Arc::clone(&client.broker), Arc::clone(&client.process));
    let number = partition::of_key(&record.key, broker.partitions);
    let (fate, due) = (Fate::draw(&broker), client.due((topic.name(), number)));
    // Of what a dead process had sent, some is in the network.
    let survives = broker.world.below(2) == 0;
    let forgotten = broker.world.lacks(Part::Durability) && topic == Topic::Commands && broker.world.fails(50);
    // What the record leads to may come before its acknowledgement.
    let acknowledged = broker.world.millis(if broker.world.below(4) == 0 { 120 } else { 4 });
    *broker.under_way.lock().unwrap() += 1;
    tokio::spawn(async move {
        sleep(due.duration_since(Instant::now())).await;
        // It may have been paused since.
        process.awake().await;
        let lost = process.is_dead() && !survives;
        let unknown = || Err(AppendError::Unknown("no answer came in time".to_owned()));
        let result = match fate {
            Fate::Stored if forgotten => Ok((number, broker.end(topic, number))),
            Fate::Stored if !lost => {
                if topic == Topic::Commands && broker.world.fails(20) {
                    broker.again(number, record.clone());
                }
                let offset = broker.store(topic, number, record);
                sleep(acknowledged).await;
                Ok((number, offset))
            }
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
