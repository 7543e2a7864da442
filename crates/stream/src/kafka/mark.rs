//! The mark of a topic set: who it is, and how many partitions it was made with.
//!
//! Kafka lets the number of partitions of a topic grow, and then a key's new records lie in another partition than its
//! old ones; it also lets a topic be deleted and made again under its name. Neither leaves a trace that librdkafka could
//! ask for. So the first to use a set of topics writes a record to partition 0 of `dos.views`, the topic that keeps
//! records for ever: key `$topics:<uuid>`, an event of type `dos.topics` with `{"topics": <uuid>, "partitions": n}`.
//! The first mark in the partition counts, so two that write one at once agree afterwards; its key is its own, so no
//! compaction removes it. Tails pass over marks. Deleting `dos.views` takes the mark along: the set made then is another
//! cluster, where old positions mean nothing. A topic of a marked set that is missing was deleted, and is not made again
//! in silence.

use std::time::Duration;

use contract::{Env, Headers, Record, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Message as _, TopicPartitionList};

use super::link::Context;
use super::options::Options;
use super::{ASK_LIMIT, dispose};

const PREFIX: &[u8] = b"$topics:";
/// How long the broker may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) topics: String,
    pub(super) partitions: u32,
}

/// Whether a record is a mark and no event.
pub(super) fn is_mark(topic: Topic, key: Option<&[u8]>) -> bool {
    topic == Topic::Views && key.is_some_and(|key| key.starts_with(PREFIX))
}

impl Mark {
    pub(super) fn new(env: &dyn Env, partitions: u32) -> Self {
        Self { topics: env.uuid().to_string(), partitions }
    }

    /// The record to write.
    pub(super) fn record(&self, env: &dyn Env) -> Record {
        let Self { topics, partitions } = self;
        let time = env.now().to_string();
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_id", topics),
            ("ce_source", "/stream/kafka"),
            ("ce_type", "dos.topics"),
            ("ce_time", &time),
            ("content-type", "application/json"),
        ];
        Record {
            key: [PREFIX, topics.as_bytes()].concat().into(),
            headers: Headers::from_pairs(headers.map(|(name, value)| (name, value.as_bytes()))),
            value: format!(r#"{{"topics":"{topics}","partitions":{partitions}}}"#).into(),
        }
    }

    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let topics = std::str::from_utf8(key.strip_prefix(PREFIX)?).ok()?;
        // Written by `record` and by nothing else.
        let value = std::str::from_utf8(value).ok()?;
        let (_, partitions) = value.rsplit_once(r#""partitions":"#)?;
        let partitions = partitions.strip_suffix('}')?.trim().parse().ok()?;
        Some(Self { topics: topics.to_owned(), partitions })
    }

    /// Looks for the first mark. Blocks; in a marked set it is the first record.
    pub(super) fn find(options: &Options, context: Context) -> Result<Option<Self>, KafkaError> {
        first(options, context, Self::read)
    }
}

/// The first record of partition 0 of the views that is read as what is looked for. Blocks.
pub(super) fn first<T>(
    options: &Options,
    context: Context,
    read: impl Fn(&[u8], &[u8]) -> Option<T>,
) -> Result<Option<T>, KafkaError> {
    let consumer: BaseConsumer<Context> = options.reader().create_with_context(context)?;
    let found = search(&options.topic(Topic::Views), &consumer, read);
    // To end it takes a while.
    dispose(consumer);
    found
}

fn search<T>(
    topic: &str,
    consumer: &BaseConsumer<Context>,
    read: impl Fn(&[u8], &[u8]) -> Option<T>,
) -> Result<Option<T>, KafkaError> {
    // Where the leader is not known yet when it is asked for the beginning, it is asked again after half a second.
    consumer.fetch_metadata(Some(topic), ASK_LIMIT)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning)?;
    consumer.assign(&list)?;
    loop {
        match consumer.poll(SILENCE_MAX) {
            None => return Err(KafkaError::MessageConsumption(Code::OperationTimedOut)),
            Some(Ok(message)) => {
                let found = read(message.key().unwrap_or_default(), message.payload().unwrap_or_default());
                if found.is_some() {
                    return Ok(found);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => match error.rdkafka_error_code() {
                // Not of this partition: librdkafka goes on by itself.
                Some(Code::BrokerTransportFailure | Code::GroupAuthorizationFailed) => {}
                _ => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let key = [PREFIX, b"0198"].concat();
        let mark = Mark { topics: "0198".to_owned(), partitions: 12 };
        assert_eq!(Mark::read(&key, br#"{"topics":"0198","partitions":12}"#), Some(mark));
        assert_eq!(Mark::read(b"provider:1", br#"{"topics":"0198","partitions":12}"#), None);
        assert!(is_mark(Topic::Views, Some(&key)) && !is_mark(Topic::Replies, Some(&key)));
    }
}
