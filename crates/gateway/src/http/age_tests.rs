//! Reads while the stream is away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::{Offset, Partition, Record, Registry, Stored, Topic};
use http::Request;
use stream::{AppendError, Bounds, Membership, Stream, StreamError, Tail, Topology};

use crate::config::{Access, Config, ViewMode};
use crate::gateway::Gateway;
use crate::test_env::env;

/// A stream without a record, which went away.
struct Away;

struct Silent;

#[async_trait::async_trait]
impl Tail for Silent {
    async fn next(&mut self, _: usize) -> Result<Vec<Stored>, StreamError> {
        std::future::pending().await
    }
}

#[async_trait::async_trait]
impl Stream for Away {
    async fn topology(&self) -> Result<Topology, StreamError> {
        Ok(Topology { cluster: "c".to_owned(), partitions: 1, message_bytes_max: 1 << 20 })
    }

    fn away_for(&self) -> Option<Duration> {
        Some(Duration::from_millis(7900))
    }

    async fn append(&self, _: Topic, _: Record) -> Result<(Partition, Offset), AppendError> {
        Err(AppendError::Unavailable("gone".to_owned()))
    }

    async fn bounds(&self, _: Topic) -> Result<Vec<Bounds>, StreamError> {
        Ok(vec![Bounds { start: 0, end: 0 }])
    }

    async fn tail(&self, _: Topic, _: Partition, _: Offset) -> Result<Box<dyn Tail>, StreamError> {
        Ok(Box::new(Silent))
    }

    async fn join(&self, _: &str, _: Topic) -> Result<Box<dyn Membership>, StreamError> {
        Err(StreamError::Closed)
    }
}

fn config() -> Config {
    let second = Duration::from_secs(1);
    Config {
        instance: "i".to_owned(),
        public_url: String::new(),
        topic_prefix: String::new(),
        views: ViewMode::Materialised,
        in_flight_max: 8,
        connections_max: 8,
        write_wait: second,
        read_wait: second,
        receive_timeout: second,
        drain_timeout: second,
        cache_bytes: 1 << 20,
        cache_ttl: second,
        not_found_ttl: second,
        shared_cache: None,
        snapshot_dir: None::<PathBuf>,
        snapshot_every: second,
        feed: crate::FeedConfig::default(),
    }
}

#[tokio::test]
async fn reads_say_how_old_the_view_is_and_writes_are_refused() {
    let env = env();
    let gateway = Gateway::start(config(), Registry::built_in().unwrap(), Arc::new(Away), Arc::clone(&env)).unwrap();
    while !gateway.is_ready() {
        env.sleep(Duration::from_millis(1)).await;
    }
    let ask = async |method: &str, path: &str, body: &'static str| {
        let request = Request::builder().method(method).uri(path).header("host", "x");
        let request = request.header("content-type", "application/json").body(Bytes::from_static(body.as_bytes()));
        let response = gateway.answer(Access::Write, request.unwrap()).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), header("age"), header("retry-after"))
    };
    let seven = Some("7".to_owned());
    assert_eq!(ask("GET", "/provider", "").await, (200, seven.clone(), None));
    assert_eq!(ask("HEAD", "/provider", "").await, (200, seven.clone(), None));
    assert_eq!(ask("GET", "/provider/p", "").await, (404, seven, None));
    assert_eq!(ask("GET", "/provider?limit=x", "").await, (400, None, None));
    assert_eq!(ask("GET", "/versions", "").await, (200, None, None));
    let refused = ask("POST", "/provider", r#"{"name":"n","published":1}"#).await;
    assert_eq!(refused, (503, None, Some("1".to_owned())));
}
