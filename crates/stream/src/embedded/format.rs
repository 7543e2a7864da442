//! The file's durable format, version 2. (In version 1 every record spelled out the names of its headers.)
//!
//! One SQLite database, `dos.sqlite`, in WAL mode; `application_id` is [`APPLICATION_ID`], `user_version` is
//! [`VERSION`]. It is made under another name and renamed, so that a file of this name is always whole. Tables whose
//! name begins with `stream_` are this module's, every other is the store's.
//!
//! - `stream_meta(name, value)`: `cluster` (a UUID as text) and `partitions` (an integer), both fixed for ever.
//! - `stream_commands`, `stream_views`, `stream_replies`, `stream_quarantine`: a row per record. `id` is
//!   `partition * 2^48 + offset`, so that a partition is one range of an integer key; `time` is the appending process's
//!   clock in milliseconds; `headers` is the encoding of `contract::Headers`. `key` comes before the large columns, so that the
//!   cleaner reads it without touching overflow pages.
//! - `stream_marks(topic, partition, floor, keep_from, cleaned, kept)`: a row per topic and partition once there is
//!   something to say. `kept` counts the rows below `cleaned`.
//!
//! Invariants: offsets of a partition are dense from 0 as they are appended and never used again: the next one is the
//! larger of `floor` and the last row's offset + 1, and whatever removes rows raises `floor` past them in the same
//! transaction. (So an append writes no row of `stream_marks`.) On `stream_views` a row is removed only while a later
//! row of its key stands; below `cleaned` each key has one row. On the others rows are removed from the start only, so
//! what is left is dense, and of commands only below `keep_from`; `NULL` there keeps all. (What the store needs is told
//! in memory; the row has what was told when rows were last removed, which is never too much.)

use contract::{Offset, Partition, Topic};

/// `DoSv` in ASCII.
pub(super) const APPLICATION_ID: i32 = 0x446f_5376;
/// The version of the format that this program writes.
pub(super) const VERSION: i32 = 2;
/// The most partitions a file can have: what fits before a 48-bit offset, kept far below by the memory of each.
pub(super) const PARTITIONS_MAX: u32 = 1024;

const OFFSET_BITS: u32 = 48;

/// Everything a new file holds.
pub(super) const SCHEMA: &str = "
CREATE TABLE stream_meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE stream_commands (id INTEGER PRIMARY KEY, time INTEGER NOT NULL,
    key BLOB NOT NULL, headers BLOB NOT NULL, value BLOB NOT NULL);
CREATE TABLE stream_views (id INTEGER PRIMARY KEY, time INTEGER NOT NULL,
    key BLOB NOT NULL, headers BLOB NOT NULL, value BLOB NOT NULL);
CREATE TABLE stream_replies (id INTEGER PRIMARY KEY, time INTEGER NOT NULL,
    key BLOB NOT NULL, headers BLOB NOT NULL, value BLOB NOT NULL);
CREATE TABLE stream_quarantine (id INTEGER PRIMARY KEY, time INTEGER NOT NULL,
    key BLOB NOT NULL, headers BLOB NOT NULL, value BLOB NOT NULL);
CREATE TABLE stream_marks (topic INTEGER NOT NULL, partition INTEGER NOT NULL, floor INTEGER NOT NULL DEFAULT 0,
    keep_from INTEGER, cleaned INTEGER NOT NULL DEFAULT 0,
    kept INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
";

/// A topic's place in `Topic::ALL`, which is also its number in `stream_marks`.
pub(super) const fn index(topic: Topic) -> usize {
    match topic {
        Topic::Commands => 0,
        Topic::Views => 1,
        Topic::Replies => 2,
        Topic::Quarantine => 3,
    }
}

/// The statements on a topic's table. Constants, because the statement cache is keyed by their text.
pub(super) struct Sql {
    pub(super) insert: &'static str,
    /// Rows of an id range, in order, at most so many.
    pub(super) read: &'static str,
    /// Id and time of the same.
    pub(super) times: &'static str,
    /// Id, time and key of the same.
    pub(super) keys: &'static str,
    /// The first and the last id of a range. Two sub-queries: SQLite answers `min` and `max` together by a scan.
    pub(super) ends: &'static str,
    pub(super) delete: &'static str,
    pub(super) delete_range: &'static str,
}

macro_rules! sql {
    ($table:literal) => {
        Sql {
            insert: concat!("INSERT INTO ", $table, " (id, time, key, headers, value) VALUES (?1, ?2, ?3, ?4, ?5)"),
            read: concat!(
                "SELECT id, key, headers, value FROM ",
                $table,
                " WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3"
            ),
            times: concat!("SELECT id, time FROM ", $table, " WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3"),
            keys: concat!("SELECT id, time, key FROM ", $table, " WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3"),
            ends: concat!(
                "SELECT (SELECT min(id) FROM ",
                $table,
                " WHERE id >= ?1 AND id < ?2), (SELECT max(id) FROM ",
                $table,
                " WHERE id >= ?1 AND id < ?2)"
            ),
            delete: concat!("DELETE FROM ", $table, " WHERE id = ?1"),
            delete_range: concat!("DELETE FROM ", $table, " WHERE id >= ?1 AND id < ?2"),
        }
    };
}

static SQL: [Sql; 4] =
    [sql!("stream_commands"), sql!("stream_views"), sql!("stream_replies"), sql!("stream_quarantine")];

/// The statements of a topic.
pub(super) fn sql(topic: Topic) -> &'static Sql {
    &SQL[index(topic)]
}

/// The row id of a record.
pub(super) fn id(partition: Partition, offset: Offset) -> i64 {
    ((u64::from(partition) << OFFSET_BITS) + offset).cast_signed()
}

/// The offset in a row id.
pub(super) fn offset(id: i64) -> Offset {
    id.cast_unsigned() & ((1 << OFFSET_BITS) - 1)
}

/// First row id of a partition and of the one after it.
pub(super) fn range(partition: Partition) -> (i64, i64) {
    (id(partition, 0), id(partition + 1, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_partition_and_offset() {
        for (partition, at) in [(0, 0), (0, 7), (3, 1), (PARTITIONS_MAX, (1 << 47) - 1)] {
            assert_eq!(offset(id(partition, at)), at);
            let (low, high) = range(partition);
            assert!((low..high).contains(&id(partition, at)));
        }
    }
}
