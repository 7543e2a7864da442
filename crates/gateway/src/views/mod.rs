//! The current complete view of each entity, kept close.

mod follow;
mod held;
mod materialised;
mod on_demand;
mod sorted;

use contract::{EntityId, Key, Registry, TypeName};

pub(crate) use follow::Follow;
pub(crate) use held::Held;
pub(crate) use materialised::{Loading, Materialised};
pub(crate) use on_demand::{Boarding, Flights, OnDemand};

use crate::config::{Config, ViewMode};

/// What is known of an entity without asking.
#[derive(Debug)]
pub(crate) enum Look {
    Found(Held),
    Absent,
    /// It was deleted.
    Deleted,
    /// Its latest view could not be read.
    Unreadable,
    /// It must be asked for.
    Unknown,
}

/// Where reads come from.
pub(crate) enum Views {
    Materialised(Materialised),
    OnDemand(OnDemand),
}

impl Views {
    pub(crate) fn new(config: &Config, registry: &Registry) -> Self {
        match config.views {
            ViewMode::Materialised => Self::Materialised(Materialised::new(registry)),
            ViewMode::OnDemand => Self::OnDemand(OnDemand::new(config)),
        }
    }

    pub(crate) fn look(&self, key: &Key) -> Look {
        match self {
            Self::Materialised(views) => views.look(key),
            Self::OnDemand(views) => views.look(key),
        }
    }

    /// Takes a view if it is newer than what is there; `loading` is there while its partition catches up.
    pub(crate) fn apply(&self, entity_type: &TypeName, held: &Held, loading: Option<&mut Loading>) {
        match self {
            Self::Materialised(views) => views.apply(entity_type, held, loading),
            Self::OnDemand(views) => {
                if let Some(id) = EntityId::parse(held.id()) {
                    views.apply(&Key::new(entity_type.clone(), id), held);
                }
            }
        }
    }

    /// Takes a deletion if it is newer than what is there.
    pub(crate) fn delete(&self, key: &Key, version: u64) {
        match self {
            Self::Materialised(views) => views.delete(key, version),
            Self::OnDemand(views) => views.delete(key, version),
        }
    }

    /// So many records are on the topic at the start.
    pub(crate) fn expect(&self, records: u64) {
        if let Self::Materialised(views) = self {
            views.expect(records);
        }
    }

    /// A partition has caught up.
    pub(crate) fn loaded(&self, loading: Loading) {
        if let Self::Materialised(views) = self {
            views.loaded(loading);
        }
    }

    /// Everything that was on the topic at the start has been applied.
    pub(crate) fn complete(&self) {
        if let Self::Materialised(views) = self {
            views.complete();
        }
    }

    pub(crate) fn mark_unreadable(&self, key: &Key) {
        match self {
            Self::Materialised(views) => views.mark_unreadable(key),
            Self::OnDemand(views) => views.mark_unreadable(key),
        }
    }

    /// Whether a read on this gateway gives this version or a later one, or will ask for it.
    pub(crate) fn has_reached(&self, key: &Key, version: u64) -> bool {
        match self {
            Self::OnDemand(views) => {
                views.forget_before(key, version);
                true
            }
            Self::Materialised(views) => views.has_reached(key, version),
        }
    }
}
