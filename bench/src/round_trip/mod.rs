//! The limit of a write in the scaled shape: HTTP in, a record to Kafka, an insert into PostgreSQL, a record back, a canned
//! answer out. The same librdkafka, brokers and server as ours, and nothing parsed, checked, decided or kept in memory.
//!
//! ```text
//! front   hyper -> producer -> commands          replies -> consumer, by assignment -> answer
//! back    commands -> consumer, by assignment -> all that waits and the position in one statement -> producer -> replies
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::producer::BaseRecord;

use crate::canned::{Canned, Done};
use crate::clients;

mod back;

/// How long a consumer waits for a record before it asks again.
const POLL: Duration = Duration::from_secs(1);

/// Arguments of `round-trip`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Address and port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A whole HTTP/1.1 response, as the system gave it, to answer with
    #[arg(long, value_name = "FILE")]
    response: PathBuf,
    /// Kafka's brokers
    #[arg(long, value_name = "HOST:PORT,..")]
    kafka: String,
    /// PostgreSQL
    #[arg(long, value_name = "URL")]
    database: String,
    /// What its topics and its schema are called; they must not exist
    #[arg(long)]
    name: String,
    /// Partitions of each topic
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Properties of the producers
    #[arg(long, value_name = "NAME=VALUE", value_parser = clients::property,
        default_values = ["linger.ms=0", "max.in.flight=1"])]
    producer: Vec<(String, String)>,
    /// Properties of the consumers
    #[arg(long, value_name = "NAME=VALUE", value_parser = clients::property, default_values = ["fetch.wait.max.ms=100"])]
    consumer: Vec<(String, String)>,
}

/// Who waits for the answer with a number.
#[derive(Default)]
struct Waiters(Mutex<HashMap<i64, Done>>);

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Done>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints `ready: http://ADDRESS:PORT` and serves until it is ended.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let canned = Canned::read(&arguments.response).context("--response")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (commands, replies) = (format!("{}.commands", arguments.name), format!("{}.replies", arguments.name));
    runtime.block_on(clients::make_topics(&arguments.kafka, &[&commands, &replies], arguments.partitions))?;
    back::start(arguments, &commands, &replies)?;
    let waiters = Arc::new(Waiters::default());
    listen(arguments, &replies, Arc::clone(&waiters))?;
    let producer = Arc::new(clients::producer(&arguments.kafka, &arguments.producer)?);
    let (partitions, count) = (i64::from(arguments.partitions), Arc::new(AtomicI64::new(0)));
    let commands: Arc<str> = commands.into();
    runtime.block_on(canned.serve(arguments.listen, move |body, done| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let (key, partition) = (number.to_be_bytes(), i32::try_from(number % partitions).unwrap_or(0));
        waiters.lock().insert(number, done);
        let record = BaseRecord::to(&commands).partition(partition).key(&key).payload(&body[..]);
        if producer.send(record).is_err() {
            waiters.lock().remove(&number);
        }
    }))
}

/// Takes the replies, in a thread of its own.
fn listen(arguments: &Arguments, replies: &str, waiters: Arc<Waiters>) -> Result<()> {
    let (consumer, _) = clients::consumer(&arguments.kafka, replies, &arguments.consumer)?;
    std::thread::Builder::new().name("limit-replies".to_owned()).spawn(move || {
        loop {
            let Some(message) = clients::taken(consumer.poll(POLL)) else { continue };
            let done = clients::number(&message).ok().and_then(|number| waiters.lock().remove(&number));
            // Whoever hung up does not want to know.
            let _ = done.map(|done| done.send(()));
        }
    })?;
    Ok(())
}
