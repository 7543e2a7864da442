//! What was committed leaves for the stream: in order, without waiting for each, until all of it is acknowledged.
//!
//! Appends are handed to the stream one after another without waiting for the one before (the stream keeps the order of
//! appends of which none fails). Their acknowledgements come in order; the last one in an unbroken row is the *watermark*.
//! Where one fails, those after it may have been stored: a key's lower version could then come last. So everything from
//! the failed one on is appended again, in order, after those under way have ended. A repeat is the same event (same
//! `ce_id`); what matters is that the last copy of each key's events comes in order.
//!
//! A *run* is such an unbroken row of appends, and its name goes with each record. A copy from an earlier run that the
//! stream stores late, after a time-out, is thereby told from this run's records, and `repair` sees to it.
//!
//! Events wait in memory within a bound ([`BYTES_MAX`]); over it, who has more waits, and reads no commands meanwhile.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use contract::wire::cloudevents::with_run;
use contract::{Env, Offset, Partition, Record, Topic};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use stream::{AppendError, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::worker::End;
use super::{Backoff, names};
use crate::database::Marks;

/// Bytes of events that wait for their acknowledgement, per partition.
pub(super) const BYTES_MAX: usize = 16 << 20;
/// What an event counts, at least.
const BYTES_MIN: usize = 1024;

type Append = Pin<Box<dyn Future<Output = Result<(), AppendError>> + Send>>;

enum Entry {
    Event {
        topic: Topic,
        record: Record,
        /// None for a repair, which the outbox does not have.
        sequence: Option<u64>,
        /// Room in memory, given back with the acknowledgement.
        _room: OwnedSemaphorePermit,
    },
    /// Once everything before is acknowledged, the views before this offset are in order.
    Repaired(Offset),
}

/// Sends what it is given; driven by its owner.
pub(super) struct Publisher {
    stream: Arc<dyn Stream>,
    env: Arc<dyn Env>,
    partition: Partition,
    given: mpsc::UnboundedReceiver<Entry>,
    /// Not acknowledged yet, in order.
    entries: VecDeque<Entry>,
    /// The appends of `entries`' events, in the same order.
    under_way: FuturesOrdered<Append>,
    marks: watch::Sender<Marks>,
    run: watch::Sender<Arc<str>>,
    backoff: Backoff,
}

/// Gives to a [`Publisher`], and sees how far it has come.
pub(super) struct Handle {
    given: mpsc::UnboundedSender<Entry>,
    room: Arc<Semaphore>,
    pub(super) marks: watch::Receiver<Marks>,
    run: watch::Receiver<Arc<str>>,
}

fn new_run(env: &dyn Env, partition: Partition) -> Arc<str> {
    format!("{partition}/{}", env.uuid()).into()
}

/// Both ends, at the marks from which to go on.
pub(super) fn new(
    stream: Arc<dyn Stream>,
    env: Arc<dyn Env>,
    partition: Partition,
    marks: Marks,
) -> (Publisher, Handle) {
    let (sender, given) = mpsc::unbounded_channel();
    let (marks, seen) = watch::channel(marks);
    let (run, current) = watch::channel(new_run(&*env, partition));
    let (entries, under_way, backoff) = (VecDeque::new(), FuturesOrdered::new(), Backoff::default());
    let room = Arc::new(Semaphore::new(BYTES_MAX / BYTES_MIN));
    let publisher = Publisher { stream, env, partition, given, entries, under_way, marks, run, backoff };
    (publisher, Handle { given: sender, room, marks: seen, run: current })
}

impl Handle {
    /// Gives an event, once there is room for it.
    pub(super) async fn publish(&self, topic: Topic, record: Record, sequence: Option<u64>) {
        let units = record.size_bytes().div_ceil(BYTES_MIN).clamp(1, BYTES_MAX / BYTES_MIN);
        let room = Arc::clone(&self.room).acquire_many_owned(u32::try_from(units).unwrap_or(1)).await;
        // The semaphore is never closed, and the other end lives as long as this one.
        let Ok(room) = room else { return };
        drop(self.given.send(Entry::Event { topic, record, sequence, _room: room }));
    }

    /// Tells that the views before this offset are in order once everything given so far is acknowledged.
    pub(super) fn repaired(&self, offset: Offset) {
        drop(self.given.send(Entry::Repaired(offset)));
    }

    /// The run that is appended now.
    pub(super) fn run(&self) -> Arc<str> {
        Arc::clone(&self.run.borrow())
    }

    /// Completes when it has come further than was seen.
    pub(super) async fn moved(&mut self) {
        if self.marks.changed().await.is_err() {
            // It is gone, and so is who waits for it.
            std::future::pending().await
        }
    }

    /// How far it has come.
    pub(super) fn marks(&self) -> Marks {
        *self.marks.borrow()
    }
}

impl Publisher {
    /// Works as long as it is polled; ends where an event can never be appended.
    pub(super) async fn run(&mut self) -> End {
        loop {
            tokio::select! {
                biased;
                Some(result) = self.under_way.next(), if !self.under_way.is_empty() => match result {
                    Ok(()) => self.acknowledged(),
                    Err(error) => {
                        if let Err(end) = self.repeat(error).await {
                            return end;
                        }
                    }
                },
                given = self.given.recv() => match given {
                    Some(entry) => self.take(entry).await,
                    None => return std::future::pending().await,
                },
            }
        }
    }

    async fn take(&mut self, entry: Entry) {
        if let Entry::Event { topic, record, .. } = &entry {
            let append = self.append(*topic, record).await;
            self.under_way.push_back(append);
        }
        self.entries.push_back(entry);
        self.advance();
    }

    /// Hands a record to the stream, and gives back what waits for the acknowledgement.
    async fn append(&mut self, topic: Topic, record: &Record) -> Append {
        let (stream, record) = (Arc::clone(&self.stream), with_run(record, &self.run.borrow()));
        let mut append: Append = Box::pin(async move { stream.append(topic, record).await.map(drop) });
        // Polled once, here: the stream takes appends in the order in which they are first polled.
        let first = std::future::poll_fn(|context| Poll::Ready(append.as_mut().poll(context))).await;
        match first {
            Poll::Ready(result) => Box::pin(std::future::ready(result)),
            Poll::Pending => append,
        }
    }

    /// The first event is stored.
    fn acknowledged(&mut self) {
        if self.backoff.failing() {
            tracing::info!(partition = self.partition, "events leave again");
            self.backoff = Backoff::default();
        }
        if let Some(Entry::Event { sequence: Some(sequence), .. }) = self.entries.pop_front() {
            self.marks.send_modify(|marks| marks.published = sequence);
        }
        self.advance();
    }

    /// Passes what needs no acknowledgement.
    fn advance(&mut self) {
        while let Some(Entry::Repaired(offset)) = self.entries.front() {
            let offset = *offset;
            self.entries.pop_front();
            self.marks.send_modify(|marks| marks.views = marks.views.max(Some(offset)));
        }
    }

    /// After a failed append: everything from it on again, as a new run, once nothing of the old one is under way.
    async fn repeat(&mut self, error: AppendError) -> Result<(), End> {
        if let AppendError::TooLarge { .. } = error {
            return Err(End::Failed(format!(
                "an event of the outbox can never be published: {error}; raise the stream's limit (max.message.bytes), nothing is lost"
            )));
        }
        if !self.backoff.failing() {
            tracing::warn!(partition = self.partition, %error, "events cannot leave; they wait in the database and are tried again");
        }
        while self.under_way.next().await.is_some() {}
        let delay = self.backoff.next(&*self.env);
        self.env.sleep(delay).await;
        self.run.send_replace(new_run(&*self.env, self.partition));
        let entries = std::mem::take(&mut self.entries);
        for entry in &entries {
            if let Entry::Event { topic, record, .. } = entry {
                metrics::counter!(names::REPEATED).increment(1);
                let append = self.append(*topic, record).await;
                self.under_way.push_back(append);
            }
        }
        self.entries = entries;
        Ok(())
    }
}
