//! The port, on the file.

use std::sync::Arc;

use contract::{Offset, Partition, Record, Topic, partition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::tail::EmbeddedTail;
use super::transaction::check_size;
use super::writer::Job;
use super::{Embedded, Shared, lost, ring};
use crate::{AppendError, Bounds, Change, Membership, Stream, StreamError, Tail, Topology};

#[async_trait::async_trait]
impl Stream for Embedded {
    async fn topology(&self) -> Result<Topology, StreamError> {
        let shared = &self.handle.shared;
        let message_bytes_max = shared.options.message_bytes_max;
        Ok(Topology { cluster: shared.cluster.clone(), partitions: shared.partitions, message_bytes_max })
    }

    async fn append(&self, topic: Topic, record: Record) -> Result<(Partition, Offset), AppendError> {
        let shared = &self.handle.shared;
        check_size(&record, shared.options.message_bytes_max)?;
        let (reply, answer) = oneshot::channel();
        let partition = partition::of_key(&record.key, shared.partitions);
        shared.queue.push(Job::Append { topic, partition, record, offset: None, reply })?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn bounds(&self, topic: Topic) -> Result<Vec<Bounds>, StreamError> {
        let shared = &self.handle.shared;
        if *shared.closed.borrow() {
            return Err(StreamError::Closed);
        }
        let bounds = |partition| shared.ring(topic, partition).map(|ring| ring.bounds());
        (0..shared.partitions).map(|partition| bounds(partition).map(|(start, end)| Bounds { start, end })).collect()
    }

    async fn tail(&self, topic: Topic, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        tail(&self.handle.shared, topic, partition, from, false)
    }

    async fn join(&self, group: &str, topic: Topic) -> Result<Box<dyn Membership>, StreamError> {
        let shared = Arc::clone(&self.handle.shared);
        let mut groups = ring::lock(&shared.groups);
        if *shared.closed.borrow() {
            return Err(StreamError::Closed);
        }
        let turn = groups.entry((group.to_owned(), topic)).or_insert_with(|| Arc::new(Semaphore::new(1)));
        let turn = Arc::clone(turn);
        drop(groups);
        let losses = (self.reads_ahead && topic == Topic::Commands).then(|| shared.queue.ahead.losses());
        Ok(Box::new(EmbeddedMembership { shared, topic, turn, assigned: None, losses, revoked: false }))
    }
}

fn tail(
    shared: &Arc<Shared>,
    topic: Topic,
    partition: Partition,
    from: Offset,
    ahead: bool,
) -> Result<Box<dyn Tail>, StreamError> {
    if *shared.closed.borrow() {
        return Err(StreamError::Closed);
    }
    Ok(Box::new(EmbeddedTail::new(shared, topic, partition, from, ahead)?))
}

/// A group's first member has all partitions; the next one gets them when the first is dropped.
struct EmbeddedMembership {
    shared: Arc<Shared>,
    topic: Topic,
    turn: Arc<Semaphore>,
    assigned: Option<OwnedSemaphorePermit>,
    /// There for a member that reads commands as they are queued.
    losses: Option<watch::Receiver<u64>>,
    /// It was told that its partitions are revoked.
    revoked: bool,
}

impl EmbeddedMembership {
    fn all(&self) -> Vec<Partition> {
        (0..self.shared.partitions).collect()
    }

    /// All partitions are this member's, which holds no command.
    fn assign(&mut self) -> Change {
        self.revoked = false;
        if let Some(losses) = &mut self.losses {
            // Those before now concern nobody.
            losses.mark_unchanged();
            self.shared.queue.begin_reading();
        }
        Change::Assigned(self.all())
    }
}

impl Drop for EmbeddedMembership {
    fn drop(&mut self) {
        if self.losses.is_some() && self.assigned.is_some() {
            self.shared.queue.end_reading();
        }
    }
}

#[async_trait::async_trait]
impl Membership for EmbeddedMembership {
    async fn next(&mut self) -> Result<Change, StreamError> {
        if self.revoked {
            return Ok(self.assign());
        }
        if self.assigned.is_some() {
            let mut closed = self.shared.closed.subscribe();
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => return Err(StreamError::Closed),
                () = commands_lost(&mut self.losses) => {}
            }
            self.revoked = true;
            return Ok(Change::Revoked(self.all()));
        }
        let permit = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| StreamError::Closed)?;
        self.assigned = Some(permit);
        Ok(self.assign())
    }

    async fn read(&mut self, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        if self.assigned.is_none() {
            return Err(StreamError::Unavailable(format!("partition {partition} is not assigned to this member")));
        }
        tail(&self.shared, self.topic, partition, from, self.losses.is_some())
    }
}

/// Completes when commands were lost that the member may have read; never for one that reads only what is durable.
async fn commands_lost(losses: &mut Option<watch::Receiver<u64>>) {
    match losses {
        // The sender lives as long as the file is open.
        Some(losses) => drop(losses.changed().await),
        None => std::future::pending().await,
    }
}
