//! What happens when answers do not come: the gateway without a data store, and with too much to do.

use std::sync::Arc;

use contract::Env;
use dos::env::System;
use dos::serve::Running;
use dos::settings::{Role, Settings, Views};
use gateway::Gateway;
use serde_json::json;
use store::{Sqlite, Store};
use stream::embedded::Embedded;
use tokio::sync::watch;

use crate::harness::{Answer, Api, Shape, bounded, client, eventually, matrix};

matrix! {
    one_too_many_is_refused_at_once_and_nothing_is_produced(|settings| settings.http.in_flight_max = 2)
}
matrix! { shape =>
    a_write_whose_answer_is_late_is_pending_and_then_carried_out
    a_retrieve_without_an_answer_is_504
    a_stream_that_cannot_finish_is_cut
}

async fn one_too_many_is_refused_at_once_and_nothing_is_produced(api: Api) {
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
    settings: Settings,
    parts: Parts,
    _folder: tempfile::TempDir,
}

enum Parts {
    /// The embedded stream is its process's, so the parts are put together here.
    Embedded { stream: Embedded, env: Arc<dyn Env>, registry: contract::Registry, _stop: watch::Sender<bool> },
    /// A gateway as in a process of its own.
    Scaled(#[expect(dead_code, reason = "it runs as long as it is held")] Running),
}

/// A store that was started later.
enum Late {
    Embedded(Store),
    Scaled(Running),
}

impl Late {
    async fn stop(self) {
        match self {
            Self::Embedded(store) => store.stop().await,
            Self::Scaled(running) => running.stop().await,
        }
    }
}

impl Alone {
    async fn start(shape: Shape) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = shape.settings(&folder);
        settings.http.read_wait_ms = 300;
        let (address, parts) =
            if shape.is_scaled() { Self::scaled(&settings).await } else { Self::embedded(&settings).await };
        Self { url: format!("http://{address}"), client: client(), settings, parts, _folder: folder }
    }

    async fn scaled(settings: &Settings) -> (std::net::SocketAddr, Parts) {
        let running = Running::start_as(Role::Gateway, settings, Arc::new(System::new()), None).await.unwrap();
        bounded(running.ready()).await;
        (running.address().unwrap(), Parts::Scaled(running))
    }

    async fn embedded(settings: &Settings) -> (std::net::SocketAddr, Parts) {
        let env: Arc<dyn Env> = Arc::new(System::new());
        let stream = Embedded::open(&settings.data_dir, settings.stream(), Arc::clone(&env)).unwrap();
        let registry = settings.registry().unwrap();
        let gateway = Gateway::start(
            settings.gateway("1").unwrap(),
            registry.clone(),
            Arc::new(stream.clone()),
            Arc::clone(&env),
        )
        .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        env.spawn(Box::pin(gateway::serve(Arc::clone(&gateway), listener, gateway::Access::Write, stopped)));
        bounded(async {
            while !gateway.is_ready() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        (address, Parts::Embedded { stream, env, registry, _stop: stop })
    }

    async fn start_store(&self) -> Late {
        match &self.parts {
            Parts::Embedded { stream, env, registry, .. } => {
                let database = Arc::new(Sqlite::open(stream.clone()).await.unwrap());
                let stream = Arc::new(stream.clone());
                let config = store::Config::default();
                Late::Embedded(Store::start(config, registry.clone(), stream, database, Arc::clone(env)).await.unwrap())
            }
            Parts::Scaled(_) => {
                let env = Arc::new(System::new());
                Late::Scaled(Running::start_as(Role::Store, &self.settings, env, None).await.unwrap())
            }
        }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    fn put_new(&self, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.put(format!("{}{path}", self.url)).header("if-none-match", "*");
        request.json(&json!({"name": "n", "published": 1}))
    }
}

async fn a_write_whose_answer_is_late_is_pending_and_then_carried_out(shape: Shape) {
    let alone = Alone::start(shape).await;
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

async fn a_retrieve_without_an_answer_is_504(shape: Shape) {
    let alone = Alone::start(shape).await;
    let asked = Answer::of(alone.get("/provider/p").header("cache-control", "no-cache")).await;
    assert_eq!(asked.expect_problem(504, "no-answer").json.get("retry"), None);
    match alone.settings.views {
        Views::Materialised => drop(Answer::of(alone.get("/provider/p")).await.expect_problem(404, "not-found")),
        Views::OnDemand => {
            Answer::of(alone.get("/provider/p")).await.expect_problem(504, "no-answer");
            Answer::of(alone.get("/provider")).await.expect_problem(504, "no-answer");
        }
    }
    // A time-out is no not-found: nothing of it is remembered.
    let store = alone.start_store().await;
    Answer::of(alone.put_new("/provider/p")).await.expect(201);
    Answer::of(alone.get("/provider/p")).await.expect(200);
    store.stop().await;
}

/// On demand the data store has the rows; it ends while the first of them are read.
async fn a_stream_that_cannot_finish_is_cut(shape: Shape) {
    const COUNT: usize = 120;
    let alone = Alone::start(shape).await;
    let store = alone.start_store().await;
    // More than sockets hold.
    let details = "x".repeat(60_000);
    for number in 0..COUNT {
        let body = json!({"name": "n", "address": "a", "details": details});
        let request = alone.client.put(format!("{}/venue/v{number}", alone.url)).header("if-none-match", "*");
        Answer::of(request.json(&body)).await.expect(201);
    }
    let request = alone.get("/venue").header("accept", "application/x-ndjson");
    let mut response = bounded(request.send()).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["x-total-count"]),
        (reqwest::StatusCode::OK, &"120".parse().unwrap())
    );
    store.stop().await;
    let mut text = Vec::new();
    let ended = bounded(async {
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => text.extend_from_slice(&chunk),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    })
    .await;
    let rows = text.split(|byte| *byte == b'\n').filter(|row| row.ends_with(b"}")).count();
    match alone.settings.views {
        Views::Materialised => assert!(ended.is_ok() && rows == COUNT, "{rows} rows, {ended:?}"),
        // Not even its end of the chunks comes: a client cannot take what it has for all there is.
        Views::OnDemand => assert!(ended.is_err() && (1..COUNT).contains(&rows), "{rows} rows, {ended:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_stream_the_gateway_reads_on_and_refuses_writes() {
    let alone = Alone::start(Shape::Embedded).await;
    let store = alone.start_store().await;
    Answer::of(alone.put_new("/provider/p")).await.expect(201);
    store.stop().await;
    let Parts::Embedded { stream, .. } = &alone.parts else { panic!("the shape has no stream of its own") };
    stream.close().await;
    Answer::of(alone.get("/provider/p")).await.expect(200);
    let refused = Answer::of(alone.put_new("/provider/q")).await;
    assert_eq!(refused.expect_problem(503, "stream-unreachable").json["retry"], json!("safe"));
}
