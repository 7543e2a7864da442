//! What a command does to an entity, as a function of the entity's state, what is remembered of the command, and the
//! time. No I/O, no clock: whoever asks twice with the same arguments gets the same decision.
//!
//! - A write whose outcome is remembered is not carried out again; its outcome is the answer.
//! - Who asks for an operation and hears that it is unknown has heard the last word: this is remembered, so that its command,
//!   should the stream store it only now, is not carried out any more.
//! - Versions of an entity are 1, 2, 3 .. without a gap. A write that changes nothing makes none.
//! - `updated` and the time of the version's view grow with every version, also where the clock does not, unless the
//!   command keeps an `updated` of its own. `created` never changes, unless the command keeps it.

use std::sync::Arc;

use bytes::Bytes;
use contract::entity::{Field, IdRule, Rules, Timestamps};
use contract::reply::Current;
use contract::{
    Action, Command, CommandId, Draft, EntityId, EntityType, Key, Outcome, OutcomeStatus, Precondition, Problem, Reply,
    ReplyBody, Retry, Slug, Timestamp, View, json,
};
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// What the data store knows of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It never existed.
    Absent,
    /// It exists.
    Live(Entity),
}

impl State {
    /// The entity's version; none where it never existed.
    pub fn version(&self) -> Option<u64> {
        match self {
            Self::Absent => None,
            Self::Live(entity) => Some(entity.version),
        }
    }
}

/// One version of an entity, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// 1, 2, 3 .. for ever.
    pub version: u64,
    /// The full object as JSON.
    pub object: Bytes,
    /// Names the schema that wrote the object, as [`EntityType::data_schema`].
    pub data_schema: Arc<str>,
    /// The object's `created`.
    pub created: Timestamp,
    /// The object's `updated`.
    pub updated: Timestamp,
    /// When this version came to be: the time of its view.
    pub time: Timestamp,
    /// The command that made this version.
    pub command: CommandId,
}

impl Entity {
    /// The view of this version: the same event however often it is made.
    pub fn view(&self, key: Key) -> View {
        View {
            key,
            version: self.version,
            time: self.time,
            correlation: self.command,
            object: self.object.clone(),
            data_schema: self.data_schema.as_ref().to_owned(),
        }
    }
}

/// What is to be done about a command.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The entity's new version; none where nothing changes.
    pub next: Option<Entity>,
    /// What goes back through the stream.
    pub answer: Answer,
    /// What is to be remembered of a write, or of an operation that was asked for in vain; none where it is remembered
    /// already.
    pub outcome: Option<Outcome>,
}

/// What goes back through the stream.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A new version, for everybody.
    View(View),
    /// An answer to the one who asked.
    Reply(Reply),
}

/// Decides one command on the entity that its key names.
///
/// `remembered` is the outcome of this very command or, for a retrieve with an operation, of that operation. Lists are
/// answered from the database: one that comes here is refused.
pub fn decide(
    entity_type: &EntityType,
    state: &State,
    remembered: Option<&Outcome>,
    command: &Command,
    now: Timestamp,
) -> Decision {
    let case = Case { entity_type, state, command, now };
    match (&command.action, &command.key.id) {
        (Action::Create(_) | Action::Update(_), Some(_)) if let Some(outcome) = remembered => {
            case.reply(ReplyBody::Outcome(outcome.clone()))
        }
        (Action::Create(data), Some(id)) => case.settle(case.create(id, data)),
        (Action::Update(data), Some(id)) => case.settle(case.update(id, data)),
        (Action::Retrieve { operation: Some(operation) }, Some(_)) => {
            let outcome = remembered.cloned().unwrap_or_else(|| unknown(*operation));
            let heard = remembered.is_none().then(|| outcome.clone());
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
    Changed(Entity),
    Unchanged(Current),
}

/// The arguments of one decision.
struct Case<'a> {
    entity_type: &'a EntityType,
    state: &'a State,
    command: &'a Command,
    now: Timestamp,
}

impl Case<'_> {
    fn create(&self, id: &EntityId, data: &Map<String, Value>) -> Result<Written, Problem> {
        if let State::Live(entity) = self.state {
            return Err(self.exists(id, entity));
        }
        let draft = self.accept(id, data, true)?;
        let created = draft.created.unwrap_or(self.now);
        let updated = draft.updated.unwrap_or(self.now);
        self.written(id, &draft.fields, 1, (created, updated), self.now)
    }

    fn update(&self, id: &EntityId, data: &Map<String, Value>) -> Result<Written, Problem> {
        let State::Live(entity) = self.state else { return Err(self.missing(id)) };
        if self.command.precondition == Some(Precondition::Absent) {
            return Err(self.exists(id, entity));
        }
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

    fn retrieve(&self, id: &EntityId) -> Decision {
        let State::Live(entity) = self.state else { return self.reply(ReplyBody::Rejected(self.missing(id))) };
        match self.current(id, entity) {
            Ok(current) => self.reply(ReplyBody::Retrieved(current)),
            Err(problem) => self.reply(ReplyBody::Rejected(problem)),
        }
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
        Ok(Written::Changed(Entity { version, object, data_schema, created, updated, time, command }))
    }

    /// Whether both show the same values, however their numbers are spelled; an unset field shows its default.
    fn same(&self, before: &Map<String, Value>, after: &Map<String, Value>) -> bool {
        let same = |field: &Field| json::same_value(shown(field, before), shown(field, after));
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
            Ok(Written::Changed(entity)) => {
                let view = entity.view(self.command.key.clone());
                let outcome = self.outcome(OutcomeStatus::Succeeded, Some(entity.version), None);
                Decision { next: Some(entity), answer: Answer::View(view), outcome: Some(outcome) }
            }
            Ok(Written::Unchanged(current)) => Decision {
                outcome: Some(self.outcome(OutcomeStatus::Succeeded, self.state.version(), None)),
                ..self.reply(ReplyBody::Unchanged(current))
            },
            Err(problem) => {
                let problem = problem.retry(Retry::No);
                Decision {
                    outcome: Some(self.outcome(OutcomeStatus::Failed, self.state.version(), Some(problem.clone()))),
                    ..self.reply(ReplyBody::Rejected(problem))
                }
            }
        }
    }

    fn outcome(&self, status: OutcomeStatus, version: Option<u64>, problem: Option<Problem>) -> Outcome {
        Outcome { command: self.command.id, status, version, problem, created: Some(self.command.time) }
    }

    fn reply(&self, body: ReplyBody) -> Decision {
        let reply = Reply {
            correlation: self.command.id,
            key: self.command.key.clone(),
            version: self.state.version(),
            time: self.now,
            body,
        };
        Decision { next: None, answer: Answer::Reply(reply), outcome: None }
    }
}

fn shown<'a>(field: &'a Field, fields: &'a Map<String, Value>) -> &'a Value {
    fields.get(&field.name).filter(|value| !value.is_null()).unwrap_or(&field.default)
}

fn unknown(operation: contract::CommandId) -> Outcome {
    Outcome { command: operation, status: OutcomeStatus::Unknown, version: None, problem: None, created: None }
}

fn damaged(error: &serde_json::Error) -> Problem {
    Problem::new(Slug::CommandFailed, format!("the stored object cannot be read: {error}"))
}
