//! The topics at start: looked at, made where they are missing, refused where they would lose data.

use std::time::Duration;

use contract::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer as _;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::link::Context;
use super::mark::Mark;
use super::options::Options;
use super::{ASK_LIMIT, Shared, dispose, refused, unavailable};
use crate::{AppendError, StreamError, Topology};

/// What a topic must take at least: Kafka's default, which holds the largest object with its attributes. Larger
/// commands are refused by the gateway before they are sent.
const MESSAGE_BYTES_MIN: usize = 1_048_576;
/// How long topics that were made may take to have leaders.
const MADE_POLL: Duration = Duration::from_millis(100);
const MADE_POLLS: usize = 100;
/// How often topics of a marked set are looked for before they are gone.
const GONE_POLLS: usize = 20;

/// Partitions of a topic, each with whether it has a leader; `None` where there is no such topic.
pub(super) type Leaders = Option<Vec<bool>>;
type Admin = AdminClient<Context>;

/// Makes and checks the topics. Nothing is remembered of a failure.
pub(super) async fn prepare(shared: &Shared) -> Result<Topology, StreamError> {
    let answer = shared.ask(|asker| asker.client().fetch_cluster_id(ASK_LIMIT).ok_or_else(|| unavailable("no answer")));
    let cluster = answer.await.map_err(|error| {
        if error == StreamError::Closed {
            return error;
        }
        let reason = format!("no broker can be reached at {}: {}", shared.options.brokers, shared.link.reason());
        // With the reason that it has: this one is made of it.
        shared.link.down(None);
        StreamError::Unavailable(reason)
    })?;
    let context = Context { link: shared.link.clone(), is_producer: false };
    let admin: Admin = shared.options.asker().create_with_context(context).map_err(unavailable)?;
    let prepared = topics(shared, &admin).await;
    dispose(admin);
    let (mark, message_bytes_max) = prepared?;
    tracing::info!(cluster, topics = mark.topics, partitions = mark.partitions, "the stream's topics are in order");
    let cluster = format!("{cluster}/{}", mark.topics);
    let message_bytes_max = shared.options.record_bytes_max(message_bytes_max);
    Ok(Topology { cluster, partitions: mark.partitions, message_bytes_max })
}

async fn topics(shared: &Shared, admin: &Admin) -> Result<(Mark, usize), StreamError> {
    let mut leaders = leaders(shared).await?;
    let missing = missing_of(&leaders);
    if !missing.is_empty() {
        may_be_made(shared, &missing).await?;
        let existing = leaders.iter().find_map(|(_, found)| u32::try_from(found.as_ref()?.len()).ok());
        as_wanted(&shared.options, existing)?;
        make(&shared.options, admin, &missing, shared.options.partitions_new(existing)).await?;
        leaders = made(shared).await?;
    }
    let message_bytes_max = check_settings(&shared.options, admin).await?;
    let partitions = equal_partitions(&shared.options, &leaders)?;
    shared.link.up(flat(&leaders));
    let mark = marked(shared, partitions).await?;
    if mark.partitions != partitions {
        return Err(changed(&shared.options, mark.partitions, partitions));
    }
    as_wanted(&shared.options, Some(partitions))?;
    Ok((mark, message_bytes_max))
}

/// Asks for the leaders of all partitions. What lost partitions is told once; where partitions were added, commands are
/// refused from then on.
pub(super) async fn look(shared: &Shared, warned: &mut bool) {
    match leaders(shared).await {
        Ok(leaders) => {
            let partitions = shared.topology.get().map_or(0, |topology| topology.partitions);
            for (topic, found) in &leaders {
                let now = found.as_ref().map_or(0, |found| u32::try_from(found.len()).unwrap_or(u32::MAX));
                if now > partitions
                    && let StreamError::Unusable(reason) = changed(&shared.options, partitions, now)
                {
                    shared.link.grew(reason);
                }
                // A broker that has just started may not know of all yet.
                if now < partitions && !std::mem::replace(warned, true) {
                    let topic = shared.options.topic(*topic);
                    tracing::error!(topic, partitions, now, "partitions are gone while the stream is in use");
                }
            }
            shared.link.up(flat(&leaders));
        }
        Err(StreamError::Closed) => {}
        Err(StreamError::Unavailable(reason)) => shared.link.down(Some(reason)),
        Err(error) => shared.link.down(Some(error.to_string())),
    }
}

fn flat(leaders: &[(Topic, Leaders)]) -> Vec<Vec<bool>> {
    leaders.iter().map(|(_, found)| found.clone().unwrap_or_default()).collect()
}

/// In the order of [`Topic::ALL`].
async fn leaders(shared: &Shared) -> Result<Vec<(Topic, Leaders)>, StreamError> {
    let names = Topic::ALL.map(|topic| (topic, shared.options.topic(topic)));
    shared
        .ask(move |asker| {
            names.into_iter().map(|(topic, name)| Ok((topic, of_topic(asker.client(), &name)?))).collect()
        })
        .await
}

pub(super) fn of_topic(client: &rdkafka::client::Client<Context>, name: &str) -> Result<Leaders, StreamError> {
    let metadata = client.fetch_metadata(Some(name), ASK_LIMIT).map_err(unavailable)?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
    match topic.error().map(Code::from) {
        None => {}
        Some(Code::UnknownTopicOrPartition) => return Ok(None),
        Some(Code::TopicAuthorizationFailed) => {
            return Err(StreamError::Unusable(format!(
                "topic {name}: not allowed to see it; allow this user DESCRIBE"
            )));
        }
        Some(code) => return Err(unavailable(format!("topic {name}: {code}"))),
    }
    let mut partitions: Vec<_> =
        topic.partitions().iter().map(|partition| (partition.id(), partition.leader() >= 0)).collect();
    partitions.sort_unstable();
    Ok(Some(partitions.into_iter().map(|(_, has_leader)| has_leader).collect()))
}

/// Whether missing topics are made: not where that is forbidden, and not where they were there before.
async fn may_be_made(shared: &Shared, missing: &[Topic]) -> Result<(), StreamError> {
    let options = &shared.options;
    let names = missing.iter().map(|topic| options.topic(*topic)).collect::<Vec<_>>().join(", ");
    if !options.create_topics {
        let hint = missing.iter().map(|topic| command(options, *topic)).collect::<Vec<_>>().join("; ");
        return Err(StreamError::Unusable(format!(
            "missing topics: {names}, and create_topics is off; turn it on, or make them: {hint}"
        )));
    }
    if missing.contains(&Topic::Views) {
        return Ok(());
    }
    let Some(mark) = find(shared).await? else { return Ok(()) };
    // Another instance may have made all of them while this one asked for one after the other.
    for _ in 0..GONE_POLLS {
        if missing_of(&leaders(shared).await?).is_empty() {
            return Ok(());
        }
        shared.env.sleep(MADE_POLL).await;
    }
    Err(StreamError::Unusable(format!(
        "missing topics: {names}; they were there when topic set {} was made with {} partitions, so they were deleted \
         and what they held is lost; restore them from a backup, or begin a new topic set (another topic_prefix) and \
         publish the views again",
        mark.topics, mark.partitions
    )))
}

fn missing_of(leaders: &[(Topic, Leaders)]) -> Vec<Topic> {
    leaders.iter().filter(|(_, found)| found.is_none()).map(|(topic, _)| *topic).collect()
}

/// What a person types to make a topic.
pub(super) fn command(options: &Options, topic: Topic) -> String {
    let settings = settings(options, topic);
    let settings = settings.iter().map(|(name, value)| format!(" --config {name}={value}")).collect::<String>();
    format!(
        "kafka-topics.sh --create --topic {} --partitions {}{settings}",
        options.topic(topic),
        options.partitions_new(None)
    )
}

pub(super) fn settings(options: &Options, topic: Topic) -> Vec<(&'static str, String)> {
    let mut settings = vec![("max.message.bytes", options.message_bytes_max.to_string())];
    if topic.is_compacted() {
        settings.push(("cleanup.policy", "compact".to_owned()));
    } else {
        settings.push(("cleanup.policy", "delete".to_owned()));
        settings.push(("retention.ms", options.retention.as_millis().to_string()));
    }
    if let Some(replicas) = options.min_insync_replicas {
        settings.push(("min.insync.replicas", replicas.to_string()));
    }
    settings
}

async fn make(options: &Options, admin: &Admin, missing: &[Topic], partitions: u32) -> Result<(), StreamError> {
    let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
    // -1 is the broker's default.
    let replication = options.replication.map_or(-1, i32::from);
    let wanted: Vec<_> = missing.iter().map(|topic| (options.topic(*topic), settings(options, *topic))).collect();
    let new = wanted.iter().map(|(name, settings)| {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
    });
    let new: Vec<_> = new.collect();
    let results = admin.create_topics(&new, &admin_options()).await.map_err(unavailable)?;
    for result in results {
        match result {
            // Another instance may have been faster.
            Ok(name) => tracing::info!(topic = name, partitions, "a topic was made"),
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((name, code @ (Code::OperationTimedOut | Code::RequestTimedOut | Code::BrokerTransportFailure))) => {
                return Err(unavailable(format!("topic {name} was not made: {code}")));
            }
            Err((name, code)) => {
                return Err(StreamError::Unusable(format!(
                    "topic {name} cannot be made: {code}; allow it (CREATE), or choose partitions, replication and \
                     min_insync_replicas that this cluster has, or make it by hand"
                )));
            }
        }
    }
    Ok(())
}

/// Waits until topics that were made are there.
async fn made(shared: &Shared) -> Result<Vec<(Topic, Leaders)>, StreamError> {
    for _ in 0..MADE_POLLS {
        let leaders = leaders(shared).await?;
        if leaders.iter().all(|(_, found)| found.as_ref().is_some_and(|found| found.iter().all(|has| *has))) {
            return Ok(leaders);
        }
        shared.env.sleep(MADE_POLL).await;
    }
    Err(unavailable("topics that were made have no leaders yet"))
}

fn equal_partitions(options: &Options, leaders: &[(Topic, Leaders)]) -> Result<u32, StreamError> {
    let counts: Vec<_> = leaders.iter().map(|(topic, found)| (*topic, found.as_ref().map_or(0, Vec::len))).collect();
    let first = counts.first().map_or(0, |(_, count)| *count);
    if first > 0 && counts.iter().all(|(_, count)| *count == first) {
        return u32::try_from(first).map_err(unavailable);
    }
    let counts: Vec<_> = counts.iter().map(|(topic, count)| format!("{} {count}", options.topic(*topic))).collect();
    Err(StreamError::Unusable(format!(
        "all topics must have the same number of partitions; they have: {}; partitions were added to some, or topics were \
         made by hand. A number cannot be lowered and a key's records would be split: begin a new topic set (another \
         topic_prefix), publish the views again, and switch",
        counts.join(", ")
    )))
}

/// Refuses topics with another number of partitions than was asked for.
pub(super) fn as_wanted(options: &Options, existing: Option<u32>) -> Result<(), StreamError> {
    let (Some(wanted), Some(existing)) = (options.partitions, existing) else { return Ok(()) };
    if wanted == existing {
        return Ok(());
    }
    Err(StreamError::Unusable(format!(
        "kafka.partitions is {wanted}, and topics {}* have {existing}, which is fixed: leave kafka.partitions out or set it \
         to {existing}; for {wanted}, begin a new topic set (another topic_prefix), publish the views again, and switch",
        options.topic_prefix
    )))
}

pub(super) fn changed(options: &Options, before: u32, now: u32) -> StreamError {
    StreamError::Unusable(format!(
        "topics {}* were made with {before} partitions and have {now} now: the records of a key would lie in two \
         partitions. Begin a new topic set (another topic_prefix) with the wanted number, publish the views again, and \
         switch",
        options.topic_prefix
    ))
}

/// Refuses settings with which data would be lost; the least `max.message.bytes`.
async fn check_settings(options: &Options, admin: &Admin) -> Result<usize, StreamError> {
    let names = Topic::ALL.map(|topic| options.topic(topic));
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let results = admin.describe_configs(&resources, &admin_options()).await.map_err(unavailable)?;
    let mut message_bytes_max = options.message_bytes_max;
    for (topic, result) in Topic::ALL.into_iter().zip(results) {
        let name = options.topic(topic);
        match result {
            Ok(config) => message_bytes_max = message_bytes_max.min(check_topic(&name, topic, &config)?),
            Err(code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed)) => {
                tracing::warn!(topic = name, %code, "its settings cannot be seen (DESCRIBE_CONFIGS) and are not checked");
            }
            Err(code) => return Err(unavailable(format!("the settings of topic {name}: {code}"))),
        }
    }
    Ok(message_bytes_max)
}

pub(super) fn check_topic(name: &str, topic: Topic, config: &ConfigResource) -> Result<usize, StreamError> {
    let value = |setting: &str| config.get(setting).and_then(|entry| entry.value.clone()).unwrap_or_default();
    let wrong = |setting: &str, found: &str, why: &str, wanted: &str| {
        Err(StreamError::Unusable(format!(
            "topic {name} has {setting}={found}: {why}; set it: kafka-configs.sh --alter --entity-type topics \
             --entity-name {name} --add-config {setting}={wanted}"
        )))
    };
    let policy = value("cleanup.policy");
    let (compacts, deletes) = (policy.contains("compact"), policy.contains("delete"));
    if topic.is_compacted() && (!compacts || deletes) {
        return wrong("cleanup.policy", &policy, "views would be deleted once they are old", "compact");
    }
    if !topic.is_compacted() && compacts {
        return wrong("cleanup.policy", &policy, "events would be removed unread", "delete");
    }
    let found = value("max.message.bytes");
    match found.parse() {
        Ok(bytes) if bytes >= MESSAGE_BYTES_MIN => Ok(bytes),
        Ok(_) => wrong("max.message.bytes", &found, "the largest objects would be refused", "2097152"),
        Err(_) => Ok(MESSAGE_BYTES_MIN),
    }
}

/// The set's mark; writes one where there is none.
async fn marked(shared: &Shared, partitions: u32) -> Result<Mark, StreamError> {
    if let Some(mark) = find(shared).await? {
        return Ok(mark);
    }
    let record = Mark::new(&*shared.env, partitions).record(&*shared.env);
    match shared.producer.append(Topic::Views, 0, &record).await {
        // Of two that were written at once the first counts.
        Ok(_) => find(shared).await?.ok_or_else(|| unavailable("the topics' mark is not there yet")),
        Err(AppendError::Unavailable(reason) | AppendError::Unknown(reason)) => {
            Err(unavailable(format!("the topics are not marked yet (another instance may do it): {reason}")))
        }
        Err(error) => Err(unavailable(error)),
    }
}

pub(super) async fn find(shared: &Shared) -> Result<Option<Mark>, StreamError> {
    let options = shared.options.clone();
    let context = Context { link: shared.link.clone(), is_producer: false };
    let views = format!("topic {}", options.topic(Topic::Views));
    shared.ask(move |_| Mark::find(&options, context).map_err(|error| refused(&error, &views))).await
}

pub(super) fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ASK_LIMIT * 2)).operation_timeout(Some(ASK_LIMIT))
}
