//! Threads that read, each with a connection of its own.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::ring::lock;
use crate::StreamError;

type Query = Box<dyn FnOnce(&Connection) + Send>;

/// A bounded queue of reads and its threads.
pub(super) struct Pool {
    queue: Arc<Queue>,
}

struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    queries_max: usize,
}

#[derive(Default)]
struct Waiting {
    queries: VecDeque<Query>,
    closed: bool,
}

impl Pool {
    /// Starts a thread per connection. Each holds a clone of `alive` until it has closed its connection.
    pub(super) fn start(
        name: &str,
        connections: Vec<Connection>,
        queries_max: usize,
        alive: &watch::Receiver<()>,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue { waiting: Mutex::default(), arrived: Condvar::new(), queries_max });
        let pool = Self { queue };
        for (number, connection) in connections.into_iter().enumerate() {
            let (queue, alive) = (Arc::clone(&pool.queue), alive.clone());
            let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
            thread.spawn(move || {
                queue.run(&connection);
                drop(connection);
                drop(alive);
            })?;
        }
        Ok(pool)
    }

    /// Has a query run; the receiver fails if the query panicked or the pool was closed before.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, StreamError> {
        let (reply, answer) = oneshot::channel();
        let query: Query = Box::new(move |connection| {
            // Nobody waits any more: spare the disk.
            if !reply.is_closed() {
                drop(reply.send(query(connection)));
            }
        });
        let mut waiting = lock(&self.queue.waiting);
        if waiting.closed {
            return Err(StreamError::Closed);
        }
        if waiting.queries.len() >= self.queue.queries_max {
            return Err(StreamError::Unavailable("too many reads wait".to_owned()));
        }
        waiting.queries.push_back(query);
        drop(waiting);
        self.queue.arrived.notify_one();
        Ok(answer)
    }

    /// Ends the threads after the queries under way; what waits is dropped.
    pub(super) fn close(&self) {
        let mut waiting = lock(&self.queue.waiting);
        waiting.closed = true;
        let queries = std::mem::take(&mut waiting.queries);
        drop(waiting);
        self.queue.arrived.notify_all();
        drop(queries);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    fn run(&self, connection: &Connection) {
        while let Some(query) = self.take() {
            if catch_unwind(AssertUnwindSafe(|| query(connection))).is_err() {
                tracing::error!("a query panicked");
            }
        }
    }

    fn take(&self) -> Option<Query> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(query) = waiting.queries.pop_front() {
                return Some(query);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
