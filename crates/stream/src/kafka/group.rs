//! Membership of a consumer group.
//!
//! A thread polls the group's consumer, so a member whose owner is busy is not thrown out. That consumer reads nothing:
//! what is assigned is paused at once, and read by tails from where the owner says. A partition that is to be given up
//! goes only once the owner asked for the next change, which says that it has let go, or after [`RELEASE_LIMIT`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::{Offset, Partition, Topic};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::{mpsc, watch};

use super::link::{self, Context};
use super::{Shared, names, unavailable};
use crate::{Change, Membership, StreamError, Tail};

/// How long the owner may take to let go of partitions; longer than a store's grace, shorter than a session.
const RELEASE_LIMIT: Duration = Duration::from_millis(1500);
const POLL_LIMIT: Duration = Duration::from_millis(100);
/// Changes that the owner has not asked for yet. Beyond it the group waits.
const CHANGES_MAX: usize = 64;

/// A change, and for a revocation its number.
type Told = (Result<Change, StreamError>, Option<u64>);

/// See the module.
pub(super) struct KafkaMembership {
    shared: Arc<Shared>,
    topic: Topic,
    group: String,
    /// What the member's thread will have, until there are topics to subscribe to.
    waiting: Option<Member>,
    changes: mpsc::Receiver<Told>,
    assigned: Arc<Mutex<Assigned>>,
    /// The revocation that was given out last, until the owner has let go.
    owed: Option<u64>,
    released: blocking::Sender<u64>,
    left: Arc<AtomicBool>,
    closed: watch::Receiver<bool>,
}

/// What each partition's tails listen to.
type Assigned = HashMap<Partition, watch::Sender<bool>>;

/// What librdkafka calls back, in the member's thread.
struct Member {
    context: Context,
    changes: mpsc::Sender<Told>,
    assigned: Arc<Mutex<Assigned>>,
    released: Mutex<blocking::Receiver<u64>>,
    revocations: Mutex<u64>,
    left: Arc<AtomicBool>,
}

impl KafkaMembership {
    pub(super) fn new(shared: &Arc<Shared>, group: &str, topic: Topic) -> Self {
        let (tell, changes) = mpsc::channel(CHANGES_MAX);
        let (released, receive) = blocking::channel();
        let (assigned, left) = (Arc::<Mutex<Assigned>>::default(), Arc::<AtomicBool>::default());
        let member = Member {
            context: Context { link: Arc::clone(&shared.link), is_producer: false },
            changes: tell,
            assigned: Arc::clone(&assigned),
            released: Mutex::new(receive),
            revocations: Mutex::new(0),
            left: Arc::clone(&left),
        };
        let (shared, group, waiting) = (Arc::clone(shared), group.to_owned(), Some(member));
        let (owed, closed) = (None, shared.closed.subscribe());
        Self { shared, topic, group, waiting, changes, assigned, owed, released, left, closed }
    }

    /// Joins, once there are topics: to a member that was there before them the group would give nothing for long.
    async fn begin(&mut self) -> Result<(), StreamError> {
        self.shared.topology().await?;
        let Some(member) = self.waiting.take() else { return Ok(()) };
        let options = &self.shared.options;
        let consumer: BaseConsumer<Member> =
            options.member(&self.group).create_with_context(member).map_err(unavailable)?;
        let (name, closed) = (options.topic(self.topic), self.closed.clone());
        let is_there = self.shared.members.subscribe();
        let thread = std::thread::Builder::new().name(format!("kafka-{}", self.group));
        let poll = move || {
            run(&consumer, &name, &closed);
            // Leaves the group, and waits for the broker's word.
            drop(consumer);
            drop(is_there);
        };
        thread.spawn(poll).map_err(unavailable)?;
        Ok(())
    }
}

/// Polls until the owner has left or the stream is closed.
fn run(consumer: &BaseConsumer<Member>, topic: &str, closed: &watch::Receiver<bool>) {
    let member = consumer.context();
    if let Err(error) = consumer.subscribe(&[topic]) {
        member.fail(&error);
        return;
    }
    let mut failing = None;
    while !member.left.load(Ordering::SeqCst) && !*closed.borrow() && closed.has_changed().is_ok() {
        // Records cannot come: everything is paused.
        let Some(Err(error)) = consumer.poll(POLL_LIMIT) else { continue };
        let code = error.rdkafka_error_code();
        // Told once in a row, for librdkafka tries again by itself.
        if failing != code {
            failing = code;
            member.fail(&error);
        }
    }
    member.left.store(true, Ordering::SeqCst);
}

impl Member {
    fn assigned(&self) -> MutexGuard<'_, Assigned> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::Resolve) => {}
            Some(Code::AutoOffsetReset | Code::PartitionEOF) => {}
            // Where the owner is that far behind it has other news to take.
            _ => drop(self.changes.try_send((Err(unavailable(error)), None))),
        }
    }

    fn gain(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> Result<(), KafkaError> {
        // Nothing is read by this consumer, so the place does not matter; it must be one that exists.
        list.set_all_offsets(rdkafka::Offset::End)?;
        consumer.incremental_assign(list)?;
        consumer.pause(list)?;
        let partitions = numbers(list);
        tracing::info!(?partitions, "partitions were assigned");
        for partition in &partitions {
            self.assigned().insert(*partition, watch::Sender::new(false));
        }
        self.tell(Change::Assigned(partitions), None);
        Ok(())
    }

    fn lose(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let partitions = numbers(list);
        let lost = consumer.assignment_lost();
        tracing::info!(?partitions, lost, "partitions were revoked");
        for partition in &partitions {
            if let Some(revoked) = self.assigned().remove(partition) {
                revoked.send_replace(true);
            }
        }
        let number = {
            let mut revocations = self.revocations.lock().unwrap_or_else(PoisonError::into_inner);
            *revocations += 1;
            *revocations
        };
        let told = !partitions.is_empty() && self.tell(Change::Revoked(partitions), Some(number));
        // Of what was lost others may be the owners already.
        if told && !lost {
            self.wait_for(number);
        }
        consumer.incremental_unassign(list)
    }

    /// False where nobody listens any more.
    fn tell(&self, change: Change, number: Option<u64>) -> bool {
        let nothing =
            matches!(&change, Change::Assigned(partitions) | Change::Revoked(partitions) if partitions.is_empty());
        metrics::counter!(names::REBALANCES).increment(1);
        !self.left.load(Ordering::SeqCst) && !nothing && self.changes.blocking_send((Ok(change), number)).is_ok()
    }

    /// Until the owner has let go of what this revocation took, or has gone.
    fn wait_for(&self, number: u64) {
        let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match released.recv_timeout(RELEASE_LIMIT) {
                Ok(done) if done < number => {}
                Ok(_) | Err(blocking::RecvTimeoutError::Disconnected) => return,
                Err(blocking::RecvTimeoutError::Timeout) => {
                    tracing::warn!("partitions are given up though their owner has not let go of them");
                    return;
                }
            }
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        link::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.gain(consumer, list),
            _ => self.lose(consumer, list),
        };
        if let Err(error) = done {
            tracing::error!(%error, "a rebalance failed");
        }
    }
}

fn numbers(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().filter_map(|element| Partition::try_from(element.partition()).ok()).collect()
}

#[async_trait::async_trait]
impl Membership for KafkaMembership {
    async fn next(&mut self) -> Result<Change, StreamError> {
        if let Some(number) = self.owed.take() {
            // Fails where the thread has ended.
            let _ = self.released.send(number);
        }
        if self.waiting.is_some() {
            self.begin().await?;
        }
        let told = tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => return Err(StreamError::Closed),
            told = self.changes.recv() => told,
        };
        let Some((change, number)) = told else { return Err(StreamError::Closed) };
        self.owed = number;
        change
    }

    async fn read(&mut self, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        let revoked = {
            let assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
            assigned.get(&partition).map(watch::Sender::subscribe)
        };
        let revoked = revoked.ok_or(StreamError::Revoked)?;
        Ok(Box::new(self.shared.tail(self.topic, partition, from, Some(revoked)).await?))
    }
}

impl Drop for KafkaMembership {
    fn drop(&mut self) {
        self.left.store(true, Ordering::SeqCst);
        // Tails of this member end with it.
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, revoked) in assigned.drain() {
            revoked.send_replace(true);
        }
    }
}
