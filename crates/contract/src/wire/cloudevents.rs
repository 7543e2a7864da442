//! The native format: CloudEvents 1.0 in binary mode, JSON data in the value.
//!
//! | topic | key | type |
//! |---|---|---|
//! | commands | `type:id`, for a list `type:` | `dos.<type>.create`, `.update`, `.delete`, `.retrieve`, `.list` |
//! | views | `type:id` | `dos.<type>.view`, `.deleted` |
//! | replies | command id | `dos.<type>.rejected`, `.unchanged`, `.retrieved`, `.listed`, `.outcome`, `.repeated` |
//! | quarantine | `topic:partition:offset` | the event as it came, with the reason in the header `dos_reason` |
//!
//! Beyond the contract's attributes: `storerun` (on what a store publishes from its outbox: the uninterrupted run of appends that
//! it belongs to, as `<partition>/<uuid>`), `operation` (on `.retrieve`: the command whose outcome is asked for) and `viewtime` (on
//! `.unchanged` and `.retrieved`: when the version came to be, as `time` is when the reply was made).

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DecodeError;
use super::headers::{Attributes, key_of, unreadable};
use crate::command::{Action, Command};
use crate::entity::{EntityType, Registry};
use crate::id::{CommandId, EntityId, Key};
use crate::idempotency::{Digest, Idempotency};
use crate::json;
use crate::list::ListQuery;
use crate::precondition::Precondition;
use crate::record::{Headers, Record, Stored, Topic};
use crate::reply::{Current, Reply, ReplyBody};
use crate::time::Timestamp;
use crate::view::{View, ViewRef};

const SPEC_VERSION: &str = "1.0";
/// Headers before those of an event in quarantine: why it is there, its own key, and what of it was too large to be kept.
const REASON: &str = "dos_reason";
const KEY: &str = "dos_key";
const CUT: &str = "dos_cut";
const JSON: &str = "application/json";
const STORE_RUN: &str = "ce_storerun";

/// The most bytes that [`with_run`] adds to a record.
pub const RUN_BYTES_MAX: usize = 96;

/// The record as a part of a store's run of appends.
pub fn with_run(record: &Record, run: &str) -> Record {
    Record { headers: record.headers.with(STORE_RUN, run.as_bytes()), ..record.clone() }
}

/// The run of appends that a record was a part of; none where no store's outbox published it.
pub fn run_of(record: &Record) -> Option<&str> {
    record.headers.get(STORE_RUN).and_then(|run| std::str::from_utf8(run).ok())
}

/// Key and version of whatever lies on the topic of views; no version where it has none that can be read.
pub fn version_of(record: &Record) -> Option<(Key, Option<u64>)> {
    let key = key_of(record).filter(|key| key.id.is_some())?;
    let version = Attributes::read(record).ok().and_then(|attributes| attributes.version().ok().flatten());
    Some((key, version))
}

/// Writes a command.
pub fn encode_command(command: &Command, registry: &Registry) -> Record {
    let entity_type = registry.get(command.key.entity_type.as_str());
    let (value, dataschema) = match &command.action {
        Action::Create(data) | Action::Update(data) => (to_json(data), entity_type.map(|t| t.data_schema())),
        Action::List(query) => (to_json(query), None),
        Action::Delete | Action::Retrieve { .. } => (Bytes::new(), None),
    };
    let operation = match &command.action {
        Action::Retrieve { operation } => operation.map(|id| id.to_string()),
        _ => None,
    };
    let id = command.id.to_string();
    let precondition = command.precondition.as_ref().map(ToString::to_string);
    let digests = command.idempotency.map(|sent| (sent.key.to_string(), sent.fingerprint.to_string()));
    let headers = Attributes {
        specversion: Some(SPEC_VERSION),
        id: Some(&id),
        source: Some(&command.source),
        r#type: Some(&event_type(&command.key, command.action.name())),
        subject: command.key.id.as_ref().map(EntityId::as_str),
        time: Some(&command.time.to_string()),
        dataschema,
        correlationid: Some(&id),
        precondition: precondition.as_deref(),
        idempotencykey: digests.as_ref().map(|(key, _)| &**key),
        fingerprint: digests.as_ref().map(|(_, fingerprint)| &**fingerprint),
        operation: operation.as_deref(),
        requestid: command.request_id.as_deref(),
        traceparent: command.traceparent.as_deref(),
        content_type: (!value.is_empty()).then_some(JSON),
        ..Attributes::default()
    }
    .write();
    Record { key: command.key.to_string().into(), headers, value }
}

/// Reads a command of a known type. Its fields are not yet checked against the schema.
pub fn decode_command(record: &Record, registry: &Registry) -> Result<Command, DecodeError> {
    read_command(record, registry).map_err(|reason| unreadable(record, None, reason))
}

fn read_command(record: &Record, registry: &Registry) -> Result<Command, String> {
    let attributes = Attributes::read(record)?;
    let (entity_type, name) = attributes.kind()?;
    let key = key_of(record).ok_or("its key is not of the form type:id")?;
    let Some(known) = registry.get(entity_type) else {
        return Err(format!("there is no entity type {entity_type:?} here"));
    };
    if key.entity_type.as_str() != entity_type || key.id.is_some() == (name == "list") {
        return Err(format!("its key {key} does not go with its type dos.{entity_type}.{name}"));
    }
    let action = read_action(name, &attributes, &record.value, known)?;
    let precondition = attributes.precondition.map(Precondition::parse).transpose();
    let precondition = precondition.map_err(|reason| format!("its precondition {reason}"))?;
    let idempotency = read_idempotency(&attributes)?;
    if idempotency.is_some() && !action.is_write() {
        return Err(format!("an idempotencykey does not go with its type dos.{entity_type}.{name}"));
    }
    Ok(Command {
        id: attributes.require_correlation()?,
        key,
        action,
        precondition,
        idempotency,
        time: attributes.require_time()?,
        source: attributes.source.unwrap_or_default().to_owned(),
        request_id: attributes.requestid.map(str::to_owned),
        traceparent: attributes.traceparent.map(str::to_owned),
    })
}

fn read_idempotency(attributes: &Attributes<'_>) -> Result<Option<Idempotency>, String> {
    let digest = |text: &str| Digest::parse(text).ok_or("its idempotencykey or fingerprint is no digest");
    match (attributes.idempotencykey, attributes.fingerprint) {
        (None, None) => Ok(None),
        (Some(key), Some(fingerprint)) => {
            Ok(Some(Idempotency { key: digest(key)?, fingerprint: digest(fingerprint)? }))
        }
        _ => Err("it has one of idempotencykey and fingerprint without the other".to_owned()),
    }
}

fn read_action(
    name: &str,
    attributes: &Attributes<'_>,
    value: &Bytes,
    entity_type: &EntityType,
) -> Result<Action, String> {
    let fields = || {
        attributes.require_json()?;
        json::parse_object(value).map_err(|error| format!("its data: {error}"))
    };
    match name {
        "create" => fields().map(Action::Create),
        "update" => fields().map(Action::Update),
        "delete" => Ok(Action::Delete),
        "retrieve" => {
            let operation = attributes.operation.map(|id| CommandId::parse(id).ok_or("its operation is no UUID"));
            Ok(Action::Retrieve { operation: operation.transpose()? })
        }
        "list" => {
            let query: ListQuery = from_json(fields()?)?;
            match query.faults(entity_type).first() {
                None => Ok(Action::List(query)),
                Some(fault) => Err(format!("its data: {:?} {}", fault.place, fault.detail)),
            }
        }
        other => Err(format!("there is no command {other:?}")),
    }
}

/// Writes a view, or that the entity was deleted; `source` names the store.
pub fn encode_view(view: &View, source: &str) -> Record {
    let key = view.key.to_string();
    let (name, value, data_schema) = match &view.object {
        Some(object) => ("view", object.clone(), Some(&*view.data_schema)),
        None => {
            let id = view.key.id.as_ref().map_or("", EntityId::as_str);
            ("deleted", to_json(&DeletedText { id }), None)
        }
    };
    let headers = Attributes {
        specversion: Some(SPEC_VERSION),
        // A view is the same event however often it is written.
        id: Some(&format!("{key}:{}", view.version)),
        source: Some(source),
        r#type: Some(&event_type(&view.key, name)),
        subject: view.key.id.as_ref().map(EntityId::as_str),
        time: Some(&view.time.to_string()),
        dataschema: data_schema,
        correlationid: Some(&view.correlation.to_string()),
        version: Some(&view.version.to_string()),
        content_type: Some(JSON),
        ..Attributes::default()
    }
    .write();
    Record { key: key.into(), headers, value }
}

/// Reads a view, or that the entity was deleted. That its object is JSON is not checked here.
pub fn decode_view(record: &Record) -> Result<View, DecodeError> {
    let view = decode_view_ref(record)?;
    view.to_view().ok_or_else(|| unreadable(record, None, NO_ENTITY_KEY.to_owned()))
}

/// Reads a view as [`decode_view`] does, without a copy of it.
pub fn decode_view_ref(record: &Record) -> Result<ViewRef<'_>, DecodeError> {
    read_view(record).map_err(|reason| unreadable(record, None, reason))
}

const NO_ENTITY_KEY: &str = "its key is not of the form type:id";

fn read_view(record: &Record) -> Result<ViewRef<'_>, String> {
    let attributes = Attributes::read(record)?;
    let (entity_type, name) = attributes.kind()?;
    let key = std::str::from_utf8(&record.key).ok().and_then(|key| key.split_once(':'));
    let (key_type, id) = key.filter(|(_, id)| EntityId::is_valid(id)).ok_or(NO_ENTITY_KEY)?;
    if key_type != entity_type || !["view", "deleted"].contains(&name) {
        return Err(format!("dos.{entity_type}.{name} is no view of {key_type}:{id}"));
    }
    attributes.require_json()?;
    let is_live = name == "view";
    if !is_live && from_slice::<DeletedText<'_>>(&record.value)?.id != id {
        return Err("its data names another entity than its key".to_owned());
    }
    Ok(ViewRef {
        entity_type: key_type,
        id,
        version: attributes.version()?.ok_or("it has no version")?,
        time: attributes.require_time()?,
        correlation: attributes.require_correlation()?,
        object: is_live.then_some(&record.value),
        data_schema: attributes.dataschema.filter(|_| is_live).unwrap_or_default(),
    })
}

/// Writes a reply; `source` names the store.
pub fn encode_reply(reply: &Reply, source: &str) -> Record {
    let value = match &reply.body {
        ReplyBody::Rejected(problem) => to_json(problem),
        ReplyBody::Unchanged(current) | ReplyBody::Retrieved(current) => current.object.clone(),
        ReplyBody::Listed(page) => to_json(page),
        ReplyBody::Outcome(outcome) => to_json(outcome),
        ReplyBody::Repeated(repeat) => to_json(repeat),
    };
    let view_time = match &reply.body {
        ReplyBody::Unchanged(current) | ReplyBody::Retrieved(current) => Some(current.view_time.to_string()),
        _ => None,
    };
    let correlation = reply.correlation.to_string();
    let name = reply.body.name();
    let headers = Attributes {
        specversion: Some(SPEC_VERSION),
        // A repeated event keeps its id: one command has one answer of each kind.
        id: Some(&format!("{correlation}:{name}")),
        source: Some(source),
        r#type: Some(&event_type(&reply.key, name)),
        subject: Some(&reply.key.to_string()),
        time: Some(&reply.time.to_string()),
        correlationid: Some(&correlation),
        version: reply.version.map(|version| version.to_string()).as_deref(),
        viewtime: view_time.as_deref(),
        content_type: Some(JSON),
        ..Attributes::default()
    }
    .write();
    Record { key: correlation.into(), headers, value }
}

/// Reads a reply.
pub fn decode_reply(record: &Record) -> Result<Reply, DecodeError> {
    read_reply(record).map_err(|reason| unreadable(record, None, reason))
}

fn read_reply(record: &Record) -> Result<Reply, String> {
    let attributes = Attributes::read(record)?;
    let (entity_type, name) = attributes.kind()?;
    let key = attributes.subject.and_then(Key::parse).ok_or("its subject is not of the form type:id")?;
    if key.entity_type.as_str() != entity_type {
        return Err(format!("its subject {key} does not go with its type dos.{entity_type}.{name}"));
    }
    attributes.require_json()?;
    let current = || {
        let view_time = attributes.viewtime.and_then(Timestamp::parse).ok_or("it has no viewtime in RFC 3339")?;
        Ok::<_, String>(Current { object: record.value.clone(), view_time })
    };
    let body = match name {
        "rejected" => ReplyBody::Rejected(from_slice(&record.value)?),
        "unchanged" => ReplyBody::Unchanged(current()?),
        "retrieved" => ReplyBody::Retrieved(current()?),
        "listed" => ReplyBody::Listed(from_slice(&record.value)?),
        "outcome" => ReplyBody::Outcome(from_slice(&record.value)?),
        "repeated" => ReplyBody::Repeated(from_slice(&record.value)?),
        other => return Err(format!("there is no reply {other:?}")),
    };
    let version = attributes.version()?;
    if version.is_none() && matches!(body, ReplyBody::Unchanged(_) | ReplyBody::Retrieved(_)) {
        return Err("it has no version".to_owned());
    }
    Ok(Reply { correlation: attributes.require_correlation()?, key, version, time: attributes.require_time()?, body })
}

/// The event as it came, with where it lay and why it could not be read.
///
/// What would make it larger than the stream takes is left out: first the data, then the headers it came with.
pub fn encode_quarantined(topic: Topic, stored: &Stored, reason: &str, size_bytes_max: usize) -> Record {
    let place = format!("{}:{}:{}", topic.name(), stored.partition, stored.offset);
    let own = [(REASON, reason.as_bytes()), (KEY, &stored.record.key[..])];
    let came = stored.record.headers.iter();
    let came = came.filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)));
    // Ours first, where `Headers::get` finds them: the event may have been in quarantine before.
    let headers = Headers::from_pairs(own.into_iter().chain(came));
    let whole = Record { key: place.into(), headers, value: stored.record.value.clone() };
    if whole.size_bytes() <= size_bytes_max {
        return whole;
    }
    let cut = own.into_iter().chain([(CUT, &b"data"[..])]);
    let came = stored.record.headers.iter();
    let came = came.filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)));
    let labelled = Record { value: Bytes::new(), headers: Headers::from_pairs(cut.chain(came)), ..whole };
    if labelled.size_bytes() <= size_bytes_max {
        return labelled;
    }
    Record { headers: Headers::from_pairs(own.into_iter().take(1)), ..labelled }
}

/// An event in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The topic that it came by.
    pub topic: Topic,
    /// `topic:partition:offset`, where it lay there.
    pub place: String,
    /// Why it was set aside.
    pub reason: String,
    /// The event as it came; none where it was too large to be kept whole.
    pub record: Option<Record>,
}

/// Reads what [`encode_quarantined`] wrote, and a store may have published; none where it is something else.
pub fn decode_quarantined(record: &Record) -> Option<Quarantined> {
    let place = std::str::from_utf8(&record.key).ok()?;
    let (rest, offset) = place.rsplit_once(':')?;
    let (name, partition) = rest.rsplit_once(':')?;
    let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name)?;
    partition.parse::<u32>().ok()?;
    offset.parse::<u64>().ok()?;
    let mut headers = record.headers.iter().peekable();
    let (_, reason) = headers.next().filter(|(name, _)| *name == REASON.as_bytes())?;
    let reason = String::from_utf8_lossy(reason).into_owned();
    let key = headers.next_if(|(name, _)| *name == KEY.as_bytes()).map(|(_, key)| key);
    let is_whole = headers.next_if(|(name, _)| *name == CUT.as_bytes()).is_none();
    let came = headers.filter(|(name, _)| *name != STORE_RUN.as_bytes());
    let came = came.filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)));
    let record = key.filter(|_| is_whole).map(|key| Record {
        key: Bytes::copy_from_slice(key),
        headers: Headers::from_pairs(came),
        value: record.value.clone(),
    });
    Some(Quarantined { topic, place: place.to_owned(), reason, record })
}

/// The data of `dos.<type>.deleted`.
#[derive(Serialize, Deserialize)]
struct DeletedText<'a> {
    id: &'a str,
}

fn event_type(key: &Key, name: &str) -> String {
    format!("dos.{}.{name}", key.entity_type)
}

fn to_json(value: &impl Serialize) -> Bytes {
    // Our own types with string keys always serialise; were one not to, the reader says so.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("its data: {error}"))
}

fn from_json<T: DeserializeOwned>(map: serde_json::Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(map)).map_err(|error| format!("its data: {error}"))
}
