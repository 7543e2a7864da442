//! One field of an entity type.

use serde_json::{Map, Value, json};

/// A declared field.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Another name that is accepted for it, and never returned.
    pub alias: Option<String>,
    /// Whether an entity must have it.
    pub required: bool,
    /// Whether lists can be filtered by it.
    pub filter: bool,
    /// What the gateway must know of its values.
    pub kind: Kind,
    /// What an entity shows where it is unset: `null`, `[]` for lists, or the schema's `default`.
    pub default: Value,
    /// Its schema, as in the file.
    pub schema: Value,
    pub(super) validator: jsonschema::Validator,
}

/// What the gateway must know of a field's values; everything else is the schema's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0 or 1; `true` and `false` are accepted.
    Flag,
    /// An array, replaced whole; unset is `[]`.
    List,
    /// Any other.
    Plain,
}

impl Field {
    /// Reads a property of a schema; the error says what is wrong with it.
    pub(super) fn new(name: &str, schema: &Value, root: &Map<String, Value>) -> Result<Self, String> {
        let Value::Object(properties) = schema else {
            return Err("its schema must be an object".to_owned());
        };
        let kind = Kind::of(properties);
        let default = match (properties.get("default"), kind) {
            (Some(value), _) => value.clone(),
            (None, Kind::List) => json!([]),
            (None, _) => Value::Null,
        };
        let alias = match properties.get("x-alias") {
            None => None,
            Some(Value::String(alias)) => Some(alias.clone()),
            Some(_) => return Err("x-alias must be a string".to_owned()),
        };
        let required = root.get("required").and_then(Value::as_array).is_some_and(|names| names.contains(&json!(name)));
        let filter = properties.get("x-filter") == Some(&Value::Bool(true));
        let validator = compile(&with_definitions(properties.clone(), root))?;
        Ok(Self { name: name.to_owned(), alias, required, filter, kind, default, schema: schema.clone(), validator })
    }
}

impl Kind {
    fn of(schema: &Map<String, Value>) -> Self {
        let is = |name: &str| match schema.get("type") {
            Some(Value::String(one)) => one == name,
            Some(Value::Array(many)) => many.contains(&json!(name)),
            _ => false,
        };
        if is("array") {
            Self::List
        } else if is("integer") && schema.get("enum") == Some(&json!([0, 1])) {
            Self::Flag
        } else {
            Self::Plain
        }
    }
}

/// A property's schema with what `$ref` within the file may point at.
fn with_definitions(mut schema: Map<String, Value>, root: &Map<String, Value>) -> Value {
    for shared in ["$schema", "$defs"] {
        if let Some(value) = root.get(shared) {
            schema.insert(shared.to_owned(), value.clone());
        }
    }
    Value::Object(schema)
}

pub(super) fn compile(schema: &Value) -> Result<jsonschema::Validator, String> {
    jsonschema::draft202012::new(schema).map_err(|error| error.to_string())
}
