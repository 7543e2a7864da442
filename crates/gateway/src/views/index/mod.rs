//! What finds and sorts the entities of one type for lists with filters and orders: kept once somebody asks for such a list.
//!
//! Views are indexed in segments that are put in order at once and never changed, as search engines do: a million of them so
//! cost a fraction of the time and memory of trees. What is written since lies beside them, in a list that is looked
//! through; where that is full it becomes a segment, and of eight segments of about a size one is made. A view
//! that was replaced stays in its segment and is marked as dead, until a quarter of the segment is.
//!
//! A reader takes one state and sees nothing else: neither does it wait for a writer, nor hold one up, and the number of rows
//! is that of the rows. Writers take turns; each makes a state that shares all but what it changes.

mod document;
mod postings;
mod segment;
mod set;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use arc_swap::ArcSwap;
use contract::{EntityId, EntityType, ListPosition, ListQuery, PositionRef, SortBy, Timestamp};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Held;
use super::rows::{Page, Rows};
use document::{Condition, Document, Terms};
use segment::{ROWS_MAX, Segment};
use set::Dead;

/// Views that are looked through one by one. Tests have few views.
const FRESH_MAX: usize = if cfg!(test) { 8 } else { 256 };

/// So many segments of about a size become one.
const MERGED: usize = if cfg!(test) { 3 } else { 8 };

/// Threads that make the first segments, and rows that are worth another.
const THREADS_MAX: usize = 4;
const ROWS_PER_THREAD: usize = 50_000;

/// The index of one entity type.
pub(super) struct Index {
    entity_type: Arc<EntityType>,
    terms: Terms,
    state: ArcSwap<State>,
    writer: Mutex<Writer>,
    begun: AtomicBool,
    built: watch::Sender<bool>,
}

#[derive(Clone, Default)]
struct State {
    parts: Vec<Part>,
    fresh: Vec<Arc<Document>>,
}

/// A segment, and what of it is no longer.
#[derive(Clone)]
struct Part {
    segment: Arc<Segment>,
    dead: Dead,
}

struct Writer {
    /// The places of what was written since a segment began to be made: what it has of them is dead. None while there is
    /// none in the making.
    since: Option<Vec<(Timestamp, EntityId)>>,
    /// Whether a thread merges, or will.
    merging: bool,
}

impl Index {
    /// An empty one, that takes what is written from now on.
    pub(super) fn new(entity_type: Arc<EntityType>) -> Self {
        Self {
            entity_type,
            terms: Terms::new(),
            state: ArcSwap::default(),
            writer: Mutex::new(Writer { since: Some(Vec::new()), merging: false }),
            begun: AtomicBool::new(false),
            built: watch::Sender::new(false),
        }
    }

    /// Whether this is the first who asks: who is to call [`Index::build`].
    pub(super) fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::SeqCst)
    }

    /// Becomes true once lists can be answered.
    pub(super) fn built(&self) -> watch::Receiver<bool> {
        self.built.subscribe()
    }

    /// Takes all that was there when it was made, or later.
    pub(super) fn build(&self, mut rows: Vec<Held>) {
        let count = rows.len();
        rows.sort_unstable_by(|a, b| (a.created(), a.id()).cmp(&(b.created(), b.id())));
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let share = count.div_ceil(threads).clamp(ROWS_PER_THREAD, ROWS_MAX);
        let shares: Vec<Vec<Held>> = rows.chunks(share).map(<[_]>::to_vec).collect();
        drop(rows);
        let segments = thread::scope(|scope| {
            let (mut waiting, mut segments) = (Vec::new(), Vec::new());
            for rows in shares {
                // Where there is no thread for it, this one does it.
                let rows = Arc::new(Mutex::new(rows));
                let work = {
                    let rows = Arc::clone(&rows);
                    move || self.segment(std::mem::take(&mut *lock(&rows)))
                };
                match thread::Builder::new().name("views-lists".to_owned()).spawn_scoped(scope, work) {
                    Ok(thread) => waiting.push(thread),
                    Err(_) => segments.push(self.segment(std::mem::take(&mut *lock(&rows)))),
                }
            }
            segments.extend(waiting.into_iter().filter_map(|thread| thread.join().ok()));
            segments
        });
        let size_bytes: usize = segments.iter().map(Segment::size_bytes).sum();
        self.replace(&[], segments);
        self.built.send_replace(true);
        info!(entity_type = %self.entity_type.name(), entities = count, size_bytes, "lists are indexed");
    }

    fn segment(&self, rows: Vec<Held>) -> Segment {
        let documents = rows.into_iter().filter_map(|held| Document::new(&self.entity_type, &self.terms, held));
        Segment::new(&self.entity_type, documents)
    }

    /// Puts segments in the place of those that they were made from.
    fn replace(&self, from: &[Arc<Segment>], segments: Vec<Segment>) {
        let mut writer = self.writer();
        let mut state = State::clone(&self.state.load());
        state.parts.retain(|part| !from.iter().any(|segment| Arc::ptr_eq(segment, &part.segment)));
        let made = segments.into_iter().filter(|segment| !segment.rows().is_empty());
        let mut made: Vec<Part> =
            made.map(|segment| Part { segment: Arc::new(segment), dead: Dead::default() }).collect();
        for (created, id) in writer.since.take().unwrap_or_default() {
            made.iter_mut().any(|part| part.kill(created, id.as_str()));
        }
        state.parts.append(&mut made);
        self.state.store(Arc::new(state));
    }

    /// One view has taken the place of another, or come, or gone. Answers whether segments are to be merged, by
    /// [`Index::merge`].
    pub(super) fn put(&self, before: Option<&Held>, now: Option<&Held>) -> bool {
        let document = now.and_then(|held| Document::new(&self.entity_type, &self.terms, held.clone()));
        let mut writer = self.writer();
        let mut state = State::clone(&self.state.load());
        if let Some(before) = before {
            state.kill(before.created(), before.id());
        }
        if let Some(since) = &mut writer.since {
            let places = before.into_iter().chain(now);
            since.extend(places.filter_map(|held| Some((held.created(), EntityId::parse(held.id())?))));
        }
        state.fresh.extend(document.map(Arc::new));
        let full = state.fresh.len() >= FRESH_MAX;
        if full {
            let mut documents = std::mem::take(&mut state.fresh);
            documents.sort_unstable_by(|a, b| a.position(SortBy::Created).cmp(&b.position(SortBy::Created)));
            let segment = Segment::new(&self.entity_type, documents.iter().map(|document| Document::clone(document)));
            state.parts.push(Part { segment: Arc::new(segment), dead: Dead::default() });
        }
        // Looked for where segments change, and not at each write.
        let merge = full && !writer.merging && writer.since.is_none() && !state.mergeable().is_empty();
        writer.merging |= merge;
        self.state.store(Arc::new(state));
        merge
    }

    /// Makes one segment of several, until that need not be.
    pub(super) fn merge(&self) {
        while let Some(parts) = self.pick() {
            let mut rows: Vec<Held> = parts.iter().flat_map(Part::living).cloned().collect();
            rows.sort_unstable_by(|a, b| (a.created(), a.id()).cmp(&(b.created(), b.id())));
            let segments = rows.chunks(ROWS_MAX).map(|rows| self.segment(rows.to_vec())).collect();
            drop(rows);
            let from: Vec<_> = parts.into_iter().map(|part| part.segment).collect();
            self.replace(&from, segments);
        }
    }

    /// What is to be merged next. From here on it is remembered what is written.
    fn pick(&self) -> Option<Vec<Part>> {
        let mut writer = self.writer();
        let parts = self.state.load().mergeable();
        writer.merging = !parts.is_empty();
        writer.since = writer.merging.then(Vec::new);
        writer.merging.then_some(parts)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }

    /// One page.
    pub(super) fn page(&self, query: &ListQuery) -> Page {
        let state = self.state.load_full();
        let conditions = self.terms.conditions(&self.entity_type, query);
        let after = query.after.as_ref().map(ListPosition::as_ref);
        // One more than asked for tells whether there is a next page.
        let limit = query.limit.saturating_add(1);
        let (mut total, mut runs) = (0, Vec::with_capacity(state.parts.len() + 1));
        for Part { segment, dead } in &state.parts {
            let set = segment.matching(&conditions, dead);
            total += segment.count(&set, dead);
            let slots = segment.first(&set, dead, query.sort, after, limit);
            runs.push(Run::Segment(segment, slots.into_iter().peekable()));
        }
        let (count, fresh) = state.fresh(query, &conditions, after);
        runs.push(Run::Fresh(fresh.into_iter().peekable()));
        let mut rows = Rows::new(query.limit);
        let (by, mut last) = (query.sort.by, None);
        loop {
            let heads = runs.iter_mut().filter_map(|run| Some((run.head(by)?, run)));
            let Some((position, run)) = heads.min_by(|a, b| query.sort.compare(a.0, b.0)) else { break };
            let Some(held) = run.take() else { break };
            if !rows.push(held) {
                break;
            }
            last = Some(position);
        }
        rows.finish((total + count) as u64, || last.and_then(PositionRef::to_owned))
    }
}

/// What one part of a state has for a page, in order.
enum Run<'a> {
    Segment(&'a Segment, std::iter::Peekable<std::vec::IntoIter<u32>>),
    Fresh(std::iter::Peekable<std::vec::IntoIter<&'a Document>>),
}

impl<'a> Run<'a> {
    fn head(&mut self, by: SortBy) -> Option<PositionRef<'a>> {
        match self {
            Self::Segment(segment, slots) => slots.peek().map(|slot| segment.position(by, *slot)),
            Self::Fresh(documents) => documents.peek().map(|document| document.position(by)),
        }
    }

    fn take(&mut self) -> Option<&'a Held> {
        match self {
            Self::Segment(segment, slots) => segment.row(slots.next()?),
            Self::Fresh(documents) => documents.next().map(|document| &document.held),
        }
    }
}

impl State {
    /// A view is no longer.
    fn kill(&mut self, created: Timestamp, id: &str) {
        let fresh = |document: &Arc<Document>| document.held.created() == created && document.held.id() == id;
        if let Some(at) = self.fresh.iter().position(fresh) {
            self.fresh.swap_remove(at);
            return;
        }
        self.parts.iter_mut().rev().any(|part| part.kill(created, id));
    }

    /// How many of the fresh ones fit, and those behind a position, in order.
    fn fresh(
        &self,
        query: &ListQuery,
        conditions: &[Condition],
        after: Option<PositionRef<'_>>,
    ) -> (usize, Vec<&Document>) {
        let fits = self.fresh.iter().map(|document| &**document).filter(|document| document.fits(conditions));
        let mut fresh: Vec<&Document> = fits.collect();
        let (count, by) = (fresh.len(), query.sort.by);
        fresh.retain(|document| after.is_none_or(|after| query.sort.compare(document.position(by), after).is_gt()));
        fresh.sort_unstable_by(|a, b| query.sort.compare(a.position(by), b.position(by)));
        (count, fresh)
    }

    /// The segments that are to become one; empty where there is nothing to do.
    fn mergeable(&self) -> Vec<Part> {
        let tier = |part: &Part| (part.living_count() / FRESH_MAX).max(1).ilog(MERGED);
        let mut tiers: Vec<u32> = self.parts.iter().map(tier).collect();
        tiers.sort_unstable();
        if let Some(many) = tiers.windows(MERGED).find(|tiers| tiers[0] == tiers[MERGED - 1]) {
            return self.parts.iter().filter(|part| tier(part) == many[0]).cloned().collect();
        }
        // Dead views would be kept in memory.
        let worn = self.parts.iter().find(|part| part.dead.count() * 4 > part.segment.rows().len());
        worn.cloned().into_iter().collect()
    }
}

impl Part {
    fn kill(&mut self, created: Timestamp, id: &str) -> bool {
        let slot = self.segment.find(created, id).filter(|slot| !self.dead.has(*slot));
        slot.inspect(|slot| self.dead.insert(*slot)).is_some()
    }

    fn living_count(&self) -> usize {
        self.segment.rows().len() - self.dead.count()
    }

    fn living(&self) -> impl Iterator<Item = &Held> {
        (0..).zip(self.segment.rows()).filter(|(slot, _)| !self.dead.has(*slot)).map(|(_, held)| held)
    }
}

/// Does work on a thread of its own; on this one where there is none.
pub(super) fn in_background(work: impl FnOnce() + Send + 'static) {
    let work = Arc::new(Mutex::new(Some(work)));
    let other = Arc::clone(&work);
    let spawned = thread::Builder::new().name("views-lists".to_owned()).spawn(move || once(&other));
    if let Err(error) = spawned {
        warn!(%error, "there is no thread for the index of lists");
        once(&work);
    }
}

fn once<W: FnOnce()>(work: &Mutex<Option<W>>) {
    let work = lock(work).take();
    work.into_iter().for_each(|work| work());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
