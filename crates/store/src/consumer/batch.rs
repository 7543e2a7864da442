//! Deciding a batch: pure. Each command sees what those before it did, and all of it becomes one commit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use contract::reply::Page;
use contract::wire::DecodeError;
use contract::wire::cloudevents::{decode_command, encode_quarantined, encode_reply, encode_view};
use contract::{
    Action, Command, CommandId, Digest, Env, Key, Outcome, OutcomeStatus, Partition, Problem, Record, Registry, Reply,
    ReplyBody, Retry, Slug, Stored, Topic, TypeName, partition,
};

use crate::database::{Change, IndexChange, Loaded};
use crate::decide::{Answer, Decision, Keyed, Remembered, Revision, decide};

/// A record of the topic of commands, read as far as it can be.
pub(super) struct Event {
    pub(super) stored: Stored,
    pub(super) command: Result<Command, DecodeError>,
}

impl Event {
    pub(super) fn read(stored: Stored, registry: &Registry) -> Self {
        let command = decode_command(&stored.record, registry);
        Self { stored, command }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(&self.command, Ok(Command { action: Action::List(_), .. }))
    }

    /// Turns a command that cannot be carried out into an event that could not be read.
    pub(super) fn set_aside(&mut self, reason: String) {
        if let Ok(command) = &self.command {
            let (correlation, key) = (Some(command.id), Some(command.key.clone()));
            self.command = Err(DecodeError { reason, correlation, key });
        }
    }

    /// The entity whose state it is decided on.
    pub(super) fn entity(&self) -> Option<&Key> {
        self.command.as_ref().ok().map(|command| &command.key).filter(|key| key.id.is_some())
    }

    /// The idempotency key whose first answer it is decided on.
    pub(super) fn idempotency(&self) -> Option<Digest> {
        Some(self.command.as_ref().ok()?.idempotency?.key)
    }

    /// The command whose outcome it is decided on.
    pub(super) fn outcome(&self) -> Option<CommandId> {
        match &self.command {
            Ok(Command { action: Action::Retrieve { operation }, .. }) => *operation,
            Ok(command) => command.action.is_write().then_some(command.id),
            Err(error) => error.correlation,
        }
    }
}

/// A commit holds so many bytes of outgoing events, and one event more: it bounds the memory, and what others wait for.
pub(super) const OUTGOING_BYTES_MAX: usize = 4 << 20;

/// Commands by type, action and result.
pub(super) type Tally = HashMap<(Option<TypeName>, &'static str, &'static str), u64>;

/// What the events of a batch led to so far.
#[derive(Default)]
pub(super) struct Decided {
    /// How many of the events were decided: all of them, unless they led to too much.
    pub(super) count: usize,
    /// Entities that changed.
    pub(super) changes: Vec<Change>,
    /// What is to be remembered.
    pub(super) outcomes: Vec<Outcome>,
    /// First answers to idempotency keys.
    pub(super) keyed: Vec<Keyed>,
    /// Events to append, in this order.
    pub(super) outgoing: Vec<(Topic, Record)>,
    /// What the metrics are told once it is committed.
    pub(super) tally: Tally,
}

/// What does not change from batch to batch.
pub(super) struct Context<'a> {
    pub(super) registry: &'a Registry,
    pub(super) env: &'a dyn Env,
    /// Names this store in the events.
    pub(super) source: &'a str,
    /// The largest record of the stream.
    pub(super) message_bytes_max: usize,
    /// Whether the index of lists is kept.
    pub(super) lists: bool,
    /// Of each topic.
    pub(super) partitions: u32,
}

impl Context<'_> {
    /// Decides events in their order, until they led to [`OUTGOING_BYTES_MAX`]. A list's page comes with it, read when
    /// everything before it was committed.
    pub(super) fn decide(&self, events: &[Event], loaded: Loaded, pages: Vec<Page>) -> Decided {
        let decided = Decided::default();
        let mut run = Run { context: self, states: HashMap::new(), loaded, decided, size_bytes: 0 };
        let mut pages = pages.into_iter();
        for event in events {
            match &event.command {
                Ok(command) if event.is_list() => match pages.next() {
                    Some(page) => run.listed(command, page),
                    None => break,
                },
                Ok(command) => run.command(command, event.stored.partition),
                Err(error) => run.unreadable(&event.stored, error),
            }
            run.decided.count += 1;
            if run.size_bytes >= OUTGOING_BYTES_MAX {
                break;
            }
        }
        run.finish()
    }
}

/// An entity within a batch.
struct Working {
    state: Option<Revision>,
    /// As it was loaded.
    before: Option<Revision>,
}

struct Run<'a> {
    context: &'a Context<'a>,
    states: HashMap<Key, Working>,
    loaded: Loaded,
    decided: Decided,
    /// Of the outgoing events.
    size_bytes: usize,
}

impl Run<'_> {
    fn command(&mut self, command: &Command, number: Partition) {
        let Some(entity_type) = self.context.registry.get(command.key.entity_type.as_str()) else {
            // The decoder let it pass, so the registry has it.
            return;
        };
        let outcome = match &command.action {
            Action::Retrieve { operation } => operation.as_ref().and_then(|id| self.loaded.outcomes.get(id)),
            _ => self.loaded.outcomes.get(&command.id),
        };
        let keyed = command.idempotency.and_then(|sent| self.loaded.keyed.get(&sent.key));
        let keyed = keyed.map(|keyed| (keyed.idempotency.fingerprint, &keyed.first));
        let remembered = Remembered { outcome, keyed };
        let working = match self.states.entry(command.key.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let before = self.loaded.entities.remove(&command.key);
                entry.insert(Working { state: before.clone(), before })
            }
        };
        let decision = decide(entity_type, working.state.as_ref(), remembered, command, self.context.env.now());
        let Decision { next, answer, outcome, keyed } = decision;
        if next.is_some() {
            working.state = next;
        }
        // Only on its key's partition a look-up is behind the command that it asks for, so only there it is the last word.
        let last_word = || partition::of_key(command.key.to_string().as_bytes(), self.context.partitions) == number;
        self.remember(outcome.filter(|outcome| outcome.status != OutcomeStatus::Unknown || last_word()));
        if let Some(keyed) = keyed {
            self.loaded.keyed.insert(keyed.idempotency.key, keyed.clone());
            self.decided.keyed.push(keyed);
        }
        match answer {
            Answer::View(view) => {
                self.count(Some(&view.key), command.action.name(), "view");
                self.send(Topic::Views, encode_view(&view, self.context.source));
            }
            Answer::Reply(reply) => self.reply(&reply, command.action.name()),
        }
    }

    fn listed(&mut self, command: &Command, page: Page) {
        let (correlation, key) = (command.id, command.key.clone());
        let body = ReplyBody::Listed(page);
        self.reply(&Reply { correlation, key, version: None, time: self.context.env.now(), body }, "list");
    }

    /// Sets an event aside and, where it tells whom, answers it as failed.
    fn unreadable(&mut self, stored: &Stored, error: &DecodeError) {
        let size_bytes_max = self.context.message_bytes_max;
        self.send(Topic::Quarantine, encode_quarantined(Topic::Commands, stored, &error.reason, size_bytes_max));
        let (Some(correlation), Some(key)) = (error.correlation, error.key.clone()) else {
            return self.count(error.key.as_ref(), "unknown", "quarantined");
        };
        let version = self.states.get(&key).and_then(|working| working.state.as_ref()).map(Revision::version);
        let body = match self.loaded.outcomes.get(&correlation) {
            // It had its answer, whatever this is.
            Some(outcome) => ReplyBody::Outcome(outcome.clone()),
            None => {
                let detail = format!("the data store set the command aside: {}", error.reason);
                let problem = Problem::new(Slug::CommandFailed, detail).retry(Retry::No);
                let (status, told) = (OutcomeStatus::Failed, Some(problem.clone()));
                self.remember(Some(Outcome {
                    command: correlation,
                    status,
                    version,
                    entity: None,
                    problem: told,
                    created: None,
                }));
                ReplyBody::Rejected(problem)
            }
        };
        self.reply(&Reply { correlation, key, version, time: self.context.env.now(), body }, "unknown");
    }

    fn remember(&mut self, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            self.loaded.outcomes.insert(outcome.command, outcome.clone());
            self.decided.outcomes.push(outcome);
        }
    }

    fn reply(&mut self, reply: &Reply, action: &'static str) {
        self.count(Some(&reply.key), action, reply.body.name());
        self.send(Topic::Replies, encode_reply(reply, self.context.source));
    }

    fn send(&mut self, topic: Topic, record: Record) {
        self.size_bytes += record.size_bytes();
        self.decided.outgoing.push((topic, record));
    }

    fn count(&mut self, key: Option<&Key>, action: &'static str, result: &'static str) {
        // Only types that are known here, or any word sent would become a label.
        let name = key.map(|key| &key.entity_type).filter(|name| self.context.registry.get(name.as_str()).is_some());
        *self.decided.tally.entry((name.cloned(), action, result)).or_default() += 1;
    }

    fn finish(mut self) -> Decided {
        let context = self.context;
        let changed = self.states.into_iter().filter_map(|(key, Working { state, before })| {
            let next = state?;
            if before.as_ref().is_some_and(|before| before.version() == next.version()) {
                return None;
            }
            let entity_type = context.registry.get(key.entity_type.as_str()).filter(|_| context.lists);
            let index = entity_type.map(|known| IndexChange::between(known, before.as_ref(), &next));
            Some(Change::new(key, before.as_ref(), next, index.unwrap_or_default()))
        });
        self.decided.changes = changed.collect();
        // One order for all stores, so that two of them never wait for each other.
        self.decided.changes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        self.decided.outcomes.sort_unstable_by_key(|outcome| outcome.command);
        self.decided.keyed.sort_unstable_by_key(|keyed| keyed.idempotency.key);
        self.decided
    }
}
