//! Opaque cursors: where a page of a list ended.
//!
//! Layout: base64url without padding [RFC 4648 5] of: version `1`, `created` in milliseconds (`i64`, big endian), the length
//! of the type's name (`u8`), the name, the id, and the first 4 bytes of the XXH3 of all before them, so that a cursor edited
//! by hand is noticed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{EntityId, ListPosition, Timestamp, TypeName};
use twox_hash::XxHash3_64;

const VERSION: u8 = 1;

/// A place in the list of one entity type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The type whose list it belongs to.
    pub entity_type: TypeName,
    /// The last row of the page before.
    pub after: ListPosition,
}

impl Cursor {
    /// The opaque text.
    pub fn encode(&self) -> String {
        let name = self.entity_type.as_str().as_bytes();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.after.time().unwrap_or_default().as_millis().to_be_bytes());
        bytes.push(name.len().try_into().unwrap_or(u8::MAX));
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(self.after.id.as_str().as_bytes());
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Cursor::encode`] wrote; `None` for anything else.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > 256 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (bytes, check) = bytes.split_last_chunk::<4>()?;
        if checksum(bytes) != *check {
            return None;
        }
        let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else { return None };
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (&[name_len], rest) = rest.split_first_chunk::<1>()?;
        let (name, id) = rest.split_at_checked(usize::from(name_len))?;
        let entity_type = TypeName::parse(std::str::from_utf8(name).ok()?)?;
        let id = EntityId::parse(std::str::from_utf8(id).ok()?)?;
        let created = Timestamp::from_millis(i64::from_be_bytes(*created));
        Some(Self { entity_type, after: ListPosition::at(created, id) })
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let hash = XxHash3_64::oneshot(bytes).to_be_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_notices_every_edit() {
        let cursor = Cursor {
            entity_type: TypeName::parse("provider").unwrap(),
            after: ListPosition::at(Timestamp::from_millis(-5), EntityId::parse("a.b").unwrap()),
        };
        let text = cursor.encode();
        assert_eq!(Cursor::decode(&text), Some(cursor));
        for i in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[i] = if edited[i] == b'A' { b'B' } else { b'A' };
            assert_eq!(Cursor::decode(std::str::from_utf8(&edited).unwrap()), None);
        }
        assert_eq!(Cursor::decode(""), None);
    }
}
