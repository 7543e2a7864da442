//! Whether what the program has is what it acknowledged: a pure function of writes, topic and answers to `GET`.
//!
//! Every version of an entity must be the one before it with exactly one write's fields merged in, or its deletion by one
//! write. A write is found in a version by its marker, so one that was applied twice, or never asked for, cannot hide. What
//! was sent several times under an idempotency key is one write here (`again`).

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::shared::history::{Found, Outcome, Version, Write, version_of};

pub(crate) mod again;
mod tests;

/// How markers begin; no other text in a test does.
pub(crate) const MARKER: &str = "m-";

/// What kind of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An acknowledged write is not there.
    Lost,
    /// A write is there twice.
    Doubled,
    /// Versions are not 1, 2, 3 ..
    Gap,
    /// A version has other bytes, or another number, than were acknowledged.
    Changed,
    /// Something is there that was refused, or that nobody asked for.
    Ghost,
    /// A version is not the one before it with the write's fields merged in.
    Effect,
    /// A writer's second write to an entity did not come after its first.
    Order,
    /// `GET` does not give the latest version.
    Stale,
    /// A condition was said to have failed, and it had not; or it had, and the write was done.
    Condition,
    /// An answer that no write may have.
    Strange,
    /// A client was shown an older version than it had seen.
    Backwards,
    /// A read failed though its gateway was there.
    FailedRead,
    /// An answer came later than it may.
    Late,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// Read by who sees the test fail.
    pub(crate) detail: String,
}

/// What is known of an entity after all rounds so far.
struct Entity {
    version: u64,
    object: Vec<u8>,
    fields: Map<String, Value>,
    /// Of this version, where it was acknowledged.
    etag: Option<String>,
    /// It was deleted with some version.
    was_deleted: bool,
}

impl Entity {
    fn is_live(&self) -> bool {
        !self.object.is_empty()
    }
}

/// Checks round after round on the same data.
#[derive(Default)]
pub(crate) struct Checker {
    entities: HashMap<String, Entity>,
    /// Where each marker was found first.
    applied: HashMap<String, (String, u64)>,
    correlations: HashSet<String>,
    violations: Vec<Violation>,
}

impl Checker {
    /// Entities that must be there.
    pub(crate) fn entities(&self) -> usize {
        self.entities.values().filter(|entity| entity.is_live()).count()
    }

    /// Whether a write of an earlier or this round was applied.
    pub(crate) fn is_applied(&self, marker: &str) -> bool {
        self.applied.contains_key(marker)
    }

    /// One round: what was written in it, the versions that came in it, and what `GET` gives of their entities now.
    pub(crate) fn round(
        &mut self,
        writes: &[Write],
        versions: &[Version],
        found: &HashMap<String, Found>,
    ) -> Vec<Violation> {
        let by_marker: HashMap<&str, &Write> = writes.iter().map(|write| (write.marker.as_str(), write)).collect();
        for version in versions {
            self.version(version, &by_marker);
        }
        for write in writes {
            self.write(write);
        }
        self.conditions(writes);
        self.order(writes);
        let touched: HashSet<&str> = versions.iter().map(|version| version.id.as_str()).collect();
        for id in touched {
            self.current(id, found.get(id));
        }
        std::mem::take(&mut self.violations)
    }

    /// What another gateway gives of the entities of the round.
    pub(crate) fn elsewhere(&mut self, versions: &[Version], found: &HashMap<String, Found>) -> Vec<Violation> {
        let touched: HashSet<&str> = versions.iter().map(|version| version.id.as_str()).collect();
        for id in touched {
            self.current(id, found.get(id));
        }
        std::mem::take(&mut self.violations)
    }

    fn broken(&mut self, kind: Kind, detail: String) {
        self.violations.push(Violation { kind, detail });
    }

    fn version(&mut self, version: &Version, writes: &HashMap<&str, &Write>) {
        let place = format!("{} version {}", version.id, version.version);
        let before = self.entities.remove(&version.id);
        let last = before.as_ref().map_or(0, |entity| entity.version);
        if version.version <= last {
            self.broken(Kind::Doubled, format!("{place} comes again, after version {last}"));
        } else if version.version != last + 1 {
            self.broken(Kind::Gap, format!("{place} comes after version {last}"));
        }
        if !self.correlations.insert(version.correlation.clone()) {
            self.broken(Kind::Doubled, format!("{place}: command {} made another version", version.correlation));
        }
        let fields: Map<String, Value> = serde_json::from_slice(&version.object).unwrap_or_default();
        let marker = if version.object.is_empty() {
            // A deletion sets nothing.
            version.label.clone()
        } else {
            self.marker_of(&place, before.as_ref().map(|entity| &entity.fields), &fields)
        };
        let mut etag = None;
        if let Some(marker) = marker {
            match writes.get(marker.as_str()) {
                Some(write) => {
                    self.effect(&place, version, before.as_ref(), write, &fields);
                    etag = self.acknowledged(&place, version, write);
                }
                None => self.broken(Kind::Ghost, format!("{place} has {marker}, which nobody wrote in this round")),
            }
            if let Some((id, number)) = self.applied.insert(marker.clone(), (version.id.clone(), version.version)) {
                self.broken(Kind::Doubled, format!("{place}: {marker} is in {id} version {number} already"));
            }
        }
        let was_deleted = version.object.is_empty() || before.is_some_and(|entity| entity.was_deleted);
        let entity = Entity { version: version.version, object: version.object.clone(), fields, etag, was_deleted };
        self.entities.insert(version.id.clone(), entity);
    }

    /// The one marker that is new in a version.
    fn marker_of(
        &mut self,
        place: &str,
        before: Option<&Map<String, Value>>,
        after: &Map<String, Value>,
    ) -> Option<String> {
        let new = after.iter().filter(|(name, value)| before.is_none_or(|before| before.get(*name) != Some(*value)));
        let markers: Vec<&str> =
            new.filter_map(|(_, value)| value.as_str()).filter(|text| text.starts_with(MARKER)).collect();
        match markers[..] {
            [marker] => Some(marker.to_owned()),
            _ => {
                self.broken(Kind::Ghost, format!("{place} is the work of {} writes: {markers:?}", markers.len()));
                None
            }
        }
    }

    fn effect(
        &mut self,
        place: &str,
        version: &Version,
        before: Option<&Entity>,
        write: &Write,
        fields: &Map<String, Value>,
    ) {
        let marker = &write.marker;
        let (before, deletes) = (before.filter(|entity| entity.is_live()), version.object.is_empty());
        let elsewhere = write.entity.as_ref().is_some_and(|entity| *entity != version.id);
        if elsewhere || write.creates != before.is_none() || write.deletes != deletes {
            self.broken(Kind::Effect, format!("{place}: {marker} was not meant for it"));
        }
        if let Some(etag) = &write.based_on
            && version_of(etag) != Some(version.version - 1)
        {
            self.broken(Kind::Condition, format!("{place}: {marker} was to be done on {etag} only"));
        }
        if deletes {
            return;
        }
        let id = Value::from(version.id.as_str());
        for (name, value) in fields {
            let expected = match (name.as_str(), before) {
                ("id", _) => Some(&id),
                ("updated", _) | ("created", None) => continue,
                (_, before) => write.patch.get(name).or_else(|| before.and_then(|entity| entity.fields.get(name))),
            };
            let kept = expected.map_or(value.is_null() || *value == false, |expected| expected == value);
            if !kept {
                self.broken(Kind::Effect, format!("{place}: after {marker} {name} is {value} and not {expected:?}"));
            }
        }
        if let Some(missing) = write.patch.keys().find(|name| !fields.contains_key(*name)) {
            self.broken(Kind::Effect, format!("{place}: {marker} set {missing}, which is not there"));
        }
    }

    /// Compares a version with what its writer was told; the ETag if it was.
    fn acknowledged(&mut self, place: &str, version: &Version, write: &Write) -> Option<String> {
        let marker = &write.marker;
        match &write.outcome {
            Outcome::Acknowledged { id, version: number, etag, body } => {
                if (id, *number) != (&version.id, version.version) {
                    self.broken(Kind::Changed, format!("{place}: {marker} was acknowledged as {id} version {number}"));
                }
                if *body != version.object {
                    let (told, there) = (String::from_utf8_lossy(body), String::from_utf8_lossy(&version.object));
                    self.broken(Kind::Changed, format!("{place}: {marker} was acknowledged as {told}, is {there}"));
                }
                (*number == version.version).then(|| etag.clone())
            }
            Outcome::Refused(_) | Outcome::Never => {
                self.broken(Kind::Ghost, format!("{place}: {marker} was refused: {:?}", write.outcome));
                None
            }
            Outcome::Accepted { succeeded: Some(false), operation } => {
                self.broken(Kind::Ghost, format!("{place}: {marker} failed, says {operation}"));
                None
            }
            // Whether it was a deletion, `effect` says.
            Outcome::Deleted
            | Outcome::Accepted { .. }
            | Outcome::Unknown { .. }
            | Outcome::Strange(_)
            | Outcome::None => None,
        }
    }

    fn write(&mut self, write: &Write) {
        let marker = &write.marker;
        match &write.outcome {
            Outcome::Acknowledged { id, version, .. } if !self.is_applied(marker) => {
                self.broken(Kind::Lost, format!("{marker} was acknowledged as {id} version {version}"));
            }
            Outcome::Deleted if !self.is_applied(marker) => {
                self.broken(Kind::Lost, format!("{marker} was acknowledged as a deletion"));
            }
            Outcome::Accepted { operation, succeeded: None } => {
                self.broken(Kind::Lost, format!("{marker} was accepted, and {operation} has no outcome"));
            }
            Outcome::Accepted { operation, succeeded: Some(true) } if !self.is_applied(marker) => {
                self.broken(Kind::Lost, format!("{marker} succeeded, says {operation}"));
            }
            Outcome::Strange(answer) => self.broken(Kind::Strange, format!("{marker}: {answer}")),
            _ => {}
        }
    }

    /// Writes with a condition behave as if there were one at a time. That only one of those that make an entity does, and
    /// of those on one version, is seen in the versions (`effect`); here, that the others had a reason to be refused.
    fn conditions(&mut self, writes: &[Write]) {
        for write in writes {
            let Write { marker, entity: Some(id), outcome: Outcome::Refused(status @ (410 | 412)), based_on, .. } =
                write
            else {
                continue;
            };
            let entity = self.entities.get(id);
            let version = entity.map(|entity| entity.version);
            if *status == 410 {
                if entity.is_none_or(|entity| !entity.was_deleted) {
                    self.broken(Kind::Condition, format!("{marker} found {id} deleted, which it never was"));
                }
                continue;
            }
            let expected = based_on.as_deref().and_then(version_of);
            if version.is_none() || version == expected {
                self.broken(
                    Kind::Condition,
                    format!("{marker} was refused because of {id}, which has version {version:?}, on {based_on:?}"),
                );
            }
        }
    }

    /// A writer waits for each answer, so what it wrote to one entity came in that order, and is not unheard of later.
    fn order(&mut self, writes: &[Write]) {
        let mut last: HashMap<(usize, &str), u64> = HashMap::new();
        for write in writes {
            if let (Outcome::Refused(404), Some(id)) = (&write.outcome, &write.entity)
                && last.contains_key(&(write.writer, id.as_str()))
            {
                self.broken(Kind::Order, format!("{} found no {id}, which its writer had written", write.marker));
            }
            let Outcome::Acknowledged { id, version, .. } = &write.outcome else { continue };
            if let Some(before) = last.insert((write.writer, id.as_str()), *version)
                && before >= *version
            {
                self.broken(Kind::Order, format!("{} got {id} version {version} after version {before}", write.marker));
            }
        }
    }

    fn current(&mut self, id: &str, found: Option<&Found>) {
        let Some(entity) = self.entities.get(id) else { return };
        let version = entity.version;
        let detail = match found {
            None => "finds nothing".to_owned(),
            Some(found) if !found.etag.starts_with(&format!("\"{version}-")) => format!("has ETag {}", found.etag),
            Some(found) if entity.etag.as_ref().is_some_and(|etag| *etag != found.etag) => {
                format!("has ETag {} and not {:?}", found.etag, entity.etag)
            }
            Some(found) if found.body != entity.object => {
                format!("gives {}", String::from_utf8_lossy(&found.body))
            }
            Some(_) => return,
        };
        self.broken(Kind::Stale, format!("GET of {id}, which has version {version}, {detail}"));
    }
}
