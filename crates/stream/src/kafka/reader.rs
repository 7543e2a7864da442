//! Consumers that read partitions by assignment, shared by tails.
//!
//! A consumer costs a thread per broker and a connection each, so the tails of a topic share one: each has its partition
//! split off into a queue of its own, with librdkafka's flow control per partition, and is woken when the queue is no
//! longer empty. A consumer reads a partition from one place only, so a second tail of a partition gets the next
//! consumer. A consumer ends with its last tail.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use contract::{Offset, Partition, Topic};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use tokio::sync::Notify;

use super::link::{Context, Link};
use super::options::Options;
use super::{dispose, names};

/// Callbacks served at once.
const SERVED_MAX: usize = 16;

/// All consumers in use.
pub(super) struct Readers {
    options: Options,
    link: Arc<Link>,
    used: Mutex<HashMap<Topic, Vec<Weak<Reader>>>>,
}

/// One consumer of one topic.
pub(super) struct Reader {
    topic: String,
    consumer: Option<Arc<BaseConsumer<Context>>>,
    taken: Mutex<HashSet<Partition>>,
    /// It gave nothing though there was more: nobody new reads with it.
    lost: AtomicBool,
}

/// A partition's queue. Dropping it ends the reading.
pub(super) struct Split {
    pub(super) queue: PartitionQueue<Context>,
    pub(super) news: Arc<Notify>,
    lease: Lease,
}

/// A partition of a reader that is taken.
struct Lease {
    reader: Arc<Reader>,
    partition: Partition,
}

impl Readers {
    pub(super) fn new(options: &Options, link: &Arc<Link>) -> Self {
        Self { options: options.clone(), link: Arc::clone(link), used: Mutex::default() }
    }

    /// Begins to read a partition.
    pub(super) fn split(&self, topic: Topic, partition: Partition, from: Offset) -> KafkaResult<Split> {
        let lease = self.lease(topic, partition)?;
        let consumer = lease.reader.consumer.as_ref().ok_or(KafkaError::Canceled)?;
        let (name, number) = (&lease.reader.topic, i32::try_from(partition).unwrap_or(i32::MAX));
        let mut queue = consumer.split_partition_queue(name, number).ok_or(KafkaError::Canceled)?;
        let news = Arc::new(Notify::new());
        let told = Arc::clone(&news);
        queue.set_nonempty_callback(move || told.notify_one());
        let mut list = TopicPartitionList::new();
        let offset = rdkafka::Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        list.add_partition_offset(name, number, offset)?;
        // After the split: what is fetched never lands in the consumer's own queue.
        consumer.incremental_assign(&list)?;
        Ok(Split { queue, news, lease })
    }

    fn lease(&self, topic: Topic, partition: Partition) -> KafkaResult<Lease> {
        let mut used = lock(&self.used);
        let readers = used.entry(topic).or_default();
        readers.retain(|reader| reader.strong_count() > 0);
        for reader in readers.iter().filter_map(Weak::upgrade).filter(|reader| !reader.lost.load(Ordering::SeqCst)) {
            if lock(&reader.taken).insert(partition) {
                return Ok(Lease { reader, partition });
            }
        }
        let context = Context { link: Arc::clone(&self.link), is_producer: false };
        let consumer = self.options.reader().create_with_context(context)?;
        let taken = Mutex::new(HashSet::from([partition]));
        let (topic, consumer, lost) = (self.options.topic(topic), Some(Arc::new(consumer)), AtomicBool::new(false));
        let reader = Arc::new(Reader { topic, consumer, taken, lost });
        readers.push(Arc::downgrade(&reader));
        Ok(Lease { reader, partition })
    }

    /// Those in use.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<Arc<Reader>> {
        lock(&self.used).values().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Serves the consumers' callbacks.
    pub(super) fn serve(&self) {
        let readers: Vec<_> = lock(&self.used).values().flatten().filter_map(Weak::upgrade).collect();
        for reader in readers {
            let Some(consumer) = &reader.consumer else { continue };
            serve(consumer);
        }
    }
}

#[cfg(test)]
impl Reader {
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Nothing comes any more, as with a consumer that has lost its way.
    pub(super) fn lose_the_way(&self) {
        let consumer = self.consumer.as_ref().unwrap();
        consumer.pause(&consumer.assignment().unwrap()).unwrap();
    }
}

impl Split {
    /// Its consumer has lost its way: others that read with it will find out too.
    pub(super) fn abandon(self) {
        if !self.lease.reader.lost.swap(true, Ordering::SeqCst) {
            metrics::counter!(names::RENEWED, "client" => "reader").increment(1);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(consumer) = &self.reader.consumer {
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.reader.topic, i32::try_from(self.partition).unwrap_or(i32::MAX));
            if let Err(error) = consumer.incremental_unassign(&list) {
                // It is not assigned where the assignment failed.
                tracing::debug!(partition = self.partition, %error, "a partition was not given back");
            }
        }
        lock(&self.reader.taken).remove(&self.partition);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // To end it takes a while.
        dispose(self.consumer.take());
    }
}

/// Serves a consumer's callbacks; what was served is not told, so a poll that gives nothing is not the last.
pub(super) fn serve(consumer: &BaseConsumer<Context>) {
    for _ in 0..SERVED_MAX {
        drop(consumer.poll(Duration::ZERO));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
