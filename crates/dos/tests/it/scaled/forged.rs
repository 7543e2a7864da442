//! Views that no store wrote.

use contract::Topic;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;

use super::fixture::{Part, Place, server, wait_for};

/// Appends a view of this provider as somebody would who may write to the topic and should not.
async fn forge(place: &Place, id: &str, version: &str) {
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", "forged"),
        ("ce_source", "/store/none"),
        ("ce_type", "dos.provider.view"),
        ("ce_subject", id),
        ("ce_time", "2026-11-24T00:00:00Z"),
        ("ce_correlationid", "01a20d10-d7a8-717b-bd3b-e12850e335d1"),
        ("ce_version", version),
        ("content-type", "application/json"),
    ];
    let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_bytes()) })
    });
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server("DOS_TEST_KAFKA")).set("partitioner", "murmur2");
    let producer: FutureProducer = config.create().unwrap();
    let (topic, key) = (place.topic(Topic::Views), format!("provider:{id}"));
    let object = json!({"id": id, "name": "forged", "created": "2026-11-24T00:00:00Z"}).to_string();
    let record = FutureRecord::to(&topic).key(&key).payload(&object).headers(headers);
    producer.send(record, std::time::Duration::from_secs(10)).await.unwrap();
}

async fn reads(gateway: &Part, id: &str, name: &str) {
    let read = async || {
        let answer = gateway.ask("GET", &format!("/provider/{id}"), None).await;
        (answer.status == 200 && answer.json["name"] == name).then_some(())
    };
    wait_for(name, read, || gateway.said()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_with_a_version_beyond_all_bounds_hides_nothing() {
    let place = Place::new();
    let (gateway, store) = place.ready().await;
    let on_demand = place.start(&["gateway", "--views", "on-demand"]);
    on_demand.ready().await;
    let id = gateway.provider("A").await;
    reads(&on_demand, &id, "A").await;
    for (version, so_far) in [("18446744073709551615", 1.0), ("9007199254740992", 2.0)] {
        forge(&place, &id, version).await;
        for part in [&gateway, &on_demand] {
            let count = async || part.metric("dos_views_unreadable_total{topic=\"dos.views\"}").await;
            wait_for("the count", async || count().await.filter(|count| *count == so_far), || part.said()).await;
        }
    }
    assert!(gateway.said().contains("no number from 1 to 9007199254740991"), "{}", gateway.said());
    // The store puts it right, and what is written afterwards is seen everywhere.
    reads(&gateway, &id, "A").await;
    gateway.ask("PUT", &format!("/provider/{id}"), Some(json!({"name": "B"}))).await.expect(200);
    reads(&gateway, &id, "B").await;
    reads(&on_demand, &id, "B").await;
    // Neither does it after a start from the topic.
    gateway.terminate().await;
    let gateway = place.start(&["gateway"]);
    gateway.ready().await;
    reads(&gateway, &id, "B").await;
    drop(store);
}
