//! Stores on a simulated stream and database that fail in every way they may, on virtual time, from a seed.
//!
//! The stream takes appends as a broker takes them from a producer: in order, unless one fails, after which later ones may
//! be stored; acknowledgements get lost; what timed out may be stored much later; a paused process wakes up and sends
//! what it had. The consumer loop, publisher and repair are the real ones.

mod alone;
mod broker;
mod database;
mod history;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::wire::cloudevents::encode_command;
use contract::{Action, Command, CommandId, Env, Key, Record, Registry, Topic, partition};
use serde_json::json;
use store::database::Database;
use store::database::conformance::{self, Factory};
use store::{Config, Store};

use broker::{Broker, Client};
use database::Model;
use world::{Process, Random, World};

const PARTITIONS: u32 = 2;
const STORES: usize = 3;
const KEYS: u64 = 5;
const COMMANDS: u64 = 60;
/// As the group's session time-out.
const SESSION: Duration = Duration::from_secs(6);
/// The longest that everything may take to settle once nothing fails any more.
const SETTLE: Duration = Duration::from_secs(300);

/// One store process that can be paused, killed and started again.
struct Slot {
    process: Arc<Process>,
    client: Arc<Client>,
    _store: Store,
}

struct Simulation {
    random: Random,
    world: Arc<World>,
    broker: Arc<Broker>,
    model: Arc<Model>,
    registry: Registry,
    slots: Vec<Slot>,
    /// Which slot has each partition.
    owners: BTreeMap<u32, usize>,
    sent: Vec<Command>,
}

impl Simulation {
    async fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let broker = Broker::new(Arc::clone(&world), PARTITIONS);
        let model = Arc::new(Model::new(Arc::clone(&world)));
        let registry = Registry::built_in().unwrap();
        let (random, slots, owners) = (Random::new(seed ^ 0x5eed), Vec::new(), BTreeMap::new());
        let mut simulation = Self { random, world, broker, model, registry, slots, owners, sent: Vec::new() };
        for number in 0..STORES {
            let slot = simulation.start(number).await;
            simulation.slots.push(slot);
        }
        for number in 0..PARTITIONS {
            simulation.give(number, number as usize % STORES);
        }
        simulation
    }

    async fn start(&self, number: usize) -> Slot {
        let process = Process::new(&self.world);
        let client = Client::new(&self.broker, &process);
        let config = Config { instance: number.to_string(), batch_max: 8, ..Config::default() };
        let database = Arc::new(self.model.of(&process));
        let env: Arc<dyn Env> = Arc::clone(&process) as Arc<dyn Env>;
        let store = Store::start(config, self.registry.clone(), Arc::clone(&client) as _, database, env).await;
        Slot { process, client, _store: store.unwrap() }
    }

    fn give(&mut self, number: u32, slot: usize) {
        self.owners.insert(number, slot);
        self.slots[slot].client.assign(number);
    }

    /// Another store gets the partition: once this one has given it up, or once its session is over.
    async fn rebalance(&mut self, number: u32) {
        let from = self.owners[&number];
        let to = (from + 1 + self.random.below(STORES as u64 - 1) as usize) % STORES;
        self.slots[from].client.revoke(number, SESSION).await;
        self.give(number, to);
    }

    /// A kill -9: what it had handed over may still arrive. Its partitions go on elsewhere.
    async fn kill(&mut self, number: usize) {
        self.slots[number].process.kill();
        self.slots[number] = self.start(number).await;
        let had: Vec<u32> = self.owners.iter().filter(|(_, slot)| **slot == number).map(|(p, _)| *p).collect();
        for partition in had {
            let to = self.random.below(STORES as u64) as usize;
            self.give(partition, to);
        }
    }

    async fn disturb(&mut self) {
        let number = self.random.below(u64::from(PARTITIONS)) as u32;
        let slot = self.owners[&number];
        match self.random.below(8) {
            0 => self.rebalance(number).await,
            1 => self.kill(slot).await,
            2 => {
                // It does not know that its session ends, and wakes up long after.
                let asleep = Duration::from_millis(self.random.below(20_000));
                self.slots[slot].process.pause(asleep);
                if asleep > SESSION {
                    self.rebalance(number).await;
                }
            }
            3 => self.broker.outage(Duration::from_millis(self.random.below(4000))),
            4 => self.model.outage(Duration::from_millis(self.random.below(4000))),
            _ => {}
        }
    }

    fn command(&mut self) -> Command {
        let key = format!("provider:p{}", self.random.below(KEYS));
        let name = format!("name {}", self.random.below(1000));
        let known = self.sent.iter().any(|command| command.key.to_string() == key);
        let fields = json!({"name": name, "published": 1});
        let serde_json::Value::Object(fields) = fields else { panic!("an object") };
        let action = if known { Action::Update(fields) } else { Action::Create(fields) };
        Command {
            id: CommandId(self.world.uuid()),
            key: Key::parse(&key).unwrap(),
            action,
            precondition: None,
            idempotency: None,
            time: self.world.now(),
            source: "/gateway/test".to_owned(),
            request_id: None,
            traceparent: None,
        }
    }

    async fn run(mut self) -> (Arc<Broker>, Arc<Model>, Vec<Command>) {
        for _ in 0..COMMANDS {
            let command = self.command();
            let record = encode_command(&command, &self.registry);
            // One in twenty comes by a partition that is not its key's.
            let mut number = partition::of_key(&record.key, PARTITIONS);
            if self.random.below(20) == 0 {
                number = (number + 1) % PARTITIONS;
            }
            self.broker.store(Topic::Commands, number, record);
            self.sent.push(command);
            if self.random.below(4) == 0 {
                self.disturb().await;
            }
            let wait = Duration::from_millis(self.random.below(300));
            tokio::time::timeout(wait, std::future::pending::<()>()).await.unwrap_err();
        }
        self.world.heal();
        self.settle().await;
        (self.broker, self.model, self.sent)
    }

    /// Waits until everything was decided, published and looked at.
    async fn settle(&self) {
        let settled = async {
            loop {
                tokio::time::timeout(Duration::from_millis(700), std::future::pending::<()>()).await.unwrap_err();
                if self.broker.under_way() > 0 {
                    continue;
                }
                let done = (0..PARTITIONS).all(|number| {
                    let (position, published, views) = self.model.progress(number);
                    position == self.broker.end(Topic::Commands, number)
                        && published
                        && views == Some(self.broker.end(Topic::Views, number))
                });
                if done {
                    break;
                }
            }
        };
        tokio::time::timeout(SETTLE, settled).await.expect("it does not settle");
    }
}

fn simulate(seed: u64) -> (u64, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let simulation = Simulation::new(seed).await;
        let (broker, model, sent) = simulation.run().await;
        (broker.trace(), history::violations(&broker, &model, &sent))
    })
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    match number("DOS_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DOS_TEST_SEEDS").unwrap_or(200),
    }
}

#[test]
fn the_last_view_of_every_key_is_its_highest_version() {
    let mut failed = Vec::new();
    for seed in seeds() {
        let found = std::panic::catch_unwind(|| simulate(seed));
        match found {
            Ok((_, violations)) if violations.is_empty() => {}
            Ok((_, violations)) => failed.push(format!("seed {seed}: {violations:?}")),
            Err(_) => failed.push(format!("seed {seed}: a panic")),
        }
    }
    assert!(failed.is_empty(), "{} seeds, replay one with DOS_TEST_SEED: {}", failed.len(), failed.join("\n"));
}

#[test]
fn a_seed_replays() {
    for seed in 0..5 {
        assert_eq!(simulate(seed).0, simulate(seed).0, "seed {seed}");
    }
}

struct OnModel(Arc<Model>, Arc<Process>);

#[async_trait::async_trait]
impl Factory for OnModel {
    async fn open(&self) -> Result<Arc<dyn Database>, store::database::Error> {
        self.0.open()?;
        Ok(Arc::new(self.0.of(&self.1)))
    }

    async fn close(&self, _: Arc<dyn Database>) {}

    async fn make_newer(&self) {
        self.0.make_newer();
    }
}

#[test]
fn the_simulated_database_conforms() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(1);
        world.heal();
        let process = Process::new(&world);
        conformance::all(&OnModel(Arc::new(Model::new(world)), process)).await;
    });
}

fn decoded(records: &[contract::Stored]) -> impl Iterator<Item = &Record> {
    records.iter().map(|stored| &stored.record)
}
