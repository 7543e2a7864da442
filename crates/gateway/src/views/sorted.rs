//! The order of many rows, made at once and never changed.

use contract::{EntityId, ListPosition, Timestamp};

use super::Held;

/// A row's place in a list: by `created`, then by id.
pub(super) type Place<'a> = (Timestamp, &'a str);

/// Places as they come; all ids lie in one text, for a million of their own would be a million allocations.
#[derive(Debug, Default)]
pub(super) struct Unsorted {
    ids: String,
    places: Vec<Packed>,
}

/// Places in order, each once.
#[derive(Debug)]
pub(super) struct Sorted(Unsorted);

#[derive(Clone, Copy, Debug)]
struct Packed {
    created: Timestamp,
    /// Where the id lies in the text.
    begin: u32,
    id_bytes: u8,
}

impl Unsorted {
    /// With room for so many places with UUIDs as ids. Room that is not used costs no memory: the system gives it when it is
    /// first written; to grow step by step would write everything twice.
    pub(super) fn with_capacity(places: usize) -> Self {
        Self { ids: String::with_capacity(places.saturating_mul(36)), places: Vec::with_capacity(places) }
    }

    /// Whether there is room for one more: a text has at most so many bytes as `begin` can tell.
    pub(super) fn is_full(&self) -> bool {
        self.ids.len() >= u32::MAX as usize - EntityId::BYTES_MAX
    }

    pub(super) fn push(&mut self, held: &Held) {
        let id = held.id();
        // An id has at most 64 bytes, and the text is not full.
        let place = u32::try_from(self.ids.len()).ok().zip(u8::try_from(id.len()).ok());
        if let Some((begin, id_bytes)) = place {
            self.places.push(Packed { created: held.created(), begin, id_bytes });
            self.ids.push_str(id);
        }
    }

    pub(super) fn sort(mut self) -> Sorted {
        let ids = &self.ids;
        self.places.sort_unstable_by_key(|packed| packed.place(ids));
        self.places.dedup_by_key(|packed| packed.place(ids));
        Sorted(self)
    }
}

impl Packed {
    fn place(self, ids: &str) -> Place<'_> {
        let begin = self.begin as usize;
        (self.created, &ids[begin..begin + usize::from(self.id_bytes)])
    }
}

impl Sorted {
    /// The places behind one, in order.
    pub(super) fn after(&self, after: Option<&ListPosition>) -> impl Iterator<Item = Place<'_>> {
        let Self(Unsorted { ids, places }) = self;
        let begin = after.map_or(0, |after| {
            let after = (after.time().unwrap_or_default(), after.id.as_str());
            places.partition_point(|packed| packed.place(ids) <= after)
        });
        places[begin..].iter().map(|packed| packed.place(ids))
    }
}
