//! Whether what clients were shown is the history, and never went back.
//!
//! What one client was shown by one gateway is compared: a gateway that was killed and is back must know at least what it
//! showed before, for it is ready only once it has read the topic to its end. To a client that carries its token from gateway
//! to gateway, all of them are one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use crate::cluster::ON_DEMAND;
use crate::shared::check::{Kind, Violation};
use crate::shared::history::Version;

/// One read, or the answer to a write, which shows a version too.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) client: usize,
    pub(crate) gateway: usize,
    /// The entity; none for a list.
    pub(crate) id: Option<String>,
    /// When its connection was opened, since the run began.
    pub(crate) connected: Duration,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) seen: Seen,
    /// The client takes its token from gateway to gateway.
    pub(crate) carried: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// This version, whose bytes have this digest; a deletion has none.
    Version(u64, u64),
    /// The gateway has not come as far as the client's token within its wait.
    Behind,
    /// Nothing is there.
    Nothing,
    /// A list.
    List,
    /// No answer, or one that says that it failed.
    Failed(String),
}

/// A time in which a gateway was not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) gateway: usize,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
}

/// A digest of bytes, for comparison.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The latest that each client was shown, by each gateway, and by all where it carries its token.
#[derive(Default)]
pub(crate) struct Shown(HashMap<(usize, Option<usize>, String), u64>);

impl Shown {
    /// Checks the reads of a round; those of one client in their order.
    pub(crate) fn round(&mut self, reads: &[Read], versions: &[Version], outages: &[Outage]) -> Vec<Violation> {
        let known: HashMap<(&str, u64), u64> =
            versions.iter().map(|version| ((version.id.as_str(), version.version), digest(&version.object))).collect();
        let mut violations = Vec::new();
        let mut broken = |kind, detail: String| violations.push(Violation { kind, detail });
        for read in reads {
            let Read { client, gateway, begun, .. } = read;
            let place = format!("client {client} at gateway {gateway} after {:.3} s", begun.as_secs_f64());
            let version = match &read.seen {
                Seen::Failed(reason) => {
                    if !is_excused(read, outages) {
                        broken(Kind::FailedRead, format!("{place}: {:?}: {reason}", read.id));
                    }
                    continue;
                }
                Seen::Behind if read.carried => continue,
                Seen::Behind => {
                    broken(Kind::FailedRead, format!("{place}: behind a token that was not sent"));
                    continue;
                }
                Seen::List => continue,
                Seen::Nothing => 0,
                Seen::Version(version, _) => *version,
            };
            let Some(id) = &read.id else { continue };
            for gateway in [Some(*gateway), None].into_iter().filter(|gateway| gateway.is_some() || read.carried) {
                let shown = self.0.entry((*client, gateway, id.clone())).or_default();
                if version < *shown {
                    let whose = if gateway.is_none() { " by its token" } else { "" };
                    broken(Kind::Backwards, format!("{place}: {id} version {version} after {shown}{whose}"));
                }
                // What a data store told a gateway that has no views may be ahead of its token: docs/adr/0016.
                if gateway.is_some() || read.gateway != ON_DEMAND {
                    *shown = version.max(*shown);
                }
            }
            if let Seen::Version(_, seen) = read.seen
                // Those of earlier rounds were compared then.
                && let Some(written) = known.get(&(id.as_str(), version))
                && *written != seen
            {
                broken(Kind::Changed, format!("{place}: {id} version {version} has other bytes than in the topic"));
            }
            if version > 0 && !known.contains_key(&(id.as_str(), version)) && known.contains_key(&(id.as_str(), 1)) {
                broken(Kind::Ghost, format!("{place}: {id} version {version} is not in the topic"));
            }
        }
        violations
    }
}

/// Whether its gateway was not there at some time of it, or its connection died with the gateway while nothing was asked.
fn is_excused(read: &Read, outages: &[Outage]) -> bool {
    let overlaps = |outage: &&Outage| read.connected <= outage.ended && read.ended >= outage.begun;
    outages.iter().filter(|outage| outage.gateway == read.gateway).any(|outage| overlaps(&outage))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(client: usize, gateway: usize, at: u64, seen: Seen) -> Read {
        let (begun, ended) = (Duration::from_secs(at), Duration::from_secs(at + 1));
        Read { client, gateway, id: Some("a".to_owned()), connected: begun, begun, ended, seen, carried: false }
    }

    fn seen(version: u64) -> Seen {
        Seen::Version(version, digest(&object(version)))
    }

    fn object(version: u64) -> Vec<u8> {
        vec![b'0' + version as u8]
    }

    fn versions() -> Vec<Version> {
        let version = |version| Version {
            id: "a".to_owned(),
            version,
            correlation: format!("c{version}"),
            label: None,
            object: object(version),
        };
        (1..=3).map(version).collect()
    }

    fn kinds(shown: &mut Shown, reads: &[Read], outages: &[Outage]) -> Vec<Kind> {
        shown.round(reads, &versions(), outages).into_iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn a_client_that_goes_forward_passes_and_clients_and_gateways_are_told_apart() {
        let reads = [
            read(1, 0, 1, Seen::Nothing),
            read(1, 0, 2, seen(1)),
            read(1, 0, 3, seen(3)),
            read(1, 1, 4, seen(2)),
            read(2, 0, 5, seen(2)),
            read(1, 0, 6, seen(3)),
        ];
        assert_eq!(kinds(&mut Shown::default(), &reads, &[]), []);
    }

    #[test]
    fn an_older_version_than_before_also_of_an_earlier_round() {
        let mut shown = Shown::default();
        assert_eq!(kinds(&mut shown, &[read(1, 0, 1, seen(2)), read(1, 0, 2, seen(1))], &[]), [Kind::Backwards]);
        assert_eq!(kinds(&mut shown, &[read(1, 0, 3, seen(1))], &[]), [Kind::Backwards]);
        assert_eq!(kinds(&mut shown, &[read(1, 0, 4, Seen::Nothing)], &[]), [Kind::Backwards]);
    }

    #[test]
    fn what_a_client_that_carries_its_token_is_shown_by_another_gateway() {
        let carried = |gateway, at, seen| Read { carried: true, ..read(1, gateway, at, seen) };
        let reads = [carried(0, 1, seen(1)), carried(1, 2, Seen::Behind), carried(1, 3, seen(2))];
        assert_eq!(kinds(&mut Shown::default(), &reads, &[]), []);
        let reads = [carried(0, 1, seen(2)), carried(1, 2, seen(1))];
        assert_eq!(kinds(&mut Shown::default(), &reads, &[]), [Kind::Backwards]);
        let reads = [carried(ON_DEMAND, 1, seen(2)), carried(0, 2, seen(1)), carried(ON_DEMAND, 3, seen(1))];
        assert_eq!(kinds(&mut Shown::default(), &reads, &[]), [Kind::Backwards], "at one gateway it never goes back");
        assert_eq!(kinds(&mut Shown::default(), &[read(1, 0, 1, Seen::Behind)], &[]), [Kind::FailedRead]);
    }

    #[test]
    fn a_read_that_fails_while_its_gateway_is_there() {
        let outage = Outage { gateway: 0, begun: Duration::from_secs(10), ended: Duration::from_secs(12) };
        let failed = |gateway, at| read(1, gateway, at, Seen::Failed("503".to_owned()));
        let mut on_a_dead_connection = failed(0, 20);
        on_a_dead_connection.connected = Duration::from_secs(5);
        let reads = [failed(0, 9), failed(0, 12), on_a_dead_connection];
        assert_eq!(kinds(&mut Shown::default(), &reads, &[outage]), []);
        let reads = [failed(1, 11), failed(0, 8), failed(0, 13)];
        assert_eq!(kinds(&mut Shown::default(), &reads, &[outage]), [Kind::FailedRead; 3]);
    }

    #[test]
    fn bytes_and_versions_that_are_not_in_the_topic() {
        let changed = Seen::Version(2, digest(b"other"));
        assert_eq!(kinds(&mut Shown::default(), &[read(1, 0, 1, changed)], &[]), [Kind::Changed]);
        assert_eq!(kinds(&mut Shown::default(), &[read(1, 0, 1, seen(4))], &[]), [Kind::Ghost]);
    }
}
