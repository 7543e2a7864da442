//! The current complete view of each entity, kept close.

mod collection;
mod follow;
mod held;
mod index;
mod materialised;
mod on_demand;
mod progress;
mod rows;
mod shared;
mod snapshot;
mod sorted;

use std::sync::Arc;

use contract::{EntityId, Env, Key, Offset, Partition, Registry, Stored, TypeName};
use stream::Stream;

pub(crate) use follow::Follow;
pub(crate) use held::Held;
pub(crate) use materialised::{Loading, Materialised};
pub(crate) use on_demand::{Boarding, Flights, OnDemand};
pub(crate) use progress::Progress;
pub(crate) use rows::Page;
pub(crate) use shared::Entry;
use shared::Shared;
pub use shared::SharedCache;
pub(crate) use snapshot::Snapshots;

use crate::config::{Config, ViewMode};

/// What is known of an entity without asking.
#[derive(Debug)]
pub(crate) enum Look {
    Found(Held),
    Absent,
    /// It was deleted, with this version.
    Deleted(u64),
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
    pub(crate) fn new(config: &Config, registry: &Registry, env: &Arc<dyn Env>) -> Self {
        match (config.views, &config.shared_cache) {
            (ViewMode::Materialised, shared) => {
                if shared.is_some() {
                    tracing::warn!("a shared cache is set, and materialised views have no use for it");
                }
                Self::Materialised(Materialised::new(registry))
            }
            (ViewMode::OnDemand, None) => Self::OnDemand(OnDemand::new(config, None)),
            (ViewMode::OnDemand, Some(cache)) => {
                let shared = Shared::start(cache, config, registry, env);
                Self::OnDemand(OnDemand::new(config, Some(shared)))
            }
        }
    }

    /// What a cache that gateways share knows of an entity that is [`Look::Unknown`].
    pub(crate) async fn recall(&self, key: &Key) -> Look {
        match self {
            Self::Materialised(_) => Look::Unknown,
            Self::OnDemand(views) => views.recall(key).await,
        }
    }

    /// The tails begin at these offsets of this cluster.
    pub(crate) fn begin(&self, cluster: &str, at: &[Offset], stream: &Arc<dyn Stream>) {
        if let Some(shared) = self.shared() {
            shared.begin(cluster, at, Arc::clone(stream));
        }
    }

    /// A tail has passed everything before an offset.
    pub(crate) fn passed(&self, partition: Partition, next: Offset) {
        if let Some(shared) = self.shared() {
            shared.pass(partition, next, None);
            shared.flush();
        }
    }

    /// A tail has lost its place and goes on elsewhere.
    pub(crate) fn restart(&self, partition: Partition, at: Offset) {
        if let Some(shared) = self.shared() {
            shared.restart(partition, at);
        }
    }

    fn shared(&self) -> Option<&Arc<Shared>> {
        match self {
            Self::Materialised(_) => None,
            Self::OnDemand(views) => views.shared(),
        }
    }

    pub(crate) fn look(&self, key: &Key) -> Look {
        match self {
            Self::Materialised(views) => views.look(key),
            Self::OnDemand(views) => views.look(key),
        }
    }

    /// Whether a later version than this is known here; one that cannot be read may be.
    pub(crate) fn has_newer(&self, entity_type: &TypeName, id: &str, version: u64) -> bool {
        let Some(id) = EntityId::parse(id) else { return false };
        match self.look(&Key::new(entity_type.clone(), id)) {
            Look::Found(held) => held.version() > version,
            Look::Deleted(deleted) => deleted > version,
            Look::Unreadable => true,
            Look::Absent | Look::Unknown => false,
        }
    }

    /// Takes a view if it is newer than what is there; `loading` is there while its partition catches up.
    pub(crate) fn apply(&self, entity_type: &TypeName, held: &Held, stored: &Stored, loading: Option<&mut Loading>) {
        match self {
            Self::Materialised(views) => views.apply(entity_type, held, loading),
            Self::OnDemand(views) => {
                if let Some(id) = EntityId::parse(held.id()) {
                    views.pass(Key::new(entity_type.clone(), id), held, stored.partition, stored.offset);
                }
            }
        }
    }

    /// Takes a deletion if it is newer than what is there.
    pub(crate) fn delete(&self, key: &Key, version: u64, stored: &Stored) {
        match self {
            Self::Materialised(views) => views.delete(key, version),
            Self::OnDemand(views) => views.pass_deletion(key, version, stored.partition, stored.offset),
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

    pub(crate) fn mark_unreadable(&self, key: &Key, stored: &Stored) {
        match self {
            Self::Materialised(views) => views.mark_unreadable(key),
            Self::OnDemand(views) => views.mark_unreadable(key, stored.partition, stored.offset),
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
