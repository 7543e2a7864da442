//! What can be set.

use std::time::Duration;

/// How an embedded stream behaves. The defaults suit a directory of a million entities on a small machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Partitions of each topic of a new file, 1 to 1024; a file that exists keeps its number.
    pub partitions: u32,
    /// Refuse a file that exists and has another number of partitions.
    pub partitions_strict: bool,
    /// How long commands, replies and quarantined events are kept, at least.
    pub retention: Duration,
    /// The most jobs that wait for the writer; more are refused at once.
    pub queue_max: usize,
    /// The most bytes of records that wait for the writer.
    pub queue_bytes_max: usize,
    /// The largest record.
    pub message_bytes_max: usize,
    /// The largest the database file may become, without its write-ahead log; then appends are refused as on a full
    /// disk.
    pub file_bytes_max: Option<u64>,
    /// How long a superseded view is kept, at least, so that who follows the topic sees every event.
    pub compaction_lag: Duration,
    /// A partition of views is compacted once so many records were added,
    pub compaction_records_min: u64,
    /// and they are so many hundredths of what is kept.
    pub compaction_percent_min: u32,
    /// How often compaction and retention are looked at.
    pub housekeeping_interval: Duration,
    /// The most records of each partition that tails are served from memory.
    pub ring_records_max: usize,
    /// The most bytes of those; all partitions together have at most sixteen times as much.
    pub ring_bytes_max: usize,
    /// Threads for [`super::Embedded::read`].
    pub readers: usize,
    /// Threads for tails that are behind.
    pub tail_readers: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 2,
            partitions_strict: false,
            retention: Duration::from_secs(48 * 3600),
            queue_max: 16_384,
            queue_bytes_max: 64 << 20,
            message_bytes_max: 2 << 20,
            file_bytes_max: None,
            compaction_lag: Duration::from_secs(60),
            compaction_records_min: 10_000,
            compaction_percent_min: 50,
            housekeeping_interval: Duration::from_secs(30),
            ring_records_max: 4096,
            ring_bytes_max: 8 << 20,
            readers: 2,
            tail_readers: 2,
        }
    }
}
