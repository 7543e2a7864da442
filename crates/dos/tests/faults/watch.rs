//! What is seen of the brokers from outside, without a proxy: replicas, the group of stores, the topic of views.

use std::sync::Arc;
use std::time::Duration;

use contract::Topic;
use contract::wire::cloudevents;
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
    /// Of the topic of views, per partition, what is read next.
    next: Vec<u64>,
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
        Self { asker, stream, next: Vec::new(), runtime }
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
        let partitions = self.partitions();
        self.next.resize(partitions as usize, 0);
        let mut versions = Vec::new();
        let Self { stream, next, runtime, .. } = self;
        runtime.block_on(async {
            let bounds = stream.bounds(Topic::Views).await.unwrap();
            for ((partition, next), bounds) in (0..).zip(next).zip(bounds) {
                if *next >= bounds.end {
                    continue;
                }
                let mut tail = stream.tail(Topic::Views, partition, *next).await.unwrap();
                while *next < bounds.end {
                    let records = tail.next(BATCH).await.unwrap();
                    if records.is_empty() {
                        *next = bounds.end;
                    }
                    for stored in records {
                        *next = stored.offset + 1;
                        if stored.record.is_about_stream() {
                            continue;
                        }
                        let view = cloudevents::decode_view(&stored.record).unwrap();
                        versions.push(Version {
                            id: view.key.id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
                            version: view.version,
                            correlation: view.correlation.0.to_string(),
                            object: view.object.unwrap_or_default().to_vec(),
                        });
                    }
                }
            }
        });
        versions
    }
}
