//! The latest changes of one partition, in memory.

use std::collections::VecDeque;

use contract::Offset;

use super::Change;
use super::newest::Newest;

/// Everything in `start..next`, without what was superseded when it came.
pub(super) struct Recent {
    start: Offset,
    next: Offset,
    changes: VecDeque<Change>,
    newest: Newest,
    size_bytes: usize,
    size_bytes_max: usize,
}

/// What a follower found.
pub(super) enum Found {
    /// What it wanted of the changes before `next`; none where nothing is new to it.
    Changes { changes: Vec<Change>, next: Offset },
    /// What it wants has left the log, which goes up to `next`.
    Behind { next: Offset },
}

impl Recent {
    pub(super) fn new(size_bytes_max: usize) -> Self {
        let (changes, newest) = (VecDeque::new(), Newest::default());
        Self { start: 0, next: 0, changes, newest, size_bytes: 0, size_bytes_max }
    }

    /// Forgets what is there, and goes on at an offset.
    pub(super) fn begin(&mut self, at: Offset) {
        *self = Self { start: at, next: at, ..Self::new(self.size_bytes_max) };
    }

    pub(super) fn push(&mut self, change: Change) {
        self.pass(change.offset + 1);
        if !self.newest.advances(&change) {
            return;
        }
        self.size_bytes += change.size_bytes();
        self.changes.push_back(change);
        while self.size_bytes > self.size_bytes_max
            && let Some(oldest) = self.changes.pop_front()
        {
            self.size_bytes -= oldest.size_bytes();
            self.start = oldest.offset + 1;
        }
    }

    pub(super) fn pass(&mut self, next: Offset) {
        self.next = self.next.max(next);
    }

    /// The offset from which on everything is here.
    pub(super) fn start(&self) -> Offset {
        self.start
    }

    /// What is wanted of the changes from an offset on, up to so many bytes and one at least.
    pub(super) fn read(&self, from: Offset, size_bytes_max: usize, wanted: impl Fn(&Change) -> bool) -> Found {
        if from < self.start {
            return Found::Behind { next: self.next };
        }
        let (mut changes, mut size_bytes) = (Vec::new(), 0);
        let first = self.changes.partition_point(|change| change.offset < from);
        for change in self.changes.range(first..).filter(|change| wanted(change)) {
            if size_bytes >= size_bytes_max {
                return Found::Changes { changes, next: change.offset };
            }
            size_bytes += change.size_bytes();
            changes.push(change.clone());
        }
        Found::Changes { changes, next: self.next.max(from) }
    }
}

#[cfg(test)]
mod tests {
    use contract::{EntityId, TypeName};

    use super::super::What;
    use super::*;

    fn change(offset: Offset, id: &str, version: u64) -> Change {
        let what = What::Deleted(EntityId::parse(id).unwrap(), version);
        Change { offset, entity_type: TypeName::parse("venue").unwrap(), what }
    }

    fn read(recent: &Recent, from: Offset, size_bytes_max: usize) -> Option<(Vec<Offset>, Offset)> {
        match recent.read(from, size_bytes_max, |change| change.id() != "unwanted") {
            Found::Changes { changes, next } => Some((changes.iter().map(|change| change.offset).collect(), next)),
            Found::Behind { .. } => None,
        }
    }

    #[test]
    fn what_is_read_is_what_was_pushed_since() {
        let mut recent = Recent::new(1 << 20);
        recent.begin(10);
        assert_eq!(read(&recent, 9, 1000), None);
        assert_eq!(read(&recent, 10, 1000), Some((vec![], 10)));
        assert_eq!(read(&recent, 12, 1000), Some((vec![], 12)), "no way back");
        recent.push(change(11, "a", 1));
        recent.push(change(13, "unwanted", 1));
        recent.push(change(14, "b", 2));
        recent.push(change(15, "b", 1));
        recent.pass(18);
        assert_eq!(read(&recent, 10, 1000), Some((vec![11, 14], 18)));
        assert_eq!(read(&recent, 12, 1000), Some((vec![14], 18)));
        assert_eq!(read(&recent, 10, 1), Some((vec![11], 14)), "one at least");
        recent.begin(30);
        assert_eq!((read(&recent, 18, 1000), recent.start()), (None, 30));
    }

    #[test]
    fn memory_is_bounded_and_what_left_is_told() {
        let size_bytes = change(0, "a0000", 1).size_bytes();
        let mut recent = Recent::new(3 * size_bytes);
        for offset in 0..10 {
            recent.push(change(offset, &format!("a{offset:04}"), 1));
        }
        assert_eq!((recent.start(), recent.changes.len(), recent.size_bytes), (7, 3, 3 * size_bytes));
        assert_eq!((read(&recent, 6, 9999), read(&recent, 7, 9999)), (None, Some((vec![7, 8, 9], 10))));
    }
}
