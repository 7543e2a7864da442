//! A worker's side of its outbox: what it gives to the publisher, and what it does besides commands.

use std::time::Duration;

use contract::env::BoxFuture;
use contract::{Record, Stored, Topic};

use super::publisher::Handle;
use super::repair::{self, Watch};
use super::worker::{End, Worker};
use super::{Shared, names, stopped};
use crate::database::{Error, Marks};

/// How long marks may wait for a commit to travel with.
const IDLE: Duration = Duration::from_millis(500);
/// Events read from the database together.
const UNPUBLISHED_MAX: usize = 1000;

pub(super) struct Outbox {
    publisher: Handle,
    watch: Watch,
    /// The sequence of the last event that was given to the publisher.
    given: u64,
    /// As the database has them.
    saved: Marks,
    /// Completes when the marks are to be saved without a commit.
    idle: Option<BoxFuture<()>>,
}

/// What there is to do besides commands.
pub(super) enum Due {
    /// To look at these records of the views.
    Look(Vec<Stored>),
    /// To save the marks.
    Save,
}

impl Outbox {
    /// `saved` is what the database has; the publisher goes on from there.
    pub(super) fn new(shared: &Shared, publisher: Handle, watch: Watch, saved: Marks) -> Self {
        let idle = (publisher.marks() != saved).then(|| shared.env.sleep(IDLE));
        Self { publisher, watch, given: saved.published, saved, idle }
    }

    /// How far publishing and repair have come.
    pub(super) fn marks(&self) -> Marks {
        self.publisher.marks()
    }

    /// The database has these.
    pub(super) fn saved(&mut self, marks: Marks) {
        (self.saved, self.idle) = (marks, None);
    }

    /// Waits until there is something to do. Dropping the future loses nothing.
    pub(super) async fn due(&mut self, shared: &Shared) -> Due {
        loop {
            tokio::select! {
                biased;
                records = self.watch.records() => return Due::Look(records),
                () = elapsed(&mut self.idle) => {
                    self.idle = None;
                    return Due::Save;
                }
                () = self.publisher.moved(), if self.idle.is_none() => {
                    if self.marks() != self.saved {
                        self.idle = Some(shared.env.sleep(IDLE));
                    }
                }
            }
        }
    }
}

async fn elapsed(idle: &mut Option<BoxFuture<()>>) {
    match idle {
        Some(idle) => idle.await,
        None => std::future::pending().await,
    }
}

impl Worker {
    /// Gives the events of a commit to the publisher; waits while it has too many.
    pub(super) async fn publish(&mut self, first: u64, outgoing: Vec<(Topic, Record)>) -> Result<(), End> {
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        if first != outbox.given + 1 {
            // A commit before this one had no answer.
            return self.catch_up().await;
        }
        for (sequence, (topic, record)) in (first..).zip(outgoing) {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return Err(End::Stopped),
                () = outbox.publisher.publish(topic, record, Some(sequence)) => outbox.given = sequence,
            }
        }
        Ok(())
    }

    /// Gives everything to the publisher that the database has and it was not given yet.
    pub(super) async fn catch_up(&mut self) -> Result<(), End> {
        while let Some(after) = self.outbox.as_ref().map(|outbox| outbox.given) {
            let events = match self.shared.database.unpublished(self.partition, after, UNPUBLISHED_MAX).await {
                Ok(events) => {
                    self.recovered();
                    events
                }
                Err(error) => {
                    self.trouble(error).await?;
                    continue;
                }
            };
            let Some(first) = events.first().map(|event| event.sequence) else { break };
            if first != after + 1 {
                return Err(End::Failed(format!(
                    "the outbox lacks the events {} to {}: the database is damaged; restore it and the stream from one backup",
                    after + 1,
                    first - 1
                )));
            }
            let events = events.into_iter().map(|event| (event.topic, event.record)).collect();
            // The recursion has no third level: the sequence fits.
            Box::pin(self.publish(first, events)).await?;
        }
        Ok(())
    }

    /// Looks at records of the views, and publishes again what they leave behind.
    pub(super) async fn look(&mut self, records: &[Stored]) -> Result<(), End> {
        let Some(run) = self.outbox.as_ref().map(|outbox| outbox.publisher.run()) else { return Ok(()) };
        let Some(end) = records.last().map(|stored| stored.offset + 1) else { return Ok(()) };
        let suspects = repair::suspects(self.partition, &run, records);
        let views = loop {
            if suspects.is_empty() {
                break Vec::new();
            }
            let standing = self.shared.database.standing(self.partition).await;
            let views = match standing {
                // Two that take each other's events for late ones would never end.
                Ok(standing) if standing.owner != self.owner => return Err(End::Lost),
                Ok(_) => repair::views(&self.shared, &suspects).await,
                Err(error) => Err(error),
            };
            match views {
                Ok(views) => break views,
                Err(error) => self.trouble(error).await?,
            }
        };
        self.recovered();
        if !views.is_empty() {
            tracing::info!(self.partition, count = views.len(), "views were published again: older ones had come late");
            metrics::counter!(names::REPAIRED).increment(views.len() as u64);
        }
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        for view in views {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return Err(End::Stopped),
                () = outbox.publisher.publish(Topic::Views, view, None) => {}
            }
        }
        outbox.publisher.repaired(end);
        Ok(())
    }

    /// Saves the marks without a commit.
    pub(super) async fn save(&mut self) -> Result<(), End> {
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        let marks = outbox.marks();
        match self.shared.database.mark(self.partition, self.owner, marks).await {
            Ok(()) => {
                outbox.saved(marks);
                self.recovered();
                Ok(())
            }
            Err(error) => {
                outbox.idle = Some(self.shared.env.sleep(IDLE));
                self.trouble(error).await
            }
        }
    }

    /// Before the partition is given up in good order: what was given leaves, and the next owner need not repeat it.
    pub(super) async fn finish(&mut self) {
        let Some(outbox) = &mut self.outbox else { return };
        let given = outbox.given;
        drop(outbox.publisher.marks.wait_for(|marks| marks.published >= given).await);
        if outbox.marks() != outbox.saved {
            drop(self.shared.database.mark(self.partition, self.owner, outbox.marks()).await);
        }
    }

    /// What a failure of the database means to the partition: waits before the next try, or ends.
    async fn trouble(&mut self, error: Error) -> Result<(), End> {
        match error {
            Error::Conflict => Err(End::Lost),
            Error::Closed(reason) => Err(End::Closed(reason)),
            Error::Broken(reason) => Err(End::Failed(reason)),
            error => self.wait(&error).await,
        }
    }
}
