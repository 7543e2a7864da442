//! Compaction and retention.

use std::time::Duration;

use contract::Topic;
use stream::conformance::{soon, take, texts};
use stream::{Stream, StreamError};

use crate::fixture::{Fixture, key, options};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn compaction_keeps_each_keys_last_record() {
    let fixture = Fixture::new(options()).await;
    for (number, value) in [(0, "a1"), (1, "b1"), (0, "a2"), (2, "c1"), (0, "a3"), (1, "b2")] {
        fixture.append(Topic::Views, &key(number), value).await;
    }
    soon(fixture.stream.clean()).await.unwrap();
    assert_eq!(fixture.values(Topic::Views).await.len(), 6, "nothing is removed before the lag has passed");

    fixture.env.advance(fixture.options.compaction_lag + SECOND);
    fixture.append(Topic::Views, &key(2), "c2").await;
    soon(fixture.stream.clean()).await.unwrap();
    assert_eq!(fixture.values(Topic::Views).await, ["c1", "a3", "b2", "c2"], "c1 was superseded just now");
    assert_eq!(fixture.stream.bounds(Topic::Views).await.unwrap()[0].start, 3);

    let fixture = fixture.reopen().await;
    let mut tail = fixture.stream.tail(Topic::Views, 0, 0).await.unwrap();
    let records = take(&mut *tail, 4).await;
    assert_eq!(texts(&records), ["c1", "a3", "b2", "c2"]);
    assert_eq!(records.iter().map(|stored| stored.offset).collect::<Vec<_>>(), [3, 4, 5, 6]);

    fixture.env.advance(fixture.options.compaction_lag + SECOND);
    soon(fixture.stream.clean()).await.unwrap();
    assert_eq!(fixture.values(Topic::Views).await, ["a3", "b2", "c2"]);
    assert_eq!(fixture.append(Topic::Views, &key(0), "a4").await, 7);
}

#[tokio::test]
async fn many_keys_in_many_steps() {
    let fixture = Fixture::new(options()).await;
    let keys: Vec<_> = (0..700).map(key).collect();
    for round in 0..5 {
        let fixture = &fixture;
        let batch = keys.clone();
        let append = move |tx: &mut stream::embedded::Transaction<'_>| {
            batch.iter().try_for_each(|key| {
                tx.append(Topic::Views, stream::conformance::record(key, &format!("{key} {round}"))).map(drop)
            })
        };
        soon(fixture.stream.transact(append)).await.unwrap();
    }
    fixture.env.advance(fixture.options.compaction_lag + SECOND);
    soon(fixture.stream.clean()).await.unwrap();
    let expected: Vec<_> = keys.iter().map(|key| format!("{key} 4")).collect();
    assert_eq!(fixture.values(Topic::Views).await, expected);
    // A second pass finds nothing to do, also in the same place after a restart.
    let fixture = fixture.reopen().await;
    soon(fixture.stream.clean()).await.unwrap();
    assert_eq!(fixture.values(Topic::Views).await, expected);
}

#[tokio::test]
async fn retention_removes_the_old_and_never_uses_an_offset_again() {
    let fixture = Fixture::new(options()).await;
    for value in ["0", "1", "2"] {
        fixture.append(Topic::Replies, &key(0), value).await;
    }
    fixture.env.advance(fixture.options.retention + SECOND);
    soon(fixture.stream.clean()).await.unwrap();
    let bounds = fixture.stream.bounds(Topic::Replies).await.unwrap()[0];
    assert_eq!((bounds.start, bounds.end), (3, 3));

    let fixture = fixture.crash().await;
    assert_eq!(fixture.stream.bounds(Topic::Replies).await.unwrap()[0], bounds);
    assert_eq!(fixture.append(Topic::Replies, &key(0), "3").await, 3);
    let outside = fixture.stream.tail(Topic::Replies, 0, 1).await.err();
    let expected = StreamError::OutOfRange { topic: Topic::Replies, partition: 0, offset: 1, start: 3, end: 4 };
    assert_eq!(outside, Some(expected));
}

#[tokio::test]
async fn commands_are_kept_until_the_store_says_so() {
    let fixture = Fixture::new(options()).await;
    for number in 0..600 {
        assert_eq!(fixture.append(Topic::Commands, &key(0), "x").await, number);
    }
    fixture.env.advance(fixture.options.retention + SECOND);
    soon(fixture.stream.clean()).await.unwrap();
    assert_eq!(fixture.stream.bounds(Topic::Commands).await.unwrap()[0].start, 0, "nothing was told");

    // What is told in a transaction that is rolled back was not told.
    let rolled_back = fixture.stream.transact(|tx| {
        tx.keep_from(Topic::Commands, 0, 600)?;
        Err::<(), _>(stream::embedded::TransactError::Aborted("a test".to_owned()))
    });
    soon(rolled_back).await.unwrap_err();
    let told = fixture.stream.transact(|tx| {
        tx.keep_from(Topic::Commands, 0, 590)?;
        Ok(())
    });
    soon(told).await.unwrap();
    soon(fixture.stream.clean()).await.unwrap();
    assert_eq!(fixture.stream.bounds(Topic::Commands).await.unwrap()[0].start, 590);

    let fixture = fixture.reopen().await;
    soon(fixture.stream.clean()).await.unwrap();
    assert_eq!(fixture.stream.bounds(Topic::Commands).await.unwrap()[0].start, 590);
    assert_eq!(fixture.values(Topic::Commands).await.len(), 10);
}

#[tokio::test]
async fn tail_that_retention_overtakes_is_told() {
    let fixture = Fixture::new(options()).await;
    for _ in 0..40 {
        fixture.append(Topic::Quarantine, &key(0), "old").await;
    }
    let mut tail = fixture.stream.tail(Topic::Quarantine, 0, 0).await.unwrap();
    fixture.env.advance(fixture.options.retention + SECOND);
    soon(fixture.stream.clean()).await.unwrap();
    assert!(matches!(soon(tail.next(1)).await, Err(StreamError::OutOfRange { start: 40, end: 40, .. })));
}

#[tokio::test]
async fn timer_cleans_by_itself() {
    let fixture = Fixture::new(options()).await;
    fixture.append(Topic::Replies, &key(0), "old").await;
    fixture.env.advance(fixture.options.retention + SECOND);
    soon(async {
        while fixture.stream.bounds(Topic::Replies).await.unwrap()[0].start == 0 {
            tokio::task::yield_now().await;
            // The timer may have been set after the last advance.
            fixture.env.advance(fixture.options.housekeeping_interval);
        }
    })
    .await;
}
