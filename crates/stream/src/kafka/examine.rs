//! What an operator wants to know before a start: whether brokers, topics and permissions are in order. Nothing is made,
//! written or joined.
//!
//! Whether events may be written is asked with one that no topic takes: it is larger than its `max.message.bytes`. A broker
//! looks at permissions first and at sizes before it stores, so its refusal tells which of the two it was.
//! Kafka tells nobody its time; records that are newer than now tell of clocks that differ.

use std::sync::Arc;
use std::time::Duration;

use contract::{Env, Topic};
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::link::Context;
use super::mark::Mark;
use super::options::Options;
use super::{ASK_LIMIT, Kafka, Shared, claim, dispose, topics};
use crate::StreamError;

/// How often brokers are asked before they are taken for away; each time for [`ASK_LIMIT`].
const ASKS_MAX: u32 = 3;
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// A topic that takes more than this is not asked whether it may be written.
const PROBE_BYTES_MAX: usize = 64 << 20;
/// How many words of a client are listened to, and how long for each.
const TOLD_MAX: u32 = 10;
const TOLD_WAIT: Duration = Duration::from_millis(50);
/// How far clocks may differ.
const CLOCK_MAX_MS: i64 = 2_000;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub about: String,
    /// What was found, or what is wrong and how to mend it.
    pub found: Result<String, String>,
}

/// What was found on the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
    /// The log that a database must belong to, as [`crate::Topology`] names it, with its partitions; none where topics are
    /// yet to be made, or cannot be read.
    pub log: Option<(String, u32)>,
    /// The name of the database that claimed it; none where no command was carried out yet.
    pub database: Option<String>,
}

impl Examined {
    fn add(&mut self, about: impl Into<String>, found: Result<String, String>) {
        self.findings.push(Finding { about: about.into(), found });
    }
}

/// Looks at everything that can be reached; takes up to a minute where much of it cannot.
pub async fn examine(options: Options, env: Arc<dyn Env>) -> Examined {
    let mut examined = Examined::default();
    let kafka = match Kafka::open(options, env) {
        Ok(kafka) => kafka,
        Err(error) => {
            examined.add("kafka settings", Err(format!("kafka.{error}")));
            return examined;
        }
    };
    let shared = Arc::clone(&kafka.shared);
    if let Some(cluster) = brokers(&shared, &mut examined).await {
        let context = Context { link: Arc::clone(&shared.link), is_producer: false };
        match shared.options.asker().create_with_context::<_, AdminClient<Context>>(context) {
            Ok(admin) => {
                all_topics(&shared, &admin, &cluster, &mut examined).await;
                dispose(admin);
            }
            Err(error) => examined.add("topics", Err(error.to_string())),
        }
        group(&shared, &mut examined).await;
    }
    kafka.close().await;
    examined
}

/// The cluster's id, if a broker answers.
async fn brokers(shared: &Shared, examined: &mut Examined) -> Option<String> {
    for _ in 0..ASKS_MAX {
        let asked = shared.ask(|asker| {
            let cluster = asker.client().fetch_cluster_id(ASK_LIMIT);
            let brokers = asker.fetch_metadata(None, ASK_LIMIT).map(|metadata| metadata.brokers().len());
            Ok(cluster.zip(brokers.ok()))
        });
        if let Ok(Some((cluster, count))) = asked.await {
            examined.add("brokers", Ok(format!("cluster {cluster} with {count} broker(s)")));
            return Some(cluster);
        }
    }
    let reason = shared.link.reason();
    let reason = if reason.is_empty() { "no answer".to_owned() } else { reason };
    let mend = if reason.contains("uthentication") {
        "check sasl.mechanism, sasl.username and sasl.password in [kafka.properties], and what the broker knows"
    } else if reason.contains("certificate") {
        "check ssl.ca.location in [kafka.properties]: it names the authority that the brokers' certificates are of"
    } else {
        "check kafka.brokers, the way to them, and security.protocol in [kafka.properties]"
    };
    let brokers = &shared.options.brokers;
    examined.add("brokers", Err(format!("none can be reached at {brokers}: {reason}; {mend}")));
    None
}

async fn all_topics(shared: &Shared, admin: &AdminClient<Context>, cluster: &str, examined: &mut Examined) {
    let mut counts = Vec::new();
    for topic in Topic::ALL {
        let name = shared.options.topic(topic);
        let asked = name.clone();
        let leaders = shared.ask(move |asker| topics::of_topic(asker.client(), &asked)).await;
        match leaders {
            Err(error) => examined.add(format!("topic {name}"), Err(error.to_string())),
            Ok(None) => {
                let found = missing(&shared.options, admin, topic, &name).await;
                examined.add(format!("topic {name}"), found);
            }
            Ok(Some(leaders)) => {
                counts.push(leaders.len());
                let found = present(shared, admin, topic, &name, &leaders).await;
                examined.add(format!("topic {name}"), found);
            }
        }
    }
    let Some(count) = counts.first().copied() else { return };
    if counts.iter().any(|other| *other != count) {
        let reason = "the topics have different numbers of partitions: a key's events would be torn apart; begin a new topic \
                      set (another kafka.topic_prefix) and bring the entities over with `dos export` and `dos import`";
        examined.add("partitions", Err(reason.to_owned()));
    } else if counts.len() == Topic::ALL.len() {
        mark(shared, cluster, count, examined).await;
    }
}

/// What becomes of a topic that is not there.
async fn missing(options: &Options, admin: &AdminClient<Context>, topic: Topic, name: &str) -> Result<String, String> {
    let by_hand = topics::command(options, topic);
    if !options.create_topics {
        return Err(format!("it is missing, and kafka.create_topics is off; turn it on, or make it: {by_hand}"));
    }
    let partitions = i32::try_from(options.partitions_new(None)).unwrap_or(i32::MAX);
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(options.replication.map_or(-1, i32::from)));
    let settings = topics::settings(options, topic);
    let new = settings.iter().fold(new, |new, (setting, value)| new.set(setting, value));
    let results = admin.create_topics(&[new], &topics::admin_options().validate_only(true)).await;
    match results.map_err(|error| error.to_string())?.into_iter().next() {
        Some(Err((_, code))) => Err(format!(
            "it is missing and cannot be made: {code}; allow this user CREATE, or set partitions, replication and \
             min_insync_replicas that this cluster has, or make it: {by_hand}"
        )),
        _ => Ok("it is missing, and will be made at the first start".to_owned()),
    }
}

async fn present(
    shared: &Shared,
    admin: &AdminClient<Context>,
    topic: Topic,
    name: &str,
    leaders: &[bool],
) -> Result<String, String> {
    let without = leaders.iter().filter(|has| !**has).count();
    if without > 0 {
        return Err(format!(
            "{without} of {} partitions have no leader: start the brokers that hold them",
            leaders.len()
        ));
    }
    let mut said = format!("{} partitions", leaders.len());
    let resources = [ResourceSpecifier::Topic(name)];
    let configs = admin.describe_configs(&resources, &topics::admin_options()).await;
    match configs.map_err(|error| error.to_string())?.into_iter().next() {
        Some(Ok(config)) => {
            let limit = topics::check_topic(name, topic, &config).map_err(|error| error.to_string())?;
            let wanted = config.get("min.insync.replicas").and_then(|entry| entry.value.as_ref()?.parse().ok());
            said += &replicas(shared, name, wanted.unwrap_or(1)).await?;
            for setting in ["min.insync.replicas", "retention.ms"] {
                let value = config.get(setting).and_then(|entry| entry.value.clone());
                if let Some(value) = value.filter(|_| setting != "retention.ms" || !topic.is_compacted()) {
                    said += &format!(", {setting} {value}");
                }
            }
            said += match write(shared, name, limit).await? {
                true => ", may be written",
                false => ", writing not asked (it takes very large messages)",
            };
        }
        _ => said += ", its settings cannot be seen (allow DESCRIBE_CONFIGS), nor whether it may be written",
    }
    said += match read(shared, name).await? {
        Some(ahead) if ahead > CLOCK_MAX_MS => {
            return Err(format!(
                "its newest event is {} s ahead of this machine's clock: let a time service (NTP) set the clocks of all \
                 machines",
                ahead / 1000
            ));
        }
        _ => ", may be read",
    };
    Ok(said)
}

/// How many replicas the partitions have; `wanted` of each must be in sync, or none of its writes is acknowledged.
async fn replicas(shared: &Shared, name: &str, wanted: usize) -> Result<String, String> {
    let asked = name.to_owned();
    let counts = shared.ask(move |asker| {
        let metadata = asker.fetch_metadata(Some(&asked), ASK_LIMIT).map_err(super::unavailable)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        Ok(partitions.map(|partition| (partition.replicas().len(), partition.isr().len())).min_by_key(|(_, isr)| *isr))
    });
    let (all, in_sync) = counts.await.map_err(|error| error.to_string())?.unwrap_or_default();
    if all < wanted {
        return Err(format!(
            "no write can be acknowledged: it has {all} replica(s) and min.insync.replicas is {wanted}; give it more replicas \
             (kafka-reassign-partitions.sh), or lower that"
        ));
    }
    if in_sync < wanted {
        return Err(format!(
            "writes are refused: {in_sync} of {all} replicas are in sync and min.insync.replicas is {wanted}; start the \
             brokers that hold the others"
        ));
    }
    Ok(format!(", {in_sync} of {all} replica(s) in sync"))
}

/// Asks with an event that is too large to be stored.
async fn write(shared: &Shared, name: &str, limit: usize) -> Result<bool, String> {
    if limit >= PROBE_BYTES_MAX {
        return Ok(false);
    }
    let mut config = shared.options.producer();
    config.set("enable.idempotence", "false").set("message.max.bytes", (limit + (1 << 20)).to_string());
    config.set("compression.type", "none").set("message.timeout.ms", SEND_LIMIT.as_millis().to_string());
    let context = Context { link: Arc::clone(&shared.link), is_producer: false };
    let producer: FutureProducer<Context> = config.create_with_context(context).map_err(|error| error.to_string())?;
    let value = vec![0_u8; limit + 1];
    let sent = producer.send_result(FutureRecord::<[u8], _>::to(name).partition(0).payload(&value));
    let outcome = match sent {
        Ok(delivery) => match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(error),
            Err(_) => Err(KafkaError::Canceled),
        },
        Err((error, _)) => Err(error),
    };
    dispose(producer);
    match outcome.as_ref().err().and_then(KafkaError::rdkafka_error_code) {
        None | Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => Ok(true),
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
            Err("it may not be written; allow this user WRITE (and IDEMPOTENT_WRITE on the cluster)".to_owned())
        }
        Some(code) => Err(format!("it was asked whether it may be written: {code}")),
    }
}

/// Reads the newest record of a partition, if there is one: by how many milliseconds it is ahead of the clock.
async fn read(shared: &Shared, name: &str) -> Result<Option<i64>, String> {
    let (reader, name, link) = (shared.options.reader(), name.to_owned(), Arc::clone(&shared.link));
    let newest = shared.ask(move |_| Ok(newest(&reader, &name, Context { link, is_producer: false })));
    let newest = newest.await.map_err(|error| error.to_string())??;
    Ok(newest.map(|millis| millis - shared.env.now().as_millis()))
}

fn newest(reader: &rdkafka::ClientConfig, name: &str, context: Context) -> Result<Option<i64>, String> {
    let refused = |error: &KafkaError| match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed) => "it may not be read; allow this user READ".to_owned(),
        _ => format!("it cannot be read: {error}"),
    };
    let consumer: BaseConsumer<Context> = reader.create_with_context(context).map_err(|error| refused(&error))?;
    let (start, end) = consumer.fetch_watermarks(name, 0, ASK_LIMIT).map_err(|error| refused(&error))?;
    let mut list = TopicPartitionList::new();
    let from = rdkafka::Offset::Offset((end - 1).max(start));
    list.add_partition_offset(name, 0, from).and_then(|()| consumer.assign(&list)).map_err(|error| refused(&error))?;
    loop {
        match consumer.poll(ASK_LIMIT) {
            None => return Err("it cannot be read: no answer".to_owned()),
            Some(Ok(message)) => return Ok(message.timestamp().to_millis()),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => match error.rdkafka_error_code() {
                // Not of this partition: librdkafka goes on by itself.
                Some(Code::BrokerTransportFailure | Code::GroupAuthorizationFailed) => {}
                _ => return Err(refused(&error)),
            },
        }
    }
}

/// Whose topics they are.
async fn mark(shared: &Shared, cluster: &str, count: usize, examined: &mut Examined) {
    let found = match topics::find(shared).await {
        Err(error) => Err(error.to_string()),
        Ok(None) => match topics::as_wanted(&shared.options, u32::try_from(count).ok()) {
            Err(StreamError::Unusable(reason)) => Err(reason),
            _ => Ok("not used yet".to_owned()),
        },
        Ok(Some(Mark { topics, partitions })) if partitions as usize == count => {
            examined.log = Some((format!("{cluster}/{topics}"), partitions));
            match claim::find(shared).await {
                Ok(claimed) => examined.database = claimed,
                Err(error) => examined.add("topic set", Err(error.to_string())),
            }
            match topics::as_wanted(&shared.options, Some(partitions)) {
                Err(StreamError::Unusable(reason)) => Err(reason),
                _ => Ok(topics),
            }
        }
        Ok(Some(mark)) => {
            let now = u32::try_from(count).unwrap_or(u32::MAX);
            let StreamError::Unusable(reason) = topics::changed(&shared.options, mark.partitions, now) else { return };
            Err(reason)
        }
    };
    examined.add("topic set", found);
}

/// Whether the stores' group may be seen.
async fn group(shared: &Shared, examined: &mut Examined) {
    let name = shared.options.group("store");
    let (member, topic) = (shared.options.member("store"), shared.options.topic(Topic::Commands));
    let link = Arc::clone(&shared.link);
    let asked = shared.ask(move |_| {
        let context = Context { link, is_producer: false };
        let consumer: Result<BaseConsumer<Context>, _> = member.create_with_context(context);
        Ok(consumer.and_then(|consumer| see(&consumer, &topic)))
    });
    let found = match asked.await {
        Ok(Ok(_)) => Ok("may be seen".to_owned()),
        Ok(Err(error)) if error.rdkafka_error_code() == Some(Code::GroupAuthorizationFailed) => {
            Err("this user may not see it; allow READ on the group to the stores".to_owned())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    examined.add(format!("group {name}"), found);
}

/// Who may not see the group hears so beside the question, which itself runs out of time: librdkafka goes on looking for the
/// group's coordinator.
fn see(consumer: &BaseConsumer<Context>, topic: &str) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, 0);
    let Err(error) = consumer.committed_offsets(list, ASK_LIMIT) else { return Ok(()) };
    let told = (0..TOLD_MAX).filter_map(|_| consumer.poll(TOLD_WAIT)?.err());
    let denied = |told: &KafkaError| told.rdkafka_error_code() == Some(Code::GroupAuthorizationFailed);
    Err(told.into_iter().find(denied).unwrap_or(error))
}
