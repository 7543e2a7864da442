//! A system of its own for each test, and clients to drive it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::Env;
use dos::env::System;
use dos::serve::{Door, Running};
use dos::settings::{Role, Settings};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) use crate::shapes::Shape;

/// The longest that anything here is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs each test on every shape, as `TEST::SHAPE`. A test gets a system that runs, whose settings `TEST(CHANGE)` changes
/// before it starts; one after `shape =>` gets the shape alone.
macro_rules! matrix {
    (shape => $($test:ident)*) => {
        $(mod $test {
            $crate::harness::matrix!(@shapes $test, (shape));
        })*
    };
    ($($test:ident $(($change:expr))?)*) => {
        $(mod $test {
            #[allow(unused_imports, reason = "a change may be a function of the test's own file")]
            use super::*;
            $crate::harness::matrix!(@shapes $test, ($($change)?));
        })*
    };
    (@shapes $test:ident, $change:tt) => {
        $crate::harness::matrix! {
            @each $test, $change,
            embedded Embedded,
            embedded_on_demand EmbeddedOnDemand,
            embedded_redis EmbeddedRedis,
            kafka_postgres KafkaPostgres,
            kafka_postgres_redis KafkaPostgresRedis,
            kafka_sqlite KafkaSqlite,
        }
    };
    (@each $test:ident, (shape), $($name:ident $shape:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            super::$test($crate::harness::Shape::$shape).await;
        })*
    };
    (@each $test:ident, (), $($rest:tt)*) => {
        $crate::harness::matrix!(@each $test, (|_| {}), $($rest)*);
    };
    (@each $test:ident, ($change:expr), $($name:ident $shape:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let shape = $crate::harness::Shape::$shape;
            super::$test($crate::harness::Api::start_with(shape, $change).await).await;
        })*
    };
}
pub(crate) use matrix;

/// A running system with its data in a folder of its own.
pub(crate) struct Api {
    pub(crate) running: Option<Running>,
    pub(crate) settings: Settings,
    pub(crate) shape: Shape,
    client: reqwest::Client,
    url: String,
    _folder: Option<TempDir>,
    _door: Option<Door>,
}

impl Api {
    pub(crate) async fn start_with(shape: Shape, change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_in(shape, change, Arc::new(System::new())).await
    }

    /// A system in a world of the test's own, until it is restarted.
    pub(crate) async fn start_in(shape: Shape, change: impl FnOnce(&mut Settings), env: Arc<dyn Env>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = shape.settings(&folder);
        change(&mut settings);
        Self { _folder: Some(folder), ..Self::open(shape, settings, env).await }
    }

    async fn open(shape: Shape, settings: Settings, env: Arc<dyn Env>) -> Self {
        let running = Running::start(&settings, env, None).await.unwrap();
        bounded(running.ready()).await;
        let url = format!("http://{}", running.address().unwrap());
        let client = client();
        Self { running: Some(running), settings, shape, client, url, _folder: None, _door: None }
    }

    /// Another gateway of the same system; where the system has room for one only, another way into that.
    pub(crate) async fn second(&self) -> Self {
        if self.shape.is_scaled() {
            let env: Arc<dyn Env> = Arc::new(System::new());
            let settings = self.settings.clone();
            let running = Running::start_as(Role::Gateway, &settings, env, None).await.unwrap();
            bounded(running.ready()).await;
            let url = format!("http://{}", running.address().unwrap());
            let (shape, client) = (self.shape, client());
            return Self { running: Some(running), settings, shape, client, url, _folder: None, _door: None };
        }
        let door = self.running.as_ref().unwrap().open_door().await.unwrap();
        let url = format!("http://{}", door.address);
        let (settings, shape, client) = (self.settings.clone(), self.shape, client());
        Self { running: None, settings, shape, client, url, _folder: None, _door: Some(door) }
    }

    /// Stops the system in order and starts it again on the same data.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let folder = self._folder.take();
        *self =
            Self { _folder: folder, ..Self::open(self.shape, self.settings.clone(), Arc::new(System::new())).await };
    }

    pub(crate) async fn stop(&mut self) {
        // Connections that a client keeps open would have to be waited for.
        self.client = client();
        if let Some(running) = self.running.take() {
            bounded(running.stop()).await;
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request("POST", path).json(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request("PUT", path).json(&body)).await
    }

    /// Creates an entity at a chosen id.
    pub(crate) async fn put_new(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request("PUT", path).header("if-none-match", "*").json(&body)).await
    }

    /// Creates a provider and gives its id.
    pub(crate) async fn provider(&self, name: &str) -> String {
        let answer = self.post("/provider", json!({"name": name, "published": 1})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json["id"].as_str().unwrap().to_owned()
    }

    /// Sends bytes as they are over a connection of its own, and reads until the server closes it.
    pub(crate) async fn raw(&self, request: &[u8]) -> Answer {
        let mut socket = TcpStream::connect(self.address()).await.unwrap();
        // The server may answer, and close, before it has read everything.
        let _ = socket.write_all(request).await;
        let mut bytes = Vec::new();
        let _ = bounded(socket.read_to_end(&mut bytes)).await;
        Answer::parse(&bytes)
    }
}

/// A response, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) text: String,
    /// Null where the body is no JSON.
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await
    }

    async fn read(response: Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let text = response.text().await.unwrap();
        Self::new(status, headers, text)
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self::new(status, lines.filter_map(header).collect(), body.to_owned())
    }

    fn new(status: u16, headers: Vec<(String, String)>, text: String) -> Self {
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, json }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Checks that this is a problem of the closed list, whole and consistent.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, slug: &str) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json["type"], format!("/problem/{slug}"), "{self:?}");
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["code"], status);
        assert_eq!(self.json["message"], self.json["detail"]);
        assert!(!self.json["detail"].as_str().unwrap().is_empty() && !self.json["title"].as_str().unwrap().is_empty());
        assert_eq!(self.header("x-request-id"), self.json["request_id"].as_str(), "{self:?}");
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Pointers, parameters or headers of the errors, in order.
    pub(crate) fn places(&self) -> Vec<&str> {
        let errors = self.json["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let kinds = ["pointer", "parameter", "header"];
        errors.iter().filter_map(|error| kinds.iter().find_map(|kind| error.get(*kind)?.as_str())).collect()
    }
}

/// A client with connections of its own.
pub(crate) fn client() -> reqwest::Client {
    // Certificates are not needed on loopback, but the client wants a provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

/// Waits for a future, but not for ever.
pub(crate) async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Asks again until it is as wanted.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    bounded(async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            System::new().sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
