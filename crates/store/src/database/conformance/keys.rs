//! Idempotency keys: one first answer each, over all partitions, byte for byte, for as long as outcomes.

use contract::reply::{Current, FirstAnswer, WriteAction};
use contract::{Digest, Idempotency, Repeat};

use super::*;
use crate::decide::Keyed;

fn digest(number: u64) -> Digest {
    let mut bytes = [0; 32];
    bytes[20..28].copy_from_slice(&number.to_be_bytes());
    Digest(bytes)
}

fn keyed(number: u64, answer: FirstAnswer) -> Keyed {
    let (command, key) = (CommandId(Uuid::from_u128(u128::from(number))), key("venue", "first"));
    let action = match answer {
        FirstAnswer::Deleted => WriteAction::Delete,
        _ => WriteAction::Create,
    };
    let first = Repeat { command, key, action, version: Some(number), answer };
    Keyed { idempotency: Idempotency { key: digest(number), fingerprint: digest(number + 1_000_000) }, first }
}

fn object(text: &str) -> FirstAnswer {
    FirstAnswer::Object(Current { object: text.to_owned().into(), view_time: at(3) })
}

pub(super) async fn first_answers(database: &dyn Database) {
    let owner = database.take(130).await.unwrap().owner;
    let other = database.take(131).await.unwrap().owner;
    let rejected = FirstAnswer::Rejected(Problem::new(Slug::NotFound, "nothing \"there\""));
    let text = "{\"id\":\"first\",  \"name\":\"\\u00e9 \u{e9}\u{a0}\",\"x\":1.0,\"x\":1e0}";
    let stored = vec![keyed(1, object(text)), keyed(2, FirstAnswer::Deleted), keyed(3, rejected)];
    // Each comes with its command's outcome.
    let outcomes = |range: std::ops::Range<u128>| range.map(|n| outcome(13_000 + n)).collect::<Vec<_>>();
    let first = Batch { keyed: stored.clone(), outcomes: outcomes(1..4), ..batch(130, owner, None, 1) };
    database.commit(first).await.unwrap();
    let asked = [1, 2, 3, 1, 4].map(digest).to_vec();
    let loaded = database.load(Vec::new(), Vec::new(), asked).await.unwrap();
    let mut found: Vec<_> = loaded.keyed.into_values().collect();
    found.sort_unstable_by_key(|keyed| keyed.idempotency.key);
    assert_eq!(found, stored);

    // In any partition, and nothing else of the batch is stored then.
    let changes = vec![change(&key("venue", "keyed"), None, 1)];
    let miss =
        Batch { keyed: vec![keyed(3, object("{}")), keyed(4, object("{}"))], changes, ..batch(131, other, None, 1) };
    assert_eq!(database.commit(miss).await, Err(Error::Conflict));
    let loaded = database.load(vec![key("venue", "keyed")], Vec::new(), vec![digest(4)]).await.unwrap();
    assert!(loaded.keyed.is_empty() && loaded.entities.is_empty());

    // Large ones are bounded, as entities are.
    let large = |number| keyed(number, object(&format!("\"{}\"", "x".repeat(LOAD_BYTES_MAX / 16))));
    let many = (100..120).map(large).collect();
    let second = Batch { keyed: many, outcomes: outcomes(100..120), ..batch(130, owner, Some(1), 2) };
    database.commit(second).await.unwrap();
    let load = |range: std::ops::Range<u64>| database.load(Vec::new(), Vec::new(), range.map(digest).collect());
    assert_eq!(load(100..120).await.map(drop), Err(Error::TooMuch));
    assert_eq!(load(100..110).await.unwrap().keyed.len(), 10);

    // Forgotten once they are old enough, and then their keys are free.
    let old = |next: u64| Batch { time: at(10), forget_before: at(10), ..batch(130, owner, Some(next - 1), next) };
    for next in 3..20 {
        let outcomes = outcomes(u128::from(200 + next)..u128::from(201 + next));
        database.commit(Batch { outcomes, keyed: vec![keyed(200 + next, object("{}"))], ..old(next) }).await.unwrap();
    }
    assert!(load(1..120).await.unwrap().keyed.is_empty());
    assert_eq!(load(200..300).await.unwrap().keyed.len(), 17);
    database.commit(Batch { keyed: vec![keyed(3, object("{}"))], ..batch(131, other, None, 1) }).await.unwrap();
}

/// Two partitions with the same keys, in whatever order they came: each key is stored once, and nobody waits for ever.
pub(super) async fn two_at_once(database: &Arc<dyn Database>) {
    let owners = [database.take(140).await.unwrap().owner, database.take(141).await.unwrap().owner];
    let mut positions: [Option<u64>; 2] = [None, None];
    for round in 0..20_u64 {
        let numbers = (0..8).map(|n| 5000 + 8 * round + n);
        let keys: Vec<_> = numbers.map(|number| keyed(number, object("{}"))).collect();
        let batch_of = |n: usize| {
            let next = positions[n].unwrap_or(0) + 1;
            Batch { keyed: keys.clone(), ..batch(140 + n as Partition, owners[n], positions[n], next) }
        };
        let (one, other) = futures_util::future::join(database.commit(batch_of(0)), database.commit(batch_of(1))).await;
        let stored: Vec<_> = [one, other].iter().map(Result::is_ok).collect();
        assert_eq!(stored.iter().filter(|stored| **stored).count(), 1, "exactly one of two is first");
        for n in 0..2 {
            if stored[n] {
                positions[n] = Some(positions[n].unwrap_or(0) + 1);
            }
        }
    }
}
