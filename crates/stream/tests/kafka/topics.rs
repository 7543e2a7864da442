//! Topics that are not as they should be.

use contract::Topic;
use rdkafka::admin::{AdminOptions, NewPartitions};
use stream::conformance::{record, soon, topology};
use stream::kafka::Options;
use stream::{AppendError, Stream, StreamError};

use crate::fixture::{admin, good_settings, make, name, open, options, ready, unusable, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topics_are_named_where_they_may_not_be_made() {
    let options = Options { create_topics: false, ..options() };
    let reason = unusable(&options).await;
    assert!(reason.contains("create_topics") && reason.contains(&name(&options, Topic::Views)), "{reason}");
    assert!(reason.contains("cleanup.policy=compact"), "it says how to make them: {reason}");
    // The same stream takes them once they are there.
    let kafka = open(&options);
    assert!(matches!(soon(kafka.topology()).await, Err(StreamError::Unusable(_))));
    make(&options, |topic| (3, good_settings(topic))).await;
    let topology = wait_for("the topology", async || kafka.topology().await.ok()).await;
    assert_eq!(topology.partitions, 3);
    let limit = topology.message_bytes_max;
    assert!((1_000_000..1_048_588).contains(&limit), "the topics' limit is Kafka's default: {limit}");
    let large = contract::Record { value: vec![b'x'; limit].into(), ..record("a", "") };
    let refused = kafka.append(Topic::Commands, large).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { size_bytes_max, .. }) if size_bytes_max == limit));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_lose_data_are_refused() {
    for (topic, setting, value) in [
        (Topic::Views, "cleanup.policy", "delete"),
        (Topic::Views, "cleanup.policy", "compact,delete"),
        (Topic::Commands, "cleanup.policy", "compact"),
        (Topic::Replies, "max.message.bytes", "100000"),
    ] {
        let options = options();
        make(&options, |other| (1, if other == topic { vec![(setting, value)] } else { good_settings(other) })).await;
        let reason = unusable(&options).await;
        assert!(reason.contains(&name(&options, topic)) && reason.contains(&format!("{setting}={value}")), "{reason}");
        assert!(reason.contains("kafka-configs.sh"), "it says what to do: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_of_several_sizes_are_refused() {
    let options = options();
    make(&options, |topic| (if topic == Topic::Replies { 2 } else { 3 }, good_settings(topic))).await;
    let reason = unusable(&options).await;
    assert!(reason.contains("same number") && reason.contains("dos.replies 2"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_of_partitions_that_was_asked_for_is_insisted_on() {
    let options = options();
    let none_said = Options { partitions: None, ..options.clone() };
    make(&options, |topic| (2, good_settings(topic))).await;
    let check = async || {
        let reason = unusable(&options).await;
        for part in ["kafka.partitions is 3", "have 2", "set it to 2", "begin a new topic set"] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
    };
    check().await;
    assert_eq!(topology(&*ready(&none_said).await).await.partitions, 2, "who says nothing takes what there is");
    check().await;
    let new = Options { topic_prefix: format!("{}new.", options.topic_prefix), ..none_said };
    assert_eq!(topology(&*ready(&new).await).await.partitions, 4, "the default of topics that are made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn added_partitions_are_refused() {
    let options = options();
    let kafka = ready(&options).await;
    for topic in Topic::ALL {
        let name = name(&options, topic);
        let more = NewPartitions::new(&name, 5);
        admin().create_partitions([&more], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    }
    let reason = unusable(&options).await;
    assert!(reason.contains("made with 3 partitions and have 5"), "{reason}");
    // Who runs takes no commands any more, and says why; what was accepted is answered.
    let refusal = async || match kafka.append(Topic::Commands, record("a", "1")).await {
        Err(AppendError::Unavailable(reason)) => Some(reason),
        other => other.map(|_| None).unwrap(),
    };
    let reason = wait_for("the refusal", refusal).await;
    assert!(reason.contains("made with 3 partitions and have 5") && reason.contains("topic_prefix"), "{reason}");
    let unusable = soon(kafka.topology()).await;
    assert!(matches!(&unusable, Err(StreamError::Unusable(said)) if *said == reason), "{unusable:?}");
    kafka.append(Topic::Views, record("a", "1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_is_not_made_again_in_silence() {
    let options = options();
    let before = topology(&*ready(&options).await).await;
    let commands = name(&options, Topic::Commands);
    admin().delete_topics(&[&commands], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let reason = unusable(&options).await;
    assert!(reason.contains(&commands) && reason.contains("deleted"), "{reason}");
    // With the views gone as well there is nothing left to belong to: this is another log.
    let rest: Vec<_> = Topic::ALL.into_iter().filter(|t| *t != Topic::Commands).map(|t| name(&options, t)).collect();
    let rest: Vec<_> = rest.iter().map(String::as_str).collect();
    admin().delete_topics(&rest, &AdminOptions::new()).await.unwrap();
    let after = topology(&*ready(&options).await).await;
    assert_ne!(after.cluster, before.cluster);
}
