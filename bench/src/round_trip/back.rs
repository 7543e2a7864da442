//! Behind the stream: what waits is inserted in one transaction with the position, then answered.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rdkafka::Message as _;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::BaseRecord;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};

use super::{Arguments, POLL};
use crate::canned::spawn;
use crate::clients::{self, Producer, give_up};

/// The most records of one transaction, as of ours.
const BATCH: usize = 256;

/// One statement is one transaction, and one round trip.
const INSERT: &str = "WITH moved AS (UPDATE positions p SET next = n.next
        FROM unnest($3::int[], $4::bigint[]) AS n (partition, next) WHERE p.partition = n.partition)
    INSERT INTO bodies (id, body) SELECT * FROM unnest($1::bigint[], $2::bytea[])";

struct Back {
    runtime: Runtime,
    consumer: BaseConsumer,
    producer: Producer,
    replies: String,
    client: Client,
    insert: Statement,
}

/// Makes the tables and begins to answer, in a thread of its own.
pub(super) fn start(arguments: &Arguments, commands: &str, replies: &str) -> Result<()> {
    // The connection is served by the thread that waits for it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (client, insert) = runtime.block_on(connect(arguments))?;
    let (consumer, _) = clients::consumer(&arguments.kafka, commands, &arguments.consumer)?;
    let producer = clients::producer(&arguments.kafka, &arguments.producer)?;
    let back = Back { runtime, consumer, producer, replies: replies.to_owned(), client, insert };
    std::thread::Builder::new().name("limit-back".to_owned()).spawn(move || {
        loop {
            if let Err(error) = back.batch() {
                give_up(&format!("{error:#}"));
            }
        }
    })?;
    Ok(())
}

async fn connect(arguments: &Arguments) -> Result<(Client, Statement)> {
    let (client, connection) = tokio_postgres::connect(&arguments.database, NoTls).await?;
    spawn(async move {
        if let Err(error) = connection.await {
            give_up(&format!("PostgreSQL: {error}"));
        }
    });
    let schema = &arguments.name;
    let tables = format!(
        "CREATE SCHEMA \"{schema}\"; SET search_path = \"{schema}\";
         CREATE TABLE bodies (id bigint PRIMARY KEY, body bytea NOT NULL);
         CREATE TABLE positions (partition int PRIMARY KEY, next bigint NOT NULL);
         INSERT INTO positions SELECT n, 0 FROM generate_series(0, {} - 1) n",
        arguments.partitions
    );
    client.batch_execute(&tables).await?;
    let insert = client.prepare(INSERT).await?;
    Ok((client, insert))
}

impl Back {
    /// Waits for a record, takes all that are there, stores them and answers.
    fn batch(&self) -> Result<()> {
        let Some(first) = clients::taken(self.consumer.poll(POLL)) else { return Ok(()) };
        let mut messages = vec![first];
        while messages.len() < BATCH
            && let Some(next) = clients::taken(self.consumer.poll(Duration::ZERO))
        {
            messages.push(next);
        }
        self.runtime.block_on(self.store(&messages))?;
        for message in &messages {
            let record = BaseRecord::to(&self.replies).partition(message.partition());
            let record = record.key(message.key().unwrap_or_default()).payload(message.payload().unwrap_or_default());
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    async fn store(&self, messages: &[BorrowedMessage<'_>]) -> Result<()> {
        let numbers: Vec<i64> = messages.iter().map(clients::number).collect::<Result<_>>()?;
        let bodies: Vec<&[u8]> = messages.iter().map(|message| message.payload().unwrap_or_default()).collect();
        // The last record of each partition is its highest.
        let mut positions = std::collections::BTreeMap::new();
        positions.extend(messages.iter().map(|message| (message.partition(), message.offset() + 1)));
        let (partitions, next): (Vec<i32>, Vec<i64>) = positions.into_iter().unzip();
        let stored = self.client.execute(&self.insert, &[&numbers, &bodies, &partitions, &next]).await;
        let stored = stored.context("PostgreSQL")?;
        anyhow::ensure!(stored == messages.len() as u64, "{stored} of {} rows were stored", messages.len());
        Ok(())
    }
}
