//! Partitions that change hands.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Offset, Partition, Topic};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use stream::conformance::{record, soon};
use stream::kafka::{Kafka, Options};
use stream::{Change, Membership, Stream, StreamError, Tail};
use tokio::sync::watch;

use crate::fixture::{brokers, env, options, ready, wait_for};

/// What a store's database would hold: per partition the position and what was read before it.
type Done = Arc<Mutex<HashMap<Partition, (Offset, Vec<String>)>>>;

/// A member as a store is one: reads from the position, and commits by compare-and-set.
async fn work(kafka: Arc<Kafka>, done: Done, mut stop: watch::Receiver<bool>, counts: Arc<Mutex<BTreeMap<u32, u32>>>) {
    let mut member = kafka.join("store", Topic::Commands).await.unwrap();
    let mut tails: HashMap<Partition, Box<dyn Tail>> = HashMap::new();
    loop {
        let change = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            change = member.next() => Some(change.unwrap()),
            () = env().sleep(Duration::from_millis(5)) => None,
        };
        match change {
            Some(Change::Assigned(partitions)) => {
                for partition in partitions {
                    let from = done.lock().unwrap().get(&partition).map_or(0, |(position, _)| *position);
                    tails.insert(partition, member.read(partition, from).await.unwrap());
                }
            }
            Some(Change::Revoked(partitions)) => {
                for partition in partitions {
                    let mut tail = tails.remove(&partition).unwrap();
                    assert_eq!(soon(tail.next(1)).await, Err(StreamError::Revoked));
                }
            }
            None => {}
        }
        for (partition, tail) in &mut tails {
            let Ok(records) = tokio::time::timeout(Duration::from_millis(2), tail.next(7)).await else { continue };
            let records = match records {
                Ok(records) => records,
                Err(StreamError::Revoked) => continue,
                Err(error) => panic!("{error}"),
            };
            let (Some(first), Some(last)) = (records.first(), records.last()) else { continue };
            let mut done = done.lock().unwrap();
            let (position, read) = done.entry(*partition).or_default();
            assert_eq!(*position, first.offset, "two members read partition {partition} at once, or one skipped");
            *position = last.offset + 1;
            read.extend(stream::conformance::texts(&records));
            *counts.lock().unwrap().entry(*partition).or_default() += records.len() as u32;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_loses_and_doubles_nothing() {
    const RECORDS: usize = 600;
    let options = options();
    let kafka = ready(&options).await;
    let (done, world) = (Done::default(), env());
    let start = |kafka: Arc<Kafka>| {
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::<Mutex<BTreeMap<u32, u32>>>::default();
        world.spawn(Box::pin(work(kafka, Arc::clone(&done), stopped, Arc::clone(&counts))));
        (stop, counts)
    };
    let has_read = async |counts: &Arc<Mutex<BTreeMap<u32, u32>>>| {
        wait_for("a member's first records", async || (!counts.lock().unwrap().is_empty()).then_some(())).await;
    };
    let (first, first_counts) = start(Arc::clone(&kafka));
    world.spawn({
        let kafka = Arc::clone(&kafka);
        Box::pin(async move {
            for number in 0..RECORDS {
                kafka
                    .append(Topic::Commands, record(&format!("key-{}", number % 50), &number.to_string()))
                    .await
                    .unwrap();
                env().sleep(Duration::from_millis(10)).await;
            }
        })
    });
    has_read(&first_counts).await;
    // A second one comes, on a stream of its own, and gets some; then the first one leaves.
    let other = ready(&options).await;
    let (second, second_counts) = start(Arc::clone(&other));
    has_read(&second_counts).await;
    first.send_replace(true);
    let total = || done.lock().unwrap().values().map(|(_, read)| read.len()).sum::<usize>();
    wait_for("all records", async || (total() == RECORDS).then_some(())).await;
    let mut numbers: Vec<usize> =
        done.lock().unwrap().values().flat_map(|(_, read)| read).map(|text| text.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..RECORDS).collect::<Vec<_>>());
    assert_eq!(second_counts.lock().unwrap().len(), 3, "the one that stayed has all partitions");
    second.send_replace(true);
}

/// What this member has, as told so far.
async fn settle(member: &mut dyn Membership, count: usize) -> Vec<Partition> {
    let mut has: Vec<Partition> = Vec::new();
    while has.len() != count {
        match soon(member.next()).await.unwrap() {
            Change::Assigned(partitions) => has.extend(partitions),
            Change::Revoked(partitions) => has.retain(|partition| !partitions.contains(partition)),
        }
    }
    has
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_member_stays_and_one_that_ends_is_replaced_at_once() {
    let options = options();
    let kafka = ready(&options).await;
    let mut member = kafka.join("store", Topic::Commands).await.unwrap();
    settle(&mut *member, 3).await;
    let mut tail = member.read(0, 0).await.unwrap();
    // Longer than a session: nobody asks for anything, and the member stays.
    let patience = options.session_timeout + Duration::from_secs(1);
    assert!(tokio::time::timeout(patience, member.next()).await.is_err(), "nothing changes");
    let env = env();
    let before = env.monotonic();
    drop(member);
    assert_eq!(soon(tail.next(1)).await.unwrap_or_default(), [], "at most the end is told");
    assert_eq!(soon(tail.next(1)).await, Err(StreamError::Revoked));
    let other = ready(&options).await;
    let mut next = other.join("store", Topic::Commands).await.unwrap();
    settle(&mut *next, 3).await;
    assert!(env.monotonic() - before < options.session_timeout, "it left, and did not run out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_has_left_when_its_stream_is_closed() {
    let options = options();
    let kafka = ready(&options).await;
    let mut member = kafka.join("store", Topic::Commands).await.unwrap();
    settle(&mut *member, 3).await;
    assert_eq!(members(&options), 1);
    // As a process does that was told to end.
    drop(member);
    kafka.close().await;
    assert_eq!(members(&options), 0, "others need not wait for its session to run out");
}

/// Of the group of stores, as the broker knows them.
fn members(options: &Options) -> usize {
    let asker: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let group = format!("{}dos.store", options.topic_prefix);
    let groups = asker.fetch_group_list(Some(&group), Duration::from_secs(10)).unwrap();
    groups.groups().iter().map(|group| group.members().len()).sum()
}
