//! Schemas of what events carry.

use contract::entity::{Field, Kind as FieldKind};
use contract::list::{FILTER_CHARS_MAX, FILTER_VALUES_MAX, IDS_MAX, LIST_LIMIT_MAX, NAME_KEY_BYTES_MAX};
use contract::problem::ERRORS_MAX;
use contract::{EntityType, Slug};
use serde_json::{Map, Value, json};

use super::super::openapi::{Names, example, schema};
use super::header::UUID;
use super::message::Kind;
use super::reference;

/// The data of a kind's messages; none where they have none.
pub(super) fn payload(kind: &Kind, names: &Names) -> Option<Value> {
    let own = |suffix: &str| reference("schemas", &format!("{}{suffix}", names.component));
    Some(match kind.name {
        "create" => own("Create"),
        "update" => own("Update"),
        "list" => own("ListQuery"),
        "view" | "unchanged" | "retrieved" => own(""),
        "deleted" => reference("schemas", "DeletedEntity"),
        "rejected" => reference("schemas", "Problem"),
        "listed" => own("Page"),
        "outcome" => reference("schemas", "CommandOutcome"),
        "repeated" => own("FirstAnswer"),
        _ => return None,
    })
}

/// Adds the schemas of one entity type.
pub(super) fn entity(entity_type: &EntityType, names: &Names, schemas: &mut Map<String, Value>) {
    let mut add = |suffix: &str, schema: Value| schemas.insert(format!("{}{suffix}", names.component), schema);
    add("", schema::full(entity_type, names));
    add("Create", create(entity_type, names));
    add("Update", update(entity_type, names));
    add("ListQuery", list_query(entity_type, names));
    add("Page", page(names));
    add("FirstAnswer", first_answer(names));
}

fn create(entity_type: &EntityType, names: &Names) -> Value {
    let required: Vec<_> =
        entity_type.fields().iter().filter(|field| field.required).map(|field| &field.name).collect();
    json!({
        "title": format!("{} to create", entity_type.title()),
        "description": "The fields that are set, aliases resolved. `created` and `updated` are there where they are to be kept.",
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": written(entity_type, names),
        "examples": [example::create(entity_type)],
    })
}

fn update(entity_type: &EntityType, names: &Names) -> Value {
    json!({
        "title": format!("{} to update", entity_type.title()),
        "description": "A merge patch (RFC 7396), aliases resolved. `created` and `updated` are there where they are to be kept.",
        "type": "object",
        "additionalProperties": false,
        "properties": written(entity_type, names),
        "examples": [example::update(entity_type)],
    })
}

fn written(entity_type: &EntityType, names: &Names) -> Map<String, Value> {
    let field = |field: &Field| {
        let mut schema = schema::own(field, names);
        if let Some(schema) = schema.as_object_mut() {
            schema.shift_remove("default");
        }
        (field.name.clone(), if field.required { schema } else { schema::nullable(schema) })
    };
    let stamps = ["created", "updated"].map(|name| (name.to_owned(), reference("schemas", "Time")));
    entity_type.fields().iter().map(field).chain(stamps).collect()
}

fn list_query(entity_type: &EntityType, names: &Names) -> Value {
    let values = json!({"type": "array", "minItems": 1, "maxItems": FILTER_VALUES_MAX,
        "items": {"type": "string", "maxLength": FILTER_CHARS_MAX}});
    let fields = entity_type.fields().iter().filter(|field| field.filter);
    let filters: Map<_, _> = fields
        .map(|field| {
            let mut schema = values.clone();
            let holds = if field.kind == FieldKind::List { "holds" } else { "is" };
            schema["description"] = format!("It {holds} one of these; an empty text: it is unset.").into();
            (field.name.clone(), schema)
        })
        .collect();
    json!({
        "title": format!("List of {}", names.many),
        "type": "object",
        "required": ["limit"],
        "additionalProperties": false,
        "properties": {
            "filter": {"type": "object", "description": "By field; all must fit.", "additionalProperties": false, "properties": filters},
            "modified_after": {"type": "string", "format": "date-time", "description": "Only those whose `updated` is later."},
            "ids": {"type": "array", "minItems": 1, "maxItems": IDS_MAX, "uniqueItems": true, "items": reference("schemas", "Id"),
                "description": "Only these, in this order, whatever `sort` says."},
            "sort": {"type": "string", "enum": ["created", "-created", "updated", "-updated", "name", "-name"], "default": "created",
                "description": "The order; with `-` the last ones first."},
            "limit": {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT_MAX, "description": "Rows at most."},
            "after": reference("schemas", "ListPosition"),
        },
        "examples": [{"limit": 50}],
    })
}

fn page(names: &Names) -> Value {
    json!({
        "title": format!("Page of {}", names.many),
        "description": "Cut where it would be larger than 768 KiB.",
        "type": "object",
        "required": ["items", "total"],
        "properties": {
            "items": {"type": "array", "maxItems": LIST_LIMIT_MAX, "items": reference("schemas", &names.component)},
            "total": {"type": "integer", "minimum": 0, "description": "How many the whole list has."},
            "next": reference("schemas", "ListPosition"),
        },
    })
}

fn first_answer(names: &Names) -> Value {
    json!({
        "title": format!("First answer about {}", names.a),
        "description": "With `object` the entity as it was then, with `problem` the refusal, with neither it was deleted.",
        "type": "object",
        "required": ["command", "key", "action"],
        "additionalProperties": false,
        "properties": {
            "command": uuid("The command that was carried out, or refused, then."),
            "key": {"type": "string", "description": "The key of the entity that it was about."},
            "action": {"type": "string", "enum": ["create", "update", "delete"]},
            "version": version("The version that led to the answer; not there where the entity never existed."),
            "object": reference("schemas", &names.component),
            "view_time": {"type": "string", "format": "date-time", "description": "When that version came to be."},
            "problem": reference("schemas", "Problem"),
        },
        "dependencies": {"object": ["view_time", "version"], "view_time": ["object"]},
        "not": {"required": ["object", "problem"]},
    })
}

/// The schemas that belong to no entity type.
pub(super) fn shared() -> Map<String, Value> {
    let mut schemas = Map::new();
    schema::scalars(&mut schemas);
    schemas.insert("Fault".to_owned(), schema::fault());
    schemas.insert("Problem".to_owned(), problem());
    schemas.insert("ListPosition".to_owned(), list_position());
    schemas.insert("CommandOutcome".to_owned(), outcome());
    schemas.insert(
        "DeletedEntity".to_owned(),
        json!({
            "title": "Deleted entity",
            "type": "object",
            "required": ["id"],
            "additionalProperties": false,
            "properties": {"id": reference("schemas", "Id")},
        }),
    );
    schemas
}

fn problem() -> Value {
    let slugs: Vec<_> = Slug::ALL.iter().map(|slug| slug.as_str()).collect();
    json!({
        "title": "Problem",
        "description": "Why a command was refused. Gateways make a problem of RFC 9457 of it.",
        "type": "object",
        "required": ["slug", "detail"],
        "properties": {
            "slug": {"type": "string", "enum": slugs, "description": "Which problem, from the closed list of the API."},
            "detail": {"type": "string", "description": "What happened this time."},
            "errors": {"type": "array", "maxItems": ERRORS_MAX, "items": reference("schemas", "Fault")},
            "retry": {"type": "string", "enum": ["safe", "unknown", "no"], "description": "Whether the command may be sent again."},
        },
    })
}

fn list_position() -> Value {
    let named = json!({
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {"name": {"type": ["string", "null"], "maxLength": NAME_KEY_BYTES_MAX,
            "description": "Its label in lower case, or null where it has none."}},
    });
    json!({
        "title": "Position in a list",
        "description": "What the list is sorted by, a time or a name, and the id of the row that the page before ended with.",
        "type": "array",
        "minItems": 2,
        "maxItems": 2,
        "items": [{"oneOf": [{"type": "string", "format": "date-time"}, named]}, reference("schemas", "Id")],
        "examples": [[example::CREATED, example::ID]],
    })
}

fn outcome() -> Value {
    json!({
        "title": "Outcome",
        "description": "What became of a command. Known for at least 24 hours.",
        "type": "object",
        "required": ["command", "status"],
        "properties": {
            "command": uuid("The command."),
            "status": {"type": "string", "enum": ["succeeded", "failed", "unknown"],
                "description": "`unknown` is final: the data store has not seen the command, and will not carry it out."},
            "version": version("The version that the write led to."),
            "entity": {"type": "string", "description": "The key of the entity, where that is another than the command's."},
            "problem": reference("schemas", "Problem"),
            "created": {"type": "string", "format": "date-time", "description": "When the gateway made the command."},
        },
    })
}

fn uuid(description: &str) -> Value {
    json!({"type": "string", "pattern": format!("^{UUID}$"), "description": description})
}

fn version(description: &str) -> Value {
    json!({"type": "integer", "minimum": 1, "description": description})
}
