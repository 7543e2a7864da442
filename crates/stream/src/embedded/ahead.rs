//! Commands as they are queued, before they are durable: for the one reader whose own writes share their fate.
//!
//! Whoever carries out commands in the transactions of this very file need not wait for a command to be durable: what it
//! leads to goes through the same queue, behind the command, so it is committed with the command, or after it, or not at
//! all. That saves a write the wait for one group commit.
//!
//! A command gets its offset when it is queued. When a group fails, none of what is queued behind it can be done: all of
//! it is refused, and the offsets that were given out are given out again. Hence, until the reader has let go of what it
//! read (its partitions are revoked) no command is taken, and a transaction that tells of commands that are not there
//! ([`super::Transaction::keep_from`]) is refused.

use std::sync::atomic::{AtomicBool, Ordering};

use contract::{Offset, Partition, Record, Stored};
use tokio::sync::watch;

use super::ring::Ring;
use crate::AppendError;

/// The commands that are queued, and those that were a moment ago.
pub(super) struct Ahead {
    /// By partition.
    rings: Vec<Ring>,
    /// Counts how often queued commands were lost under the reader.
    lost: watch::Sender<u64>,
    /// Whether there is a reader, so that a transaction may rest on commands that were lost.
    reading: AtomicBool,
}

/// What is given out next, and to whom; under the queue's lock, so that the order of offsets is that of the queue.
pub(super) struct Course {
    next: Vec<Offset>,
    reader: Reader,
}

#[derive(Debug, PartialEq, Eq)]
enum Reader {
    Absent,
    Reads,
    /// It may still hold commands that were lost, for this reason.
    MustLetGo(AppendError),
}

impl Ahead {
    /// `ends` has the next offset of each partition.
    pub(super) fn new(ends: impl Iterator<Item = Offset>, records_max: usize, size_bytes_max: usize) -> (Self, Course) {
        let next: Vec<_> = ends.collect();
        let rings = next.iter().map(|end| Ring::new(0, *end, None, records_max, size_bytes_max)).collect();
        (
            Self { rings, lost: watch::Sender::new(0), reading: AtomicBool::new(false) },
            Course { next, reader: Reader::Absent },
        )
    }

    pub(super) fn ring(&self, partition: Partition) -> Option<&Ring> {
        self.rings.get(partition as usize)
    }

    /// Gives a command its offset, and shows it to the reader.
    pub(super) fn push(
        &self,
        course: &mut Course,
        partition: Partition,
        record: &Record,
    ) -> Result<Offset, AppendError> {
        let missing = || AppendError::Unavailable(format!("there is no partition {partition}"));
        if let Reader::MustLetGo(reason) = &course.reader {
            return Err(reason.clone());
        }
        let next = course.next.get_mut(partition as usize).ok_or_else(missing)?;
        let offset = *next;
        *next += 1;
        let stored = Stored { partition, offset, record: record.clone() };
        self.ring(partition).ok_or_else(missing)?.publish(std::iter::once(stored));
        Ok(offset)
    }

    /// Nothing that is queued will be stored, for this reason: goes back to what is.
    pub(super) fn lose(&self, course: &mut Course, reason: &AppendError, ends: impl Iterator<Item = Offset>) {
        for ((next, ring), end) in course.next.iter_mut().zip(&self.rings).zip(ends) {
            *next = end;
            ring.reset(end);
        }
        if course.reader == Reader::Reads {
            course.reader = Reader::MustLetGo(reason.clone());
            self.lost.send_modify(|lost| *lost += 1);
        }
    }

    /// A reader begins, or begins anew, and holds nothing.
    pub(super) fn begin(&self, course: &mut Course) {
        course.reader = Reader::Reads;
        self.reading.store(true, Ordering::Release);
    }

    /// There is no reader any more.
    pub(super) fn end(&self, course: &mut Course) {
        course.reader = Reader::Absent;
        self.reading.store(false, Ordering::Release);
    }

    /// Whether there is a reader.
    pub(super) fn is_read(&self) -> bool {
        self.reading.load(Ordering::Acquire)
    }

    /// Follows the losses.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }

    /// Wakes all readers for the last time.
    pub(super) fn close(&self) {
        self.rings.iter().for_each(Ring::close);
    }
}
