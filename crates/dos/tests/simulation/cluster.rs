//! The system that is simulated: gateways and stores as processes, and what befalls them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use contract::{Env, Registry, Topic};
use gateway::{Access, Gateway, ViewMode};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use store::{Config, Store};

use super::broker::Broker;
use super::connection::{Client, Role};
use super::database::Model;
use super::parts::Part;
use super::world::{Process, Random, World, sleep};

pub(crate) const PARTITIONS: u32 = 2;
const STORES: usize = 2;
pub(crate) const GATEWAYS: usize = 3;
/// The one that reads on demand.
pub(crate) const ON_DEMAND: usize = GATEWAYS - 1;
/// As the group's session time-out.
pub(crate) const SESSION: Duration = Duration::from_secs(6);
/// The longest that everything may take to settle once nothing fails any more.
const SETTLE: Duration = Duration::from_secs(300);
/// The longest that a process sleeps.
const ASLEEP_MAX: Duration = Duration::from_secs(20);
/// The longest that a request may take that is not held up by a process that sleeps.
const REQUEST_MAX: Duration = Duration::from_secs(120);

/// One store process that can be paused, killed and started again.
struct StoreSlot {
    process: Arc<Process>,
    client: Arc<Client>,
    _store: Store,
}

/// One gateway process.
#[derive(Clone)]
struct GatewaySlot {
    process: Arc<Process>,
    gateway: Arc<Gateway>,
    /// Counts the starts of gateways, so names this one.
    incarnation: u64,
}

pub(crate) struct Cluster {
    pub(crate) world: Arc<World>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) model: Arc<Model>,
    pub(crate) registry: Registry,
    stores: Mutex<Vec<StoreSlot>>,
    /// Which store has each partition.
    owners: Mutex<BTreeMap<u32, usize>>,
    gateways: Mutex<Vec<Option<GatewaySlot>>>,
    incarnations: Mutex<u64>,
}

/// What a client gets.
pub(crate) enum Answer {
    Response {
        response: Response<Bytes>,
        incarnation: u64,
    },
    /// There is nobody to connect to.
    Refused,
    /// The connection ended before an answer came.
    Lost,
    /// Nothing came though nothing stood in the way.
    Hung,
}

impl Cluster {
    pub(crate) async fn start(world: &Arc<World>, registry: Registry) -> Arc<Self> {
        let broker = Broker::new(Arc::clone(world), PARTITIONS);
        let model = Arc::new(Model::new(Arc::clone(world)));
        let world = Arc::clone(world);
        let (stores, owners, gateways, incarnations) =
            (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        let cluster = Arc::new(Self { world, broker, model, registry, stores, owners, gateways, incarnations });
        for number in 0..STORES {
            let slot = cluster.start_store(number).await;
            cluster.stores.lock().unwrap().push(slot);
        }
        for number in 0..PARTITIONS {
            cluster.give(number, number as usize % STORES);
        }
        for number in 0..GATEWAYS {
            let slot = cluster.start_gateway(number);
            cluster.gateways.lock().unwrap().push(Some(slot));
        }
        cluster
    }

    async fn start_store(&self, number: usize) -> StoreSlot {
        let process = Process::new(&self.world);
        let client = Client::new(&self.broker, &process, Role::Store);
        let config = Config { instance: number.to_string(), batch_max: 8, ..Config::default() };
        let database = Arc::new(self.model.of(&process));
        let env: Arc<dyn Env> = Arc::clone(&process) as Arc<dyn Env>;
        let store = Store::start(config, self.registry.clone(), Arc::clone(&client) as _, database, env).await;
        StoreSlot { process, client, _store: store.unwrap() }
    }

    fn start_gateway(&self, number: usize) -> GatewaySlot {
        let process = Process::new(&self.world);
        let client = Client::new(&self.broker, &process, Role::Gateway);
        let incarnation = {
            let mut incarnations = self.incarnations.lock().unwrap();
            *incarnations += 1;
            *incarnations
        };
        let config = gateway::Config {
            instance: incarnation.to_string(),
            public_url: String::new(),
            topic_prefix: String::new(),
            views: if number == ON_DEMAND { ViewMode::OnDemand } else { ViewMode::Materialised },
            in_flight_max: 100,
            connections_max: 1,
            write_wait: Duration::from_secs(5),
            read_wait: Duration::from_secs(5),
            receive_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            cache_bytes: 1 << 20,
            cache_ttl: Duration::from_secs(3600),
            not_found_ttl: Duration::from_secs(60),
            shared_cache: None,
            snapshot_dir: None,
            snapshot_every: Duration::from_secs(3600),
            feed: Default::default(),
        };
        let env: Arc<dyn Env> = Arc::clone(&process) as Arc<dyn Env>;
        let gateway = Gateway::start(config, self.registry.clone(), client, env).unwrap();
        self.world.note(format_args!("gateway {number} starts as {incarnation}"));
        GatewaySlot { process, gateway, incarnation }
    }

    fn give(&self, number: u32, slot: usize) {
        self.owners.lock().unwrap().insert(number, slot);
        self.stores.lock().unwrap()[slot].client.assign(number);
    }

    /// Another store gets the partition: once this one has given it up, or once its session is over.
    async fn rebalance(&self, number: u32) {
        let from = self.owners.lock().unwrap()[&number];
        let client = Arc::clone(&self.stores.lock().unwrap()[from].client);
        client.revoke(number, SESSION).await;
        self.give(number, (from + 1) % STORES);
    }

    /// A kill -9: what it had handed over may still arrive. Its partitions go on elsewhere, or with its successor.
    async fn kill_store(&self, number: usize, random: &mut Random) {
        self.stores.lock().unwrap()[number].process.kill();
        let successor = self.start_store(number).await;
        self.stores.lock().unwrap()[number] = successor;
        let owners = self.owners.lock().unwrap().clone();
        for (partition, _) in owners.into_iter().filter(|(_, slot)| *slot == number) {
            self.give(partition, random.below(STORES as u64) as usize);
        }
    }

    /// A kill -9; nobody answers until it is started again.
    async fn kill_gateway(&self, number: usize, random: &mut Random) {
        let slot = self.gateways.lock().unwrap()[number].take();
        if let Some(slot) = slot {
            slot.process.kill();
        }
        sleep(Duration::from_millis(random.below(1500))).await;
        let successor = self.start_gateway(number);
        self.gateways.lock().unwrap()[number] = Some(successor);
    }

    /// Starts what is down.
    pub(crate) fn restore(&self) {
        for number in 0..GATEWAYS {
            if self.gateways.lock().unwrap()[number].is_none() {
                let slot = self.start_gateway(number);
                self.gateways.lock().unwrap()[number] = Some(slot);
            }
        }
        for number in 0..PARTITIONS {
            let owner = self.owners.lock().unwrap()[&number];
            self.stores.lock().unwrap()[owner].client.assign(number);
        }
    }

    fn gateway_process(&self, number: usize) -> Option<Arc<Process>> {
        self.gateways.lock().unwrap()[number].as_ref().map(|slot| Arc::clone(&slot.process))
    }

    /// One fault, or none.
    pub(crate) async fn disturb(&self, random: &mut Random) {
        let number = random.below(u64::from(PARTITIONS)) as u32;
        let owner = self.owners.lock().unwrap()[&number];
        let gateway = random.below(GATEWAYS as u64) as usize;
        let (fault, millis) = (random.below(14), random.below(ASLEEP_MAX.as_millis() as u64));
        self.world
            .note(format_args!("fault {fault} of partition {number}, store {owner}, gateway {gateway}: {millis}"));
        let short = Duration::from_millis(millis / 5);
        match fault {
            0 => self.rebalance(number).await,
            1 => self.kill_store(owner, random).await,
            2 => {
                // It does not know that its session ends, and wakes up long after.
                let asleep = Duration::from_millis(millis);
                let process = Arc::clone(&self.stores.lock().unwrap()[owner].process);
                process.pause(asleep);
                if asleep > SESSION {
                    self.rebalance(number).await;
                }
            }
            3 => self.broker.outage(short),
            4 => self.model.outage(short),
            5 => self.kill_gateway(gateway, random).await,
            6 => {
                if let Some(process) = self.gateway_process(gateway) {
                    process.pause(Duration::from_millis(millis / 2));
                }
            }
            7 => {
                // Up to ten minutes either way.
                let jump = i64::try_from(millis).unwrap() * 60 - 600_000;
                match self.gateway_process(gateway) {
                    Some(process) if random.below(2) == 0 => process.jump(jump),
                    _ => self.stores.lock().unwrap()[owner].process.jump(jump),
                }
            }
            8 | 9 => self.broker.compact(),
            _ => {}
        }
    }

    /// Sends a request to a gateway, and waits for its answer or, where the client loses patience, so long.
    pub(crate) async fn request(&self, number: usize, request: Request<Bytes>, patience: Option<Duration>) -> Answer {
        let mut request = request;
        if self.world.lacks(Part::TokenWaits) {
            request.headers_mut().remove("consistency-token");
        }
        sleep(self.world.millis(4)).await;
        let Some(GatewaySlot { process, gateway, incarnation }) = self.gateways.lock().unwrap()[number].clone() else {
            return Answer::Refused;
        };
        let world = Arc::clone(&self.world);
        let arrived = Arc::clone(&process);
        let answering = process.run(async move {
            arrived.awake().await;
            let (parts, body) = gateway.answer(Access::Write, request).await.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            arrived.awake().await;
            sleep(world.millis(4)).await;
            Response::from_parts(parts, body)
        });
        let abort = answering.abort_handle();
        let patience = patience.unwrap_or(REQUEST_MAX);
        match tokio::time::timeout(patience, answering).await {
            Ok(Ok(response)) => Answer::Response { response, incarnation },
            Ok(Err(error)) if error.is_cancelled() => Answer::Lost,
            Ok(Err(error)) => panic!("a request ends in a panic: {error}"),
            Err(_) => {
                abort.abort();
                if patience == REQUEST_MAX { Answer::Hung } else { Answer::Lost }
            }
        }
    }

    /// Nothing fails any more. Waits until everything was decided, published, looked at and read by all; the reason if that
    /// takes too long.
    pub(crate) async fn settle(&self) -> Result<(), String> {
        self.world.heal();
        let settled = async {
            // Whoever sleeps wakes up.
            sleep(ASLEEP_MAX).await;
            loop {
                sleep(Duration::from_millis(700)).await;
                if self.broker.under_way() == 0 && (0..PARTITIONS).all(|number| self.is_settled(number)) {
                    break;
                }
            }
        };
        let all: Vec<_> = (0..PARTITIONS).collect();
        tokio::time::timeout(SETTLE, settled).await.map_err(|_| {
            let progress: Vec<_> = all.iter().map(|number| self.model.progress(*number)).collect();
            format!("it does not settle: position, whether all is published, views looked at: {progress:?}")
        })?;
        let ready = async {
            while !self.gateways.lock().unwrap().iter().flatten().all(|slot| slot.gateway.is_ready()) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(SETTLE, ready).await.map_err(|_| "a gateway does not become ready".to_owned())
    }

    fn is_settled(&self, number: u32) -> bool {
        let (position, published, views) = self.model.progress(number);
        position == self.broker.end(Topic::Commands, number)
            && published
            && (views == Some(self.broker.end(Topic::Views, number)) || self.world.lacks(Part::Repair))
    }
}

/// A request as it comes over a connection.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(path).header("host", "simulated");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = if body.is_empty() { request } else { request.header("content-type", "application/json") };
    request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

/// Whether the answer is one that any request may get while something is broken.
pub(crate) fn is_trouble(status: StatusCode) -> bool {
    matches!(status.as_u16(), 503 | 504)
}
