//! Removes what need not be kept, in small steps between other writes: retention and compaction.
//!
//! Reads go to the reading threads, removals to the writer as ordinary jobs. What was found in an older snapshot stays
//! true: a record once old enough stays so, and a record that has a later one of its key never becomes that key's last.
//!
//! Ages are taken from the clock at appending. Where that went back, removal waits for the youngest before; it never
//! comes early.
//!
//! Compaction needs no index, which every append would pay for. As in Kafka, the keys of what was added since the last
//! pass are put in a map with their last offset, then everything up to there is read once and what the map supersedes
//! is removed. That is worth it once enough was added, so a partition holds at most its live records, the share set by
//! `compaction_percent_min` more, and what came within `compaction_lag`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use contract::{Offset, Partition, Topic};
use rusqlite::{Connection, OptionalExtension};

use super::{Shared, format, names};
use crate::StreamError;

/// Rows of one read.
const ROWS_MAX: usize = 2048;
/// Rows removed by one job.
const REMOVALS_MAX: usize = 256;
/// Keys of one pass of compaction, about 100 bytes each.
const KEYS_MAX: usize = 100_000;

/// Cleans every `housekeeping_interval`, until the stream is closed.
pub(super) fn start(shared: &Arc<Shared>) {
    let mut closed = shared.closed.subscribe();
    let task_shared = Arc::clone(shared);
    shared.env.spawn(Box::pin(async move {
        let shared = task_shared;
        loop {
            let sleep = shared.env.sleep(shared.options.housekeeping_interval);
            tokio::select! {
                () = sleep => {}
                _ = closed.wait_for(|closed| *closed) => return,
            }
            match pass(&shared).await {
                Ok(()) | Err(StreamError::Closed) => {}
                Err(error) => tracing::warn!(%error, "cleaning the stream failed; it is tried again"),
            }
        }
    }));
}

/// One pass over all partitions.
pub(super) async fn pass(shared: &Shared) -> Result<(), StreamError> {
    let _one_at_a_time = shared.cleaning.lock().await;
    for topic in Topic::ALL {
        for partition in 0..shared.partitions {
            if topic.is_compacted() {
                while compact(shared, topic, partition).await? {}
            } else {
                trim(shared, topic, partition).await?;
            }
        }
    }
    Ok(())
}

/// Removes the records of a partition that are older than the retention, from its start on.
async fn trim(shared: &Shared, topic: Topic, partition: Partition) -> Result<(), StreamError> {
    let ring = shared.ring(topic, partition)?;
    let cutoff = cutoff(shared, shared.options.retention);
    loop {
        let (start, end) = ring.bounds();
        let told = ring.keep_from().map(|offset| offset.min(end));
        let limit = if topic == Topic::Commands { told.unwrap_or(start) } else { end };
        if limit <= start {
            return Ok(());
        }
        let old = shared.read(move |connection| old(connection, topic, partition, start, limit, cutoff)).await?;
        let Some(&last) = old.last() else { return Ok(()) };
        let floor = last + 1;
        let removed = write(shared, move |connection| {
            let range = (format::id(partition, start), format::id(partition, floor));
            let removed = connection.prepare_cached(format::sql(topic).delete_range)?.execute(range)?;
            let marks = "INSERT INTO stream_marks (topic, partition, floor, keep_from) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT DO UPDATE SET floor = max(floor, excluded.floor), keep_from = excluded.keep_from";
            connection.prepare_cached(marks)?.execute((format::index(topic), partition, floor, told))?;
            Ok(removed)
        });
        metrics::counter!(names::REMOVED, "topic" => topic.name()).increment(removed.await? as u64);
        ring.set_start(floor);
        if old.len() < REMOVALS_MAX {
            return Ok(());
        }
    }
}

/// The first offsets of a range whose records are all older than `cutoff`.
fn old(
    connection: &Connection,
    topic: Topic,
    partition: Partition,
    from: Offset,
    end: Offset,
    cutoff: i64,
) -> rusqlite::Result<Vec<Offset>> {
    let mut statement = connection.prepare_cached(format::sql(topic).times)?;
    let range = (format::id(partition, from), format::id(partition, end), REMOVALS_MAX);
    let rows = statement.query_map(range, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    let old = rows.take_while(|row| row.as_ref().map_or(true, |(_, time)| *time < cutoff));
    old.map(|row| row.map(|(id, _)| format::offset(id))).collect()
}

/// One pass of compaction over one partition; true if more is to be done.
async fn compact(shared: &Shared, topic: Topic, partition: Partition) -> Result<bool, StreamError> {
    let ring = shared.ring(topic, partition)?;
    let (start, end) = ring.bounds();
    let (cleaned, kept) = shared.read(move |connection| marks(connection, topic, partition)).await?;
    let share = kept.saturating_mul(u64::from(shared.options.compaction_percent_min)) / 100;
    if end.saturating_sub(cleaned) < shared.options.compaction_records_min.max(share).max(1) {
        return Ok(false);
    }
    let cutoff = cutoff(shared, shared.options.compaction_lag);
    let (last, limit) = last_offsets(shared, topic, partition, cleaned, end, cutoff).await?;
    if limit == cleaned {
        return Ok(false);
    }
    let last = Arc::new(last);
    let (mut from, mut kept, mut first) = (start, 0, None);
    while from < limit {
        let map = Arc::clone(&last);
        let found = shared.read(move |connection| superseded(connection, topic, partition, from..limit, &map)).await?;
        (from, kept) = (found.next, kept + found.kept);
        first = first.or(found.first);
        for ids in found.superseded.chunks(REMOVALS_MAX) {
            let ids = ids.to_vec();
            let removed = write(shared, move |connection| {
                let mut statement = connection.prepare_cached(format::sql(topic).delete)?;
                ids.iter().map(|id| statement.execute([id])).sum::<rusqlite::Result<usize>>()
            });
            metrics::counter!(names::REMOVED, "topic" => topic.name()).increment(removed.await? as u64);
        }
    }
    write(shared, move |connection| {
        let marks = "INSERT INTO stream_marks (topic, partition, cleaned, kept) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT DO UPDATE SET cleaned = excluded.cleaned, kept = excluded.kept";
        connection.prepare_cached(marks)?.execute((format::index(topic), partition, limit, kept))
    })
    .await?;
    ring.set_start(first.unwrap_or(start));
    // The map was full: there is more below the cutoff.
    Ok(last.len() >= KEYS_MAX)
}

fn marks(connection: &Connection, topic: Topic, partition: Partition) -> rusqlite::Result<(Offset, u64)> {
    let marks = "SELECT cleaned, kept FROM stream_marks WHERE topic = ?1 AND partition = ?2";
    let mut statement = connection.prepare_cached(marks)?;
    let row =
        statement.query_row((format::index(topic), partition), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(row.unwrap_or((0, 0)))
}

type Last = HashMap<Bytes, Offset>;

/// The last offset of each key from `from` on, and where that ends: at a record younger than `cutoff`, or when it is
/// full.
async fn last_offsets(
    shared: &Shared,
    topic: Topic,
    partition: Partition,
    mut from: Offset,
    end: Offset,
    cutoff: i64,
) -> Result<(Last, Offset), StreamError> {
    let mut last = Last::new();
    while last.len() < KEYS_MAX && from < end {
        let rows = shared.read(move |connection| {
            let mut statement = connection.prepare_cached(format::sql(topic).keys)?;
            let range = (format::id(partition, from), format::id(partition, end), ROWS_MAX);
            let row = |row: &rusqlite::Row<'_>| {
                Ok((format::offset(row.get(0)?), row.get(1)?, Bytes::copy_from_slice(row.get_ref(2)?.as_blob()?)))
            };
            statement.query_map(range, row)?.collect::<rusqlite::Result<Vec<(Offset, i64, Bytes)>>>()
        });
        let rows = rows.await?;
        if rows.is_empty() {
            return Ok((last, end));
        }
        for (offset, time, key) in rows {
            if time > cutoff {
                return Ok((last, from));
            }
            last.insert(key, offset);
            from = offset + 1;
        }
    }
    Ok((last, from))
}

/// What [`superseded`] found in one read.
struct Superseded {
    superseded: Vec<i64>,
    kept: u64,
    first: Option<Offset>,
    next: Offset,
}

/// The rows of a range that have a later record of their key in the map.
fn superseded(
    connection: &Connection,
    topic: Topic,
    partition: Partition,
    range: std::ops::Range<Offset>,
    last: &Last,
) -> rusqlite::Result<Superseded> {
    let mut found = Superseded { superseded: Vec::new(), kept: 0, first: None, next: range.end };
    let mut statement = connection.prepare_cached(format::sql(topic).keys)?;
    let mut rows = statement.query((format::id(partition, range.start), format::id(partition, range.end), ROWS_MAX))?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let offset = format::offset(id);
        if last.get(row.get_ref(2)?.as_blob()?).is_some_and(|last| *last > offset) {
            found.superseded.push(id);
        } else {
            found.kept += 1;
            found.first.get_or_insert(offset);
        }
        count += 1;
        if count == ROWS_MAX {
            found.next = offset + 1;
        }
    }
    Ok(found)
}

fn cutoff(shared: &Shared, age: std::time::Duration) -> i64 {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    shared.env.now().as_millis().saturating_sub(age)
}

async fn write<T: Send + 'static>(
    shared: &Shared,
    job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, StreamError> {
    let outcome = shared.transact(move |transaction| Ok(job(transaction.connection())?)).await;
    outcome.map_err(|error| if *shared.closed.borrow() { StreamError::Closed } else { super::tail::unavailable(error) })
}
