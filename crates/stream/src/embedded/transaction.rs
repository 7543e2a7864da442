//! What a job does inside the group's transaction, and the offsets it is given.

use contract::{Offset, Partition, Record, Stored, Timestamp, Topic, partition};
use rusqlite::{Connection, ErrorCode};
use thiserror::Error;

use super::ahead::Ahead;
use super::format;
use crate::AppendError;

/// Why a job of `Embedded::transact` did not take effect.
#[derive(Debug, Error)]
pub enum TransactError {
    /// Nothing was stored: one of the job's statements failed.
    #[error("a statement failed: {0}")]
    Sql(#[from] rusqlite::Error),
    /// Nothing was stored, except perhaps on [`AppendError::Unknown`].
    #[error(transparent)]
    Stream(#[from] AppendError),
    /// Nothing was stored: the job itself gave up, for its own reason.
    #[error("given up: {0}")]
    Aborted(String),
    /// Nothing was stored: the records that the job rests on are not there.
    #[error("the records that this rests on were not stored")]
    Lost,
    /// Nothing was stored: the job panicked.
    #[error("the job panicked")]
    Panicked,
}

impl TransactError {
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sql(error) => error.sqlite_error_code(),
            _ => None,
        }
    }

    /// What this error means for the whole group; `None` where it is the job's own affair.
    ///
    /// After these SQLite may have rolled back the whole transaction by itself, and statements after it would find the
    /// same trouble; nothing was committed, so all of the group may try again.
    pub(super) fn ends_group(&self) -> Option<AppendError> {
        match self.code() {
            Some(ErrorCode::DiskFull) => Some(AppendError::Full),
            Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::OperationInterrupted) => {
                Some(AppendError::Unavailable(self.to_string()))
            }
            _ if matches!(self, Self::Stream(AppendError::Full)) => Some(AppendError::Full),
            _ => None,
        }
    }
}

/// The writer's view of one partition.
#[derive(Default)]
pub(super) struct Slot {
    next: Offset,
    /// Appended by the group under way.
    pub(super) appended: Vec<Stored>,
}

/// The offsets of all partitions, and what the group under way changes.
pub(super) struct Log {
    partitions: u32,
    message_bytes_max: usize,
    pub(super) slots: Vec<Slot>,
    /// The slot of each append of the group, in order: what a savepoint goes back along.
    pub(super) appends: Vec<u32>,
    /// Slot and position, likewise.
    pub(super) keeps: Vec<(u32, Offset)>,
}

impl Log {
    /// `next` holds the next offset of each partition, topic by topic.
    pub(super) fn new(partitions: u32, message_bytes_max: usize, next: impl Iterator<Item = Offset>) -> Self {
        let slots = next.map(|next| Slot { next, ..Slot::default() }).collect();
        Self { partitions, message_bytes_max, slots, appends: Vec::new(), keeps: Vec::new() }
    }

    /// Takes back all appends after the first so many.
    pub(super) fn roll_back_to(&mut self, appends: usize, keeps: usize) {
        for slot in self.appends.drain(appends..) {
            let slot = &mut self.slots[slot as usize];
            if slot.appended.pop().is_some() {
                slot.next -= 1;
            }
        }
        self.keeps.truncate(keeps);
    }

    /// The next offset of each partition of a topic.
    pub(super) fn ends(&self, topic: Topic) -> impl Iterator<Item = Offset> {
        let first = format::index(topic) * self.partitions as usize;
        self.slots[first..first + self.partitions as usize].iter().map(|slot| slot.next)
    }

    /// Writes one record.
    pub(super) fn append(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        topic: Topic,
        partition: Partition,
        record: Record,
    ) -> Result<(Partition, Offset), TransactError> {
        let number = format::index(topic) * self.partitions as usize + partition as usize;
        let slot = &mut self.slots[number];
        let offset = slot.next;
        let id = format::id(partition, offset);
        let (key, headers, value) = (&record.key[..], &record.headers.as_bytes()[..], &record.value[..]);
        connection.prepare_cached(format::sql(topic).insert)?.execute((id, now.as_millis(), key, headers, value))?;
        slot.next += 1;
        slot.appended.push(Stored { partition, offset, record });
        self.appends.push(number as u32);
        Ok((partition, offset))
    }
}

/// The group's transaction, as one job sees it.
pub struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) log: &'a mut Log,
    pub(super) ahead: &'a Ahead,
    pub(super) now: Timestamp,
}

impl Transaction<'_> {
    /// The write connection, inside a transaction and a savepoint. A job must neither end these nor change settings.
    pub fn connection(&self) -> &Connection {
        self.connection
    }

    /// Appends a record; it can be read once the group is durable. Commands are refused: they have their offsets since
    /// they were queued, by [`crate::Stream::append`].
    pub fn append(&mut self, topic: Topic, record: Record) -> Result<(Partition, Offset), TransactError> {
        if topic == Topic::Commands {
            return Err(TransactError::Aborted("a job cannot append commands".to_owned()));
        }
        check_size(&record, self.log.message_bytes_max)?;
        let partition = partition::of_key(&record.key, self.log.partitions);
        self.log.append(self.connection, self.now, topic, partition, record)
    }

    /// Tells that records of this partition below `offset` are needed no more, so that retention may remove them. Holds
    /// from this transaction's commit on; tell it again after each start. Only commands wait for it, other topics
    /// ignore it.
    ///
    /// Refused where commands are read ahead and there are none up to `offset`: then what the job did rests on some that
    /// were lost.
    pub fn keep_from(&mut self, topic: Topic, partition: Partition, offset: Offset) -> Result<(), TransactError> {
        if partition >= self.log.partitions {
            return Ok(());
        }
        let number = format::index(topic) * self.log.partitions as usize + partition as usize;
        if offset > self.log.slots[number].next && self.ahead.is_read() {
            return Err(TransactError::Lost);
        }
        self.log.keeps.push((number as u32, offset));
        Ok(())
    }
}

/// Refuses what is over the stream's limit.
pub(super) fn check_size(record: &Record, size_bytes_max: usize) -> Result<(), AppendError> {
    match record.size_bytes() {
        size_bytes if size_bytes > size_bytes_max => Err(AppendError::TooLarge { size_bytes, size_bytes_max }),
        _ => Ok(()),
    }
}
