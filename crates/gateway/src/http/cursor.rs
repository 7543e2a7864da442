//! Opaque cursors: where a page of a list ended.
//!
//! Layout: base64url without padding [RFC 4648 5] of: version `2`, which list it is of (`u64`, big endian, [`Cursor::list_of`]), what the list is
//! sorted by (`0` and a time in milliseconds, `i64`; `1`, the length of a name, `u16`, and the name; `2` for no name), the id, and the first
//! 4 bytes of the XXH3 of all before them, so that a cursor edited by hand is noticed.

use contract::list::NAME_KEY_BYTES_MAX;
use contract::{EntityId, ListPosition, ListQuery, SortKey, Timestamp, TypeName, sealed};
use twox_hash::XxHash3_64;

const VERSION: u8 = 2;
const TIME: u8 = 0;
const NAME: u8 = 1;
const UNNAMED: u8 = 2;

/// The longest cursor, in characters: that of a name as long as any that is sorted by.
pub(crate) const CHARS_MAX: usize = 1536;

/// The longest of a list that is sorted by a time.
pub(crate) const CHARS_BY_TIME_MAX: usize = 128;

/// A place in one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which list: [`Cursor::list_of`].
    pub list: u64,
    /// The last row of the page before.
    pub after: ListPosition,
}

impl Cursor {
    /// Stands for a list, whatever its pages are: another type, filter or order is another list.
    pub fn list_of(entity_type: &TypeName, query: &ListQuery) -> u64 {
        let list = ListQuery { limit: 0, after: None, ..query.clone() };
        // A query of strings and numbers can be written.
        let mut bytes = serde_json::to_vec(&list).unwrap_or_default();
        bytes.extend_from_slice(entity_type.as_str().as_bytes());
        XxHash3_64::oneshot(&bytes)
    }

    /// The opaque text.
    pub fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.list.to_be_bytes());
        match &self.after.key {
            SortKey::Time(time) => {
                bytes.push(TIME);
                bytes.extend_from_slice(&time.as_millis().to_be_bytes());
            }
            SortKey::Name(name) => {
                bytes.push(NAME);
                bytes.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
                bytes.extend_from_slice(name.as_bytes());
            }
            SortKey::Unnamed => bytes.push(UNNAMED),
        }
        bytes.extend_from_slice(self.after.id.as_str().as_bytes());
        sealed::seal(bytes)
    }

    /// Reads what [`Cursor::encode`] wrote; `None` for anything else.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = sealed::open(text, CHARS_MAX)?;
        let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else { return None };
        let (list, rest) = rest.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        let (key, id) = match *kind {
            TIME => {
                let (time, rest) = rest.split_first_chunk::<8>()?;
                (SortKey::Time(Timestamp::from_millis(i64::from_be_bytes(*time))), rest)
            }
            NAME => {
                let (bytes, rest) = rest.split_first_chunk::<2>()?;
                let length = usize::from(u16::from_be_bytes(*bytes));
                let (name, rest) = rest.split_at_checked(length).filter(|_| length <= NAME_KEY_BYTES_MAX)?;
                (SortKey::Name(std::str::from_utf8(name).ok()?.to_owned()), rest)
            }
            UNNAMED => (SortKey::Unnamed, rest),
            _ => return None,
        };
        let id = EntityId::parse(std::str::from_utf8(id).ok()?)?;
        Some(Self { list: u64::from_be_bytes(*list), after: ListPosition { key, id } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_notices_every_edit() {
        let longest = "\u{e9}".repeat(NAME_KEY_BYTES_MAX / 2);
        let keys = [
            SortKey::Time(Timestamp::from_millis(-5)),
            SortKey::Name(String::new()),
            SortKey::Name(longest),
            SortKey::Unnamed,
        ];
        for key in keys {
            let id = EntityId::parse(&"x".repeat(EntityId::BYTES_MAX)).unwrap();
            let cursor = Cursor { list: 7 << 60, after: ListPosition { key, id } };
            let text = cursor.encode();
            let longest = if cursor.after.time().is_some() { CHARS_BY_TIME_MAX } else { CHARS_MAX };
            assert!(text.len() <= longest, "{}", text.len());
            assert_eq!(Cursor::decode(&text), Some(cursor));
            for i in 0..text.len() {
                let mut edited = text.clone().into_bytes();
                edited[i] = if edited[i] == b'A' { b'B' } else { b'A' };
                assert_eq!(Cursor::decode(std::str::from_utf8(&edited).unwrap()), None);
            }
            assert_eq!(Cursor::decode(&format!("{text}A")), None);
        }
        assert_eq!(Cursor::decode(""), None);
    }

    #[test]
    fn another_list_has_another_number() {
        let (one, other) = (TypeName::parse("venue").unwrap(), TypeName::parse("event").unwrap());
        let plain = ListQuery { limit: 50, ..ListQuery::default() };
        let sorted = ListQuery { sort: contract::Sort::parse("-name").unwrap(), ..plain.clone() };
        let next = ListQuery {
            limit: 7,
            after: Some(ListPosition::at(Timestamp::default(), EntityId::parse("a").unwrap())),
            ..plain.clone()
        };
        assert_eq!(Cursor::list_of(&one, &plain), Cursor::list_of(&one, &next));
        assert_ne!(Cursor::list_of(&one, &plain), Cursor::list_of(&other, &plain));
        assert_ne!(Cursor::list_of(&one, &plain), Cursor::list_of(&one, &sorted));
    }
}
