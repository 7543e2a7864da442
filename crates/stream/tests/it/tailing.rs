//! The hand-over from file to memory.

use std::time::Duration;

use contract::{Env, Topic};
use proptest::prelude::*;
use stream::conformance::{record, soon, take};
use stream::embedded::{Options, TransactError};
use stream::{Stream, Tail};

use crate::fixture::{Fixture, key, options, poll_once};

/// Tails that start at the beginning while writers write see every record once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn far_behind_under_load() {
    const WRITERS: u64 = 16;
    const EACH: u64 = 400;
    let fixture = Fixture::new(options()).await;
    let key = key(0);
    for writer in 0..WRITERS {
        let (stream, key) = (fixture.stream.clone(), key.clone());
        fixture.env.spawn(Box::pin(async move {
            for number in 0..EACH {
                stream.append(Topic::Views, record(&key, &format!("{writer} {number}"))).await.unwrap();
            }
        }));
    }
    let (done, mut tails) = tokio::sync::mpsc::unbounded_channel();
    for records_max in [1, 7, 5000] {
        let (stream, done) = (fixture.stream.clone(), done.clone());
        fixture.env.spawn(Box::pin(async move {
            let mut tail = stream.tail(Topic::Views, 0, 0).await.unwrap();
            let mut next = 0;
            while next < WRITERS * EACH {
                for stored in soon(tail.next(records_max)).await.unwrap() {
                    assert_eq!(stored.offset, next);
                    next += 1;
                }
            }
            done.send(()).unwrap();
        }));
    }
    drop(done);
    for _ in 0..3 {
        soon(tails.recv()).await.expect("a tail failed");
    }
}

/// A tail sees a record that was never in its ring, because the group that brought it was larger than the ring.
#[tokio::test]
async fn group_larger_than_the_ring() {
    let fixture = Fixture::new(options()).await;
    let mut tail = fixture.stream.tail(Topic::Views, 0, 0).await.unwrap();
    let append = |tx: &mut stream::embedded::Transaction<'_>| {
        (0..100).try_for_each(|number: u32| tx.append(Topic::Views, record(&key(0), &number.to_string())).map(drop))
    };
    let (read, appended) = tokio::join!(take(&mut *tail, 100), fixture.stream.transact(append));
    appended.unwrap();
    assert_eq!(read.iter().map(|stored| stored.offset).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn second_member_waits_for_the_first() {
    let fixture = Fixture::new(options()).await;
    let mut first = fixture.stream.join("stores", Topic::Commands).await.unwrap();
    let mut second = fixture.stream.join("stores", Topic::Commands).await.unwrap();
    soon(first.next()).await.unwrap();
    assert!(poll_once(&mut second.next()).await.is_none());
    assert!(second.read(0, 0).await.is_err());
    drop(first);
    soon(second.next()).await.unwrap();
    second.read(0, 0).await.unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Read(u8),
    /// A read that is dropped after its first poll.
    Cancel(u8),
    /// A tail is given up and another one goes on at its position.
    Anew,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1_u8..40).prop_map(Step::Append),
        (1_u8..30).prop_map(Step::Read),
        (1_u8..30).prop_map(Step::Cancel),
        Just(Step::Anew),
    ];
    proptest::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_once_and_in_order(steps in steps(), ring_records_max in 0_usize..20) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps, Options { ring_records_max, ..options() }));
    }
}

async fn run(steps: Vec<Step>, options: Options) {
    let fixture = Fixture::new(options).await;
    let (mut appended, mut read) = (0_u64, 0_u64);
    let mut tail = fixture.stream.tail(Topic::Replies, 0, 0).await.unwrap();
    for step in steps {
        match step {
            Step::Append(count) => {
                let append = move |tx: &mut stream::embedded::Transaction<'_>| {
                    (0..count).try_for_each(|_| tx.append(Topic::Replies, record(&key(0), "x")).map(drop))?;
                    Ok::<(), TransactError>(())
                };
                soon(fixture.stream.transact(append)).await.unwrap();
                appended += u64::from(count);
            }
            Step::Read(records_max) if read < appended => {
                read = check(&mut *tail, records_max, read, PATIENT).await;
            }
            Step::Cancel(records_max) => read = check(&mut *tail, records_max, read, Duration::ZERO).await,
            Step::Read(_) => {}
            Step::Anew => tail = fixture.stream.tail(Topic::Replies, 0, read).await.unwrap(),
        }
    }
    while read < appended {
        read = check(&mut *tail, 100, read, PATIENT).await;
    }
    assert_eq!(read, appended);
    fixture.stream.close().await;
}

const PATIENT: Duration = Duration::from_secs(30);

/// Reads once; answers the next offset.
async fn check(tail: &mut dyn Tail, records_max: u8, mut next: u64, patience: Duration) -> u64 {
    let Ok(records) = tokio::time::timeout(patience, tail.next(usize::from(records_max))).await else {
        assert!(patience.is_zero(), "waited too long");
        return next;
    };
    for stored in records.unwrap() {
        assert_eq!(stored.offset, next);
        next += 1;
    }
    next
}
