//! All of `dos.views`, as versions: repeats are allowed there, other bytes under the same version are not, and the last
//! record of a key must be its highest version.

use std::collections::HashMap;

use crate::reads::digest;
use crate::shared::check::{Kind, Violation};
use crate::shared::history::Version;

/// What the topic has of one entity.
#[derive(Default)]
struct Key {
    /// Command and bytes of each version.
    versions: HashMap<u64, (String, u64)>,
    highest: u64,
    last: u64,
}

/// What has been read of the topic so far.
#[derive(Default)]
pub(crate) struct History {
    keys: HashMap<String, Key>,
    /// Versions that are new in this round, in the order of the topic.
    new: Vec<Version>,
    violations: Vec<Violation>,
    repeats: usize,
}

impl History {
    /// Takes records, those of a partition in their order.
    pub(crate) fn add(&mut self, records: Vec<Version>) {
        for record in records {
            let key = self.keys.entry(record.id.clone()).or_default();
            let content = (record.correlation.clone(), digest(&record.object));
            key.last = record.version;
            key.highest = key.highest.max(record.version);
            match key.versions.get(&record.version) {
                None => {
                    key.versions.insert(record.version, content);
                    self.new.push(record);
                }
                Some(before) if *before == content => self.repeats += 1,
                Some((command, _)) => {
                    let Version { id, version, correlation, .. } = &record;
                    let detail = format!(
                        "{id} version {version} is there twice, with other bytes or of another command: {command}, {correlation}"
                    );
                    self.violations.push(Violation { kind: Kind::Changed, detail });
                }
            }
        }
    }

    /// Keys whose last record is not their highest version.
    pub(crate) fn behind(&self) -> Vec<String> {
        let behind = self.keys.iter().filter(|(_, key)| key.last != key.highest);
        behind.map(|(id, key)| format!("{id}: the last record is version {} of {}", key.last, key.highest)).collect()
    }

    /// Records that came again.
    pub(crate) fn repeats(&self) -> usize {
        self.repeats
    }

    /// The versions that came in this round, each once and those of an entity in order, and what is wrong with them.
    pub(crate) fn round(&mut self) -> (Vec<Version>, Vec<Violation>) {
        let (mut new, mut violations) = (std::mem::take(&mut self.new), std::mem::take(&mut self.violations));
        new.sort_by(|a, b| (&a.id, a.version).cmp(&(&b.id, b.version)));
        let behind = self.behind().into_iter().map(|detail| Violation { kind: Kind::Stale, detail });
        violations.extend(behind);
        (new, violations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: u64) -> Version {
        let (correlation, object) = (format!("c{version}"), version.to_string().into_bytes());
        Version { id: "a".to_owned(), version, correlation, label: None, object }
    }

    fn round(history: &mut History, records: Vec<Version>) -> (Vec<u64>, Vec<Kind>) {
        history.add(records);
        let (versions, violations) = history.round();
        let versions = versions.into_iter().map(|version| version.version).collect();
        (versions, violations.into_iter().map(|violation| violation.kind).collect())
    }

    #[test]
    fn repeats_are_one_version_and_order_is_by_version() {
        let mut history = History::default();
        assert_eq!(round(&mut history, vec![record(1), record(3), record(2), record(3)]), (vec![1, 2, 3], vec![]));
        assert_eq!(round(&mut history, vec![record(2), record(3)]), (vec![], vec![]));
        assert_eq!(history.repeats(), 3);
    }

    #[test]
    fn an_older_version_that_came_last() {
        let mut history = History::default();
        assert_eq!(round(&mut history, vec![record(1), record(2), record(1)]), (vec![1, 2], vec![Kind::Stale]));
        assert_eq!(round(&mut history, vec![record(2)]), (vec![], vec![]), "it was put right");
    }

    #[test]
    fn a_version_with_two_contents_or_two_commands() {
        for change in [|r: &mut Version| r.object.push(b'!'), |r: &mut Version| r.correlation.push('!')] {
            let mut other = record(2);
            change(&mut other);
            let mut history = History::default();
            assert_eq!(round(&mut history, vec![record(1), record(2), other]), (vec![1, 2], vec![Kind::Changed]));
        }
    }
}
