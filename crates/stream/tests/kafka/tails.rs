//! Reading where the log has holes.

use std::time::Duration;

use contract::{Headers, Record, Topic};
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use stream::conformance::{record, soon, take, texts};
use stream::kafka::Options;
use stream::{Stream, StreamError, Tail};

use crate::fixture::{admin, brokers, env, name, options, ready};

/// Reads until the tail says that it has passed the end.
async fn to_end(tail: &mut dyn Tail) -> Vec<contract::Stored> {
    let mut read = Vec::new();
    loop {
        match soon(tail.next(100)).await.unwrap() {
            records if records.is_empty() => return read,
            records => read.extend(records),
        }
    }
}

/// The end is told of after each record that comes alone, and the queue calls only when it was empty: a record behind such
/// a word, which nobody took yet, must not wait until the queue is looked at for no reason, a second later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_behind_the_end_is_taken_at_once() {
    let options = Options { partitions: Some(1), ..options() };
    let (kafka, env) = (ready(&options).await, env());
    let mut tail = kafka.tail(Topic::Replies, 0, 0).await.unwrap();
    assert_eq!(to_end(&mut *tail).await, []);
    let mut waited = Duration::ZERO;
    for _ in 0..10 {
        // Nobody asks meanwhile: the first record, the word of the end, the second record come to lie in the queue.
        kafka.append(Topic::Replies, record("a", "1")).await.unwrap();
        assert_eq!(texts(&take(&mut *tail, 1).await), ["1"]);
        env.sleep(Duration::from_millis(300)).await;
        kafka.append(Topic::Replies, record("a", "2")).await.unwrap();
        env.sleep(Duration::from_millis(100)).await;
        let begun = env.monotonic();
        assert_eq!(texts(&take(&mut *tail, 1).await), ["2"]);
        waited += env.monotonic() - begun;
    }
    assert!(waited < Duration::from_secs(4), "ten records were waited for {waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_told_though_no_record_lies_there() {
    let options = Options { partitions: Some(1), ..options() };
    let kafka = ready(&options).await;
    // Only the mark is there, which is no record of ours.
    let mut tail = kafka.tail(Topic::Views, 0, 0).await.unwrap();
    assert_eq!(to_end(&mut *tail).await, []);
    let place = kafka.append(Topic::Views, record("a", "1")).await.unwrap();
    assert_eq!(take(&mut *tail, 1).await[0].offset, place.1);
    // The last offsets are a transaction's marker and one that was taken back.
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("transactional.id", &options.topic_prefix)
        .create()
        .unwrap();
    let views = name(&options, Topic::Views);
    producer.init_transactions(Duration::from_secs(20)).unwrap();
    for (value, commits) in [("2", true), ("3", false)] {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::to(&views).key("b").payload(value)).map_err(|(error, _)| error).unwrap();
        producer.flush(Duration::from_secs(20)).unwrap();
        if commits {
            producer.commit_transaction(Duration::from_secs(20)).unwrap();
        } else {
            producer.abort_transaction(Duration::from_secs(20)).unwrap();
        }
    }
    let bounds = kafka.bounds(Topic::Views).await.unwrap()[0];
    let mut tail = kafka.tail(Topic::Views, 0, 0).await.unwrap();
    let read = to_end(&mut *tail).await;
    assert_eq!(texts(&read), ["1", "2"]);
    assert!(read[1].offset + 1 < bounds.end, "the end is a hole: {bounds:?}");
    let mut tail = kafka.tail(Topic::Views, 0, bounds.end).await.unwrap();
    assert_eq!(to_end(&mut *tail).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_was_removed_is_told_and_nothing_is_skipped() {
    let options = Options { partitions: Some(1), ..options() };
    let kafka = ready(&options).await;
    let mut early = kafka.tail(Topic::Commands, 0, 0).await.unwrap();
    for value in 0..10 {
        kafka.append(Topic::Commands, record("a", &value.to_string())).await.unwrap();
    }
    assert_eq!(texts(&take(&mut *early, 3).await), ["0", "1", "2"]);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&name(&options, Topic::Commands), 0, Offset::Offset(6)).unwrap();
    admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    let outside = |offset| StreamError::OutOfRange { topic: Topic::Commands, partition: 0, offset, start: 6, end: 10 };
    assert_eq!(kafka.tail(Topic::Commands, 0, 2).await.err(), Some(outside(2)));
    assert_eq!(kafka.tail(Topic::Commands, 0, 11).await.err(), Some(outside(11)));
    let mut tail = kafka.tail(Topic::Commands, 0, 6).await.unwrap();
    assert_eq!(texts(&take(&mut *tail, 4).await), ["6", "7", "8", "9"]);
    // A new reader of the place that is gone, which librdkafka has not fetched: on another consumer.
    assert_eq!(texts(&take(&mut *early, 7).await), ["3", "4", "5", "6", "7", "8", "9"], "it was fetched before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tails_begin_again_where_they_were_dropped() {
    let kafka = ready(&Options { partitions: Some(1), ..options() }).await;
    let mut position = kafka.bounds(Topic::Views).await.unwrap()[0].end;
    for value in 0..60 {
        kafka.append(Topic::Views, record("a", &value.to_string())).await.unwrap();
    }
    let mut read = Vec::new();
    while read.len() < 60 {
        let mut tail = kafka.tail(Topic::Views, 0, position).await.unwrap();
        let records = take(&mut *tail, 3).await;
        position = records[2].offset + 1;
        read.extend(texts(&records));
    }
    assert_eq!(read, (0..60).map(|value| value.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_others_are_read_whatever_they_hold() {
    let options = Options { partitions: Some(1), ..options() };
    let kafka = ready(&options).await;
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers()).set("compression.type", "zstd").create().unwrap();
    let commands = name(&options, Topic::Commands);
    producer.send(BaseRecord::<(), ()>::to(&commands)).map_err(|(error, _)| error).unwrap();
    let headers = OwnedHeaders::new().insert(Header { key: "a", value: None::<&[u8]> });
    let sent = BaseRecord::<[u8], [u8]>::to(&commands).key(&[0, 255][..]).payload(&[1, 254][..]).headers(headers);
    producer.send(sent).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
    let mut tail = kafka.tail(Topic::Commands, 0, 0).await.unwrap();
    let read: Vec<_> = take(&mut *tail, 2).await.into_iter().map(|stored| stored.record).collect();
    let none = Record { key: "".into(), headers: Headers::default(), value: "".into() };
    let some = Record {
        key: vec![0, 255].into(),
        headers: Headers::from_pairs([("a", &b""[..])]),
        value: vec![1, 254].into(),
    };
    assert_eq!(read, [none, some]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_clients_find_keys_and_headers() {
    let options = Options { partitions: Some(1), ..options() };
    let kafka = ready(&options).await;
    kafka.append(Topic::Replies, record("a", "1")).await.unwrap();
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers()).set("group.id", "test").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&name(&options, Topic::Replies), 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let message = consumer.poll(Duration::from_secs(20)).unwrap().unwrap().detach();
    use rdkafka::message::{Headers as _, Message as _};
    assert_eq!((message.key(), message.payload()), (Some(&b"a"[..]), Some(&b"1"[..])));
    let header = message.headers().unwrap().get(0);
    assert_eq!((header.key, header.value), ("ce_id", Some(&b"a"[..])));
}
