//! A database that fails in every way it may: nothing is lost and nothing happens twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::reply::Page;
use contract::wire::cloudevents::decode_view;
use contract::{CommandId, EntityType, Key, ListQuery, Offset, OutcomeStatus, Partition, Slug, Topic};
use serde_json::json;
use store::Sqlite;
use store::database::{Batch, Database, Error, Loaded};
use tempfile::tempdir;

use crate::harness::{System, bounded};

/// Fails in turn: before a commit, after it (its answer is lost), as a conflict, and while reading.
struct Flaky {
    inner: Sqlite,
    calls: AtomicU64,
    /// The id of an entity that can never be stored.
    cursed: &'static str,
}

impl Flaky {
    fn turn(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) % 7
    }
}

#[async_trait::async_trait]
impl Database for Flaky {
    async fn position(&self, partition: Partition) -> Result<Option<Offset>, Error> {
        if self.turn() == 6 {
            return Err(Error::Transient("no position".to_owned()));
        }
        self.inner.position(partition).await
    }

    async fn load(&self, keys: Vec<Key>, commands: Vec<CommandId>) -> Result<Loaded, Error> {
        if self.turn() == 3 {
            return Err(Error::Transient("no states".to_owned()));
        }
        self.inner.load(keys, commands).await
    }

    async fn list(&self, entity_type: Arc<EntityType>, query: ListQuery) -> Result<Page, Error> {
        self.inner.list(entity_type, query).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let cursed = |key: &Key| key.id.as_ref().is_some_and(|id| id.as_str() == self.cursed);
        if batch.changes.iter().any(|change| cursed(&change.key)) {
            return Err(Error::Data("this cannot be stored".to_owned()));
        }
        match self.turn() {
            0 => Err(Error::Transient("not begun".to_owned())),
            1 => {
                self.inner.commit(batch).await?;
                Err(Error::Transient("its answer was lost".to_owned()))
            }
            2 => Err(Error::Conflict),
            _ => self.inner.commit(batch).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_happens_twice() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let mut sent = Vec::new();
    for round in 0..3 {
        for entity in 0..20 {
            let key = format!("provider:p{entity}");
            let data = json!({"name":format!("name {round}"),"published":1});
            let command = if round == 0 { system.create(&key, data) } else { system.update(&key, data) };
            sent.push(system.send(&command).await);
        }
    }
    let cursed = system.create("provider:cursed", json!({"name":"A","published":1}));
    system.send(&cursed).await;
    let flaky = || Flaky { inner: system.database.clone(), calls: AtomicU64::new(0), cursed: "cursed" };
    let flaky = [flaky(), flaky()];
    // Stopped and started in between: whatever was under way is taken up again.
    for database in flaky {
        system.start_store_on(Arc::new(database)).await;
        system.stop_store().await;
    }
    let flaky = Flaky { inner: system.database.clone(), calls: AtomicU64::new(0), cursed: "cursed" };
    system.start_store_on(Arc::new(flaky)).await;
    for (number, id) in sent.iter().enumerate() {
        assert_eq!(system.answer(*id).await.view().version, number as u64 / 20 + 1);
    }
    assert_eq!(system.answer(cursed.id).await.rejected(), Slug::CommandFailed);
    assert_eq!(system.operation("provider:cursed", cursed.id).await, (OutcomeStatus::Failed, None));
    assert_eq!(system.list("provider", 200, None).await.1, 20);
    assert_eq!(system.records(Topic::Quarantine).await.len(), 1);
    let mut versions: HashMap<Key, Vec<u64>> = HashMap::new();
    let mut correlations = HashSet::new();
    for stored in system.records(Topic::Views).await {
        let view = decode_view(&stored.record).unwrap();
        assert!(correlations.insert(view.correlation), "a command had two views");
        versions.entry(view.key).or_default().push(view.version);
    }
    assert!(versions.len() == 20 && versions.values().all(|versions| *versions == [1, 2, 3]), "{versions:?}");
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_outside_the_log_stops_the_partition_and_says_so() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let time = system.env.now();
    let (changes, outcomes, outgoing) = (Vec::new(), Vec::new(), Vec::new());
    let beyond =
        Batch { partition: 1, expected: None, next: 1000, changes, outcomes, time, forget_before: time, outgoing };
    system.database.commit(beyond).await.unwrap();
    system.start_store().await;
    let reason = bounded("the failure", system.store().failed()).await;
    assert!(reason.contains("dos.commands/1") && reason.contains("1000"), "{reason}");
    // The other partition works on.
    let on_the_other = |id: &u64| contract::partition::of_key(format!("provider:p{id}").as_bytes(), 2) == 0;
    let id = (0..).find(on_the_other).unwrap();
    let create = system.create(&format!("provider:p{id}"), json!({"name":"A","published":1}));
    assert_eq!(system.ask(create).await.view().version, 1);
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_stream_ends_the_store() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    let create = system.create("provider:a", json!({"name":"A","published":1}));
    system.ask(create).await.view();
    bounded("the stream's end", system.embedded.close()).await;
    system.stop_store().await;
}
