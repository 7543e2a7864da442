//! How a store stands, for its health.

use std::collections::BTreeMap;

use contract::Partition;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Stream and database were reached, and belong together.
    pub bound: bool,
    /// The stream has changed so that it takes no commands any more; those it has are carried out.
    pub refused: bool,
    /// Partitions that are assigned to this store, each with whether its commands are carried out just now.
    pub assigned: BTreeMap<Partition, bool>,
}

impl Status {
    /// What keeps it from carrying out commands, and in which part, without names of hosts.
    pub fn trouble(&self) -> Option<(&'static str, String)> {
        if !self.bound {
            return Some(("store", "waits for the stream and the database; the log says for which".to_owned()));
        }
        if self.refused {
            return Some(("stream", "cannot be used as it is; the log says what to change".to_owned()));
        }
        if self.assigned.is_empty() {
            let reason = "no partition is assigned: it has just joined the others, the stream is away, or there are more \
                          stores than partitions";
            return Some(("store", reason.to_owned()));
        }
        let waiting = self.assigned.values().filter(|works| !**works).count();
        let all = self.assigned.len();
        (waiting > 0).then(|| ("store", format!("commands of {waiting} of {all} partitions wait; the log says why")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_ready_once_all_it_has_is_worked_on() {
        let mut status = Status::default();
        assert!(status.trouble().is_some_and(|(_, reason)| reason.contains("waits for")));
        status.bound = true;
        assert!(status.trouble().is_some_and(|(_, reason)| reason.contains("no partition")));
        status.assigned.insert(3, false);
        status.assigned.insert(4, true);
        assert!(status.trouble().is_some_and(|(_, reason)| reason.contains("1 of 2")));
        status.assigned.insert(3, true);
        assert_eq!(status.trouble(), None);
        status.refused = true;
        assert!(status.trouble().is_some_and(|(part, _)| part == "stream"));
    }
}
