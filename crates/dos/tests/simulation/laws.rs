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
    /// Where each marker stands. A deletion names nothing: its request's label tells whose it is.
    by_marker: BTreeMap<String, BTreeSet<(String, u64)>>,
    /// What the command of each request made.
    by_label: BTreeMap<String, (String, u64)>,
    /// How often the command of each request is on its topic.
    copies: BTreeMap<String, usize>,
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
    laws.repeats();
    laws.decisions();
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
        let mut labels = BTreeMap::new();
        for stored in self.cluster.broker.all(Topic::Commands) {
            let command = decode_command(&stored.record, &self.cluster.registry).unwrap();
            let Some(label) = command.request_id else { continue };
            *self.published.copies.entry(label.clone()).or_default() += 1;
            labels.insert(command.id, label);
        }
        for stored in self.cluster.broker.all(Topic::Views) {
            let view = decode_view(&stored.record).unwrap();
            let (key, version) = (view.key.to_string(), view.version);
            let made = (view.correlation, view.object.clone());
            let before = self.published.versions.entry(key.clone()).or_default().entry(version).or_insert(made.clone());
            if *before != made {
                self.violations.push(format!("{key} has two views {version}"));
            }
            let (label, place) = (labels.get(&view.correlation).cloned().unwrap_or_default(), (key.clone(), version));
            let marker = match &view.object {
                Some(bytes) => {
                    let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
                    self.published.by_bytes.insert((key, bytes.clone()), version);
                    object["name"].as_str().unwrap_or_default().to_owned()
                }
                None => label.split('.').next().unwrap_or_default().to_owned(),
            };
            self.published.by_marker.entry(marker).or_default().insert(place.clone());
            self.published.by_label.insert(label, place);
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
        let mut began: BTreeMap<&str, u64> = BTreeMap::new();
        for write in &self.history.writes {
            began.entry(&write.marker).or_insert(write.began);
        }
        for write in &self.history.writes {
            let marker = &write.marker;
            let place = self.place(write);
            if let (Some((key, _)), Some(meant)) = (&place, &write.key)
                && key != meant
            {
                self.violated(format!("{marker} was meant for {meant} and stands at {key}"));
            }
            // Sent again, it is one write: what it did was perhaps done the first time.
            let began = began.get(marker.as_str()).copied().unwrap_or_default();
            match (&write.end, &place) {
                (End::Done(_) | End::Deleted, None) => {
                    self.violated(format!("{marker} was acknowledged and is lost"));
                }
                (End::Done(_) | End::Deleted, Some((key, version))) => {
                    self.told(write, key, *version);
                    if let Some(before) = self.known(key, began).filter(|before| before >= version) {
                        self.violated(format!("{marker} is version {version}, and {before} was seen before it began"));
                    }
                }
                (End::Rejected(_), Some((key, version))) => {
                    self.violated(format!("{marker} was refused ({:?}) and is version {version} of {key}", write.end));
                }
                (End::Safe, _) => {
                    if let Some(made) = self.published.by_label.get(&write.label) {
                        self.violated(format!("{} was not to be produced and is {made:?}", write.label));
                    }
                }
                _ => {}
            }
        }
    }

    /// Whoever was told of a write was told of that version.
    fn told(&mut self, write: &Write, key: &str, version: u64) {
        let End::Done(object) = &write.end else { return };
        let marker = &write.marker;
        let told = self.published.by_bytes.get(&(key.to_owned(), object.clone())).copied();
        if write.replayed && told != Some(version) {
            self.violated(format!("{marker} is version {version}, and who sent it again was told of {told:?}"));
        }
        // A command that came twice may be answered with what the entity has become since.
        if told.is_none_or(|told| told < version) {
            self.violated(format!("{marker} is version {version} and was told to be {told:?}"));
        }
    }

    /// Under one key one request is carried out, all are answered alike, and those that were not carried out say so.
    fn repeats(&mut self) {
        let mut rejected: BTreeMap<&str, u16> = BTreeMap::new();
        for write in &self.history.writes {
            let Write { marker, label, keyed, replayed, end, .. } = write;
            if *replayed && !keyed {
                self.violated(format!("{marker} has no key, and its answer was given before"));
            }
            if let End::Rejected(status) = end {
                let first = *rejected.entry(marker).or_insert(*status);
                if first != *status {
                    self.violated(format!("{marker} was refused with {first} and with {status}"));
                }
            }
            let made = self.published.by_label.contains_key(label);
            // A command that came twice is answered from its own outcome.
            let once = self.published.copies.get(label) == Some(&1);
            if matches!(end, End::Done(_) | End::Deleted) && *replayed == made && (made || once) {
                self.violated(format!("{label} made a version: {made}, was said to be a repeat: {replayed}"));
            }
        }
    }

    /// What the data store told of an entity is no older than what anybody knew before they asked.
    fn decisions(&mut self) {
        for seen in self.history.seen.iter().filter(|seen| seen.decided) {
            let Seen { key, began, what, .. } = seen;
            let (version, known) = (self.version(seen), self.known(key, *began));
            if !matches!(what, What::Object { .. }) && version < known {
                self.violated(format!(
                    "{key} was said to be {what:?} by the data store, and {known:?} was seen before"
                ));
            }
        }
    }

    /// The highest version of an entity that anybody was told of before something began.
    fn known(&self, key: &str, began: u64) -> Option<u64> {
        let earlier = self.history.seen.iter().filter(|seen| seen.key == key && seen.ended < began);
        earlier.filter_map(|seen| self.version(seen)).max()
    }

    fn version(&self, seen: &Seen) -> Option<u64> {
        match &seen.what {
            What::Object { bytes, .. } => self.published.by_bytes.get(&(seen.key.clone(), bytes.clone())).copied(),
            What::Exists(version) | What::Gone(version) => Some(*version),
            What::Removed(marker) => {
                let places = self.published.by_marker.get(marker)?;
                places.iter().find(|(key, _)| *key == seen.key).map(|(_, version)| *version)
            }
            What::Absent => None,
        }
    }

    /// Whether a version of an entity is its deletion; none where there is no such version.
    fn is_deletion(&self, key: &str, version: u64) -> Option<bool> {
        Some(self.published.versions.get(key)?.get(&version)?.1.is_none())
    }

    /// Whether an entity was deleted within these versions.
    fn was_deleted(&self, key: &str, versions: impl std::ops::RangeBounds<u64>) -> bool {
        let published = self.published.versions.get(key);
        published.is_some_and(|all| all.range(versions).any(|(_, (_, object))| object.is_none()))
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
                Found::Unknown => accepted || self.published.by_label.contains_key(&write.label),
            });
            if let Some(lie) = lie {
                self.violated(format!("{marker} ({:?}) was said to be {lie:?} and is {place:?}", write.end));
            }
            if found.last().is_none_or(|found| *found == Found::Pending) {
                self.violated(format!("{marker} ({:?}) never ends: {found:?}", write.end));
            }
        }
    }

    /// What one client is told by one gateway is some version of the entity, and never goes back; nor does what a client is
    /// told anywhere that takes its token along.
    fn reads(&mut self) {
        let mut floors: BTreeMap<(usize, Option<u64>, &str), u64> = BTreeMap::new();
        for seen in &self.history.seen {
            let Seen { client, incarnation, key, what, carried, covered, .. } = seen;
            let version = self.version(seen);
            let place = format!("client {client}, gateway {incarnation}, {key}");
            let places = [(Some(*incarnation), true, true), (None, *carried, *covered)];
            for (gateway, compared, counts) in places.into_iter().filter(|(_, compared, _)| *compared) {
                let floor = floors.entry((*client, gateway, key)).or_default();
                let before = *floor;
                if compared && version.unwrap_or_default() < before {
                    let whose = if gateway.is_none() { " by its token" } else { "" };
                    self.violations.push(format!("{place}: {what:?} is {version:?} and comes after {before}{whose}"));
                }
                if counts {
                    *floor = before.max(version.unwrap_or_default());
                }
            }
            match (what, version) {
                (What::Object { bytes, .. }, None) => {
                    let violation = format!("{place}: an object that no view has: {bytes:?}");
                    self.violations.push(violation);
                }
                (What::Object { etag, .. }, Some(version)) => {
                    let tells = etag.as_ref().is_none_or(|etag| etag.starts_with(&format!("\"{version}-")));
                    if !tells && !self.cluster.world.lacks(Part::OnlyIfNewer) {
                        self.violations.push(format!("{place}: version {version} has the ETag {etag:?}"));
                    }
                }
                (What::Exists(_) | What::Gone(_), Some(version)) => {
                    let gone = matches!(what, What::Gone(_));
                    if self.is_deletion(key, version) != Some(gone) {
                        self.violations.push(format!("{place}: {what:?}, and version {version} is another thing"));
                    }
                }
                _ => {}
            }
        }
    }

    /// A list has each row once, and all that its client knew to be there. What is deleted and created anew meanwhile is
    /// another row.
    fn lists(&mut self) {
        for listing in &self.history.listings {
            let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
            for (key, object) in &listing.rows {
                let version = self.published.by_bytes.get(&(key.clone(), object.clone())).copied().unwrap_or_default();
                if let Some(before) = rows.insert(key, version)
                    && !self.was_deleted(key, before..version)
                {
                    self.violations.push(format!("a list has {key} twice: {before} and {version}"));
                }
            }
            let known = self.history.seen.iter().filter(|seen| {
                let here = (seen.client, seen.incarnation) == (listing.client, listing.incarnation);
                let by_token = seen.client == listing.client && seen.covered && listing.carried;
                (here || by_token) && seen.ended < listing.began && !rows.contains_key(seen.key.as_str())
            });
            for missing in known {
                // What was deleted in its last known version, or since, may be missing.
                let Some(version) = self.version(missing) else { continue };
                if !self.was_deleted(&missing.key, version..) {
                    self.violations.push(format!("a list lacks {} with {version}: {:?}", missing.key, listing.rows));
                }
            }
        }
    }
}
