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

use contract::{Env, Offset, Partition, Topic};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientConfig, ClientContext, Statistics, TopicPartitionList};
use tokio::sync::{mpsc, watch};

use super::link::{self, Context};
use super::{Shared, dispose, names, refused, unavailable};
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
///
/// The consumer that calls may be replaced by another one.
struct Member {
    context: Context,
    env: Arc<dyn Env>,
    /// Responses that the consumer has had, and when there was another one.
    heard: Mutex<(i64, Duration)>,
    /// [`super::LOST_AFTER`]
    lost_after: Duration,
    changes: mpsc::Sender<Told>,
    /// As the brokers know it.
    group: String,
    assigned: Arc<Mutex<Assigned>>,
    released: Mutex<blocking::Receiver<u64>>,
    revocations: Mutex<u64>,
    left: Arc<AtomicBool>,
}

/// What one consumer calls back with.
struct Called {
    member: Arc<Member>,
    /// Another one has taken its place.
    retired: AtomicBool,
}

type Consumer = BaseConsumer<Called>;

impl KafkaMembership {
    pub(super) fn new(shared: &Arc<Shared>, group: &str, topic: Topic) -> Self {
        let (tell, changes) = mpsc::channel(CHANGES_MAX);
        let (released, receive) = blocking::channel();
        let (assigned, left) = (Arc::<Mutex<Assigned>>::default(), Arc::<AtomicBool>::default());
        let member = Member {
            context: Context { link: Arc::clone(&shared.link), is_producer: false },
            env: Arc::clone(&shared.env),
            heard: Mutex::default(),
            lost_after: shared.lost_after,
            changes: tell,
            group: shared.options.group(group),
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
        let (config, name) = (self.shared.options.member(&self.group), self.shared.options.topic(self.topic));
        let (member, closed) = (Arc::new(member), self.closed.clone());
        let consumer = join(&config, &name, &member).map_err(unavailable)?;
        let is_there = self.shared.members.subscribe();
        let thread = std::thread::Builder::new().name(format!("kafka-{}", self.group));
        let poll = move || {
            let consumer = run(consumer, &member, &closed, || join(&config, &name, &member));
            member.left.store(true, Ordering::SeqCst);
            // Leaves the group, and waits for the broker's word.
            drop(consumer);
            drop(is_there);
        };
        thread.spawn(poll).map_err(unavailable)?;
        Ok(())
    }
}

fn join(config: &ClientConfig, topic: &str, member: &Arc<Member>) -> Result<Consumer, KafkaError> {
    *lock(&member.heard) = (0, member.env.monotonic());
    let context = Called { member: Arc::clone(member), retired: AtomicBool::new(false) };
    let consumer: Consumer = config.create_with_context(context)?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

/// Polls until the owner has left or the stream is closed; the consumer that is left. One that hears nothing while brokers
/// answer others is replaced: to the group the other is a new member.
fn run(
    mut consumer: Consumer,
    member: &Member,
    closed: &watch::Receiver<bool>,
    join: impl Fn() -> Result<Consumer, KafkaError>,
) -> Consumer {
    let mut failing = None;
    while !member.left.load(Ordering::SeqCst) && !*closed.borrow() && closed.has_changed().is_ok() {
        if member.is_lost() {
            match join() {
                Ok(other) => {
                    tracing::warn!(
                        "the member of the group heard nothing though brokers answer; another takes its place"
                    );
                    metrics::counter!(names::RENEWED, "client" => "member").increment(1);
                    consumer.context().retired.store(true, Ordering::SeqCst);
                    member.lose_all();
                    dispose(std::mem::replace(&mut consumer, other));
                }
                Err(error) => tracing::error!(%error, "no other member can be made"),
            }
        }
        // Records cannot come: everything is paused.
        let Some(Err(error)) = consumer.poll(POLL_LIMIT) else { continue };
        let code = error.rdkafka_error_code();
        // Told once in a row, for librdkafka tries again by itself.
        if failing != code {
            failing = code;
            member.fail(&error);
        }
    }
    consumer
}

impl Member {
    /// It sends a heartbeat, or asks for its coordinator, several times a second.
    fn is_lost(&self) -> bool {
        let (_, heard) = *lock(&self.heard);
        let silent = self.env.monotonic().saturating_sub(heard);
        silent >= self.lost_after && self.context.link.is_whole_for(self.lost_after)
    }

    /// What a consumer had that is given up. Others may be the owners already.
    fn lose_all(&self) {
        let partitions: Vec<_> = {
            let mut assigned = self.assigned();
            assigned.values().for_each(|revoked| {
                revoked.send_replace(true);
            });
            assigned.drain().map(|(partition, _)| partition).collect()
        };
        let number = self.next_revocation();
        self.tell(Change::Revoked(partitions), Some(number));
    }

    fn next_revocation(&self) -> u64 {
        let mut revocations = lock(&self.revocations);
        *revocations += 1;
        *revocations
    }

    fn assigned(&self) -> MutexGuard<'_, Assigned> {
        lock(&self.assigned)
    }

    fn fail(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::Resolve) => {}
            Some(Code::AutoOffsetReset | Code::PartitionEOF) => {}
            // Where the owner is that far behind it has other news to take.
            _ => drop(self.changes.try_send((Err(refused(error, &format!("group {}", self.group))), None))),
        }
    }

    fn gain(&self, consumer: &Consumer, list: &mut TopicPartitionList) -> Result<(), KafkaError> {
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

    fn lose(&self, consumer: &Consumer, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let partitions = numbers(list);
        let lost = consumer.assignment_lost();
        tracing::info!(?partitions, lost, "partitions were revoked");
        for partition in &partitions {
            if let Some(revoked) = self.assigned().remove(partition) {
                revoked.send_replace(true);
            }
        }
        let number = self.next_revocation();
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

impl ClientContext for Called {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        link::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.member.context.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut heard = lock(&self.member.heard);
        if !self.retired.load(Ordering::SeqCst) && heard.0 != statistics.rx {
            *heard = (statistics.rx, self.member.env.monotonic());
        }
    }
}

impl ConsumerContext for Called {
    fn rebalance(&self, consumer: &Consumer, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match error {
            // What it had was given up.
            _ if self.retired.load(Ordering::SeqCst) => consumer.incremental_unassign(list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.member.gain(consumer, list),
            _ => self.member.lose(consumer, list),
        };
        if let Err(error) = done {
            tracing::error!(%error, "a rebalance failed");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
