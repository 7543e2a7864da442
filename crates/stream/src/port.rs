//! The port: what the gateway and the store ask of an event stream.
//!
//! Order: records of one partition are read in the order of their offsets, and records of one key lie in one
//! partition (`contract::partition::of_key`). Durability: an acknowledged append survives the end of any process
//! and, where the adapter says so, of any machine. Repeats: an adapter never stores one append twice.

use std::time::Duration;

use contract::{Offset, Partition, Record, Stored, Topic};
use thiserror::Error;

/// An event stream with the four topics of the contract.
#[async_trait::async_trait]
pub trait Stream: Send + Sync + 'static {
    /// What does not change while the topics exist. Costs nothing once it is known; until then it is asked for, and an
    /// error is not remembered: try again. [`StreamError::Unusable`] after it was known says that it changed all the same, and that
    /// commands are refused from then on.
    async fn topology(&self) -> Result<Topology, StreamError>;

    /// Appends one record to its key's partition and returns where it lies once it is durable.
    ///
    /// The appends of one caller to one partition are stored in the order in which their futures are first polled, until
    /// one of them fails: those after it may be stored all the same, and it may itself be stored later, if it is unknown.
    /// Dropping the future does not take the append back.
    async fn append(&self, topic: Topic, record: Record) -> Result<(Partition, Offset), AppendError>;

    /// How long the stream, or a part of it, has not been reached, so that tails may lack what is new; none while all of it
    /// is. An adapter in the process itself is always there.
    fn away_for(&self) -> Option<Duration> {
        None
    }

    /// First and next offset of every partition, in the order of their numbers.
    async fn bounds(&self, topic: Topic) -> Result<Vec<Bounds>, StreamError>;

    /// Reads one partition from an offset on, without end. Every tail sees every record, whoever else reads.
    async fn tail(&self, topic: Topic, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError>;

    /// The name of the database that carries out this log's commands: the first that claimed it, for ever. A stream that others
    /// cannot come to with a database of their own says that it is this one.
    async fn claim(&self, database: &str) -> Result<String, StreamError> {
        Ok(database.to_owned())
    }

    /// Joins a consumer group: each partition is assigned to one member at a time.
    async fn join(&self, group: &str, topic: Topic) -> Result<Box<dyn Membership>, StreamError>;
}

/// A reader of one partition.
#[async_trait::async_trait]
pub trait Tail: Send {
    /// The next records in order, at most `records_max`; waits until there are any.
    ///
    /// On a compacted or trimmed topic offsets may have gaps, also behind the last record. So an adapter whose logs
    /// have such gaps gives an empty batch, at most once a tail: all that the partition held when the tail was opened
    /// has been read. Dropping the future loses nothing.
    async fn next(&mut self, records_max: usize) -> Result<Vec<Stored>, StreamError>;
}

/// Membership of a consumer group. Positions are the caller's to keep: with its own data, in one transaction.
#[async_trait::async_trait]
pub trait Membership: Send {
    /// Waits for the next change of what is assigned to this member.
    async fn next(&mut self) -> Result<Change, StreamError>;

    /// Reads an assigned partition from an offset on. The tail ends with [`StreamError::Revoked`] once the partition is
    /// no longer this member's.
    async fn read(&mut self, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError>;
}

/// A change of assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These partitions are now this member's, in addition to those it has.
    Assigned(Vec<Partition>),
    /// These no longer are; what was read from them must not be committed. Others get them once the next change is
    /// asked for, or after a bounded time.
    Revoked(Vec<Partition>),
}

/// The fixed properties of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Names this very log; positions of another cluster mean nothing here.
    pub cluster: String,
    /// Partitions of each topic; fixed when the topics were made.
    pub partitions: u32,
    /// The largest [`Record::size_bytes`] that can be appended.
    pub message_bytes_max: usize,
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can be read.
    pub start: Offset,
    /// The offset that the next record will get.
    pub end: Offset,
}

/// Why an append was not acknowledged. The distinction is the client's: may it happen twice if tried again?
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// Nothing was stored: the record is larger than the stream takes.
    #[error("a message of {size_bytes} bytes is over the stream's limit of {size_bytes_max}")]
    TooLarge {
        /// What it has.
        size_bytes: usize,
        /// What is allowed.
        size_bytes_max: usize,
    },
    /// Nothing was stored: too many appends wait already.
    #[error("too many messages wait for the stream")]
    Overloaded,
    /// Nothing was stored: there is no room.
    #[error("the stream's disk is full")]
    Full,
    /// Nothing was stored: the stream cannot be reached or is closed.
    #[error("the stream is not reachable: {0}")]
    Unavailable(String),
    /// It may be stored or not.
    #[error("it is not known whether the stream stored the message: {0}")]
    Unknown(String),
}

/// Why reading failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StreamError {
    /// The offset lies outside the partition: records before `start` were removed, or there never were that many.
    #[error("offset {offset} of {topic}/{partition} is outside the log, which holds {start} to {end}", topic = topic.name())]
    OutOfRange {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: Partition,
        /// What was asked for.
        offset: Offset,
        /// The first that can be read.
        start: Offset,
        /// The next to be written.
        end: Offset,
    },
    /// The stream was closed.
    #[error("the stream is closed")]
    Closed,
    /// The partition is no longer this member's.
    #[error("the partition was given to another member of the group")]
    Revoked,
    /// It is reached and may not be used as it is: a person must change something. The text says what.
    #[error("the stream cannot be used: {0}")]
    Unusable(String),
    /// It cannot be read now.
    #[error("the stream cannot be read: {0}")]
    Unavailable(String),
}
