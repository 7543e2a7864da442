//! What the group does to a store: partitions come, go, and are sometimes believed to be two stores'.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;

use contract::wire::cloudevents::decode_view;
use contract::{Offset, Partition, Record, Topic};
use serde_json::json;
use stream::embedded::Embedded;
use stream::{AppendError, Bounds, Change, Membership, Stream, StreamError, Tail, Topology};
use tempfile::tempdir;
use tokio::sync::mpsc;

use crate::harness::{System, bounded};

/// The embedded stream with a group whose changes are told by the test, whoever else has the partitions.
struct Told {
    inner: Embedded,
    changes: Mutex<Option<mpsc::Receiver<Change>>>,
}

struct ToldMembership {
    inner: Embedded,
    changes: mpsc::Receiver<Change>,
}

impl Told {
    /// A change is taken once the one before it was carried out.
    fn new(inner: &Embedded) -> (Arc<Self>, mpsc::Sender<Change>) {
        let (sender, changes) = mpsc::channel(1);
        (Arc::new(Self { inner: inner.clone(), changes: Mutex::new(Some(changes)) }), sender)
    }
}

#[async_trait::async_trait]
impl Stream for Told {
    async fn topology(&self) -> Result<Topology, StreamError> {
        self.inner.topology().await
    }

    async fn append(&self, topic: Topic, record: Record) -> Result<(Partition, Offset), AppendError> {
        self.inner.append(topic, record).await
    }

    async fn bounds(&self, topic: Topic) -> Result<Vec<Bounds>, StreamError> {
        self.inner.bounds(topic).await
    }

    async fn tail(&self, topic: Topic, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        self.inner.tail(topic, partition, from).await
    }

    async fn join(&self, _group: &str, _topic: Topic) -> Result<Box<dyn Membership>, StreamError> {
        let changes = self.changes.lock().unwrap().take().unwrap();
        Ok(Box::new(ToldMembership { inner: self.inner.clone(), changes }))
    }
}

#[async_trait::async_trait]
impl Membership for ToldMembership {
    async fn next(&mut self) -> Result<Change, StreamError> {
        self.changes.recv().await.ok_or(StreamError::Closed)
    }

    async fn read(&mut self, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        self.inner.tail(Topic::Commands, partition, from).await
    }
}

fn both() -> Vec<Partition> {
    vec![0, 1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_comes_back_is_taken_up_where_it_was() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let (stream, changes) = Told::new(&system.embedded);
    let store = system.another_store(stream, Arc::new(system.database.clone())).await;
    changes.send(Change::Assigned(both())).await.unwrap();
    let create = system.create("provider:a", json!({"name":"A","published":1}));
    assert_eq!(system.ask(create).await.view().version, 1);
    for version in 2..6 {
        changes.send(Change::Revoked(both())).await.unwrap();
        // There is room for this only once the revocation was taken.
        changes.send(Change::Assigned(vec![])).await.unwrap();
        let update = system.update("provider:a", json!({"name":format!("name {version}")}));
        system.send(&update).await;
        changes.send(Change::Assigned(both())).await.unwrap();
        assert_eq!(system.answer(update.id).await.view().version, version);
    }
    assert_eq!(system.left_over(), 0);
    bounded("the store's end", store.stop()).await;
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_partition_do_nothing_twice() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let mut stores = Vec::new();
    let mut groups = Vec::new();
    for _ in 0..2 {
        let (stream, changes) = Told::new(&system.embedded);
        stores.push(system.another_store(stream, Arc::new(system.database.clone())).await);
        changes.send(Change::Assigned(both())).await.unwrap();
        groups.push(changes);
    }
    let mut sent = Vec::new();
    for n in 0..200 {
        let key = format!("provider:p{}", n % 10);
        let data = json!({"name":format!("name {n}"),"published":1});
        let command = if n < 10 { system.create(&key, data) } else { system.update(&key, data) };
        sent.push(system.send(&command).await);
    }
    for (n, id) in sent.into_iter().enumerate() {
        assert_eq!(system.answer(id).await.view().version, n as u64 / 10 + 1);
    }
    let mut versions: HashMap<_, Vec<u64>> = HashMap::new();
    for stored in system.records(Topic::Views).await {
        let view = decode_view(&stored.record).unwrap();
        versions.entry(view.key).or_default().push(view.version);
    }
    let expected: Vec<u64> = (1..=20).collect();
    assert!(versions.len() == 10 && versions.values().all(|versions| *versions == expected), "{versions:?}");
    for store in stores {
        bounded("a store's end", store.stop()).await;
    }
    system.close().await;
}
