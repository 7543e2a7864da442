//! Fills a data folder through the store's own database port: each batch writes entities, their views and the position
//! in one transaction, as commands would have led to, only without the commands and their remembered outcomes.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use contract::wire::cloudevents::encode_view;
use contract::{CommandId, EntityId, EntityType, Env, Key, Registry, Timestamp, Topic, json};
use dos::env::System;
use serde_json::{Map, Value};
use store::database::{Batch, Change, IndexChange, Marks};
use store::decide::{Entity, Revision};
use store::{Database as _, Sqlite};
use stream::embedded::{Embedded, Options};

/// Entities of one transaction.
const BATCH: u64 = 1000;

/// Arguments of `fill`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A data folder that does not exist yet
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Services to make
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Services (JSON Lines) whose fields they get, in turn
    #[arg(long, value_name = "FILE", default_value = "data/trafford/service.jsonl")]
    like: PathBuf,
    /// Partitions of each topic; as `dos serve` makes them
    #[arg(long, default_value_t = 4)]
    partitions: u32,
}

/// What every entity is made from.
struct Maker {
    env: Arc<dyn Env>,
    entity_type: Arc<EntityType>,
    data_schema: Arc<str>,
    rows: Vec<Map<String, Value>>,
    begun: Timestamp,
}

/// Prints `filled: count N object_bytes N`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    anyhow::ensure!(!arguments.data_dir.exists(), "{} is there already", arguments.data_dir.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(fill(arguments))
}

async fn fill(arguments: &Arguments) -> Result<()> {
    let env: Arc<dyn Env> = Arc::new(System::new());
    let options = Options { partitions: arguments.partitions, ..Options::default() };
    let stream = Embedded::open(&arguments.data_dir, options, Arc::clone(&env))?;
    let database = Sqlite::open(stream.clone()).await?;
    // The store that is started on the file makes it, where it needs it.
    database.index(None).await?;
    let registry = Registry::built_in()?;
    let entity_type = Arc::clone(registry.get("service").context("there is no type service")?);
    let text = std::fs::read(&arguments.like).with_context(|| arguments.like.display().to_string())?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows = lines.map(|line| fields(&entity_type, line)).collect::<Result<Vec<_>>>()?;
    let maker = Maker { data_schema: entity_type.data_schema().into(), begun: env.now(), env, entity_type, rows };
    let owner = database.take(0).await?.owner;
    let (mut number, mut object_bytes, mut expected) = (0, 0, None);
    while number < arguments.count {
        let end = arguments.count.min(number + BATCH);
        let made: Vec<_> = (number..end).map(|number| maker.entity(number)).collect::<Result<_>>()?;
        object_bytes += made.iter().map(|(_, view)| view.value.len() as u64).sum::<u64>();
        let (changes, outgoing) = made.into_iter().map(|(change, view)| (change, (Topic::Views, view))).unzip();
        let time = maker.env.now();
        let (outcomes, keyed, marks, forget_before) = (Vec::new(), Vec::new(), Marks::default(), maker.begun);
        // No command was read, so the position stays where a new log begins.
        let batch = Batch {
            partition: 0,
            owner,
            expected,
            next: 0,
            changes,
            outcomes,
            keyed,
            time,
            forget_before,
            outgoing,
            marks,
        };
        database.commit(batch).await?;
        (number, expected) = (end, Some(0));
    }
    stream.close().await;
    println!("filled: count {number} object_bytes {object_bytes}");
    Ok(())
}

/// The fields a client would have sent.
fn fields(entity_type: &EntityType, line: &[u8]) -> Result<Map<String, Value>> {
    let mut row = json::parse_object(line)?;
    row.retain(|name, value| !value.is_null() && entity_type.field(name).is_some());
    Ok(row)
}

impl Maker {
    fn entity(&self, number: u64) -> Result<(Change, contract::Record)> {
        let count = self.rows.len() as u64;
        let mut fields = self.rows[usize::try_from(number % count)?].clone();
        if let Some(Value::String(name)) = fields.get_mut("name") {
            // Rows repeat and entities do not.
            name.push_str(&format!(" ({})", number / count));
        }
        let id = EntityId::from_uuid(self.env.uuid());
        let time = self.begun.plus_millis(i64::try_from(number)? - 2_000_000_000);
        let object = bytes::Bytes::from(self.entity_type.render(&id, &fields, time, time));
        let key = Key::new(self.entity_type.name().clone(), id);
        let (data_schema, command) = (Arc::clone(&self.data_schema), CommandId(self.env.uuid()));
        let entity = Entity { version: 1, object, data_schema, created: time, updated: time, time, command };
        let revision = Revision::Live(entity);
        let record = encode_view(&revision.view(key.clone()), "/store/1");
        Ok((Change::new(key, None, revision, IndexChange::default()), record))
    }
}
