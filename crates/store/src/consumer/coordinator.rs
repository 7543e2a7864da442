//! The member of the group: starts a task for each partition that is assigned, and stops it when it is revoked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::Partition;
use stream::{Change, Membership, StreamError};
use tokio::sync::{mpsc, watch};

use super::worker::{self, End, Worker};
use super::{Backoff, RETRY_MAX, Shared, first, stopped};
use crate::database::Standing;

/// Partitions that wait to begin; more wait for room.
const READY_MAX: usize = 64;
/// How long a store that must have all partitions may have some of them only: the group takes a while to agree.
const PARTIAL_MAX: Duration = Duration::from_secs(15);

/// A partition was taken: its task can begin.
struct Ready {
    partition: Partition,
    standing: Standing,
    /// Which assignment it was: an earlier one's may still be on its way.
    assignment: u64,
}

/// A partition that is assigned.
struct Running {
    assignment: u64,
    stop: watch::Sender<bool>,
}

struct Coordinator {
    shared: Arc<Shared>,
    membership: Box<dyn Membership>,
    /// What stops each partition's task, and tells when it has ended.
    running: BTreeMap<Partition, Running>,
    /// So many assignments there were.
    assignments: u64,
    ready: mpsc::Sender<Ready>,
}

/// The coordinator's task. `stop` is held until all partitions have ended and the group is left.
pub(super) async fn run(shared: Arc<Shared>, membership: Box<dyn Membership>, mut stop: watch::Receiver<bool>) {
    let (ready, mut became_ready) = mpsc::channel(READY_MAX);
    let mut coordinator = Coordinator { shared, membership, running: BTreeMap::new(), assignments: 0, ready };
    tokio::select! {
        biased;
        () = stopped(&mut stop) => {}
        () = coordinator.work(&mut became_ready) => {}
    }
    let all: Vec<_> = coordinator.running.keys().copied().collect();
    coordinator.revoke(&all).await;
    drop(coordinator);
    drop(stop);
}

impl Coordinator {
    /// Ends when the stream does.
    async fn work(&mut self, became_ready: &mut mpsc::Receiver<Ready>) {
        let mut backoff = Backoff::default();
        loop {
            let change = tokio::select! {
                biased;
                change = self.membership.next() => change,
                Some(ready) = became_ready.recv() => {
                    self.begin(ready).await;
                    continue;
                }
                () = self.shared.env.sleep(PARTIAL_MAX), if self.is_partial() => {
                    self.shared.fail(format!(
                        "this store has {} of {} partitions and its database serves one store only: stop the other stores of this stream, or give all of them one PostgreSQL",
                        self.running.len(), self.shared.topology.partitions
                    ));
                    return;
                }
            };
            match change {
                Ok(Change::Assigned(partitions)) => {
                    backoff = Backoff::default();
                    partitions.into_iter().for_each(|partition| self.assign(partition));
                }
                Ok(Change::Revoked(partitions)) => {
                    backoff = Backoff::default();
                    self.revoke(&partitions).await;
                }
                Err(StreamError::Closed) => return,
                Err(error) => {
                    if !backoff.failing() {
                        tracing::warn!(%error, "the group of stores cannot be reached; it is tried again");
                    }
                    self.shared.env.sleep(backoff.next(&*self.shared.env)).await;
                }
            }
        }
    }

    /// Whether other stores have partitions that this one must have.
    fn is_partial(&self) -> bool {
        let count = self.running.len();
        self.shared.database.is_exclusive() && count > 0 && count < self.shared.topology.partitions as usize
    }

    fn assign(&mut self, partition: Partition) {
        if partition >= self.shared.topology.partitions {
            // The group gives out all that there are; no command of ours lies there.
            tracing::warn!(partition, "a partition that was added is not read");
            return;
        }
        let (stop, told) = watch::channel(false);
        self.assignments += 1;
        let assignment = self.assignments;
        self.running.insert(partition, Running { assignment, stop });
        self.shared.status.send_modify(|status| {
            status.assigned.insert(partition, false);
        });
        let (shared, ready) = (Arc::clone(&self.shared), self.ready.clone());
        self.shared.env.spawn(Box::pin(open(shared, partition, assignment, told, ready, Duration::ZERO)));
    }

    async fn begin(&mut self, begun: Ready) {
        let Ready { partition, standing, assignment } = begun;
        let Some(running) = self.running.get(&partition).filter(|running| running.assignment == assignment) else {
            return;
        };
        let stop = running.stop.subscribe();
        let (shared, ready) = (Arc::clone(&self.shared), self.ready.clone());
        match self.membership.read(partition, standing.position.unwrap_or(0)).await {
            Ok(tail) => {
                tracing::info!(partition, position = standing.position, owner = standing.owner, "partition taken");
                shared.works(partition, true);
                let worker = Worker::new(Arc::clone(&shared), partition, standing, tail, stop.clone());
                self.shared.env.spawn(Box::pin(async move {
                    let end = worker.run().await;
                    let lost = matches!(end, End::Lost);
                    shared.works(partition, false);
                    end.tell(&shared, partition);
                    // The group will soon say so too. If it does not, the position was moved by other hands: take it up there.
                    if lost {
                        open(shared, partition, assignment, stop, ready, RETRY_MAX).await;
                    }
                }));
            }
            Err(error @ StreamError::OutOfRange { .. }) => self.shared.fail(worker::out_of_range(&error)),
            Err(StreamError::Closed) => {}
            Err(error) => {
                tracing::warn!(partition, %error, "a partition cannot be read; it is tried again");
                self.shared.env.spawn(Box::pin(open(shared, partition, assignment, stop, ready, RETRY_MAX)));
            }
        }
    }

    /// Stops these partitions' tasks and waits until they have ended, which they do within a second.
    async fn revoke(&mut self, partitions: &[Partition]) {
        let ending: Vec<_> = partitions.iter().filter_map(|partition| self.running.remove(partition)).collect();
        self.shared.status.send_modify(|status| status.assigned.retain(|partition, _| !partitions.contains(partition)));
        for running in &ending {
            running.stop.send_replace(true);
        }
        for running in ending {
            running.stop.closed().await;
        }
    }
}

/// Takes a partition, after a delay and in a task of its own: meanwhile the group must hear from this member.
async fn open(
    shared: Arc<Shared>,
    partition: Partition,
    assignment: u64,
    mut stop: watch::Receiver<bool>,
    ready: mpsc::Sender<Ready>,
    delay: Duration,
) {
    let take = async {
        if !delay.is_zero() {
            shared.env.sleep(delay).await;
        }
        let standing = worker::standing(&shared, partition, true).await?;
        // In the stream's own file the views are the database's own.
        if standing.position.is_none() && standing.outbox.is_some() {
            first::check(&shared, partition).await?;
        }
        Ok::<_, End>(standing)
    };
    let taken = tokio::select! {
        biased;
        () = stopped(&mut stop) => return,
        taken = take => taken,
    };
    // Who revokes the partition waits until nobody holds this.
    drop(stop);
    match taken {
        Ok(standing) => drop(ready.send(Ready { partition, standing, assignment }).await),
        Err(end) => end.tell(&shared, partition),
    }
}
