//! The database port's contract, on the adapter.

use contract::{CommandId, Key, Outcome, OutcomeStatus, Timestamp, Topic};
use store::database::{Batch, Change, Database, Error};
use store::decide::Entity;
use tempfile::tempdir;
use uuid::Uuid;

use crate::harness::System;

fn entity(version: u64) -> Entity {
    let time = Timestamp::from_millis(1_700_000_000_000);
    let object = format!("{{\"id\":\"a\",\"version\":{version}}}");
    Entity { version, object: object.into(), data_schema: "/schema/x#1".into(), created: time, updated: time, time }
}

fn change(expected: Option<u64>, version: u64) -> Change {
    Change { key: Key::parse("provider:a").unwrap(), expected, moved: false, entity: entity(version) }
}

fn outcome(number: u128) -> Outcome {
    let command = CommandId(Uuid::from_u128(number));
    Outcome { command, status: OutcomeStatus::Succeeded, version: Some(1), problem: None, created: None }
}

fn batch(expected: Option<u64>, next: u64) -> Batch {
    let time = Timestamp::from_millis(1_700_000_000_000);
    let (changes, outcomes, outgoing) = (Vec::new(), Vec::new(), Vec::new());
    Batch { partition: 0, expected, next, changes, outcomes, time, forget_before: Timestamp::default(), outgoing }
}

#[tokio::test]
async fn a_commit_on_an_older_state_changes_nothing() {
    let dir = tempdir().unwrap();
    let system = System::open(dir.path()).await;
    let database = &system.database;
    assert_eq!(database.position(0).await.unwrap(), None);
    let first = Batch { changes: vec![change(None, 1)], outcomes: vec![outcome(1)], ..batch(None, 1) };
    database.commit(first).await.unwrap();
    assert_eq!(database.position(0).await.unwrap(), Some(1));

    let record = contract::Record { key: "x".into(), headers: contract::Headers::default(), value: "x".into() };
    for stale in [
        batch(None, 2),
        batch(Some(0), 2),
        Batch { changes: vec![change(None, 1)], ..batch(Some(1), 2) },
        Batch { changes: vec![change(Some(7), 8)], ..batch(Some(1), 2) },
        Batch { outcomes: vec![outcome(2), outcome(1)], ..batch(Some(1), 2) },
    ] {
        let stale = Batch { outgoing: vec![(Topic::Replies, record.clone())], ..stale };
        assert_eq!(database.commit(stale).await, Err(Error::Conflict));
    }
    assert_eq!(database.position(0).await.unwrap(), Some(1));
    assert!(system.records(Topic::Replies).await.is_empty());
    let loaded = database.load(vec![change(None, 1).key], vec![outcome(1).command, outcome(2).command]).await.unwrap();
    assert_eq!(loaded.entities.into_values().collect::<Vec<_>>(), [entity(1)]);
    assert_eq!(loaded.outcomes.into_values().collect::<Vec<_>>(), [outcome(1)]);
    system.close().await;
}

#[tokio::test]
async fn old_outcomes_are_forgotten_as_new_ones_come() {
    let dir = tempdir().unwrap();
    let system = System::open(dir.path()).await;
    let database = &system.database;
    let commands = |range: std::ops::Range<u128>| range.map(|n| outcome(n).command).collect::<Vec<_>>();
    database.commit(Batch { outcomes: (0..30).map(outcome).collect(), ..batch(None, 1) }).await.unwrap();
    let later = Batch { forget_before: batch(None, 1).time, outcomes: vec![outcome(30)], ..batch(Some(1), 2) };
    database.commit(later).await.unwrap();
    assert_eq!(database.load(Vec::new(), commands(0..31)).await.unwrap().outcomes.len(), 31, "none is older yet");
    let time = batch(None, 1).time.plus_millis(1);
    for next in 3..6 {
        let later = Batch { time, forget_before: time, ..batch(Some(next - 1), next) };
        database.commit(Batch { outcomes: vec![outcome(u128::from(next) * 100)], ..later }).await.unwrap();
    }
    let left = database.load(Vec::new(), [commands(0..31), commands(300..301)].concat()).await.unwrap();
    assert_eq!(left.outcomes.into_keys().collect::<Vec<_>>(), commands(300..301));
    system.close().await;
}
