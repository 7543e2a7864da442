//! Groups: what is refused, what is rolled back, and what goes on.

use std::time::Duration;

use contract::Topic;
use stream::conformance::{record, soon};
use stream::embedded::{Options, TransactError};
use stream::{AppendError, Stream};

use crate::fixture::{Fixture, hold, key, large, options, poll_once};

#[tokio::test]
async fn full_queue_refuses_at_once() {
    let fixture = Fixture::new(Options { queue_max: 2, ..options() }).await;
    let release = hold(&fixture.stream).await;
    let append = |value| Box::pin(fixture.stream.append(Topic::Commands, record(&key(0), value)));
    let (mut one, mut two, mut three) = (append("1"), append("2"), append("3"));
    assert_eq!((poll_once(&mut one).await, poll_once(&mut two).await), (None, None));
    assert_eq!(poll_once(&mut three).await, Some(Err(AppendError::Overloaded)));
    drop(release);
    assert_eq!((soon(one).await, soon(two).await), (Ok((0, 0)), Ok((0, 1))));
}

#[tokio::test]
async fn failed_job_is_rolled_back_alone() {
    let fixture = Fixture::new(options()).await;
    let stream = &fixture.stream;
    stream.transact(|tx| Ok(tx.connection().execute_batch("CREATE TABLE t (x PRIMARY KEY)")?)).await.unwrap();
    let release = hold(stream).await;
    let mut first = Box::pin(stream.append(Topic::Replies, record(&key(0), "first")));
    let mut failing = Box::pin(stream.transact(|tx| {
        tx.connection().execute("INSERT INTO t VALUES (1)", ())?;
        tx.append(Topic::Replies, record(&key(0), "never"))?;
        Err::<(), _>(TransactError::Aborted("a test".to_owned()))
    }));
    let mut panicking = Box::pin(stream.transact(|tx| -> Result<(), TransactError> {
        tx.append(Topic::Replies, record(&key(0), "nor this"))?;
        panic!("a test")
    }));
    let mut good = Box::pin(stream.transact(|tx| {
        tx.connection().execute("INSERT INTO t VALUES (2)", ())?;
        tx.append(Topic::Replies, record(&key(0), "second"))
    }));
    let mut last = Box::pin(stream.append(Topic::Replies, record(&key(0), "third")));
    assert!(poll_once(&mut first).await.is_none() && poll_once(&mut failing).await.is_none());
    assert!(poll_once(&mut panicking).await.is_none() && poll_once(&mut good).await.is_none());
    assert!(poll_once(&mut last).await.is_none());
    drop(release);
    assert_eq!(soon(first).await, Ok((0, 0)));
    assert!(matches!(soon(failing).await, Err(TransactError::Aborted(_))));
    assert!(matches!(soon(panicking).await, Err(TransactError::Panicked)));
    assert_eq!(soon(good).await.unwrap(), (0, 1));
    assert_eq!(soon(last).await, Ok((0, 2)));
    assert_eq!(fixture.values(Topic::Replies).await, ["first", "second", "third"]);
    let sum = |connection: &rusqlite::Connection| {
        connection.query_row("SELECT sum(x) FROM t", (), |row| row.get::<_, i64>(0))
    };
    assert_eq!(stream.read(sum).await, Ok(2));
}

#[tokio::test]
async fn a_jobs_own_sql_error_is_its_own() {
    let fixture = Fixture::new(options()).await;
    let outcome =
        fixture.stream.transact(|tx| Ok(tx.connection().execute("INSERT INTO missing VALUES (1)", ())?)).await;
    assert!(matches!(outcome, Err(TransactError::Sql(_))));
    fixture.append(Topic::Commands, &key(0), "goes on").await;
}

#[tokio::test]
async fn full_disk_refuses_the_group_and_works_again() {
    let fixture = Fixture::new(Options { file_bytes_max: Some(1 << 20), ..options() }).await;
    let stream = &fixture.stream;
    let mut stored = 0;
    loop {
        match soon(stream.append(Topic::Replies, large(&key(0), 50_000))).await {
            Ok((_, offset)) => assert_eq!(offset, stored),
            Err(error) => break assert_eq!(error, AppendError::Full),
        }
        stored += 1;
    }
    assert!(stored > 10, "only {stored}");
    // A group with one that does not fit is refused as a whole, a transact job included.
    let release = hold(stream).await;
    let mut small = Box::pin(stream.append(Topic::Replies, record(&key(0), "small")));
    let mut job = Box::pin(stream.transact(|tx| tx.append(Topic::Replies, large(&key(0), 90_000))));
    assert!(poll_once(&mut small).await.is_none() && poll_once(&mut job).await.is_none());
    drop(release);
    assert_eq!(soon(small).await, Err(AppendError::Full));
    assert!(matches!(soon(job).await, Err(TransactError::Stream(AppendError::Full))));
    assert_eq!(stream.bounds(Topic::Replies).await.unwrap()[0].end, stored);

    fixture.env.advance(fixture.options.retention + Duration::from_secs(1));
    soon(stream.clean()).await.unwrap();
    assert_eq!(fixture.append(Topic::Replies, &key(0), "there is room").await, stored);
    let fixture = fixture.crash().await;
    assert_eq!(fixture.values(Topic::Replies).await, ["there is room"]);
}

#[tokio::test]
async fn job_that_ends_the_transaction_ends_the_writer() {
    let fixture = Fixture::new(options()).await;
    let stream = &fixture.stream;
    let outcome = soon(stream.transact(|tx| Ok(tx.connection().execute_batch("COMMIT")?))).await;
    assert!(matches!(outcome, Err(TransactError::Stream(AppendError::Unknown(_)))), "{outcome:?}");
    assert!(soon(stream.failed()).await.contains("transaction"));
    let refused = soon(stream.append(Topic::Commands, record(&key(0), "late"))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    soon(stream.close()).await;
}

#[tokio::test]
async fn closing_does_what_waits() {
    let fixture = Fixture::new(options()).await;
    let release = hold(&fixture.stream).await;
    let mut waiting = Box::pin(fixture.stream.append(Topic::Commands, record(&key(0), "waits")));
    assert!(poll_once(&mut waiting).await.is_none());
    let mut close = Box::pin(fixture.stream.close());
    assert!(poll_once(&mut close).await.is_none());
    drop(release);
    assert_eq!(soon(waiting).await, Ok((0, 0)));
    soon(close).await;
    let wal = fixture.folder.path().join("dos.sqlite-wal");
    assert_eq!(wal.metadata().map_or(0, |metadata| metadata.len()), 0, "the log is empty after closing");
}

#[tokio::test]
async fn dropping_keeps_what_was_acknowledged() {
    let mut fixture = Fixture::new(options()).await;
    for number in 0..5 {
        assert_eq!(fixture.append(Topic::Commands, &key(0), &number.to_string()).await, number);
        fixture = if number % 2 == 0 { fixture.reopen().await } else { fixture.crash().await };
    }
    assert_eq!(fixture.values(Topic::Commands).await, ["0", "1", "2", "3", "4"]);
}
