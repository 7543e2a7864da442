//! The set of entity types that one program serves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;
use twox_hash::XxHash3_64;

use super::EntityType;
use super::field::{Field, compile};
use super::schema;
use crate::id::TypeName;
use crate::json;

/// First path segments that are no entity types.
const ROUTES: [&str; 10] =
    ["changes", "docs", "health", "operation", "problem", "schema", "versions", "openapi", "asyncapi", "metrics"];

/// Query parameters of lists and writes.
const PARAMETERS: [&str; 9] =
    ["limit", "cursor", "sort", "ids", "since", "q", "expand", "timestamps", "modified_after"];

/// Fields that the data store sets.
const STAMPS: [&str; 3] = ["id", "created", "updated"];

/// The longest name of a field.
const NAME_BYTES_MAX: usize = 64;

/// Keywords of a schema's root that this module reads itself.
const KNOWN_KEYWORDS: [&str; 15] = [
    "$schema",
    "$id",
    "$defs",
    "$comment",
    "title",
    "description",
    "type",
    "required",
    "additionalProperties",
    "unevaluatedProperties",
    "properties",
    "examples",
    "x-label",
    "x-plural",
    "x-name",
];

const BUILT_IN: [(&str, &str); 8] = [
    ("provider", include_str!("../../../../entities/provider.json")),
    ("service", include_str!("../../../../entities/service.json")),
    ("taxonomy", include_str!("../../../../entities/taxonomy.json")),
    ("event", include_str!("../../../../entities/event.json")),
    ("venue", include_str!("../../../../entities/venue.json")),
    ("contact", include_str!("../../../../entities/contact.json")),
    ("costoption", include_str!("../../../../entities/costoption.json")),
    ("eligibility", include_str!("../../../../entities/eligibility.json")),
];

/// Why a set of entity files is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("entity type `{name}`: {reason}")]
pub struct RegistryError {
    /// The type.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// All entity types, by name.
#[derive(Clone, Debug)]
pub struct Registry {
    types: Arc<BTreeMap<TypeName, Arc<EntityType>>>,
    /// In the order of the files: that of documents and of `GET /`.
    order: Arc<[Arc<EntityType>]>,
    plurals: Arc<HashMap<String, Arc<EntityType>>>,
}

impl Registry {
    /// The eight types embedded in the program.
    pub fn built_in() -> Result<Self, RegistryError> {
        Self::with_files(&[])
    }

    /// The embedded types, with these files (name without `.json`, text) replacing or adding some.
    pub fn with_files(files: &[(String, String)]) -> Result<Self, RegistryError> {
        let mut texts: Vec<(&str, &str)> = BUILT_IN.to_vec();
        for (name, text) in files {
            match texts.iter_mut().find(|(known, _)| known == name) {
                Some(known) => known.1 = text,
                None => texts.push((name, text)),
            }
        }
        let order = texts.iter().map(|(name, text)| EntityType::load(name, text).map(Arc::new));
        let order: Arc<[Arc<EntityType>]> = order.collect::<Result<_, _>>()?;
        let types: BTreeMap<_, _> = order.iter().map(|t| (t.name.clone(), Arc::clone(t))).collect();
        let mut plurals = HashMap::new();
        for entity_type in order.iter() {
            let Some(plural) = &entity_type.plural else { continue };
            let taken = types.contains_key(plural.as_str()) || ROUTES.contains(&plural.as_str());
            if taken || plurals.insert(plural.clone(), Arc::clone(entity_type)).is_some() {
                return Err(error(
                    entity_type.name.as_str(),
                    format!("x-plural `{plural}` is the path of something else"),
                ));
            }
        }
        Ok(Self { types: Arc::new(types), order, plurals: Arc::new(plurals) })
    }

    /// A type by its name.
    pub fn get(&self, name: &str) -> Option<&Arc<EntityType>> {
        self.types.get(name)
    }

    /// A type by the plural path of the 1.0.x specification.
    pub fn by_plural(&self, path: &str) -> Option<&Arc<EntityType>> {
        self.plurals.get(path)
    }

    /// All types, the embedded ones first, in the order of the files.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<EntityType>> {
        self.order.iter()
    }
}

impl std::borrow::Borrow<str> for TypeName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl EntityType {
    fn load(name: &str, text: &str) -> Result<Self, RegistryError> {
        Self::read(name, text).map_err(|reason| error(name, reason))
    }

    fn read(name: &str, text: &str) -> Result<Self, String> {
        let type_name =
            TypeName::parse(name).ok_or("a type is named by a lower-case letter and at most 31 of a-z 0-9 _")?;
        if ROUTES.contains(&name) {
            return Err("it is named like a route of the gateway; choose another name".to_owned());
        }
        let root = json::parse_object(text.as_bytes()).map_err(|error| error.to_string())?;
        let file = Value::Object(root.clone());
        schema::check(&file)?;
        let properties = root.get("properties").and_then(Value::as_object).ok_or("it has no `properties`")?;
        let fields = properties.iter().map(|(field, schema)| read_field(field, schema, &root));
        let fields: Vec<Field> = fields.collect::<Result<_, _>>()?;
        let index = index(&fields)?;
        let position = |field: &str| index.get(field).copied().filter(|i| fields[*i].name == field);
        for required in root.get("required").and_then(Value::as_array).into_iter().flatten() {
            required.as_str().and_then(position).ok_or_else(|| format!("required field {required} is not declared"))?;
        }
        let label = match root.get("x-label") {
            None => None,
            Some(label) => Some(label.as_str().and_then(position).ok_or("x-label does not name a field")?),
        };
        let plural = match root.get("x-plural") {
            None => None,
            Some(plural) => {
                Some(plural.as_str().and_then(TypeName::parse).ok_or("x-plural is no path segment")?.to_string())
            }
        };
        let whole = whole(&root)?;
        let hash = XxHash3_64::oneshot(file.to_string().as_bytes());
        let data_schema = format!("/schema/{name}#{hash:016x}");
        Ok(Self { name: type_name, fields, index, label, plural, document: file, data_schema, whole })
    }
}

fn read_field(name: &str, schema: &Value, root: &Map<String, Value>) -> Result<Field, String> {
    check_name(name).map_err(|reason| format!("field `{name}` {reason}"))?;
    let field = Field::new(name, schema, root).map_err(|reason| format!("field `{name}`: {reason}"))?;
    if let Some(alias) = &field.alias {
        check_name(alias).map_err(|reason| format!("field `{name}`: its x-alias `{alias}` {reason}"))?;
    }
    Ok(field)
}

/// Whether a field may be called so: names stand in JSON, in queries and in documents.
fn check_name(name: &str) -> Result<(), &'static str> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !begins || !goes_on || name.len() > NAME_BYTES_MAX {
        return Err("is no name of a field: a letter or _ first, then letters, digits, _ and - of ASCII, at most 64");
    }
    if PARAMETERS.contains(&name) {
        return Err("is named like a query parameter; choose another name");
    }
    if STAMPS.contains(&name) {
        return Err("is set by the data store and cannot be declared");
    }
    Ok(())
}

/// Names and aliases of fields, each once.
fn index(fields: &[Field]) -> Result<HashMap<String, usize>, String> {
    let mut index = HashMap::new();
    for (i, field) in fields.iter().enumerate() {
        for name in std::iter::once(&field.name).chain(&field.alias) {
            if index.insert(name.clone(), i).is_some() {
                return Err(format!("the name `{name}` stands for two fields"));
            }
        }
    }
    Ok(index)
}

/// What the root says beyond its fields, as a validator of the whole object.
fn whole(root: &Map<String, Value>) -> Result<Option<jsonschema::Validator>, String> {
    if root.keys().all(|keyword| KNOWN_KEYWORDS.contains(&keyword.as_str())) {
        return Ok(None);
    }
    let mut schema = root.clone();
    for own in ["properties", "additionalProperties", "unevaluatedProperties", "required", "$id"] {
        schema.remove(own);
    }
    compile(&Value::Object(schema)).map(Some)
}

fn error(name: &str, reason: impl Into<String>) -> RegistryError {
    RegistryError { name: name.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::{IdRule, Rules, Timestamps};

    fn load(name: &str, text: &str) -> Result<Registry, String> {
        Registry::with_files(&[(name.to_owned(), text.to_owned())]).map_err(|error| error.to_string())
    }

    #[test]
    fn the_embedded_types_are_those_of_the_contract() {
        let registry = Registry::built_in().unwrap();
        let names: Vec<_> = registry.iter().map(|t| t.name().to_string()).collect();
        let expected = "provider service taxonomy event venue contact costoption eligibility";
        assert_eq!(names.join(" "), expected);
        assert_eq!(registry.by_plural("costoptions").unwrap().name().as_str(), "costoption");
        assert!(registry.by_plural("taxonomies").is_none());
    }

    #[test]
    fn a_ninth_type_joins_and_a_bad_one_is_named() {
        let registry =
            load("vehicle", r#"{"type":"object","properties":{"plate":{"type":"string"}},"required":["plate"]}"#);
        assert_eq!(registry.unwrap().iter().len(), 9);
        for (name, text, reason) in [
            ("docs", "{}", "named like a route"),
            ("Bad", "{}", "lower-case"),
            ("x", "[]", "a JSON object"),
            ("x", "{}", "no `properties`"),
            ("x", r#"{"properties":{"limit":{}}}"#, "query parameter"),
            ("x", r#"{"properties":{"id":{}}}"#, "data store"),
            ("x", r#"{"properties":{"a":{"type":"strange"}}}"#, "#/properties/a/type"),
            ("x", r#"{"properties":{"a":{"pattern":"("}}}"#, "field `a`"),
            ("x", r#"{"properties":{"a":false}}"#, "field `a`: its schema is `false`"),
            ("x", r#"{"properties":{"a":7}}"#, "#/properties/a"),
            ("x", r#"{"properties":{"a":{"x-filter":"yes"}}}"#, "x-filter"),
            ("x", r#"{"properties":{"a":{"type":"string","default":7}}}"#, "default breaks its own schema"),
            ("x", r#"{"properties":{"a":{"type":"string","default":null}}}"#, "default breaks its own schema"),
            ("x", r#"{"properties":{"a":{"default":{"b":{"c":null}}}}}"#, "a member that is null"),
            ("x", r#"{"properties":{"":{}}}"#, "no name of a field"),
            ("x", r#"{"properties":{"9a":{}}}"#, "no name of a field"),
            ("x", r#"{"properties":{"a b":{}}}"#, "no name of a field"),
            ("x", r#"{"properties":{"ä":{}}}"#, "no name of a field"),
            ("x", r#"{"properties":{"a":{"x-alias":"q"}}}"#, "its x-alias `q` is named like a query parameter"),
            ("x", r#"{"properties":{"a":{"x-alias":"updated"}}}"#, "its x-alias `updated` is set by the data store"),
            ("x", r#"{"properties":{"a":{"x-alias":"a/b"}}}"#, "its x-alias `a/b` is no name"),
            ("x", r#"{"properties":{"a":{"x-alias":7}}}"#, "x-alias must be a string"),
            ("x", r#"{"properties":{"a":{"x-alias":"b"},"b":{}}}"#, "two fields"),
            ("x", r#"{"properties":{"a":{}},"required":["b"]}"#, "not declared"),
            ("x", r#"{"properties":{"a":{}},"x-label":"b"}"#, "x-label"),
            ("x", r#"{"properties":{"a":{}},"x-plural":"provider"}"#, "something else"),
        ] {
            let error = load(name, text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let longest = format!("{{\"properties\":{{\"{}\":{{}}}}}}", "a".repeat(64));
        assert!(load("x", &longest).is_ok());
        assert!(load("x", &longest.replace("aaa\":", "aaaa\":")).unwrap_err().contains("at most 64"));
    }

    const CREATE: Rules<'_> = Rules { complete: true, id: IdRule::Forbidden, timestamps: Timestamps::Ignore };

    #[test]
    fn a_schema_may_refer_to_itself_for_what_is_within() {
        let text = r##"{"properties":{"a":{"$ref":"#/$defs/b"}},"$defs":{"b":{"type":["array","null"],"items":{"$ref":"#/$defs/b"}}}}"##;
        let registry = load("x", text).unwrap();
        let nested = |inner: Value| (0..30).fold(inner, |inner, _| Value::from(vec![inner]));
        for (inner, accepted) in [(Value::Null, true), (Value::from(7), false)] {
            let body = Map::from_iter([("a".to_owned(), nested(inner))]);
            assert_eq!(registry.get("x").unwrap().accept(body, CREATE).is_ok(), accepted);
        }
    }

    #[test]
    fn a_boolean_schema_takes_anything() {
        let registry = load("x", r#"{"properties":{"a":true},"required":["a"]}"#).unwrap();
        for value in [Value::from(7), Value::from("text"), Value::from(vec![1])] {
            let body = Map::from_iter([("a".to_owned(), value)]);
            assert_eq!(registry.get("x").unwrap().accept(body.clone(), CREATE).unwrap().fields, body);
        }
    }
}
