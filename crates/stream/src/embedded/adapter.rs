//! The port, on the file.

use std::sync::Arc;

use contract::{Offset, Partition, Record, Topic};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

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
        check_size(&record, self.handle.shared.options.message_bytes_max)?;
        let (reply, answer) = oneshot::channel();
        self.handle.shared.queue.push(Job::Append { topic, record, reply })?;
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
        tail(&self.handle.shared, topic, partition, from)
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
        Ok(Box::new(EmbeddedMembership { shared, topic, turn, assigned: None }))
    }
}

fn tail(shared: &Arc<Shared>, topic: Topic, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
    if *shared.closed.borrow() {
        return Err(StreamError::Closed);
    }
    Ok(Box::new(EmbeddedTail::new(shared, topic, partition, from)?))
}

/// A group's first member has all partitions; the next one gets them when the first is dropped.
struct EmbeddedMembership {
    shared: Arc<Shared>,
    topic: Topic,
    turn: Arc<Semaphore>,
    assigned: Option<OwnedSemaphorePermit>,
}

#[async_trait::async_trait]
impl Membership for EmbeddedMembership {
    async fn next(&mut self) -> Result<Change, StreamError> {
        if self.assigned.is_some() {
            // Nothing changes until the end.
            let mut closed = self.shared.closed.subscribe();
            drop(closed.wait_for(|closed| *closed).await);
            return Err(StreamError::Closed);
        }
        let permit = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| StreamError::Closed)?;
        self.assigned = Some(permit);
        Ok(Change::Assigned((0..self.shared.partitions).collect()))
    }

    async fn read(&mut self, partition: Partition, from: Offset) -> Result<Box<dyn Tail>, StreamError> {
        if self.assigned.is_none() {
            return Err(StreamError::Unavailable(format!("partition {partition} is not assigned to this member")));
        }
        tail(&self.shared, self.topic, partition, from)
    }
}
