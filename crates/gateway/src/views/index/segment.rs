//! Views that were put in order at once, with all that finds them, and never changed.

use std::cmp::Ordering;
use std::ops::Range;

use contract::{EntityType, KeyRef, PositionRef, Sort, SortBy, Timestamp};

use super::super::Held;
use super::document::{Condition, Document, filters};
use super::postings::{Gathering, Postings};
use super::set::{Dead, Set, has, ones, words};

/// Rows at most: their names lie in one text, whose length must fit 32 bits.
pub(super) const ROWS_MAX: usize = (u32::MAX as usize) / contract::list::NAME_KEY_BYTES_MAX;

/// Rows are numbered by their place in the order of `created`, which therefore needs no more than the numbers.
pub(super) struct Segment {
    rows: Vec<Held>,
    updated: Vec<Timestamp>,
    by_updated: Order,
    /// The names, one after the other, and where each ends.
    names: String,
    name_ends: Vec<u32>,
    /// Those without a name are the last.
    by_name: Order,
    named: u32,
    postings: Vec<Postings>,
}

/// An order, both ways: which row is at a place, and at which place a row is.
struct Order {
    slots: Vec<u32>,
    places: Vec<u32>,
}

impl Order {
    /// Sorts by keys that lie beside the numbers; what they leave open takes a look at the rows, which are all over the memory.
    fn new<K: Ord>(rows: usize, key: impl Fn(u32) -> K, rest: impl Fn(u32, u32) -> Ordering) -> Self {
        let mut keyed: Vec<(K, u32)> = (0..).take(rows).map(|slot| (key(slot), slot)).collect();
        keyed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rest(a.1, b.1)));
        let slots: Vec<u32> = keyed.into_iter().map(|(_, slot)| slot).collect();
        let mut places = vec![0; rows];
        (0..).zip(&slots).for_each(|(place, slot)| places[*slot as usize] = place);
        Self { slots, places }
    }
}

/// A stretch of an order that is still to come, and whether it is gone through backwards.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    places: Range<u32>,
    backwards: bool,
}

impl Part {
    fn len(&self) -> u32 {
        self.places.end.saturating_sub(self.places.start)
    }

    /// How far from its beginning a place is.
    fn distance(&self, place: u32) -> Option<u32> {
        let inside = self.places.contains(&place);
        inside.then(|| if self.backwards { self.places.end - 1 - place } else { place - self.places.start })
    }

    fn place(&self, distance: u32) -> u32 {
        if self.backwards { self.places.end - 1 - distance } else { self.places.start + distance }
    }
}

impl Segment {
    /// Makes one of documents that come in the order of (created, id), [`ROWS_MAX`] at most.
    pub(super) fn new(entity_type: &EntityType, documents: impl Iterator<Item = Document>) -> Self {
        let (mut rows, mut updated, mut names, mut name_ends) = (Vec::new(), Vec::new(), String::new(), Vec::new());
        let mut unnamed = Vec::new();
        let mut gatherings: Vec<Gathering> = filters(entity_type).map(|_| Gathering::default()).collect();
        for (slot, document) in (0..).zip(documents) {
            updated.push(document.updated);
            names.push_str(document.name.as_deref().unwrap_or_default());
            name_ends.push(u32::try_from(names.len()).unwrap_or(u32::MAX));
            if document.name.is_none() {
                unnamed.push(slot);
            }
            for (number, term) in document.terms {
                if let Some(gathering) = gatherings.get_mut(number as usize) {
                    gathering.push(term, slot);
                }
            }
            rows.push(document.held);
        }
        rows.shrink_to_fit();
        updated.shrink_to_fit();
        names.shrink_to_fit();
        name_ends.shrink_to_fit();
        let count = rows.len();
        let by_updated = Order::new(count, |slot| updated[slot as usize], |a, b| by_id(&rows, a, b));
        let name = |slot: u32| text(&names, &name_ends, slot);
        let mut is_unnamed = vec![0; words(count)];
        unnamed.iter().for_each(|slot| is_unnamed[*slot as usize / 64] |= 1 << (slot % 64));
        let by_name = Order::new(
            count,
            |slot| (has(&is_unnamed, slot), first_bytes(name(slot))),
            |a, b| name(a).cmp(name(b)).then_with(|| by_id(&rows, a, b)),
        );
        let named = u32::try_from(count - unnamed.len()).unwrap_or(0);
        let postings = gatherings.into_iter().map(|gathering| gathering.finish(count)).collect();
        Self { rows, updated, by_updated, names, name_ends, by_name, named, postings }
    }

    pub(super) fn rows(&self) -> &[Held] {
        &self.rows
    }

    pub(super) fn row(&self, slot: u32) -> Option<&Held> {
        self.rows.get(slot as usize)
    }

    /// The row with this place in the order of `created`.
    pub(super) fn find(&self, created: Timestamp, id: &str) -> Option<u32> {
        let found =
            self.rows.binary_search_by(|row| row.created().cmp(&created).then_with(|| row.id().cmp(id))).ok()?;
        u32::try_from(found).ok()
    }

    /// The living rows that fit.
    pub(super) fn matching(&self, conditions: &[Condition], dead: &Dead) -> Set<'_> {
        let mut sets: Vec<Set<'_>> = conditions.iter().map(|condition| self.set(condition)).collect();
        sets.sort_by_key(|set| set.bound(self.rows.len()));
        sets.into_iter().fold(Set::All, Set::and).without(dead)
    }

    fn set(&self, condition: &Condition) -> Set<'_> {
        match condition {
            Condition::OneOf(number, terms) => match self.postings.get(*number as usize) {
                Some(postings) => postings.one_of(terms, self.rows.len()),
                None => Set::Slots(Vec::new().into()),
            },
            Condition::ModifiedAfter(after) => {
                let begin = self.by_updated.slots.partition_point(|slot| self.updated[*slot as usize] <= *after);
                let slots = &self.by_updated.slots[begin..];
                if begin == 0 {
                    return Set::All;
                }
                let mut bits = vec![0; words(self.rows.len())];
                slots.iter().for_each(|slot| bits[*slot as usize / 64] |= 1 << (slot % 64));
                Set::of_bits(bits)
            }
        }
    }

    pub(super) fn count(&self, set: &Set<'_>, dead: &Dead) -> usize {
        match set {
            Set::All => self.rows.len() - dead.count(),
            set => set.bound(self.rows.len()),
        }
    }

    /// The first rows of a set that come behind a position, in the order of a list.
    pub(super) fn first(
        &self,
        set: &Set<'_>,
        dead: &Dead,
        sort: Sort,
        after: Option<PositionRef<'_>>,
        limit: usize,
    ) -> Vec<u32> {
        let order = match sort.by {
            SortBy::Created => None,
            SortBy::Updated => Some(&self.by_updated),
            SortBy::Name => Some(&self.by_name),
        };
        let mut found = Vec::with_capacity(limit);
        for part in self.parts(sort, after) {
            let left = limit - found.len();
            match order {
                None => self.walk_created(set, dead, &part, left, &mut found),
                Some(order) => self.walk(order, set, dead, &part, left, &mut found),
            }
        }
        found
    }

    fn walk_created(&self, set: &Set<'_>, dead: &Dead, part: &Part, left: usize, found: &mut Vec<u32>) {
        let Part { places, backwards } = part;
        match (set, backwards) {
            (Set::All, false) => found.extend(places.clone().filter(|slot| !dead.has(*slot)).take(left)),
            (Set::All, true) => found.extend(places.clone().rev().filter(|slot| !dead.has(*slot)).take(left)),
            (Set::Slots(slots), _) => {
                let begin = slots.partition_point(|slot| *slot < places.start);
                let end = slots.partition_point(|slot| *slot < places.end).max(begin);
                let slots = slots[begin..end].iter().copied();
                if *backwards { found.extend(slots.rev().take(left)) } else { found.extend(slots.take(left)) }
            }
            (Set::Bits(bits, _), false) => found.extend(ones(bits, places.clone()).take(left)),
            (Set::Bits(bits, _), true) => found.extend(ones(bits, places.clone()).rev().take(left)),
        }
    }

    fn walk(&self, order: &Order, set: &Set<'_>, dead: &Dead, part: &Part, left: usize, found: &mut Vec<u32>) {
        let in_order = (0..part.len()).map(|distance| order.slots[part.place(distance) as usize]);
        match set {
            Set::All => found.extend(in_order.filter(|slot| !dead.has(*slot)).take(left)),
            Set::Slots(slots) => gather(order, slots.iter().copied(), part, left, found),
            Set::Bits(bits, count) => {
                // Walked are as many rows as it takes until enough fit, gathered those that fit.
                let rows = self.rows.len();
                if count.saturating_mul(*count) < rows.saturating_mul(left) {
                    return gather(order, ones(bits, 0..u32::try_from(rows).unwrap_or(u32::MAX)), part, left, found);
                }
                // Where those that fit stand far back, as all with the newest date do, walking ends.
                let (before, mut steps) = (found.len(), count.saturating_mul(4).max(rows / 64));
                for slot in in_order {
                    if found.len() - before == left {
                        return;
                    }
                    if steps == 0 {
                        found.truncate(before);
                        return gather(
                            order,
                            ones(bits, 0..u32::try_from(rows).unwrap_or(u32::MAX)),
                            part,
                            left,
                            found,
                        );
                    }
                    steps -= 1;
                    if has(bits, slot) {
                        found.push(slot);
                    }
                }
            }
        }
    }

    /// What of an order is behind a position.
    fn parts(&self, sort: Sort, after: Option<PositionRef<'_>>) -> Vec<Part> {
        let count = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        // Names backwards have two parts; else one of the two is empty.
        let middle = match sort {
            Sort { by: SortBy::Name, descending: true } => self.named,
            _ => count,
        };
        let parts = [0..middle, middle..count].into_iter().map(|places| {
            let Some(after) = after else { return Part { places, backwards: sort.descending } };
            // Within a part, the order only goes up or only down.
            let passed = |distance: u32, part: &Part| {
                let slot = self.slot_at(sort.by, part.place(distance));
                sort.compare(self.position(sort.by, slot), after).is_le()
            };
            let part = Part { places, backwards: sort.descending };
            let (mut begin, mut end) = (0, part.len());
            while begin < end {
                let middle = begin.midpoint(end);
                if passed(middle, &part) { begin = middle + 1 } else { end = middle }
            }
            let Range { start, end } = part.places;
            let places = if part.backwards { start..end - begin } else { start + begin..end };
            Part { places, backwards: part.backwards }
        });
        parts.collect()
    }

    fn slot_at(&self, by: SortBy, place: u32) -> u32 {
        match by {
            SortBy::Created => place,
            SortBy::Updated => self.by_updated.slots[place as usize],
            SortBy::Name => self.by_name.slots[place as usize],
        }
    }

    pub(super) fn position(&self, by: SortBy, slot: u32) -> PositionRef<'_> {
        let row = &self.rows[slot as usize];
        let key = match by {
            SortBy::Created => KeyRef::Time(row.created()),
            SortBy::Updated => KeyRef::Time(self.updated[slot as usize]),
            SortBy::Name if self.by_name.places[slot as usize] < self.named => {
                KeyRef::Name(text(&self.names, &self.name_ends, slot))
            }
            SortBy::Name => KeyRef::Unnamed,
        };
        PositionRef { key, id: row.id() }
    }

    /// What it takes in memory beside the views.
    pub(super) fn size_bytes(&self) -> usize {
        let orders = [&self.by_updated, &self.by_name];
        size_of_val(&*self.rows)
            + size_of_val(&*self.updated)
            + self.names.len()
            + size_of_val(&*self.name_ends)
            + orders.map(|order| size_of_val(&*order.slots) + size_of_val(&*order.places)).iter().sum::<usize>()
            + self.postings.iter().map(Postings::size_bytes).sum::<usize>()
    }
}

/// The first of some rows in an order, found by where each of them is in it.
fn gather(order: &Order, slots: impl Iterator<Item = u32>, part: &Part, left: usize, found: &mut Vec<u32>) {
    let mut distances: Vec<u32> = slots.filter_map(|slot| part.distance(order.places[slot as usize])).collect();
    if distances.len() > left {
        if left == 0 {
            return;
        }
        distances.select_nth_unstable(left - 1);
        distances.truncate(left);
    }
    distances.sort_unstable();
    found.extend(distances.into_iter().map(|distance| order.slots[part.place(distance) as usize]));
}

/// Sorts as the text does, as far as it goes.
fn first_bytes(text: &str) -> [u8; 8] {
    let mut first = [0; 8];
    first.iter_mut().zip(text.bytes()).for_each(|(first, byte)| *first = byte);
    first
}

fn by_id(rows: &[Held], a: u32, b: u32) -> Ordering {
    rows[a as usize].id().cmp(rows[b as usize].id())
}

fn text<'a>(names: &'a str, ends: &[u32], slot: u32) -> &'a str {
    let begin = (slot as usize).checked_sub(1).map_or(0, |before| ends[before] as usize);
    &names[begin..ends[slot as usize] as usize]
}
