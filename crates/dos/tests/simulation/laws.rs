//! What must be true of the topics, of what clients were told, and of both together, once everything has settled.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use contract::wire::cloudevents::{decode_command, decode_reply, decode_view};
use contract::{CommandId, Topic};
use serde_json::Value;

use super::cluster::Cluster;
use super::history::{End, Found, History, Seen, What, Write};
use super::parts::Part;

/// Every version of every entity, as they were published.
#[derive(Default)]
struct Published {
    versions: BTreeMap<String, BTreeMap<u64, (CommandId, Option<Bytes>)>>,
    /// Which version an object is.
    by_bytes: BTreeMap<(String, Bytes), u64>,
    /// Where each marker stands.
    by_marker: BTreeMap<String, BTreeSet<(String, u64)>>,
}

pub(crate) struct Laws<'a> {
    cluster: &'a Cluster,
    history: &'a History,
    published: Published,
    violations: Vec<String>,
}

/// What is violated; empty where nothing is.
pub(crate) fn violations(cluster: &Cluster, history: &History) -> Vec<String> {
    let violations = history.complaints.clone();
    let mut laws = Laws { cluster, history, published: Published::default(), violations };
    laws.publish();
    laws.topics();
    laws.answered();
    laws.writes();
    laws.operations();
    laws.reads();
    laws.lists();
    laws.violations
}

impl Laws<'_> {
    fn violated(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Reads all views: a version is one object, made by one command.
    fn publish(&mut self) {
        for stored in self.cluster.broker.all(Topic::Views) {
            let view = decode_view(&stored.record).unwrap();
            let (key, version) = (view.key.to_string(), view.version);
            let made = (view.correlation, view.object.clone());
            let before = self.published.versions.entry(key.clone()).or_default().entry(version).or_insert(made.clone());
            if *before != made {
                self.violations.push(format!("{key} has two views {version}"));
            }
            let Some(bytes) = view.object else { continue };
            let object: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let marker = object["name"].as_str().unwrap_or_default().to_owned();
            self.published.by_marker.entry(marker).or_default().insert((key.clone(), version));
            self.published.by_bytes.insert((key, bytes), version);
        }
    }

    /// Versions are 1, 2, 3 .. without a gap, and a key's last record is its highest version, as the database has it.
    fn topics(&mut self) {
        let mut last = BTreeMap::new();
        for stored in self.cluster.broker.kept(Topic::Views) {
            let view = decode_view(&stored.record).unwrap();
            last.insert(view.key.to_string(), (view.version, view.object));
        }
        let entities = self.cluster.model.entities();
        for (key, (version, object)) in &entities {
            let key = key.to_string();
            let found = last.get(&key);
            if found.map(|(version, object)| (version, object)) != Some((version, object)) {
                let found = found.map(|(version, _)| version);
                self.violated(format!("{key} is at {version} and its last view at {found:?}"));
            }
            let published: Vec<u64> =
                self.published.versions.get(&key).into_iter().flatten().map(|(v, _)| *v).collect();
            if published != (1..=*version).collect::<Vec<_>>() {
                self.violated(format!("{key} is at {version} and has the views {published:?}"));
            }
        }
        if self.published.versions.len() != entities.len() {
            self.violated("there are views of entities that the database does not have".to_owned());
        }
        let twice: Vec<_> = self.published.by_marker.iter().filter(|(_, places)| places.len() > 1).collect();
        let twice: Vec<_> =
            twice.into_iter().map(|(marker, places)| format!("{marker} stands at {places:?}")).collect();
        self.violations.extend(twice);
    }

    /// Every command led to something.
    fn answered(&mut self) {
        let mut answered: BTreeSet<CommandId> = BTreeSet::new();
        answered.extend(self.published.versions.values().flat_map(BTreeMap::values).map(|(command, _)| *command));
        let replies = self.cluster.broker.all(Topic::Replies);
        answered.extend(replies.iter().map(|stored| decode_reply(&stored.record).unwrap().correlation));
        for stored in self.cluster.broker.all(Topic::Commands) {
            let command = decode_command(&stored.record, &self.cluster.registry).unwrap();
            if !answered.contains(&command.id) {
                self.violated(format!("{} of {} has no answer", command.id, command.key));
            }
        }
    }

    /// Where a write stands. Each stands at one place at most, or `topics` says so.
    fn place(&self, write: &Write) -> Option<(String, u64)> {
        self.published.by_marker.get(&write.marker).and_then(BTreeSet::first).cloned()
    }

    /// What is acknowledged is there, and came after whatever its client could know; what is refused is not.
    fn writes(&mut self) {
        for write in &self.history.writes {
            let marker = &write.marker;
            let place = self.place(write);
            if let (Some((key, _)), Some(meant)) = (&place, &write.key)
                && key != meant
            {
                self.violated(format!("{marker} was meant for {meant} and stands at {key}"));
            }
            match (&write.end, &place) {
                (End::Done(_), None) => self.violated(format!("{marker} was acknowledged and is lost")),
                (End::Done(object), Some((key, version))) => {
                    let told = self.published.by_bytes.get(&(key.clone(), object.clone()));
                    // A command that came twice may be answered with what the entity has become since.
                    if told.is_none_or(|told| told < version) {
                        self.violated(format!("{marker} is version {version} and was told to be {told:?}"));
                    }
                    if let Some(before) = self.known(key, write.began).filter(|before| before >= version) {
                        self.violated(format!("{marker} is version {version}, and {before} was seen before it began"));
                    }
                }
                (End::Safe | End::Rejected(_), Some((key, version))) => {
                    self.violated(format!("{marker} was refused ({:?}) and is version {version} of {key}", write.end));
                }
                _ => {}
            }
        }
        for Seen { key, began, what, .. } in self.history.seen.iter().filter(|seen| seen.decided) {
            if *what == What::Absent && self.known(key, *began).is_some() {
                self.violated(format!("{key} is not found by the data store, and was seen before"));
            }
        }
    }

    /// The highest version of an entity that anybody was told of before something began.
    fn known(&self, key: &str, began: u64) -> Option<u64> {
        let earlier = self.history.seen.iter().filter(|seen| seen.key == key && seen.ended < began);
        earlier.filter_map(|seen| self.version(seen)).max()
    }

    fn version(&self, seen: &Seen) -> Option<u64> {
        let What::Object { bytes, .. } = &seen.what else { return None };
        self.published.by_bytes.get(&(seen.key.clone(), bytes.clone())).copied()
    }

    /// Operations tell the truth, and all who ask hear the same.
    fn operations(&mut self) {
        for write in &self.history.writes {
            let (operation, accepted) = match &write.end {
                End::Accepted(operation) => (operation, true),
                End::Doubt(Some(operation)) => (operation, false),
                _ => continue,
            };
            let (marker, place) = (&write.marker, self.place(write));
            let found = self.history.lookups.get(operation).map(Vec::as_slice).unwrap_or_default();
            let lie = found.iter().find(|found| match found {
                Found::Pending => false,
                Found::Succeeded => place.is_none(),
                Found::Failed => place.is_some(),
                Found::Unknown => accepted || place.is_some(),
            });
            if let Some(lie) = lie {
                self.violated(format!("{marker} ({:?}) was said to be {lie:?} and is {place:?}", write.end));
            }
            if found.last().is_none_or(|found| *found == Found::Pending) {
                self.violated(format!("{marker} ({:?}) never ends: {found:?}", write.end));
            }
        }
    }

    /// What one client is told by one gateway is some version of the entity, and never goes back.
    fn reads(&mut self) {
        let mut floors: BTreeMap<(usize, u64, &str), u64> = BTreeMap::new();
        for seen in &self.history.seen {
            let Seen { client, incarnation, key, what, .. } = seen;
            let floor = floors.entry((*client, *incarnation, key)).or_default();
            let (before, version) = (*floor, self.version(seen));
            *floor = before.max(version.unwrap_or_default()).max(u64::from(*what == What::Exists));
            let place = format!("client {client}, gateway {incarnation}, {key}");
            match (what, version) {
                (What::Object { bytes, .. }, None) => {
                    let violation = format!("{place}: an object that no view has: {bytes:?}");
                    self.violations.push(violation);
                }
                (What::Object { etag, .. }, Some(version)) => {
                    if version < before {
                        self.violations.push(format!("{place}: {version} after {before}"));
                    }
                    let tells = etag.as_ref().is_none_or(|etag| etag.starts_with(&format!("\"{version}-")));
                    if !tells && !self.cluster.world.lacks(Part::OnlyIfNewer) {
                        self.violations.push(format!("{place}: version {version} has the ETag {etag:?}"));
                    }
                }
                (What::Absent, _) if before > 0 => {
                    self.violations.push(format!("{place}: not found after {before}"));
                }
                _ => {}
            }
        }
    }

    /// A list has each row once, and all that its client knew to be there.
    fn lists(&mut self) {
        for listing in &self.history.listings {
            let keys: BTreeSet<&String> = listing.keys.iter().collect();
            if keys.len() != listing.keys.len() {
                self.violations.push(format!("a list has a row twice: {:?}", listing.keys));
            }
            let known = self.history.seen.iter().filter(|seen| {
                (seen.client, seen.incarnation) == (listing.client, listing.incarnation)
                    && seen.ended < listing.began
                    && seen.what != What::Absent
            });
            for missing in known.filter(|seen| !keys.contains(&seen.key)) {
                self.violations.push(format!("a list lacks {}: {:?}", missing.key, listing.keys));
            }
        }
    }
}
