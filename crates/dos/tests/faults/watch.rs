//! What is seen of the brokers from outside, without a proxy: replicas, the group of stores, the topic of views.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contract::wire::cloudevents;
use contract::{Record, Topic};
use dos::env::System;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use stream::Stream as _;
use stream::kafka::{Kafka, Options};
use tokio::runtime::Runtime;

use crate::shared::history::Version;

const ASK_LIMIT: Duration = Duration::from_secs(5);
const GROUP: &str = "dos.store";
const BATCH: usize = 1000;

/// A view from outside.
pub(crate) struct Watch {
    asker: BaseConsumer,
    stream: Kafka,
    /// Of the topics of views and commands, per partition, what is read next.
    next: Vec<u64>,
    next_commands: Vec<u64>,
    /// The label of the request, by its command.
    labels: HashMap<String, String>,
    runtime: Runtime,
}

impl Watch {
    pub(crate) fn new(brokers: &str) -> Self {
        let asker = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let runtime = Runtime::new().unwrap();
        let options = Options { brokers: brokers.to_owned(), create_topics: false, ..Options::default() };
        let stream = {
            let _inside = runtime.enter();
            Kafka::open(options, Arc::new(System::new())).unwrap()
        };
        let (next, next_commands, labels) = (Vec::new(), Vec::new(), HashMap::new());
        Self { asker, stream, next, next_commands, labels, runtime }
    }

    /// Why not all replicas of all partitions are in sync.
    pub(crate) fn replicas(&self, brokers: usize) -> Result<(), String> {
        let metadata = self.asker.fetch_metadata(None, ASK_LIMIT).map_err(|error| error.to_string())?;
        if metadata.brokers().len() < brokers {
            return Err(format!("{} brokers", metadata.brokers().len()));
        }
        for topic in metadata.topics() {
            for partition in topic.partitions() {
                if partition.leader() < 0 || partition.isr().len() < brokers {
                    return Err(format!("{}/{} has {:?} in sync", topic.name(), partition.id(), partition.isr()));
                }
            }
        }
        Ok(())
    }

    /// Why the group of stores has not come to rest with so many members.
    pub(crate) fn group(&self, members: usize) -> Result<(), String> {
        let groups = self.asker.fetch_group_list(Some(GROUP), ASK_LIMIT).map_err(|error| error.to_string())?;
        let Some(group) = groups.groups().first() else { return Err("there is no group".to_owned()) };
        let (state, there) = (group.state(), group.members().len());
        if state == "Stable" && there == members { Ok(()) } else { Err(format!("the group is {state} with {there}")) }
    }

    /// How many partitions the topics have.
    pub(crate) fn partitions(&self) -> u32 {
        self.runtime.block_on(self.stream.topology()).unwrap().partitions
    }

    /// What came to the topic of views since the last time, those of a partition in their order.
    pub(crate) fn views(&mut self) -> Vec<Version> {
        // A command is there before what it leads to: its view is read first.
        let views = self.runtime.block_on(read(&self.stream, Topic::Views, &mut self.next));
        for record in self.runtime.block_on(read(&self.stream, Topic::Commands, &mut self.next_commands)) {
            let text = |name| record.headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
            if let (Some(command), Some(label)) = (text("ce_correlationid"), text("ce_requestid")) {
                self.labels.insert(command, label);
            }
        }
        let version = |record: Record| {
            let view = cloudevents::decode_view(&record).unwrap();
            let correlation = view.correlation.0.to_string();
            Version {
                id: view.key.id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
                version: view.version,
                label: self.labels.get(&correlation).cloned(),
                correlation,
                object: view.object.unwrap_or_default().to_vec(),
            }
        };
        views.into_iter().map(version).collect()
    }
}

/// Reads a topic on to its end.
async fn read(stream: &Kafka, topic: Topic, next: &mut Vec<u64>) -> Vec<Record> {
    let bounds = stream.bounds(topic).await.unwrap();
    next.resize(bounds.len(), 0);
    let mut found = Vec::new();
    for ((partition, next), bounds) in (0..).zip(next).zip(bounds) {
        if *next >= bounds.end {
            continue;
        }
        let mut tail = stream.tail(topic, partition, *next).await.unwrap();
        while *next < bounds.end {
            let records = tail.next(BATCH).await.unwrap();
            if records.is_empty() {
                *next = bounds.end;
            }
            for stored in records {
                *next = stored.offset + 1;
                if !stored.record.is_about_stream() {
                    found.push(stored.record);
                }
            }
        }
    }
    found
}
