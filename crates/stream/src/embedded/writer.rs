//! The one thread that writes: group commit.
//!
//! Everything that is queued goes into one transaction; who sent it is answered after COMMIT returned, that is after
//! the fsync of the write-ahead log. What can go wrong, and what is then known:
//!
//! - before COMMIT: nothing is stored; the transaction is rolled back and the whole group answered as safe to repeat.
//! - COMMIT fails for want of room: SQLite writes the commit frame last and syncs after it, so the frame is not whole
//!   and nothing is stored: rolled back, answered [`AppendError::Full`], and the next group may find room again.
//! - COMMIT fails in any other way at the disk: the frames may be there or not, and after a failed fsync the kernel may
//!   have dropped them while saying they are clean. Nobody may write after that: answered as unknown, and the writer
//!   ends.

use std::fs::File;
use std::sync::Arc;

use contract::{Offset, Partition, Record, Timestamp, Topic};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::checkpoint::Wal;
use super::transaction::{Log, Transaction};
use super::{Shared, names};
use crate::AppendError;

/// The most jobs and bytes of one transaction: they bound what a waiting append waits for.
const GROUP_JOBS_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 8 << 20;
/// What a transact job counts for, as what it will write is not known.
const TRANSACT_BYTES: usize = 4096;

/// What the writer is asked to do.
pub(super) enum Job {
    /// One record; its size was checked.
    Append {
        topic: Topic,
        partition: Partition,
        record: Record,
        /// What a command is given when it is queued.
        offset: Option<Offset>,
        reply: oneshot::Sender<Result<(Partition, Offset), AppendError>>,
    },
    /// A caller's own statements.
    Transact(Box<dyn Work>),
}

impl Job {
    /// What it counts for in the queue's and the group's bounds.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Append { record, .. } => record.size_bytes(),
            Self::Transact(_) => TRANSACT_BYTES,
        }
    }

    /// Answers a job that was not run.
    pub(super) fn refuse(self, reason: AppendError) {
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(reason))),
            Self::Transact(work) => work.refuse(reason),
        }
    }
}

/// A transact job whose result type is known to its caller only.
pub(super) trait Work: Send {
    fn run(self: Box<Self>, transaction: &mut Transaction<'_>) -> Ran;
    fn refuse(self: Box<Self>, reason: AppendError);
}

/// What became of a transact job so far.
pub(super) struct Ran {
    /// It succeeded; otherwise what it wrote is rolled back.
    pub(super) keep: bool,
    /// Its failure is the whole group's.
    pub(super) ends_group: Option<AppendError>,
    /// Answers it, once the group's outcome is known.
    pub(super) settle: Box<dyn FnOnce(Result<(), AppendError>) + Send>,
}

/// A job that was run and waits for the commit.
enum Answer {
    Append(oneshot::Sender<Result<(Partition, Offset), AppendError>>, (Partition, Offset)),
    Transact(Box<dyn FnOnce(Result<(), AppendError>) + Send>),
    /// It was not run, and ends the group.
    Refused(Box<dyn Work>),
}

impl Answer {
    fn settle(self, outcome: Result<(), AppendError>) {
        match self {
            Self::Append(reply, place) => drop(reply.send(outcome.map(|()| place))),
            Self::Transact(settle) => settle(outcome),
            Self::Refused(work) => work.refuse(outcome.err().unwrap_or_else(super::lost)),
        }
    }
}

/// Why a group was not committed.
struct Failure {
    answer: AppendError,
    /// The file can no longer be trusted, for this reason.
    fatal: Option<String>,
}

impl Failure {
    fn safe(error: &rusqlite::Error) -> Self {
        let answer = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => AppendError::Full,
            _ => AppendError::Unavailable(error.to_string()),
        };
        Self { answer, fatal: None }
    }

    fn unknown(reason: String) -> Self {
        Self { answer: AppendError::Unknown(reason.clone()), fatal: Some(reason) }
    }
}

/// The writer's own state.
pub(super) struct Writer {
    connection: Connection,
    log: Log,
    shared: Arc<Shared>,
    wal: Wal,
    /// Held as long as this thread may write.
    _lock: Arc<File>,
}

impl Writer {
    pub(super) fn new(connection: Connection, log: Log, shared: Arc<Shared>, wal: Wal, lock: Arc<File>) -> Self {
        Self { connection, log, shared, wal, _lock: lock }
    }

    /// Works until the queue is closed and empty, or the file cannot be trusted any more.
    pub(super) fn run(mut self) {
        let ending =
            Ending { shared: Arc::clone(&self.shared), reason: Some("the writer ended unexpectedly".to_owned()) };
        let reason = self.work();
        if reason.is_none() && self.shared.failed.borrow().is_none() {
            // The log of a stopped program should be short; if this fails, the next start reads it as after a crash.
            if let Err(error) = self.wal.truncate(&self.connection) {
                tracing::warn!(%error, "the last checkpoint failed; the next start will read the write-ahead log");
            }
        }
        drop(self);
        ending.end(reason);
    }

    fn work(&mut self) -> Option<String> {
        let mut jobs = Vec::with_capacity(GROUP_JOBS_MAX);
        let mut answers = Vec::with_capacity(GROUP_JOBS_MAX);
        while self.shared.queue.take(&mut jobs, GROUP_JOBS_MAX, GROUP_BYTES_MAX) {
            let size_bytes: usize = jobs.iter().map(Job::size_bytes).sum();
            if let Some(reason) = self.group(&mut jobs, &mut answers) {
                return Some(reason);
            }
            match self.wal.after_group(&self.connection, size_bytes) {
                Ok(()) => {}
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
                    return Some(format!("a checkpoint failed: {error}"));
                }
                Err(error) => tracing::warn!(%error, "a checkpoint failed; it is tried again"),
            }
        }
        None
    }

    /// One transaction. Leaves both lists empty; answers why the writer must end, if so.
    fn group(&mut self, jobs: &mut Vec<Job>, answers: &mut Vec<Answer>) -> Option<String> {
        let begun = self.shared.env.monotonic();
        let count = jobs.len() as u64;
        let mut waiting = jobs.drain(..);
        let Err(failure) = self.execute(&mut waiting, answers) else {
            drop(waiting);
            self.publish();
            answers.drain(..).for_each(|answer| answer.settle(Ok(())));
            metrics::counter!(names::GROUP_COMMITS).increment(1);
            metrics::counter!(names::GROUP_JOBS).increment(count);
            metrics::histogram!(names::GROUP_SECONDS).record(self.shared.env.monotonic().saturating_sub(begun));
            return None;
        };
        self.log.roll_back_to(0, 0);
        metrics::counter!(names::GROUP_FAILURES).increment(1);
        tracing::error!(reason = %failure.answer, jobs = count, "a group of writes failed");
        // The queue is closed before anybody is answered: who tries again at once must not wait for a writer that ends.
        match &failure.fatal {
            Some(reason) => self.shared.queue.close(AppendError::Unavailable(reason.clone())),
            None => self.shared.queue.lose(&failure.answer, self.log.ends(Topic::Commands)),
        }
        answers.drain(..).for_each(|answer| answer.settle(Err(failure.answer.clone())));
        waiting.for_each(|job| job.refuse(failure.answer.clone()));
        failure.fatal
    }

    /// Begins, runs and commits; on a failure the transaction has been rolled back, or the failure is fatal.
    fn execute(&mut self, jobs: &mut impl Iterator<Item = Job>, answers: &mut Vec<Answer>) -> Result<(), Failure> {
        self.step("BEGIN IMMEDIATE").map_err(|error| Failure::safe(&error))?;
        let now = self.shared.env.now();
        for job in jobs {
            if let Err(failure) = self.job(job, now, answers) {
                return Err(self.roll_back(failure));
            }
        }
        match self.step("COMMIT") {
            Ok(()) => Ok(()),
            Err(error) => Err(self.commit_failed(&error)),
        }
    }

    fn job(&mut self, job: Job, now: Timestamp, answers: &mut Vec<Answer>) -> Result<(), Failure> {
        match job {
            Job::Append { topic, partition, record, offset, reply } => {
                match self.log.append(&self.connection, now, topic, partition, record) {
                    Ok(place) => {
                        debug_assert!(offset.is_none_or(|offset| offset == place.1), "offsets follow the queue");
                        answers.push(Answer::Append(reply, place));
                        Ok(())
                    }
                    Err(error) => {
                        let answer = error.ends_group().unwrap_or_else(|| AppendError::Unavailable(error.to_string()));
                        answers.push(Answer::Append(reply, (partition, 0)));
                        Err(Failure { answer, fatal: None })
                    }
                }
            }
            Job::Transact(work) => {
                let (appends, keeps) = (self.log.appends.len(), self.log.keeps.len());
                if let Err(error) = self.step("SAVEPOINT job") {
                    answers.push(Answer::Refused(work));
                    return Err(Failure::safe(&error));
                }
                let ahead = &self.shared.queue.ahead;
                let ran = work.run(&mut Transaction { connection: &self.connection, log: &mut self.log, ahead, now });
                answers.push(Answer::Transact(ran.settle));
                if let Some(answer) = ran.ends_group {
                    return Err(Failure { answer, fatal: None });
                }
                self.end_savepoint(ran.keep, appends, keeps)
            }
        }
    }

    fn end_savepoint(&mut self, keep: bool, appends: usize, keeps: usize) -> Result<(), Failure> {
        if self.connection.is_autocommit() {
            // The job ended the group's transaction, so nobody knows what of the group is stored.
            return Err(Failure::unknown("a job ended the transaction that it ran in".to_owned()));
        }
        if !keep {
            self.step("ROLLBACK TO job").map_err(|error| Failure::safe(&error))?;
            self.log.roll_back_to(appends, keeps);
        }
        self.step("RELEASE job").map_err(|error| Failure::safe(&error))
    }

    fn commit_failed(&mut self, error: &rusqlite::Error) -> Failure {
        match error.sqlite_error_code() {
            // Nothing of these leaves a commit frame: see above; a busy or a constrained COMMIT never began to write.
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::ConstraintViolation) => {
                self.roll_back(Failure::safe(error))
            }
            _ => Failure::unknown(format!("the commit failed: {error}")),
        }
    }

    /// Nothing was committed; if it cannot be rolled back either, the connection is of no use any more.
    fn roll_back(&mut self, failure: Failure) -> Failure {
        // SQLite may have done it by itself.
        if failure.fatal.is_some() || self.connection.is_autocommit() {
            return failure;
        }
        match self.step("ROLLBACK") {
            Ok(()) => failure,
            Err(error) => {
                Failure { fatal: Some(format!("a transaction could not be rolled back: {error}")), ..failure }
            }
        }
    }

    fn step(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute(()).map(drop)
    }

    /// Shows what was committed to the tails.
    fn publish(&mut self) {
        let log = &mut self.log;
        for number in log.appends.drain(..) {
            let appended = &mut log.slots[number as usize].appended;
            // The first of a slot's appends takes all of them along.
            if !appended.is_empty() {
                self.shared.rings[number as usize].publish(appended.drain(..));
            }
        }
        for (number, offset) in log.keeps.drain(..) {
            self.shared.rings[number as usize].set_keep_from(offset);
        }
    }
}

/// Sees to it that the end of the writer, however it comes, is noticed.
struct Ending {
    shared: Arc<Shared>,
    reason: Option<String>,
}

impl Ending {
    fn end(mut self, reason: Option<String>) {
        self.reason = reason;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            self.shared.fail(reason);
        }
    }
}
