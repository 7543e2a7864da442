//! What can be set, and how it becomes librdkafka's configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::OpenError;

/// What a broker's record needs beside the bytes that [`contract::Record::size_bytes`] counts: the frame of its batch,
/// its own lengths, and what a header takes more there than here.
const FRAME_BYTES: usize = 1024;

/// Partitions of topics that are made, unless another number is asked for. Each costs a request to the broker and a transaction of
/// the store: with one broker and 64 writers eight gave three quarters of the throughput of four (docs/adr/0008). More
/// stores than this cannot work at once.
const PARTITIONS_NEW: u32 = 4;

/// librdkafka properties that cannot be set, for the adapter's promises rest on them, and why.
const REFUSED: [(&str, &str); 25] = [
    ("acks", "an append is acknowledged by all replicas in sync"),
    ("request.required.acks", "an append is acknowledged by all replicas in sync"),
    ("enable.idempotence", "an append is never stored twice"),
    ("enable.gapless.guarantee", "a message that timed out must not end the producer"),
    ("transactional.id", "appends are not transactional"),
    ("message.max.bytes", "set message_bytes_max"),
    ("partitioner", "the partition is murmur2 of the key, on every producer"),
    ("queue.buffering.max.messages", "set queue_max"),
    ("queue.buffering.max.kbytes", "set queue_bytes_max"),
    ("message.timeout.ms", "set append_timeout"),
    ("delivery.timeout.ms", "set append_timeout"),
    ("enable.auto.commit", "positions are the store's, in its own database"),
    ("enable.auto.offset.store", "positions are the store's, in its own database"),
    ("auto.offset.reset", "a position outside the log is an error, never a silent reset"),
    ("enable.partition.eof", "the end of a partition is how a gateway knows that its views are complete"),
    ("isolation.level", "what a tail reads and what bounds say must agree"),
    ("group.id", "set the topic prefix"),
    ("group.instance.id", "members are told apart by the broker"),
    ("group.protocol", "the group uses the classic protocol"),
    ("partition.assignment.strategy", "the group is rebalanced cooperatively"),
    ("session.timeout.ms", "set session_timeout"),
    ("statistics.interval.ms", "it tells whether a member of the group hears from brokers"),
    ("bootstrap.servers", "set brokers"),
    ("metadata.broker.list", "set brokers"),
    ("allow.auto.create.topics", "set create_topics; topics that a broker makes have the wrong settings"),
];

/// How the stream on Kafka behaves.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `HOST:PORT`, several with commas.
    pub brokers: String,
    /// Stands before the names of topics and groups, so that several systems can share a cluster.
    pub topic_prefix: String,
    /// The name that brokers see in their logs and quotas.
    pub client_id: String,
    /// Makes the topics that are missing.
    pub create_topics: bool,
    /// Partitions of each topic. Not said, topics that exist have whatever number they have, and [`PARTITIONS_NEW`] those that
    /// are made; said, topics with another number are refused.
    pub partitions: Option<u32>,
    /// Replicas of each topic that is made; the broker's default where it is not said.
    pub replication: Option<u16>,
    /// `min.insync.replicas` of each topic that is made; the broker's default where it is not said.
    pub min_insync_replicas: Option<u16>,
    /// How long commands, replies and quarantined events are kept in topics that are made.
    pub retention: Duration,
    /// The most that a record may have, frame included; topics are made with this `max.message.bytes`.
    pub message_bytes_max: usize,
    /// The most appends that wait; more are refused at once.
    pub queue_max: usize,
    /// The most bytes of those.
    pub queue_bytes_max: usize,
    /// After this time an append that is not acknowledged is given up; whether it was stored is not known then. A broker
    /// that dies is replaced after nine seconds (`broker.session.timeout.ms`) and an election: it must be well above that,
    /// or what waits for the new leader is given up just before it comes.
    pub append_timeout: Duration,
    /// A member of a group that is not heard of for this long loses its partitions.
    pub session_timeout: Duration,
    /// Any other property of librdkafka; what stands here wins.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Properties hold passwords.
        let names: Vec<_> = self.properties.keys().collect();
        f.debug_struct("Options")
            .field("brokers", &self.brokers)
            .field("topic_prefix", &self.topic_prefix)
            .field("properties", &names)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topic_prefix: String::new(),
            client_id: "dos".to_owned(),
            create_topics: true,
            partitions: None,
            replication: None,
            min_insync_replicas: None,
            retention: Duration::from_secs(48 * 3600),
            message_bytes_max: 2 << 20,
            queue_max: 16_384,
            queue_bytes_max: 64 << 20,
            append_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_secs(6),
            properties: BTreeMap::new(),
        }
    }
}

impl Options {
    /// Says what is wrong, before anything is connected; never the value of a property.
    pub fn check(&self) -> Result<(), OpenError> {
        let wrong = |name: &str, reason: &str| Err(OpenError(format!("{name}: {reason}")));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(broker) = self.brokers.split(',').find(|broker| !is_address(broker.trim())) {
            return wrong(
                "brokers",
                &format!("{broker:?} is not of the form HOST:PORT (several with commas), with a port from 1 to 65535"),
            );
        }
        if self.topic_prefix.len() > 200 || !self.topic_prefix.chars().all(is_name) {
            return wrong("topic_prefix", "at most 200 of A-Z a-z 0-9 . _ - are wanted");
        }
        if self.partitions.is_some_and(|count| !(1..=1024).contains(&count)) {
            return wrong("partitions", "1 to 1024 are wanted");
        }
        if !(64 << 10..=64 << 20).contains(&self.message_bytes_max) {
            return wrong("message_bytes_max", "64 KiB to 64 MiB are wanted");
        }
        if self.queue_max == 0 || self.queue_bytes_max < self.message_bytes_max {
            return wrong("queue_bytes_max", "the queue must hold the largest message, at least");
        }
        if self.append_timeout < Duration::from_millis(100) || self.session_timeout < Duration::from_secs(1) {
            return wrong("append_timeout, session_timeout", "at least 100 ms and 1 s are wanted");
        }
        for name in self.properties.keys() {
            if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| refused == name) {
                return wrong(&format!("properties.{name}"), &format!("cannot be set here: {reason}"));
            }
        }
        for config in [self.producer(), self.reader(), self.member("group")] {
            config.create_native_config().map_err(|error| OpenError(refusal(&error)))?;
        }
        Ok(())
    }

    /// The largest [`contract::Record::size_bytes`] where topics take messages of so many bytes.
    pub(super) fn record_bytes_max(&self, message_bytes_max: usize) -> usize {
        message_bytes_max.min(self.message_bytes_max).saturating_sub(FRAME_BYTES)
    }

    /// Partitions of a topic that is made beside topics that have so many, if there are any.
    pub(super) fn partitions_new(&self, existing: Option<u32>) -> u32 {
        existing.or(self.partitions).unwrap_or(PARTITIONS_NEW)
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            // After a broker came back nobody should wait long.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            // A broker that comes back may name no broker at all for a moment, and then nobody is left to ask: begin anew
            // with those that were set, long before the five minutes of the default.
            .set("metadata.recovery.strategy", "rebootstrap")
            .set("metadata.recovery.rebootstrap.trigger.ms", "5000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        config
    }

    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // One waiting write leaves at once; those that come while a request is under way leave together after it.
            // With five requests under way each takes few records, and 64 writers were several times slower; a linger
            // costs a single writer more than a millisecond (docs/adr/0008 has the figures and their noise).
            .set("linger.ms", "0")
            .set("max.in.flight.requests.per.connection", "1")
            .set("message.max.bytes", self.message_bytes_max.to_string())
            .set("message.timeout.ms", self.append_timeout.as_millis().to_string())
            .set("queue.buffering.max.messages", self.queue_max.to_string())
            .set("queue.buffering.max.kbytes", self.queue_bytes_max.div_ceil(1024).to_string());
        self.with_properties(config)
    }

    /// A consumer that reads what it is told to. librdkafka wants a group's name for it, and never joins that group.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.consumer();
        config
            .set("group.id", self.group("reader"))
            // What waits here per partition, beside what the tail's owner has: a gateway that starts from nothing takes from
            // one queue while the others fill, and with half of either figure it took a third longer.
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.message.max.bytes", "2097152")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            // A new tail waits for the fetch under way to end.
            .set("fetch.wait.max.ms", "100")
            .set("enable.partition.eof", "true");
        self.with_properties(config)
    }

    /// For questions about topics.
    pub(super) fn asker(&self) -> ClientConfig {
        self.with_properties(self.consumer())
    }

    /// A member of a group; it never reads records itself.
    pub(super) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer();
        config
            .set("group.id", self.group(group))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
            // How soon a member hears of a rebalance.
            .set("heartbeat.interval.ms", "500")
            .set("statistics.interval.ms", "1000")
            .set("enable.partition.eof", "false");
        self.with_properties(config)
    }

    fn consumer(&self) -> ClientConfig {
        let mut config = self.base();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed");
        config
    }

    /// A group's name on the broker.
    pub(super) fn group(&self, name: &str) -> String {
        format!("{}dos.{name}", self.topic_prefix)
    }

    /// A topic's name on the broker.
    pub(super) fn topic(&self, topic: contract::Topic) -> String {
        format!("{}{}", self.topic_prefix, topic.name())
    }
}

/// `HOST:PORT`, perhaps behind `PROTOCOL://`, with an IPv6 address in brackets.
fn is_address(broker: &str) -> bool {
    let address = broker.split_once("://").map_or(broker, |(_, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = !bare.is_empty() && !bare.contains([' ', '/']) && (bare != host || !bare.contains(':'));
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What librdkafka says of a property, without the value: a misspelt name may stand before a password.
fn refusal(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => format!("properties.{name}: {reason}"),
        other => format!("properties: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_pass_through_unless_correctness_needs_them() {
        let mut options = Options::default();
        options.properties.insert("linger.ms".to_owned(), "3".to_owned());
        options.properties.insert("security.protocol".to_owned(), "SASL_SSL".to_owned());
        options.properties.insert("sasl.mechanism".to_owned(), "SCRAM-SHA-512".to_owned());
        options.check().unwrap();
        assert_eq!(options.producer().get("linger.ms"), Some("3"));
        for (name, _) in REFUSED {
            let options =
                Options { properties: BTreeMap::from([(name.to_owned(), "1".to_owned())]), ..Options::default() };
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        options.properties.insert("sasl.passwort".to_owned(), "hunter2".to_owned());
        let error = options.check().unwrap_err().to_string();
        assert!(error.starts_with("properties.sasl.passwort: ") && !error.contains("hunter2"), "{error}");
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn wrong_options_are_named() {
        let error = |options: Options| options.check().unwrap_err().to_string();
        for brokers in ["a:1,,b:2", "127.0.0.1:99999", "a:0", "a", "a:b", ":9092", "::1:9092", "a:1 b:2"] {
            let said = error(Options { brokers: brokers.to_owned(), ..Options::default() });
            assert!(said.starts_with("brokers: ") && said.contains("HOST:PORT"), "{brokers}: {said}");
        }
        for brokers in ["a:1, b:65535", "[::1]:9092", "SASL_SSL://a.example.org:9093"] {
            Options { brokers: brokers.to_owned(), ..Options::default() }.check().unwrap();
        }
        assert!(error(Options { partitions: Some(0), ..Options::default() }).starts_with("partitions"));
        assert!(error(Options { topic_prefix: "a b".to_owned(), ..Options::default() }).starts_with("topic_prefix"));
    }
}
