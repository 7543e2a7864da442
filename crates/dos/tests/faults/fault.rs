//! What is done to the system.

use std::thread;
use std::time::Duration;

use crate::cluster::{BROKERS, Cluster, GATEWAYS, ON_DEMAND};
use crate::proxy::Mode;
use crate::reads::Outage;
use crate::shared::random::Random;

/// Variants of a cut; the last two are between a gateway and Redis.
const CUTS_OF: usize = 7;
const CUTS: usize = 3;
const BETWEEN_CUTS: Duration = Duration::from_millis(300);
const REDIS_GONE: Duration = Duration::from_secs(5);
const STORES_GONE: Duration = Duration::from_secs(10);
/// Longer than the group's session time-out of 6 s, so that another store has the partitions when it wakes.
const STORE_PAUSE: Duration = Duration::from_secs(9);
/// While stores are scaled, how long each number works.
const SCALED: Duration = Duration::from_secs(2);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    GatewayKilled,
    StoreKilled,
    StorePaused,
    BrokerStopped,
    PostgresRestarted,
    RedisStopped,
    ConnectionCut,
    StoresStopped,
    StoresScaled,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::GatewayKilled,
        Self::StoreKilled,
        Self::StorePaused,
        Self::BrokerStopped,
        Self::PostgresRestarted,
        Self::RedisStopped,
        Self::ConnectionCut,
        Self::StoresStopped,
        Self::StoresScaled,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::GatewayKilled => "a gateway killed",
            Self::StoreKilled => "a store killed",
            Self::StorePaused => "a store paused for 9 s",
            Self::BrokerStopped => "a broker stopped",
            Self::PostgresRestarted => "PostgreSQL restarted",
            Self::RedisStopped => "Redis stopped for 5 s",
            Self::ConnectionCut => "a connection cut",
            Self::StoresStopped => "all stores stopped for 10 s",
            Self::StoresScaled => "stores scaled 1 to 3 to 1",
        }
    }
}

/// What was done.
pub(crate) struct Done {
    pub(crate) what: String,
    /// Since the run began.
    pub(crate) begun: Duration,
    pub(crate) outages: Vec<Outage>,
    /// Whether reads on demand have a reason to fail: they need brokers, a store and its database, but not Redis.
    pub(crate) hurts_reads_on_demand: bool,
    /// Until everything was in order again.
    pub(crate) recovery: Duration,
}

/// Does it, undoes it, and waits until everything is in order. `turn` counts the faults of this kind, so that each of its
/// variants has its turn.
pub(crate) fn inject(kind: Kind, turn: usize, cluster: &mut Cluster, random: &mut Random) -> Done {
    let begun = cluster.now();
    let mut outages = Vec::new();
    let what = match kind {
        Kind::GatewayKilled => {
            let (gateway, gone) = (random.below(GATEWAYS), millis(random, 0, 2000));
            outages.push(cluster.kill_gateway(gateway, gone));
            format!("gateway {gateway} killed, started after {} ms", gone.as_millis())
        }
        Kind::StoreKilled => store_killed(cluster, random),
        Kind::StorePaused => {
            let store = any_store(cluster, random);
            cluster.pause_store(store, STORE_PAUSE);
            format!("store {store} paused")
        }
        Kind::BrokerStopped => broker(turn, cluster, random),
        Kind::PostgresRestarted => {
            let at_once = turn % 2 == 1;
            cluster.postgres.stop(at_once).unwrap();
            cluster.postgres.start_again().unwrap();
            format!("PostgreSQL restarted{}", if at_once { " after an immediate shutdown" } else { "" })
        }
        Kind::RedisStopped => {
            cluster.redis.stop().unwrap();
            thread::sleep(REDIS_GONE);
            cluster.redis.start_again().unwrap();
            "Redis stopped".to_owned()
        }
        Kind::ConnectionCut => cut(turn, cluster, random),
        Kind::StoresStopped => stores_stopped(turn, cluster),
        Kind::StoresScaled => scale(cluster),
    };
    let undone = cluster.now();
    cluster.wait_stable();
    let hurts_reads_on_demand = match kind {
        Kind::RedisStopped | Kind::StoresScaled => false,
        Kind::ConnectionCut => turn % CUTS_OF < CUTS_OF - 2,
        _ => true,
    };
    Done { what, begun, outages, hurts_reads_on_demand, recovery: cluster.now() - undone }
}

fn millis(random: &mut Random, from: usize, to: usize) -> Duration {
    Duration::from_millis((from + random.below(to - from)) as u64)
}

fn any_store(cluster: &Cluster, random: &mut Random) -> usize {
    let live = cluster.live_stores();
    live[random.below(live.len())]
}

fn store_killed(cluster: &mut Cluster, random: &mut Random) -> String {
    let (store, gone) = (any_store(cluster, random), millis(random, 0, 8000));
    cluster.stop_store(store, true);
    thread::sleep(gone);
    cluster.start_store(store);
    format!("store {store} killed, started after {} ms", gone.as_millis())
}

fn broker(turn: usize, cluster: &mut Cluster, random: &mut Random) -> String {
    let (broker, gone, kill) = (random.below(BROKERS), millis(random, 1000, 8000), turn % 2 == 1);
    if kill {
        cluster.kafka.kill_broker(broker).unwrap();
    } else {
        cluster.kafka.stop_broker(broker).unwrap();
    }
    thread::sleep(gone);
    cluster.kafka.start_broker(broker).unwrap();
    let how = if kill { "killed" } else { "stopped" };
    format!("broker {broker} {how}, started after {} ms", gone.as_millis())
}

fn stores_stopped(turn: usize, cluster: &mut Cluster) -> String {
    let (live, kill) = (cluster.live_stores(), turn % 2 == 1);
    live.iter().for_each(|store| cluster.stop_store(*store, kill));
    thread::sleep(STORES_GONE);
    live.iter().for_each(|store| cluster.start_store(*store));
    format!("all stores {}", if kill { "killed" } else { "stopped" })
}

/// Cuts or stalls what one process has open.
fn cut(turn: usize, cluster: &mut Cluster, random: &mut Random) -> String {
    let store = any_store(cluster, random);
    let process = if random.below(2) == 0 { random.below(GATEWAYS) } else { GATEWAYS + store };
    let name = if process < GATEWAYS { format!("gateway {process}") } else { format!("store {store}") };
    let away = millis(random, 2000, 9000);
    let during = |mode: Mode| {
        let proxies = &cluster.detours[process];
        proxies.iter().for_each(|proxy| proxy.set(mode));
        thread::sleep(away);
        proxies.iter().for_each(|proxy| proxy.set(Mode::Pass));
    };
    match turn % CUTS_OF {
        0 => {
            let broker = random.below(BROKERS);
            for _ in 0..CUTS {
                cluster.detours[process][broker].cut();
                thread::sleep(BETWEEN_CUTS);
            }
            format!("{name}: connections to broker {broker} cut, {CUTS} times")
        }
        1 => {
            for _ in 0..CUTS {
                cluster.databases[store].cut();
                thread::sleep(BETWEEN_CUTS);
            }
            format!("store {store}: connections to PostgreSQL cut, {CUTS} times")
        }
        2 => {
            during(Mode::Refuse);
            format!("{name}: no connection to any broker for {} ms", away.as_millis())
        }
        3 => {
            during(Mode::Stall);
            format!("{name}: nothing passes from or to any broker for {} ms", away.as_millis())
        }
        4 => {
            cluster.databases[store].set(Mode::Stall);
            thread::sleep(away);
            cluster.databases[store].set(Mode::Pass);
            format!("store {store}: nothing passes from or to PostgreSQL for {} ms", away.as_millis())
        }
        // Unlike a Redis that was stopped, this one has old views when it is reached again.
        variant => {
            cluster.cache.set(if variant == 5 { Mode::Refuse } else { Mode::Stall });
            thread::sleep(away);
            cluster.cache.set(Mode::Pass);
            let how = if variant == 5 { "no connection to" } else { "nothing passes from or to" };
            format!("gateway {ON_DEMAND}: {how} Redis for {} ms", away.as_millis())
        }
    }
}

/// One store, three, one; and two again, as it was.
fn scale(cluster: &mut Cluster) -> String {
    let live = cluster.live_stores();
    let (first, others): (usize, Vec<usize>) = (live[0], (0..3).filter(|store| *store != live[0]).collect());
    live[1..].iter().for_each(|store| cluster.stop_store(*store, false));
    cluster.wait_stable();
    thread::sleep(SCALED);
    others.iter().for_each(|store| cluster.start_store(*store));
    cluster.wait_stable();
    thread::sleep(SCALED);
    // The one that had everything goes, and one of the new ones.
    cluster.stop_store(first, false);
    cluster.stop_store(others[0], false);
    cluster.wait_stable();
    thread::sleep(SCALED);
    cluster.start_store(first);
    format!("stores {live:?}, {first}, all, {}, and {first} as well", others[1])
}
