//! Fills a data folder through the store's own database port: each batch writes entities, their views and the position
//! in one transaction, as commands would have led to, only without the commands and their remembered outcomes.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use contract::wire::cloudevents::encode_view;
use contract::{Env, Record, Topic};
use dos::env::System;
use store::database::{Batch, Change, IndexChange, Marks};
use store::{Database as _, Sqlite};
use stream::embedded::{Embedded, Options};

use crate::maker::{Maker, SOURCE};

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
    let maker = Maker::new(&arguments.like, Arc::clone(&env))?;
    let owner = database.take(0).await?.owner;
    let (mut number, mut object_bytes, mut expected) = (0, 0, None);
    while number < arguments.count {
        let end = arguments.count.min(number + BATCH);
        let made: Vec<_> = (number..end).map(|number| made(&maker, number)).collect::<Result<_>>()?;
        object_bytes += made.iter().map(|(_, view)| view.value.len() as u64).sum::<u64>();
        let (changes, outgoing) = made.into_iter().map(|(change, view)| (change, (Topic::Views, view))).unzip();
        let time = env.now();
        let (outcomes, keyed, marks, forget_before) = (Vec::new(), Vec::new(), Marks::default(), maker.begun());
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

fn made(maker: &Maker, number: u64) -> Result<(Change, Record)> {
    let (key, revision) = maker.entity(number)?;
    let record = encode_view(&revision.view(key.clone()), SOURCE);
    Ok((Change::new(key, None, revision, IndexChange::default()), record))
}
