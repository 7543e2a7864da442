//! What happens when answers do not come: the gateway without a data store, and with too much to do.

use std::sync::Arc;

use contract::Env;
use dos::env::System;
use dos::settings::Views;
use gateway::Gateway;
use serde_json::json;
use store::{Sqlite, Store};
use stream::embedded::Embedded;
use tokio::sync::watch;

use crate::harness::{Answer, Api, bounded, eventually, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_too_many_is_refused_at_once_and_nothing_is_produced() {
    let api = Api::start_with(Views::Materialised, |settings| settings.http.in_flight_max = 2).await;
    let writes = (0..64).map(|_| api.post("/provider", json!({"name": "n", "published": 1})));
    let answers = futures_util::future::join_all(writes).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.expect_problem(503, "overloaded").json["retry"], json!("safe"));
    }
    assert!((2..64).contains(&created), "{created} of 64 were carried out");
    assert_eq!(api.get("/provider").await.header("x-total-count"), Some(created.to_string().as_str()));
}

/// A gateway on a stream that no store reads yet.
struct Alone {
    url: String,
    client: reqwest::Client,
    stream: Embedded,
    env: Arc<dyn Env>,
    registry: contract::Registry,
    _stop: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl Alone {
    async fn start(views: Views) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(&folder, views);
        settings.http.read_wait_ms = 300;
        let env: Arc<dyn Env> = Arc::new(System::new());
        let stream = Embedded::open(&settings.data_dir, settings.stream(), Arc::clone(&env)).unwrap();
        let registry = settings.registry().unwrap();
        let gateway = Gateway::start(
            settings.gateway("1").unwrap(),
            registry.clone(),
            Arc::new(stream.clone()),
            Arc::clone(&env),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        env.spawn(Box::pin(gateway::serve(Arc::clone(&gateway), listener, gateway::Access::Write, stopped)));
        bounded(async {
            while !gateway.is_ready() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, client, stream, env, registry, _stop: stop, _folder: folder }
    }

    async fn start_store(&self) -> Store {
        let database = Sqlite::open(self.stream.clone()).await.unwrap();
        let stream = Arc::new(self.stream.clone());
        Store::start(store::Config::default(), self.registry.clone(), stream, Arc::new(database), Arc::clone(&self.env))
            .await
            .unwrap()
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    fn put_new(&self, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.put(format!("{}{path}", self.url)).header("if-none-match", "*");
        request.json(&json!({"name": "n", "published": 1}))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_late_is_pending_and_then_carried_out() {
    for views in [Views::Materialised, Views::OnDemand] {
        let alone = Alone::start(views).await;
        let accepted = Answer::of(alone.put_new("/provider/p").header("prefer", "wait=0")).await;
        assert_eq!(accepted.expect(202).header("preference-applied"), Some("wait=0"));
        let location = accepted.header("location").unwrap().to_owned();
        let pending = Answer::of(alone.get(&location)).await;
        assert_eq!(
            (pending.expect(200).json["status"].as_str(), pending.header("retry-after")),
            (Some("pending"), Some("1"))
        );
        let waited = Answer::of(alone.put_new("/provider/q").header("prefer", "wait=1")).await;
        assert_eq!(waited.expect(202).header("preference-applied"), Some("wait=1"));
        let store = alone.start_store().await;
        let done = eventually(async || {
            let answer = Answer::of(alone.get(&location)).await;
            (answer.expect(200).json["status"] == "succeeded").then_some(answer.json)
        })
        .await;
        assert_eq!(done["href"], json!("/provider/p"));
        for path in ["/provider/p", "/provider/q"] {
            eventually(async || (Answer::of(alone.get(path)).await.status == 200).then_some(())).await;
        }
        store.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retrieve_without_an_answer_is_504() {
    let alone = Alone::start(Views::Materialised).await;
    Answer::of(alone.get("/provider/p")).await.expect_problem(404, "not-found");
    let asked = Answer::of(alone.get("/provider/p").header("cache-control", "no-cache")).await;
    assert_eq!(asked.expect_problem(504, "no-answer").json.get("retry"), None);
    let alone = Alone::start(Views::OnDemand).await;
    Answer::of(alone.get("/provider/p")).await.expect_problem(504, "no-answer");
    Answer::of(alone.get("/provider")).await.expect_problem(504, "no-answer");
    // A time-out is no not-found: nothing of it is remembered.
    let store = alone.start_store().await;
    Answer::of(alone.put_new("/provider/p")).await.expect(201);
    Answer::of(alone.get("/provider/p")).await.expect(200);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_stream_the_gateway_reads_on_and_refuses_writes() {
    let alone = Alone::start(Views::Materialised).await;
    let store = alone.start_store().await;
    Answer::of(alone.put_new("/provider/p")).await.expect(201);
    store.stop().await;
    alone.stream.close().await;
    Answer::of(alone.get("/provider/p")).await.expect(200);
    let refused = Answer::of(alone.put_new("/provider/q")).await;
    assert_eq!(refused.expect_problem(503, "stream-unreachable").json["retry"], json!("safe"));
}
