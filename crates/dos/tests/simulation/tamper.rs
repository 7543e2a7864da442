//! Events as they are read when a part is taken out: altered so that the part has nothing to hold on to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use contract::record::Headers;
use contract::wire::cloudevents::version_of;
use contract::{Record, Stored, Topic};

use super::parts::Part;
use super::world::World;

const CORRELATION: &str = "ce_correlationid";
const VERSION: &str = "ce_version";

/// The command that an event belongs to.
pub(crate) fn correlation(record: &Record) -> Option<&[u8]> {
    record.headers.get(CORRELATION)
}

pub(crate) struct Tampered {
    world: Arc<World>,
    unacknowledged: Arc<Mutex<BTreeSet<Vec<u8>>>>,
    /// The highest version that was told of each key.
    told: BTreeMap<Vec<u8>, u64>,
}

impl Tampered {
    pub(crate) fn new(world: Arc<World>, unacknowledged: Arc<Mutex<BTreeSet<Vec<u8>>>>) -> Self {
        Self { world, unacknowledged, told: BTreeMap::new() }
    }

    pub(crate) fn records(&mut self, topic: Topic, mut records: Vec<Stored>) -> Vec<Stored> {
        records.iter_mut().for_each(|stored| self.record(topic, &mut stored.record));
        records
    }

    fn record(&mut self, topic: Topic, record: &mut Record) {
        if self.world.lacks(Part::OnlyIfNewer) && topic == Topic::Views {
            // An older version claims to be the next one.
            let Some(version) = version_of(record).and_then(|(_, version)| version) else { return };
            let told = self.told.entry(record.key.to_vec()).or_default();
            let claimed = if version < *told { *told + 1 } else { version };
            *told = claimed;
            record.headers = with(&record.headers, VERSION, Some(claimed.to_string().as_bytes()));
        }
        let rejected = record.headers.get("ce_type").is_some_and(|kind| kind.ends_with(b".rejected"));
        if self.world.lacks(Part::RejectionWaits) && topic == Topic::Replies && rejected {
            // It does not tell which version caused it.
            record.headers = with(&record.headers, VERSION, None);
        }
        if self.world.lacks(Part::WaiterFirst) {
            // Who would wait only now has missed it.
            let missed = correlation(record).is_some_and(|id| self.unacknowledged.lock().unwrap().contains(id));
            if missed {
                *record = renamed(&self.world, record);
            }
        }
    }
}

/// The event as if it belonged to another command.
pub(crate) fn renamed(world: &World, record: &Record) -> Record {
    let other = world.uuid().to_string();
    Record { headers: with(&record.headers, CORRELATION, Some(other.as_bytes())), ..record.clone() }
}

fn with(headers: &Headers, name: &str, value: Option<&[u8]>) -> Headers {
    let pairs = headers.iter().filter_map(|(header, before)| {
        let header = std::str::from_utf8(header).unwrap();
        Some((header, if header == name { value? } else { before }))
    });
    Headers::from_pairs(pairs)
}
