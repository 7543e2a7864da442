//! The order of many rows, made at once and never changed.

use contract::{ListPosition, Timestamp};

use super::Held;

/// A row's place in a list: by `created`, then by id.
pub(super) type Place<'a> = (Timestamp, &'a str);

/// Places in order; all ids lie in one text, for a million of their own would be a million allocations.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    ids: Box<str>,
    places: Box<[Packed]>,
}

#[derive(Debug)]
struct Packed {
    created: Timestamp,
    /// Where the id begins in the text; it ends where the next one begins.
    begin: usize,
}

impl Sorted {
    pub(super) fn new<'a>(views: impl Iterator<Item = &'a Held>) -> Self {
        let mut sorted: Vec<Place<'_>> = views.map(|held| (held.created(), held.id())).collect();
        sorted.sort_unstable();
        let mut ids = String::with_capacity(sorted.iter().map(|(_, id)| id.len()).sum());
        let mut places = Vec::with_capacity(sorted.len());
        for (created, id) in sorted {
            places.push(Packed { created, begin: ids.len() });
            ids.push_str(id);
        }
        Self { ids: ids.into(), places: places.into() }
    }

    /// The places behind one, in order.
    pub(super) fn after(&self, after: Option<&ListPosition>) -> impl Iterator<Item = Place<'_>> {
        let begin = after.map_or(0, |after| self.count_until((after.created, after.id.as_str())));
        (begin..self.places.len()).map(|number| self.place(number))
    }

    fn count_until(&self, place: Place<'_>) -> usize {
        let (mut low, mut high) = (0, self.places.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.place(middle) <= place {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn place(&self, number: usize) -> Place<'_> {
        let Packed { created, begin } = &self.places[number];
        let end = self.places.get(number + 1).map_or(self.ids.len(), |next| next.begin);
        (*created, &self.ids[*begin..end])
    }
}
