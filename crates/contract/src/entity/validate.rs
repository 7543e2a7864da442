//! Checking what a client sent against an entity type: every bad field at once.

use std::collections::HashMap;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::{Map, Value};

use super::{EntityType, Field, Kind, OBJECT_BYTES_MAX};
use crate::id::EntityId;
use crate::problem::{ERRORS_MAX, FieldError, Place, Problem, Slug};
use crate::time::Timestamp;

/// Every fault is counted, and the first ones are kept.
#[derive(Default)]
struct Faults {
    first: Vec<FieldError>,
    count: usize,
}

impl Faults {
    fn push(&mut self, fault: impl FnOnce() -> FieldError) {
        self.count += 1;
        if self.first.len() < ERRORS_MAX {
            self.first.push(fault());
        }
    }

    fn extend(&mut self, faults: impl IntoIterator<Item = FieldError>) {
        faults.into_iter().for_each(|fault| self.push(|| fault));
    }

    fn none_or_problem<T>(self, good: T) -> Result<T, Problem> {
        match self.count {
            0 => Ok(good),
            count => Err(Problem::with_first_errors(Slug::InvalidEntity, self.first, count)),
        }
    }
}

/// How a body is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Whether required fields must be there (a create), or only those sent are checked (a merge).
    pub complete: bool,
    /// What an `id` in the body must be.
    pub id: IdRule<'a>,
    /// What to do with `created` and `updated`.
    pub timestamps: Timestamps,
}

/// What an `id` in the body must be.
#[derive(Clone, Copy, Debug)]
pub enum IdRule<'a> {
    /// Not there.
    Forbidden,
    /// This one, or not there.
    Equal(&'a EntityId),
}

/// What to do with `created` and `updated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// Drop them: the data store sets its own.
    Ignore,
    /// Store them as sent (imports, restores).
    Keep,
}

/// A body that was read: aliases resolved, values as they are stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The fields sent; `null` clears.
    pub fields: Map<String, Value>,
    /// `created`, where it is to be kept.
    pub created: Option<Timestamp>,
    /// `updated`, where it is to be kept.
    pub updated: Option<Timestamp>,
}

impl Draft {
    /// The fields with the kept times among them, as commands carry them.
    pub fn into_data(self) -> Map<String, Value> {
        let mut data = self.fields;
        for (name, time) in [("created", self.created), ("updated", self.updated)] {
            if let Some(time) = time {
                data.insert(name.to_owned(), Value::String(time.to_string()));
            }
        }
        data
    }
}

impl EntityType {
    /// Reads a body by the rules; the error lists every bad field.
    pub fn accept(&self, body: Map<String, Value>, rules: Rules<'_>) -> Result<Draft, Problem> {
        let mut draft = Draft::default();
        let mut errors = Faults::default();
        for (name, value) in body {
            match name.as_str() {
                "id" => errors.extend(check_id(&value, rules.id)),
                "created" | "updated" => {
                    let kept = if name == "created" { &mut draft.created } else { &mut draft.updated };
                    errors.extend(keep_time(&name, &value, rules.timestamps, kept));
                }
                _ => self.accept_field(name, value, rules.complete, &mut draft.fields, &mut errors),
            }
        }
        if rules.complete {
            let missing = self.fields.iter().filter(|f| f.required && !draft.fields.contains_key(&f.name));
            errors.extend(missing.map(|f| FieldError::field(&f.name, "is required")));
        }
        errors.none_or_problem(draft)
    }

    fn accept_field(
        &self,
        name: String,
        value: Value,
        complete: bool,
        fields: &mut Map<String, Value>,
        errors: &mut Faults,
    ) {
        let Some(field) = self.index.get(&name).map(|i| &self.fields[*i]) else {
            errors.push(|| FieldError::field(&shorten(&name), self.unknown_field()));
            return;
        };
        if fields.contains_key(&field.name) {
            let alias = field.alias.as_deref().unwrap_or_default();
            let detail = format!("`{}` and its alias `{alias}` are both there; send one of them", field.name);
            errors.extend([FieldError::field(&field.name, detail.clone()), FieldError::field(alias, detail)]);
            return;
        }
        let mut value = normalise(field, value);
        if complete {
            drop_null_members(&mut value);
        }
        // The patch of an object is checked once it is merged.
        if complete || !value.is_object() {
            faults(field, &name, &value, errors);
        }
        fields.insert(field.name.clone(), value);
    }

    fn unknown_field(&self) -> String {
        let names: Vec<_> = self.fields.iter().map(|f| f.name.as_str()).collect();
        format!("is no field of {}; its fields are {}", self.name, names.join(", "))
    }

    /// Checks a whole object, as it would be stored: required fields, what a merge put together, and its size.
    pub fn check_whole(&self, fields: &Map<String, Value>, object_bytes: usize) -> Result<(), Problem> {
        if object_bytes > OBJECT_BYTES_MAX {
            let detail =
                format!("the object would have {object_bytes} bytes, more than the {OBJECT_BYTES_MAX} allowed");
            return Err(Problem::new(Slug::EntityTooLarge, detail));
        }
        let mut errors = Faults::default();
        for field in &self.fields {
            match fields.get(&field.name) {
                None | Some(Value::Null) if field.required => {
                    errors.push(|| FieldError::field(&field.name, "is required"));
                }
                Some(value @ Value::Object(_)) => faults(field, &field.name, value, &mut errors),
                _ => {}
            }
        }
        if let Some(whole) = &self.whole {
            let set = fields.iter().filter(|(_, value)| !value.is_null()).map(|(n, v)| (n.clone(), v.clone()));
            let set = Value::Object(set.collect());
            let place = || Place::Pointer("#".to_owned());
            errors.extend(whole.iter_errors(&set).map(|error| FieldError { place: place(), detail: explain(&error) }));
        }
        errors.none_or_problem(())
    }
}

fn check_id(value: &Value, rule: IdRule<'_>) -> Option<FieldError> {
    match (rule, value) {
        (IdRule::Forbidden, _) => {
            Some("is set by the data store; to choose it use PUT with If-None-Match: *".to_owned())
        }
        (IdRule::Equal(id), Value::String(text)) if text == id.as_str() => None,
        (IdRule::Equal(id), _) => Some(format!("must be the path's id, {id}, or be left out")),
    }
    .map(|detail| FieldError::field("id", detail))
}

fn keep_time(name: &str, value: &Value, timestamps: Timestamps, kept: &mut Option<Timestamp>) -> Option<FieldError> {
    if timestamps == Timestamps::Ignore || value.is_null() {
        return None;
    }
    *kept = value.as_str().and_then(Timestamp::parse);
    kept.is_none().then(|| FieldError::field(name, "must be a time in RFC 3339, such as 2026-11-24T09:30:00Z"))
}

/// The value as it is stored, where the schema allows another spelling of it.
fn normalise(field: &Field, value: Value) -> Value {
    match (field.kind, value) {
        (Kind::Flag, Value::Bool(value)) => Value::from(u8::from(value)),
        (Kind::Flag, Value::Number(number)) if number.as_f64() == Some(0.0) => Value::from(0),
        (Kind::Flag, Value::Number(number)) if number.as_f64() == Some(1.0) => Value::from(1),
        (_, value) => value,
    }
}

/// Drops members that are `null` of objects within, as a merge does: none that a merge cannot keep is ever stored. Arrays are
/// replaced whole, and keep theirs.
fn drop_null_members(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(drop_null_members);
    }
}

/// Adds the faults of a field's value, under the name it was sent by.
fn faults(field: &Field, name: &str, value: &Value, errors: &mut Faults) {
    match value {
        Value::Null if field.required => errors.push(|| FieldError::field(name, REQUIRED_NULL)),
        Value::Null => {}
        value if has_nul(value) => errors.push(|| FieldError::field(name, "must not have the character U+0000")),
        value if field.validator.is_valid(value) => {}
        value => match too_long(field, value) {
            // Its items are not looked at: there may be as many as a body has room for.
            Some(detail) => errors.push(|| FieldError::field(name, detail)),
            None => schema_faults(field, name, value, errors),
        },
    }
}

/// Adds what the schema says against a value. One fault a place: what is of the wrong type need not be told that it is not of an
/// enumeration either.
fn schema_faults(field: &Field, name: &str, value: &Value, errors: &mut Faults) {
    let mut found = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for error in field.validator.iter_errors(value) {
        let place = error.instance_path().as_str();
        match places.get(place) {
            None => {
                places.insert(place.to_owned(), found.len());
                found.push(error);
            }
            Some(at) if matches!(error.kind(), ValidationErrorKind::Type { .. }) => found[*at] = error,
            Some(_) => {}
        }
    }
    for error in &found {
        errors.push(|| FieldError::field(name, explain(error)).beneath(error.instance_path().as_str()));
    }
}

fn too_long(field: &Field, value: &Value) -> Option<String> {
    let limit = field.schema.get("maxItems")?.as_u64()?;
    let length = u64::try_from(value.as_array()?.len()).ok()?;
    (length > limit).then(|| items_at_most(limit))
}

fn items_at_most(limit: u64) -> String {
    format!("must have at most {limit} items")
}

const REQUIRED_NULL: &str = "is required and cannot be null";

pub(super) fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

fn shorten(name: &str) -> String {
    name.chars().take(64).collect()
}

/// A fault in our words, without the value: it may be long, or private.
pub(super) fn explain(error: &jsonschema::ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::MaxLength { limit } => format!("must be at most {limit} characters long"),
        ValidationErrorKind::MinLength { limit } => format!("must be at least {limit} characters long"),
        ValidationErrorKind::MaxItems { limit } => items_at_most(*limit),
        ValidationErrorKind::UniqueItems => "must not have the same item twice".to_owned(),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Enum { options } => format!("must be one of {options}"),
        ValidationErrorKind::Pattern { pattern } if pattern == EntityId::PATTERN => {
            "must be an id: 1 to 64 of A-Z a-z 0-9 . _ -".to_owned()
        }
        ValidationErrorKind::BacktrackLimitExceeded { .. } => {
            "could not be checked against the field's pattern within bounds; send a shorter or simpler text".to_owned()
        }
        ValidationErrorKind::Type { kind: TypeKind::Single(one) } => format!("must be of type {one}"),
        ValidationErrorKind::Type { kind: TypeKind::Multiple(many) } => {
            let names: Vec<_> = many.iter().map(|t| t.to_string()).collect();
            format!("must be of type {}", names.join(" or "))
        }
        _ => error.masked_with("the value").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::entity::Registry;

    fn accept(entity_type: &str, body: Value, rules: Rules<'_>) -> Result<Draft, Vec<String>> {
        let registry = Registry::built_in().unwrap();
        let Value::Object(body) = body else { panic!("an object") };
        let accepted = registry.get(entity_type).unwrap().accept(body, rules);
        accepted.map_err(|problem| problem.errors.iter().map(|e| serde_json::to_string(e).unwrap()).collect())
    }

    const CREATE: Rules<'_> = Rules { complete: true, id: IdRule::Forbidden, timestamps: Timestamps::Ignore };
    const MERGE: Rules<'_> = Rules { complete: false, ..CREATE };

    #[test]
    fn resolves_aliases_and_spellings() {
        let body = json!({"name":"Advice","published":true,"desc":"text","created":"never","taxonomy_ids":null});
        let draft = accept("service", body, CREATE).unwrap();
        let expected = json!({"name":"Advice","published":1,"description":"text","taxonomy_ids":null});
        assert_eq!(Value::Object(draft.fields), expected);
        assert_eq!(draft.created, None);
        assert!(accept("taxonomy", json!({"name":"Advice"}), CREATE).unwrap().fields.contains_key("term"));
    }

    #[test]
    fn names_every_bad_field_at_once() {
        let body = json!({"name":7,"published":2,"description":[],"provider_id":"a/b","taxonomy_ids":["x","x"],"colour":1,"id":"x"});
        let errors = accept("service", body, CREATE).unwrap_err();
        assert_eq!(errors.len(), 7, "{errors:#?}");
        assert!(errors[0].contains("#/name") && errors[0].contains("of type string"), "{errors:?}");
        assert!(errors[5].contains("#/colour") && errors[5].contains("its fields are name"), "{errors:?}");
    }

    #[test]
    fn a_merge_asks_only_for_what_is_sent() {
        assert!(accept("provider", json!({}), MERGE).is_ok());
        assert_eq!(accept("provider", json!({"description":null}), MERGE).unwrap().fields["description"], Value::Null);
        assert_eq!(accept("provider", json!({"name":null}), MERGE).unwrap_err().len(), 1);
        assert_eq!(accept("provider", json!({"name":null}), CREATE).unwrap_err().len(), 2);
    }

    #[test]
    fn refuses_nul_long_names_and_both_spellings() {
        for body in [
            json!({"name":"a\u{0}b"}),
            json!({"name":"n".repeat(256)}),
            json!({"description":"n".repeat(65_536)}),
            json!({"flagged":"yes"}),
        ] {
            assert_eq!(accept("provider", body, MERGE).unwrap_err().len(), 1);
        }
        assert!(accept("provider", json!({"name":"\u{20ac}".repeat(255)}), MERGE).is_ok());
        assert_eq!(accept("service", json!({"desc":"a","description":"b"}), MERGE).unwrap_err().len(), 2);
    }

    /// A type with one field, `a`.
    fn one_field(schema: Value) -> std::sync::Arc<EntityType> {
        let text = json!({"type": "object", "properties": {"a": schema}}).to_string();
        std::sync::Arc::clone(Registry::with_files(&[("thing".to_owned(), text)]).unwrap().get("thing").unwrap())
    }

    fn thing(entity_type: &EntityType, value: Value, rules: Rules<'_>) -> Result<Draft, Problem> {
        entity_type.accept(Map::from_iter([("a".to_owned(), value)]), rules)
    }

    #[test]
    fn faults_are_counted_before_the_list_is_cut() {
        let body: Map<_, _> = (0..200).map(|i| (format!("unknown{i}"), json!(1))).collect();
        let problem = Registry::built_in().unwrap().get("provider").unwrap().accept(body, MERGE).unwrap_err();
        assert_eq!(problem.errors.len(), ERRORS_MAX);
        assert!(problem.detail.ends_with("(and 199 more; errors lists the first 100 of 200)"), "{}", problem.detail);
        let items = one_field(json!({"type": "array", "items": {"type": "string"}, "maxItems": 200}));
        let problem = thing(&items, (0..150).collect(), MERGE).unwrap_err();
        assert!(problem.detail.ends_with("the first 100 of 150)"), "{}", problem.detail);
        let problem = thing(&items, (0..201).collect(), MERGE).unwrap_err();
        assert_eq!(problem.detail, "#/a: must have at most 200 items");
    }

    #[test]
    fn a_pattern_that_backtracks_without_end_is_a_fault_in_our_words() {
        let entity_type = one_field(json!({"type": "string", "pattern": "^(a|b|ab)*(?=c)d$"}));
        let problem = thing(&entity_type, json!("ab".repeat(50)), MERGE).unwrap_err();
        assert!(
            problem.detail.contains("could not be checked against the field's pattern within bounds"),
            "{problem:?}"
        );
    }

    #[test]
    fn null_members_are_never_stored() {
        let entity_type = one_field(json!({"type": "object"}));
        let sent = json!({"x": null, "y": {"z": null, "w": [null, {"v": null}]}});
        let draft = thing(&entity_type, sent.clone(), CREATE).unwrap();
        assert_eq!(draft.fields["a"], json!({"y": {"w": [null, {"v": null}]}}));
        let patch = thing(&entity_type, sent.clone(), MERGE).unwrap().fields;
        assert_eq!(patch["a"], sent, "in a merge they clear");
        assert_eq!(entity_type.merge(&Map::new(), patch), draft.fields);
    }

    #[test]
    fn keeps_times_only_where_asked() {
        let rules = Rules { timestamps: Timestamps::Keep, ..MERGE };
        let draft = accept("provider", json!({"created":"2020-01-01T01:00:00+01:00","updated":null}), rules).unwrap();
        assert_eq!(draft.created.unwrap().to_string(), "2020-01-01T00:00:00Z");
        assert_eq!(accept("provider", json!({"created":"yesterday"}), rules).unwrap_err().len(), 1);
    }
}
