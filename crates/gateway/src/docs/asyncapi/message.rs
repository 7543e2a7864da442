//! Messages: what may lie on each topic.

use contract::{EntityType, Registry, Topic};
use serde_json::{Value, json};

use super::super::openapi::{Names, capital};
use super::{BINDING, example, header, reference, schema};

/// The key of the message that is about no entity type.
pub(super) const QUARANTINED: &str = "quarantined";

/// What one entity type's messages of one name have in common.
pub(super) struct Kind {
    /// The last part of `ce_type`.
    pub(super) name: &'static str,
    pub(super) topic: Topic,
    /// What it says; `{a}` and `{one}` are the type's name.
    summary: &'static str,
    /// Headers beside those of all events.
    pub(super) required: &'static [&'static str],
    pub(super) optional: &'static [&'static str],
}

const fn kind(
    topic: Topic,
    name: &'static str,
    summary: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> Kind {
    Kind { name, topic, summary, required, optional }
}

const DATA: &[&str] = &["ce_dataschema", "content-type"];
const WRITE: &[&str] = &["ce_precondition", "ce_idempotencykey", "ce_fingerprint", "ce_requestid", "ce_traceparent"];
const READ: &[&str] = &["ce_requestid", "ce_traceparent"];
const LOOK_UP: &[&str] = &["ce_operation", "ce_requestid", "ce_traceparent"];
const RUN: &[&str] = &["ce_storerun"];
/// Without a version where the entity never existed.
const ANSWER: &[&str] = &["ce_version", "ce_storerun"];
const CURRENT: &[&str] = &["ce_version", "ce_viewtime", "content-type"];
const JSON: &[&str] = &["content-type"];

pub(super) const KINDS: [Kind; 13] = [
    kind(Topic::Commands, "create", "Creates {a} from these fields.", DATA, WRITE),
    kind(Topic::Commands, "update", "Merges these fields into the {one} (RFC 7396); `null` clears.", DATA, WRITE),
    kind(Topic::Commands, "delete", "Deletes the {one}. Without data.", &[], WRITE),
    kind(
        Topic::Commands,
        "retrieve",
        "Asks for the {one} as it is; with `ce_operation`, for what became of that command. Without data.",
        &[],
        LOOK_UP,
    ),
    kind(Topic::Commands, "list", "Asks for a page of {many}.", JSON, READ),
    kind(
        Topic::Views,
        "view",
        "The {one} as it is from this version on, whole.",
        &["ce_version", "ce_dataschema", "content-type"],
        RUN,
    ),
    kind(Topic::Views, "deleted", "The {one} was deleted with this version.", &["ce_version", "content-type"], RUN),
    kind(Topic::Replies, "rejected", "The command was refused, and nothing was changed.", JSON, ANSWER),
    kind(Topic::Replies, "unchanged", "The write changed nothing: the {one} as it is.", CURRENT, RUN),
    kind(Topic::Replies, "retrieved", "The {one} as it is.", CURRENT, RUN),
    kind(Topic::Replies, "listed", "A page of {many}.", JSON, RUN),
    kind(
        Topic::Replies,
        "outcome",
        "What became of a command: asked for, or because the command came again.",
        JSON,
        ANSWER,
    ),
    kind(Topic::Replies, "repeated", "The idempotency key came before: the first answer to it.", JSON, ANSWER),
];

impl Kind {
    /// What the document calls this message of a type.
    pub(super) fn key(&self, names: &Names) -> String {
        format!("{}.{}", names.path, self.name)
    }

    /// Its `ce_type`.
    pub(super) fn event_type(&self, names: &Names) -> String {
        format!("dos.{}", self.key(names))
    }

    fn summary(&self, names: &Names) -> String {
        self.summary.replace("{a}", &names.a).replace("{one}", &names.one).replace("{many}", &names.many)
    }
}

/// The message of a kind and a type.
pub(super) fn of(kind: &Kind, entity_type: &EntityType, names: &Names, registry: &Registry) -> Value {
    let mut message = json!({
        "name": kind.event_type(names),
        "title": format!("{}: {}", capital(&names.one), kind.name),
        "summary": kind.summary(names),
        "correlationId": reference("correlationIds", "command"),
        "headers": header::of(kind, names),
        "bindings": {"kafka": {"key": header::key(kind, names), "bindingVersion": BINDING}},
        "examples": example::of(kind, entity_type, names, registry),
    });
    if let Some(payload) = schema::payload(kind, names) {
        message["contentType"] = "application/json".into();
        message["payload"] = payload;
    }
    message
}

/// An event in quarantine. Its own headers are those it came with, whatever they were.
pub(super) fn quarantined(registry: &Registry) -> Value {
    let named = |name: &str| (name.to_owned(), reference("schemas", name));
    let properties: serde_json::Map<_, _> =
        ["dos_reason", "dos_key", "dos_cut", "ce_storerun"].into_iter().map(named).collect();
    let pattern = format!("^dos\\.({}):[0-9]+:[0-9]+$", Topic::ALL.map(super::name).join("|"));
    json!({
        "name": QUARANTINED,
        "title": "Event set aside",
        "summary": "An event that no data store could read, as it came: its own headers follow those named here, its value is as it was.",
        "headers": {"type": "object", "required": ["dos_reason"], "properties": properties},
        "payload": {"title": "Value", "description": "The event's value, byte for byte; empty where `dos_cut` says so. It need not be JSON."},
        "bindings": {"kafka": {
            "key": {"type": "string", "pattern": pattern, "description": "Where it lay: topic, partition and offset."},
            "bindingVersion": BINDING,
        }},
        "examples": example::quarantined(registry),
    })
}
