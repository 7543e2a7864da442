//! Carries to Redis what the tails have passed and what retrieves gave, for as long as the cache is used.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ::metrics::counter;
use contract::{Key, Offset, Partition};
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::scripts::{Outcome, Passed};
use super::window::{Batch, Change};
use super::{Entry, Shared};
use crate::metrics::{SHARED_INSERTS, SHARED_RENEWED};

/// Inserts taken between two batches.
const INSERTS_AT_ONCE: usize = 64;
/// How long a connection is idle before it is tried.
const IDLE: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What a retrieve gave, to be kept.
pub(super) struct Insert {
    pub(super) partition: Partition,
    pub(super) key: Key,
    /// It reflects everything before this position.
    pub(super) as_of: Offset,
    pub(super) entry: Entry,
}

/// Runs until nobody uses the cache any more.
pub(super) async fn run(shared: Weak<Shared>, mut inserts: mpsc::Receiver<Insert>) {
    let mut backoff = BACKOFF_MIN;
    let mut told = false;
    while let Some(shared) = shared.upgrade() {
        let error = match shared.link.connect().await {
            Ok(connection) => {
                info!("the shared cache is reached");
                (backoff, told) = (BACKOFF_MIN, false);
                serve(&shared, connection, &mut inserts).await
            }
            Err(error) => Some(error),
        };
        shared.link.disconnect();
        let Some(error) = error else { continue };
        if !told {
            warn!(%error, "the shared cache is away; reads go on without it");
            told = true;
        }
        let env = Arc::clone(&shared.env);
        drop(shared);
        env.sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Works on one connection until it fails; none where nobody else uses the cache any more.
async fn serve(
    shared: &Arc<Shared>,
    mut connection: MultiplexedConnection,
    inserts: &mut mpsc::Receiver<Insert>,
) -> Option<RedisError> {
    loop {
        match round(shared, &mut connection, inserts).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => return Some(error),
        }
        tokio::select! {
            () = shared.work.notified() => {}
            Some(insert) = inserts.recv() => {
                if let Err(error) = keep(shared, &mut connection, insert).await {
                    return Some(error);
                }
            }
            () = shared.env.sleep(IDLE) => {
                if Arc::strong_count(shared) == 1 {
                    return None;
                }
                let ping: Result<String, _> = redis::cmd("PING").query_async(&mut connection).await;
                if let Err(error) = ping {
                    return Some(error);
                }
            }
        }
    }
}

/// One batch of every partition and some inserts; whether there was anything to do.
async fn round(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    inserts: &mut mpsc::Receiver<Insert>,
) -> Result<bool, RedisError> {
    let mut worked = false;
    for partition in 0..shared.partitions() {
        let Some(batch) = shared.window(partition, |window| window.batch()).flatten() else { continue };
        worked = true;
        write(shared, connection, partition, &batch).await?;
        shared.window(partition, |window| window.written(&batch));
    }
    for _ in 0..INSERTS_AT_ONCE {
        let Ok(insert) = inserts.try_recv() else { break };
        worked = true;
        keep(shared, connection, insert).await?;
    }
    Ok(worked)
}

async fn write(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    partition: Partition,
    batch: &Batch,
) -> Result<(), RedisError> {
    let (state, fresh) = (shared.state_key(partition), shared.fresh_generation());
    let mut entries: Vec<Passed> = batch.changes.iter().map(|(key, change)| shared.passed_entry(key, change)).collect();
    let (range, ttl) = ((batch.from, batch.to), shared.ttl);
    let scripts = &shared.scripts;
    // Most of what passes is in no cache: bodies go only where they replace one.
    let mut outcome = scripts.pass(connection, &state, range, (&fresh, batch.renew), &entries, (false, ttl)).await?;
    if let Outcome::Older(older) = outcome {
        for index in older {
            let (Some(entry), Some((key, change))) = (entries.get_mut(index), batch.changes.get(index)) else {
                continue;
            };
            entry.body = match change {
                Change::View(held) => shared.encode(key, &Entry::View(held.clone())),
                Change::Deleted(version) => shared.encode(key, &Entry::Deleted(*version)),
                // Without a body it goes.
                Change::Unreadable => continue,
            };
        }
        outcome = scripts.pass(connection, &state, range, (&fresh, batch.renew), &entries, (true, ttl)).await?;
    }
    if let Outcome::Done { renewed: true } = outcome {
        counter!(SHARED_RENEWED).increment(1);
        info!(partition, "the shared cache lacked views that passed; a new generation has begun");
    }
    Ok(())
}

async fn keep(shared: &Shared, connection: &mut MultiplexedConnection, insert: Insert) -> Result<(), RedisError> {
    let Insert { partition, key, as_of, entry } = insert;
    let ttl = match entry {
        Entry::View(_) | Entry::Deleted(_) => shared.ttl,
        Entry::Absent => shared.not_found_ttl,
    };
    let keys = (shared.state_key(partition), shared.entry_key(&key));
    let body = shared.encode(&key, &entry);
    let kept = shared.scripts.insert(connection, (&keys.0, &keys.1), as_of, (entry.version(), &body), ttl).await?;
    let outcome = match kept.as_str() {
        "kept" => "kept",
        "lost" => {
            shared.window(partition, |window| window.lose());
            "refused"
        }
        _ => "refused",
    };
    counter!(SHARED_INSERTS, "outcome" => outcome).increment(1);
    Ok(())
}
