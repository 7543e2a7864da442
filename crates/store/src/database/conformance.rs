//! What every adapter of the port must do, as a suite that its tests run.
//!
//! Each check has partitions, entities and commands of its own, so that one database serves for all. A violation panics,
//! as in any test.

// These functions are assertions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use contract::{
    CommandId, Headers, Key, ListPosition, ListQuery, Outcome, OutcomeStatus, Partition, Problem, Record, Registry,
    Slug, Timestamp, Topic,
};
use uuid::Uuid;

use super::{
    Batch, Change, Committed, Database, Error, IndexChange, LOAD_BYTES_MAX, Log, Marks, Outgoing, PAGE_BYTES_MAX,
    Standing, UNPUBLISHED_BYTES_MAX,
};
use crate::decide::{Entity, Revision};

mod deleted;
mod keys;
mod lists;
mod outbox;
mod random_lists;

/// Makes the database that is tested.
#[async_trait::async_trait]
pub trait Factory: Send + Sync {
    /// Opens the database, which is empty at first. Where it is not exclusive, others may have it open.
    async fn open(&self) -> Result<Arc<dyn Database>, Error>;

    /// Closes a handle; the database stays.
    async fn close(&self, database: Arc<dyn Database>);

    /// Changes the version of its tables to one that no program knows yet.
    async fn make_newer(&self);
}

/// All checks, one after another.
pub async fn all<F: Factory>(factory: &F) {
    let database = migrated_by_two_at_once(factory).await;
    bound_for_ever(&*database).await;
    named_for_ever(&*database).await;
    owners(&*database).await;
    every_miss_is_a_conflict(&*database).await;
    loads_what_was_stored(&*database).await;
    load_limits(&*database).await;
    outcomes_are_forgotten(&*database).await;
    deleted::entities(&*database).await;
    keys::first_answers(&*database).await;
    lists::pages(&*database).await;
    lists::byte_limit(&*database).await;
    random_lists::all(&*database).await;
    if database.standing(0).await.unwrap().outbox.is_some() {
        outbox::order_and_marks(&*database).await;
        outbox::limits(&*database).await;
    } else {
        outbox::nothing_is_left(&*database).await;
    }
    if !database.is_exclusive() {
        two_owners_at_once(&database).await;
        crossing_batches(&database).await;
        keys::two_at_once(&database).await;
    }
    let database = reopened(factory, database).await;
    newer_is_refused(factory, database).await;
}

/// Two stores start on an empty database.
async fn migrated_by_two_at_once<F: Factory>(factory: &F) -> Arc<dyn Database> {
    let (one, other) = futures_util::future::join(factory.open(), factory.open()).await;
    match (one, other) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.take(900).await.unwrap().owner, 1);
            assert_eq!(other.take(900).await.unwrap().owner, 2, "both see one database");
            factory.close(other).await;
            one
        }
        // One process has the file, and the other is told so.
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => {
            assert!(one.is_exclusive());
            one
        }
        (Err(one), Err(other)) => panic!("{one}; {other}"),
    }
}

async fn bound_for_ever(database: &dyn Database) {
    let log = |cluster: &str, partitions| Log { cluster: cluster.to_owned(), partitions };
    database.bind(log("a", 8)).await.unwrap();
    database.bind(log("a", 8)).await.unwrap();
    for other in [log("b", 8), log("a", 9)] {
        let Err(Error::Broken(reason)) = database.bind(other).await else { panic!("it belongs to another stream") };
        assert!(reason.contains("docs/operations.md"), "it says what to do: {reason}");
    }
}

async fn named_for_ever(database: &dyn Database) {
    assert_eq!(database.name("one".to_owned()).await.unwrap(), "one");
    assert_eq!(database.name("two".to_owned()).await.unwrap(), "one");
}

/// Whoever took a partition last can commit, and nobody else.
async fn owners(database: &dyn Database) {
    assert_eq!(database.standing(10).await.unwrap().owner, 0);
    let first = database.take(10).await.unwrap();
    assert_eq!((first.owner, first.position), (1, None));
    database.commit(batch(10, 1, None, 5)).await.unwrap();
    let second = database.take(10).await.unwrap();
    assert_eq!((second.owner, second.position), (2, Some(5)));
    assert_eq!(database.commit(batch(10, 1, Some(5), 6)).await, Err(Error::Conflict));
    database.commit(batch(10, 2, Some(5), 6)).await.unwrap();
    assert_eq!(database.standing(10).await.unwrap().position, Some(6));
    assert_eq!(database.commit(batch(11, 1, None, 6)).await, Err(Error::Conflict), "nobody has taken it");
}

/// Nothing of a batch is stored where any of its expectations misses.
async fn every_miss_is_a_conflict(database: &dyn Database) {
    let (a, b) = (key("venue", "miss-a"), key("venue", "miss-b"));
    let owner = database.take(20).await.unwrap().owner;
    let changes = vec![change(&a, None, 1)];
    database.commit(Batch { changes, outcomes: vec![outcome(2001)], ..batch(20, owner, None, 1) }).await.unwrap();
    let total = total(database, "venue").await;
    let fresh = || Batch {
        changes: vec![change(&b, None, 1)],
        outcomes: vec![outcome(2002)],
        outgoing: vec![(Topic::Replies, record("x", 10))],
        ..batch(20, owner, Some(1), 2)
    };
    let with = |more: Change| Batch { changes: vec![more, change(&b, None, 1)], ..fresh() };
    for (what, miss) in [
        ("an older position", Batch { expected: Some(0), ..fresh() }),
        ("a newer position", Batch { expected: Some(7), ..fresh() }),
        ("no position", Batch { expected: None, ..fresh() }),
        ("an earlier owner", Batch { owner: owner - 1, ..fresh() }),
        ("a later owner", Batch { owner: owner + 1, ..fresh() }),
        ("an entity that exists", with(change(&a, None, 1))),
        ("an older version", with(change(&a, Some(0), 1))),
        ("a newer version", with(change(&a, Some(7), 8))),
        ("no entity", with(change(&key("venue", "miss-0"), Some(1), 2))),
        ("an outcome that is remembered", Batch { outcomes: vec![outcome(2001), outcome(2002)], ..fresh() }),
    ] {
        assert_eq!(database.commit(miss).await, Err(Error::Conflict), "{what}");
    }
    let loaded = database.load(vec![a.clone(), b.clone()], vec![outcome(2002).command], Vec::new()).await.unwrap();
    assert_eq!(loaded.entities.keys().collect::<Vec<_>>(), [&a]);
    assert!(loaded.outcomes.is_empty());
    assert_eq!(database.standing(20).await.unwrap().position, Some(1));
    assert_eq!(self::total(database, "venue").await, total);
    assert!(database.unpublished(20, 0, 10).await.unwrap().is_empty());
    database.commit(fresh()).await.unwrap();
    assert_eq!(self::total(database, "venue").await, total + 1);
}

/// Byte for byte.
async fn loads_what_was_stored(database: &dyn Database) {
    let owner = database.take(30).await.unwrap().owner;
    let key = key("contact", "A.b_c-9");
    let text = "{\"id\":\"A.b_c-9\",  \"name\":\"\u{e9}\u{a0}\\u00e9 \u{1f600}\\n\",\"x\":1.0,\"x\":1e0}";
    let mut stored = change(&key, None, 1);
    live(&mut stored).object = text.into();
    let problem = Problem::new(Slug::CommandFailed, "quoted \"\u{e9}\" text");
    let mut failed = outcome(3002);
    (failed.status, failed.version, failed.problem) = (OutcomeStatus::Failed, None, Some(problem));
    failed.created = Some(Timestamp::from_millis(-5));
    let mut never = outcome(3004);
    (never.status, never.version) = (OutcomeStatus::Unknown, None);
    let expected = stored.next.clone();
    let outcomes = vec![outcome(3001), failed.clone(), never.clone()];
    database.commit(Batch { changes: vec![stored], outcomes, ..batch(30, owner, None, 1) }).await.unwrap();
    let commands = [3001, 3002, 3001, 3003, 3004].map(|number| outcome(number).command).to_vec();
    let asked = vec![key.clone(), self::key("contact", "none"), key.clone(), self::key("venue", "A.b_c-9")];
    let loaded = database.load(asked, commands, Vec::new()).await.unwrap();
    assert_eq!(loaded.entities.into_iter().collect::<Vec<_>>(), [(key.clone(), expected)]);
    let mut outcomes: Vec<_> = loaded.outcomes.into_values().collect();
    outcomes.sort_unstable_by_key(|outcome| outcome.command);
    assert_eq!(outcomes, [outcome(3001), failed, never]);
    let mut moved = change(&key, Some(1), 2);
    (moved.moved, live(&mut moved).created) = (true, Timestamp::from_millis(-77));
    let expected = moved.next.clone();
    database.commit(Batch { changes: vec![moved], ..batch(30, owner, Some(1), 2) }).await.unwrap();
    let loaded = database.load(vec![key.clone()], Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(loaded.entities[&key], expected);
}

async fn load_limits(database: &dyn Database) {
    let owner = database.take(40).await.unwrap().owner;
    let keys: Vec<_> = (0..20).map(|number| key("event", &format!("large{number:02}"))).collect();
    let large = |key: &Key| {
        let mut large = change(key, None, 1);
        live(&mut large).object = vec![b'x'; LOAD_BYTES_MAX / 16].into();
        large
    };
    let changes = keys.iter().map(large).collect();
    database.commit(Batch { changes, ..batch(40, owner, None, 1) }).await.unwrap();
    assert_eq!(database.load(keys.clone(), Vec::new(), Vec::new()).await.map(drop), Err(Error::TooMuch));
    assert_eq!(database.load(keys[..10].to_vec(), Vec::new(), Vec::new()).await.unwrap().entities.len(), 10);
    assert_eq!(database.load(vec![keys[0].clone(); 40], Vec::new(), Vec::new()).await.unwrap().entities.len(), 1);
}

async fn outcomes_are_forgotten(database: &dyn Database) {
    let owner = database.take(50).await.unwrap().owner;
    let commands = |range: std::ops::Range<u128>| range.map(|n| outcome(n).command).collect::<Vec<_>>();
    let outcomes = (5000..5030).map(outcome).collect();
    database.commit(Batch { outcomes, ..batch(50, owner, None, 1) }).await.unwrap();
    let later = Batch { outcomes: vec![outcome(5030)], ..batch(50, owner, Some(1), 2) };
    database.commit(Batch { forget_before: at(0), ..later }).await.unwrap();
    assert_eq!(
        database.load(Vec::new(), commands(5000..5031), Vec::new()).await.unwrap().outcomes.len(),
        31,
        "none is older yet"
    );
    // Those that earlier checks left are forgotten as well.
    for next in 3..20 {
        let later = Batch { time: at(1), forget_before: at(1), ..batch(50, owner, Some(next - 1), next) };
        database.commit(Batch { outcomes: vec![outcome(6000 + u128::from(next))], ..later }).await.unwrap();
    }
    let left =
        database.load(Vec::new(), [commands(5000..5031), commands(6003..6004)].concat(), Vec::new()).await.unwrap();
    assert_eq!(left.outcomes.into_keys().collect::<Vec<_>>(), commands(6003..6004));
}

/// Two that believe they own one partition: of two batches on one state exactly one is stored.
async fn two_owners_at_once(database: &Arc<dyn Database>) {
    let owner = database.take(60).await.unwrap().owner;
    let mut expected = None;
    for next in 1..20 {
        let commits = (0..4).map(|_| database.commit(batch(60, owner, expected, next)));
        let results = futures_util::future::join_all(commits).await;
        let stored = results.iter().filter(|result| result.is_ok()).count();
        let refused = results.iter().filter(|result| **result == Err(Error::Conflict)).count();
        assert_eq!((stored, refused), (1, 3), "{results:?}");
        expected = Some(next);
    }
}

/// Batches of two partitions on the same entities and commands: each is stored whole or refused whole.
async fn crossing_batches(database: &Arc<dyn Database>) {
    let keys: Vec<_> = (0..20).map(|number| key("taxonomy", &format!("crossing{number:02}"))).collect();
    let mut positions: [Option<u64>; 2] = [None, None];
    let owners = [database.take(70).await.unwrap().owner, database.take(71).await.unwrap().owner];
    for round in 1..20_u64 {
        let before = positions;
        let batch_of = |number: usize| {
            let changes = keys.iter().map(|key| change(key, (round > 1).then(|| round - 1), round)).collect();
            let (partition, next) = (70 + number as Partition, round);
            let outcomes = vec![outcome(7000 + u128::from(round))];
            Batch { changes, outcomes, ..batch(partition, owners[number], before[number], next) }
        };
        let (one, other) = futures_util::future::join(database.commit(batch_of(0)), database.commit(batch_of(1))).await;
        for (number, result) in [one, other].into_iter().enumerate() {
            match result {
                Ok(_) => positions[number] = Some(round),
                Err(error) => assert_eq!(error, Error::Conflict),
            }
        }
        let stored = positions.iter().filter(|position| **position == Some(round)).count();
        if stored == 0 {
            // A deadlock may end both; then it is tried again.
            database.commit(batch_of(0)).await.unwrap();
            positions[0] = Some(round);
        }
        assert!(stored <= 1, "both were stored");
        let loaded = database.load(keys.clone(), Vec::new(), Vec::new()).await.unwrap();
        assert!(loaded.entities.len() == 20 && loaded.entities.values().all(|revision| revision.version() == round));
    }
}

/// What was committed is there when the database is opened again.
async fn reopened<F: Factory>(factory: &F, database: Arc<dyn Database>) -> Arc<dyn Database> {
    let (owner, key) = (database.take(80).await.unwrap().owner, key("venue", "reopened"));
    let outgoing = vec![(Topic::Replies, record("reopened", 10))];
    let changes = vec![change(&key, None, 1)];
    database.commit(Batch { changes, outgoing, ..batch(80, owner, None, 9) }).await.unwrap();
    let (standing, left) = (database.standing(80).await.unwrap(), database.unpublished(80, 0, 10).await.unwrap());
    factory.close(database).await;
    let database = factory.open().await.unwrap();
    assert_eq!(database.standing(80).await.unwrap(), standing);
    assert_eq!(database.unpublished(80, 0, 10).await.unwrap(), left);
    assert_eq!(database.load(vec![key], Vec::new(), Vec::new()).await.unwrap().entities.len(), 1);
    assert!(database.bind(Log { cluster: "b".to_owned(), partitions: 8 }).await.is_err(), "still the same log's");
    database
}

async fn newer_is_refused<F: Factory>(factory: &F, database: Arc<dyn Database>) {
    factory.make_newer().await;
    factory.close(database).await;
    let Err(Error::Broken(reason)) = factory.open().await.map(drop) else { panic!("a newer version must be refused") };
    assert!(reason.contains("newer"), "it says what to do: {reason}");
}

async fn total(database: &dyn Database, name: &str) -> u64 {
    let entity_type = Arc::clone(Registry::built_in().unwrap().get(name).unwrap());
    database.list(entity_type, ListQuery { limit: 1, ..ListQuery::default() }).await.unwrap().total
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn key(name: &str, id: &str) -> Key {
    Key::parse(&format!("{name}:{id}")).unwrap()
}

fn record(key: &str, size_bytes: usize) -> Record {
    let headers = Headers::from_pairs([("ce_id", key.as_bytes())]);
    Record { key: key.to_owned().into(), headers, value: vec![b'v'; size_bytes].into() }
}

fn outcome(number: u128) -> Outcome {
    let command = CommandId(Uuid::from_u128(number));
    Outcome { command, status: OutcomeStatus::Succeeded, version: Some(1), entity: None, problem: None, created: None }
}

fn change(key: &Key, expected: Option<u64>, version: u64) -> Change {
    let command = CommandId(Uuid::from_u128(u128::from(version)));
    let schema = Registry::built_in().unwrap().get(key.entity_type.as_str()).unwrap().data_schema().into();
    let object = format!("{{\"id\":\"{}\",\"v\":{version}}}", key.id.as_ref().unwrap()).into();
    let (created, updated, time) = (at(0), at(1), at(2));
    let entity = Entity { version, object, data_schema: schema, created, updated, time, command };
    let (next, index) = (Revision::Live(entity), IndexChange::default());
    Change { key: key.clone(), expected, was_live: expected.is_some(), moved: false, next, index }
}

fn live(change: &mut Change) -> &mut Entity {
    let Revision::Live(entity) = &mut change.next else { panic!("an entity") };
    entity
}

fn batch(partition: Partition, owner: u64, expected: Option<u64>, next: u64) -> Batch {
    let (changes, outcomes, keyed, outgoing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (time, forget_before, marks) = (at(0), Timestamp::from_millis(i64::MIN / 2), Marks::default());
    Batch { partition, owner, expected, next, changes, outcomes, keyed, time, forget_before, outgoing, marks }
}
