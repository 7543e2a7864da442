//! A database that fails in every way it may: nothing is lost and nothing happens twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::reply::Page;
use contract::wire::cloudevents::decode_view;
use contract::{CommandId, Digest, EntityType, Key, ListQuery, OutcomeStatus, Partition, Slug, Topic};
use serde_json::json;
use store::Sqlite;
use store::database::{Batch, Committed, Database, Error, Loaded, Log, Marks, Outgoing, Standing};
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
    async fn standing(&self, partition: Partition) -> Result<Standing, Error> {
        if self.turn() == 6 {
            return Err(Error::Transient("no position".to_owned()));
        }
        self.inner.standing(partition).await
    }

    async fn take(&self, partition: Partition) -> Result<Standing, Error> {
        if self.turn() == 6 {
            return Err(Error::Transient("not taken".to_owned()));
        }
        self.inner.take(partition).await
    }

    async fn bind(&self, log: Log) -> Result<(), Error> {
        self.inner.bind(log).await
    }

    async fn name(&self, proposed: String) -> Result<String, Error> {
        self.inner.name(proposed).await
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }

    async fn unpublished(&self, partition: Partition, after: u64, limit: usize) -> Result<Vec<Outgoing>, Error> {
        self.inner.unpublished(partition, after, limit).await
    }

    async fn mark(&self, partition: Partition, owner: u64, marks: Marks) -> Result<(), Error> {
        self.inner.mark(partition, owner, marks).await
    }

    async fn keeps_index(&self, wanted: Option<bool>) -> Result<bool, Error> {
        self.inner.keeps_index(wanted).await
    }

    async fn index(&self, types: Option<Vec<Arc<EntityType>>>) -> Result<(), Error> {
        self.inner.index(types).await
    }

    async fn load(&self, keys: Vec<Key>, commands: Vec<CommandId>, idempotency: Vec<Digest>) -> Result<Loaded, Error> {
        if self.turn() == 3 {
            return Err(Error::Transient("no states".to_owned()));
        }
        self.inner.load(keys, commands, idempotency).await
    }

    async fn list(&self, entity_type: Arc<EntityType>, query: ListQuery) -> Result<Page, Error> {
        self.inner.list(entity_type, query).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
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
    let (changes, outcomes, outgoing, marks) = (Vec::new(), Vec::new(), Vec::new(), Marks::default());
    let Standing { owner, position: expected, .. } = system.database.take(1).await.unwrap();
    let forget_before = time;
    let beyond = Batch {
        partition: 1,
        owner,
        expected,
        next: 1000,
        changes,
        outcomes,
        keyed: Vec::new(),
        time,
        forget_before,
        outgoing,
        marks,
    };
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

/// Notes the largest commit.
struct Watched {
    inner: Sqlite,
    outgoing_bytes_max: AtomicU64,
}

#[async_trait::async_trait]
impl Database for Watched {
    async fn standing(&self, partition: Partition) -> Result<Standing, Error> {
        self.inner.standing(partition).await
    }

    async fn take(&self, partition: Partition) -> Result<Standing, Error> {
        self.inner.take(partition).await
    }

    async fn bind(&self, log: Log) -> Result<(), Error> {
        self.inner.bind(log).await
    }

    async fn name(&self, proposed: String) -> Result<String, Error> {
        self.inner.name(proposed).await
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }

    async fn unpublished(&self, partition: Partition, after: u64, limit: usize) -> Result<Vec<Outgoing>, Error> {
        self.inner.unpublished(partition, after, limit).await
    }

    async fn mark(&self, partition: Partition, owner: u64, marks: Marks) -> Result<(), Error> {
        self.inner.mark(partition, owner, marks).await
    }

    async fn keeps_index(&self, wanted: Option<bool>) -> Result<bool, Error> {
        self.inner.keeps_index(wanted).await
    }

    async fn index(&self, types: Option<Vec<Arc<EntityType>>>) -> Result<(), Error> {
        self.inner.index(types).await
    }

    async fn load(&self, keys: Vec<Key>, commands: Vec<CommandId>, idempotency: Vec<Digest>) -> Result<Loaded, Error> {
        self.inner.load(keys, commands, idempotency).await
    }

    async fn list(&self, entity_type: Arc<EntityType>, query: ListQuery) -> Result<Page, Error> {
        self.inner.list(entity_type, query).await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let size_bytes: usize = batch.outgoing.iter().map(|(_, record)| record.size_bytes()).sum();
        self.outgoing_bytes_max.fetch_max(size_bytes as u64, Ordering::Relaxed);
        self.inner.commit(batch).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_large_answers_is_committed_in_parts() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let watched = Arc::new(Watched { inner: system.database.clone(), outgoing_bytes_max: AtomicU64::new(0) });
    let long = "\u{20ac}".repeat(65_535);
    let mut sent = Vec::new();
    for n in 0..25 {
        let command = system.create(&format!("contact:c{n}"), json!({"name":"A","url":long,"email":long}));
        sent.push(system.send(&command).await);
    }
    for n in 0..25 {
        let command = system.update("contact:c0", json!({"name":format!("name {n}")}));
        sent.push(system.send(&command).await);
    }
    system.start_store_on(watched.clone()).await;
    for id in sent {
        system.answer(id).await.view();
    }
    system.stop_store().await;
    let mut asked = Vec::new();
    for n in 0..50 {
        let retrieve = contract::Action::Retrieve { operation: None };
        asked.push(system.send(&system.command(&format!("contact:c{}", n % 25), retrieve)).await);
    }
    let list = contract::Action::List(ListQuery { limit: 200, ..ListQuery::default() });
    for _ in 0..20 {
        asked.push(system.send(&system.command("contact:", list.clone())).await);
    }
    system.start_store_on(watched.clone()).await;
    for id in asked {
        system.answer(id).await.body();
    }
    let largest = watched.outgoing_bytes_max.load(Ordering::Relaxed);
    assert!((1 << 20..6 << 20).contains(&largest), "{largest}");
    system.close().await;
}

/// A database that is away.
struct Away;

#[async_trait::async_trait]
impl Database for Away {
    async fn bind(&self, _: Log) -> Result<(), Error> {
        Ok(())
    }

    async fn name(&self, proposed: String) -> Result<String, Error> {
        Ok(proposed)
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn standing(&self, _: Partition) -> Result<Standing, Error> {
        Ok(Standing::default())
    }

    async fn take(&self, _: Partition) -> Result<Standing, Error> {
        Ok(Standing::default())
    }

    async fn unpublished(&self, _: Partition, _: u64, _: usize) -> Result<Vec<Outgoing>, Error> {
        Ok(Vec::new())
    }

    async fn mark(&self, _: Partition, _: u64, _: Marks) -> Result<(), Error> {
        Ok(())
    }

    async fn keeps_index(&self, wanted: Option<bool>) -> Result<bool, Error> {
        Ok(wanted.unwrap_or(true))
    }

    async fn index(&self, _: Option<Vec<Arc<EntityType>>>) -> Result<(), Error> {
        Ok(())
    }

    async fn load(&self, _: Vec<Key>, _: Vec<CommandId>, _: Vec<Digest>) -> Result<Loaded, Error> {
        Err(Error::Transient("away".to_owned()))
    }

    async fn list(&self, _: Arc<EntityType>, _: ListQuery) -> Result<Page, Error> {
        Err(Error::Transient("away".to_owned()))
    }

    async fn commit(&self, _: Batch) -> Result<Committed, Error> {
        // As one that hangs: its answer never comes.
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_stops_though_its_database_is_away() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let create = system.create("provider:a", json!({"name":"A","published":1}));
    system.send(&create).await;
    system.start_store_on(Arc::new(Away)).await;
    let before = system.env.monotonic();
    system.stop_store().await;
    assert!(system.env.monotonic() - before < std::time::Duration::from_secs(3));
    system.start_store().await;
    assert_eq!(system.answer(create.id).await.view().version, 1);
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_moved_by_other_hands_is_taken_up_there() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    let create = system.create("provider:a", json!({"name":"A","published":1}));
    assert_eq!(system.ask(create.clone()).await.view().version, 1);
    let partition = contract::partition::of_key(b"provider:a", 2);
    let time = system.env.now();
    let Standing { owner, position: expected, .. } = system.database.standing(partition).await.unwrap();
    let (changes, outcomes, outgoing, marks) = (Vec::new(), Vec::new(), Vec::new(), Marks::default());
    let back = Batch {
        partition,
        owner,
        expected,
        next: 0,
        changes,
        outcomes,
        keyed: Vec::new(),
        time,
        forget_before: contract::Timestamp::default(),
        outgoing,
        marks,
    };
    system.database.commit(back).await.unwrap();
    let update = system.update("provider:a", json!({"name":"B"}));
    system.send(&update).await;
    // What was done already is answered from memory of it, and what was not is done.
    assert_eq!(system.answer(create.id).await.outcome(), (OutcomeStatus::Succeeded, Some(1)));
    assert_eq!(system.answer(update.id).await.view().version, 2);
    system.close().await;
}
