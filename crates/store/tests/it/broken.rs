//! Events that no store can read are set aside and block nothing.

use contract::wire::cloudevents::encode_command;
use contract::{Action, CommandId, Headers, OutcomeStatus, Record, Slug, Topic};
use serde_json::json;
use tempfile::tempdir;

use crate::harness::System;

/// The record with one header replaced, or removed.
fn with_header(record: &Record, name: &str, value: Option<&str>) -> Record {
    let kept = record.headers.iter().filter(|(n, _)| *n != name.as_bytes());
    let kept = kept.map(|(n, v)| (std::str::from_utf8(n).unwrap(), v));
    let headers = Headers::from_pairs(kept.chain(value.map(|value| (name, value.as_bytes()))));
    Record { headers, ..record.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_events_are_set_aside_and_answered_where_possible() {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let good = |system: &System| system.create("provider:a", json!({"name":"A","published":1}));
    let mut answerable: Vec<CommandId> = Vec::new();
    let mut send = Vec::new();
    let mut spoil = |command: contract::Command, record: Record| {
        answerable.push(command.id);
        send.push(record);
    };
    let encode = |system: &System, command: &contract::Command| encode_command(command, &system.registry);

    let command = good(&system);
    let record = encode(&system, &command);
    spoil(command, Record { value: "{\"name\":\"A\",".into(), ..record });
    let command = good(&system);
    let record = encode(&system, &command);
    spoil(command, Record { value: "{\"name\":\"A\",\"name\":\"B\"}".into(), ..record });
    let command = good(&system);
    let record = encode(&system, &command);
    spoil(command, with_header(&record, "ce_type", Some("dos.provider.explode")));
    let command = good(&system);
    let record = encode(&system, &command);
    spoil(command, with_header(&record, "ce_specversion", None));
    let command = system.create("unicorn:a", json!({"name":"A"}));
    let record = encode(&system, &command);
    spoil(command, record);
    send.push(Record { key: "no key at all".into(), headers: Headers::default(), value: "\u{0}".into() });
    send.push(with_header(&encode(&system, &good(&system)), "ce_correlationid", Some("no UUID")));
    for record in &send {
        system.append(record.clone()).await;
    }
    // Behind all of them, on whichever partition.
    let after = good(&system);
    system.send(&after).await;
    system.start_store().await;
    assert_eq!(system.answer(after.id).await.view().version, 1);
    for id in &answerable {
        assert_eq!(system.answer(*id).await.rejected(), Slug::CommandFailed);
    }
    assert_eq!(system.operation("provider:a", answerable[0]).await, (OutcomeStatus::Failed, None));
    let quarantined = system.records(Topic::Quarantine).await;
    assert_eq!(quarantined.len(), send.len());
    for stored in &quarantined {
        assert!(stored.record.key.starts_with(b"dos.commands:"));
        assert!(!stored.record.headers.get("dos_reason").unwrap().is_empty());
        assert!(send.iter().any(|record| record.value == stored.record.value));
    }
    assert_eq!(system.left_over(), 0);
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_event_does_not_touch_the_outcome_of_a_good_one() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    let command = system.create("provider:a", json!({"name":"A","published":1}));
    let record = encode_command(&command, &system.registry);
    assert_eq!(system.ask(command.clone()).await.view().version, 1);
    system.append(Record { value: "{".into(), ..record }).await;
    assert_eq!(system.answer(command.id).await.outcome(), (OutcomeStatus::Succeeded, Some(1)));
    assert_eq!(system.operation("provider:a", command.id).await, (OutcomeStatus::Succeeded, Some(1)));
    assert_eq!(system.records(Topic::Quarantine).await.len(), 1);
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_event_can_be_set_aside() {
    let dir = tempdir().unwrap();
    let mut system = System::start(dir.path()).await;
    let command = system.command("provider:a", Action::Update(serde_json::Map::new()));
    let mut record = encode_command(&command, &system.registry);
    let room = (2 << 20) - record.size_bytes();
    record.value = vec![b'x'; room + record.value.len()].into();
    system.append(record).await;
    assert_eq!(system.answer(command.id).await.rejected(), Slug::CommandFailed);
    assert_eq!(system.records(Topic::Quarantine).await.len(), 1);
    system.close().await;
}
