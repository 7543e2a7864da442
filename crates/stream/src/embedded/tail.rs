//! A reader of one partition: from the ring where it can, from the file where it must.
//!
//! It reads the file only up to the end that was published when the read began, and goes on exactly there, so the
//! hand-over from file to ring neither skips nor repeats a record.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use contract::{Headers, Offset, Partition, Record, Stored, Topic};
use rusqlite::{Connection, Row};
use tokio::sync::{oneshot, watch};

use super::ring::{Found, Mark, Ring};
use super::{Shared, format};
use crate::{StreamError, Tail};

/// Rows and bytes of one read: large enough for the disk, short enough for the log to be reset between two, and small
/// enough for the allocator to use the same memory for the next one.
const READ_RECORDS_MAX: usize = 2048;
const READ_BYTES_MAX: usize = 256 << 10;

/// Rows of a partition, and the offset from which to read on.
pub(super) struct Batch {
    pub(super) records: Vec<Stored>,
    pub(super) next: Offset,
}

/// See the module.
pub(super) struct EmbeddedTail {
    shared: Arc<Shared>,
    topic: Topic,
    partition: Partition,
    /// Of what is durable.
    mark: watch::Receiver<Mark>,
    /// Of commands as they are queued, if it sees them.
    queued: Option<watch::Receiver<Mark>>,
    /// Read and not yet given out.
    buffer: VecDeque<Stored>,
    /// The offset after those.
    position: Offset,
    /// A read under way from `position`; kept across a dropped `next`.
    reading: Option<oneshot::Receiver<Result<Batch, StreamError>>>,
}

impl EmbeddedTail {
    /// Checks the position: see [`crate::Stream::tail`].
    pub(super) fn new(
        shared: &Arc<Shared>,
        topic: Topic,
        partition: Partition,
        from: Offset,
        ahead: bool,
    ) -> Result<Self, StreamError> {
        let ring = shared.ring(topic, partition)?;
        let mark = ring.subscribe();
        let queued = shared.queued(topic, partition).filter(|_| ahead).map(Ring::subscribe);
        let (start, end) = ring.bounds();
        if from > end || (from < start && !topic.is_compacted()) {
            return Err(StreamError::OutOfRange { topic, partition, offset: from, start, end });
        }
        let (shared, buffer) = (Arc::clone(shared), VecDeque::new());
        Ok(Self { shared, topic, partition, mark, queued, buffer, position: from, reading: None })
    }

    fn start_read(&mut self, end: Offset) -> Result<(), StreamError> {
        let (topic, partition, from) = (self.topic, self.partition, self.position);
        let (start, _) = self.shared.ring(topic, partition)?.bounds();
        let query = move |connection: &Connection| {
            let batch = read(connection, topic, partition, from, end, READ_RECORDS_MAX)?;
            if topic.is_compacted() {
                return Ok(batch);
            }
            // Elsewhere a gap is what retention removed while this tail was behind: never a silent skip.
            let dense = batch.records.len() as u64 == batch.next - from;
            if dense { Ok(batch) } else { Err(StreamError::OutOfRange { topic, partition, offset: from, start, end }) }
        };
        self.reading = Some(self.shared.tails.submit(query)?);
        Ok(())
    }

    /// Waits for the read under way, if any, and starts the next one while the caller is busy with these records.
    async fn finish_read(&mut self) -> Result<(), StreamError> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        let outcome = reading.await;
        self.reading = None;
        let batch = outcome.map_err(|_| StreamError::Closed)??;
        self.buffer.extend(batch.records);
        self.position = batch.next;
        if self.buffer.is_empty() {
            return Ok(());
        }
        match self.shared.ring(self.topic, self.partition)?.read(self.position, 1) {
            Found::Behind { end } => self.start_read(end),
            _ => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Tail for EmbeddedTail {
    async fn next(&mut self, records_max: usize) -> Result<Vec<Stored>, StreamError> {
        let records_max = records_max.max(1);
        loop {
            if self.mark.borrow().closed {
                return Err(StreamError::Closed);
            }
            if self.buffer.is_empty() && self.reading.is_some() {
                self.finish_read().await?;
            }
            if !self.buffer.is_empty() {
                let count = records_max.min(self.buffer.len());
                return Ok(self.buffer.drain(..count).collect());
            }
            let queued = self.shared.queued(self.topic, self.partition).zip(self.queued.as_mut());
            let queued = queued.map(|(ring, mark)| (ring.read(self.position, records_max), mark));
            let (found, mark) = match queued {
                // What this ring does not hold any more is in the other, or soon will be.
                None | Some((Found::Behind { .. }, _)) => {
                    (self.shared.ring(self.topic, self.partition)?.read(self.position, records_max), &mut self.mark)
                }
                Some(found) => found,
            };
            match found {
                Found::Records(records) => {
                    self.position += records.len() as u64;
                    return Ok(records);
                }
                Found::Behind { end } => self.start_read(end)?,
                Found::AtEnd => {
                    let position = self.position;
                    let waited = mark.wait_for(|mark| mark.closed || mark.end > position).await;
                    if waited.is_err() {
                        return Err(StreamError::Closed);
                    }
                }
            }
        }
    }
}

/// Reads rows of `from..end`, bounded in number and bytes.
pub(super) fn read(
    connection: &Connection,
    topic: Topic,
    partition: Partition,
    from: Offset,
    end: Offset,
    records_max: usize,
) -> Result<Batch, StreamError> {
    let mut batch = Batch { records: Vec::new(), next: end };
    let mut rows = Rows { bytes: Vec::with_capacity(READ_BYTES_MAX), rows: Vec::new() };
    let mut statement = connection.prepare_cached(format::sql(topic).read).map_err(unavailable)?;
    let range = (format::id(partition, from), format::id(partition, end), records_max.try_into().unwrap_or(i64::MAX));
    let mut found = statement.query(range).map_err(unavailable)?;
    while let Some(row) = found.next().map_err(unavailable)? {
        rows.add(row)?;
        if rows.rows.len() >= records_max || rows.bytes.len() >= READ_BYTES_MAX {
            batch.next = rows.rows.last().map_or(end, |row| row.offset + 1);
            break;
        }
    }
    batch.records = rows.finish(partition)?;
    Ok(batch)
}

/// Rows as they are read, in one allocation: records that come from the file are read and let go.
struct Rows {
    bytes: Vec<u8>,
    rows: Vec<Bounded>,
}

/// Where the parts of a row end; each begins where the one before ends.
struct Bounded {
    offset: Offset,
    key_end: usize,
    headers_end: usize,
    value_end: usize,
}

impl Rows {
    fn add(&mut self, row: &Row<'_>) -> Result<(), StreamError> {
        let offset = format::offset(row.get(0).map_err(unavailable)?);
        let mut part = |column| {
            let blob = row.get_ref(column).map_err(unavailable)?.as_blob().map_err(unavailable)?;
            self.bytes.extend_from_slice(blob);
            Ok(self.bytes.len())
        };
        let (key_end, headers_end, value_end) = (part(1)?, part(2)?, part(3)?);
        self.rows.push(Bounded { offset, key_end, headers_end, value_end });
        Ok(())
    }

    fn finish(self, partition: Partition) -> Result<Vec<Stored>, StreamError> {
        let bytes = Bytes::from(self.bytes);
        let mut begin = 0;
        let stored = self.rows.into_iter().map(|Bounded { offset, key_end, headers_end, value_end }| {
            let key = bytes.slice(begin..key_end);
            begin = value_end;
            let headers = Headers::from_bytes(bytes.slice(key_end..headers_end))
                .ok_or_else(|| StreamError::Unavailable(format!("the headers at offset {offset} are damaged")))?;
            let record = Record { key, headers, value: bytes.slice(headers_end..value_end) };
            Ok(Stored { partition, offset, record })
        });
        stored.collect()
    }
}

/// An error of the database, as a reader sees it.
pub(super) fn unavailable(error: impl std::fmt::Display) -> StreamError {
    StreamError::Unavailable(error.to_string())
}
