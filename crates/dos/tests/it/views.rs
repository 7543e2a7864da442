//! What reads are answered from: the cache that gateways share, and the snapshot of the view.

use std::time::Duration;

use contract::{Env as _, Topic};
use dos::env::System;
use serde_json::json;

use crate::harness::{Api, PATIENCE, Shape};

/// How many commands there have been.
async fn commands(api: &Api) -> u64 {
    let bounds = api.running.as_ref().unwrap().stream().bounds(Topic::Commands).await.unwrap();
    bounds.iter().map(|bounds| bounds.end).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_gateway_asked_for_another_reads_from_redis() {
    for shape in [Shape::EmbeddedRedis, Shape::KafkaPostgresRedis] {
        reads_from_redis(Api::start_with(shape, |_| {}).await).await;
    }
}

async fn reads_from_redis(mut api: Api) {
    let id = api.provider("One").await;
    let (path, missing) = (format!("/provider/{id}"), "/provider/missing");
    // The first reads ask the data store; what it says is kept in Redis, where the next process finds it.
    let answered = async |api: &Api| (api.get(&path).await, api.get(missing).await);
    let (first, none) = answered(&api).await;
    assert_eq!((first.status, none.status), (200, 404));
    let reads = async {
        loop {
            api.restart().await;
            let before = commands(&api).await;
            // Redis is reached a moment after the gateway is ready.
            System::new().sleep(Duration::from_millis(50)).await;
            let (again, none) = answered(&api).await;
            assert_eq!((again.status, none.status), (200, 404));
            assert_eq!((&again.json, again.header("etag")), (&first.json, first.header("etag")));
            if commands(&api).await == before {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reads).await.expect("Redis never answered");
    // A write is read at once, from whichever.
    for n in 0..20 {
        let name = format!("Name {n}");
        assert_eq!(api.put(&path, json!({ "name": name })).await.status, 200);
        assert_eq!(api.get(&path).await.json["name"], name);
        if n % 5 == 0 {
            api.restart().await;
            assert_eq!(api.get(&path).await.json["name"], name);
        }
    }
    assert_eq!(api.put_new(missing, json!({"name": "There", "published": 1})).await.status, 201);
    assert_eq!(api.get(missing).await.status, 200);
    api.restart().await;
    assert_eq!(api.get(missing).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_not_there_costs_nothing_but_speed() {
    let api = Api::start_with(Shape::EmbeddedOnDemand, |settings| {
        settings.redis.url = Some("redis://:secret@127.0.0.1:1/".into());
    })
    .await;
    assert_eq!(api.get("/health/ready").await.status, 200);
    let id = api.provider("One").await;
    assert_eq!(api.get(&format!("/provider/{id}")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_begins_with_the_snapshot() {
    for shape in [Shape::Embedded, Shape::KafkaPostgres] {
        begins_with_the_snapshot(shape).await;
    }
}

async fn begins_with_the_snapshot(shape: Shape) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("snapshot");
    let mut api = Api::start_with(shape, |settings| settings.snapshot.dir = Some(dir.clone())).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(api.provider(&format!("{n}")).await);
    }
    let before = api.get("/provider?limit=200").await;
    api.restart().await;
    let file = dir.join("views.snapshot");
    assert!(file.exists(), "it was written at the end");
    assert_eq!(api.get("/provider?limit=200").await.json, before.json);
    assert_eq!(api.put(&format!("/provider/{}", ids[3]), json!({"name": "new"})).await.status, 200);
    api.restart().await;
    // Damaged while nobody looked: the topic has it all.
    api.stop().await;
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    api.restart().await;
    let after = api.get("/provider?limit=200").await;
    assert_eq!(after.json.as_array().unwrap().len(), 20);
    assert_eq!(api.get(&format!("/provider/{}", ids[3])).await.json["name"], "new");
}
