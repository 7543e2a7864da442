//! The current complete state of an entity, as it comes back through the stream.

use bytes::Bytes;

use crate::id::{CommandId, Key};
use crate::time::Timestamp;

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
    /// The full object as JSON: `id`, every declared field in schema order, `created`, `updated`.
    pub object: Bytes,
    /// Names the schema the object was written with, as in [`crate::EntityType::data_schema`].
    pub data_schema: String,
}
