//! Which rows of a segment show which value, for one filter.

use std::borrow::Cow;
use std::collections::HashMap;

use super::document::Term;
use super::set::{Set, words};

/// A value that more than one row in so many shows is kept as a bit per row. At most so many values can be, so a filter's
/// bits take at most 16 bytes a row; and lists of rows stay so short that going through one is quick.
const SPARSE: usize = 128;

/// The rows by value. Rows are numbered in the order of the segment, and lists of them ascend.
#[derive(Debug, Default)]
pub(super) struct Postings {
    /// In order.
    terms: Vec<Term>,
    places: Vec<Place>,
    slots: Vec<u32>,
    bits: Vec<Box<[u64]>>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Slots { begin: u32, count: u32 },
    Bits { number: u32, count: u32 },
}

/// Takes the entries of one filter, by ascending row.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    numbers: HashMap<Term, u32, ahash::RandomState>,
    counts: Vec<u32>,
    entries: Vec<(u32, u32)>,
}

impl Gathering {
    pub(super) fn push(&mut self, term: Term, slot: u32) {
        let Self { numbers, counts, entries } = self;
        let next = u32::try_from(counts.len()).unwrap_or(u32::MAX);
        let number = *numbers.entry(term).or_insert(next);
        if number == next {
            counts.push(0);
        }
        if let Some(count) = counts.get_mut(number as usize) {
            *count += 1;
        }
        entries.push((number, slot));
    }

    /// Sorts by counting, as the rows ascend already.
    pub(super) fn finish(self, rows: usize) -> Postings {
        let Self { numbers, counts, entries } = self;
        let mut terms: Vec<(Term, u32)> = numbers.into_iter().collect();
        terms.sort_unstable();
        let mut postings = Postings { terms: Vec::with_capacity(terms.len()), ..Postings::default() };
        let (mut places, mut begin) = (vec![Place::Slots { begin: 0, count: 0 }; counts.len()], 0);
        for (term, number) in &terms {
            let count = counts[*number as usize];
            let place = if count as usize * SPARSE > rows {
                postings.bits.push(vec![0; words(rows)].into());
                Place::Bits { number: u32::try_from(postings.bits.len() - 1).unwrap_or(0), count }
            } else {
                begin += count;
                Place::Slots { begin: begin - count, count }
            };
            places[*number as usize] = place;
            postings.terms.push(*term);
            postings.places.push(place);
        }
        postings.slots = vec![0; begin as usize];
        for (number, slot) in entries {
            match &mut places[number as usize] {
                Place::Slots { begin, .. } => {
                    postings.slots[*begin as usize] = slot;
                    *begin += 1;
                }
                Place::Bits { number, .. } => postings.bits[*number as usize][slot as usize / 64] |= 1 << (slot % 64),
            }
        }
        postings
    }
}

impl Postings {
    /// The rows that show one of these values.
    pub(super) fn one_of(&self, terms: &[Term], rows: usize) -> Set<'_> {
        let found = terms.iter().filter_map(|term| Some(self.places[self.terms.binary_search(term).ok()?]));
        let places: Vec<Place> = found.collect();
        let slots = |begin: u32, count: u32| &self.slots[begin as usize..(begin + count) as usize];
        match places.as_slice() {
            [] => Set::Slots(Cow::Borrowed(&[])),
            [Place::Slots { begin, count }] => Set::Slots(Cow::Borrowed(slots(*begin, *count))),
            [Place::Bits { number, count }] => Set::Bits(Cow::Borrowed(&*self.bits[*number as usize]), *count as usize),
            many => {
                // A row may show several of them, and is there once all the same.
                let mut bits = vec![0; words(rows)];
                for place in many {
                    match place {
                        Place::Slots { begin, count } => {
                            slots(*begin, *count).iter().for_each(|slot| bits[*slot as usize / 64] |= 1 << (slot % 64));
                        }
                        Place::Bits { number, .. } => {
                            bits.iter_mut().zip(&*self.bits[*number as usize]).for_each(|(all, one)| *all |= one);
                        }
                    }
                }
                Set::of_bits(bits)
            }
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        size_of_val(&*self.terms)
            + size_of_val(&*self.places)
            + size_of_val(&*self.slots)
            + self.bits.iter().map(|bits| size_of_val(&**bits)).sum::<usize>()
    }
}
