//! Commands that are read before they are durable, and what becomes of them where they never are.

use contract::Topic;
use stream::conformance::{record, soon};
use stream::embedded::{Options, TransactError};
use stream::{AppendError, Change, Membership, Stream, Tail};

use crate::fixture::{Fixture, hold, key, large, options, poll_once};

async fn join(fixture: &Fixture) -> Box<dyn Membership> {
    let mut member = soon(fixture.stream.reading_ahead().join("store", Topic::Commands)).await.unwrap();
    assert_eq!(soon(member.next()).await, Ok(Change::Assigned(vec![0, 1])));
    member
}

async fn values(tail: &mut Box<dyn Tail>, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let records = soon(tail.next(count)).await.unwrap();
        values.extend(records.into_iter().map(|stored| String::from_utf8(stored.record.value.to_vec()).unwrap()));
    }
    values
}

#[tokio::test]
async fn a_member_sees_what_is_queued_and_others_what_is_durable() {
    let fixture = Fixture::new(options()).await;
    fixture.append(Topic::Commands, &key(0), "before").await;
    let mut member = join(&fixture).await;
    let mut ahead = soon(member.read(0, 0)).await.unwrap();
    let mut durable = soon(fixture.stream.tail(Topic::Commands, 0, 0)).await.unwrap();
    let release = hold(&fixture.stream).await;
    let mut append = Box::pin(fixture.stream.append(Topic::Commands, record(&key(0), "queued")));
    assert!(poll_once(&mut append).await.is_none());
    assert_eq!(values(&mut ahead, 2).await, ["before", "queued"]);
    assert_eq!(values(&mut durable, 1).await, ["before"]);
    let mut next = Box::pin(durable.next(1));
    assert!(poll_once(&mut next).await.is_none(), "a tail saw a command before it was durable");
    // A job behind the command may rest on it.
    let mut job = Box::pin(fixture.stream.transact(|tx| tx.keep_from(Topic::Commands, 0, 2)));
    assert!(poll_once(&mut job).await.is_none());
    drop(release);
    assert_eq!((soon(append).await, soon(job).await.is_ok()), (Ok((0, 1)), true));
    assert_eq!(soon(next).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_member_that_is_far_behind_misses_nothing() {
    let fixture = Fixture::new(options()).await;
    let mut member = join(&fixture).await;
    let mut ahead = soon(member.read(0, 0)).await.unwrap();
    let release = hold(&fixture.stream).await;
    // More than the rings hold.
    let mut appends: Vec<_> = (0..40)
        .map(|number| Box::pin(fixture.stream.append(Topic::Commands, record(&key(0), &number.to_string()))))
        .collect();
    for append in &mut appends {
        assert!(poll_once(append).await.is_none());
    }
    let mut next = Box::pin(ahead.next(1));
    assert!(poll_once(&mut next).await.is_none(), "the first is neither in the ring nor durable");
    drop((next, release));
    let expected: Vec<_> = (0..40).map(|number| number.to_string()).collect();
    assert_eq!(values(&mut ahead, 40).await, expected);
}

#[tokio::test]
async fn lost_commands_revoke_what_was_read() {
    let fixture = Fixture::new(Options { file_bytes_max: Some(1 << 20), ..options() }).await;
    let stream = &fixture.stream;
    while soon(stream.append(Topic::Replies, large(&key(0), 50_000))).await.is_ok() {}
    let mut member = join(&fixture).await;
    let mut ahead = soon(member.read(0, 0)).await.unwrap();
    let release = hold(stream).await;
    let mut lost = Box::pin(stream.append(Topic::Commands, large(&key(0), 90_000)));
    assert!(poll_once(&mut lost).await.is_none());
    assert_eq!(values(&mut ahead, 1).await.len(), 1);
    // What rests on the lost command is lost with it, however late it comes.
    let mut with_it = Box::pin(stream.transact(|tx| tx.keep_from(Topic::Commands, 0, 1)));
    assert!(poll_once(&mut with_it).await.is_none());
    drop(release);
    assert_eq!(soon(lost).await, Err(AppendError::Full));
    assert!(soon(with_it).await.is_err());
    let after_it = soon(stream.transact(|tx| tx.keep_from(Topic::Commands, 0, 1))).await;
    assert!(matches!(after_it, Err(TransactError::Lost)), "{after_it:?}");
    // Its offset is not given out again before the reader has let go of it.
    let refused = soon(stream.append(Topic::Commands, record(&key(0), "too early"))).await;
    assert_eq!(refused, Err(AppendError::Full));
    assert_eq!(soon(member.next()).await, Ok(Change::Revoked(vec![0, 1])));
    assert_eq!(soon(member.next()).await, Ok(Change::Assigned(vec![0, 1])));
    let mut ahead = soon(member.read(0, 0)).await.unwrap();
    fixture.env.advance(fixture.options.retention + std::time::Duration::from_secs(1));
    soon(stream.clean()).await.unwrap();
    assert_eq!(fixture.append(Topic::Commands, &key(0), "another").await, 0);
    assert_eq!(values(&mut ahead, 1).await, ["another"]);
    assert!(soon(stream.transact(|tx| tx.keep_from(Topic::Commands, 0, 1))).await.is_ok());
}

#[tokio::test]
async fn without_a_reader_a_lost_command_holds_nothing_up() {
    let fixture = Fixture::new(Options { file_bytes_max: Some(1 << 20), ..options() }).await;
    let stream = &fixture.stream;
    let mut stored = 0;
    while soon(stream.append(Topic::Commands, large(&key(0), 50_000))).await.is_ok() {
        stored += 1;
    }
    let refused = soon(stream.append(Topic::Commands, large(&key(0), 90_000))).await;
    assert_eq!(refused, Err(AppendError::Full));
    assert_eq!(stream.bounds(Topic::Commands).await.unwrap()[0].end, stored);
    // A reader that left is none.
    drop(join(&fixture).await);
    assert_eq!(soon(stream.append(Topic::Commands, large(&key(0), 90_000))).await, Err(AppendError::Full));
    assert_eq!(soon(stream.append(Topic::Commands, large(&key(0), 90_000))).await, Err(AppendError::Full));
}

#[tokio::test]
async fn a_job_appends_no_commands() {
    let fixture = Fixture::new(options()).await;
    let outcome = soon(fixture.stream.transact(|tx| tx.append(Topic::Commands, record(&key(0), "x")))).await;
    assert!(matches!(outcome, Err(TransactError::Aborted(_))), "{outcome:?}");
}
