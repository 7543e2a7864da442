//! A topic of views on Kafka: filled through the stream's own port, and read by a bare consumer, the limit of a cold start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use contract::wire::cloudevents::encode_view;
use contract::{Env, Topic};
use dos::env::System;
use futures_util::future::try_join_all;
use stream::Stream as _;
use stream::kafka::{Kafka, Options};

use crate::clients;
use crate::maker::{Maker, SOURCE};

/// Appends under way at once.
const BATCH: u64 = 8192;
/// How long the broker may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Arguments of `fill-topic`.
#[derive(clap::Args)]
pub(crate) struct FillArguments {
    /// Kafka's brokers
    #[arg(long, value_name = "HOST:PORT,..")]
    kafka: String,
    /// Stands before the names of the topics, which are made if they are missing
    #[arg(long, default_value = "")]
    topic_prefix: String,
    /// Services to make
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Services (JSON Lines) whose fields they get, in turn
    #[arg(long, value_name = "FILE", default_value = "data/trafford/service.jsonl")]
    like: PathBuf,
}

/// Arguments of `read-topic`.
#[derive(clap::Args)]
pub(crate) struct ReadArguments {
    /// Kafka's brokers
    #[arg(long, value_name = "HOST:PORT,..")]
    kafka: String,
    /// The topic's whole name
    #[arg(long)]
    topic: String,
    /// Properties of the consumer
    #[arg(long, value_name = "NAME=VALUE", value_parser = clients::property)]
    consumer: Vec<(String, String)>,
}

/// Prints `filled: count N object_bytes N`.
pub(crate) fn fill(arguments: &FillArguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let env: Arc<dyn Env> = Arc::new(System::new());
        let (brokers, topic_prefix) = (arguments.kafka.clone(), arguments.topic_prefix.clone());
        let stream = Kafka::open(Options { brokers, topic_prefix, ..Options::default() }, Arc::clone(&env))?;
        stream.topology().await?;
        let maker = Maker::new(&arguments.like, env)?;
        let (mut number, mut object_bytes) = (0, 0);
        while number < arguments.count {
            let end = arguments.count.min(number + BATCH);
            let mut appends = Vec::new();
            for number in number..end {
                let (key, revision) = maker.entity(number)?;
                object_bytes += revision.live().map_or(0, |entity| entity.object.len());
                appends.push(stream.append(Topic::Views, encode_view(&revision.view(key), SOURCE)));
            }
            try_join_all(appends).await?;
            number = end;
        }
        stream.close().await;
        println!("filled: count {number} object_bytes {object_bytes}");
        Ok(())
    })
}

/// Reads every partition to its end. Prints `read: records N value_bytes N seconds S`, from the making of the client on.
pub(crate) fn read(arguments: &ReadArguments) -> Result<()> {
    let clock = System::new();
    let mut properties = arguments.consumer.clone();
    properties.push(("enable.partition.eof".to_owned(), "true".to_owned()));
    let (consumer, mut open) = clients::consumer(&arguments.kafka, &arguments.topic, &properties)?;
    let (mut records, mut value_bytes) = (0_u64, 0);
    while open > 0 {
        match consumer.poll(SILENCE_MAX).context("the broker is silent")? {
            Ok(message) => {
                records += 1;
                value_bytes += message.payload_len();
            }
            Err(error) if clients::is_end(&error) => open -= 1,
            Err(error) => return Err(error.into()),
        }
    }
    let seconds = clock.monotonic().as_secs_f64();
    println!("read: records {records} value_bytes {value_bytes} seconds {seconds:.4}");
    Ok(())
}
