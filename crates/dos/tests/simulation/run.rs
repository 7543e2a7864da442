//! One seed: clients at work while things break, then peace, then the questions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use contract::Registry;

use super::clients::Visitor;
use super::cluster::{Cluster, GATEWAYS};
use super::history::{Found, History};
use super::laws;
use super::parts::Part;
use super::world::{Random, World, sleep};

const CLIENTS: usize = 4;
const STEPS: u64 = 16;
/// How often something is asked again, a second apart, until the answer is the one that must come.
const TRIES: u32 = 60;

/// What became of a seed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) trace: u64,
    pub(crate) violations: Vec<String>,
}

/// Runs a seed, perhaps without a part of the system, and perhaps with its trace on standard error.
pub(crate) fn simulate(seed: u64, without: Option<Part>, shown: bool, registry: &Registry) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::without(seed, without, shown);
        let cluster = Cluster::start(&world, registry.clone()).await;
        let history = Arc::new(Mutex::new(History::default()));
        live(seed, &cluster, &history).await;
        if let Err(reason) = cluster.settle().await {
            history.lock().unwrap().complaints.push(reason);
            return Outcome { trace: world.trace(), violations: history.lock().unwrap().complaints.clone() };
        }
        question(seed, &cluster, &history).await;
        let settled = cluster.settle().await;
        let history = history.lock().unwrap();
        let mut violations = laws::violations(&cluster, &history);
        violations.extend(settled.err());
        Outcome { trace: world.trace(), violations }
    })
}

/// Clients at work, and one thing after the other that breaks.
#[allow(clippy::disallowed_methods, reason = "clients are no processes of the simulation")]
async fn live(seed: u64, cluster: &Arc<Cluster>, history: &Arc<Mutex<History>>) {
    let visitors = (0..CLIENTS).map(|number| Visitor::new(number, seed, cluster, history));
    let visitors: Vec<_> = visitors.map(|visitor| tokio::spawn(visitor.run(STEPS))).collect();
    let faults = {
        let (cluster, mut random) = (Arc::clone(cluster), Random::new(seed ^ 0x5eed));
        async move {
            loop {
                sleep(Duration::from_millis(random.below(1200))).await;
                cluster.disturb(&mut random).await;
            }
        }
    };
    let done = async {
        for visitor in visitors {
            visitor.await.unwrap();
        }
    };
    tokio::pin!(faults);
    tokio::select! {
        biased;
        () = done => {}
        () = &mut faults => {}
    }
    // A fault under way comes to its end: a gateway that is down is started again.
    cluster.restore();
}

/// Whether writes go through, what became of all operations, and whether all gateways show the same.
async fn question(seed: u64, cluster: &Arc<Cluster>, history: &Arc<Mutex<History>>) {
    let mut visitor = Visitor::new(CLIENTS, seed, cluster, history).patient();
    for gateway in 0..GATEWAYS {
        if visitor.post(gateway).await.is_none() {
            visitor.complain(format!("gateway {gateway} takes no write"));
        }
    }
    let operations = history.lock().unwrap().operations();
    for operation in operations {
        for gateway in 0..GATEWAYS {
            for _ in 0..TRIES {
                match visitor.operation(gateway, &operation).await {
                    None | Some(Found::Pending) => sleep(Duration::from_secs(1)).await,
                    Some(_) => break,
                }
            }
        }
    }
    for gateway in 0..GATEWAYS {
        converge(cluster, &mut visitor, gateway).await;
    }
}

/// A gateway shows what the database has: each entity by itself, all that are there in the list, and that the others were
/// deleted.
async fn converge(cluster: &Cluster, visitor: &mut Visitor, gateway: usize) {
    let entities = cluster.model.entities();
    let named = |key: &contract::Key| key.id.as_ref().unwrap().as_str().to_owned();
    let wanted = entities.iter().map(|(key, (_, object))| (named(key), object.clone().ok_or(410)));
    let wanted: Vec<(String, Result<Bytes, u16>)> = wanted.collect();
    let mut all: Vec<Bytes> = wanted.iter().filter_map(|(_, object)| object.clone().ok()).collect();
    all.sort_unstable();
    let mut shown = None;
    for _ in 0..TRIES {
        let mut objects = Vec::new();
        for (id, _) in &wanted {
            objects.push(visitor.get(gateway, id, false).await.unwrap_or(Err(503)));
        }
        let same = objects.iter().eq(wanted.iter().map(|(_, object)| object));
        let mut listed = visitor.list(gateway).await.unwrap_or_default();
        listed.sort_unstable();
        if same && listed == all {
            return;
        }
        shown = Some((objects, listed));
        sleep(Duration::from_secs(1)).await;
    }
    visitor.complain(format!("gateway {gateway} shows {shown:?} and not {wanted:?}"));
}
