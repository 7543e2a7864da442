//! Reading the file of a running process, without its lock.

use std::path::Path;

use contract::{Offset, Partition, Stored, Topic};
use rusqlite::Connection;

use super::{OpenError, open, tail};
use crate::{Bounds, StreamError};

/// A read-only view of a stream's file, for a tool beside the process that writes it. Blocks; poll it for news.
pub struct Follower {
    connection: Connection,
    partitions: u32,
}

impl Follower {
    /// Opens the file in `folder`, which must exist.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let (connection, partitions) = open::follow(folder)?;
        Ok(Self { connection, partitions })
    }

    /// Partitions of each topic.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// First and next offset of every partition, of what is durable now.
    pub fn bounds(&self, topic: Topic) -> Result<Vec<Bounds>, StreamError> {
        let bounds = |partition| {
            let ends = open::ends_of(&self.connection, topic, partition).map_err(tail::unavailable)?;
            Ok(Bounds { start: ends.start, end: ends.next })
        };
        (0..self.partitions).map(bounds).collect()
    }

    /// Whatever else lies in the file. Reads only.
    pub fn query<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StreamError> {
        query(&self.connection).map_err(tail::unavailable)
    }

    /// The records from `from` on, at most `records_max`, none if there are none yet. Offsets may have gaps.
    pub fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        records_max: usize,
    ) -> Result<Vec<Stored>, StreamError> {
        // 2^48 offsets a partition: see `format`.
        let end = 1 << 48;
        let batch = tail::read(&self.connection, topic, partition, from.min(end), end, records_max)?;
        Ok(batch.records)
    }
}
