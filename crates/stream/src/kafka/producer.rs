//! Appends: one idempotent producer, replaced when it has failed for good, or gets nowhere while others do.
//!
//! What a failed append means for its record:
//!
//! | error | where | means |
//! |---|---|---|
//! | queue full | hand-over | refused: `Overloaded` |
//! | message too large | hand-over | refused: `TooLarge` |
//! | any other | hand-over | refused: `Unavailable` |
//! | `MESSAGE_TOO_LARGE`, `RECORD_LIST_TOO_LARGE` | broker | checked before the log is written, every time: `TooLarge` |
//! | `INVALID_RECORD`, `POLICY_VIOLATION` | broker | likewise: `Unavailable` |
//! | `TOPIC_`, `CLUSTER_AUTHORIZATION_FAILED`, purged from the queue, unknown topic or partition | broker, client | not stored, unless an earlier sending was and its answer was lost: `Unavailable` where no connection was lost meanwhile, else `Unknown` |
//! | `NOT_ENOUGH_REPLICAS` | broker | librdkafka tries again until the time is up, so what is seen is the time-out |
//! | `NOT_ENOUGH_REPLICAS_AFTER_APPEND`, time-outs, purged in flight, fatal, everything else | both | `Unknown` |

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use contract::{Env, Offset, Partition, Record, Topic};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::link::{Context, Link};
use super::options::Options;
use super::{OpenError, dispose, names, record};
use crate::AppendError;

/// How long a closing producer may take over what waits.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

pub(super) type Inner = FutureProducer<Context>;

/// See the module.
pub(super) struct Producer {
    options: Options,
    link: Arc<Link>,
    env: Arc<dyn Env>,
    current: RwLock<Option<Arc<Inner>>>,
}

impl Producer {
    pub(super) fn new(options: &Options, link: &Arc<Link>, env: &Arc<dyn Env>) -> Result<Self, OpenError> {
        let (options, link, env) = (options.clone(), Arc::clone(link), Arc::clone(env));
        let inner = create(&options, &link).map_err(|error| OpenError(error.to_string()))?;
        Ok(Self { options, link, env, current: RwLock::new(Some(Arc::new(inner))) })
    }

    /// Sends a record to a partition and waits for the broker. The caller has checked its size.
    pub(super) async fn append(
        &self,
        topic: Topic,
        partition: Partition,
        record: &Record,
    ) -> Result<(Partition, Offset), AppendError> {
        if let Some(reason) = self.link.refuses(topic, partition) {
            return Err(AppendError::Unavailable(reason));
        }
        let (losses, handed) = (self.link.losses(), self.env.monotonic());
        let (producer, sent) = {
            // Held until it is handed over: nothing may come to a producer after it was replaced.
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            let producer = current.as_ref().ok_or_else(|| AppendError::Unavailable("it is closed".to_owned()))?;
            (Arc::clone(producer), send(producer, &self.options.topic(topic), partition, record))
        };
        let delivery = sent.map_err(|error| {
            self.replace_if_fatal(&producer);
            refused(&error, record, &self.options)
        })?;
        match delivery.await {
            Ok(Ok(delivery)) => Ok((partition, u64::try_from(delivery.offset).unwrap_or(0))),
            Ok(Err((error, _))) => {
                self.link.look.notify_one();
                self.replace_if_fatal(&producer);
                if error.rdkafka_error_code() == Some(Code::MessageTimedOut) {
                    self.replace_if_lost(&producer, self.env.monotonic().saturating_sub(handed));
                }
                Err(failed(&error, record, &self.options, self.link.losses() != losses))
            }
            Err(_) => Err(AppendError::Unknown("the producer ended".to_owned())),
        }
    }

    /// A producer with a fatal error takes nothing any more. What it held is answered as unknown.
    fn replace_if_fatal(&self, failed: &Arc<Inner>) {
        let Some((code, reason)) = failed.client().fatal_error() else { return };
        if self.replace(failed) {
            tracing::error!(%code, reason, "the producer failed; another takes its place");
            metrics::counter!(names::PRODUCERS).increment(1);
        }
    }

    /// A producer that could not deliver in so long, while brokers answered others and every partition had its leader, has
    /// lost its way, or there are too few replicas in sync, where another one does no harm. What it still holds is given up at
    /// once, as unknown: were it delivered later, it would come behind what the next one sends.
    fn replace_if_lost(&self, lost: &Arc<Inner>, waited: Duration) {
        if self.link.is_whole_for(waited) && self.replace(lost) {
            tracing::warn!("the producer delivered nothing in time though brokers answer; another takes its place");
            metrics::counter!(names::RENEWED, "client" => "producer").increment(1);
            // Of what is taken from its queue it is not known whether it was sent before.
            self.link.lose();
            lost.purge(PurgeConfig::default().queue().inflight());
        }
    }

    /// Whether it was in use still: another append may have replaced it already, or it was closed.
    fn replace(&self, failed: &Arc<Inner>) -> bool {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, failed)) {
            return false;
        }
        match create(&self.options, &self.link) {
            Ok(inner) => dispose(current.replace(Arc::new(inner))),
            Err(error) => {
                tracing::error!(%error, "no other producer can be made");
                return false;
            }
        }
        true
    }

    #[cfg(test)]
    pub(super) fn current(&self) -> Option<Arc<Inner>> {
        self.current.read().unwrap().clone()
    }

    /// Takes nothing more, and waits a little for what it has. Blocks.
    pub(super) fn close(&self) {
        let current = self.current.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(producer) = current else { return };
        if producer.flush(FLUSH_LIMIT).is_err() {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
        drop(producer);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // To end it takes a while.
        dispose(self.current.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn create(options: &Options, link: &Arc<Link>) -> Result<Inner, KafkaError> {
    options.producer().create_with_context(Context { link: Arc::clone(link), is_producer: true })
}

fn send(
    producer: &Inner,
    topic: &str,
    partition: Partition,
    record: &Record,
) -> Result<rdkafka::producer::DeliveryFuture, KafkaError> {
    let message = FutureRecord::to(topic)
        .partition(i32::try_from(partition).unwrap_or(i32::MAX))
        .key(&record.key[..])
        .payload(&record.value[..])
        .headers(record::headers(&record.headers));
    producer.send_result(message).map_err(|(error, _)| error)
}

fn too_large(record: &Record, options: &Options) -> AppendError {
    let size_bytes_max = options.record_bytes_max(options.message_bytes_max);
    AppendError::TooLarge { size_bytes: record.size_bytes(), size_bytes_max }
}

/// It was not handed over.
fn refused(error: &KafkaError, record: &Record, options: &Options) -> AppendError {
    match error.rdkafka_error_code() {
        Some(Code::QueueFull) => AppendError::Overloaded,
        Some(Code::MessageSizeTooLarge) => too_large(record, options),
        _ => AppendError::Unavailable(error.to_string()),
    }
}

/// It was handed over. `lost` says that it may have been sent more than once.
fn failed(error: &KafkaError, record: &Record, options: &Options, lost: bool) -> AppendError {
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => too_large(record, options),
        Some(Code::InvalidRecord | Code::PolicyViolation) => AppendError::Unavailable(error.to_string()),
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::PurgeQueue
            | Code::UnknownTopic
            | Code::UnknownPartition,
        ) if !lost => AppendError::Unavailable(reason(error)),
        _ => AppendError::Unknown(error.to_string()),
    }
}

fn reason(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => {
            "not allowed to write the topic; allow this user WRITE on it".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The word for an append's outcome in metrics.
pub(super) fn outcome(result: &Result<(Partition, Offset), AppendError>) -> &'static str {
    match result {
        Ok(_) => "stored",
        Err(AppendError::TooLarge { .. }) => "too_large",
        Err(AppendError::Overloaded) => "overloaded",
        Err(AppendError::Full) => "full",
        Err(AppendError::Unavailable(_)) => "refused",
        Err(AppendError::Unknown(_)) => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_doubt_is_unknown() {
        let record = Record { key: "a".into(), headers: contract::Headers::default(), value: "b".into() };
        let failed = |code, lost| failed(&KafkaError::MessageProduction(code), &record, &Options::default(), lost);
        for code in [Code::MessageTimedOut, Code::PurgeInflight, Code::NotEnoughReplicasAfterAppend, Code::Fatal] {
            assert!(matches!(failed(code, false), AppendError::Unknown(_)), "{code:?}");
        }
        assert!(matches!(failed(Code::MessageSizeTooLarge, true), AppendError::TooLarge { .. }));
        assert!(matches!(failed(Code::TopicAuthorizationFailed, false), AppendError::Unavailable(_)));
        assert!(matches!(failed(Code::TopicAuthorizationFailed, true), AppendError::Unknown(_)));
    }
}
