//! The processes: three gateways, up to three stores, and their servers, with a proxy for each process before each server.
//!
//! Two gateways have the complete view in memory, one of them with snapshots. The third reads on demand, through a cache of
//! its own that is too small and one in Redis.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xtask::servers::{Kafka, Postgres, Redis, start_to_break};

use crate::proxy::Proxy;
use crate::reads::Outage;
use crate::shared::http::Connection;
use crate::shared::process::{Process, START_MAX, dos, wait_for};
use crate::watch::Watch;

pub(crate) const BROKERS: usize = 3;
pub(crate) const GATEWAYS: usize = 3;
/// The gateway that has snapshots, so that it starts from one when it was killed.
const WITH_SNAPSHOTS: usize = 0;
/// The gateway that asks a cache or a store for what it is asked.
pub(crate) const ON_DEMAND: usize = 2;
/// Places for stores; two of them work, but for the time in which they are scaled.
pub(crate) const STORES: usize = 3;
/// How long everything may take to be in order again; nothing it waits for takes longer than the session time-out of a
/// group, the fail-over of a broker, and a start.
const STABLE_MAX: Duration = Duration::from_secs(120);
const STABLE_POLL: Duration = Duration::from_millis(200);
const END_MAX: Duration = Duration::from_secs(15);
/// So small that Redis is asked.
const CACHE_BYTES: &str = "100000";
const PROBE_LIMIT: Duration = Duration::from_secs(6);

/// See the module.
pub(crate) struct Cluster {
    pub(crate) clock: Instant,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) gateways: Vec<Option<Process>>,
    pub(crate) stores: Vec<Option<Process>>,
    /// For each process, gateways first, a proxy for each broker.
    pub(crate) detours: Vec<Vec<Proxy>>,
    /// For each store.
    pub(crate) databases: Vec<Proxy>,
    pub(crate) cache: Proxy,
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) watch: Watch,
    /// An id on each partition that nothing has.
    barriers: Vec<String>,
    /// What the processes print; kept where a run fails.
    folder: PathBuf,
}

impl Cluster {
    /// Starts everything, and waits until it is in order.
    pub(crate) fn start() -> Self {
        let detours: Vec<Vec<Proxy>> =
            (0..GATEWAYS + STORES).map(|_| (0..BROKERS).map(|_| Proxy::new()).collect()).collect();
        let told: Vec<Vec<SocketAddr>> =
            detours.iter().map(|proxies| proxies.iter().map(|proxy| proxy.address).collect()).collect();
        let (kafka, postgres, redis) = start_to_break(BROKERS as u16, &told).unwrap();
        for (proxies, ends) in detours.iter().zip(kafka.detour_ends()) {
            proxies.iter().zip(ends).for_each(|(proxy, end)| proxy.lead_to(*end));
        }
        let databases: Vec<Proxy> = (0..STORES).map(|_| Proxy::new()).collect();
        databases.iter().for_each(|proxy| proxy.lead_to(postgres.socket()));
        let cache = Proxy::new();
        cache.lead_to(redis.socket());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let listeners: Vec<_> = (0..GATEWAYS).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        drop(listeners);
        let watch = Watch::new(&kafka.address());
        let (gateways, stores) = ((0..GATEWAYS).map(|_| None).collect(), (0..STORES).map(|_| None).collect());
        let (clock, barriers) = (Instant::now(), Vec::new());
        let mut cluster = Self {
            clock,
            addresses,
            gateways,
            stores,
            detours,
            databases,
            cache,
            kafka,
            postgres,
            redis,
            watch,
            barriers,
            folder,
        };
        (0..GATEWAYS).for_each(|gateway| cluster.start_gateway(gateway));
        (0..2).for_each(|store| cluster.start_store(store));
        (0..GATEWAYS).for_each(|gateway| cluster.wait_ready(gateway));
        let partitions = cluster.watch.partitions();
        let on_it = |id: &String, partition| {
            contract::partition::of_key(format!("contact:{id}").as_bytes(), partitions) == partition
        };
        let barrier = |partition| {
            (0..).map(|number| format!("barrier-{number}")).find(|id: &String| on_it(id, partition)).unwrap()
        };
        cluster.barriers = (0..partitions).map(barrier).collect();
        cluster.wait_stable();
        cluster
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    fn brokers_for(&self, process: usize) -> String {
        self.detours[process].iter().map(|proxy| proxy.address.to_string()).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn start_gateway(&mut self, gateway: usize) {
        let mut command = dos();
        command.args(["gateway", "--listen", &self.addresses[gateway].to_string()]);
        command.args(["--kafka", &self.brokers_for(gateway)]);
        if gateway == WITH_SNAPSHOTS {
            command.env("DOS_SNAPSHOT__DIR", self.folder.join("snapshots")).env("DOS_SNAPSHOT__INTERVAL_S", "3");
        }
        if gateway == ON_DEMAND {
            let url = format!("redis://{}/", self.cache.address);
            command.args(["--views", "on-demand", "--redis", &url]).env("DOS_CACHE__SIZE_BYTES", CACHE_BYTES);
        }
        command.args(["--instance", &format!("g{gateway}")]);
        self.gateways[gateway] = Some(Process::start(command, &self.folder));
    }

    pub(crate) fn start_store(&mut self, store: usize) {
        let mut command = dos();
        let database = format!("postgres://postgres@{}/postgres", self.databases[store].address);
        command.args(["store", "--kafka", &self.brokers_for(GATEWAYS + store), "--database", &database]);
        command.args(["--instance", &format!("s{store}")]);
        self.stores[store] = Some(Process::start(command, &self.folder));
    }

    /// Kills a gateway and starts it again; the time in which it was not there.
    pub(crate) fn kill_gateway(&mut self, gateway: usize, gone: Duration) -> Outage {
        let begun = self.now();
        self.gateways[gateway].take().unwrap().kill();
        thread::sleep(gone);
        self.start_gateway(gateway);
        self.wait_ready(gateway);
        Outage { gateway, begun, ended: self.now() }
    }

    /// SIGKILL, or SIGTERM and its end in good order.
    pub(crate) fn stop_store(&mut self, store: usize, kill: bool) {
        let mut process = self.stores[store].take().unwrap();
        if kill {
            process.kill();
        } else {
            process.terminate();
            let status = process.wait(END_MAX);
            assert!(status.success(), "store {store} ended with {status}:\n{}", process.stderr());
        }
    }

    /// Lets a store's process not run for a while.
    pub(crate) fn pause_store(&mut self, store: usize, pause: Duration) {
        let id = self.stores[store].as_ref().unwrap().id();
        let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(id, Signal::STOP).unwrap();
        thread::sleep(pause);
        kill_process(id, Signal::CONT).unwrap();
    }

    /// The places in which stores work.
    pub(crate) fn live_stores(&self) -> Vec<usize> {
        (0..STORES).filter(|store| self.stores[*store].is_some()).collect()
    }

    pub(crate) fn wait_ready(&mut self, gateway: usize) {
        let address = self.addresses[gateway];
        let process = self.gateways[gateway].as_mut().unwrap();
        wait_for(START_MAX, "a gateway is ready", || {
            if let Some(status) = process.ended() {
                panic!("gateway {gateway} ended with {status}:\n{}", process.stderr());
            }
            let response = Connection::open(address).ok()?.call("GET", "/health/ready", &[], "").ok()?;
            (response.status == 200).then_some(())
        });
    }

    /// Waits until all replicas are in sync, the group has come to rest, and every partition is answered on every gateway;
    /// how long that took.
    pub(crate) fn wait_stable(&mut self) -> Duration {
        let begun = self.now();
        loop {
            let reason = match self.trouble() {
                None => return self.now() - begun,
                Some(reason) => reason,
            };
            let waited = self.now() - begun;
            assert!(waited < STABLE_MAX, "not in order after {} s: {reason}; logs: {}", waited.as_secs(), self.logs());
            thread::sleep(STABLE_POLL);
        }
    }

    /// What is not in order.
    fn trouble(&mut self) -> Option<String> {
        for process in self.gateways.iter_mut().chain(&mut self.stores).flatten() {
            let status = process.ended();
            assert!(status.is_none(), "a process ended by itself with {status:?}:\n{}", process.stderr());
        }
        let stores = self.live_stores().len();
        let outside = self.watch.replicas(BROKERS).and_then(|()| self.watch.group(stores));
        outside.err().or_else(|| self.addresses.iter().find_map(|address| self.unanswered(*address)))
    }

    /// A partition whose retrieves this gateway does not answer.
    fn unanswered(&self, address: SocketAddr) -> Option<String> {
        let begun = Instant::now();
        let Ok(mut connection) = Connection::open(address) else {
            return Some(format!("{address} takes no connection"));
        };
        for id in &self.barriers {
            let path = format!("/contact/{id}");
            let answer = connection.call("GET", &path, &[("cache-control", "no-cache")], "");
            let status = answer.map(|response| response.status);
            if !matches!(status, Ok(404)) || begun.elapsed() > PROBE_LIMIT {
                return Some(format!("{path} is answered with {status:?}"));
            }
        }
        None
    }

    /// Where the processes' output is.
    pub(crate) fn logs(&self) -> String {
        self.folder.display().to_string()
    }

    /// Everything went well: what the processes printed is of no use.
    pub(crate) fn forget_logs(&self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}
