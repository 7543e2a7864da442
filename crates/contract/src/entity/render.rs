//! Writing and reading full objects.

use std::io::Write as _;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Map, Value};

use super::EntityType;
use crate::id::EntityId;
use crate::json;
use crate::time::Timestamp;

impl EntityType {
    /// The full object as JSON: `id`, every declared field in schema order, `created`, `updated`.
    pub fn render(
        &self,
        id: &EntityId,
        fields: &Map<String, Value>,
        created: Timestamp,
        updated: Timestamp,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(768);
        // Writing to memory cannot fail, nor can a map with string keys.
        let _ = write!(out, "{{\"id\":\"{id}\"");
        for field in &self.fields {
            out.push(b',');
            let _ = serde_json::to_writer(&mut out, &field.name);
            out.push(b':');
            let _ = serde_json::to_writer(&mut out, field.shown(fields));
        }
        let _ = write!(out, ",\"created\":\"{created}\",\"updated\":\"{updated}\"}}");
        out.shrink_to_fit();
        out
    }

    /// The declared fields of a full object that were set, whichever schema it was written with.
    pub fn fields_of(&self, object: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
        // serde_json's own reader takes an inner object with one certain key for something else (`raw_value`).
        let mut map = json::parse_object(object).map_err(serde_json::Error::custom)?;
        map.retain(|name, value| !value.is_null() && self.field(name).is_some_and(|field| field.name == *name));
        Ok(map)
    }

    /// The full object as this schema writes it, from one that another schema wrote.
    pub fn render_again(&self, id: &EntityId, object: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let stamps = stamps(object)?;
        Ok(self.render(id, &self.fields_of(object)?, stamps.created, stamps.updated))
    }
}

/// What the data store set in a full object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps<'a> {
    /// The entity.
    pub id: &'a str,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// Reads the stamps of a full object; checks on the way that the whole of it is JSON.
pub fn stamps(object: &[u8]) -> Result<Stamps<'_>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        id: &'a str,
        created: &'a str,
        updated: &'a str,
    }
    let raw: Raw<'_> = serde_json::from_slice(object)?;
    let time =
        |text: &str| Timestamp::parse(text).ok_or_else(|| serde_json::Error::custom("a time in RFC 3339 is expected"));
    Ok(Stamps { id: raw.id, created: time(raw.created)?, updated: time(raw.updated)? })
}
