//! Starts and restarts, with everything there and with something away.

use std::time::Duration;

use contract::Env as _;
use dos::env::System;
use serde_json::json;

use super::fixture::{Place, Relay, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateway_and_store_are_processes_of_their_own() {
    let place = Place::new();
    let (gateway, store) = place.ready().await;
    let id = gateway.provider("A").await;
    let path = format!("/provider/{id}");
    assert_eq!(gateway.ask("GET", &path, None).await.expect(200).json["name"], "A");
    gateway.ask("PUT", &path, Some(json!({"name": "B"}))).await.expect(200);

    store.terminate().await;
    // Nobody carries it out now, and it is not lost.
    let request = gateway.ask("PUT", &format!("{path}?"), Some(json!({"description": "later"}))).await;
    request.expect(202);
    let operation = request.header("location").unwrap().to_owned();
    let begun = System::new();
    let pending = gateway.ask_with("GET", &operation, &[("prefer", "wait=1")], None).await;
    assert_eq!((&pending.expect(200).json["status"], pending.header("retry-after")), (&"pending".into(), Some("1")));
    assert!(begun.monotonic() >= Duration::from_secs(1) && pending.header("preference-applied") == Some("wait=1"));
    // Both who has the operation in mind and who must ask for it wait for its end.
    let other = place.start(&["gateway"]);
    other.ready().await;
    let wait = [("prefer", "wait=30")];
    let asked = async {
        tokio::join!(gateway.ask_with("GET", &operation, &wait, None), other.ask_with("GET", &operation, &wait, None))
    };
    let store = place.start(&["store"]);
    let (here, there) = asked.await;
    assert_eq!((&here.expect(200).json["status"], &there.expect(200).json), (&"succeeded".into(), &here.json));
    store.ready().await;
    other.terminate().await;

    gateway.terminate().await;
    let gateway = place.start(&["gateway"]);
    gateway.ready().await;
    let read = gateway.ask("GET", &path, None).await;
    assert_eq!((&read.expect(200).json["name"], &read.json["description"]), (&"B".into(), &"later".into()));
    let on_demand = place.start(&["gateway", "--views", "on-demand"]);
    on_demand.ready().await;
    assert_eq!(on_demand.ask("GET", &path, None).await.expect(200).text, read.text);
    for part in [on_demand, gateway, store] {
        part.terminate().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_runs_both_on_kafka_with_a_file_for_the_entities() {
    let place = Place::new();
    let database = format!("sqlite:{}", place.folder.path().join("store").display());
    let serve = || place.start(&["serve", "--database", &database]);
    let both = serve();
    both.ready().await;
    let id = both.provider("A").await;
    both.terminate().await;
    let both = serve();
    both.ready().await;
    let path = format!("/provider/{id}");
    assert_eq!(both.ask("PUT", &path, Some(json!({"name": "B"}))).await.expect(200).json["name"], "B");
    let (is_well, said) = place.run(&["doctor", "--database", &database]);
    assert!(is_well && said.contains("a running process has it"), "{said}");
    both.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_may_come_later() {
    let place = Place::new();
    let relay = Relay::to(server("DOS_TEST_KAFKA").split(',').next().unwrap());
    let brokers = relay.address.to_string();
    let (gateway, store) =
        (place.start(&["gateway", "--kafka", &brokers]), place.start(&["store", "--kafka", &brokers]));
    gateway.waits_for("stream").await;
    store.waits_for("store").await;
    let ready = gateway.ask("GET", "/health/ready", None).await;
    ready.expect(503);
    assert!(ready.json["errors"]["stream"].is_string() && !ready.text.contains(&brokers), "{ready:?}");
    gateway.ask("GET", "/health/alive", None).await.expect(200);
    gateway.ask("GET", "/provider/x", None).await.expect_problem(503, "not-ready");
    gateway.says(&format!("no broker can be reached at {brokers}")).await;
    // A probe that asks every second tells the log nothing.
    assert!(!gateway.said().contains("path=\"/health/ready\""), "{}", gateway.said());
    relay.open().await;
    gateway.ready().await;
    store.ready().await;
    gateway.provider("A").await;
    gateway.terminate().await;
    store.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_may_come_later() {
    let place = Place::new();
    let url = server("DOS_TEST_POSTGRES");
    let (user, rest) = url.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let relay = Relay::to(address);
    let through = format!("{user}@{}/{name}", relay.address);
    let store = place.start_with(&["store"], &[("DOS_DATABASE__URL", &through)]);
    store.waits_for("database").await;
    store.says("the store waits for its database").await;
    let gateway = place.start(&["gateway"]);
    gateway.ready().await;
    // The stream has it: it is carried out when the store can.
    let later = gateway.ask("PUT", "/provider/x", Some(json!({"name": "A"}))).await;
    later.expect(202);
    relay.open().await;
    store.ready().await;
    gateway.provider("A").await;
    gateway.terminate().await;
    store.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_a_newer_schema_are_shown_as_far_as_they_are_known() {
    let place = Place::new();
    let entities = place.folder.path().join("entities");
    std::fs::create_dir(&entities).unwrap();
    let file = crate::harness::root().join("entities/costoption.json");
    let mut schema: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    schema["properties"]["colour"] = json!({"type": ["string", "null"], "maxLength": 20});
    std::fs::write(entities.join("costoption.json"), schema.to_string()).unwrap();
    let flags = ["--entities", entities.to_str().unwrap()];
    let store = place.start(&[["store"].as_slice(), &flags].concat());
    let newer = place.start(&[["gateway"].as_slice(), &flags].concat());
    let older = place.start(&["gateway"]);
    for part in [&store, &newer, &older] {
        part.ready().await;
    }
    let made = newer.ask("POST", "/costoption", Some(json!({"option": "Free", "colour": "red"}))).await;
    assert_eq!(made.expect(201).json["colour"], "red");
    let path = made.header("location").unwrap();
    let read = super::fixture::wait_for(
        "the view",
        async || Some(older.ask("GET", path, None).await).filter(|read| read.status != 404),
        || older.said(),
    )
    .await;
    assert_eq!((&read.expect(200).json["option"], read.json.get("colour")), (&"Free".into(), None));
    // What the older one changes keeps what it does not know.
    older.ask("PUT", path, Some(json!({"option": "Paid"}))).await.expect(200);
    let read = super::fixture::wait_for(
        "the change",
        async || Some(newer.ask("GET", path, None).await).filter(|read| read.json["option"] == "Paid"),
        || newer.said(),
    )
    .await;
    assert_eq!(read.json["colour"], "red");
}
