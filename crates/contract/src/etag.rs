//! Entity tags: the strong validators of views [RFC 9110 8.8.3].

use std::fmt;

use twox_hash::XxHash3_64;

/// `"<version>-<hash of the bytes>"`. Gateways send it, and the data store compares conditions with it: both make it here,
/// from the object as today's schema writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ETag {
    version: u64,
    hash: u64,
}

impl ETag {
    /// The tag of a version whose object has these bytes.
    pub fn of(version: u64, object: &[u8]) -> Self {
        Self { version, hash: Self::hash(object) }
    }

    /// The tag of a version whose object has bytes with this [`ETag::hash`].
    pub const fn from_parts(version: u64, hash: u64) -> Self {
        Self { version, hash }
    }

    /// What the tag says of an object's bytes.
    pub fn hash(object: &[u8]) -> u64 {
        XxHash3_64::oneshot(object)
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}-{:016x}\"", self.version, self.hash)
    }
}
