//! What must be true of the topics once everything has settled.

use std::collections::{BTreeMap, BTreeSet};

use contract::wire::cloudevents::{decode_reply, decode_view};
use contract::{Command, CommandId, Key, Topic};

use super::broker::Broker;
use super::database::Model;
use super::decoded;

pub(crate) fn violations(broker: &Broker, model: &Model, sent: &[Command]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut last: BTreeMap<Key, u64> = BTreeMap::new();
    let mut made_by: BTreeMap<(Key, u64), BTreeSet<CommandId>> = BTreeMap::new();
    let mut answered: BTreeSet<CommandId> = BTreeSet::new();
    for record in decoded(&broker.all(Topic::Views)) {
        let view = decode_view(record).unwrap();
        last.insert(view.key.clone(), view.version);
        made_by.entry((view.key, view.version)).or_default().insert(view.correlation);
        answered.insert(view.correlation);
    }
    answered.extend(decoded(&broker.all(Topic::Replies)).map(|record| decode_reply(record).unwrap().correlation));
    for (key, version) in model.versions() {
        if last.get(&key) != Some(&version) {
            violations.push(format!("{key} is at {version} and its last view at {:?}", last.get(&key)));
        }
        for version in 1..=version {
            match made_by.get(&(key.clone(), version)).map_or(0, BTreeSet::len) {
                1 => {}
                0 => violations.push(format!("{key} has no view {version}")),
                _ => violations.push(format!("{key} has two views {version}")),
            }
        }
    }
    for (key, version) in made_by.keys() {
        if model.versions().get(key).is_none_or(|highest| version > highest) {
            violations.push(format!("{key} has a view {version} that the database does not have"));
        }
    }
    for command in sent.iter().filter(|command| !answered.contains(&command.id)) {
        violations.push(format!("{} of {} has no answer", command.id, command.key));
    }
    violations
}
