//! One field of an entity type.

use serde_json::{Map, Value, json};

use super::validate::{explain, has_nul};

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
    /// Its schema, as in the file; `{}` where that is `true`.
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
        let anything = Map::new();
        let properties = match schema {
            Value::Object(properties) => properties,
            Value::Bool(true) => &anything,
            Value::Bool(false) => {
                return Err("its schema is `false`: no value is ever allowed; leave it out".to_owned());
            }
            _ => return Err("its schema must be an object".to_owned()),
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
        let filter = match properties.get("x-filter") {
            None => false,
            Some(Value::Bool(filter)) => *filter,
            Some(_) => return Err("x-filter must be true or false".to_owned()),
        };
        let validator = compile(&with_definitions(properties.clone(), root))?;
        if let Some(default) = properties.get("default") {
            check_default(default, &validator)?;
        }
        let schema = Value::Object(properties.clone());
        Ok(Self { name: name.to_owned(), alias, required, filter, kind, default, schema, validator })
    }

    /// What an entity with these fields shows: the default where it is unset.
    pub fn shown<'a>(&'a self, fields: &'a Map<String, Value>) -> &'a Value {
        fields.get(&self.name).filter(|value| !value.is_null()).unwrap_or(&self.default)
    }
}

fn check_default(default: &Value, validator: &jsonschema::Validator) -> Result<(), String> {
    if let Err(error) = validator.validate(default) {
        return Err(format!("its default breaks its own schema: {} {}", error.instance_path(), explain(&error)));
    }
    if has_nul(default) || has_null_member(default) {
        return Err("its default has the character U+0000 or a member that is null, which no field can hold".to_owned());
    }
    Ok(())
}

/// Whether a merge patch [RFC 7396] could not express it.
fn has_null_member(value: &Value) -> bool {
    let Value::Object(map) = value else { return false };
    map.values().any(|value| value.is_null() || has_null_member(value))
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
