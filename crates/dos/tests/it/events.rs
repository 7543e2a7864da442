//! Bad events on the stream: each is set aside or named, none blocks, no older view is given for a newer one.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use contract::wire::cloudevents;
use contract::{Headers, Record, Stored, Topic};
use serde_json::json;

use crate::harness::{Answer, Api, bounded, eventually, matrix};

matrix! {
    commands_that_cannot_be_read_are_quarantined
    a_view_that_cannot_be_read_hides_the_entity_until_the_next
    retrieves_of_one_key_share_an_event
    events_carry_what_the_contract_says
}

/// All records of a topic from the beginning of each partition, but for those that are about the stream itself.
pub(crate) async fn records(api: &Api, topic: Topic) -> Vec<Stored> {
    let stream = api.running.as_ref().unwrap().stream();
    let mut records = Vec::new();
    for (partition, bounds) in (0..).zip(stream.bounds(topic).await.unwrap()) {
        let mut tail = stream.tail(topic, partition, bounds.start).await.unwrap();
        let mut next = bounds.start;
        while next < bounds.end {
            let batch = bounded(tail.next(256)).await.unwrap();
            // Nothing comes where only gaps are left.
            let Some(last) = batch.last() else { break };
            next = last.offset + 1;
            records.extend(batch.into_iter().filter(|stored| !stored.record.is_about_stream()));
        }
    }
    records
}

pub(crate) async fn append(api: &Api, topic: Topic, key: &str, headers: &[(&str, &str)], value: &'static [u8]) {
    let headers = Headers::from_pairs(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    let record = Record { key: key.to_owned().into(), headers, value: Bytes::from_static(value) };
    api.running.as_ref().unwrap().stream().append(topic, record).await.unwrap();
}

fn header(record: &Record, name: &str) -> String {
    String::from_utf8(record.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_vec()).unwrap()
}

/// The attributes of an event of its own: a repeated id would be a repeated command.
fn attributes(event_type: &str) -> Vec<(&str, &str)> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = uuid::Uuid::from_u128(NEXT.fetch_add(1, Ordering::Relaxed).into()).to_string().leak();
    vec![
        ("ce_specversion", "1.0"),
        ("ce_id", id),
        ("ce_source", "/test"),
        ("ce_type", event_type),
        ("ce_time", "2026-11-24T00:00:00Z"),
        ("ce_correlationid", id),
        ("content-type", "application/json"),
    ]
}

async fn commands_that_cannot_be_read_are_quarantined(api: Api) {
    append(&api, Topic::Commands, "provider:p", &[], b"no CloudEvent").await;
    append(&api, Topic::Commands, "rocket:p", &attributes("dos.rocket.create"), b"{}").await;
    append(&api, Topic::Commands, "provider:p", &attributes("dos.provider.create"), b"{\"name\":").await;
    append(&api, Topic::Commands, "provider:p", &attributes("dos.provider.explode"), b"{}").await;
    append(&api, Topic::Commands, "\u{ff}", &attributes("dos.provider.create"), b"{}").await;
    // One that can be read, but breaks the schema, is answered.
    append(&api, Topic::Commands, "provider:p", &attributes("dos.provider.create"), b"{\"name\":7}").await;
    // On every partition something comes behind them, and is carried out.
    for i in 0..32 {
        api.put_new(&format!("/provider/p{i}"), json!({"name": "n", "published": 1})).await.expect(201);
    }
    let quarantined = records(&api, Topic::Quarantine).await;
    assert_eq!(quarantined.len(), 5);
    for stored in &quarantined {
        assert!(std::str::from_utf8(&stored.record.key).unwrap().starts_with("dos.commands:"));
        assert!(!header(&stored.record, "dos_reason").is_empty());
    }
    assert!(quarantined.iter().any(|stored| &stored.record.value[..] == b"no CloudEvent"));
    let replies = records(&api, Topic::Replies).await;
    let rejected: Vec<_> = replies.iter().filter(|r| header(&r.record, "ce_type") == "dos.provider.rejected").collect();
    assert!(rejected.iter().any(|r| String::from_utf8_lossy(&r.record.value).contains("invalid-entity")));
    api.get("/provider/p").await.expect_problem(404, "not-found");
}

async fn a_view_that_cannot_be_read_hides_the_entity_until_the_next(api: Api) {
    api.put_new("/provider/p", json!({"name": "n", "published": 1})).await.expect(201);
    let mut broken = attributes("dos.provider.view");
    broken.push(("ce_version", "2"));
    append(&api, Topic::Views, "provider:p", &broken, b"{\"id\":\"p\",").await;
    if api.shape.is_scaled() {
        // A store looks after the views of its partitions: what is not its own it follows with the view that holds.
        eventually(async || (records(&api, Topic::Views).await.len() == 3).then_some(())).await;
        eventually(async || {
            let answer = api.get("/provider/p").await;
            (answer.status == 200).then_some(()).or_else(|| {
                answer.expect_problem(503, "unreadable-view");
                None
            })
        })
        .await;
    } else {
        let answer = eventually(async || Some(api.get("/provider/p").await).filter(|a| a.status != 200)).await;
        answer.expect_problem(503, "unreadable-view");
    }
    let rows = api.get("/provider").await;
    assert!(rows.expect(200).json.as_array().unwrap().len() <= 1);
    // The store's own state is sound; its next view lifts the mark.
    let asked = Answer::of(api.request("GET", "/provider/p").header("cache-control", "no-cache")).await;
    asked.expect(200);
    api.put("/provider/p", json!({"name": "m"})).await.expect(200);
    assert_eq!(api.get("/provider/p").await.expect(200).json["name"], json!("m"));
    assert_eq!(api.get("/provider").await.header("x-total-count"), Some("1"));
}

async fn retrieves_of_one_key_share_an_event(api: Api) {
    api.put_new("/provider/p", json!({"name": "n", "published": 1})).await.expect(201);
    let before = retrieves(&api).await;
    let reads = (0..32).map(|_| Answer::of(api.request("GET", "/provider/p").header("cache-control", "no-cache")));
    for answer in futures_util::future::join_all(reads).await {
        answer.expect(200);
    }
    let sent = retrieves(&api).await - before;
    assert!((1..32).contains(&sent), "{sent} retrieve events for 32 reads at once");
}

async fn retrieves(api: &Api) -> usize {
    let commands = records(api, Topic::Commands).await;
    commands.iter().filter(|stored| header(&stored.record, "ce_type") == "dos.provider.retrieve").count()
}

async fn events_carry_what_the_contract_says(api: Api) {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = api.request("PUT", "/provider/p").header("if-none-match", "*").header("x-request-id", "label-1");
    let request =
        request.header("traceparent", trace).header("authorization", "Bearer secret").header("cookie", "secret");
    Answer::of(request.json(&json!({"name": "n", "published": 1}))).await.expect(201);
    let registry = contract::Registry::built_in().unwrap();
    let commands = records(&api, Topic::Commands).await;
    let record =
        &commands.iter().find(|stored| header(&stored.record, "ce_type") == "dos.provider.create").unwrap().record;
    let command = cloudevents::decode_command(record, &registry).unwrap();
    assert_eq!(&record.key[..], b"provider:p");
    assert_eq!(header(record, "ce_specversion"), "1.0");
    let instance = &api.running.as_ref().unwrap().instance;
    assert_eq!(header(record, "ce_source"), format!("/gateway/{instance}"));
    assert_eq!(header(record, "ce_subject"), "p");
    assert_eq!(header(record, "ce_id"), command.id.to_string());
    assert_eq!(header(record, "ce_requestid"), "label-1");
    assert_eq!(header(record, "ce_traceparent"), trace);
    assert!(header(record, "ce_dataschema").starts_with("/schema/provider#"));
    assert!(!format!("{record:?}").contains("secret"), "credentials never reach the stream");
    let views = records(&api, Topic::Views).await;
    let view = cloudevents::decode_view(&views[0].record).unwrap();
    assert_eq!((view.version, view.correlation), (1, command.id));
    assert_eq!(header(&views[0].record, "ce_source"), format!("/store/{instance}"));
    assert_eq!(view.object.unwrap(), api.get("/provider/p").await.text);
}
