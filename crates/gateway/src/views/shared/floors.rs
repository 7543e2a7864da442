//! Versions that this gateway has told of before its tail has passed them. Pure: no clock, no I/O.

use std::collections::HashMap;

use contract::Key;

/// Keys remembered per cohort.
const KEYS_MAX: usize = 32_768;

/// A retrieve and a rejection may tell of a version whose view has not passed yet: Redis may still hold an older one, and
/// who asks again must not get that. Floors are forgotten cohort by cohort, once everything that was on the topic when the
/// cohort was closed has passed.
#[derive(Default)]
pub(super) struct Floors {
    young: Cohort,
    old: Cohort,
}

#[derive(Default)]
struct Cohort {
    versions: HashMap<Key, u64>,
    /// Not all had room: nothing may be believed as long as this cohort lives.
    overflowed: bool,
}

impl Cohort {
    fn allows(&self, key: &Key, version: u64) -> bool {
        !self.overflowed && self.versions.get(key).is_none_or(|floor| version >= *floor)
    }

    fn is_empty(&self) -> bool {
        self.versions.is_empty() && !self.overflowed
    }
}

impl Floors {
    /// Nothing older than this may be given any more.
    pub(super) fn raise(&mut self, key: &Key, version: u64) {
        let Cohort { versions, overflowed } = &mut self.young;
        if let Some(floor) = versions.get_mut(key) {
            *floor = version.max(*floor);
        } else if versions.len() < KEYS_MAX {
            versions.insert(key.clone(), version);
        } else {
            *overflowed = true;
        }
    }

    /// Whether an entry of this version may be given.
    pub(super) fn allows(&self, key: &Key, version: u64) -> bool {
        self.young.allows(key, version) && self.old.allows(key, version)
    }

    /// Closes the cohort; false where there is nothing to close.
    pub(super) fn close(&mut self) -> bool {
        if self.old.is_empty() {
            self.old = std::mem::take(&mut self.young);
        }
        !self.old.is_empty()
    }

    /// What the closed cohort told of has passed.
    pub(super) fn settle(&mut self) {
        self.old = Cohort::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_holds_until_its_cohort_has_settled() {
        let (a, b) = (Key::parse("venue:a").unwrap(), Key::parse("venue:b").unwrap());
        let mut floors = Floors::default();
        assert!(!floors.close(), "nothing to close");
        floors.raise(&a, 5);
        floors.raise(&a, 4);
        assert!(!floors.allows(&a, 4) && floors.allows(&a, 5) && floors.allows(&b, 0));
        assert!(floors.close());
        floors.raise(&b, 2);
        assert!(floors.close(), "the closed one has not settled yet");
        assert!(!floors.allows(&a, 4) && !floors.allows(&b, 1));
        floors.settle();
        assert!(floors.allows(&a, 4) && !floors.allows(&b, 1));
        assert!(floors.close());
        floors.settle();
        assert!(floors.allows(&b, 1) && !floors.close());
    }

    #[test]
    fn what_has_no_room_makes_all_doubtful() {
        let mut floors = Floors::default();
        for n in 0..=KEYS_MAX {
            floors.raise(&Key::parse(&format!("venue:{n}")).unwrap(), 1);
        }
        let other = Key::parse("venue:other").unwrap();
        assert!(!floors.allows(&other, 9));
        floors.close();
        assert!(!floors.allows(&other, 9));
        floors.settle();
        assert!(floors.allows(&other, 9));
    }
}
