//! The complete view of every entity in memory: reads touch no lock, parser or disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::{EntityId, Key, ListQuery, Registry, TypeName};
use tokio::sync::watch;

use super::collection::{Collection, Slot};
use super::rows::Page;
use super::sorted::{Sorted, Unsorted};
use super::{Held, Look};

/// One collection per entity type. Each key is written by one task only: the tail of its partition.
pub(crate) struct Materialised {
    collections: HashMap<TypeName, Arc<Collection>>,
    /// Records that the topic had at the start, and how many of them were read so far: see [`Materialised::make_room`].
    expected: AtomicU64,
    read: AtomicU64,
}

/// So many entities of a type tell how many there will be.
const SAMPLE: u64 = 4096;

/// The places of what one partition's tail reads until it has caught up.
pub(crate) struct Loading {
    by_type: HashMap<TypeName, Vec<Unsorted>>,
    records: usize,
}

impl Loading {
    /// For a partition with so many records.
    pub(crate) fn new(records: u64) -> Self {
        // The room of a run is bounded, whatever the offsets say.
        Self { by_type: HashMap::new(), records: usize::try_from(records).unwrap_or(0).min(1 << 22) }
    }

    fn push(&mut self, entity_type: &TypeName, held: &Held) {
        let runs = match self.by_type.get_mut(entity_type) {
            Some(runs) => runs,
            None => self.by_type.entry(entity_type.clone()).or_default(),
        };
        if runs.last().is_none_or(Unsorted::is_full) {
            runs.push(Unsorted::with_capacity(self.records));
        }
        if let Some(run) = runs.last_mut() {
            run.push(held);
        }
    }
}

impl Materialised {
    pub(crate) fn new(registry: &Registry) -> Self {
        let collections = registry.iter().map(|t| (t.name().clone(), Arc::new(Collection::new(Arc::clone(t)))));
        Self { collections: collections.collect(), expected: AtomicU64::new(0), read: AtomicU64::new(0) }
    }

    /// Tells how many records there are to read at the start, superseded ones included.
    pub(crate) fn expect(&self, records: u64) {
        self.expected.store(records, Ordering::Relaxed);
    }

    /// Makes room for all entities of a type once some of them were read: a map that grows step by step looks at every
    /// entity again each time, and those are in no processor's cache any more.
    fn make_room(&self, collection: &Collection) {
        let read = self.read.fetch_add(1, Ordering::Relaxed) + 1;
        if collection.count.load(Ordering::Relaxed) != SAMPLE {
            return;
        }
        let left = self.expected.load(Ordering::Relaxed).saturating_sub(read);
        let share = left.saturating_mul(SAMPLE) / read;
        collection.entities.pin().reserve(usize::try_from(share).unwrap_or(0));
    }

    pub(crate) fn look(&self, key: &Key) -> Look {
        let Some(collection) = self.collections.get(&key.entity_type) else { return Look::Absent };
        let Some(id) = &key.id else { return Look::Absent };
        match collection.entities.pin().get(id.as_str()) {
            Some(Slot::View(held)) => Look::Found(held.clone()),
            Some(Slot::Deleted(version)) => Look::Deleted(*version),
            Some(Slot::Unreadable) => Look::Unreadable,
            None => Look::Absent,
        }
    }

    /// Whether what is there is this version or a later one.
    pub(crate) fn has_reached(&self, key: &Key, version: u64) -> bool {
        let (Some(collection), Some(id)) = (self.collections.get(&key.entity_type), &key.id) else { return false };
        match collection.entities.pin().get(id.as_str()) {
            Some(Slot::View(held)) => held.version() >= version,
            Some(Slot::Deleted(deleted)) => *deleted >= version,
            // No later view can lift this mark before it is read; waiting would only delay the answer.
            Some(Slot::Unreadable) => true,
            None => false,
        }
    }

    /// Takes a deletion if it is newer than what is there.
    pub(crate) fn delete(&self, key: &Key, version: u64) {
        let (Some(collection), Some(id)) = (self.collections.get(&key.entity_type), &key.id) else { return };
        let entities = collection.entities.pin();
        let is_newer = match entities.get(id.as_str()) {
            Some(Slot::View(before)) => before.version() < version,
            Some(Slot::Deleted(before)) => *before < version,
            Some(Slot::Unreadable) | None => true,
        };
        if is_newer {
            collection.replace(id, Slot::Deleted(version));
        }
    }

    /// Takes a view if it is newer than what is there; its place goes to `loading` while its partition catches up.
    pub(crate) fn apply(&self, entity_type: &TypeName, held: &Held, loading: Option<&mut Loading>) {
        let Some(collection) = self.collections.get(entity_type) else { return };
        match loading {
            Some(loading) => {
                let before = collection.take(held).map(|before| before.map(|before| before.created()));
                if before.is_some_and(|before| before != Some(held.created())) {
                    loading.push(entity_type, held);
                }
                self.make_room(collection);
            }
            None => collection.apply(held),
        }
    }

    /// A partition has caught up: what it read is put in order.
    pub(crate) fn loaded(&self, loading: Loading) {
        for (entity_type, runs) in loading.by_type {
            let Some(collection) = self.collections.get(&entity_type) else { continue };
            let runs: Vec<Sorted> = runs.into_iter().map(Unsorted::sort).collect();
            collection.loaded().extend(runs);
        }
    }

    /// All partitions have caught up. Until then lists are empty.
    pub(crate) fn complete(&self) {
        for collection in self.collections.values() {
            // Set once only: all is complete once.
            let _ = collection.runs.set(std::mem::take(&mut *collection.loaded()));
        }
    }

    /// Marks an entity whose latest record cannot be read.
    pub(crate) fn mark_unreadable(&self, key: &Key) {
        let (Some(collection), Some(id)) = (self.collections.get(&key.entity_type), &key.id) else { return };
        collection.replace(id, Slot::Unreadable);
    }

    /// How many entities of a type there are, without those that were deleted or cannot be read.
    pub(crate) fn count(&self, entity_type: &TypeName) -> u64 {
        self.collections.get(entity_type).map_or(0, |collection| collection.count.load(Ordering::Relaxed))
    }

    /// The entities that were deleted, with the version of that, and those whose latest record could not be read.
    pub(crate) fn without_view(&self, entity_type: &TypeName) -> Vec<(EntityId, Option<u64>)> {
        let Some(collection) = self.collections.get(entity_type) else { return Vec::new() };
        if !collection.without_view.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let entities = collection.entities.pin();
        let without = entities.iter().filter_map(|(named, slot)| match slot {
            Slot::View(_) => None,
            Slot::Deleted(version) => Some((EntityId::parse(named.as_str())?, Some(*version))),
            Slot::Unreadable => Some((EntityId::parse(named.as_str())?, None)),
        });
        without.collect()
    }

    /// Makes room for so many entities of a type.
    pub(crate) fn reserve(&self, entity_type: &TypeName, count: usize) {
        if let Some(collection) = self.collections.get(entity_type) {
            collection.entities.pin().reserve(count);
        }
    }

    /// Forgets everything, before anything was complete.
    pub(crate) fn clear(&self) {
        for collection in self.collections.values() {
            collection.entities.pin().clear();
            collection.count.store(0, Ordering::Relaxed);
            collection.loaded().clear();
        }
    }

    /// One page. Where lists with filters and orders are not indexed yet, that begins, and the error becomes true once they
    /// are.
    pub(crate) fn list(&self, entity_type: &TypeName, query: &ListQuery) -> Result<Page, watch::Receiver<bool>> {
        let Some(collection) = self.collections.get(entity_type) else { return Ok(Page::default()) };
        match &query.ids {
            Some(ids) => Ok(collection.by_ids(query, ids)),
            None if query.is_plain() => Ok(collection.oldest_first(query)),
            None => collection.indexed().map(|index| index.page(query)),
        }
    }

    /// One page in the order of `created`, whatever else the query says.
    pub(crate) fn oldest_first(&self, entity_type: &TypeName, query: &ListQuery) -> Page {
        self.collections.get(entity_type).map(|collection| collection.oldest_first(query)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use contract::Timestamp;

    use super::*;

    fn held(id: &str, version: u64, created: i64) -> Held {
        let registry = Registry::built_in().unwrap();
        let entity_type = registry.get("costoption").unwrap();
        let created = Timestamp::from_millis(created);
        let object = entity_type.render(&EntityId::parse(id).unwrap(), &serde_json::Map::new(), created, created);
        Held::new(entity_type, id, version, created, &object, entity_type.data_schema()).unwrap()
    }

    fn listed(views: &Materialised) -> String {
        let name = TypeName::parse("costoption").unwrap();
        let mut query = ListQuery { limit: 2, ..ListQuery::default() };
        let mut ids = String::new();
        loop {
            let Page { rows, total, next } = views.oldest_first(&name, &query);
            rows.iter().for_each(|row| ids += &format!("{} ", row.id()));
            match next {
                Some(after) => query.after = Some(after),
                None => return format!("{ids}of {total}"),
            }
        }
    }

    #[test]
    fn lists_join_what_was_sorted_and_what_came_since() {
        let views = Materialised::new(&Registry::built_in().unwrap());
        let name = TypeName::parse("costoption").unwrap();
        let mut parts = [Loading::new(3), Loading::new(0)];
        for (part, id, version, created) in
            [(0, "c", 1, 70), (1, "a", 1, 10), (0, "c", 2, 30), (1, "b", 1, 20), (1, "b", 2, 10), (1, "b", 1, 5)]
        {
            views.apply(&name, &held(id, version, created), Some(&mut parts[part]));
        }
        parts.into_iter().for_each(|part| views.loaded(part));
        assert_eq!(listed(&views), "of 3");
        views.complete();
        assert_eq!(listed(&views), "a b c of 3");
        let apply = |id, version, created| views.apply(&name, &held(id, version, created), None);
        apply("d", 1, 20);
        apply("e", 1, 40);
        assert_eq!(listed(&views), "a b d c e of 5");
        // Moved away, and back to where it was sorted.
        apply("a", 2, 50);
        assert_eq!(listed(&views), "b d c e a of 5");
        apply("a", 3, 10);
        assert_eq!(listed(&views), "a b d c e of 5");
        // An older one changes nothing; an unreadable one is not listed, and comes back.
        apply("d", 1, 60);
        views.mark_unreadable(&Key::new(name.clone(), EntityId::parse("b").unwrap()));
        views.mark_unreadable(&Key::new(name.clone(), EntityId::parse("e").unwrap()));
        assert_eq!(listed(&views), "a d c of 3");
        apply("b", 3, 10);
        apply("e", 2, 5);
        assert_eq!(listed(&views), "e a b d c of 5");
        // A deletion counts by its version, and what is created anew comes behind it.
        let key = |id| Key::new(name.clone(), EntityId::parse(id).unwrap());
        views.delete(&key("b"), 3);
        views.delete(&key("e"), 3);
        views.delete(&key("f"), 2);
        assert_eq!(listed(&views), "a b d c of 4");
        assert!(matches!(views.look(&key("e")), Look::Deleted(3)) && matches!(views.look(&key("f")), Look::Deleted(2)));
        assert!(views.has_reached(&key("e"), 3) && !views.has_reached(&key("e"), 4));
        apply("e", 3, 5);
        apply("f", 3, 90);
        assert_eq!(listed(&views), "a b d c f of 5");
    }
}
