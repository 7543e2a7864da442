//! What every adapter of the port must do, as a suite that its tests run.
//!
//! Each check begins at the end of a log that may hold records already, and uses keys of its own, so that one log
//! serves for all. A violation panics, as in any test.

// These functions are assertions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::{Env, Headers, Offset, Partition, Record, Stored, Topic, partition};
use tokio::sync::mpsc;

use crate::{AppendError, Change, Stream, StreamError, Tail, Topology};

/// How long an effect is waited for; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the stream that is tested.
#[async_trait::async_trait]
pub trait Factory: Send + Sync {
    /// The adapter.
    type Stream: Stream;

    /// Opens the log.
    async fn open(&self) -> Arc<Self::Stream>;

    /// Ends this handle as a crash would, without closing it, and opens what is left of the log.
    async fn crash(&self, stream: Arc<Self::Stream>) -> Arc<Self::Stream>;

    /// Closes the handle in good order.
    async fn close(&self, stream: &Self::Stream);

    /// Ids and tasks.
    fn env(&self) -> Arc<dyn Env>;
}

/// All checks, one after another.
pub async fn all<F: Factory>(factory: &F) {
    let stream = factory.open().await;
    order_per_key(&stream, &*factory.env()).await;
    positions(&*stream, &*factory.env()).await;
    two_tails(&*stream, &*factory.env()).await;
    cancelled_reads_lose_nothing(&*stream, &*factory.env()).await;
    group_resumes_at_the_callers_position(&*stream, &*factory.env()).await;
    message_limit(&*stream, &*factory.env()).await;
    let stream = durable_before_acknowledged(factory, stream).await;
    closed(factory, stream).await;
}

/// Records of one key are read in the order in which they were acknowledged, each at the place that was answered.
pub async fn order_per_key<S: Stream>(stream: &Arc<S>, env: &dyn Env) {
    const PRODUCERS: usize = 8;
    const RECORDS: usize = 40;
    let run = env.uuid();
    let partitions = topology(&**stream).await.partitions;
    let from = ends(&**stream, Topic::Views).await;
    let (done, mut places) = mpsc::unbounded_channel();
    for producer in 0..PRODUCERS {
        let (stream, done) = (Arc::clone(stream), done.clone());
        env.spawn(Box::pin(async move {
            for number in 0..RECORDS {
                let record = record(&format!("{run}:{}", (producer + number) % 5), &format!("{producer} {number}"));
                let place = stream.append(Topic::Views, record.clone()).await.unwrap();
                done.send((place, record)).unwrap();
            }
        }));
    }
    drop(done);
    let mut acknowledged = HashMap::new();
    while let Some((place, record)) = soon(places.recv()).await {
        assert_eq!(place.0, partition::of_key(&record.key, partitions), "a record lies in its key's partition");
        assert!(acknowledged.insert(place, record).is_none(), "two records at one place");
    }
    assert_eq!(acknowledged.len(), PRODUCERS * RECORDS);
    let mut last: HashMap<(Bytes, String), usize> = HashMap::new();
    for stored in read_to_end(&**stream, Topic::Views, &from).await {
        assert_eq!(acknowledged.remove(&(stored.partition, stored.offset)), Some(stored.record.clone()));
        let (producer, number) =
            text(&stored).split_once(' ').map(|(p, n)| (p.to_owned(), n.parse().unwrap())).unwrap();
        let before = last.insert((stored.record.key, producer), number);
        assert!(before.is_none_or(|before| before < number), "a key's records out of order");
    }
    assert!(acknowledged.is_empty(), "acknowledged records were not read");
}

/// A tail begins where it was told; at the end it waits for what comes; past it there is nothing to wait for.
pub async fn positions<S: Stream>(stream: &S, env: &dyn Env) {
    let key = env.uuid().to_string();
    let (number, first) = stream.append(Topic::Replies, record(&key, "0")).await.unwrap();
    for value in ["1", "2"] {
        stream.append(Topic::Replies, record(&key, value)).await.unwrap();
    }
    let bounds = stream.bounds(Topic::Replies).await.unwrap();
    assert_eq!(bounds.len(), topology(stream).await.partitions as usize);
    let bounds = bounds[number as usize];
    assert!(bounds.start <= first && bounds.end > first + 2, "the bounds hold what was acknowledged: {bounds:?}");

    let mut tail = stream.tail(Topic::Replies, number, first + 1).await.unwrap();
    assert_eq!(texts(&take(&mut *tail, 2).await), ["1", "2"]);
    let mut at_end = stream.tail(Topic::Replies, number, bounds.end).await.unwrap();
    let (read, appended) = tokio::join!(take(&mut *at_end, 1), stream.append(Topic::Replies, record(&key, "3")));
    assert_eq!((texts(&read), Ok((number, read[0].offset))), (vec!["3".to_owned()], appended));

    let beyond = match stream.tail(Topic::Replies, number, bounds.end + 1000).await {
        Ok(mut tail) => soon(tail.next(1)).await.err(),
        Err(error) => Some(error),
    };
    assert!(matches!(beyond, Some(StreamError::OutOfRange { .. })), "a position past the end: {beyond:?}");
}

/// Tails do not take records from each other.
pub async fn two_tails<S: Stream>(stream: &S, env: &dyn Env) {
    let key = env.uuid().to_string();
    let number = partition::of_key(key.as_bytes(), topology(stream).await.partitions);
    let from = ends(stream, Topic::Views).await[number as usize];
    let mut one = stream.tail(Topic::Views, number, from).await.unwrap();
    let mut other = stream.tail(Topic::Views, number, from).await.unwrap();
    let mut expected = Vec::new();
    for value in 0..20 {
        stream.append(Topic::Views, record(&key, &value.to_string())).await.unwrap();
        expected.push(value.to_string());
    }
    assert_eq!(texts(&take(&mut *one, 20).await), expected);
    assert_eq!(texts(&take(&mut *other, 20).await), expected);
}

/// A `next` that is dropped before it completes takes nothing along.
pub async fn cancelled_reads_lose_nothing<S: Stream>(stream: &S, env: &dyn Env) {
    let key = env.uuid().to_string();
    let number = partition::of_key(key.as_bytes(), topology(stream).await.partitions);
    let from = ends(stream, Topic::Replies).await[number as usize];
    let mut tail = stream.tail(Topic::Replies, number, from).await.unwrap();
    let mut read = Vec::new();
    for value in 0..10 {
        // Polled once, and dropped unless it is ready.
        read.extend(tokio::time::timeout(Duration::ZERO, tail.next(3)).await.unwrap_or(Ok(Vec::new())).unwrap());
        stream.append(Topic::Replies, record(&key, &value.to_string())).await.unwrap();
    }
    let missing = 10 - read.len();
    read.extend(take(&mut *tail, missing).await);
    assert_eq!(texts(&read), (0..10).map(|value| value.to_string()).collect::<Vec<_>>());
}

/// Who takes a partition over reads on from the position that the caller kept.
pub async fn group_resumes_at_the_callers_position<S: Stream>(stream: &S, env: &dyn Env) {
    let (group, key) = (format!("group-{}", env.uuid()), env.uuid().to_string());
    let partitions = topology(stream).await.partitions;
    let number = partition::of_key(key.as_bytes(), partitions);
    let mut position = ends(stream, Topic::Commands).await[number as usize];
    for value in 0..4 {
        stream.append(Topic::Commands, record(&key, &value.to_string())).await.unwrap();
    }
    let mut read = Vec::new();
    for _ in 0..2 {
        let mut member = soon(stream.join(&group, Topic::Commands)).await.unwrap();
        let mut assigned = Vec::new();
        while assigned.len() < partitions as usize {
            match soon(member.next()).await.unwrap() {
                Change::Assigned(partitions) => assigned.extend(partitions),
                Change::Revoked(partitions) => assigned.retain(|partition| !partitions.contains(partition)),
            }
        }
        assigned.sort_unstable();
        assert_eq!(assigned, (0..partitions).collect::<Vec<_>>(), "one member has all partitions, each once");
        let mut tail = soon(member.read(number, position)).await.unwrap();
        let records = take(&mut *tail, 2).await;
        position = records[1].offset + 1;
        read.extend(texts(&records));
    }
    assert_eq!(read, ["0", "1", "2", "3"]);
}

/// A record of the largest size is taken and read; one byte more is refused.
pub async fn message_limit<S: Stream>(stream: &S, env: &dyn Env) {
    let mut largest = record(&env.uuid().to_string(), "");
    let size_bytes_max = topology(stream).await.message_bytes_max;
    let room = size_bytes_max - largest.size_bytes();
    largest.value = vec![b'x'; room].into();
    let (number, offset) = stream.append(Topic::Commands, largest.clone()).await.unwrap();
    let mut tail = stream.tail(Topic::Commands, number, offset).await.unwrap();
    assert!(take(&mut *tail, 1).await[0].record == largest, "the largest record is read as it was written");
    let over = Record { value: vec![b'x'; room + 1].into(), ..largest };
    let size_bytes = over.size_bytes();
    assert_eq!(stream.append(Topic::Commands, over).await, Err(AppendError::TooLarge { size_bytes, size_bytes_max }));
}

/// What was acknowledged is there after a crash, at its place, in the same log.
pub async fn durable_before_acknowledged<F: Factory>(factory: &F, stream: Arc<F::Stream>) -> Arc<F::Stream> {
    let from = ends(&*stream, Topic::Commands).await;
    let mut expected = HashMap::new();
    for value in 0..30 {
        let record = record(&factory.env().uuid().to_string(), &value.to_string());
        expected.insert(stream.append(Topic::Commands, record.clone()).await.unwrap(), record);
    }
    let before = topology(&*stream).await;
    let stream = factory.crash(stream).await;
    assert_eq!(topology(&*stream).await, before);
    let found = read_to_end(&*stream, Topic::Commands, &from).await;
    let found: HashMap<_, _> =
        found.into_iter().map(|stored| ((stored.partition, stored.offset), stored.record)).collect();
    assert_eq!(found, expected);
    stream
}

/// After closing nothing is taken, nothing waits for ever, and the log opens again.
pub async fn closed<F: Factory>(factory: &F, stream: Arc<F::Stream>) {
    let from = ends(&*stream, Topic::Views).await[0];
    let mut tail = stream.tail(Topic::Views, 0, from).await.unwrap();
    let mut member = stream.join("closed", Topic::Views).await.unwrap();
    tokio::join!(
        async { while soon(tail.next(1)).await != Err(StreamError::Closed) {} },
        async { while soon(member.next()).await != Err(StreamError::Closed) {} },
        factory.close(&stream),
    );
    let refused = stream.append(Topic::Views, record("key", "value")).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert!(stream.bounds(Topic::Views).await.is_err());
    assert!(stream.tail(Topic::Views, 0, from).await.is_err());
    drop((stream, tail, member));
    let stream = factory.open().await;
    stream.append(Topic::Views, record("key", "value")).await.unwrap();
}

/// A record with one header.
pub fn record(key: &str, value: &str) -> Record {
    let headers = Headers::from_pairs([("ce_id", key.as_bytes())]);
    Record { key: key.to_owned().into(), headers, value: value.to_owned().into() }
}

/// Exactly so many records from a tail.
pub async fn take(tail: &mut dyn Tail, count: usize) -> Vec<Stored> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let records = soon(tail.next(count - taken.len())).await.unwrap();
        assert!(records.len() <= count - taken.len(), "next gives at most records_max records");
        taken.extend(records);
    }
    taken
}

/// The values, as text.
pub fn texts(records: &[Stored]) -> Vec<String> {
    records.iter().map(|stored| text(stored).to_owned()).collect()
}

/// All records between these offsets and the end of each partition.
pub async fn read_to_end<S: Stream>(stream: &S, topic: Topic, from: &[Offset]) -> Vec<Stored> {
    let mut read: Vec<Stored> = Vec::new();
    for ((number, from), end) in (0..).zip(from).zip(ends(stream, topic).await) {
        let mut position = *from;
        let mut tail = stream.tail(topic, number as Partition, position).await.unwrap();
        while position < end {
            let records = soon(tail.next(7)).await.unwrap();
            if records.is_empty() {
                break;
            }
            for stored in &records {
                assert!(stored.partition == number && stored.offset >= position, "offsets grow");
                position = stored.offset + 1;
            }
            read.extend(records);
        }
    }
    read
}

/// The log's fixed properties.
pub async fn topology<S: Stream>(stream: &S) -> Topology {
    soon(stream.topology()).await.unwrap()
}

async fn ends<S: Stream>(stream: &S, topic: Topic) -> Vec<Offset> {
    stream.bounds(topic).await.unwrap().into_iter().map(|bounds| bounds.end).collect()
}

fn text(stored: &Stored) -> &str {
    std::str::from_utf8(&stored.record.value).unwrap()
}

/// Waits with a bound.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("waited too long")
}
