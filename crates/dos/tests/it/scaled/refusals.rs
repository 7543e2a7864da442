//! What is wrong with the servers is said, ends what cannot work with it, and loses nothing.

use contract::Topic;
use rdkafka::admin::{AdminOptions, NewPartitions, NewTopic, TopicReplication};
use serde_json::json;

use super::fixture::{Part, Place, admin, sasl, server, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_and_passwords_that_are_wrong_are_told() {
    let place = Place::new();
    let (is_well, said) = place.run(&["doctor", "--kafka", "127.0.0.1:1"]);
    assert!(!is_well && said.contains("problem  brokers: none can be reached at 127.0.0.1:1"), "{said}");
    let wrong = sasl("hunter2");
    let wrong: Vec<_> = wrong.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let store = place.start_with(&["store"], &wrong);
    let said = store.says("uthentication").await;
    assert!(!said.contains("hunter2"), "{said}");
    store.waits_for("store").await;
    let output = place.command(&["doctor"]).envs(wrong).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains("check sasl.mechanism") && !said.contains("hunter2"), "{said}");
    let right = sasl("secret");
    let right: Vec<_> = right.iter().map(|(name, value)| (*name, value.as_str())).collect();
    place.start_with(&["store"], &right).ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_not_made_where_that_is_forbidden() {
    let mut place = Place::new();
    place.settings = "kafka.create_topics = false".to_owned();
    let commands = place.topic(Topic::Commands);
    let gateway = place.start(&["gateway"]);
    let said = place.start(&["store"]).fails().await;
    for part in ["missing topics: ", &commands, "kafka-topics.sh --create --topic", "create_topics is off"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (is_well, said) = place.run(&["doctor"]);
    assert!(!is_well && said.contains(&format!("problem  topic {commands}: it is missing")), "{said}");
    // The gateway says so, and goes on once they are there.
    gateway.says("missing topics: ").await;
    gateway.waits_for("stream").await;
    place.settings = String::new();
    place.start(&["store"]).ready().await;
    gateway.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions_is_refused() {
    let place = Place::new();
    let (gateway, store) = place.ready().await;
    let id = gateway.provider("A").await;
    gateway.terminate().await;
    store.terminate().await;
    let names = Topic::ALL.map(|topic| place.topic(topic));
    let more: Vec<_> = names.iter().map(|name| NewPartitions::new(name, 3)).collect();
    for result in admin().create_partitions(&more, &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
    let said = place.start(&["store"]).fails().await;
    assert!(said.contains("were made with 2 partitions and have 3 now") && said.contains("topic_prefix"), "{said}");
    let (is_well, said) = place.run(&["doctor"]);
    assert!(!is_well && said.contains("were made with 2 partitions and have 3 now"), "{said}");
    let gateway = place.start(&["gateway"]);
    gateway.says("were made with 2 partitions and have 3 now").await;
    gateway.ask("GET", &format!("/provider/{id}"), None).await.expect_problem(503, "not-ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_while_all_run_stop_writes_and_are_told() {
    let place = Place::new();
    let (gateway, store) = place.ready().await;
    let id = gateway.provider("A").await;
    let path = format!("/provider/{id}");
    let names = Topic::ALL.map(|topic| place.topic(topic));
    let more: Vec<_> = names.iter().map(|name| NewPartitions::new(name, 3)).collect();
    for result in admin().create_partitions(&more, &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
    for part in [&gateway, &store] {
        let said = part.says("were made with 2 partitions and have 3 now").await;
        assert!(said.contains("Begin a new topic set"), "{said}");
        part.waits_for("stream").await;
    }
    let refused = gateway.ask("PUT", &path, Some(json!({"name": "B"}))).await;
    refused.expect_problem(503, "stream-unreachable");
    assert_eq!(refused.json["retry"], "safe", "{refused:?}");
    // Reads go on from the view.
    assert_eq!(gateway.ask("GET", &path, None).await.expect(200).json["name"], "A");
    gateway.terminate().await;
    store.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_of_partitions_is_insisted_on_where_it_is_set() {
    let mut place = Place::new();
    used(&place).await;
    let (is_well, said) = place.run(&["doctor"]);
    assert!(is_well, "{said}");
    place.partitions = Some(3);
    let said = place.start(&["store"]).fails().await;
    assert!(said.contains("kafka.partitions is 3") && said.contains("set it to 2"), "{said}");
    let (is_well, said) = place.run(&["doctor"]);
    assert!(!is_well && said.contains("problem  topic set: kafka.partitions is 3"), "{said}");
    let gateway = place.start(&["gateway"]);
    gateway.says("kafka.partitions is 3").await;
    gateway.waits_for("stream").await;
    place.partitions = None;
    let (gateway, store) = place.ready().await;
    gateway.provider("B").await;
    drop(store);
}

async fn delete(names: &[&str]) {
    for result in admin().delete_topics(names, &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
    let are_gone = async || {
        let metadata = admin().inner().fetch_metadata(None, std::time::Duration::from_secs(5)).ok()?;
        metadata.topics().iter().all(|topic| !names.contains(&topic.name())).then_some(())
    };
    wait_for("the topics' end", are_gone, String::new).await;
}

/// A system that was used and stopped.
pub(super) async fn used(place: &Place) {
    let (gateway, store) = place.ready().await;
    for _ in 0..8 {
        gateway.provider("A").await;
    }
    gateway.terminate().await;
    store.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_were_deleted_are_not_made_again_in_silence() {
    let place = Place::new();
    used(&place).await;
    let names = Topic::ALL.map(|topic| place.topic(topic));
    delete(&[&names[0]]).await;
    let said = place.start(&["store"]).fails().await;
    assert!(said.contains("they were deleted and what they held is lost"), "{said}");

    // By hand it can be made, and then the positions lie outside of it.
    let new = NewTopic::new(&names[0], 2, TopicReplication::Fixed(1)).set("cleanup.policy", "delete");
    for result in admin().create_topics(&[new], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
    let said = place.start(&["store"]).fails().await;
    assert!(said.contains("outside the log") && said.contains("restore both from one backup"), "{said}");

    // All of them made again are another stream, which the database does not belong to.
    delete(&names.each_ref().map(String::as_str)).await;
    let said = place.start(&["store"]).fails().await;
    assert!(said.contains("the database belongs to the stream") && said.contains("Another stream"), "{said}");
    let (is_well, said) = place.run(&["doctor"]);
    assert!(!is_well && said.contains("problem  tables: they belong to the stream"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_newer_program_are_left_alone() {
    let place = Place::new();
    used(&place).await;
    let set = async |version: u32| {
        place.sql(&format!("UPDATE {}.store_meta SET value = '{version}' WHERE name = 'version'", place.name)).await;
    };
    set(99).await;
    let said = place.start(&["store"]).fails().await;
    assert!(said.contains("of a newer version than this program knows"), "{said}");
    let (is_well, said) = place.run(&["doctor"]);
    assert!(!is_well && said.contains("have version 99, and this program reads up to 2"), "{said}");
    set(2).await;
    let (gateway, store): (Part, Part) = place.ready().await;
    gateway.ask("POST", "/provider", Some(json!({"name": "B", "published": 1}))).await.expect(201);
    let (is_well, said) = place.run(&["doctor"]);
    assert!(is_well && said.contains("they belong to this stream") && said.contains("all is well"), "{said}");
    drop(store);
}

/// Waiting would not mend it, so whoever started it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_know_the_store_ends_it() {
    let place = Place::new();
    let url = server("DOS_TEST_POSTGRES");
    let (_, rest) = url.split_once('@').unwrap();
    let (address, _) = rest.split_once('/').unwrap();
    for (wrong, reason, mend) in [
        (format!("postgres://nobody:hunter2@{rest}"), "\"nobody\"", "check user and password in database.url"),
        (format!("postgres://postgres@{address}/nowhere"), "\"nowhere\"", "check the name of the database"),
    ] {
        let said = place.start_with(&["store"], &[("DOS_DATABASE__URL", &wrong)]).fails().await;
        assert!(said.contains(reason) && said.contains(mend) && !said.contains("hunter2"), "{said}");
    }
}

/// A store has no API, whose address may stand in settings that it shares with gateways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_address_is_no_matter_of_a_store() {
    let mut place = Place::new();
    place.settings = "snapshot.dir = \"/dev/null/x\"".to_owned();
    let open = [("DOS_LISTEN", "0.0.0.0:1")];
    place.start_with(&["store"], &open).ready().await;
    let said = place.start_with(&["gateway"], &open).fails().await;
    assert!(said.contains("--anonymous read"), "{said}");
    // Nor are snapshots, which a gateway cannot do without when they are asked for.
    let said = place.start(&["gateway"]).fails().await;
    assert!(said.contains("snapshot.dir: the folder /dev/null/x cannot be used: "), "{said}");
    let (is_well, said) = place.run(&["doctor"]);
    assert!(!is_well && said.contains("problem  snapshot folder: "), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_scaled_shape_are_checked_first() {
    let place = Place::new();
    // Nobody tried it, where it stands in the way.
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    for (words, variables, reason) in [
        (&["gateway"][..], &[("DOS_KAFKA__PROPERTIES__ACKS", "1")][..], "error: kafka.properties.acks: "),
        (
            &["gateway"],
            &[("DOS_KAFKA__BROKERS", "127.0.0.1:99999")],
            "error: kafka.brokers: \"127.0.0.1:99999\" is not",
        ),
        (&["gateway"], &[("DOS_REDIS__URL", "http://u:hunter2@h")], "error: redis.url: it begins with one of redis://"),
        (&["gateway", "--listen", "0.0.0.0:1"], &[], "error: listen: 0.0.0.0:1 can be reached from other machines"),
        (&["gateway"], &[("DOS_KAFKA__PARTITIONS", "0")], "error: kafka.partitions: 0 is below 1"),
        (&["gateway"], &[("DOS_KAFKA__CREATE_TOPICS", "perhaps")], "error: kafka.create_topics: "),
        (&["gateway"], &[("DOS_KAFKA__TOPIC_PREFIX", "a b")], "error: kafka.topic_prefix: "),
        (&["store"], &[("DOS_DATABASE__URL", "mysql://u:hunter2@h/d")], "error: database.url: "),
        (&["store"], &[("DOS_DATABASE__SCHEMA", "a;b")], "error: database: the schema"),
        (&["store"], &[("DOS_KAFKA__PROPERTIES__SASL_PASSWORT", "hunter2")], "kafka.properties.sasl.passwort: "),
    ] {
        let mut command = place.command(words);
        command.env("DOS_LISTEN", &address).env("DOS_ADMIN_LISTEN", &address).envs(variables.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(reason) && !said.contains("hunter2"), "{reason}: {said}");
    }
}
