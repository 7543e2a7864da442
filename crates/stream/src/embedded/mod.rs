//! The stream in one SQLite file, which is also the store's database: for a system of one process.
//!
//! ```text
//! append, transact -> queue -> writer: BEGIN .. COMMIT (fsync) -> ring -> tails
//!                                             |                           ^
//!                                             v                           | what the ring no longer holds
//!                                        dos.sqlite  ---------------------+
//! ```
//!
//! A store that commits here may read commands as they are queued (`ahead`).
//!
//! One thread writes (`writer`), a few read (`pool`), one copies the write-ahead log into the database (`checkpoint`), a
//! timer removes what need not be kept (`cleaner`). An acknowledged append survives the end of the process and, where
//! the disk keeps its word on fsync, of the machine. The layout of the file is described in `format`.

mod adapter;
mod ahead;
mod checkpoint;
mod cleaner;
mod follower;
mod format;
mod names;
mod open;
mod options;
mod pool;
mod queue;
mod ring;
mod tail;
mod transaction;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use contract::{Env, Partition, Topic};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot, watch};

pub use self::follower::Follower;
pub use self::names::describe as describe_metrics;
pub use self::open::OpenError;
pub use self::options::Options;
pub use self::transaction::{TransactError, Transaction};

use self::pool::Pool;
use self::queue::Queue;
use self::ring::Ring;
use self::writer::{Job, Ran, Work};
use crate::{AppendError, StreamError};

/// The open file. Clones share it; when the last is dropped without [`Embedded::close`], what was not acknowledged may
/// be lost.
#[derive(Clone)]
pub struct Embedded {
    handle: Arc<Handle>,
    /// Whether members of a group see commands as they are queued.
    reads_ahead: bool,
}

/// What all parts, threads and tails share.
struct Shared {
    cluster: String,
    partitions: u32,
    options: Options,
    env: Arc<dyn Env>,
    queue: Queue,
    /// Topic by topic.
    rings: Vec<Ring>,
    /// Short queries of callers.
    reads: Pool,
    /// What tails have in the file.
    tails: Pool,
    checkpoints: Arc<checkpoint::Signal>,
    failed: watch::Sender<Option<String>>,
    closed: watch::Sender<bool>,
    cleaning: tokio::sync::Mutex<()>,
    groups: Mutex<HashMap<(String, Topic), Arc<Semaphore>>>,
}

/// Ends the threads when nobody has the file any more.
struct Handle {
    shared: Arc<Shared>,
    /// Closed once the reading threads have ended.
    readers: watch::Sender<()>,
    /// Closed once the writer has ended.
    writer: watch::Sender<()>,
    lock: Mutex<Option<Arc<File>>>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("cluster", &self.handle.shared.cluster).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.abort(&closed());
        self.shared.stop();
    }
}

fn closed() -> AppendError {
    AppendError::Unavailable("the stream is closed".to_owned())
}

impl Embedded {
    /// Opens `dir/dos.sqlite`, or makes it and the folder, after locking `dir/dos.lock`. Blocks; call it once, at
    /// start-up.
    ///
    /// Spawns its housekeeping through `env`.
    pub fn open(dir: &Path, options: Options, env: Arc<dyn Env>) -> Result<Self, OpenError> {
        open::open(dir, options, env)
    }

    /// The same stream for the one who carries out commands in this file's own transactions ([`Self::transact`], with
    /// [`Transaction::keep_from`]) and nowhere else: a member of a group sees commands as soon as they are queued, and
    /// its partitions are revoked and assigned anew should such commands be lost.
    #[must_use]
    pub fn reading_ahead(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), reads_ahead: true }
    }

    /// Runs `job` on the writer's thread, in the transaction of the group under way, and answers once that is durable.
    ///
    /// What `job` wrote is rolled back, alone, if it returns an error or panics. The other jobs of the group wait for
    /// it: it should take well under a millisecond and do no other I/O. It must pass errors of its statements on: after
    /// a full disk SQLite rolls the whole group back, and a job that hid that is taken for one that ended the
    /// transaction. Dropping the future does not take it back.
    pub async fn transact<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, TransactError> + Send + 'static,
    ) -> Result<T, TransactError> {
        self.handle.shared.transact(job).await
    }

    /// Runs a short query on a thread with a read-only connection: a long one keeps the write-ahead log from being
    /// reset.
    ///
    /// It sees everything that was acknowledged before the call.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StreamError> {
        self.handle.shared.read(query).await
    }

    /// Removes all that retention and compaction allow, now; a timer does the same every `housekeeping_interval`.
    pub async fn clean(&self) -> Result<(), StreamError> {
        cleaner::pass(&self.handle.shared).await
    }

    /// Completes, with the reason, when the file can no longer be trusted to take writes: the process must end, and the
    /// next start finds what was durable.
    pub async fn failed(&self) -> String {
        let mut failed = self.handle.shared.failed.subscribe();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender lives as long as `self`.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes no more jobs, does those that wait, checkpoints, closes the file and releases the lock. Tails end.
    pub async fn close(&self) {
        let handle = &self.handle;
        handle.shared.queue.close(closed());
        handle.shared.stop();
        handle.readers.closed().await;
        handle.writer.closed().await;
        ring::lock(&handle.lock).take();
    }
}

impl Shared {
    fn ring(&self, topic: Topic, partition: Partition) -> Result<&Ring, StreamError> {
        let missing = || StreamError::Unavailable(format!("{} has no partition {partition}", topic.name()));
        if partition >= self.partitions {
            return Err(missing());
        }
        self.rings.get(format::index(topic) * self.partitions as usize + partition as usize).ok_or_else(missing)
    }

    /// The ring of commands as they are queued.
    fn queued(&self, topic: Topic, partition: Partition) -> Option<&Ring> {
        self.queue.ahead.ring(partition).filter(|_| topic == Topic::Commands)
    }

    async fn transact<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Transaction<'_>) -> Result<T, TransactError> + Send + 'static,
    ) -> Result<T, TransactError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job::Transact(Box::new(TransactJob { job, reply })))?;
        answer.await.unwrap_or_else(|_| Err(lost().into()))
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StreamError> {
        let answer = self.reads.submit(query)?;
        match answer.await {
            Ok(outcome) => outcome.map_err(tail::unavailable),
            Err(_) if *self.closed.borrow() => Err(StreamError::Closed),
            Err(_) => Err(StreamError::Unavailable("the query panicked".to_owned())),
        }
    }

    /// The file can no longer be trusted: refuses everything, for ever, and tells who watches.
    fn fail(&self, reason: String) {
        tracing::error!(%reason, "the stream's file cannot be written any more; the process must end");
        self.queue.abort(&AppendError::Unavailable(reason.clone()));
        self.failed.send_if_modified(|failed| failed.is_none().then(|| *failed = Some(reason)).is_some());
    }

    /// Ends tails, readers, the checkpointer and the timer, not the writer.
    fn stop(&self) {
        self.closed.send_replace(true);
        self.rings.iter().for_each(Ring::close);
        self.queue.ahead.close();
        ring::lock(&self.groups).values().for_each(|group| group.close());
        self.reads.close();
        self.tails.close();
        self.checkpoints.stop();
    }
}

/// The writer ended between taking a job and answering it.
fn lost() -> AppendError {
    AppendError::Unknown("the stream was closed before it answered".to_owned())
}

struct TransactJob<F, T> {
    job: F,
    reply: oneshot::Sender<Result<T, TransactError>>,
}

impl<T, F> Work for TransactJob<F, T>
where
    T: Send + 'static,
    F: FnOnce(&mut Transaction<'_>) -> Result<T, TransactError> + Send,
{
    fn run(self: Box<Self>, transaction: &mut Transaction<'_>) -> Ran {
        let Self { job, reply } = *self;
        // The writer's own state is in order at every point where a job can panic.
        let result = catch_unwind(AssertUnwindSafe(|| job(transaction))).unwrap_or(Err(TransactError::Panicked));
        let (keep, ends_group) = (result.is_ok(), result.as_ref().err().and_then(TransactError::ends_group));
        let settle = move |outcome: Result<(), AppendError>| {
            drop(reply.send(match outcome {
                Ok(()) => result,
                Err(reason) => Err(reason.into()),
            }));
        };
        Ran { keep, ends_group, settle: Box::new(settle) }
    }

    fn refuse(self: Box<Self>, reason: AppendError) {
        drop(self.reply.send(Err(reason.into())));
    }
}
