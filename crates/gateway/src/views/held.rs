//! One view as it is kept in memory, ready to be sent.

use std::sync::Arc;

use bytes::Bytes;
use contract::entity::stamps;
use contract::{ETag, EntityId, EntityType, Timestamp};

/// A version of an entity with everything a response needs, in one allocation: a start reads millions of them, and both
/// its time and its memory go by the number and size of allocations.
///
/// Layout: [`Head`], then the full object, which begins with `{"id":"` and the id.
#[derive(Clone, Debug)]
pub(crate) struct Held(Arc<[u8]>);

/// The numbers before the object, each in native byte order.
struct Head {
    version: u64,
    /// When the version came to be.
    time: i64,
    created: i64,
    /// Of the object, for the ETag.
    hash: u64,
    id_bytes: u64,
}

const HEAD_BYTES: usize = 40;
const BEFORE_ID: &[u8] = b"{\"id\":\"";

impl Head {
    fn write(&self) -> [u8; HEAD_BYTES] {
        let numbers = [
            self.version.to_ne_bytes(),
            self.time.to_ne_bytes(),
            self.created.to_ne_bytes(),
            self.hash.to_ne_bytes(),
            self.id_bytes.to_ne_bytes(),
        ];
        let mut head = [0; HEAD_BYTES];
        head.as_chunks_mut::<8>().0.copy_from_slice(&numbers);
        head
    }
}

impl Held {
    /// Checks that the object is this entity's and JSON; writes it anew where another schema wrote it.
    pub(crate) fn new(
        entity_type: &EntityType,
        id: &str,
        version: u64,
        time: Timestamp,
        object: &[u8],
        data_schema: &str,
    ) -> Result<Self, String> {
        let stamps = stamps(object).map_err(|error| error.to_string())?;
        if stamps.id != id {
            return Err(format!("its object is that of {}", stamps.id));
        }
        let head = |object: &[u8]| Head {
            version,
            time: time.as_millis(),
            created: stamps.created.as_millis(),
            hash: ETag::hash(object),
            id_bytes: id.len() as u64,
        };
        let as_written = data_schema == entity_type.data_schema() && begins_with_id(object, id);
        if as_written {
            return Ok(Self::join(&head(object), object));
        }
        let parsed = EntityId::parse(id).ok_or("its id is outside the grammar")?;
        let object = entity_type.render_again(&parsed, object).map_err(|error| error.to_string())?;
        Ok(Self::join(&head(&object), &object))
    }

    fn join(head: &Head, object: &[u8]) -> Self {
        Self([&head.write(), object].concat().into())
    }

    /// As it lies in memory, for a file of this machine.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes what [`Held::as_bytes`] gave; none where the id is not where it should be.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let held = Self(bytes.into());
        let id_bytes = held.0.len().checked_sub(HEAD_BYTES + BEFORE_ID.len()).and(Some(held.number(4)))?;
        let fits = (1..=EntityId::BYTES_MAX as u64).contains(&id_bytes) && EntityId::is_valid(held.id());
        (fits && begins_with_id(held.object(), held.id())).then_some(held)
    }

    fn number(&self, at: usize) -> u64 {
        self.0.as_chunks::<8>().0.get(at).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    pub(crate) fn version(&self) -> u64 {
        self.number(0)
    }

    /// When the version came to be.
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.number(1).cast_signed())
    }

    pub(crate) fn created(&self) -> Timestamp {
        Timestamp::from_millis(self.number(2).cast_signed())
    }

    pub(crate) fn id(&self) -> &str {
        let begin = HEAD_BYTES + BEFORE_ID.len();
        let end = begin + self.number(4) as usize;
        // What `new` found to be the id, which is ASCII.
        self.0.get(begin..end).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
    }

    /// The full object as JSON.
    pub(crate) fn object(&self) -> &[u8] {
        self.0.get(HEAD_BYTES..).unwrap_or_default()
    }

    /// The full object as a body; copies nothing.
    pub(crate) fn body(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// `"<version>-<hash of the bytes>"`: a strong validator [RFC 9110 8.8.3].
    pub(crate) fn tag(&self) -> ETag {
        ETag::from_parts(self.version(), self.number(3))
    }

    /// What it takes in memory.
    pub(crate) fn size_bytes(&self) -> usize {
        self.0.len()
    }
}

/// So that a body can own a view.
impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.object()
    }
}

fn begins_with_id(object: &[u8], id: &str) -> bool {
    let rest = object.strip_prefix(BEFORE_ID).and_then(|rest| rest.strip_prefix(id.as_bytes()));
    rest.is_some_and(|rest| rest.first() == Some(&b'"'))
}
