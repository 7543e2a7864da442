//! What a command does to an entity, as a function of the entity's state, what is remembered of the command, and the
//! time. No I/O, no clock: whoever asks twice with the same arguments gets the same decision.
//!
//! - A write whose outcome is remembered is not carried out again; its outcome is the answer. So is the first answer to its
//!   idempotency key, where that came before with the same fingerprint.
//! - Who asks for an operation and hears that it is unknown has heard the last word: this is remembered, so that its command,
//!   should the stream store it only now, is not carried out any more.
//! - Conditions are decided where the write would else go ahead [RFC 9110 13.2.1]: what is missing is 404 and what was
//!   deleted is 410 before any condition is looked at, and the body is checked after them.
//! - A deleted entity keeps its version, which goes on when it is created anew.
//! - Versions of an entity are 1, 2, 3 .. without a gap. A write that changes nothing makes none.
//! - `updated` and the time of the version's view grow with every version, also where the clock does not, unless the
//!   command keeps an `updated` of its own. `created` never changes, unless the command keeps it.

use contract::entity::{Field, IdRule, Rules, Timestamps};
use contract::precondition::Validators;
use contract::reply::{Current, FirstAnswer, WriteAction};
use contract::{
    Action, Command, Digest, Draft, ETag, EntityId, EntityType, Idempotency, Outcome, OutcomeStatus, Precondition,
    Problem, Repeat, Reply, ReplyBody, Retry, Slug, Timestamp, View, json,
};
use serde_json::{Map, Value};

mod revision;
#[cfg(test)]
mod tests;

pub use revision::{Entity, Revision, Tombstone};

/// What is to be done about a command.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The entity's new version; none where nothing changes.
    pub next: Option<Revision>,
    /// What goes back through the stream.
    pub answer: Answer,
    /// What is to be remembered of a write, or of an operation that was asked for in vain; none where it is remembered
    /// already.
    pub outcome: Option<Outcome>,
    /// What is to be remembered of an idempotency key; none without one, and where it is remembered already.
    pub keyed: Option<Keyed>,
}

/// What goes back through the stream.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A new version, for everybody.
    View(View),
    /// An answer to the one who asked.
    Reply(Reply),
}

/// The first answer to an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The key, and the request that it stands for.
    pub idempotency: Idempotency,
    /// What that request was answered with.
    pub first: Repeat,
}

/// What is remembered that bears on a command.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remembered<'a> {
    /// The outcome of this very command or, for a retrieve with an operation, of that operation.
    pub outcome: Option<&'a Outcome>,
    /// The first answer to its idempotency key: the fingerprint, and the answer.
    pub keyed: Option<(Digest, &'a Repeat)>,
}

/// Decides one command on the entity that its key names; no state stands for one that never existed.
///
/// Lists are answered from the database: one that comes here is refused.
pub fn decide(
    entity_type: &EntityType,
    state: Option<&Revision>,
    remembered: Remembered<'_>,
    command: &Command,
    now: Timestamp,
) -> Decision {
    let case = Case { entity_type, state, command, now };
    match (&command.action, &command.key.id) {
        (Action::Create(_) | Action::Update(_) | Action::Delete, Some(id)) => {
            if let Some(outcome) = remembered.outcome {
                return case.reply(ReplyBody::Outcome(outcome.clone()));
            }
            match (command.idempotency, remembered.keyed) {
                (Some(sent), Some((fingerprint, first))) => case.again(sent.fingerprint == fingerprint, first),
                _ => case.settle(case.write(id)),
            }
        }
        (Action::Retrieve { operation: Some(operation) }, Some(_)) => {
            let outcome = remembered.outcome.cloned().unwrap_or_else(|| unknown(*operation));
            let heard = remembered.outcome.is_none().then(|| outcome.clone());
            Decision { outcome: heard, ..case.reply(ReplyBody::Outcome(outcome)) }
        }
        (Action::Retrieve { operation: None }, Some(id)) => case.retrieve(id),
        (Action::List(_), _) | (_, None) => {
            case.reply(ReplyBody::Rejected(Problem::new(Slug::CommandFailed, "no entity is named to do this to")))
        }
    }
}

/// What a write leads to.
enum Written {
    Changed(Revision),
    Unchanged(Current),
}

/// The arguments of one decision.
struct Case<'a> {
    entity_type: &'a EntityType,
    state: Option<&'a Revision>,
    command: &'a Command,
    now: Timestamp,
}

impl Case<'_> {
    fn write(&self, id: &EntityId) -> Result<Written, Problem> {
        match &self.command.action {
            Action::Create(data) => self.create(id, data),
            Action::Update(data) => self.update(id, data),
            _ => self.delete(id),
        }
    }

    fn create(&self, id: &EntityId, data: &Map<String, Value>) -> Result<Written, Problem> {
        let precondition = self.command.precondition.as_ref();
        let (version, time) = match self.state {
            None => (1, self.now),
            Some(Revision::Live(entity)) => return Err(self.exists(id, entity)),
            Some(Revision::Deleted(tombstone)) if precondition.is_some_and(Precondition::is_absent) => {
                (tombstone.version + 1, self.now.max(tombstone.time.plus_millis(1)))
            }
            Some(Revision::Deleted(tombstone)) => return Err(self.gone(id, tombstone)),
        };
        if let Some(precondition) = precondition {
            self.check(precondition, id, None)?;
        }
        let draft = self.accept(id, data, true)?;
        let created = draft.created.unwrap_or(time);
        let updated = draft.updated.unwrap_or(time);
        self.written(id, &draft.fields, version, (created, updated), time)
    }

    fn update(&self, id: &EntityId, data: &Map<String, Value>) -> Result<Written, Problem> {
        let entity = self.existing(id)?;
        self.check_existing(id, entity)?;
        let Draft { fields: patch, created, updated } = self.accept(id, data, false)?;
        let before = self.entity_type.fields_of(&entity.object).map_err(|error| damaged(&error))?;
        let after = self.entity_type.merge(&before, patch);
        let stamped =
            created.is_some_and(|time| time != entity.created) || updated.is_some_and(|time| time != entity.updated);
        if !stamped && self.same(&before, &after) {
            return self.current(id, entity).map(Written::Unchanged);
        }
        let created = created.unwrap_or(entity.created);
        let updated = updated.unwrap_or_else(|| self.now.max(entity.updated.plus_millis(1)));
        let time = self.now.max(entity.time.plus_millis(1));
        self.written(id, &after, entity.version + 1, (created, updated), time)
    }

    fn delete(&self, id: &EntityId) -> Result<Written, Problem> {
        let entity = self.existing(id)?;
        self.check_existing(id, entity)?;
        let (version, time) = (entity.version + 1, self.now.max(entity.time.plus_millis(1)));
        Ok(Written::Changed(Revision::Deleted(Tombstone { version, time, command: self.command.id })))
    }

    /// The state that a write which needs one works on.
    fn existing(&self, id: &EntityId) -> Result<&Entity, Problem> {
        match self.state {
            Some(Revision::Live(entity)) => Ok(entity),
            Some(Revision::Deleted(tombstone)) => Err(self.gone(id, tombstone)),
            None => Err(self.missing(id)),
        }
    }

    fn check_existing(&self, id: &EntityId, entity: &Entity) -> Result<(), Problem> {
        let Some(precondition) = &self.command.precondition else { return Ok(()) };
        if precondition.is_absent() {
            return Err(self.exists(id, entity));
        }
        let etag = ETag::of(entity.version, &self.current(id, entity)?.object);
        self.check(precondition, id, Some(Validators { etag, modified: entity.time }))
    }

    fn check(&self, precondition: &Precondition, id: &EntityId, current: Option<Validators>) -> Result<(), Problem> {
        precondition.evaluate(current.as_ref()).map_err(|unmet| {
            let (name, unmet) = (self.entity_type.name(), unmet.name());
            let state = current.map_or("not there".to_owned(), |current| format!("at {}", current.etag));
            Problem::new(Slug::PreconditionFailed, format!("{unmet} does not hold: the {name} {id} is {state}"))
        })
    }

    fn retrieve(&self, id: &EntityId) -> Decision {
        let current = self.existing(id).and_then(|entity| self.current(id, entity));
        self.reply(current.map_or_else(ReplyBody::Rejected, ReplyBody::Retrieved))
    }

    fn accept(&self, id: &EntityId, data: &Map<String, Value>, complete: bool) -> Result<Draft, Problem> {
        let rules = Rules { complete, id: IdRule::Equal(id), timestamps: Timestamps::Keep };
        self.entity_type.accept(data.clone(), rules)
    }

    fn written(
        &self,
        id: &EntityId,
        fields: &Map<String, Value>,
        version: u64,
        (created, updated): (Timestamp, Timestamp),
        time: Timestamp,
    ) -> Result<Written, Problem> {
        let object = self.entity_type.render(id, fields, created, updated);
        self.entity_type.check_whole(fields, object.len())?;
        let data_schema = self.entity_type.data_schema().into();
        let (object, command) = (object.into(), self.command.id);
        let entity = Entity { version, object, data_schema, created, updated, time, command };
        Ok(Written::Changed(Revision::Live(entity)))
    }

    /// Whether both show the same values, however their numbers are spelled; an unset field shows its default.
    fn same(&self, before: &Map<String, Value>, after: &Map<String, Value>) -> bool {
        let same = |field: &Field| json::same_value(field.shown(before), field.shown(after));
        self.entity_type.fields().iter().all(same)
    }

    /// The object as today's schema shows it.
    fn current(&self, id: &EntityId, entity: &Entity) -> Result<Current, Problem> {
        let object = if *entity.data_schema == *self.entity_type.data_schema() {
            entity.object.clone()
        } else {
            self.entity_type.render_again(id, &entity.object).map_err(|error| damaged(&error))?.into()
        };
        Ok(Current { object, view_time: entity.time })
    }

    fn missing(&self, id: &EntityId) -> Problem {
        let name = self.entity_type.name();
        Problem::new(Slug::NotFound, format!("there is no {name} with the id {id}"))
    }

    fn gone(&self, id: &EntityId, tombstone: &Tombstone) -> Problem {
        let (name, version) = (self.entity_type.name(), tombstone.version);
        let detail =
            format!("the {name} {id} was deleted, as version {version}; PUT with If-None-Match: * creates it anew");
        Problem::new(Slug::Gone, detail)
    }

    fn exists(&self, id: &EntityId, entity: &Entity) -> Problem {
        let name = self.entity_type.name();
        let detail = format!(
            "the {name} {id} exists already, as version {}; to change it, send an update (PUT without If-None-Match)",
            entity.version
        );
        Problem::new(Slug::PreconditionFailed, detail)
    }

    fn settle(&self, written: Result<Written, Problem>) -> Decision {
        match written {
            Ok(Written::Changed(next)) => {
                let version = Some(next.version());
                Decision {
                    outcome: Some(self.outcome(OutcomeStatus::Succeeded, version, None)),
                    keyed: self.keyed(version, || match &next {
                        Revision::Live(entity) => {
                            FirstAnswer::Object(Current { object: entity.object.clone(), view_time: entity.time })
                        }
                        Revision::Deleted(_) => FirstAnswer::Deleted,
                    }),
                    answer: Answer::View(next.view(self.command.key.clone())),
                    next: Some(next),
                }
            }
            Ok(Written::Unchanged(current)) => Decision {
                outcome: Some(self.outcome(OutcomeStatus::Succeeded, self.version(), None)),
                keyed: self.keyed(self.version(), || FirstAnswer::Object(current.clone())),
                ..self.reply(ReplyBody::Unchanged(current))
            },
            Err(problem) => {
                let problem = problem.retry(Retry::No);
                Decision {
                    outcome: Some(self.outcome(OutcomeStatus::Failed, self.version(), Some(problem.clone()))),
                    keyed: self.keyed(self.version(), || FirstAnswer::Rejected(problem.clone())),
                    ..self.reply(ReplyBody::Rejected(problem))
                }
            }
        }
    }

    /// The answer to a write whose idempotency key came before.
    fn again(&self, is_same: bool, first: &Repeat) -> Decision {
        if !is_same {
            let detail =
                "idempotency key with another fingerprint: it came before with another request; take a new key";
            let problem = Problem::new(Slug::IdempotencyKeyReused, detail).retry(Retry::No);
            return Decision {
                outcome: Some(self.outcome(OutcomeStatus::Failed, self.version(), Some(problem.clone()))),
                ..self.reply(ReplyBody::Rejected(problem))
            };
        }
        let (status, problem) = match &first.answer {
            FirstAnswer::Rejected(problem) => (OutcomeStatus::Failed, Some(problem.clone())),
            FirstAnswer::Object(_) | FirstAnswer::Deleted => (OutcomeStatus::Succeeded, None),
        };
        // The command's own outcome, so that it stays known for as long as any, whatever becomes of the key.
        let entity = (first.key != self.command.key).then(|| first.key.clone());
        let outcome = Outcome { entity, ..self.outcome(status, first.version, problem) };
        Decision { outcome: Some(outcome), ..self.reply(ReplyBody::Repeated(first.clone())) }
    }

    fn keyed(&self, version: Option<u64>, answer: impl FnOnce() -> FirstAnswer) -> Option<Keyed> {
        let idempotency = self.command.idempotency?;
        let action = match self.command.action {
            Action::Create(_) => WriteAction::Create,
            Action::Delete => WriteAction::Delete,
            _ => WriteAction::Update,
        };
        let (command, key) = (self.command.id, self.command.key.clone());
        Some(Keyed { idempotency, first: Repeat { command, key, action, version, answer: answer() } })
    }

    fn version(&self) -> Option<u64> {
        self.state.map(Revision::version)
    }

    fn outcome(&self, status: OutcomeStatus, version: Option<u64>, problem: Option<Problem>) -> Outcome {
        Outcome { command: self.command.id, status, version, entity: None, problem, created: Some(self.command.time) }
    }

    fn reply(&self, body: ReplyBody) -> Decision {
        let reply = Reply {
            correlation: self.command.id,
            key: self.command.key.clone(),
            version: self.version(),
            time: self.now,
            body,
        };
        Decision { next: None, answer: Answer::Reply(reply), outcome: None, keyed: None }
    }
}

fn unknown(operation: contract::CommandId) -> Outcome {
    Outcome {
        command: operation,
        status: OutcomeStatus::Unknown,
        version: None,
        entity: None,
        problem: None,
        created: None,
    }
}

fn damaged(error: &serde_json::Error) -> Problem {
    Problem::new(Slug::CommandFailed, format!("the stored object cannot be read: {error}"))
}
