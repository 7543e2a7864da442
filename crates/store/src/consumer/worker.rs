//! One partition's task: read a batch, load, decide, commit; and give the publisher what it led to.

use std::ops::Range;
use std::sync::Arc;

use contract::reply::Page;
use contract::wire::cloudevents::RUN_BYTES_MAX;
use contract::{Action, Command, CommandId, Digest, Key, Offset, Partition, Record, Registry, Stored, Topic};
use stream::{StreamError, Tail};
use tokio::sync::watch;

use super::batch::{Context, Decided, Event, OUTGOING_BYTES_MAX, Tally};
use super::outbox::{Due, Outbox};
use super::repair::Watch;
use super::underway::Underway;
use super::{Backoff, GRACE, Shared, first, names, publisher, stopped};
use crate::database::{Batch, Error, Loaded, Marks, Standing};

/// How often a batch is decided again at once before its failure is treated as one that takes time.
const CONFLICTS_MAX: u32 = 8;

/// Why a partition's task ends.
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// The stream or the database was closed.
    Closed(String),
    /// Another store has the partition.
    Lost,
    /// It cannot go on, for this reason.
    Failed(String),
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) partition: Partition,
    /// As the partition was taken.
    pub(super) owner: u64,
    taken: Option<Marks>,
    /// None where the events leave with the commit itself.
    pub(super) outbox: Option<Outbox>,
    /// As the database has it, but for what is under way.
    pub(super) position: Option<Offset>,
    /// As it has it if the last commit was done.
    attempted: Option<Offset>,
    /// Empty where there is an outbox.
    pub(super) underway: Underway,
    tail: Box<dyn Tail>,
    pub(super) stop: watch::Receiver<bool>,
    backoff: Backoff,
}

/// What a commit led to, to be published.
type Led = Option<(u64, Vec<(Topic, Record)>)>;

impl End {
    /// Tells who should know, and nobody else.
    pub(super) fn tell(self, shared: &Shared, partition: Partition) {
        match self {
            Self::Stopped => tracing::info!(partition, "partition given up"),
            Self::Closed(reason) => tracing::info!(partition, reason, "the partition's task ended"),
            Self::Lost => tracing::info!(partition, "another store has the partition"),
            Self::Failed(reason) => shared.fail(format!("partition {partition}: {reason}")),
        }
    }
}

/// Takes a partition, or only asks where it stands, until the database answers.
pub(super) async fn standing(shared: &Shared, partition: Partition, take: bool) -> Result<Standing, End> {
    let mut backoff = Backoff::default();
    loop {
        let answer =
            if take { shared.database.take(partition).await } else { shared.database.standing(partition).await };
        match answer {
            Ok(standing) => return Ok(standing),
            Err(Error::Closed(reason)) => return Err(End::Closed(reason)),
            Err(Error::Broken(reason)) => return Err(End::Failed(reason)),
            Err(error) => {
                if !backoff.failing() {
                    tracing::warn!(partition, %error, "the position cannot be read; it is tried again");
                }
                shared.env.sleep(backoff.next(&*shared.env)).await;
            }
        }
    }
}

/// What to tell the operator of a position outside the log.
pub(super) fn out_of_range(error: &StreamError) -> String {
    format!(
        "{error}: the database and the stream do not belong together, or commands were removed unread; restore both from one backup"
    )
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        partition: Partition,
        standing: Standing,
        tail: Box<dyn Tail>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let Standing { owner, position, outbox: taken } = standing;
        let (attempted, outbox, backoff) = (position, None, Backoff::default());
        let underway = Underway::default();
        Self { shared, partition, owner, taken, outbox, position, attempted, underway, tail, stop, backoff }
    }

    /// Works until it is stopped, or cannot go on.
    pub(super) async fn run(mut self) -> End {
        let mut stop = self.stop.clone();
        let (shared, partition) = (Arc::clone(&self.shared), self.partition);
        let grace = async {
            stopped(&mut stop).await;
            shared.env.sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            end = self.work_and_publish() => end,
            // What was handed to the database is stored whole or not at all, and the position tells which.
            () = grace => {
                tracing::warn!(partition, "a batch was abandoned; the next owner takes it up");
                End::Stopped
            }
        }
    }

    async fn work_and_publish(&mut self) -> End {
        let Some(saved) = self.taken else { return self.work().await.err().unwrap_or(End::Stopped) };
        let (stream, env) = (&self.shared.stream, &self.shared.env);
        let mut watch = Watch::new(Arc::clone(stream), Arc::clone(env), self.partition, saved.views);
        let views = tokio::select! {
            biased;
            () = stopped(&mut self.stop) => return End::Stopped,
            views = watch.begin() => views,
        };
        let marks = Marks { views: Some(views), ..saved };
        let (mut publisher, handle) = publisher::new(Arc::clone(stream), Arc::clone(env), self.partition, marks);
        self.outbox = Some(Outbox::new(&self.shared, handle, watch, saved));
        let work = async {
            // What the last owner left comes before anything new.
            let begun = self.catch_up().await;
            let end = match begun {
                Ok(()) => self.work().await.err().unwrap_or(End::Stopped),
                Err(end) => end,
            };
            if matches!(end, End::Stopped) {
                self.finish().await;
            }
            end
        };
        // Both in one task: while a batch is decided and committed, the one before is under way.
        tokio::select! {
            biased;
            end = publisher.run() => end,
            end = work => end,
        }
    }

    async fn work(&mut self) -> Result<(), End> {
        let records_max = self.shared.config.batch_max.max(1);
        loop {
            let next = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return self.land_all(Vec::new()).await.map(drop),
                (flight, answer) = self.underway.landed() => {
                    self.settle_flight(flight, answer, Vec::new()).await?;
                    continue;
                }
                due = due(&mut self.outbox, &self.shared) => {
                    match due {
                        Due::Look(records) => self.look(&records).await?,
                        Due::Save => self.save().await?,
                    }
                    continue;
                }
                next = self.tail.next(records_max), if !self.underway.is_full() => next,
            };
            match next {
                Ok(records) => {
                    self.recovered();
                    self.records(records).await?;
                }
                Err(error @ StreamError::Closed) => return Err(End::Closed(error.to_string())),
                Err(error @ StreamError::OutOfRange { .. }) => return Err(End::Failed(out_of_range(&error))),
                Err(StreamError::Revoked) => {
                    // The group tells the coordinator as well. Until then what was committed may still leave.
                    let grace = self.shared.env.sleep(GRACE);
                    tokio::select! {
                        biased;
                        () = self.finish() => {}
                        () = grace => {}
                    }
                    return Err(End::Lost);
                }
                Err(error) => self.wait(&error).await?,
            }
        }
    }

    /// Before the first commit of a partition: whether the topics are this database's.
    async fn claim(&mut self) -> Result<(), End> {
        // In the stream's own file nobody else can be.
        while self.position.is_none() && self.outbox.is_some() {
            match first::claim(&self.shared).await {
                Ok(None) => break,
                Ok(Some(reason)) => return Err(End::Failed(reason)),
                Err(error) => self.wait(&*error).await?,
            }
        }
        Ok(())
    }

    /// Carries out what was read. A list sees what came before it: it begins a commit of its own.
    async fn records(&mut self, records: Vec<Stored>) -> Result<(), End> {
        if !records.is_empty() {
            self.claim().await?;
        }
        let registry: &Registry = &self.shared.registry;
        let mut events: Vec<Event> = records.into_iter().map(|stored| Event::read(stored, registry)).collect();
        while let Some(first) = events.first() {
            let lists = first.is_list();
            let after = events.split_off(events.iter().take_while(|event| event.is_list() == lists).count());
            if lists || self.outbox.is_some() {
                let mut events = self.land_all(events).await?;
                let count = events.len();
                self.range(&mut events, 0..count).await?;
            } else {
                self.send_ahead(events).await?;
            }
            events = after;
        }
        Ok(())
    }

    /// Commits a range of events; where their data cannot be stored, finds the one to set aside by halving.
    pub(super) async fn range(&mut self, events: &mut [Event], range: Range<usize>) -> Result<(), End> {
        let mut ranges = vec![range];
        let mut conflicts = 0;
        while let Some(Range { start, end }) = ranges.pop() {
            // A commit may have covered some of it only, or have been done though its answer was lost.
            let done = |event: &&Event| self.position.is_some_and(|position| event.stored.offset < position);
            let start = start + events[start..end].iter().take_while(done).count();
            if start == end {
                continue;
            }
            match self.attempt(&events[start..end]).await {
                Ok(led) => {
                    conflicts = 0;
                    self.recovered();
                    if let Some((first, outgoing)) = led {
                        self.publish(first, outgoing).await?;
                    }
                }
                Err(Error::Data(_) | Error::TooMuch) if end - start > 1 => {
                    let middle = start + (end - start) / 2;
                    ranges.extend([middle..end, start..middle]);
                    continue;
                }
                Err(error @ (Error::Data(_) | Error::TooMuch)) => {
                    let event = &mut events[start];
                    if event.command.is_err() {
                        return Err(End::Failed(format!("an event cannot even be set aside: {error}")));
                    }
                    event.set_aside(error.to_string());
                }
                Err(Error::Closed(reason)) => return Err(End::Closed(reason)),
                Err(Error::Broken(reason)) => return Err(End::Failed(reason)),
                Err(error) => {
                    if error == Error::Conflict && conflicts < CONFLICTS_MAX {
                        conflicts += 1;
                        metrics::counter!(names::CONFLICTS).increment(1);
                    } else {
                        self.wait(&error).await?;
                    }
                    self.settle(&[self.position, self.attempted]).await?;
                }
            }
            ranges.push(start..end);
        }
        Ok(())
    }

    /// After commits whose fate is not known: which of these positions they left.
    pub(super) async fn settle(&mut self, positions: &[Option<Offset>]) -> Result<(), End> {
        let standing = standing(&self.shared, self.partition, false).await?;
        if standing.owner != self.owner || !positions.contains(&standing.position) {
            return Err(End::Lost);
        }
        self.position = standing.position;
        self.catch_up().await
    }

    /// One commit, of as many events as fit into it.
    async fn attempt(&mut self, events: &[Event]) -> Result<Led, Error> {
        self.attempted = self.position;
        let shared = Arc::clone(&self.shared);
        let (batch, tally, count) = self.prepare(events).await?;
        let (next, marks) = (batch.next, batch.marks);
        // The bytes are shared.
        let led = self.outbox.is_some().then(|| batch.outgoing.clone());
        self.attempted = Some(next);
        let committed = shared.database.commit(batch).await?;
        self.position = Some(next);
        if let Some(outbox) = &mut self.outbox {
            outbox.saved(marks);
        }
        self.report(&events[..count], tally);
        Ok(committed.unpublished.zip(led))
    }

    /// What as many of these events as fit into one commit lead to, and how many they are.
    pub(super) async fn prepare(&mut self, events: &[Event]) -> Result<(Batch, Tally, usize), Error> {
        let shared = &Arc::clone(&self.shared);
        let pages = pages(shared, events).await?;
        let (keys, commands, idempotency) = wanted(events, &self.underway);
        let nothing = keys.is_empty() && commands.is_empty() && idempotency.is_empty();
        let loaded =
            if nothing { Loaded::default() } else { shared.database.load(keys, commands, idempotency).await? };
        let loaded = self.underway.lay_over(events, loaded);
        let context = Context {
            registry: &shared.registry,
            env: &*shared.env,
            source: &shared.source,
            message_bytes_max: shared.topology.message_bytes_max.saturating_sub(RUN_BYTES_MAX),
            lists: shared.lists,
            partitions: shared.topology.partitions,
        };
        let Decided { count, changes, outcomes, keyed, outgoing, tally } = context.decide(events, loaded, pages);
        let events = &events[..count];
        let next = events.last().map(|event| event.stored.offset + 1);
        let next = next.ok_or_else(|| Error::Data("there is no way to decide it".to_owned()))?;
        let time = shared.env.now();
        let retention = i64::try_from(shared.config.outcome_retention.as_millis()).unwrap_or(i64::MAX);
        let forget_before = time.plus_millis(retention.saturating_neg());
        let (partition, owner, expected) = (self.partition, self.owner, self.underway.next().or(self.position));
        let marks = self.outbox.as_ref().map(Outbox::marks).unwrap_or_default();
        let batch =
            Batch { partition, owner, expected, next, changes, outcomes, keyed, time, forget_before, outgoing, marks };
        Ok((batch, tally, count))
    }

    pub(super) fn report(&self, events: &[Event], tally: Tally) {
        for ((name, action, result), count) in tally {
            let name = name.map_or_else(|| "unknown".to_owned(), |name| name.to_string());
            metrics::counter!(names::COMMANDS, "type" => name, "action" => action, "result" => result).increment(count);
        }
        for Event { stored, command } in events {
            let Err(error) = command else { continue };
            let (partition, offset) = (stored.partition, stored.offset);
            tracing::warn!(partition, offset, correlation = ?error.correlation, reason = %error.reason, "an event was set aside");
            metrics::counter!(names::QUARANTINED).increment(1);
        }
        metrics::histogram!(names::BATCH_COMMANDS).record(events.len() as f64);
        if let Some(Event { command: Ok(command), .. }) = events.first() {
            let millis = self.shared.env.now().as_millis() - command.time.as_millis();
            metrics::histogram!(names::DELAY_SECONDS).record(millis as f64 / 1000.0);
        }
    }

    /// Waits before the next try; ends when it is time to stop.
    pub(super) async fn wait(&mut self, error: &(dyn std::error::Error + Sync)) -> Result<(), End> {
        if !self.backoff.failing() {
            tracing::warn!(partition = self.partition, %error, "commands wait; they are tried again until it goes better");
            self.shared.works(self.partition, false);
        }
        let delay = self.backoff.next(&*self.shared.env);
        tokio::select! {
            biased;
            () = stopped(&mut self.stop) => Err(End::Stopped),
            () = self.shared.env.sleep(delay) => Ok(()),
        }
    }

    pub(super) fn recovered(&mut self) {
        if self.backoff.failing() {
            tracing::info!(partition = self.partition, "commands are answered again");
            self.shared.works(self.partition, true);
            self.backoff = Backoff::default();
        }
    }
}

/// What there is to do besides commands; nothing, for ever, without an outbox.
async fn due(outbox: &mut Option<Outbox>, shared: &Shared) -> Due {
    match outbox {
        Some(outbox) => outbox.due(shared).await,
        None => std::future::pending().await,
    }
}

/// The pages of a range of lists, as far as they fit into one commit; none where the range has no lists.
async fn pages(shared: &Shared, events: &[Event]) -> Result<Vec<Page>, Error> {
    let (mut pages, mut size_bytes) = (Vec::new(), 0);
    for event in events {
        let Ok(Command { key, action: Action::List(query), .. }) = &event.command else { break };
        let Some(entity_type) = shared.registry.get(key.entity_type.as_str()) else { break };
        let page = shared.database.list(Arc::clone(entity_type), query.clone()).await?;
        size_bytes += page.items.iter().map(|item| item.get().len()).sum::<usize>();
        pages.push(page);
        if size_bytes >= OUTGOING_BYTES_MAX {
            break;
        }
    }
    Ok(pages)
}

/// What is to be loaded for these events, but for what is under way.
fn wanted(events: &[Event], underway: &Underway) -> (Vec<Key>, Vec<CommandId>, Vec<Digest>) {
    let keys = events.iter().filter_map(Event::entity).filter(|key| !underway.knows(key)).cloned();
    let outcomes = events.iter().filter_map(Event::outcome);
    (keys.collect(), outcomes.collect(), events.iter().filter_map(Event::idempotency).collect())
}
