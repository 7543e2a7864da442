//! One store on a simulated stream and database of which the test says what fails.

use std::sync::Arc;
use std::time::Duration;

use contract::wire::cloudevents::encode_command;
use contract::{Action, Command, CommandId, Env, Key, Registry, Topic, partition};
use serde_json::json;
use store::{Config, Store};
use tokio::time::{Instant, timeout};

use super::broker::Broker;
use super::cluster::{PARTITIONS, SESSION};
use super::connection::{Client, Role};
use super::database::Model;
use super::world::{Process, World, sleep};

struct Alone {
    world: Arc<World>,
    broker: Arc<Broker>,
    model: Arc<Model>,
    client: Arc<Client>,
    store: Store,
}

async fn alone(model: impl FnOnce(Arc<World>) -> Model) -> Alone {
    let world = World::new(1);
    world.heal();
    let broker = Broker::new(Arc::clone(&world), PARTITIONS);
    let model = Arc::new(model(Arc::clone(&world)));
    let process = Process::new(&world);
    let client = Client::new(&broker, &process, Role::Store);
    let (registry, database) = (Registry::built_in().unwrap(), Arc::new(model.of(&process)));
    let env: Arc<dyn Env> = Arc::clone(&process) as Arc<dyn Env>;
    let store = Store::start(Config::default(), registry, Arc::clone(&client) as _, database, env).await.unwrap();
    (0..PARTITIONS).for_each(|number| client.assign(number));
    Alone { world, broker, model, client, store }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test);
}

/// A database that serves one store only, and another store has some of the partitions.
#[test]
fn a_store_that_must_have_all_partitions_stops_without() {
    run(async {
        let alone = alone(Model::exclusive).await;
        let wait = Duration::from_secs(100);
        assert!(timeout(wait, alone.store.failed()).await.is_err(), "it has all of them");
        alone.client.revoke(0, SESSION).await;
        let reason = timeout(wait, alone.store.failed()).await.unwrap();
        assert!(reason.contains("1 of 2") && reason.contains("PostgreSQL"), "{reason}");
    });
}

/// With the stream away, commands are carried out until so many events wait, and no more; and a revocation is heeded.
#[test]
fn a_full_outbox_pauses_consumption() {
    const COMMANDS: u64 = 200;
    run(async {
        let alone = alone(Model::new).await;
        let (registry, key) = (Registry::built_in().unwrap(), Key::parse("contact:large").unwrap());
        let number = partition::of_key(b"contact:large", PARTITIONS);
        sleep(Duration::from_secs(1)).await;
        alone.broker.outage(Duration::from_secs(120));
        for count in 0..COMMANDS {
            let long = "\u{20ac}".repeat(65_535);
            let serde_json::Value::Object(fields) = json!({"name": format!("{count}"), "url": long, "email": long})
            else {
                panic!("an object")
            };
            let command = Command {
                id: CommandId(alone.world.uuid()),
                key: key.clone(),
                action: if count == 0 { Action::Create(fields) } else { Action::Update(fields) },
                precondition: None,
                idempotency: None,
                time: alone.world.now(),
                source: "/gateway/test".to_owned(),
                request_id: None,
                traceparent: None,
            };
            alone.broker.store(Topic::Commands, number, encode_command(&command, &registry));
        }
        sleep(Duration::from_secs(60)).await;
        let paused = alone.model.progress(number).0;
        assert!((30..80).contains(&paused), "it has gone on to {paused}");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(alone.model.progress(number).0, paused, "it waits");
        assert_eq!(alone.broker.end(Topic::Views, number), 0);

        let before = Instant::now();
        alone.client.revoke(number, SESSION).await;
        assert!(before.elapsed() < Duration::from_millis(1100), "it took {:?}", before.elapsed());
        alone.client.assign(number);
        let all = async {
            while alone.broker.end(Topic::Views, number) < COMMANDS {
                sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(Duration::from_secs(300), all).await.unwrap();
        assert_eq!(alone.model.progress(number).0, COMMANDS);
    });
}

/// Whoever asked for an operation and heard that it is unknown has heard the last word, if the question came by the
/// partition by which the command would have come.
#[test]
fn an_unknown_operation_stays_so() {
    run(async {
        let alone = alone(Model::new).await;
        let registry = Registry::built_in().unwrap();
        for (name, behind) in [("contact:a", true), ("contact:b", false)] {
            let serde_json::Value::Object(fields) = json!({"name": "A"}) else { panic!("an object") };
            let mut command = Command {
                id: CommandId(alone.world.uuid()),
                key: Key::parse(name).unwrap(),
                action: Action::Create(fields),
                precondition: None,
                idempotency: None,
                time: alone.world.now(),
                source: "/gateway/test".to_owned(),
                request_id: None,
                traceparent: None,
            };
            let late = encode_command(&command, &registry);
            command.action = Action::Retrieve { operation: Some(command.id) };
            command.id = CommandId(alone.world.uuid());
            let home = partition::of_key(name.as_bytes(), PARTITIONS);
            let asked = if behind { home } else { (home + 1) % PARTITIONS };
            alone.broker.store(Topic::Commands, asked, encode_command(&command, &registry));
            sleep(Duration::from_secs(2)).await;
            alone.broker.store(Topic::Commands, home, late);
            sleep(Duration::from_secs(2)).await;
            assert_eq!(alone.model.entities().contains_key(&Key::parse(name).unwrap()), !behind, "{name}");
        }
    });
}
