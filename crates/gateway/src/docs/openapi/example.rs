//! Examples: entities from the `examples` of their fields, problems in the words of the contract.

use contract::entity::{Field, IdRule, Rules, Timestamps};
use contract::{EntityType, FieldError, Problem, Retry, Slug};
use serde_json::{Map, Value, json};

use super::Names;

/// The entity that examples are about.
pub(in crate::docs) const ID: &str = "019ab3c5-7e1a-7cc2-9d1e-3f5a6b7c8d9e";
/// When it was created.
pub(in crate::docs) const CREATED: &str = "2026-11-24T09:30:00Z";
/// When it was last changed.
pub(in crate::docs) const UPDATED: &str = "2026-11-24T10:15:42.250Z";
/// The validator of its first version.
pub(in crate::docs) const ETAG: &str = "\"1-5d41402abc4b2a76\"";
/// An operation's id: a command's id and a message key, in base64url.
pub(in crate::docs) const OPERATION: &str =
    "AZqzxX4afMKdHj9aa3yNnXByb3ZpZGVyOjAxOWFiM2M1LTdlMWEtN2NjMi05ZDFlLTNmNWE2YjdjOGQ5ZeiAGzA";
/// A request's label.
pub(in crate::docs) const REQUEST_ID: &str = "019ab3c5-7e1b-7d03-8a55-0c1f2e3d4b5a";

/// A full object.
pub(in crate::docs) fn full(entity_type: &EntityType) -> Value {
    object(entity_type, &create(entity_type), CREATED)
}

/// What a client sends to create it.
pub(in crate::docs) fn create(entity_type: &EntityType) -> Map<String, Value> {
    let fields = entity_type.fields().iter();
    fields.filter_map(|field| Some((field.name.clone(), value(field)?))).collect()
}

/// What a client sends to update it: one field set and, where one can be, one cleared.
pub(in crate::docs) fn update(entity_type: &EntityType) -> Map<String, Value> {
    let fields = entity_type.fields();
    let set = fields.iter().find_map(|field| Some((field.name.clone(), value(field)?)));
    let cleared = fields.iter().rfind(|field| !field.required && field.default.is_null());
    set.into_iter().chain(cleared.map(|field| (field.name.clone(), Value::Null))).collect()
}

fn updated(entity_type: &EntityType) -> Value {
    object(entity_type, &entity_type.merge(&create(entity_type), update(entity_type)), UPDATED)
}

fn object(entity_type: &EntityType, fields: &Map<String, Value>, updated: &str) -> Value {
    let mut object = Map::new();
    object.insert("id".to_owned(), ID.into());
    for field in entity_type.fields() {
        object.insert(field.name.clone(), fields.get(&field.name).unwrap_or(&field.default).clone());
    }
    object.insert("created".to_owned(), CREATED.into());
    object.insert("updated".to_owned(), updated.into());
    Value::Object(object)
}

/// The field's first example; for a required one without, whatever its schema's words suggest.
fn value(field: &Field) -> Option<Value> {
    let first = |name: &str| field.schema.get(name).and_then(Value::as_array).and_then(|values| values.first());
    let given = first("examples").or_else(|| first("enum"));
    let guess = || match field.schema["type"].as_str() {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("text"),
    };
    given.cloned().or_else(|| field.required.then(guess))
}

/// The answer to a body that breaks the schema in several places, as the gateway's own validation words it.
fn invalid(entity_type: &EntityType) -> Value {
    let mut body: Map<String, Value> = Map::new();
    body.insert("colour".to_owned(), "blue".into());
    if let Some(field) = entity_type.fields().first() {
        body.insert(field.name.clone(), if field.schema["type"] == "string" { json!(7) } else { json!("seven") });
    }
    let rules = Rules { complete: true, id: IdRule::Forbidden, timestamps: Timestamps::Ignore };
    let found = entity_type.accept(body, rules);
    let found =
        found.err().unwrap_or_else(|| Problem::new(Slug::InvalidEntity, Slug::InvalidEntity.explanation().trim()));
    problem(&found.retry(Retry::No), &format!("/{}", entity_type.name()))
}

/// Adds the examples of one entity type.
pub(super) fn entity(entity_type: &EntityType, names: &Names, examples: &mut Map<String, Value>) {
    let name = &names.component;
    let mut add = |suffix: &str, summary: String, value: Value| {
        examples.insert(format!("{name}{suffix}"), json!({"summary": summary, "value": value}));
    };
    let full = full(entity_type);
    add("", capitalised(&names.a), full.clone());
    add("List", format!("A page of {}", names.many), json!([full]));
    add("Create", format!("{} to create", capitalised(&names.a)), create(entity_type).into());
    add("Update", "One field set, one cleared, the rest kept".to_owned(), update(entity_type).into());
    add("Updated", format!("The {} after the update", names.one), updated(entity_type));
    add("Invalid", "Several bad fields at once".to_owned(), invalid(entity_type));
}

fn capitalised(text: &str) -> String {
    super::capital(text)
}

/// The examples that belong to no entity type.
pub(super) fn shared() -> Map<String, Value> {
    let mut examples = Map::new();
    let mut add = |name: &str, summary: &str, value: Value| {
        examples.insert(name.to_owned(), json!({"summary": summary, "value": value}));
    };
    let operation = |status: &str| json!({"id": OPERATION, "status": status, "type": "provider", "entity_id": ID});
    let href = || format!("/provider/{ID}").into();
    let pending = with(operation("pending"), "href", href());
    let succeeded = with(operation("succeeded"), "href", href());
    let failed = sample(Slug::PreconditionFailed);
    let failed = with(operation("failed"), "problem", problem(&failed, &format!("/operation/{OPERATION}")));
    add("pending", "Not yet carried out", with(pending, "created", CREATED.into()));
    add("succeeded", "Carried out", with(succeeded, "created", CREATED.into()));
    add("failed", "Refused", with(failed, "created", CREATED.into()));
    // What is invalid depends on the type; each has an example of its own. And no method that the document has is refused.
    for slug in Slug::ALL.iter().filter(|slug| ![Slug::InvalidEntity, Slug::MethodNotAllowed].contains(slug)) {
        let summary = slug.title();
        let (found, instance) = (sample(*slug), format!("/provider/{ID}"));
        add(slug.as_str(), summary, problem(&found, &instance));
    }
    examples
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

/// Why a create at an id is refused, in the data store's words.
pub(in crate::docs) fn exists() -> String {
    format!("the provider {ID} exists already, as version 1; to change it, send an update (PUT without If-None-Match)")
}

/// A problem as it might occur.
fn sample(slug: Slug) -> Problem {
    let (missing, exists) = (format!("there is no provider with the id {ID}"), exists());
    let detail = match slug {
        Slug::InvalidJson => "not valid JSON: EOF while parsing a string at line 3 column 18",
        Slug::NotFound => missing.as_str(),
        Slug::NotAcceptable => "application/json is what this path offers; accept it or leave Accept out",
        Slug::UnsupportedMediaType => "send the body with one Content-Type: application/json",
        Slug::PreconditionFailed => exists.as_str(),
        Slug::NoAnswer => "the data store did not answer in time; try again",
        other => other.explanation().trim(),
    };
    let detail = detail.to_owned();
    let mut found = match slug {
        Slug::InvalidRequest => {
            Problem::with_errors(slug, vec![FieldError::parameter("limit", "must be a whole number from 1 to 200")])
        }
        _ => Problem::new(slug, detail),
    };
    found.retry = match slug {
        Slug::OutcomeUnknown => Some(Retry::Unknown),
        Slug::Overloaded
        | Slug::StreamUnreachable
        | Slug::StorageFull
        | Slug::NotReady
        | Slug::Behind
        | Slug::RequestTimeout => Some(Retry::Safe),
        Slug::InvalidJson
        | Slug::Forbidden
        | Slug::Gone
        | Slug::IdempotencyKeyReused
        | Slug::PreconditionFailed
        | Slug::BodyTooLarge
        | Slug::UnsupportedMediaType
        | Slug::EntityTooLarge
        | Slug::CommandFailed => Some(Retry::No),
        _ => None,
    };
    found
}

/// A problem as the gateway writes it.
fn problem(problem: &Problem, instance: &str) -> Value {
    let slug = problem.slug;
    let mut body = json!({
        "type": format!("/problem/{}", slug.as_str()),
        "title": slug.title(),
        "status": slug.status(),
        "detail": problem.detail,
        "instance": instance,
        "code": slug.status(),
        "message": problem.detail,
        "request_id": REQUEST_ID,
    });
    if !problem.errors.is_empty() {
        body["errors"] = json!(problem.errors);
    }
    if let Some(retry) = problem.retry {
        body["retry"] = json!(retry);
    }
    body
}
