//! One change of one entity.

use contract::wire::cloudevents;
use contract::{EntityId, Offset, Registry, Stored, TypeName};

use crate::views::Held;

/// A view or a deletion, and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) offset: Offset,
    pub(crate) entity_type: TypeName,
    pub(crate) what: What,
}

/// What became of the entity.
#[derive(Clone, Debug)]
pub(crate) enum What {
    View(Held),
    /// With this version.
    Deleted(EntityId, u64),
}

impl Change {
    /// Reads a record of the views. None where it is of a type that is not served, or cannot be read: the entity then has
    /// no view here, until a readable one comes.
    pub(super) fn read(stored: &Stored, registry: &Registry) -> Option<Self> {
        let view = cloudevents::decode_view_ref(&stored.record).ok()?;
        let entity_type = registry.get(view.entity_type)?;
        let what = match view.object {
            None => What::Deleted(EntityId::parse(view.id)?, view.version),
            Some(object) => {
                let held = Held::new(entity_type, view.id, view.version, view.time, object, view.data_schema);
                What::View(held.ok()?)
            }
        };
        Some(Self { offset: stored.offset, entity_type: entity_type.name().clone(), what })
    }

    pub(crate) fn id(&self) -> &str {
        match &self.what {
            What::View(held) => held.id(),
            What::Deleted(id, _) => id.as_str(),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        match &self.what {
            What::View(held) => held.version(),
            What::Deleted(_, version) => *version,
        }
    }

    /// What it takes in memory.
    pub(super) fn size_bytes(&self) -> usize {
        let held = match &self.what {
            What::View(held) => held.size_bytes(),
            What::Deleted(id, _) => id.as_str().len(),
        };
        held + size_of::<Self>()
    }
}
