//! One partition's task: read a batch, load, decide, commit.

use std::ops::Range;
use std::sync::Arc;

use contract::{Action, Command, Offset, Partition, Registry, Stored};
use stream::{StreamError, Tail};
use tokio::sync::watch;

use super::batch::{Context, Decided, Event};
use super::{Backoff, GRACE, Shared, names, stopped};
use crate::database::{Batch, Error, Loaded};

/// How often a batch is decided again at once before its failure is treated as one that takes time.
const CONFLICTS_MAX: u32 = 8;

/// Why a partition's task ends.
enum End {
    /// It was told to.
    Stopped,
    /// The stream or the database was closed.
    Closed,
    /// Another store has the partition.
    Lost,
    /// It cannot go on, for this reason.
    Failed(String),
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    partition: Partition,
    /// As the database has it.
    position: Option<Offset>,
    tail: Box<dyn Tail>,
    stop: watch::Receiver<bool>,
    backoff: Backoff,
}

/// The position of a partition, tried until the database answers; none when it is closed.
pub(super) async fn position(shared: &Shared, partition: Partition) -> Option<Option<Offset>> {
    let mut backoff = Backoff::default();
    loop {
        match shared.database.position(partition).await {
            Ok(position) => return Some(position),
            Err(Error::Closed(_)) => return None,
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
        position: Option<Offset>,
        tail: Box<dyn Tail>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { shared, partition, position, tail, stop, backoff: Backoff::default() }
    }

    /// Works until it is stopped, or cannot go on.
    pub(super) async fn run(mut self) {
        let mut stop = self.stop.clone();
        let (shared, partition) = (Arc::clone(&self.shared), self.partition);
        let grace = async {
            stopped(&mut stop).await;
            shared.env.sleep(GRACE).await;
        };
        let end = tokio::select! {
            end = self.work() => end,
            // What was handed to the database is stored whole or not at all, and the position tells which.
            () = grace => return tracing::warn!(partition, "a batch was abandoned; the next owner takes it up"),
        };
        match end {
            Ok(()) | Err(End::Stopped) => tracing::info!(partition, "partition given up"),
            Err(End::Closed) => tracing::info!(partition, "partition ended with the stream"),
            Err(End::Lost) => tracing::info!(partition, "another store has the partition"),
            Err(End::Failed(reason)) => shared.fail(format!("partition {partition}: {reason}")),
        }
    }

    async fn work(&mut self) -> Result<(), End> {
        let records_max = self.shared.config.batch_max.max(1);
        loop {
            let next = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return Ok(()),
                next = self.tail.next(records_max) => next,
            };
            match next {
                Ok(records) => {
                    self.recovered();
                    self.records(records).await?;
                }
                Err(StreamError::Closed) => return Err(End::Closed),
                Err(error @ StreamError::OutOfRange { .. }) => return Err(End::Failed(out_of_range(&error))),
                Err(error) => self.wait(&error).await?,
            }
        }
    }

    /// Carries out what was read. A list sees what came before it: it begins a commit of its own.
    async fn records(&mut self, records: Vec<Stored>) -> Result<(), End> {
        let registry: &Registry = &self.shared.registry;
        let mut events: Vec<Event> = records.into_iter().map(|stored| Event::read(stored, registry)).collect();
        let mut begin = 0;
        while begin < events.len() {
            let lists = events[begin].is_list();
            let end = begin + events[begin..].iter().take_while(|event| event.is_list() == lists).count();
            self.range(&mut events, begin..end).await?;
            begin = end;
        }
        Ok(())
    }

    /// Commits a range of events; where their data cannot be stored, finds the one to set aside by halving.
    async fn range(&mut self, events: &mut [Event], range: Range<usize>) -> Result<(), End> {
        let mut ranges = vec![range];
        let mut conflicts = 0;
        while let Some(range) = ranges.pop() {
            match self.attempt(&events[range.clone()]).await {
                Ok(()) => {
                    conflicts = 0;
                    self.recovered();
                    continue;
                }
                Err(Error::Closed(reason)) => {
                    tracing::info!(partition = self.partition, %reason, "the database is closed");
                    return Err(End::Closed);
                }
                Err(Error::Data(reason)) if range.len() > 1 => {
                    tracing::warn!(partition = self.partition, %reason, "a batch cannot be stored; it is halved");
                    let middle = range.start + range.len() / 2;
                    ranges.extend([middle..range.end, range.start..middle]);
                    continue;
                }
                Err(Error::Data(reason)) => {
                    let event = &mut events[range.start];
                    if event.command.is_err() {
                        return Err(End::Failed(format!("an event cannot even be set aside: {reason}")));
                    }
                    event.set_aside(reason);
                }
                Err(Error::Conflict) if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    metrics::counter!(names::CONFLICTS).increment(1);
                    if self.moved(&events[range.clone()]).await? {
                        continue;
                    }
                }
                Err(error) => {
                    self.wait(&error).await?;
                    if self.moved(&events[range.clone()]).await? {
                        continue;
                    }
                }
            }
            ranges.push(range);
        }
        Ok(())
    }

    /// After a commit whose fate is not known: whether it was done all the same.
    async fn moved(&mut self, events: &[Event]) -> Result<bool, End> {
        let position = position(&self.shared, self.partition).await.ok_or(End::Closed)?;
        if position == self.position {
            return Ok(false);
        }
        if position != next_of(events) {
            return Err(End::Lost);
        }
        // If it was another owner's doing, the next commit will tell.
        self.position = position;
        Ok(true)
    }

    async fn attempt(&mut self, events: &[Event]) -> Result<(), Error> {
        let Some(next) = next_of(events) else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let mut pages = Vec::new();
        for event in events {
            pages.push(page(&shared, event).await?);
        }
        let loaded = load(&shared, events).await?;
        let context = Context {
            registry: &shared.registry,
            env: &*shared.env,
            source: &shared.source,
            message_bytes_max: shared.stream.message_bytes_max(),
        };
        let Decided { changes, outcomes, outgoing, tally } = context.decide(events, loaded, pages);
        let time = shared.env.now();
        let retention = i64::try_from(shared.config.outcome_retention.as_millis()).unwrap_or(i64::MAX);
        let forget_before = time.plus_millis(retention.saturating_neg());
        let (partition, expected) = (self.partition, self.position);
        let batch = Batch { partition, expected, next, changes, outcomes, time, forget_before, outgoing };
        shared.database.commit(batch).await?;
        self.position = Some(next);
        self.report(events, tally);
        Ok(())
    }

    fn report(&self, events: &[Event], tally: super::batch::Tally) {
        for ((name, action, result), count) in tally {
            let name = name.map_or_else(|| "unknown".to_owned(), |name| name.to_string());
            metrics::counter!(names::COMMANDS, "type" => name, "action" => action, "result" => result).increment(count);
        }
        let unreadable = events.iter().filter(|event| event.command.is_err()).count();
        metrics::counter!(names::QUARANTINED).increment(unreadable as u64);
        metrics::histogram!(names::BATCH_COMMANDS).record(events.len() as f64);
        if let Some(Event { command: Ok(command), .. }) = events.first() {
            let millis = self.shared.env.now().as_millis() - command.time.as_millis();
            metrics::histogram!(names::DELAY_SECONDS).record(millis as f64 / 1000.0);
        }
    }

    /// Waits before the next try; ends when it is time to stop.
    async fn wait(&mut self, error: &(dyn std::error::Error + Sync)) -> Result<(), End> {
        if !self.backoff.failing() {
            tracing::warn!(partition = self.partition, %error, "commands wait; they are tried again until it goes better");
        }
        let delay = self.backoff.next(&*self.shared.env);
        tokio::select! {
            () = stopped(&mut self.stop) => Err(End::Stopped),
            () = self.shared.env.sleep(delay) => Ok(()),
        }
    }

    fn recovered(&mut self) {
        if self.backoff.failing() {
            tracing::info!(partition = self.partition, "commands are answered again");
            self.backoff = Backoff::default();
        }
    }
}

async fn page(shared: &Shared, event: &Event) -> Result<Option<contract::reply::Page>, Error> {
    let Ok(Command { key, action: Action::List(query), .. }) = &event.command else { return Ok(None) };
    let Some(entity_type) = shared.registry.get(key.entity_type.as_str()) else { return Ok(None) };
    shared.database.list(Arc::clone(entity_type), query.clone()).await.map(Some)
}

async fn load(shared: &Shared, events: &[Event]) -> Result<Loaded, Error> {
    let keys: Vec<_> = events.iter().filter_map(|event| event.entity().cloned()).collect();
    let commands: Vec<_> = events.iter().filter_map(Event::outcome).collect();
    if keys.is_empty() && commands.is_empty() {
        return Ok(Loaded::default());
    }
    shared.database.load(keys, commands).await
}

/// The position after these events.
fn next_of(events: &[Event]) -> Option<Offset> {
    events.last().map(|event| event.stored.offset + 1)
}
