//! The entities of one type in memory, by their ids and in the order of `created`.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use contract::{EntityId, EntityType, ListPosition, ListQuery, Timestamp};
use crossbeam_skiplist::SkipSet;
use tokio::sync::watch;

use super::Held;
use super::index::{Index, in_background};
use super::rows::{Page, Rows};
use super::sorted::{Place, Sorted};

/// So many entities are indexed at once, while whoever asked waits.
const FEW: u64 = 5000;

/// The entities of one type.
pub(super) struct Collection {
    entity_type: Arc<EntityType>,
    pub(super) entities: papaya::HashMap<Named, Slot, ahash::RandomState>,
    pub(super) count: AtomicU64,
    /// Whether there ever was one that was deleted or could not be read: looking for them takes time.
    pub(super) without_view: AtomicBool,
    /// The order of what was there at the start, a run per partition, each sorted at once: a fraction of the time and memory
    /// of as many insertions. A row that has left its place since is passed over.
    pub(super) runs: OnceLock<Vec<Sorted>>,
    /// Runs of the partitions that are done while others still load.
    loaded: Mutex<Vec<Sorted>>,
    /// The order of what came since.
    recent: SkipSet<(Timestamp, EntityId)>,
    /// Made when the first list with filters or another order is asked for.
    index: OnceLock<Index>,
}

/// An entity by its id.
pub(super) enum Named {
    /// The id lies within the view, which the map's value shares.
    View(Held),
    Id(EntityId),
}

#[derive(Clone)]
pub(super) enum Slot {
    View(Held),
    /// It was deleted, with this version.
    Deleted(u64),
    /// The latest record could not be read; an older view would be wrong.
    Unreadable,
}

impl Named {
    pub(super) fn as_str(&self) -> &str {
        self.borrow()
    }
}

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        match self {
            Self::View(held) => held.id(),
            Self::Id(id) => id.as_str(),
        }
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<str>::borrow(self) == Borrow::<str>::borrow(other)
    }
}

impl Eq for Named {}

impl Collection {
    pub(super) fn new(entity_type: Arc<EntityType>) -> Self {
        Self {
            entity_type,
            entities: papaya::HashMap::default(),
            count: AtomicU64::new(0),
            without_view: AtomicBool::new(false),
            runs: OnceLock::new(),
            loaded: Mutex::default(),
            recent: SkipSet::new(),
            index: OnceLock::new(),
        }
    }

    /// Takes a view if it is newer; answers the view that was there, if any. None: it was not newer.
    pub(super) fn take(&self, held: &Held) -> Option<Option<Held>> {
        let entities = self.entities.pin();
        let before = match entities.get(held.id()) {
            Some(Slot::View(before)) if before.version() >= held.version() => return None,
            Some(Slot::Deleted(version)) if *version >= held.version() => return None,
            Some(Slot::View(before)) => Some(before.clone()),
            Some(Slot::Deleted(_) | Slot::Unreadable) | None => None,
        };
        let replaced = entities.insert(Named::View(held.clone()), Slot::View(held.clone()));
        // What was replaced tells, and not what was seen before: threads that load a snapshot share the map.
        if !matches!(replaced, Some(Slot::View(_))) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        Some(before)
    }

    /// Puts what is no view in the place of whatever was there.
    pub(super) fn replace(self: &Arc<Self>, id: &EntityId, slot: Slot) {
        self.without_view.store(true, Ordering::Relaxed);
        let entities = self.entities.pin();
        if let Some(Slot::View(before)) = entities.insert(Named::Id(id.clone()), slot) {
            self.recent.remove(&(before.created(), id.clone()));
            self.count.fetch_sub(1, Ordering::Relaxed);
            self.bring_on(Some(before), None);
        }
    }

    pub(super) fn apply(self: &Arc<Self>, held: &Held) {
        let Some(before) = self.take(held) else { return };
        self.bring_on(before.as_ref(), Some(held));
        let before = before.map(|before| before.created());
        if before == Some(held.created()) {
            return;
        }
        let Some(id) = EntityId::parse(held.id()) else { return };
        // The new place first: a list under way may see the row at either, and passes over the one that is wrong.
        self.recent.insert((held.created(), id.clone()));
        if let Some(before) = before {
            self.recent.remove(&(before, id));
        }
    }

    pub(super) fn loaded(&self) -> MutexGuard<'_, Vec<Sorted>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One page in the order of `created`.
    pub(super) fn oldest_first(&self, query: &ListQuery) -> Page {
        let entities = self.entities.pin();
        let (total, mut rows) = (self.count.load(Ordering::Relaxed), Rows::new(query.limit));
        let mut last = None;
        self.walk(query.after.as_ref(), |(created, id)| {
            let Some(Slot::View(held)) = entities.get(id) else { return true };
            if held.created() != created {
                return true;
            }
            let more = rows.push(held);
            if more {
                last = Some(held);
            }
            more
        });
        rows.finish(total, || last.and_then(|last| Some(ListPosition::at(last.created(), EntityId::parse(last.id())?))))
    }

    /// One page of what was asked for by id, in that order.
    pub(super) fn by_ids(&self, query: &ListQuery, ids: &[EntityId]) -> Page {
        let entities = self.entities.pin();
        let (mut rows, mut total, mut last, mut full) = (Rows::new(query.limit), 0, None, false);
        let mut before = query.after.is_some();
        for id in ids {
            let found = match entities.get(id.as_str()) {
                Some(Slot::View(held)) => self.entity_type.listed(held.object()).ok().map(|listed| (held, listed)),
                _ => None,
            };
            if let Some((held, listed)) = found
                && query.matches(&self.entity_type, &listed.fields, listed.updated)
            {
                total += 1;
                if !before && !full {
                    full = !rows.push(held);
                    if !full {
                        let times = (held.created(), listed.updated);
                        last = Some(query.position(&self.entity_type, &listed.fields, times, id.clone()));
                    }
                }
            }
            before &= query.after.as_ref().is_some_and(|after| after.id != *id);
        }
        rows.finish(total, || last)
    }

    /// Lists with filters and orders; the error becomes true once there are any.
    pub(super) fn indexed(self: &Arc<Self>) -> Result<&Index, watch::Receiver<bool>> {
        let index = self.index.get_or_init(|| Index::new(Arc::clone(&self.entity_type)));
        // Whoever writes a view looks for the index behind that: either it sees the index, or the view is seen here.
        fence(Ordering::SeqCst);
        if index.begin() {
            if self.count.load(Ordering::Relaxed) <= FEW {
                index.build(self.views());
            } else {
                let collection = Arc::clone(self);
                in_background(move || {
                    if let Some(index) = collection.index.get() {
                        index.build(collection.views());
                    }
                });
            }
        }
        let built = index.built();
        let is_built = *built.borrow();
        if is_built { Ok(index) } else { Err(built) }
    }

    fn views(&self) -> Vec<Held> {
        let entities = self.entities.pin();
        let views = entities.values().filter_map(|slot| match slot {
            Slot::View(held) => Some(held.clone()),
            Slot::Deleted(_) | Slot::Unreadable => None,
        });
        views.collect()
    }

    /// Tells the index, where there is one, that a view has taken the place of another, or come, or gone.
    fn bring_on(self: &Arc<Self>, before: Option<&Held>, now: Option<&Held>) {
        fence(Ordering::SeqCst);
        let Some(index) = self.index.get() else { return };
        if index.put(before, now) {
            let collection = Arc::clone(self);
            in_background(move || collection.index.get().into_iter().for_each(Index::merge));
        }
    }

    /// Visits the places after one, in order, each once: the runs and the recent ones, merged. Ends when the visitor says
    /// false.
    fn walk(&self, after: Option<&ListPosition>, mut visit: impl FnMut(Place<'_>) -> bool) {
        let runs = self.runs.get().map(Vec::as_slice).unwrap_or_default();
        let mut runs: Vec<_> = runs.iter().map(|run| run.after(after).peekable()).collect();
        let from = after
            .map_or(Bound::Unbounded, |after| Bound::Excluded((after.time().unwrap_or_default(), after.id.clone())));
        let mut recent = self.recent.range((from, Bound::Unbounded)).peekable();
        loop {
            let entry = recent.peek().cloned();
            let new = entry.as_ref().map(|entry| (entry.value().0, entry.value().1.as_str()));
            let old = runs.iter_mut().filter_map(|run| run.peek().copied()).min();
            let place = match (old, new) {
                (Some(old), Some(new)) => old.min(new),
                (Some(place), None) | (None, Some(place)) => place,
                (None, None) => return,
            };
            let is_new = new == Some(place);
            if !visit(place) {
                return;
            }
            for run in &mut runs {
                run.next_if(|old| *old == place);
            }
            if is_new {
                recent.next();
            }
        }
    }
}
