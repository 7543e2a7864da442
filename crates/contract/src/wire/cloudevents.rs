//! The native format: CloudEvents 1.0 in binary mode, JSON data in the value.
//!
//! | topic | key | type |
//! |---|---|---|
//! | commands | `type:id`, for a list `type:` | `dos.<type>.create`, `.update`, `.retrieve`, `.list` |
//! | views | `type:id` | `dos.<type>.view` |
//! | replies | command id | `dos.<type>.rejected`, `.unchanged`, `.retrieved`, `.listed`, `.outcome` |
//! | quarantine | `topic:partition:offset` | the event as it came, with the reason in the header `dos_reason` |
//!
//! Beyond the contract's attributes: `storerun` (on what a store publishes from its outbox: the uninterrupted run of appends that
//! it belongs to, as `<partition>/<uuid>`), `operation` (on `.retrieve`: the command whose outcome is asked for) and `viewtime` (on
//! `.unchanged` and `.retrieved`: when the version came to be, as `time` is when the reply was made).

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::DecodeError;
use super::headers::{Attributes, key_of, unreadable};
use crate::command::{Action, Command, LIST_LIMIT_MAX, Precondition};
use crate::entity::Registry;
use crate::id::{CommandId, EntityId, Key};
use crate::json;
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
const IF_NONE_MATCH_ANY: &str = "if-none-match: *";
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
        Action::Retrieve { .. } => (Bytes::new(), None),
    };
    let operation = match &command.action {
        Action::Retrieve { operation } => operation.map(|id| id.to_string()),
        _ => None,
    };
    let id = command.id.to_string();
    let headers = Attributes {
        specversion: Some(SPEC_VERSION),
        id: Some(&id),
        source: Some(&command.source),
        r#type: Some(&event_type(&command.key, command.action.name())),
        subject: command.key.id.as_ref().map(EntityId::as_str),
        time: Some(&command.time.to_string()),
        dataschema,
        correlationid: Some(&id),
        precondition: command.precondition.map(|Precondition::Absent| IF_NONE_MATCH_ANY),
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
    if registry.get(entity_type).is_none() {
        return Err(format!("there is no entity type {entity_type:?} here"));
    }
    if key.entity_type.as_str() != entity_type || key.id.is_some() == (name == "list") {
        return Err(format!("its key {key} does not go with its type dos.{entity_type}.{name}"));
    }
    let action = read_action(name, &attributes, &record.value)?;
    let precondition = match attributes.precondition {
        None => None,
        Some(IF_NONE_MATCH_ANY) => Some(Precondition::Absent),
        Some(other) => return Err(format!("its precondition {other:?} is not known")),
    };
    Ok(Command {
        id: attributes.require_correlation()?,
        key,
        action,
        precondition,
        time: attributes.require_time()?,
        source: attributes.source.unwrap_or_default().to_owned(),
        request_id: attributes.requestid.map(str::to_owned),
        traceparent: attributes.traceparent.map(str::to_owned),
    })
}

fn read_action(name: &str, attributes: &Attributes<'_>, value: &Bytes) -> Result<Action, String> {
    let fields = || {
        attributes.require_json()?;
        json::parse_object(value).map_err(|error| format!("its data: {error}"))
    };
    match name {
        "create" => fields().map(Action::Create),
        "update" => fields().map(Action::Update),
        "retrieve" => {
            let operation = attributes.operation.map(|id| CommandId::parse(id).ok_or("its operation is no UUID"));
            Ok(Action::Retrieve { operation: operation.transpose()? })
        }
        "list" => {
            let query: crate::ListQuery = from_json(fields()?)?;
            match query.limit {
                1..=LIST_LIMIT_MAX => Ok(Action::List(query)),
                limit => Err(format!("its limit {limit} is not between 1 and {LIST_LIMIT_MAX}")),
            }
        }
        other => Err(format!("there is no command {other:?}")),
    }
}

/// Writes a view; `source` names the store.
pub fn encode_view(view: &View, source: &str) -> Record {
    let key = view.key.to_string();
    let headers = Attributes {
        specversion: Some(SPEC_VERSION),
        // A view is the same event however often it is written.
        id: Some(&format!("{key}:{}", view.version)),
        source: Some(source),
        r#type: Some(&event_type(&view.key, "view")),
        subject: view.key.id.as_ref().map(EntityId::as_str),
        time: Some(&view.time.to_string()),
        dataschema: Some(&view.data_schema),
        correlationid: Some(&view.correlation.to_string()),
        version: Some(&view.version.to_string()),
        content_type: Some(JSON),
        ..Attributes::default()
    }
    .write();
    Record { key: key.into(), headers, value: view.object.clone() }
}

/// Reads a view. That its object is JSON is not checked here.
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
    if key_type != entity_type || name != "view" {
        return Err(format!("dos.{entity_type}.{name} is no view of {key_type}:{id}"));
    }
    attributes.require_json()?;
    Ok(ViewRef {
        entity_type: key_type,
        id,
        version: attributes.version()?.ok_or("it has no version")?,
        time: attributes.require_time()?,
        correlation: attributes.require_correlation()?,
        object: &record.value,
        data_schema: attributes.dataschema.unwrap_or_default(),
    })
}

/// Writes a reply; `source` names the store.
pub fn encode_reply(reply: &Reply, source: &str) -> Record {
    let value = match &reply.body {
        ReplyBody::Rejected(problem) => to_json(problem),
        ReplyBody::Unchanged(current) | ReplyBody::Retrieved(current) => current.object.clone(),
        ReplyBody::Listed(page) => to_json(page),
        ReplyBody::Outcome(outcome) => to_json(outcome),
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

fn event_type(key: &Key, name: &str) -> String {
    format!("dos.{}.{name}", key.entity_type)
}

fn to_json(value: &impl Serialize) -> Bytes {
    // Our own types with string keys always serialise; were one not to, the reader says so.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("its data: {error}"))
}

fn from_json<T: DeserializeOwned>(map: serde_json::Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(map)).map_err(|error| format!("its data: {error}"))
}
