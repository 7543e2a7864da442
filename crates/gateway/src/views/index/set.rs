//! Sets of a segment's rows.

use std::borrow::Cow;
use std::sync::Arc;

/// Rows of a segment, by their numbers.
#[derive(Clone, Debug)]
pub(super) enum Set<'a> {
    /// All of them, the dead ones too.
    All,
    /// These, in ascending order.
    Slots(Cow<'a, [u32]>),
    /// A bit per row, and how many are set.
    Bits(Cow<'a, [u64]>, usize),
}

/// So many words of bits.
pub(super) const fn words(rows: usize) -> usize {
    rows.div_ceil(64)
}

impl<'a> Set<'a> {
    pub(super) fn of_bits(bits: Vec<u64>) -> Self {
        let count = bits.iter().map(|word| word.count_ones() as usize).sum();
        Self::Bits(Cow::Owned(bits), count)
    }

    /// At most so many rows, of `rows`.
    pub(super) fn bound(&self, rows: usize) -> usize {
        match self {
            Self::All => rows,
            Self::Slots(slots) => slots.len(),
            Self::Bits(_, count) => *count,
        }
    }

    /// The rows of both.
    pub(super) fn and(self, other: Set<'a>) -> Set<'a> {
        match (self, other) {
            (Self::All, set) | (set, Self::All) => set,
            (Self::Slots(slots), Self::Bits(bits, _)) | (Self::Bits(bits, _), Self::Slots(slots)) => {
                Self::Slots(slots.iter().copied().filter(|slot| has(&bits, *slot)).collect::<Vec<_>>().into())
            }
            (Self::Slots(one), Self::Slots(other)) => Self::Slots(common(&one, &other).into()),
            (Self::Bits(one, _), Self::Bits(other, _)) => {
                let (mut bits, other) = if matches!(one, Cow::Owned(_)) { (one, other) } else { (other, one) };
                bits.to_mut().iter_mut().zip(&*other).for_each(|(bits, other)| *bits &= other);
                Self::of_bits(bits.into_owned())
            }
        }
    }

    /// The rows that are still alive.
    pub(super) fn without(self, dead: &Dead) -> Set<'a> {
        if dead.count == 0 {
            return self;
        }
        match self {
            Self::All => Self::All,
            Self::Slots(slots) if slots.iter().any(|slot| dead.has(*slot)) => {
                Self::Slots(slots.iter().copied().filter(|slot| !dead.has(*slot)).collect::<Vec<_>>().into())
            }
            Self::Slots(slots) => Self::Slots(slots),
            Self::Bits(bits, _) => {
                let mut bits = bits.into_owned();
                for (words, chunk) in bits.chunks_mut(CHUNK_WORDS).zip(&dead.chunks) {
                    if let Some(chunk) = chunk {
                        words.iter_mut().zip(&**chunk).for_each(|(word, dead)| *word &= !dead);
                    }
                }
                Self::of_bits(bits)
            }
        }
    }
}

pub(super) fn has(bits: &[u64], slot: u32) -> bool {
    bits.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
}

/// The set bits within a range, ascending.
pub(super) fn ones(bits: &[u64], range: std::ops::Range<u32>) -> impl DoubleEndedIterator<Item = u32> {
    // By words, so that long stretches without any cost little.
    let words = range.start / 64..range.end.div_ceil(64);
    words.flat_map(move |number| {
        let mut word = bits.get(number as usize).copied().unwrap_or(0);
        let first = number * 64;
        if first < range.start {
            word &= u64::MAX << (range.start - first);
        }
        if range.end - first < 64 {
            word &= (1 << (range.end - first)) - 1;
        }
        Ones(word).map(move |bit| first + bit)
    })
}

struct Ones(u64);

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros())?;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

impl DoubleEndedIterator for Ones {
    fn next_back(&mut self) -> Option<u32> {
        let bit = (self.0 != 0).then(|| 63 - self.0.leading_zeros())?;
        self.0 &= !(1 << bit);
        Some(bit)
    }
}

fn common(one: &[u32], other: &[u32]) -> Vec<u32> {
    let (few, many) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let (mut found, mut rest) = (Vec::new(), many);
    // Where one is much shorter, looking each of it up passes over most of the other.
    let jumps = few.len() * 16 < many.len();
    for slot in few {
        let begin = if jumps {
            rest.partition_point(|other| other < slot)
        } else {
            rest.iter().position(|other| other >= slot).unwrap_or(rest.len())
        };
        rest = &rest[begin..];
        if rest.first() == Some(slot) {
            found.push(*slot);
        }
    }
    found
}

const CHUNK_WORDS: usize = 64;

/// The rows of a segment that have left it. A copy shares what is not changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Dead {
    chunks: Vec<Option<Arc<[u64; CHUNK_WORDS]>>>,
    count: usize,
}

impl Dead {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn has(&self, slot: u32) -> bool {
        let chunk = self.chunks.get(slot as usize / 64 / CHUNK_WORDS).and_then(Option::as_deref);
        chunk.is_some_and(|chunk| chunk[slot as usize / 64 % CHUNK_WORDS] >> (slot % 64) & 1 == 1)
    }

    pub(super) fn insert(&mut self, slot: u32) {
        if self.has(slot) {
            return;
        }
        let number = slot as usize / 64 / CHUNK_WORDS;
        if self.chunks.len() <= number {
            self.chunks.resize(number + 1, None);
        }
        let chunk = self.chunks[number].get_or_insert_with(|| Arc::new([0; CHUNK_WORDS]));
        Arc::make_mut(chunk)[slot as usize / 64 % CHUNK_WORDS] |= 1 << (slot % 64);
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_found_within_a_range_from_both_ends() {
        let mut bits = vec![0; words(300)];
        let set = [0, 1, 63, 64, 127, 128, 200, 299];
        set.iter().for_each(|slot| bits[*slot as usize / 64] |= 1_u64 << (slot % 64));
        for (begin, end) in [(0, 300), (1, 299), (2, 63), (64, 65), (65, 127), (129, 300), (64, 128), (300, 300)] {
            let expected: Vec<u32> = set.iter().copied().filter(|slot| (begin..end).contains(slot)).collect();
            assert_eq!(ones(&bits, begin..end).collect::<Vec<_>>(), expected, "{begin} {end}");
            let mut reversed: Vec<u32> = ones(&bits, begin..end).rev().collect();
            reversed.reverse();
            assert_eq!(reversed, expected, "{begin} {end}");
        }
    }

    #[test]
    fn sets_of_either_kind_have_the_same_rows() {
        let slots = |of: &[u32]| Set::Slots(of.to_vec().into());
        let bits = |of: &[u32]| {
            let mut bits = vec![0; words(200)];
            of.iter().for_each(|slot| bits[*slot as usize / 64] |= 1_u64 << (slot % 64));
            Set::of_bits(bits)
        };
        let rows = |set: Set<'_>| match set {
            Set::All => panic!("not all"),
            Set::Slots(slots) => slots.to_vec(),
            Set::Bits(bits, count) => {
                let rows: Vec<u32> = ones(&bits, 0..200).collect();
                assert_eq!(rows.len(), count);
                rows
            }
        };
        let (one, other) = ([1, 5, 64, 70, 130, 199], [5, 6, 70, 131, 199]);
        let many: Vec<u32> = (0..200).filter(|n| n % 5 == 0).collect();
        let mut dead = Dead::default();
        [70, 70, 3].iter().for_each(|slot| dead.insert(*slot));
        assert_eq!(dead.count(), 2);
        for (a, b) in [
            (slots(&one), slots(&other)),
            (slots(&one), bits(&other)),
            (bits(&one), slots(&other)),
            (bits(&one), bits(&other)),
        ] {
            assert_eq!(rows(a.clone().and(b.clone())), [5, 70, 199]);
            assert_eq!(rows(a.and(b).without(&dead)), [5, 199]);
        }
        assert_eq!(rows(slots(&[70]).and(slots(&many))), [70]);
        assert_eq!(rows(slots(&[71]).and(slots(&many))), [0; 0]);
        assert_eq!(rows(Set::All.and(slots(&one))), one);
    }
}
