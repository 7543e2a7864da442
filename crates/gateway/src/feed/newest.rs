//! The latest versions of entities that changed lately, so that one which comes late or twice is noticed.

use std::collections::HashMap;

use contract::{EntityId, TypeName};

use super::Change;

/// Entities of one generation.
const GENERATION: usize = 4096;

/// Versions of the last [`GENERATION`] entities at least, and of twice as many at most.
#[derive(Default)]
pub(super) struct Newest {
    young: HashMap<(TypeName, EntityId), u64>,
    old: HashMap<(TypeName, EntityId), u64>,
}

impl Newest {
    /// Whether a change is newer than what was seen of its entity; remembers it then.
    pub(super) fn advances(&mut self, change: &Change) -> bool {
        let Some(id) = EntityId::parse(change.id()) else { return false };
        let (key, version) = ((change.entity_type.clone(), id), change.version());
        let seen = self.young.get(&key).or_else(|| self.old.get(&key));
        if seen.is_some_and(|seen| *seen >= version) {
            return false;
        }
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, version);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::What;
    use super::*;

    #[test]
    fn what_comes_late_or_twice_is_noticed_and_memory_is_bounded() {
        let mut newest = Newest::default();
        let change = |id: usize, version| Change {
            offset: 0,
            entity_type: TypeName::parse("venue").unwrap(),
            what: What::Deleted(EntityId::parse(&id.to_string()).unwrap(), version),
        };
        assert!(newest.advances(&change(1, 2)) && !newest.advances(&change(1, 2)) && !newest.advances(&change(1, 1)));
        assert!(newest.advances(&change(1, 3)) && newest.advances(&change(2, 1)));
        for id in 3..3 + GENERATION {
            assert!(newest.advances(&change(id, 1)));
        }
        assert!(!newest.advances(&change(1, 2)), "of the generation before");
        for id in 10_000..10_000 + 3 * GENERATION {
            assert!(newest.advances(&change(id, 1)));
        }
        assert!(newest.young.len() <= GENERATION && newest.old.len() <= GENERATION);
        assert!(newest.advances(&change(1, 1)), "forgotten");
    }
}
