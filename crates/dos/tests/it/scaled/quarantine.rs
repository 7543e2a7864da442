//! Events that no store can read are set aside, listed, and sent again.

use std::path::Path;

use serde_json::Value;

use super::fixture::{Place, server, wait_for};
use crate::command_line::{Process, dos};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

const COMMAND: &str = "01a20d10-d7a8-717b-bd3b-e12850e335d1";

/// A command that no store of today can read, and one day's could.
const HEADERS: [(&str, &str); 8] = [
    ("ce_specversion", "1.0"),
    ("ce_id", COMMAND),
    ("ce_source", "/gateway/test"),
    ("ce_type", "dos.meadow.create"),
    ("ce_subject", "m"),
    ("ce_time", "2026-11-24T00:00:00Z"),
    ("ce_correlationid", COMMAND),
    ("content-type", "application/json"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_aside_is_listed_and_sent_again() {
    let place = Place::new();
    let (gateway, store) = place.ready().await;
    let (_, said) = place.run(&["quarantine", "list"]);
    assert!(said.contains("no event is set aside"), "{said}");
    let headers = HEADERS.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_bytes()) })
    });
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", server("DOS_TEST_KAFKA")).create().unwrap();
    let topic = place.topic(contract::Topic::Commands);
    let record = FutureRecord::to(&topic).key("meadow:m").payload("{\"name\":\"M\"}").headers(headers);
    producer.send(record, std::time::Duration::from_secs(10)).await.unwrap();
    let listed = wait_for(
        "the event",
        async || Some(place.run(&["quarantine", "list"]).1).filter(|said| said.contains("dos.meadow.create")),
        || store.said(),
    )
    .await;
    assert!(listed.contains("there is no entity type") && listed.lines().count() == 1, "{listed}");
    let lay = listed.split(' ').next().unwrap();
    let (_, shown) = place.run(&["quarantine", "show", lay]);
    let without_prefix = lay.strip_prefix(&format!("{}.", place.name)).unwrap();
    assert_eq!(place.run(&["quarantine", "show", without_prefix]), (true, shown.clone()));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["place"], &shown["event"]["key"]), (&lay.into(), &"meadow:m".into()));
    assert_eq!(shown["event"]["data"]["name"], "M");
    for (name, value) in HEADERS {
        assert_eq!(shown["event"]["headers"][name], value, "{name}");
    }
    assert_eq!(shown["event"]["headers"].as_object().unwrap().len(), HEADERS.len(), "as it came: {shown}");

    // As long as no store knows the type it comes back.
    assert!(lay.starts_with(&format!("{topic}:")), "it is the topic that the broker knows: {lay}");
    let (is_well, said) = place.run(&["quarantine", "resend", lay]);
    assert!(is_well && said.contains(&format!("sent again as {topic}:")) && said.contains("--new-id"), "{said}");
    let twice = async || Some(place.run(&["quarantine", "list"]).1).filter(|said| said.lines().count() == 2);
    wait_for("the event again", twice, || store.said()).await;
    let (is_well, said) = place.run(&["quarantine", "resend", "dos.commands:0:99999"]);
    assert!(!is_well && said.contains("is not in quarantine"), "{said}");
    gateway.provider("A").await;

    // A store and a gateway that know it carry it out.
    gateway.terminate().await;
    store.terminate().await;
    let entities = place.folder.path().join("entities");
    std::fs::create_dir(&entities).unwrap();
    meadow(&entities);
    let flags = ["--entities", entities.to_str().unwrap()];
    let store = place.start(&[["store"].as_slice(), &flags].concat());
    let gateway = place.start(&[["gateway"].as_slice(), &flags].concat());
    store.ready().await;
    gateway.ready().await;
    let (is_well, said) = place.run(&["quarantine", "resend", "--new-id", lay]);
    assert!(is_well && said.contains("with the new id"), "{said}");
    let there = async || Some(gateway.ask("GET", "/meadow/m", None).await).filter(|read| read.status == 200);
    assert_eq!(wait_for("the entity", there, || store.said()).await.json["name"], "M");
}

fn meadow(folder: &Path) {
    let file = crate::harness::root().join("entities/costoption.json");
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(folder.join("meadow.json"), text.replace("costoption", "meadow").replace("option", "name")).unwrap();
}

/// The embedded file has one writer.
#[test]
fn in_the_embedded_file_it_is_sent_again_while_nobody_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let entities = folder.path().join("entities");
    std::fs::create_dir(&entities).unwrap();
    meadow(&entities);
    let flags = ["--entities", entities.to_str().unwrap()];
    let quarantine = |words: &[&str]| {
        let output = dos().arg("quarantine").args(words).arg("--data-dir").arg(&data).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.success(), text)
    };
    let file = folder.path().join("meadow.jsonl");
    std::fs::write(&file, "{\"id\":\"m\",\"name\":\"M\"}\n").unwrap();
    // A command that the type's own store carries out is one that a store without it sets aside.
    let mut server = Process::serve(&data, &flags);
    server.until_ready();
    Process::run(&["import", file.to_str().unwrap(), "--url", &server.url()]).succeeds();
    server.terminate();
    assert!(quarantine(&["list"]).1.contains("no event is set aside"));
    rewind(&data);
    let mut server = Process::serve(&data, &[]);
    server.until_ready();
    let listed = {
        let mut listed = String::new();
        for _ in 0..200 {
            listed = quarantine(&["list"]).1;
            if listed.contains("dos.meadow.") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        listed
    };
    assert!(listed.contains("there is no entity type"), "{listed}");
    let lay = listed.split(' ').next().unwrap();
    let (is_well, said) = quarantine(&["resend", lay]);
    assert!(!is_well && said.contains("is its only writer"), "{said}");
    server.terminate();
    let (is_well, said) = quarantine(&["resend", "--new-id", lay]);
    assert!(is_well && said.contains("sent again as dos.commands:"), "{said}");
}

/// Lets the store read its commands once more, remembering nothing of them.
fn rewind(data: &Path) {
    let connection = rusqlite::Connection::open(data.join("dos.sqlite")).unwrap();
    connection.execute_batch("DELETE FROM store_outcomes; UPDATE store_positions SET next = NULL;").unwrap();
}
