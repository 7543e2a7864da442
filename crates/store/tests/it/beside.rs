//! The store on databases that do not share the stream's transactions: PostgreSQL, and SQLite in a file of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use contract::wire::cloudevents::{decode_view, run_of};
use contract::{Env, Headers, Key, Record, Timestamp, Topic};
use serde_json::json;
use store::database::{Batch, Database, Log, Marks, Standing};
use store::{Postgres, PostgresOptions, Sqlite};
use stream::Stream as _;
use stream::embedded::{Embedded, Options};
use tempfile::{TempDir, tempdir};

use crate::database::{drop_schema, postgres_options};
use crate::env::TestEnv;
use crate::harness::{System, bounded};

async fn sqlite() -> (TempDir, Embedded, Arc<dyn Database>) {
    let dir = tempdir().unwrap();
    let env: Arc<dyn Env> = Arc::new(TestEnv::new());
    let file = Embedded::open(dir.path(), Options::default(), env).unwrap();
    let database = Sqlite::beside(file.clone()).await.unwrap();
    (dir, file, Arc::new(database))
}

/// Three versions of twenty entities.
async fn write(system: &mut System) -> Vec<(contract::CommandId, u64)> {
    let mut sent = Vec::new();
    for round in 0..3 {
        for entity in 0..20 {
            let key = format!("provider:p{entity}");
            let data = json!({"name":format!("name {round}"),"published":1});
            let command = if round == 0 { system.create(&key, data) } else { system.update(&key, data) };
            sent.push((system.send(&command).await, round + 1));
        }
    }
    sent
}

/// Every version came, the last is the highest, and no version has two commands.
async fn check_views(system: &System) {
    let mut last: HashMap<Key, u64> = HashMap::new();
    let mut made_by = HashMap::new();
    for stored in system.records(Topic::Views).await {
        assert!(run_of(&stored.record).is_some(), "it came from the outbox");
        let view = decode_view(&stored.record).unwrap();
        last.insert(view.key.clone(), view.version);
        let before = made_by.insert((view.key, view.version), view.correlation);
        assert!(before.is_none_or(|before| before == view.correlation));
    }
    assert!(last.len() == 20 && last.values().all(|version| *version == 3), "{last:?}");
    assert_eq!(made_by.len(), 60);
}

/// Nothing is left in the outbox, and the marks say so.
async fn settled(database: &dyn Database) {
    let settled = async {
        loop {
            let mut left = 0;
            for partition in 0..2 {
                left += database.unpublished(partition, 0, 10).await.map_or(1, |events| events.len());
            }
            if left == 0 {
                break;
            }
            TestEnv::new().sleep(Duration::from_millis(20)).await;
        }
    };
    bounded("an empty outbox", settled).await;
}

async fn everything_leaves(database: Arc<dyn Database>) {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let sent = write(&mut system).await;
    system.start_store_on(Arc::clone(&database)).await;
    for (id, version) in sent {
        assert_eq!(system.answer(id).await.view().version, version);
    }
    assert_eq!(system.list("provider", 200, None).await.1, 20);
    settled(&*database).await;
    check_views(&system).await;
    system.close().await;
}

/// What a store left is published by the next one, in order, before anything new.
async fn what_is_left_leaves_first(database: Arc<dyn Database>) {
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    let topology = system.embedded.topology().await.unwrap();
    database.bind(Log { cluster: topology.cluster, partitions: topology.partitions }).await.unwrap();
    let partition = contract::partition::of_key(b"provider:a", 2);
    let Standing { owner, position, .. } = database.take(partition).await.unwrap();
    let left = |number: u32| Record {
        // All of one key, and so of one partition.
        key: "left".into(),
        headers: Headers::from_pairs([("ce_id", number.to_string().as_bytes())]),
        value: number.to_string().into(),
    };
    let outgoing = (0..2500).map(|number| (Topic::Quarantine, left(number))).collect();
    let (changes, outcomes) = (Vec::new(), Vec::new());
    let (time, forget_before, marks) = (system.env.now(), Timestamp::default(), Marks::default());
    let batch = Batch {
        partition,
        owner,
        expected: position,
        next: 0,
        changes,
        outcomes,
        keyed: Vec::new(),
        time,
        forget_before,
        outgoing,
        marks,
    };
    database.commit(batch).await.unwrap();
    let create = system.create("provider:a", json!({"name":"A","published":1}));
    system.send(&create).await;
    system.start_store_on(Arc::clone(&database)).await;
    assert_eq!(system.answer(create.id).await.view().version, 1);
    settled(&*database).await;
    let values: Vec<_> =
        system.records(Topic::Quarantine).await.into_iter().map(|stored| stored.record.value).collect();
    assert_eq!(values, (0..2500).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    system.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_leaves_sqlite() {
    let (_dir, file, database) = sqlite().await;
    everything_leaves(database).await;
    file.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_leaves_sqlite_first() {
    let (_dir, file, database) = sqlite().await;
    what_is_left_leaves_first(database).await;
    file.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_is_refused_where_another_one_works() {
    let (dir, (_one, file, database), (_other, empty, other)) = (tempdir().unwrap(), sqlite().await, sqlite().await);
    let mut system = System::open(dir.path()).await;
    system.start_store_on(Arc::clone(&database)).await;
    let create = system.create("provider:a", json!({"name":"A","published":1}));
    system.send(&create).await;
    system.answer(create.id).await.view();
    settled(&*database).await;
    system.stop_store().await;
    let views = system.records(Topic::Views).await.len();
    system.start_store_on(other).await;
    let reason = bounded("the refusal", system.store().failed()).await;
    assert!(reason.contains("provider:a") && reason.contains("another database serves these topics"), "{reason}");
    system.stop_store().await;
    assert_eq!(system.records(Topic::Views).await.len(), views, "nothing was carried out again");
    // The one that it belongs to goes on.
    system.start_store_on(database).await;
    let update = system.update("provider:a", json!({"name":"B"}));
    assert_eq!(system.ask(update).await.view().version, 2);
    system.close().await;
    file.close().await;
    empty.close().await;
}

async fn postgres(name: &str) -> (PostgresOptions, Arc<dyn Database>) {
    let mut options = postgres_options();
    let separator = if options.url.contains('?') { '&' } else { '?' };
    options.url = format!("{}{separator}application_name={name}", options.url);
    let database = Postgres::open(&options).await.unwrap();
    (options, Arc::new(database))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_leaves_postgres() {
    let (options, database) = postgres("everything").await;
    everything_leaves(database).await;
    drop_schema(&options).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_leaves_postgres_first() {
    let (options, database) = postgres("left").await;
    what_is_left_leaves_first(database).await;
    drop_schema(&options).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_to_postgres_lose_nothing() {
    let (options, database) = postgres("cut_connections").await;
    let dir = tempdir().unwrap();
    let mut system = System::open(dir.path()).await;
    system.start_store_on(Arc::clone(&database)).await;
    let (client, connection) = tokio_postgres::connect(&options.url, tokio_postgres::NoTls).await.unwrap();
    TestEnv::new().spawn(Box::pin(async move { drop(connection.await) }));
    let cuts = AtomicUsize::new(0);
    let cut = async {
        loop {
            let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'cut_connections' AND pid <> pg_backend_pid()";
            cuts.fetch_add(client.query(all, &[]).await.unwrap().len(), Ordering::Relaxed);
            TestEnv::new().sleep(Duration::from_millis(100)).await;
        }
    };
    let work = async {
        for (id, version) in write(&mut system).await {
            assert_eq!(system.answer(id).await.view().version, version);
        }
        // One after another, so that there are many commits to cut, until there were some.
        for number in 0.. {
            let again = system.update(&format!("provider:p{}", number % 20), json!({"name":"name 2"}));
            system.ask(again).await.body();
            if cuts.load(Ordering::Relaxed) > 10 {
                break;
            }
        }
    };
    tokio::select! {
        () = cut => {}
        () = bounded("answers", work) => {}
    }
    settled(&*database).await;
    check_views(&system).await;
    system.close().await;
    drop_schema(&options).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_away_is_transient_and_wrong_words_are_not() {
    let away = PostgresOptions::new("postgres://nobody@127.0.0.1:1/nothing");
    let Err(error) = Postgres::open(&away).await.map(drop) else { panic!("nobody is there") };
    assert!(matches!(error, store::database::Error::Transient(_)), "{error}");
    let mut options = postgres_options();
    options.schema = Some("Robert'); DROP".to_owned());
    let Err(error) = Postgres::open(&options).await.map(drop) else { panic!("no such schema") };
    assert!(matches!(error, store::database::Error::Data(_)), "{error}");
}
