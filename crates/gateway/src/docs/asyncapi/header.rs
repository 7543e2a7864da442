//! Headers of messages: the attributes of the events.

use contract::Topic;
use contract::id::EntityId;
use serde_json::{Map, Value, json};

use super::super::openapi::{Names, example};
use super::message::Kind;
use super::reference;

/// A UUID as text.
pub(super) const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

/// Headers that every event has, but for those that its kind decides.
const COMMON: [&str; 4] = ["ce_specversion", "ce_source", "ce_time", "ce_correlationid"];

/// The schemas of headers that are the same wherever they stand.
pub(super) fn schemas() -> Map<String, Value> {
    let text = |description: &str| json!({"type": "string", "description": description});
    let pattern =
        |pattern: &str, description: &str| json!({"type": "string", "pattern": pattern, "description": description});
    let time = |description: &str| json!({"type": "string", "format": "date-time", "description": description});
    let uuid = format!("^{UUID}$");
    let schemas = json!({
        "ce_specversion": {"type": "string", "const": "1.0", "description": "The version of CloudEvents."},
        "ce_source": {"type": "string", "minLength": 1, "description": "Who made the event: `/gateway/<instance>` or `/store/<instance>`.",
            "examples": ["/gateway/1", "/store/1"]},
        "ce_time": time("When the event came to be."),
        "ce_correlationid": pattern(&uuid, "The id of the command that this is, or that caused it: a UUID of version 7, made afresh by the \
            gateway for each request."),
        "ce_dataschema": pattern("^/schema/[a-z][a-z0-9_]*#[0-9a-f]{16}$", "The schema that the data was written with, and a hash of it."),
        "ce_version": pattern("^[1-9][0-9]{0,15}$", "The entity's version: 1, 2, 3 .. for ever."),
        "ce_viewtime": time("When that version came to be; `ce_time` is when the reply was made."),
        "ce_precondition": {"type": "string", "maxLength": contract::precondition::BYTES_MAX,
            "description": "What must hold of the entity, decided by the data store: conditions of RFC 9110 by the names of their \
                fields, joined by `; `.",
            "examples": ["if-none-match: *", "if-match: \"3-5d41402abc4b2a76\""]},
        "ce_idempotencykey": pattern("^[A-Za-z0-9_-]{43}$", "A hash of the client's idempotency key and of who the client is. The same key \
            gets the first answer again."),
        "ce_fingerprint": pattern("^[A-Za-z0-9_-]{43}$", "A hash of the whole request: the key stands for one request only."),
        "ce_operation": pattern(&uuid, "The command whose outcome is asked for."),
        "ce_requestid": text("The client's label of the request, for logs only; it may repeat."),
        "ce_traceparent": text("W3C trace context, as it came with the request."),
        "ce_storerun": pattern(&format!("^[0-9]+/{UUID}$"), "The uninterrupted run of appends of a data store that this record is a part \
            of: the partition and the run."),
        "content-type": {"type": "string", "const": "application/json", "description": "The media type of the data."},
        "dos_reason": text("Why it could not be read."),
        "dos_key": text("The key that it came with, byte for byte."),
        "dos_cut": {"type": "string", "const": "data", "description": "It was too large to be kept whole: the data was left out."},
    });
    if let Value::Object(schemas) = schemas { schemas } else { Map::new() }
}

/// The headers of a kind's messages.
pub(super) fn of(kind: &Kind, names: &Names) -> Value {
    let mut properties = Map::new();
    for name in COMMON {
        properties.insert(name.to_owned(), reference("schemas", name));
    }
    properties.insert("ce_id".to_owned(), id(kind, names));
    properties.insert("ce_type".to_owned(), json!({"type": "string", "const": kind.event_type(names)}));
    properties.extend(subject(kind, names).map(|schema| ("ce_subject".to_owned(), schema)));
    for name in kind.required {
        properties.insert((*name).to_owned(), reference("schemas", name));
    }
    let required: Vec<_> = properties.keys().cloned().collect();
    for name in kind.optional {
        properties.insert((*name).to_owned(), reference("schemas", name));
    }
    let mut headers = json!({"type": "object", "required": required, "properties": properties});
    if kind.optional.contains(&"ce_fingerprint") {
        headers["dependencies"] =
            json!({"ce_idempotencykey": ["ce_fingerprint"], "ce_fingerprint": ["ce_idempotencykey"]});
    }
    headers
}

/// A repeated event keeps its id.
fn id(kind: &Kind, names: &Names) -> Value {
    let (pattern, description) = match kind.topic {
        Topic::Views => (format!("^{}:[1-9][0-9]*$", entity_key(names)), "Key and version."),
        Topic::Replies => (format!("^{UUID}:{}$", kind.name), "The command's id, and the name of the reply."),
        _ => (format!("^{UUID}$"), "The command's id, the same as `ce_correlationid`."),
    };
    json!({"type": "string", "pattern": pattern, "description": description})
}

fn subject(kind: &Kind, names: &Names) -> Option<Value> {
    match (kind.topic, kind.name) {
        (_, "list") => None,
        (Topic::Replies, "listed") => Some(json!({"type": "string", "const": format!("{}:", names.path)})),
        (Topic::Replies, _) => Some(json!({
            "type": "string", "pattern": format!("^{}$", entity_key(names)), "description": "The key of the command.",
        })),
        _ => Some(reference("schemas", "Id")),
    }
}

/// The key of a kind's messages.
pub(super) fn key(kind: &Kind, names: &Names) -> Value {
    match (kind.topic, kind.name) {
        (_, "list") => json!({"type": "string", "const": format!("{}:", names.path)}),
        (Topic::Replies, _) => {
            json!({"type": "string", "pattern": format!("^{UUID}$"), "description": "The command's id."})
        }
        _ => json!({
            "type": "string", "pattern": format!("^{}$", entity_key(names)), "description": "Type and id.",
            "examples": [format!("{}:{}", names.path, example::ID)],
        }),
    }
}

/// A pattern of `type:id`.
fn entity_key(names: &Names) -> String {
    format!("{}:{}", names.path, EntityId::PATTERN.trim_start_matches('^').trim_end_matches('$'))
}
