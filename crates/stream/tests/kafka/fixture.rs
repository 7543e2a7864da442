//! Streams on topics of their own.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::env::BoxFuture;
use contract::{Env, Timestamp, Topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use stream::kafka::{Kafka, Options};
use stream::{Stream, StreamError};

/// How long an effect is waited for; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The real world.
struct RealEnv {
    start: Instant,
}

#[allow(clippy::disallowed_methods, reason = "this is where tests take the time and spawn")]
pub(crate) fn env() -> Arc<dyn Env> {
    Arc::new(RealEnv { start: Instant::now() })
}

#[allow(clippy::disallowed_methods, reason = "this is where tests take the time and spawn")]
impl Env for RealEnv {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self) -> [u8; 10] {
        let number = || RandomState::new().build_hasher().finish().to_be_bytes();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&number());
        random[8..].copy_from_slice(&number()[..2]);
        random
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }
}

/// Where Kafka is.
pub(crate) fn brokers() -> String {
    std::env::var("DOS_TEST_KAFKA").expect(
        "DOS_TEST_KAFKA is not set: this test needs Kafka; start it with `cargo xtask servers kafka` and set what it prints",
    )
}

/// Topics that no other test has.
pub(crate) fn options() -> Options {
    let topic_prefix = format!("test-{}.", env().uuid());
    Options { brokers: brokers(), topic_prefix, partitions: Some(3), ..Options::default() }
}

pub(crate) fn open(options: &Options) -> Arc<Kafka> {
    Arc::new(Kafka::open(options.clone(), env()).unwrap())
}

/// Opened, and its topics are there.
pub(crate) async fn ready(options: &Options) -> Arc<Kafka> {
    let (kafka, env) = (open(options), env());
    let begun = env.monotonic();
    while let Err(error) = kafka.topology().await {
        assert!(env.monotonic() - begun < PATIENCE, "waited too long for the topology: {error}");
        env.sleep(Duration::from_millis(50)).await;
    }
    kafka
}

/// The answer, as soon as there is one.
pub(crate) async fn wait_for<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            env().sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// What a stream on these topics says a person must change.
pub(crate) async fn unusable(options: &Options) -> String {
    let kafka = open(options);
    wait_for("the refusal", async || match kafka.topology().await {
        Err(StreamError::Unusable(reason)) => Some(reason),
        Err(_) => None,
        Ok(topology) => panic!("it was taken: {topology:?}"),
    })
    .await
}

pub(crate) fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap()
}

pub(crate) fn name(options: &Options, topic: Topic) -> String {
    format!("{}{}", options.topic_prefix, topic.name())
}

/// Makes all topics by hand, each with a number of partitions and settings.
pub(crate) async fn make(options: &Options, of: impl Fn(Topic) -> (i32, Vec<(&'static str, &'static str)>)) {
    for topic in Topic::ALL {
        let (name, (partitions, settings)) = (name(options, topic), of(topic));
        let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let new = settings.into_iter().fold(new, |new, (name, value)| new.set(name, value));
        for result in admin().create_topics([&new], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
    }
}

pub(crate) fn good_settings(topic: Topic) -> Vec<(&'static str, &'static str)> {
    vec![("cleanup.policy", if topic.is_compacted() { "compact" } else { "delete" })]
}

/// For the conformance suite.
pub(crate) struct Factory {
    env: Arc<dyn Env>,
    options: Options,
}

impl Factory {
    pub(crate) fn new() -> Self {
        Self { env: env(), options: options() }
    }
}

#[async_trait::async_trait]
impl stream::conformance::Factory for Factory {
    type Stream = Kafka;

    async fn open(&self) -> Arc<Kafka> {
        ready(&self.options).await
    }

    async fn crash(&self, stream: Arc<Kafka>) -> Arc<Kafka> {
        drop(stream);
        ready(&self.options).await
    }

    async fn close(&self, stream: &Kafka) {
        stream.close().await;
    }

    fn env(&self) -> Arc<dyn Env> {
        Arc::clone(&self.env)
    }
}
