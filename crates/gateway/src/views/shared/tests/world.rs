//! Redis under a prefix of its own, gateways' caches on it, and a log of views that both read.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use contract::record::{Offset, Partition};
use contract::{EntityId, Key, Registry, Timestamp, partition};
use redis::aio::MultiplexedConnection;

use super::super::{Entry, Shared, SharedCache};
use super::proxy::Proxy;
use crate::config::{Config, ViewMode};
use crate::test_env::env;
use crate::views::{Held, Look, OnDemand};

pub(super) const PARTITIONS: u32 = 2;
/// How long an effect is waited for; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn redis_url() -> String {
    std::env::var("DOS_TEST_REDIS").expect(
        "DOS_TEST_REDIS is not set: this test needs Redis; start it with `cargo xtask servers redis` and set what it prints",
    )
}

fn config() -> Config {
    Config {
        instance: "test".to_owned(),
        public_url: String::new(),
        topic_prefix: String::new(),
        views: ViewMode::OnDemand,
        in_flight_max: 10,
        connections_max: 10,
        write_wait: PATIENCE,
        read_wait: PATIENCE,
        receive_timeout: PATIENCE,
        drain_timeout: PATIENCE,
        // Nothing stays in the process, so that every read asks Redis.
        cache_bytes: 0,
        cache_ttl: Duration::from_secs(3600),
        not_found_ttl: Duration::from_secs(60),
        shared_cache: None,
        snapshot_dir: None,
        snapshot_every: PATIENCE,
        feed: Default::default(),
    }
}

/// Made once: its schemas are compiled.
fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry::built_in().unwrap())
}

pub(super) fn key(id: &str) -> Key {
    Key::parse(&format!("costoption:{id}")).unwrap()
}

pub(super) fn partition_of(key: &Key) -> Partition {
    partition::of_key(key.to_string().as_bytes(), PARTITIONS)
}

pub(super) fn held(key: &Key, version: u64) -> Held {
    let entity_type = registry().get("costoption").unwrap();
    let (id, at): (&EntityId, _) = (key.id.as_ref().unwrap(), Timestamp::from_millis(1_700_000_000_000));
    let fields = serde_json::Map::from_iter([("option".to_owned(), format!("£{version}\n").into())]);
    let object = entity_type.render(id, &fields, at, at);
    Held::new(entity_type, id.as_str(), version, at, &object, entity_type.data_schema()).unwrap()
}

/// Two keys of one partition.
pub(super) fn beside() -> [Key; 2] {
    let one = key("0");
    let other = (1..).map(|n| key(&n.to_string())).find(|other| partition_of(other) == partition_of(&one));
    [one, other.unwrap()]
}

/// One gateway's caches, behind a proxy of its own.
pub(super) struct Gateway {
    pub(super) views: OnDemand,
    pub(super) proxy: Proxy,
    pub(super) cache: SharedCache,
    pub(super) at: Vec<Offset>,
}

pub(super) struct World {
    pub(super) prefix: String,
    pub(super) redis: MultiplexedConnection,
}

impl World {
    pub(super) async fn new() -> Self {
        let client = redis::Client::open(redis_url()).unwrap();
        let redis = client.get_multiplexed_async_connection().await.unwrap();
        Self { prefix: format!("test-{}", env().uuid()), redis }
    }

    pub(super) async fn gateway(&self, at: &[Offset]) -> Gateway {
        let client = redis::Client::open(redis_url()).unwrap();
        let proxy = Proxy::start(client.get_connection_info().addr().to_string()).await;
        let cache = SharedCache::new(&format!("redis://{}/", proxy.address), &self.prefix, None).unwrap();
        Gateway { views: Gateway::open(&cache, at), proxy, cache, at: at.to_vec() }
    }

    pub(super) async fn command<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.redis).await.unwrap()
    }

    pub(super) fn entry(&self, key: &Key) -> String {
        format!("{}:{key}", self.prefix)
    }

    pub(super) fn state(&self, partition: Partition) -> String {
        format!("{}:@cluster:{partition}", self.prefix)
    }

    /// All keys of this world.
    pub(super) async fn keys(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", &format!("{}:*", self.prefix)]).await;
        keys.sort();
        keys
    }

    /// What FLUSHALL does, within the prefix.
    pub(super) async fn clear(&mut self) {
        self.restore(&[]).await;
    }

    /// Everything at one moment.
    pub(super) async fn dump(&mut self) -> Vec<(String, Vec<u8>)> {
        let script = "local all = {} \
            for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do \
              local value = redis.pcall('GET', key) \
              if type(value) == 'string' then all[#all + 1] = {key, value} end \
            end return all";
        redis::Script::new(script).arg(&self.prefix).invoke_async(&mut self.redis).await.unwrap()
    }

    /// Redis comes back with what a dump holds.
    pub(super) async fn restore(&mut self, dump: &[(String, Vec<u8>)]) {
        let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do redis.call('DEL', key) end \
            for i = 2, #ARGV, 2 do redis.call('SET', ARGV[i], ARGV[i + 1]) end";
        let script = redis::Script::new(script);
        let mut call = script.arg(&self.prefix);
        for (key, value) in dump {
            call.arg(key).arg(value.as_slice());
        }
        let _: () = call.invoke_async(&mut self.redis).await.unwrap();
    }
}

impl Gateway {
    fn open(cache: &SharedCache, at: &[Offset]) -> OnDemand {
        let (config, env) = (config(), env());
        let shared = Shared::start(cache, &config, registry(), &env);
        shared.begin("cluster", at, Arc::new(NoStream));
        OnDemand::new(&config, Some(shared))
    }

    /// It dies, and another takes its place at these offsets.
    pub(super) fn replace(&mut self, at: &[Offset]) {
        self.views = Self::open(&self.cache, at);
        self.at = at.to_vec();
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.views.shared().unwrap()
    }

    /// Its tail passes a record.
    pub(super) fn pass(&mut self, key: &Key, version: u64) {
        let partition = partition_of(key);
        let at = &mut self.at[partition as usize];
        if is_deletion(version) {
            self.views.pass_deletion(key, version, partition, *at);
        } else {
            self.views.pass(key.clone(), &held(key, version), partition, *at);
        }
        *at += 1;
        self.shared().flush();
    }

    /// What a retrieve gave is kept, as of what has passed here.
    pub(super) fn remember(&self, key: &Key, version: u64) {
        let entry = match version {
            0 => Entry::Absent,
            version if is_deletion(version) => Entry::Deleted(version),
            version => Entry::View(held(key, version)),
        };
        self.views.tell(key, version);
        self.views.remember(key, entry, self.views.passed(key));
    }

    /// The version that a read gives without asking the data store; 0 is "there is none".
    pub(super) async fn read(&self, key: &Key) -> Option<u64> {
        match self.views.recall(key).await {
            Look::Found(found) => {
                assert_eq!(found.object(), held(key, found.version()).object());
                Some(found.version())
            }
            Look::Deleted(version) => {
                assert!(is_deletion(version));
                Some(version)
            }
            Look::Absent => Some(0),
            Look::Unreadable | Look::Unknown => None,
        }
    }

    /// Everything that was passed is acknowledged by Redis.
    pub(super) async fn settled(&self) {
        let shared = self.shared();
        until("the writer", async || {
            (0..PARTITIONS).all(|partition| shared.window(partition, |window| window.batch().is_none()).unwrap())
        })
        .await;
    }

    /// What was to be kept so far is kept or refused.
    pub(super) async fn written(&self) {
        let shared = self.shared();
        until("the inserts", async || shared.inserts.capacity() == shared.inserts.max_capacity()).await;
        // The same connection carries one command after the other.
        self.read(&key("nothing")).await;
        self.read(&key("nothing")).await;
    }

    /// Remembers, and waits until Redis has it.
    pub(super) async fn keeps(&self, key: &Key, version: u64) {
        until("the entry", async || {
            self.settled().await;
            self.remember(key, version);
            self.written().await;
            self.read(key).await == Some(version)
        })
        .await;
    }
}

/// Some versions are deletions.
fn is_deletion(version: u64) -> bool {
    version > 0 && version.is_multiple_of(5)
}

pub(super) async fn until(what: &str, check: impl AsyncFn() -> bool) {
    let waiting = async {
        while !check().await {
            env().sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited too long for {what}"));
}

/// A stream that never tells where it ends, so that floors stay.
struct NoStream;

#[async_trait::async_trait]
impl stream::Stream for NoStream {
    async fn topology(&self) -> Result<stream::Topology, stream::StreamError> {
        Err(stream::StreamError::Closed)
    }

    async fn append(
        &self,
        _: contract::Topic,
        _: contract::Record,
    ) -> Result<(Partition, Offset), stream::AppendError> {
        Err(stream::AppendError::Overloaded)
    }

    async fn bounds(&self, _: contract::Topic) -> Result<Vec<stream::Bounds>, stream::StreamError> {
        Err(stream::StreamError::Closed)
    }

    async fn tail(
        &self,
        _: contract::Topic,
        _: Partition,
        _: Offset,
    ) -> Result<Box<dyn stream::Tail>, stream::StreamError> {
        Err(stream::StreamError::Closed)
    }

    async fn join(&self, _: &str, _: contract::Topic) -> Result<Box<dyn stream::Membership>, stream::StreamError> {
        Err(stream::StreamError::Closed)
    }
}
