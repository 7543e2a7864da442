//! The bounded queue before the writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::AppendError;

use contract::{Offset, Topic};

use super::ahead::{Ahead, Course};
use super::ring::lock;
use super::writer::Job;

/// Jobs in the order in which they came.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    jobs_max: usize,
    size_bytes_max: usize,
    /// The commands among them.
    pub(super) ahead: Ahead,
}

struct Waiting {
    jobs: VecDeque<Job>,
    size_bytes: usize,
    /// Why no job is taken any more.
    refused: Option<AppendError>,
    idle: bool,
    course: Course,
}

impl Queue {
    /// An open, empty queue.
    pub(super) fn new(jobs_max: usize, size_bytes_max: usize, (ahead, course): (Ahead, Course)) -> Self {
        let waiting = Waiting { jobs: VecDeque::new(), size_bytes: 0, refused: None, idle: false, course };
        Self { waiting: Mutex::new(waiting), arrived: Condvar::new(), jobs_max, size_bytes_max, ahead }
    }

    /// Adds a job, or says why not; never waits.
    pub(super) fn push(&self, mut job: Job) -> Result<(), AppendError> {
        let mut waiting = lock(&self.waiting);
        if let Some(reason) = &waiting.refused {
            return Err(reason.clone());
        }
        let size_bytes = job.size_bytes();
        if waiting.jobs.len() >= self.jobs_max
            || (waiting.size_bytes + size_bytes > self.size_bytes_max && !waiting.jobs.is_empty())
        {
            drop(waiting);
            metrics::counter!(super::names::QUEUE_REFUSALS).increment(1);
            return Err(AppendError::Overloaded);
        }
        if let Job::Append { topic: Topic::Commands, partition, record, offset, .. } = &mut job {
            *offset = Some(self.ahead.push(&mut waiting.course, *partition, record)?);
        }
        waiting.size_bytes += size_bytes;
        waiting.jobs.push_back(job);
        // One wake-up per sleep of the writer; a busy writer looks for itself.
        let wake = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Moves what waits into `group`, within bounds; waits for the first job only. False once the queue is closed and
    /// empty.
    pub(super) fn take(&self, group: &mut Vec<Job>, jobs_max: usize, size_bytes_max: usize) -> bool {
        let mut waiting = lock(&self.waiting);
        while waiting.jobs.is_empty() {
            if waiting.refused.is_some() {
                return false;
            }
            waiting.idle = true;
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.idle = false;
        let mut size_bytes = 0;
        while group.len() < jobs_max && size_bytes < size_bytes_max {
            let Some(job) = waiting.jobs.pop_front() else { break };
            size_bytes += job.size_bytes();
            group.push(job);
        }
        waiting.size_bytes -= size_bytes;
        let left = waiting.jobs.len();
        drop(waiting);
        metrics::gauge!(super::names::QUEUE_JOBS).set(left as f64);
        true
    }

    /// A group failed: refuses all that wait behind it, as commands among it were seen under offsets that they will not
    /// have. `ends` has the next offset of each partition of commands.
    pub(super) fn lose(&self, reason: &AppendError, ends: impl Iterator<Item = Offset>) {
        let mut waiting = lock(&self.waiting);
        waiting.size_bytes = 0;
        let jobs = std::mem::take(&mut waiting.jobs);
        self.ahead.lose(&mut waiting.course, reason, ends);
        drop(waiting);
        for job in jobs {
            job.refuse(reason.clone());
        }
    }

    /// Tells that a reader of queued commands begins, or begins anew, and holds none.
    pub(super) fn begin_reading(&self) {
        self.ahead.begin(&mut lock(&self.waiting).course);
    }

    /// Tells that nobody reads queued commands any more.
    pub(super) fn end_reading(&self) {
        self.ahead.end(&mut lock(&self.waiting).course);
    }

    /// Takes no more jobs; those that wait are still done. The first reason stands.
    pub(super) fn close(&self, reason: AppendError) {
        lock(&self.waiting).refused.get_or_insert(reason);
        self.arrived.notify_all();
    }

    /// Takes no more jobs and refuses those that wait.
    pub(super) fn abort(&self, reason: &AppendError) {
        let mut waiting = lock(&self.waiting);
        waiting.refused.get_or_insert_with(|| reason.clone());
        waiting.size_bytes = 0;
        let jobs = std::mem::take(&mut waiting.jobs);
        drop(waiting);
        self.arrived.notify_all();
        for job in jobs {
            job.refuse(reason.clone());
        }
    }
}
