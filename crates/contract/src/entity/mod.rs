//! Entity types as data: one JSON Schema (2020-12) file per type describes the fields a client writes.
//!
//! Annotations: `x-alias` (another name that is accepted for a field), `x-filter` (lists can be filtered by it), `x-label`
//! (on the schema: the field that names an entity), `x-plural` (on the schema: the path of the published 1.0.x
//! specification). The code adds `id`, `created` and `updated`, which the data store sets. What a file says that is not
//! honoured is refused when it is loaded.

mod field;
mod filter;
mod registry;
mod render;
mod schema;
mod validate;

use std::collections::HashMap;

use serde_json::{Map, Value};

pub use field::{Field, Kind};
pub use registry::{Registry, RegistryError};
pub use render::{Stamps, stamps};
pub use validate::{Draft, IdRule, Rules, Timestamps};

use crate::id::TypeName;

/// The largest object, in bytes as JSON; checked where merges are decided.
pub const OBJECT_BYTES_MAX: usize = 512 * 1024;

/// One entity type.
#[derive(Debug)]
pub struct EntityType {
    name: TypeName,
    fields: Vec<Field>,
    index: HashMap<String, usize>,
    label: Option<usize>,
    plural: Option<String>,
    document: Value,
    data_schema: String,
    /// What the schema says beyond its fields (`dependentRequired`, `anyOf` ..), checked on the whole object.
    whole: Option<jsonschema::Validator>,
}

impl EntityType {
    /// The type's name and path segment.
    pub fn name(&self) -> &TypeName {
        &self.name
    }

    /// The declared fields, in schema order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// A declared field by its name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(*self.index.get(name)?)
    }

    /// The field that names an entity.
    pub fn label(&self) -> Option<&Field> {
        self.fields.get(self.label?)
    }

    /// The path segment of the published 1.0.x specification, where it has another.
    pub fn plural(&self) -> Option<&str> {
        self.plural.as_deref()
    }

    /// The schema file as it is.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The human name of the type.
    pub fn title(&self) -> &str {
        self.document["title"].as_str().unwrap_or(self.name.as_str())
    }

    /// What the type is, for documents.
    pub fn description(&self) -> &str {
        self.document["description"].as_str().unwrap_or_default()
    }

    /// `/schema/<type>#<hash>`: names the schema an event's data was written with.
    pub fn data_schema(&self) -> &str {
        &self.data_schema
    }

    /// The fields after a merge patch [RFC 7396]: sent ones are set, `null` clears, the rest stay.
    pub fn merge(&self, current: &Map<String, Value>, patch: Map<String, Value>) -> Map<String, Value> {
        let mut merged = current.clone();
        merge_patch(&mut merged, patch);
        merged
    }
}

fn merge_patch(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(patch) => {
                let inner = target.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge_patch(inner, patch);
                }
            }
            value => {
                target.insert(name, value);
            }
        }
    }
}
