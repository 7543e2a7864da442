//! Keeps the write-ahead log short.
//!
//! A passive checkpoint, on a thread of its own, copies the log into the database without holding up the writer; when
//! nobody reads the log, the next write starts it over. Under constant load that never comes to pass, so past
//! [`RESTART_BYTES`] the writer itself waits, for a moment and between groups, until readers have left the log.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::ring::lock;
use super::{Shared, names};

const PASSIVE_BYTES: u64 = 16 << 20;
const RESTART_BYTES: u64 = 64 << 20;
/// What a passive checkpoint is worth its two fsyncs for.
const COPY_BYTES: u64 = 8 << 20;
/// How much more is written before the log is looked at again.
const LOOK_BYTES: usize = 1 << 20;
/// How much more is written after a restart that readers were in the way of.
const RETRY_BYTES: u64 = 4 << 20;
/// What a group counts for besides its records: it writes whole pages, and how many its jobs write is not known.
const GROUP_BYTES: usize = 64 << 10;
/// How long the writer waits for readers; every reader here reads for less.
const RESTART_WAIT: Duration = Duration::from_millis(50);
/// How long the writer waits for a lock otherwise: a database tool may hold it.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Wakes the checkpointer.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Wanted,
    Stopped,
}

impl Signal {
    fn want(&self) {
        let mut state = lock(&self.state);
        if *state == State::Idle {
            *state = State::Wanted;
            self.changed.notify_one();
        }
    }

    /// Ends the checkpointer.
    pub(super) fn stop(&self) {
        *lock(&self.state) = State::Stopped;
        self.changed.notify_one();
    }

    /// Waits for work; false when there will be none.
    fn wait(&self) -> bool {
        let mut state = lock(&self.state);
        while *state == State::Idle {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let wanted = *state == State::Wanted;
        if wanted {
            *state = State::Idle;
        }
        wanted
    }
}

/// The checkpointer's thread.
pub(super) fn run(connection: &Connection, shared: &Shared) {
    while shared.checkpoints.wait() {
        match checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)") {
            Ok(_) => {}
            // SQLite would write these pages again, but an fsync that failed once is no ground to stand on.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
                return shared.fail(format!("a checkpoint failed: {error}"));
            }
            Err(error) => tracing::warn!(%error, "a checkpoint failed; it is tried again"),
        }
    }
}

/// The log's length, as the writer follows it.
pub(super) struct Wal {
    signal: Arc<Signal>,
    frame_bytes: u64,
    unlooked_bytes: usize,
    restart_at_bytes: u64,
}

impl Wal {
    pub(super) fn new(connection: &Connection, signal: Arc<Signal>) -> rusqlite::Result<Self> {
        let page_bytes: u64 = connection.query_row("PRAGMA page_size", (), |row| row.get(0))?;
        Ok(Self { signal, frame_bytes: page_bytes + 24, unlooked_bytes: 0, restart_at_bytes: RESTART_BYTES })
    }

    /// Looks at the log from time to time and does what its length asks for.
    pub(super) fn after_group(&mut self, connection: &Connection, size_bytes: usize) -> rusqlite::Result<()> {
        self.unlooked_bytes += size_bytes + GROUP_BYTES;
        if self.unlooked_bytes < LOOK_BYTES {
            return Ok(());
        }
        self.unlooked_bytes = 0;
        let progress = checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)")?;
        let wal_bytes = progress.frames * self.frame_bytes;
        metrics::gauge!(names::WAL_BYTES).set(wal_bytes as f64);
        let uncopied_bytes = progress.frames.saturating_sub(progress.copied) * self.frame_bytes;
        if wal_bytes >= PASSIVE_BYTES && uncopied_bytes >= COPY_BYTES {
            self.signal.want();
        }
        if wal_bytes < RESTART_BYTES {
            self.restart_at_bytes = RESTART_BYTES;
        }
        // Better the checkpointer copies most of it first; but not for ever.
        if wal_bytes >= self.restart_at_bytes && (uncopied_bytes < COPY_BYTES || wal_bytes >= 2 * RESTART_BYTES) {
            return self.restart(connection, wal_bytes);
        }
        Ok(())
    }

    fn restart(&mut self, connection: &Connection, wal_bytes: u64) -> rusqlite::Result<()> {
        self.restart_at_bytes = wal_bytes + RETRY_BYTES;
        connection.busy_timeout(RESTART_WAIT)?;
        let outcome = checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)");
        connection.busy_timeout(BUSY_WAIT)?;
        match outcome {
            Ok(progress) if progress.busy => Ok(()),
            Ok(_) => {
                self.restart_at_bytes = RESTART_BYTES;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Empties the log, as the last act of the writer.
    pub(super) fn truncate(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.busy_timeout(RESTART_WAIT)?;
        checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)").map(drop)
    }
}

struct Progress {
    busy: bool,
    frames: u64,
    copied: u64,
}

fn checkpoint(connection: &Connection, sql: &str) -> rusqlite::Result<Progress> {
    connection.prepare_cached(sql)?.query_row((), |row| {
        let (frames, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(Progress { busy: row.get(0)?, frames: frames.max(0).cast_unsigned(), copied: copied.max(0).cast_unsigned() })
    })
}
