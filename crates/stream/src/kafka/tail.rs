//! A reader of one partition.

use std::sync::Arc;
use std::time::Duration;

use contract::{Offset, Partition, Stored, Topic};
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::watch;

use super::reader::Split;
use super::{Shared, mark, record, refused, unavailable};
use crate::{StreamError, Tail};

/// The most bytes of one batch, if it has more than one record.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How often the queue is looked at though nothing was told of it.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How long to wait before a partition is read again after an error.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct KafkaTail {
    shared: Arc<Shared>,
    topic: Topic,
    partition: Partition,
    /// The offset after the last record given.
    position: Offset,
    /// None while it must be begun again.
    split: Option<Split>,
    /// The end was reached, and whether that was told.
    at_end: bool,
    told: bool,
    failed: Option<KafkaError>,
    course: Course,
    closed: watch::Receiver<bool>,
    revoked: Option<watch::Receiver<bool>>,
}

/// Whether the reader gets anywhere.
///
/// The end of the partition is asked for where nothing was read for [`LOST_AFTER`]. If what lay before it is still not read when
/// it is asked for again, the reader has lost its way: others were answered all the time. Offsets without a record behind the
/// last one are no such case once a reader has said that it is at the end.
struct Course {
    /// When something was read, or the end was asked for.
    looked: Duration,
    /// The end as it was then.
    end: Offset,
    /// Before this offset there is nothing but what was read.
    clear: Offset,
}

impl KafkaTail {
    /// The caller has checked the position.
    pub(super) fn new(
        shared: &Arc<Shared>,
        topic: Topic,
        partition: Partition,
        from: Offset,
        revoked: Option<watch::Receiver<bool>>,
    ) -> Result<Self, StreamError> {
        let split = Some(shared.readers.split(topic, partition, from).map_err(unavailable)?);
        let (shared, closed) = (Arc::clone(shared), shared.closed.subscribe());
        let (position, at_end, told, failed) = (from, false, false, None);
        let course = Course { looked: shared.env.monotonic(), end: 0, clear: 0 };
        Ok(Self { shared, topic, partition, position, split, at_end, told, failed, course, closed, revoked })
    }

    fn ended(&self) -> Option<StreamError> {
        if *self.closed.borrow() {
            return Some(StreamError::Closed);
        }
        let revoked = self.revoked.as_ref().is_some_and(|revoked| *revoked.borrow() || revoked.has_changed().is_err());
        revoked.then_some(StreamError::Revoked)
    }

    /// What librdkafka has fetched.
    fn fetched(&mut self, records_max: usize) -> Vec<Stored> {
        let (mut records, mut size_bytes) = (Vec::new(), 0);
        let Some(split) = &self.split else { return records };
        while records.len() < records_max.max(1) && size_bytes < BATCH_BYTES_MAX {
            match split.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let offset = u64::try_from(message.offset()).unwrap_or(0);
                    if offset < self.position {
                        continue;
                    }
                    self.position = offset + 1;
                    self.course.looked = self.shared.env.monotonic();
                    if mark::is_mark(self.topic, message.key()) {
                        continue;
                    }
                    let record = record::record(&message);
                    size_bytes += record.size_bytes();
                    records.push(Stored { partition: self.partition, offset, record });
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.at_end = true;
                    self.course.clear = self.course.end;
                    // Once it was told, what lies behind it is taken as well: the queue calls only when it was empty, so
                    // a record that is left there waits until somebody looks.
                    if !self.told {
                        break;
                    }
                }
                Some(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        records
    }

    /// What an error of the partition means; none where reading can go on.
    async fn explain(&mut self, error: KafkaError) -> Option<StreamError> {
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::LogTruncation | Code::OffsetOutOfRange) => {
                match self.shared.check(self.topic, self.partition, self.position).await {
                    Err(error @ StreamError::OutOfRange { .. }) => Some(error),
                    // An error of an earlier reading, or the broker did not know better yet: begin again.
                    _ => {
                        tracing::debug!(topic = self.topic.name(), partition = self.partition, %error, "reading again");
                        self.split = None;
                        None
                    }
                }
            }
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut) => None,
            _ => Some(refused(&error, &format!("topic {}", self.shared.options.topic(self.topic)))),
        }
    }

    /// Begins again with another consumer where this one has lost its way.
    async fn look_around(&mut self) {
        if self.shared.env.monotonic().saturating_sub(self.course.looked) < self.shared.lost_after {
            return;
        }
        let asked = self.shared.bounds(self.topic, self.partition..self.partition + 1).await;
        self.course.looked = self.shared.env.monotonic();
        let Some(end) = asked.ok().and_then(|bounds| Some(bounds.first()?.end)) else {
            // No wonder that nothing is read.
            self.course.end = 0;
            return;
        };
        let before = std::mem::replace(&mut self.course.end, end);
        if before > self.position.max(self.course.clear)
            && let Some(split) = self.split.take()
        {
            let (topic, partition, position) = (self.topic.name(), self.partition, self.position);
            tracing::warn!(topic, partition, position, end, "a reader got nowhere; another takes its place");
            split.abandon();
        }
    }

    /// Waits until it makes sense to look again.
    async fn wait(&mut self) {
        let env = Arc::clone(&self.shared.env);
        let news = async {
            match &self.split {
                Some(split) => {
                    tokio::select! {
                        () = split.news.notified() => {}
                        () = env.sleep(LOOK_AFTER) => {}
                    }
                }
                None => env.sleep(AGAIN_AFTER).await,
            }
        };
        let revoked = async {
            match &mut self.revoked {
                // An error is the membership's end.
                Some(revoked) => drop(revoked.wait_for(|revoked| *revoked).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = news => {}
            () = revoked => {}
            _ = self.closed.wait_for(|closed| *closed) => {}
        }
    }
}

#[async_trait::async_trait]
impl Tail for KafkaTail {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Stored>, StreamError> {
        loop {
            if let Some(error) = self.ended() {
                return Err(error);
            }
            if self.split.is_none() {
                self.failed = None;
                let split = self.shared.readers.split(self.topic, self.partition, self.position);
                self.split = Some(split.map_err(unavailable)?);
            }
            if self.failed.is_none() {
                let records = self.fetched(records_max);
                if !records.is_empty() {
                    return Ok(records);
                }
            }
            if self.at_end && !std::mem::replace(&mut self.told, self.at_end) {
                return Ok(Vec::new());
            }
            // Kept until it is explained: this future may be dropped meanwhile.
            if let Some(error) = self.failed.clone() {
                let explained = self.explain(error).await;
                self.failed = None;
                if let Some(error) = explained {
                    return Err(error);
                }
            }
            self.look_around().await;
            self.wait().await;
        }
    }
}
