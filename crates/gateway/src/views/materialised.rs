//! The complete view of every entity in memory: reads touch no lock, parser or disk.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::{EntityId, Key, ListPosition, ListQuery, Registry, Timestamp, TypeName};
use crossbeam_skiplist::SkipSet;

use super::{Held, Look};

/// One collection per entity type. Each key is written by one task only: the tail of its partition.
pub(crate) struct Materialised {
    collections: HashMap<TypeName, Collection>,
}

#[derive(Default)]
struct Collection {
    entities: papaya::HashMap<EntityId, Slot>,
    /// Oldest first: by `created`, then by id.
    order: SkipSet<(Timestamp, EntityId)>,
    count: AtomicU64,
}

#[derive(Clone)]
enum Slot {
    View(Arc<Held>),
    /// The latest record could not be read; an older view would be wrong.
    Unreadable,
}

impl Materialised {
    pub(crate) fn new(registry: &Registry) -> Self {
        let collections = registry.iter().map(|t| (t.name().clone(), Collection::default()));
        Self { collections: collections.collect() }
    }

    pub(crate) fn look(&self, key: &Key) -> Look {
        let Some(collection) = self.collections.get(&key.entity_type) else { return Look::Absent };
        let Some(id) = &key.id else { return Look::Absent };
        match collection.entities.pin().get(id) {
            Some(Slot::View(held)) => Look::Found(Arc::clone(held)),
            Some(Slot::Unreadable) => Look::Unreadable,
            None => Look::Absent,
        }
    }

    /// Takes a view if it is newer than what is there.
    pub(crate) fn apply(&self, entity_type: &TypeName, held: Arc<Held>) {
        let Some(collection) = self.collections.get(entity_type) else { return };
        let entities = collection.entities.pin();
        let place = (held.created, held.id.clone());
        let before = match entities.get(&held.id) {
            Some(Slot::View(before)) if before.version >= held.version => return,
            Some(Slot::View(before)) => Some(before.created),
            Some(Slot::Unreadable) | None => None,
        };
        entities.insert(held.id.clone(), Slot::View(held));
        match before {
            Some(created) if created == place.0 => {}
            Some(created) => {
                // The new place first: a list under way may see the row at either, and skips the one that is wrong.
                let old = (created, place.1.clone());
                collection.order.insert(place);
                collection.order.remove(&old);
            }
            None => {
                collection.order.insert(place);
                collection.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Marks an entity whose latest record cannot be read.
    pub(crate) fn mark_unreadable(&self, key: &Key) {
        let (Some(collection), Some(id)) = (self.collections.get(&key.entity_type), &key.id) else { return };
        let entities = collection.entities.pin();
        if let Some(Slot::View(before)) = entities.insert(id.clone(), Slot::Unreadable) {
            collection.order.remove(&(before.created, id.clone()));
            collection.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// One page: the rows, how many there are in all, and where the next page begins.
    pub(crate) fn list(
        &self,
        entity_type: &TypeName,
        query: &ListQuery,
    ) -> (Vec<Arc<Held>>, u64, Option<ListPosition>) {
        let Some(collection) = self.collections.get(entity_type) else { return (Vec::new(), 0, None) };
        let from = match &query.after {
            Some(after) => Bound::Excluded((after.created, after.id.clone())),
            None => Bound::Unbounded,
        };
        let entities = collection.entities.pin();
        let mut rows = Vec::with_capacity(query.limit);
        for place in collection.order.range((from, Bound::Unbounded)) {
            let (created, id) = place.value();
            match entities.get(id) {
                Some(Slot::View(held)) if held.created == *created => {}
                _ => continue,
            }
            if rows.len() == query.limit {
                // There is one more, so the page has a next one.
                let last: Option<&Arc<Held>> = rows.last();
                let next = last.map(|held| ListPosition { created: held.created, id: held.id.clone() });
                return (rows, collection.count.load(Ordering::Relaxed), next);
            }
            if let Some(Slot::View(held)) = entities.get(id) {
                rows.push(Arc::clone(held));
            }
        }
        (rows, collection.count.load(Ordering::Relaxed), None)
    }
}
