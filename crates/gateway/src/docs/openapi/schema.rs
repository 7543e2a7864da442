//! Schemas: per entity type the full object and what a client writes; the bodies that are no entities.

use contract::entity::{Field, Kind};
use contract::problem::ERRORS_MAX;
use contract::{EntityType, Slug};
use serde_json::{Map, Value, json};

use super::example;
use super::{ID_PATTERN, Names};

/// The names of the schemas that belong to no entity type.
pub(super) const SHARED: [&str; 13] = [
    "Id",
    "Time",
    "Problem",
    "Fault",
    "Operation",
    "Resource",
    "Version",
    "Alive",
    "Ready",
    "Notready",
    "Document",
    "Events",
    "Change",
];

/// Adds the schemas of one entity type.
pub(super) fn entity(entity_type: &EntityType, names: &Names, schemas: &mut Map<String, Value>) {
    let name = &names.component;
    schemas.insert(name.clone(), full(entity_type, names));
    schemas.insert(format!("{name}Create"), create(entity_type, names));
    schemas.insert(format!("{name}Update"), update(entity_type, names));
}

/// What is said of `created` and `updated` in what a client sends.
const STAMPS: &str = "Ignored, whatever it is; with `timestamps=keep` a time, which is stored, or `null`.";

/// The full object, as every response holds it.
pub(in crate::docs) fn full(entity_type: &EntityType, names: &Names) -> Value {
    let mut properties = Map::new();
    properties.insert("id".to_owned(), id());
    for field in entity_type.fields() {
        let schema = own(field, names);
        let schema = if !field.required && field.default.is_null() { nullable(schema) } else { schema };
        properties.insert(field.name.clone(), schema);
    }
    for (name, description) in [("created", "When it was created."), ("updated", "When it was last changed.")] {
        properties.insert(name.to_owned(), json!({"$ref": "#/components/schemas/Time", "description": description}));
    }
    let required: Vec<_> = properties.keys().cloned().collect();
    let mut schema = json!({
        "title": entity_type.title(),
        "description": entity_type.description(),
        "type": "object",
        "required": required,
        "properties": properties,
        "examples": [example::full(entity_type)],
    });
    if let Some(definitions) = entity_type.document().get("$defs") {
        schema["$defs"] = moved(definitions, names);
    }
    schema
}

fn create(entity_type: &EntityType, names: &Names) -> Value {
    let fields = entity_type.fields();
    let mut properties = written(entity_type, names);
    for schema in properties.values_mut().filter_map(Value::as_object_mut) {
        tell_default(schema);
    }
    // A required field that has an alias may come under either name.
    let required: Vec<_> = fields.iter().filter(|f| f.required && f.alias.is_none()).map(|f| &f.name).collect();
    let mut schema = json!({
        "title": format!("{} to create", entity_type.title()),
        "description": format!("What a client sends to create {}. Fields left out are unset.", names.a),
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties,
        "examples": [example::create(entity_type)],
    });
    add_rules(&mut schema, fields, true);
    schema
}

/// Says in words what a field is where it is left out: generators of clients take a `default` for a promise that the field is always
/// there, and make those who write send it.
fn tell_default(schema: &mut Map<String, Value>) {
    let Some(default) = schema.shift_remove("default") else { return };
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let told = format!("{description} Left out, it is `{default}`.");
    schema.insert("description".to_owned(), told.trim_start().into());
}

fn update(entity_type: &EntityType, names: &Names) -> Value {
    let mut properties = written(entity_type, names);
    let id = json!({"$ref": "#/components/schemas/Id", "description": "The path's id, or left out."});
    properties.shift_insert(0, "id".to_owned(), id);
    for schema in properties.values_mut().filter_map(Value::as_object_mut) {
        schema.shift_remove("default");
    }
    let mut schema = json!({
        "title": format!("{} to update", entity_type.title()),
        "description": format!(
            "What a client sends to update {}: fields sent are set, fields not sent keep their value, `null` clears. \
            With `If-None-Match: *` it must have all required fields. What `GET` gave can be sent back.", names.a),
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "examples": [example::update(entity_type)],
    });
    add_rules(&mut schema, entity_type.fields(), false);
    schema
}

/// The properties a client may write: fields, their aliases, and the stamps that are ignored.
fn written(entity_type: &EntityType, names: &Names) -> Map<String, Value> {
    let mut properties = Map::new();
    for field in entity_type.fields() {
        let mut schema = own(field, names);
        if field.kind == Kind::Flag {
            schema["type"] = json!(["integer", "boolean"]);
            schema["enum"] = json!([0, 1, false, true]);
        }
        let is_text = match &schema["type"] {
            Value::Array(types) => types.contains(&json!("string")),
            one => one == "string",
        };
        if is_text && ["pattern", "enum", "const"].iter().all(|key| schema.get(key).is_none()) {
            // Refused in every text, whatever its schema asks.
            schema["pattern"] = "^[^\\u0000]*$".into();
        }
        let schema = if field.required { schema } else { nullable(schema) };
        if let Some(alias) = &field.alias {
            let mut alias_schema = schema.clone();
            alias_schema["description"] =
                format!("Another name of `{}` that is accepted, and never returned.", field.name).into();
            alias_schema["deprecated"] = true.into();
            properties.insert(field.name.clone(), schema);
            properties.insert(alias.clone(), alias_schema);
        } else {
            properties.insert(field.name.clone(), schema);
        }
    }
    for name in ["created", "updated"] {
        // Of no type: what is ignored is ignored whatever it is.
        let schema = json!({"format": "date-time", "description": STAMPS});
        properties.insert(name.to_owned(), schema);
    }
    properties
}

/// A field and its alias exclude each other, and a required field must come under one of them.
fn add_rules(schema: &mut Value, fields: &[Field], complete: bool) {
    let rules = fields.iter().filter_map(|field| {
        let (name, alias) = (&field.name, field.alias.as_ref()?);
        Some(match field.required && complete {
            true => json!({"oneOf": [{"required": [name]}, {"required": [alias]}]}),
            false => json!({"not": {"required": [name, alias]}}),
        })
    });
    let rules: Vec<_> = rules.collect();
    if !rules.is_empty() {
        schema["allOf"] = rules.into();
    }
}

/// A field's schema as in the file, without its alias, its references pointing into this document.
pub(in crate::docs) fn own(field: &Field, names: &Names) -> Value {
    let mut schema = moved(&field.schema, names);
    if let Some(schema) = schema.as_object_mut() {
        schema.shift_remove("x-alias");
    }
    schema
}

/// The schema with references into the entity file's `$defs` pointing at where this document has them.
pub(in crate::docs) fn moved(schema: &Value, names: &Names) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(|item| moved(item, names)).collect(),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| match (key.as_str(), value.as_str()) {
                ("$ref", Some(target)) if target.starts_with("#/$defs/") => {
                    let target = format!("#/components/schemas/{}{}", names.component, &target[1..]);
                    (key.clone(), Value::String(target))
                }
                _ => (key.clone(), moved(value, names)),
            };
            Value::Object(map.iter().map(entry).collect())
        }
        other => other.clone(),
    }
}

/// The schema, `null` allowed.
pub(in crate::docs) fn nullable(mut schema: Value) -> Value {
    // What else the schema asks of a value may rule `null` out, whatever its type says.
    let asks_more = ["const", "$ref", "allOf", "anyOf", "oneOf", "not", "if"].iter().any(|k| schema.get(k).is_some());
    let types = match schema.get("type") {
        Some(Value::String(one)) if !asks_more => vec![json!(one)],
        Some(Value::Array(many)) if !asks_more => many.clone(),
        None if !asks_more && schema.get("enum").is_none() => return schema,
        _ => return json!({"anyOf": [schema, {"type": "null"}]}),
    };
    let null = json!("null");
    if !types.contains(&null) {
        schema["type"] = types.into_iter().chain([null]).collect();
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut)
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    schema
}

fn id() -> Value {
    json!({"$ref": "#/components/schemas/Id", "description": "Set by the data store, and never changed."})
}

/// The schemas that belong to no entity type.
pub(super) fn shared() -> Map<String, Value> {
    let mut schemas = Map::new();
    scalars(&mut schemas);
    schemas.insert("Problem".to_owned(), problem());
    schemas.insert("Fault".to_owned(), fault());
    schemas.insert("Operation".to_owned(), operation());
    schemas.insert("Change".to_owned(), super::changes::schema());
    system(&mut schemas);
    schemas
}

/// Ids and times, which all documents have.
pub(in crate::docs) fn scalars(schemas: &mut Map<String, Value>) {
    schemas.insert("Id".to_owned(), json!({
        "title": "Id",
        "description": "An entity's identity, opaque. New ones are UUIDs of version 7, older systems' ids may be anything within the grammar.",
        "type": "string",
        "pattern": ID_PATTERN,
        "examples": [example::ID],
    }));
    schemas.insert(
        "Time".to_owned(),
        json!({
            "title": "Time",
            "description": "RFC 3339, UTC, `Z`; milliseconds are omitted when zero.",
            "type": "string",
            "format": "date-time",
            "examples": [example::CREATED],
        }),
    );
}

fn problem() -> Value {
    let types: Vec<_> = Slug::ALL.iter().map(|slug| format!("/problem/{}", slug.as_str())).collect();
    json!({
        "title": "Problem",
        "description": "What went wrong, as RFC 9457 writes it.",
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "message"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference", "description": "Which problem, from a closed list; \
                the page behind it says what to do.", "examples": types},
            "title": {"type": "string", "description": "The problem in a few words, the same for every occurrence."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
            "detail": {"type": "string", "description": "What happened this time."},
            "instance": {"type": "string", "format": "uri-reference", "description": "The occurrence. Not there in a `408` to a \
                request whose header did not arrive."},
            "code": {"type": "integer", "description": "The same as `status`, for clients of the 1.0.x specification."},
            "message": {"type": "string", "description": "The same as `detail`, for clients of the 1.0.x specification."},
            "request_id": {"type": "string", "description": "The request's `X-Request-ID`. Not there where `instance` is not."},
            "errors": {
                "type": "array",
                "maxItems": ERRORS_MAX,
                "description": "Everything that is wrong with the request, at once; where that is more than 100 things, the first \
                    100, and `detail` says how many there are.",
                "items": {"$ref": "#/components/schemas/Fault"},
            },
            "retry": {
                "type": "string",
                "enum": ["safe", "unknown", "no"],
                "description": "On writes, whether to send it again: `safe`, nothing was produced; `unknown`, it may \
                    have happened, so look first; `no`, it would be refused again.",
            },
        },
    })
}

pub(in crate::docs) fn fault() -> Value {
    let place = |description: &str| json!({"type": "string", "description": description});
    json!({
        "title": "Fault",
        "description": "One thing that is wrong, and where: in the body, the query or a header.",
        "type": "object",
        "required": ["detail"],
        "properties": {
            "pointer": place("A JSON pointer as URI fragment (RFC 6901), such as `#/name`."),
            "parameter": place("A parameter of the query or the path."),
            "header": place("A header."),
            "detail": place("What is wrong, and what would be right."),
        },
        "oneOf": [{"required": ["pointer"]}, {"required": ["parameter"]}, {"required": ["header"]}],
    })
}

fn operation() -> Value {
    json!({
        "title": "Operation",
        "description": "What became of a write. Known for at least 24 hours.",
        "type": "object",
        "required": ["id", "status", "type", "entity_id", "created"],
        "properties": {
            "id": {"type": "string", "description": "Opaque."},
            "status": {"type": "string", "enum": ["pending", "succeeded", "failed"]},
            "type": {"type": "string", "description": "The entity's type."},
            "entity_id": {"$ref": "#/components/schemas/Id", "description": "The entity that was to be written."},
            "href": {"type": "string", "format": "uri-reference", "description": "Where the entity is, or will be; not there when the write failed."},
            "problem": {"$ref": "#/components/schemas/Problem", "description": "Why it failed."},
            "created": {"$ref": "#/components/schemas/Time", "description": "When the gateway took the write."},
        },
    })
}

fn system(schemas: &mut Map<String, Value>) {
    let text = |description: &str| json!({"type": "string", "description": description});
    let yes_no = |description: &str| json!({"type": "boolean", "description": description});
    schemas.insert(
        "Resource".to_owned(),
        json!({
            "title": "Resource",
            "description": "An entity type that this gateway serves.",
            "type": "object",
            "required": ["apiPath", "description", "apiVersionNumber", "apiUrl", "apiDocumentationUrl"],
            "properties": {
                "apiPath": text("The path of its list."),
                "description": text("What it is."),
                "apiVersionNumber": text("The version of the API."),
                "apiUrl": text("Where its list is."),
                "apiDocumentationUrl": text("Where its documentation is."),
            },
        }),
    );
    schemas.insert(
        "Version".to_owned(),
        json!({
            "title": "Version",
            "description": "A version of the API.",
            "type": "object",
            "required": ["version", "id", "updated", "current", "deprecated"],
            "properties": {
                "version": text("Its number."),
                "id": text("Its name."),
                "updated": {"type": "string", "description": "When it was last changed.", "format": "date-time"},
                "current": yes_no("Whether this is the one to use."),
                "deprecated": yes_no("Whether it will go away."),
            },
        }),
    );
    let ok =
        json!({"type": "object", "required": ["status"], "properties": {"status": {"type": "string", "enum": ["ok"]}}});
    let titled = |title: &str, description: &str| {
        let mut schema = ok.clone();
        (schema["title"], schema["description"]) = (title.into(), description.into());
        schema
    };
    schemas.insert("Alive".to_owned(), titled("Alive", "The process answers."));
    schemas.insert("Ready".to_owned(), titled("Ready", "The gateway can serve requests."));
    schemas.insert(
        "Notready".to_owned(),
        json!({
            "title": "Not ready",
            "description": "What keeps the gateway from serving requests.",
            "type": "object",
            "required": ["errors"],
            "properties": {"errors": {
                "type": "object",
                "description": "The cause by the part it lies in.",
                "additionalProperties": {"type": "string"},
            }},
        }),
    );
    schemas.insert(
        "Document".to_owned(),
        json!({
            "title": "OpenAPI document",
            "type": "object",
            "required": ["openapi", "info", "paths"],
            "properties": {"openapi": text("3.1.0"), "info": {"type": "object"}, "paths": {"type": "object"}},
        }),
    );
    schemas.insert(
        "Events".to_owned(),
        json!({
            "title": "AsyncAPI document",
            "type": "object",
            "required": ["asyncapi", "info", "channels"],
            "properties": {"asyncapi": text("3.0.0"), "info": {"type": "object"}, "channels": {"type": "object"}},
        }),
    );
}
