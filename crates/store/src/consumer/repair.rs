//! The last record of a key on `dos.views` is its highest version, whatever crashed, paused or came late.
//!
//! A store that lost a partition commits nothing (`Database::commit` knows the owner), but what it had handed to the stream
//! may be stored late, after its successor's events: an older version of a key would come last, and compaction would
//! keep it. It is not fenced off, it is repaired (`docs/adr/0007`): partition p of the commands and of the views
//! hold the same keys, so the owner of p reads partition p of the views. A record of its current run of appends
//! is in order by itself. Any other one is compared with the database, and where it is older than what the database
//! has, the database's view is published again, behind all that waits to be published.
//!
//! Where to read from is a mark in the database, beside the watermark, that only the owner moves, and only past records of
//! its own run, or after the acknowledgement of what they made it publish. Whoever takes over reads from there: so a late record
//! is seen by somebody, even if its first reader died over it. The first owner ever begins at the end.
//!
//! Why this is enough: let `r` be the last record of a key and older than the database's version `V`. `V` was appended
//! before `r`, or it still waits in the outbox and will come after it. In the run of appends that `r` is of, versions
//! of the key only grow, so `V` was of another run. If `r` is not of the current run, its reader finds it. If it is of
//! the current run, this run began at the watermark, before `r`'s event and so before `V`'s, and `V` follows in it.
//! A record that another partition's store published (a command that came by an unexpected partition) is in no order
//! with this one's: it is answered with the database's view in any case, also where it is the newest.
//!
//! Bounded: a batch of records leads to one look-up of at most so many keys, each at most one publication more.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::wire::cloudevents::{encode_view, run_of, version_of};
use contract::{Env, Key, Offset, Partition, Stored, Topic};
use stream::{Stream, StreamError, Tail};

use super::{Backoff, Shared};
use crate::database::{Error, Loaded};

/// Records looked at together.
const RECORDS_MAX: usize = 1000;
/// Entities looked up together.
const KEYS_MAX: usize = 64;

/// Reads a partition of the views.
pub(super) struct Watch {
    stream: Arc<dyn Stream>,
    env: Arc<dyn Env>,
    partition: Partition,
    /// The next record to look at; none until the partition's end is known.
    next: Option<Offset>,
    tail: Option<Box<dyn Tail>>,
    backoff: Backoff,
}

impl Watch {
    pub(super) fn new(stream: Arc<dyn Stream>, env: Arc<dyn Env>, partition: Partition, from: Option<Offset>) -> Self {
        Self { stream, env, partition, next: from, tail: None, backoff: Backoff::default() }
    }

    /// The partition's end, where nobody has looked at it before.
    pub(super) async fn begin(&mut self) -> Offset {
        loop {
            if let Some(next) = self.next {
                return next;
            }
            match self.stream.bounds(Topic::Views).await {
                Ok(bounds) => self.next = bounds.get(self.partition as usize).map(|bounds| bounds.end).or(Some(0)),
                Err(error) => self.wait(&error).await,
            }
        }
    }

    /// The next records; waits until there are any. Dropping the future loses nothing.
    pub(super) async fn records(&mut self) -> Vec<Stored> {
        loop {
            let from = self.begin().await;
            let next = match &mut self.tail {
                Some(tail) => tail.next(RECORDS_MAX).await,
                None => match self.stream.tail(Topic::Views, self.partition, from).await {
                    Ok(tail) => {
                        self.tail = Some(tail);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match next {
                Ok(records) => {
                    self.backoff = Backoff::default();
                    if let Some(last) = records.last() {
                        self.next = Some(last.offset + 1);
                        return records;
                    }
                }
                Err(StreamError::OutOfRange { start, end, .. }) => {
                    tracing::warn!(self.partition, from, start, end, "views that were to be looked at are gone");
                    (self.tail, self.next) = (None, Some(if from < start { start } else { end }));
                }
                Err(error) => {
                    self.tail = None;
                    self.wait(&error).await;
                }
            }
        }
    }

    async fn wait(&mut self, error: &StreamError) {
        if !self.backoff.failing() {
            tracing::warn!(self.partition, %error, "the views cannot be read; it is tried again");
        }
        let delay = self.backoff.next(&*self.env);
        self.env.sleep(delay).await;
    }
}

/// What must be compared with the database: keys, and the versions that lie on the topic. No version where the view is
/// to be published again in any case.
pub(super) fn suspects(partition: Partition, run: &str, records: &[Stored]) -> BTreeMap<Key, Option<u64>> {
    let mut suspects = BTreeMap::new();
    for Stored { record, .. } in records {
        let of = run_of(record);
        if of == Some(run) {
            if suspects.is_empty() {
                continue;
            }
            // This run's own record of the key is the last one, and in order with all but another partition's.
            if let Some((key, _)) = version_of(record)
                && suspects.get(&key).is_some_and(Option::is_some)
            {
                suspects.remove(&key);
            }
            continue;
        }
        // What has no such key cannot be ours, nor replace what is.
        let Some((key, version)) = version_of(record) else { continue };
        let here = of.and_then(|run| run.split_once('/')).is_some_and(|(number, _)| number.parse() == Ok(partition));
        let version = if here { version } else { None };
        let known = suspects.entry(key).or_insert(version);
        *known = known.and(version);
    }
    suspects
}

/// The views to publish again.
pub(super) async fn views(
    shared: &Shared,
    suspects: &BTreeMap<Key, Option<u64>>,
) -> Result<Vec<contract::Record>, Error> {
    let mut views = Vec::new();
    let keys: Vec<&Key> = suspects.keys().collect();
    for keys in keys.chunks(KEYS_MAX) {
        for (key, revision) in load(shared, keys).await?.entities {
            match suspects.get(&key) {
                Some(Some(version)) if *version == revision.version() => continue,
                Some(Some(version)) if *version > revision.version() => {
                    tracing::error!(%key, version, database = revision.version(), "the stream has a newer version than the database: the database is older than the stream, restore both from one backup");
                    continue;
                }
                _ => {}
            }
            views.push(encode_view(&revision.view(key), &shared.source));
        }
    }
    // The database gives them in no order.
    views.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(views)
}

async fn load(shared: &Shared, keys: &[&Key]) -> Result<Loaded, Error> {
    let owned = keys.iter().map(|key| (*key).clone()).collect();
    match shared.database.load(owned, Vec::new(), Vec::new()).await {
        Err(Error::TooMuch) if keys.len() > 1 => {
            let mut loaded = Loaded::default();
            for key in keys {
                loaded
                    .entities
                    .extend(shared.database.load(vec![(*key).clone()], Vec::new(), Vec::new()).await?.entities);
            }
            Ok(loaded)
        }
        other => other,
    }
}
