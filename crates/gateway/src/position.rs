//! How far a reader of the views has come: opaque to clients, the same on every gateway of one stream.
//!
//! Layout: base64url without padding [RFC 4648 5] of: version `1`, the first 8 bytes of the XXH3 of the cluster's name, when it was
//! given out in hours since 1970, the number of partitions, per partition the offset before which nothing is lacking, and the
//! first 4 bytes of the XXH3 of all before them. Numbers are LEB128.

use contract::{Offset, Timestamp, sealed};
use twox_hash::XxHash3_64;

const VERSION: u8 = 1;

/// The longest text: a stream has at most 1024 partitions, most offsets take 5 bytes or fewer, and a URI takes it whole.
const TEXT_BYTES_MAX: usize = 7 * 1024;

/// A cluster, as positions name it.
pub(crate) type ClusterHash = [u8; 8];

/// Everything before these offsets, one per partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The first 8 bytes of the XXH3 of the cluster's name.
    pub cluster: [u8; 8],
    /// When it was given out, in hours since 1970.
    pub hour: u64,
    /// In the order of the partitions.
    pub offsets: Vec<Offset>,
}

impl Position {
    /// The opaque text.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(32 + 6 * self.offsets.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.cluster);
        push(&mut bytes, self.hour);
        push(&mut bytes, self.offsets.len() as u64);
        self.offsets.iter().for_each(|offset| push(&mut bytes, *offset));
        sealed::seal(bytes)
    }

    /// Reads what [`Position::encode`] wrote; `None` for anything else.
    pub fn decode(text: &str) -> Option<Self> {
        let content = sealed::open(text, TEXT_BYTES_MAX)?;
        let (&[VERSION], rest) = content.split_first_chunk::<1>()? else { return None };
        let (cluster, mut rest) = rest.split_first_chunk::<8>()?;
        let hour = number(&mut rest)?;
        let count = number(&mut rest)?;
        // Each offset takes a byte at least, so what is made room for is no more than what came.
        if count > rest.len() as u64 {
            return None;
        }
        let offsets = (0..count).map(|_| number(&mut rest)).collect::<Option<Vec<_>>>()?;
        rest.is_empty().then_some(Self { cluster: *cluster, hour, offsets })
    }

    /// The later of both in each partition.
    pub fn merge(&mut self, other: &Self) {
        self.hour = self.hour.max(other.hour);
        for (mine, theirs) in self.offsets.iter_mut().zip(&other.offsets) {
            *mine = (*mine).max(*theirs);
        }
    }
}

/// How positions name a cluster.
pub(crate) fn cluster_hash(name: &str) -> ClusterHash {
    XxHash3_64::oneshot(name.as_bytes()).to_be_bytes()
}

/// Hours since 1970.
pub(crate) fn hour(now: Timestamp) -> u64 {
    u64::try_from(now.as_seconds() / 3600).unwrap_or(0)
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number from the front; none where it ends early, is too large, or could be shorter.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part || (byte == 0 && shift > 0) {
            return None;
        }
        number |= part << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trips_and_notices_every_edit(
            offsets in prop::collection::vec(prop_oneof![any::<u64>(), 0..1000_u64], 0..20),
            hour in any::<u64>(),
            at in any::<prop::sample::Index>(),
        ) {
            let position = Position { cluster: cluster_hash("a"), hour, offsets };
            let text = position.encode();
            prop_assert_eq!(Position::decode(&text), Some(position));
            let mut edited = text.into_bytes();
            let at = at.index(edited.len());
            edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
            prop_assert_eq!(Position::decode(std::str::from_utf8(&edited).unwrap()), None);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            drop(Position::decode(&text));
        }
    }

    #[test]
    fn what_is_no_position_is_refused_even_with_a_right_checksum() {
        let sealed = |content: &[u8]| sealed::seal(content.to_vec());
        let head = [&[VERSION][..], &[0; 8]].concat();
        let with = |rest: &[u8]| Position::decode(&sealed(&[&head, rest].concat()));
        assert!(with(&[5, 2, 1, 1]).is_some());
        for (rest, why) in [
            (&[5, 2, 1][..], "an offset is missing"),
            (&[5, 1, 1, 1], "something is behind it"),
            (&[5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "more offsets than bytes"),
            (&[5, 1, 0x80, 0], "a number that could be shorter"),
            (&[5, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "more than 64 bits"),
            (&[], "nothing"),
        ] {
            assert_eq!(with(rest), None, "{why}");
        }
        assert_eq!(Position::decode(&sealed(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0])), None, "another version");
        assert_eq!(Position::decode(&"A".repeat(TEXT_BYTES_MAX + 4)), None);
    }

    #[test]
    fn the_later_offsets_of_two_are_kept() {
        let position = |hour, offsets: &[u64]| Position { cluster: [0; 8], hour, offsets: offsets.to_vec() };
        let mut merged = position(1, &[5, 2]);
        merged.merge(&position(3, &[4, 9]));
        assert_eq!(merged, position(3, &[5, 9]));
    }
}
