//! Examples of messages, written by the encoder of the events itself.

use contract::precondition::{Tag, Tags};
use contract::reply::{Current, FirstAnswer, Page, WriteAction};
use contract::wire::cloudevents::{encode_command, encode_quarantined, encode_reply, encode_view};
use contract::{
    Action, Command, CommandId, Digest, EntityId, EntityType, Headers, Idempotency, Key, ListPosition, ListQuery,
    OperationId, Outcome, OutcomeStatus, Precondition, Problem, Record, Registry, Repeat, Reply, ReplyBody, Retry,
    Slug, Stored, Timestamp, Topic, View,
};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::super::openapi::{Names, example};
use super::message::Kind;

/// A command that came before the one that examples are about.
const EARLIER: &str = "019ab3c5-7c00-7b31-8f02-5b6c7d8e9fa0";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const GATEWAY: &str = "/gateway/1";
const STORE: &str = "/store/1";

/// Names and records of a kind's messages; none where there is none to show.
pub(super) fn of(kind: &Kind, entity_type: &EntityType, names: &Names, registry: &Registry) -> Vec<Value> {
    let Some(sample) = Sample::of(entity_type, names) else { return Vec::new() };
    let records = match kind.topic {
        Topic::Commands => sample.commands(kind.name, registry),
        Topic::Views => sample.view(kind.name == "view").into_iter().collect(),
        _ => sample.replies(kind.name),
    };
    records.iter().map(|(name, record)| shown(name, record)).collect()
}

/// An event in quarantine.
pub(super) fn quarantined(registry: &Registry) -> Vec<Value> {
    let first = registry.iter().next().and_then(|entity_type| Sample::of(entity_type, &Names::of(entity_type)));
    let Some((_, came)) = first.and_then(|sample| sample.commands("create", registry).pop()) else { return Vec::new() };
    // Of a type that is not known here.
    let headers = came.headers.iter().map(|(name, value)| {
        let is_type = name == b"ce_type";
        (std::str::from_utf8(name).unwrap_or_default(), if is_type { &b"dos.rocket.create"[..] } else { value })
    });
    let key = format!("rocket:{}", example::ID);
    let record = Record { key: key.into(), headers: Headers::from_pairs(headers), value: came.value.clone() };
    let stored = Stored { partition: 3, offset: 70, record };
    let reason = "there is no entity type \"rocket\" here";
    vec![shown("unknownType", &encode_quarantined(Topic::Commands, &stored, reason, usize::MAX))]
}

/// What the examples of one type are made of.
struct Sample<'a> {
    entity_type: &'a EntityType,
    key: Key,
    command: CommandId,
    earlier: CommandId,
    created: Timestamp,
    time: Timestamp,
    object: Vec<u8>,
}

impl<'a> Sample<'a> {
    fn of(entity_type: &'a EntityType, names: &Names) -> Option<Self> {
        Some(Self {
            entity_type,
            key: Key::parse(&format!("{}:{}", names.path, example::ID))?,
            command: OperationId::parse(example::OPERATION)?.command,
            earlier: CommandId::parse(EARLIER)?,
            created: Timestamp::parse(example::CREATED)?,
            time: Timestamp::parse(example::UPDATED)?,
            object: example::full(entity_type).to_string().into_bytes(),
        })
    }

    fn commands(&self, name: &str, registry: &Registry) -> Vec<(&'static str, Record)> {
        let retrieve = |operation| Action::Retrieve { operation };
        let actions = match name {
            "create" => vec![("create", Action::Create(example::create(self.entity_type)))],
            "update" => vec![("update", Action::Update(example::update(self.entity_type)))],
            "delete" => vec![("delete", Action::Delete)],
            "retrieve" => vec![("retrieve", retrieve(None)), ("outcome", retrieve(Some(self.earlier)))],
            _ => {
                let after = ListPosition::at(self.created, self.id());
                let first = ListQuery { limit: 50, ..ListQuery::default() };
                let next = ListQuery { after: Some(after), ..first.clone() };
                vec![("firstPage", Action::List(first)), ("nextPage", Action::List(next))]
            }
        };
        actions.into_iter().map(|(name, action)| (name, encode_command(&self.command(action), registry))).collect()
    }

    fn command(&self, action: Action) -> Command {
        let (mut precondition, mut idempotency, mut key) = (None, None, self.key.clone());
        match &action {
            Action::Create(_) => precondition = Some(Precondition::absent()),
            Action::Update(_) => {
                let tag = Tag { weak: false, opaque: example::ETAG.trim_matches('"').to_owned() };
                precondition =
                    Some(Precondition { if_match: Some(Tags::Listed(vec![tag])), ..Precondition::default() });
                idempotency = Some(Idempotency { key: Digest([7; 32]), fingerprint: Digest([8; 32]) });
            }
            Action::List(_) => key = Key::list(key.entity_type),
            Action::Delete | Action::Retrieve { .. } => {}
        }
        Command {
            id: self.command,
            key,
            action,
            precondition,
            idempotency,
            time: self.time,
            source: GATEWAY.to_owned(),
            request_id: Some(example::REQUEST_ID.to_owned()),
            traceparent: Some(TRACE.to_owned()),
        }
    }

    fn view(&self, lives: bool) -> Option<(&'static str, Record)> {
        let view = View {
            key: self.key.clone(),
            version: if lives { 1 } else { 2 },
            time: if lives { self.created } else { self.time },
            correlation: self.command,
            object: lives.then(|| self.object.clone().into()),
            data_schema: self.entity_type.data_schema().to_owned(),
        };
        Some((if lives { "view" } else { "deleted" }, encode_view(&view, STORE)))
    }

    fn replies(&self, name: &str) -> Vec<(&'static str, Record)> {
        let current = || Current { object: self.object.clone().into(), view_time: self.created };
        let repeated = |answer| {
            ReplyBody::Repeated(Repeat {
                command: self.earlier,
                key: self.key.clone(),
                action: WriteAction::Create,
                version: Some(1),
                answer,
            })
        };
        let bodies = match name {
            "rejected" => vec![("rejected", ReplyBody::Rejected(refusal(&self.key)))],
            "unchanged" => vec![("unchanged", ReplyBody::Unchanged(current()))],
            "retrieved" => vec![("retrieved", ReplyBody::Retrieved(current()))],
            "listed" => vec![("listed", ReplyBody::Listed(self.page()))],
            "outcome" => vec![
                ("succeeded", ReplyBody::Outcome(self.outcome(OutcomeStatus::Succeeded))),
                ("failed", ReplyBody::Outcome(self.outcome(OutcomeStatus::Failed))),
                ("unknown", ReplyBody::Outcome(self.outcome(OutcomeStatus::Unknown))),
            ],
            _ => vec![
                ("object", repeated(FirstAnswer::Object(current()))),
                ("refusal", repeated(FirstAnswer::Rejected(refusal(&self.key)))),
            ],
        };
        bodies.into_iter().map(|(name, body)| (name, encode_reply(&self.reply(body), STORE))).collect()
    }

    fn reply(&self, body: ReplyBody) -> Reply {
        let is_list = matches!(body, ReplyBody::Listed(_));
        let key = if is_list { Key::list(self.key.entity_type.clone()) } else { self.key.clone() };
        Reply { correlation: self.command, key, version: (!is_list).then_some(1), time: self.time, body }
    }

    fn page(&self) -> Page {
        let items: Vec<Box<RawValue>> = to_raw_value(&example::full(self.entity_type)).into_iter().collect();
        Page { items, total: 61, next: Some(ListPosition::at(self.created, self.id())) }
    }

    fn outcome(&self, status: OutcomeStatus) -> Outcome {
        let is_known = status != OutcomeStatus::Unknown;
        Outcome {
            command: self.earlier,
            status,
            version: is_known.then_some(1),
            entity: None,
            problem: (status == OutcomeStatus::Failed).then(|| refusal(&self.key)),
            created: is_known.then_some(self.created),
        }
    }

    fn id(&self) -> EntityId {
        self.key.id.clone().unwrap_or_else(|| EntityId::from_uuid(self.command.0))
    }
}

fn refusal(key: &Key) -> Problem {
    let detail = format!("{key} exists already, as version 1");
    Problem::new(Slug::PreconditionFailed, detail).retry(Retry::No)
}

/// A record as the example of a message.
fn shown(name: &str, record: &Record) -> Value {
    let text = |bytes: &[u8]| Value::String(String::from_utf8_lossy(bytes).into_owned());
    let headers: Map<_, _> =
        record.headers.iter().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), text(value))).collect();
    let mut example = json!({"name": name, "headers": headers});
    if !record.value.is_empty() {
        example["payload"] = serde_json::from_slice(&record.value).unwrap_or_else(|_| text(&record.value));
    }
    example
}
