//! Clients that fail, or get nowhere, on brokers that librdkafka plays: what the real ones cannot be made to do.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::env::BoxFuture;
use contract::{Env, Headers, Record, Timestamp, Topic};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Refusal};

use super::asker::{self, Asker, Kind};
use super::link::Link;
use super::producer::Producer;
use super::{Kafka, LOST_AFTER, Options};
use crate::{AppendError, Change, Stream as _, Topology};

/// How long an effect is waited for; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);
const PARTITIONS: u32 = 2;

/// The real world, with a clock that can be set forward.
struct TestEnv {
    start: Instant,
    ahead_ms: AtomicU64,
}

#[allow(clippy::disallowed_methods, reason = "this is where tests take the time and spawn")]
impl TestEnv {
    fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), ahead_ms: AtomicU64::new(0) })
    }

    fn advance(&self, time: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

#[allow(clippy::disallowed_methods, reason = "this is where tests take the time and spawn")]
impl Env for TestEnv {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed() + Duration::from_millis(self.ahead_ms.load(Ordering::SeqCst))
    }

    fn random(&self) -> [u8; 10] {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&RandomState::new().build_hasher().finish().to_be_bytes());
        random
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }
}

struct World {
    cluster: MockCluster<'static, DefaultProducerContext>,
    env: Arc<TestEnv>,
    options: Options,
}

impl World {
    fn new() -> Self {
        let (cluster, env) = (MockCluster::new(1).unwrap(), TestEnv::new());
        let options = Options { brokers: cluster.bootstrap_servers(), ..Options::default() };
        for topic in Topic::ALL {
            cluster.create_topic(&options.topic(topic), i32::try_from(PARTITIONS).unwrap(), 1).unwrap();
        }
        Self { cluster, env, options }
    }

    fn link(&self) -> Arc<Link> {
        let link = Arc::new(Link::new(&(Arc::clone(&self.env) as Arc<dyn Env>)));
        link.up(whole());
        link
    }

    fn producer(&self, link: &Arc<Link>, append_timeout: Duration) -> Producer {
        let options = Options { append_timeout, ..self.options.clone() };
        Producer::new(&options, link, &(Arc::clone(&self.env) as Arc<dyn Env>)).unwrap()
    }

    /// Appends, whatever the producer itself says of the brokers: others know better.
    async fn insist(&self, producer: &Producer, link: &Link, value: &'static str) -> Result<(u32, u64), AppendError> {
        loop {
            match producer.append(Topic::Commands, 0, &record(value)).await {
                Err(AppendError::Unavailable(_)) => link.up(whole()),
                outcome => return outcome,
            }
            self.env.sleep(Duration::from_millis(1)).await;
        }
    }

    /// With topics that need not be looked at: these brokers tell nothing of their settings.
    async fn open(&self, lost_after: Duration) -> Kafka {
        let kafka = Kafka::open_patiently(self.options.clone(), Arc::clone(&self.env) as Arc<dyn Env>, lost_after);
        let kafka = kafka.unwrap();
        let topology = Topology { cluster: "played".to_owned(), partitions: PARTITIONS, message_bytes_max: 1 << 20 };
        kafka.shared.topology.set(topology).unwrap();
        bounded("the brokers", async {
            while !kafka.shared.link.is_whole_for(Duration::ZERO) {
                self.env.sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        kafka
    }
}

fn whole() -> Vec<Vec<bool>> {
    vec![vec![true; PARTITIONS as usize]; Topic::ALL.len()]
}

fn record(value: &'static str) -> Record {
    Record { key: "a".into(), headers: Headers::default(), value: value.into() }
}

async fn bounded<T>(what: &str, effect: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, effect).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_failed_for_good_is_replaced() {
    let world = World::new();
    let refusal = Refusal::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    world.cluster.request_errors(Api::InitProducerId, &[refusal]);
    let link = world.link();
    let producer = world.producer(&link, Duration::from_secs(10));
    let begun = world.env.monotonic();
    let failed = bounded("the failure", producer.append(Topic::Commands, 0, &record("lost"))).await;
    assert!(matches!(failed, Err(AppendError::Unknown(_) | AppendError::Unavailable(_))), "{failed:?}");
    assert!(world.env.monotonic() - begun < Duration::from_secs(9), "it failed, and was not given up for its time");
    // One append may still meet the failed one, and tells that nothing was stored.
    let stored = match bounded("the next", producer.append(Topic::Commands, 0, &record("kept"))).await {
        Err(AppendError::Unavailable(_)) => producer.append(Topic::Commands, 0, &record("kept")).await,
        other => other,
    };
    assert_eq!(stored, Ok((0, 0)), "what failed is not there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_gets_nowhere_is_replaced_and_what_it_held_is_unknown() {
    let world = World::new();
    let link = world.link();
    let producer = world.producer(&link, Duration::from_secs(3));
    assert_eq!(producer.append(Topic::Commands, 0, &record("1")).await, Ok((0, 0)));
    // For this producer the broker is away, while others are told that all is well.
    world.cluster.broker_down(1).unwrap();
    let begun = world.env.monotonic();
    let later = async {
        world.env.sleep(Duration::from_secs(2)).await;
        (world.insist(&producer, &link, "3").await, world.env.monotonic() - begun)
    };
    let both = async { tokio::join!(world.insist(&producer, &link, "2"), later) };
    let (first, (second, after)) = bounded("both", both).await;
    assert!(matches!(first, Err(AppendError::Unknown(_))), "{first:?}");
    assert!(matches!(second, Err(AppendError::Unknown(_))), "given up with its producer: {second:?}");
    assert!(after < Duration::from_millis(4900), "it was not waited for by itself: {after:?}");
    world.cluster.broker_up(1).unwrap();
    let next = bounded("the next", world.insist(&producer, &link, "4")).await;
    assert_eq!(next, Ok((0, 1)), "neither came after all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_is_kept_while_nobody_is_answered() {
    let world = World::new();
    let link = world.link();
    let producer = world.producer(&link, Duration::from_secs(2));
    assert_eq!(producer.append(Topic::Commands, 0, &record("1")).await, Ok((0, 0)));
    let before = producer.current();
    world.cluster.broker_down(1).unwrap();
    let down = async {
        world.env.sleep(Duration::from_millis(500)).await;
        link.down(Some("no answer".to_owned()));
    };
    let both = async { tokio::join!(world.insist(&producer, &link, "2"), down) };
    let (outcome, ()) = bounded("the time-out", both).await;
    assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
    assert!(Arc::ptr_eq(&before.unwrap(), &producer.current().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_gets_nowhere_is_replaced_and_goes_on_where_it_was() {
    let world = World::new();
    let kafka = world.open(Duration::from_millis(500)).await;
    let partition = contract::partition::of_key(b"a", PARTITIONS);
    let append = async |value| bounded("an append", kafka.append(Topic::Views, record(value))).await.unwrap();
    append("1").await;
    let mut tail = kafka.tail(Topic::Views, partition, 0).await.unwrap();
    let mut next = async || -> Vec<String> {
        loop {
            let records = bounded("records", tail.next(10)).await.unwrap();
            if !records.is_empty() {
                return records.iter().map(|s| String::from_utf8(s.record.value.to_vec()).unwrap()).collect();
            }
        }
    };
    assert_eq!(next().await, ["1"]);
    for (lost, value) in [(false, "2"), (true, "3"), (true, "4"), (false, "5")] {
        let readers = kafka.shared.readers.all();
        if lost {
            readers.iter().for_each(|reader| reader.lose_the_way());
        } else {
            // It is at the end, and is let be.
            assert!(tokio::time::timeout(Duration::from_secs(2), next()).await.is_err());
        }
        append(value).await;
        assert_eq!(next().await, [value]);
        let now = kafka.shared.readers.all();
        let is_kept = now.iter().any(|reader| Arc::ptr_eq(reader, &readers[0]) && !reader.is_lost());
        assert_eq!(is_kept, !lost, "{value}");
    }
    kafka.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hears_nothing_is_replaced() {
    let world = World::new();
    let kafka = world.open(LOST_AFTER).await;
    let mut member = kafka.join("store", Topic::Commands).await.unwrap();
    let all = (0..PARTITIONS).collect::<Vec<_>>();
    assert_eq!(bounded("the assignment", member.next()).await, Ok(Change::Assigned(all.clone())));
    let mut tail = member.read(0, 0).await.unwrap();
    // A second later it has heard something again, in most cases not before it was found silent.
    let revoked = async {
        loop {
            world.env.advance(LOST_AFTER);
            if let Ok(change) = tokio::time::timeout(Duration::from_secs(2), member.next()).await {
                return change;
            }
        }
    };
    let Ok(Change::Revoked(mut revoked)) = bounded("the revocation", revoked).await else { panic!("it was revoked") };
    revoked.sort_unstable();
    assert_eq!(revoked, all);
    assert_eq!(bounded("the tail's end", tail.next(1)).await, Err(crate::StreamError::Revoked));
    assert_eq!(bounded("the next assignment", member.next()).await, Ok(Change::Assigned(all)));
    assert!(member.read(0, 0).await.is_ok());
    kafka.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_for_questions_without_answers_is_replaced() {
    let world = World::new();
    let (link, env) = (world.link(), &*world.env);
    let asker = Asker::new(&world.options, &link).unwrap();
    let told = |kind, well| {
        let before = asker.client();
        asker.answered(kind, well, &world.options, &link, env);
        !Arc::ptr_eq(&before, &asker.client())
    };
    for kind in [Kind::Topics, Kind::Bounds] {
        env.advance(LOST_AFTER);
        assert!(!told(kind, false), "at once");
        env.advance(asker::LOST_AFTER);
        assert!(!told(kind, true), "it has an answer");
        assert!(!told(kind, false));
        env.advance(asker::LOST_AFTER);
        assert!(told(kind, false));
        assert!(!told(kind, false), "the next one has its time, too");
        assert!(!told(kind, true));
    }
    // That it is answered otherwise does not help.
    assert!(!told(Kind::Bounds, false));
    env.advance(asker::LOST_AFTER);
    assert!(!told(Kind::Topics, true));
    assert!(told(Kind::Bounds, false));
}
