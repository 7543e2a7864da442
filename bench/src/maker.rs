//! Entities in any number, made from the rows of a file.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use contract::{CommandId, EntityId, EntityType, Env, Key, Registry, Timestamp, json};
use serde_json::{Map, Value};
use store::decide::{Entity, Revision};

/// The source of the views made here.
pub(crate) const SOURCE: &str = "/store/1";

/// What every entity is made from.
pub(crate) struct Maker {
    env: Arc<dyn Env>,
    entity_type: Arc<EntityType>,
    data_schema: Arc<str>,
    rows: Vec<Map<String, Value>>,
    begun: Timestamp,
}

impl Maker {
    /// Services (JSON Lines) whose fields the entities get, in turn.
    pub(crate) fn new(like: &Path, env: Arc<dyn Env>) -> Result<Self> {
        let registry = Registry::built_in()?;
        let entity_type = Arc::clone(registry.get("service").context("there is no type service")?);
        let text = std::fs::read(like).with_context(|| like.display().to_string())?;
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let rows = lines.map(|line| fields(&entity_type, line)).collect::<Result<Vec<_>>>()?;
        Ok(Self { data_schema: entity_type.data_schema().into(), begun: env.now(), env, entity_type, rows })
    }

    pub(crate) fn begun(&self) -> Timestamp {
        self.begun
    }

    /// The first version of an entity.
    pub(crate) fn entity(&self, number: u64) -> Result<(Key, Revision)> {
        let count = self.rows.len() as u64;
        let mut fields = self.rows[usize::try_from(number % count)?].clone();
        if let Some(Value::String(name)) = fields.get_mut("name") {
            // Rows repeat and entities do not.
            name.push_str(&format!(" ({})", number / count));
        }
        let id = EntityId::from_uuid(self.env.uuid());
        let time = self.begun.plus_millis(i64::try_from(number)? - 2_000_000_000);
        let object = bytes::Bytes::from(self.entity_type.render(&id, &fields, time, time));
        let key = Key::new(self.entity_type.name().clone(), id);
        let (data_schema, command) = (Arc::clone(&self.data_schema), CommandId(self.env.uuid()));
        let entity = Entity { version: 1, object, data_schema, created: time, updated: time, time, command };
        Ok((key, Revision::Live(entity)))
    }
}

/// The fields a client would have sent.
fn fields(entity_type: &EntityType, line: &[u8]) -> Result<Map<String, Value>> {
    let mut row = json::parse_object(line)?;
    row.retain(|name, value| !value.is_null() && entity_type.field(name).is_some());
    Ok(row)
}
