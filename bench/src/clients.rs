//! Bare librdkafka clients.

use anyhow::{Context as _, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList};

/// A producer that ends the process when a record is not stored, and tells of nothing else.
pub(crate) type Producer = ThreadedProducer<Strict>;

pub(crate) struct Strict;

impl ClientContext for Strict {}

impl ProducerContext for Strict {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            give_up(&format!("a record was not stored: {error}"));
        }
    }
}

/// A limit that has failed measures nothing.
pub(crate) fn give_up(reason: &str) -> ! {
    eprintln!("error: {reason}");
    std::process::exit(1);
}

/// A property of librdkafka on the command line: `NAME=VALUE`.
pub(crate) fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is wanted")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn config(brokers: &str, properties: &[(String, String)], own: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("socket.nagle.disable", "true");
    for (name, value) in own {
        config.set(*name, *value);
    }
    for (name, value) in properties {
        config.set(name, value);
    }
    config
}

/// As durable as ours: all replicas in sync, nothing twice.
pub(crate) fn producer(brokers: &str, properties: &[(String, String)]) -> KafkaResult<Producer> {
    let own = [("acks", "all"), ("enable.idempotence", "true"), ("delivery.report.only.error", "true")];
    config(brokers, properties, &own).create_with_context(Strict)
}

/// A consumer of all partitions of a topic from their beginning, by assignment.
pub(crate) fn consumer(brokers: &str, topic: &str, properties: &[(String, String)]) -> Result<(BaseConsumer, usize)> {
    // The name of a group is wanted, and that group never joined.
    let own = [("group.id", "bench"), ("enable.auto.commit", "false"), ("enable.auto.offset.store", "false")];
    let consumer: BaseConsumer = config(brokers, properties, &own).create()?;
    let metadata = consumer.fetch_metadata(Some(topic), std::time::Duration::from_secs(10))?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if partitions == 0 {
        bail!("there is no topic {topic}");
    }
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok((consumer, partitions))
}

/// What a consumer said. An error but the end of a partition ends the process.
pub(crate) fn taken(polled: Option<KafkaResult<BorrowedMessage<'_>>>) -> Option<BorrowedMessage<'_>> {
    match polled? {
        Ok(message) => Some(message),
        Err(error) => give_up(&format!("the topic cannot be read: {error}")),
    }
}

/// Makes topics as the broker's defaults have them.
pub(crate) async fn make_topics(brokers: &str, names: &[&str], partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(brokers, &[], &[]).create()?;
    let new: Vec<_> = names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(-1))).collect();
    for made in admin.create_topics(&new, &AdminOptions::new()).await? {
        made.map_err(|(name, code)| anyhow::anyhow!("topic {name}: {code}"))?;
    }
    Ok(())
}

/// The number that is a record's key.
pub(crate) fn number(message: &BorrowedMessage<'_>) -> Result<i64> {
    let key = message.key().and_then(|key| <[u8; 8]>::try_from(key).ok());
    Ok(i64::from_be_bytes(key.context("a record of somebody else")?))
}

/// Whether a consumer has reached the end of a partition.
pub(crate) fn is_end(error: &KafkaError) -> bool {
    matches!(error, KafkaError::PartitionEOF(_))
}
