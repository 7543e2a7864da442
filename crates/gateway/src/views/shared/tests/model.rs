//! Random interleavings of two gateways, cut connections, evictions and old dumps, against what each gateway knows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use contract::Key;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Builder;

use super::proxy::Mode;
use super::world::{Gateway, PARTITIONS, World, key, partition_of};
use crate::test_env::env;

const KEYS: usize = 4;
const GATEWAYS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    /// The data store commits and publishes the next version of a key.
    Write(usize),
    /// A store that lost its partition publishes an old version.
    Late(usize),
    /// A gateway's tail passes so many records of every partition.
    Tail(usize, usize),
    /// A gateway asks the data store for a key; the answer waits.
    Ask(usize, usize),
    /// The answers that wait arrive.
    Land(usize),
    Read(usize, usize),
    /// A rejection speaks of the newest version.
    Reject(usize, usize),
    Link(usize, Mode),
    /// Time for what is under way.
    Pause,
    /// A gateway writes all it can, and keeps what the data store says of a key.
    Keep(usize, usize),
    /// The n-th key of Redis is evicted.
    Evict(usize),
    Clear,
    Dump,
    Restore,
    Rubbish(usize),
    Die(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (gateway, of) = (0..GATEWAYS, 0..KEYS);
    let mode = prop_oneof![6 => Just(Mode::Open), 1 => Just(Mode::Cut), 1 => Just(Mode::Stalled)];
    prop_oneof![
        8 => of.clone().prop_map(Step::Write),
        1 => of.clone().prop_map(Step::Late),
        8 => (gateway.clone(), 1..4_usize).prop_map(|(gateway, count)| Step::Tail(gateway, count)),
        4 => (gateway.clone(), of.clone()).prop_map(|(gateway, of)| Step::Ask(gateway, of)),
        4 => gateway.clone().prop_map(Step::Land),
        20 => (gateway.clone(), of.clone()).prop_map(|(gateway, of)| Step::Read(gateway, of)),
        1 => (gateway.clone(), of.clone()).prop_map(|(gateway, of)| Step::Reject(gateway, of)),
        4 => (gateway.clone(), mode).prop_map(|(gateway, mode)| Step::Link(gateway, mode)),
        4 => Just(Step::Pause),
        10 => (gateway.clone(), of.clone()).prop_map(|(gateway, of)| Step::Keep(gateway, of)),
        2 => (0..8_usize).prop_map(Step::Evict),
        1 => Just(Step::Clear),
        2 => Just(Step::Dump),
        2 => Just(Step::Restore),
        1 => of.prop_map(Step::Rubbish),
        1 => gateway.prop_map(Step::Die),
    ]
}

/// What one gateway knows.
struct Side {
    gateway: Gateway,
    /// Per key the newest version that passed or was told.
    known: HashMap<Key, u64>,
    /// Answers that wait, with whether a view of the key has passed since the question.
    asked: HashMap<Key, (u64, bool)>,
    mode: Mode,
}

struct Model {
    world: World,
    keys: Vec<Key>,
    /// The data store's versions.
    versions: HashMap<Key, u64>,
    log: Vec<Vec<(Key, u64)>>,
    sides: Vec<Side>,
    dump: Vec<(String, Vec<u8>)>,
    hits: usize,
}

impl Model {
    async fn new() -> Self {
        let world = World::new().await;
        let mut sides = Vec::new();
        for _ in 0..GATEWAYS {
            let gateway = world.gateway(&[0; PARTITIONS as usize]).await;
            sides.push(Side { gateway, known: HashMap::new(), asked: HashMap::new(), mode: Mode::Open });
        }
        let log = vec![Vec::new(); PARTITIONS as usize];
        let keys = (0..KEYS).map(|n| key(&n.to_string())).collect();
        Self { world, keys, versions: HashMap::new(), log, sides, dump: Vec::new(), hits: 0 }
    }

    fn publish(&mut self, key: &Key, version: u64) {
        self.log[partition_of(key) as usize].push((key.clone(), version));
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Write(of) => {
                let key = self.keys[of].clone();
                let version = self.versions.entry(key.clone()).or_default();
                *version += 1;
                let version = *version;
                self.publish(&key, version);
            }
            Step::Late(of) => {
                let key = self.keys[of].clone();
                if let Some(&version) = self.versions.get(&key) {
                    self.publish(&key, version.saturating_sub(1).max(1));
                }
            }
            Step::Tail(side, count) => self.tail(side, count),
            Step::Ask(side, of) => {
                let key = self.keys[of].clone();
                let version = self.versions.get(&key).copied().unwrap_or(0);
                self.sides[side].asked.entry(key).or_insert((version, false));
            }
            Step::Land(side) => self.sides[side].land(),
            Step::Read(side, of) => self.read(side, of).await?,
            Step::Reject(side, of) => {
                let key = &self.keys[of];
                if let Some(&version) = self.versions.get(key) {
                    self.sides[side].gateway.views.forget_before(key, version);
                    self.sides[side].learn(key, version);
                }
            }
            Step::Link(side, mode) => {
                self.sides[side].mode = mode;
                self.sides[side].gateway.proxy.set(mode);
            }
            Step::Pause => env().sleep(Duration::from_millis(3)).await,
            Step::Keep(side, of) => {
                let (side, key) = (&mut self.sides[side], self.keys[of].clone());
                if side.mode == Mode::Open {
                    side.gateway.settled().await;
                    side.asked.insert(key.clone(), (self.versions.get(&key).copied().unwrap_or(0), false));
                    side.land();
                    side.gateway.written().await;
                }
            }
            Step::Die(side) => {
                let ends: Vec<u64> = self.log.iter().map(|log| log.len() as u64).collect();
                let side = &mut self.sides[side];
                side.gateway.replace(&ends);
                (side.known, side.asked) = (HashMap::new(), HashMap::new());
            }
            ref trouble => self.trouble(trouble).await,
        }
        Ok(())
    }

    /// Something befalls Redis.
    async fn trouble(&mut self, step: &Step) {
        match *step {
            Step::Evict(n) => {
                let keys = self.world.keys().await;
                if let Some(key) = keys.get(n % keys.len().max(1)) {
                    let _: i64 = self.world.command(&["DEL", key]).await;
                }
            }
            Step::Clear => self.world.clear().await,
            Step::Dump => self.dump = self.world.dump().await,
            Step::Restore => {
                let dump = std::mem::take(&mut self.dump);
                self.world.restore(&dump).await;
            }
            Step::Rubbish(of) => {
                let entry = self.world.entry(&self.keys[of]);
                let _: () = self.world.command(&["SET", &entry, "dos1 rubbish 99999\n"]).await;
            }
            _ => {}
        }
    }

    fn tail(&mut self, side: usize, count: usize) {
        let side = &mut self.sides[side];
        for (partition, log) in self.log.iter().enumerate() {
            let at = side.gateway.at[partition] as usize;
            for (key, version) in log.iter().skip(at).take(count) {
                // As the follower does: answers under way are detached first.
                if let Some((_, passed)) = side.asked.get_mut(key) {
                    *passed = true;
                }
                side.gateway.pass(key, *version);
                side.learn(key, *version);
            }
        }
    }

    async fn read(&mut self, side: usize, of: usize) -> Result<(), TestCaseError> {
        let (side, key) = (&mut self.sides[side], &self.keys[of]);
        let Some(version) = side.gateway.read(key).await else { return Ok(()) };
        self.hits += 1;
        let known = side.known.get(key).copied().unwrap_or(0);
        prop_assert!(version >= known, "{key}: read {version}, known {known}");
        Ok(())
    }
}

impl Side {
    fn learn(&mut self, key: &Key, version: u64) {
        let known = self.known.entry(key.clone()).or_default();
        *known = version.max(*known);
    }

    fn land(&mut self) {
        for (key, (version, passed)) in std::mem::take(&mut self.asked) {
            self.learn(&key, version);
            if passed {
                self.gateway.views.tell(&key, version);
            } else {
                self.gateway.remember(&key, version);
            }
        }
    }
}

#[test]
fn no_read_gives_what_is_older_than_what_its_gateway_knows() {
    let hits = AtomicUsize::new(0);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases = std::env::var("DOS_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48);
    let config = ProptestConfig { cases, max_shrink_iters: 200, failure_persistence: None, ..Default::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = runner.run(&vec(step(), 40..160), |steps| {
        runtime.block_on(async {
            let mut model = Model::new().await;
            for step in &steps {
                model.take(step).await?;
            }
            hits.fetch_add(model.hits, Ordering::Relaxed);
            model.world.clear().await;
            Ok(())
        })
    });
    run.unwrap();
    let hits = hits.into_inner();
    println!("{hits} reads were answered by Redis");
    assert!(hits > cases as usize, "only {hits} reads were answered by Redis: this shows little");
}
