//! Commits under way: while one waits for its fsync, the next is decided on what it will leave behind.
//!
//! Only where the events leave with the commit itself: there commits are carried out in the order in which they were
//! sent, and each is refused unless the position is the one that the one before it leaves. So what was decided on a
//! commit that failed fails with it.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;

use contract::{CommandId, Digest, Key, Offset, Outcome};

use super::Shared;
use super::batch::{Event, Tally};
use super::worker::{End, Worker};
use crate::database::{Batch, Committed, Error, Loaded};
use crate::decide::{Keyed, Revision};

/// The most commits of a partition under way at once.
const UNDERWAY_MAX: usize = 3;

type Commit = Pin<Box<dyn Future<Output = Result<Committed, Error>> + Send>>;

/// What was sent and not yet answered, oldest first, and what it leaves behind if all of it is stored.
#[derive(Default)]
pub(super) struct Underway {
    flights: VecDeque<Flight>,
    /// So many were sent.
    count: u64,
    /// The newest state of each entity, with the number of the commit that it comes from.
    entities: HashMap<Key, (u64, Revision)>,
    outcomes: HashMap<CommandId, (u64, Outcome)>,
    /// First answers to idempotency keys. Those of other partitions are met in the database only.
    keyed: HashMap<Digest, (u64, Keyed)>,
}

/// One commit.
pub(super) struct Flight {
    number: u64,
    commit: Commit,
    pub(super) events: Vec<Event>,
    /// The position that it leaves.
    pub(super) next: Offset,
    pub(super) tally: Tally,
}

impl Underway {
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.flights.len() >= UNDERWAY_MAX
    }

    /// The position that all of it leaves.
    pub(super) fn next(&self) -> Option<Offset> {
        self.flights.back().map(|flight| flight.next)
    }

    /// Whether the state of this entity need not be loaded.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.entities.contains_key(key)
    }

    /// What was loaded, as it will be.
    pub(super) fn lay_over(&self, events: &[Event], mut loaded: Loaded) -> Loaded {
        if self.is_empty() {
            return loaded;
        }
        for event in events {
            if let Some((key, (_, revision))) = event.entity().and_then(|key| self.entities.get_key_value(key)) {
                loaded.entities.insert(key.clone(), revision.clone());
            }
            if let Some((command, (_, outcome))) = event.outcome().and_then(|id| self.outcomes.get_key_value(&id)) {
                loaded.outcomes.insert(*command, outcome.clone());
            }
            if let Some((key, (_, keyed))) = event.idempotency().and_then(|key| self.keyed.get_key_value(&key)) {
                loaded.keyed.insert(*key, keyed.clone());
            }
        }
        loaded
    }

    /// Sends a commit; it is on its way when this returns.
    pub(super) async fn send(&mut self, shared: &Shared, batch: Batch, events: Vec<Event>, tally: Tally) {
        self.count += 1;
        let number = self.count;
        for change in &batch.changes {
            self.entities.insert(change.key.clone(), (number, change.next.clone()));
        }
        for outcome in &batch.outcomes {
            self.outcomes.insert(outcome.command, (number, outcome.clone()));
        }
        for keyed in &batch.keyed {
            self.keyed.insert(keyed.idempotency.key, (number, keyed.clone()));
        }
        let (next, database) = (batch.next, std::sync::Arc::clone(&shared.database));
        let mut commit: Commit = Box::pin(async move { database.commit(batch).await });
        let begun = std::future::poll_fn(|context| std::task::Poll::Ready(commit.as_mut().poll(context))).await;
        if let std::task::Poll::Ready(answer) = begun {
            commit = Box::pin(std::future::ready(answer));
        }
        self.flights.push_back(Flight { number, commit, events, next, tally });
    }

    /// The oldest, once it is answered; never where there is none. Dropping the future loses nothing.
    pub(super) async fn landed(&mut self) -> (Flight, Result<Committed, Error>) {
        let Some(first) = self.flights.front_mut() else { return std::future::pending().await };
        let answer = first.commit.as_mut().await;
        match self.flights.pop_front() {
            Some(flight) => (flight, answer),
            None => std::future::pending().await,
        }
    }

    /// A commit is stored: the database has what it left.
    fn forget(&mut self, flight: &Flight) {
        for event in &flight.events {
            let of = |number: &u64| *number == flight.number;
            if let Some(key) = event.entity().filter(|key| self.entities.get(key).is_some_and(|(number, _)| of(number)))
            {
                self.entities.remove(key);
            }
            if let Some(id) = event.outcome().filter(|id| self.outcomes.get(id).is_some_and(|(number, _)| of(number))) {
                self.outcomes.remove(&id);
            }
            let key = event.idempotency();
            if let Some(key) = key.filter(|key| self.keyed.get(key).is_some_and(|(number, _)| of(number))) {
                self.keyed.remove(&key);
            }
        }
    }
}

impl Worker {
    /// Decides events and sends what they lead to, without waiting for the answer unless too much is under way.
    pub(super) async fn send_ahead(&mut self, mut events: Vec<Event>) -> Result<(), End> {
        while !events.is_empty() {
            if self.underway.is_full() {
                let (flight, answer) = self.underway.landed().await;
                events = self.settle_flight(flight, answer, events).await?;
                continue;
            }
            let prepared = self.prepare(&events).await;
            let Ok((batch, tally, count)) = prepared else {
                // What is at fault is found without haste.
                let mut events = self.land_all(events).await?;
                let count = events.len();
                return self.range(&mut events, 0..count).await;
            };
            let rest = events.split_off(count);
            let sent = std::mem::replace(&mut events, rest);
            let shared = std::sync::Arc::clone(&self.shared);
            self.underway.send(&shared, batch, sent, tally).await;
        }
        Ok(())
    }

    /// Waits until nothing is under way. Answers which of the events that follow are still to be carried out.
    pub(super) async fn land_all(&mut self, mut after: Vec<Event>) -> Result<Vec<Event>, End> {
        while !self.underway.is_empty() {
            let (flight, answer) = self.underway.landed().await;
            after = self.settle_flight(flight, answer, after).await?;
        }
        Ok(after)
    }

    /// What an answer means. Where it is a failure, all that was under way is carried out again, in order, and the
    /// events that follow it; answers what is left of these.
    pub(super) async fn settle_flight(
        &mut self,
        flight: Flight,
        answer: Result<Committed, Error>,
        after: Vec<Event>,
    ) -> Result<Vec<Event>, End> {
        let error = match answer {
            Ok(_) => {
                self.underway.forget(&flight);
                self.position = Some(flight.next);
                self.recovered();
                self.report(&flight.events, flight.tally);
                return Ok(after);
            }
            Err(Error::Closed(reason)) => return Err(End::Closed(reason)),
            Err(Error::Broken(reason)) => return Err(End::Failed(reason)),
            Err(error) => error,
        };
        tracing::debug!(partition = self.partition, %error, "what was decided ahead is decided again");
        let mut positions = vec![self.position, Some(flight.next)];
        let mut events = flight.events;
        let Underway { flights, .. } = std::mem::take(&mut self.underway);
        for Flight { commit, events: more, next, .. } in flights {
            // It rests on the one that failed, unless that was stored and only its answer lost.
            drop(commit.await);
            positions.push(Some(next));
            events.extend(more);
        }
        events.extend(after);
        self.settle(&positions).await?;
        let count = events.len();
        self.range(&mut events, 0..count).await?;
        Ok(Vec::new())
    }
}
