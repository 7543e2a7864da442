//! What lies in Redis under our keys.
//!
//! | key | value |
//! |---|---|
//! | `<prefix>:<type>:<id>` | `dos1 <generation> <version>` LF `<hash> <kind> <time> <dataschema>` LF object |
//! | `<prefix>:@<cluster>:<partition>` | `<generation> <position>` |
//!
//! The first line is what the scripts read and write. `hash` is XXH3 of the key, the version and everything behind the
//! hash, so that damage and what others wrote there is told from ours. `kind` is `view`, `deleted`
//! (no object), or `absent` (version 0, no object).
//! A kind that is not known is as good as nothing: another program's version may have written it.

use contract::view::VERSION_MAX;
use contract::{EntityId, EntityType, Key, Offset, Timestamp};
use twox_hash::XxHash3_64;

use super::super::Held;
use super::window::State;

/// The largest value that is read.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// What is known of an entity.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    View(Held),
    /// It was deleted, with this version.
    Deleted(u64),
    /// There never was one.
    Absent,
}

impl Entry {
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::View(held) => held.version(),
            Self::Deleted(version) => *version,
            Self::Absent => 0,
        }
    }
}

/// The value without its first line.
pub(super) fn encode(key: &Key, entry: &Entry, data_schema: &str) -> Vec<u8> {
    let (kind, time, object) = match entry {
        Entry::View(held) => ("view", held.time().as_millis(), held.object()),
        Entry::Deleted(_) => ("deleted", 0, &[][..]),
        Entry::Absent => ("absent", 0, &[][..]),
    };
    let rest = [format!("{kind} {time} {data_schema}\n").as_bytes(), object].concat();
    [format!("{:016x} ", hash(key, entry.version(), &rest)).as_bytes(), &rest].concat()
}

fn hash(key: &Key, version: u64, rest: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(format!("{key} {version}").as_bytes()), rest)
}

/// Reads a value: its generation and what it says; `None` where it is not ours or damaged.
pub(super) fn decode<'a>(entity_type: &EntityType, key: &Key, value: &'a [u8]) -> Option<(&'a str, Entry)> {
    let (first, body) = split(value, b'\n')?;
    let [b"dos1", generation, version] = first.split(|b| *b == b' ').collect::<Vec<_>>()[..] else { return None };
    let version = number(version).filter(|version| *version <= VERSION_MAX)?;
    let (sum, rest) = split(body, b' ')?;
    if u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()? != hash(key, version, rest) {
        return None;
    }
    let (head, object) = split(rest, b'\n')?;
    let head = std::str::from_utf8(head).ok()?;
    let [kind, time, data_schema] = head.splitn(3, ' ').collect::<Vec<_>>()[..] else { return None };
    let generation = std::str::from_utf8(generation).ok()?;
    let entry = match kind {
        "deleted" => Entry::Deleted(version),
        "absent" => Entry::Absent,
        "view" => {
            let (id, time) = (key.id.as_ref().map_or("", EntityId::as_str), time.parse().ok()?);
            Entry::View(Held::new(entity_type, id, version, Timestamp::from_millis(time), object, data_schema).ok()?)
        }
        _ => return None,
    };
    Some((generation, entry))
}

/// Reads a partition's state.
pub(super) fn decode_state(value: &[u8]) -> Option<State> {
    let (generation, position) = split(value, b' ')?;
    let position: Offset = number(position)?;
    Some(State { generation: std::str::from_utf8(generation).ok()?.to_owned(), position })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|b| *b == at)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}
