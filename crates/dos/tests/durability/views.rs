//! The views topic, read from the data file beside the program.

use std::path::Path;

use contract::Topic;
use contract::wire::cloudevents;
use stream::embedded::Follower;

use crate::shared::history::Version;

const RECORDS_MAX: usize = 4096;

/// Reads on from where it was.
#[derive(Default)]
pub(crate) struct Reader {
    next: Vec<u64>,
}

impl Reader {
    /// The versions that came since, in the order of the topic, or why they cannot be relied on.
    ///
    /// It must be called within the compaction's lag: then offsets have no gap.
    pub(crate) fn read(&mut self, data: &Path) -> Result<Vec<Version>, String> {
        let follower = Follower::open(data).map_err(|error| error.to_string())?;
        self.next.resize(follower.partitions() as usize, 0);
        let mut versions = Vec::new();
        for (partition, next) in (0..).zip(&mut self.next) {
            loop {
                let read = follower.read(Topic::Views, partition, *next, RECORDS_MAX);
                let records = read.map_err(|error| error.to_string())?;
                if records.is_empty() {
                    break;
                }
                for stored in records {
                    if stored.offset != *next {
                        return Err(format!("partition {partition} has offset {} after {next}", stored.offset));
                    }
                    *next += 1;
                    let view = cloudevents::decode_view(&stored.record).map_err(|error| error.reason)?;
                    versions.push(Version {
                        id: view.key.id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
                        version: view.version,
                        correlation: view.correlation.0.to_string(),
                        label: None,
                        object: view.object.unwrap_or_default().to_vec(),
                    });
                }
            }
        }
        Ok(versions)
    }
}
