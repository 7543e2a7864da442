//! The current complete state of an entity, as it comes back through the stream.

use bytes::Bytes;

use crate::id::{CommandId, EntityId, Key};
use crate::time::Timestamp;

/// The highest version that an event may carry, 2^53 - 1: what every JSON reader, Redis' scripts and PostgreSQL hold exactly.
/// A writer that made a thousand versions of one entity every second would need 285,000 years to get there, so a higher one is damaged
/// or forged, and taken for a view it would hide every later view of its entity.
pub const VERSION_MAX: u64 = (1 << 53) - 1;

/// One version of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The entity.
    pub key: Key,
    /// 1, 2, 3 .. per entity, for ever.
    pub version: u64,
    /// When this version came to be.
    pub time: Timestamp,
    /// The command that made it.
    pub correlation: CommandId,
    /// The full object as JSON: `id`, every declared field in schema order, `created`, `updated`. None: the entity was deleted.
    pub object: Option<Bytes>,
    /// Names the schema the object was written with, as in [`crate::EntityType::data_schema`]; empty without an object.
    pub data_schema: String,
}

/// A view read from a record, without a copy of what the record holds: there may be millions to read at a start.
#[derive(Clone, Copy, Debug)]
pub struct ViewRef<'a> {
    /// The entity's type; not checked to be known.
    pub entity_type: &'a str,
    /// The entity; within the grammar.
    pub id: &'a str,
    /// As in [`View`].
    pub version: u64,
    /// As in [`View`].
    pub time: Timestamp,
    /// As in [`View`].
    pub correlation: CommandId,
    /// As in [`View`].
    pub object: Option<&'a Bytes>,
    /// As in [`View`].
    pub data_schema: &'a str,
}

impl ViewRef<'_> {
    /// The view with a life of its own; none where its names are outside the grammar.
    pub fn to_view(self) -> Option<View> {
        let key = Key::new(crate::TypeName::parse(self.entity_type)?, EntityId::parse(self.id)?);
        Some(View {
            key,
            version: self.version,
            time: self.time,
            correlation: self.correlation,
            object: self.object.cloned(),
            data_schema: self.data_schema.to_owned(),
        })
    }
}
