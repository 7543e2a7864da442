//! One view as it is kept in memory, ready to be sent.

use std::fmt::Write as _;

use bytes::Bytes;
use contract::entity::stamps;
use contract::{EntityId, EntityType, Timestamp};
use twox_hash::XxHash3_64;

/// A version of an entity with everything a response needs.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: EntityId,
    pub(crate) version: u64,
    /// When the version came to be.
    pub(crate) time: Timestamp,
    pub(crate) created: Timestamp,
    /// The full object as JSON.
    pub(crate) object: Bytes,
    /// Of `object`, for the ETag.
    hash: u64,
}

impl Held {
    /// Checks that the object is this entity's and JSON; writes it anew where another schema wrote it.
    pub(crate) fn new(
        entity_type: &EntityType,
        id: EntityId,
        version: u64,
        time: Timestamp,
        object: Bytes,
        data_schema: &str,
    ) -> Result<Self, String> {
        let stamps = stamps(&object).map_err(|error| error.to_string())?;
        if stamps.id != id.as_str() {
            return Err(format!("its object is that of {}", stamps.id));
        }
        let created = stamps.created;
        let object = if data_schema == entity_type.data_schema() {
            object
        } else {
            entity_type.render_again(&id, &object).map_err(|error| error.to_string())?.into()
        };
        let hash = XxHash3_64::oneshot(&object);
        Ok(Self { id, version, time, created, object, hash })
    }

    /// `"<version>-<hash of the bytes>"`: a strong validator [RFC 9110 8.8.3].
    pub(crate) fn etag(&self) -> String {
        let mut etag = String::with_capacity(40);
        // Writing to a string cannot fail.
        let _ = write!(etag, "\"{}-{:016x}\"", self.version, self.hash);
        etag
    }

    /// Roughly what it takes in memory.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.id.as_str().len() + self.object.len()
    }
}
