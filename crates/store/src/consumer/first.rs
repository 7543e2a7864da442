//! Whether a database is the first to work on a partition, as it seems to be where it has no position there.
//!
//! An empty database on topics that another one serves would carry out every command once more, from the first that is kept
//! on, and give versions that were given before. The topics do not say whose they are, but their views do: before the
//! first commit of a partition nothing has left for its views, so a view of an entity that the database does not have
//! is another database's. A store that gets no partition does no harm, and is told when it gets one.
//!
//! Of two empty databases on topics without views the first claims them, just before its first commit ([`claim`],
//! `docs/adr/0015`). It is asked for as late as this, so that a store that was started by mistake and had nothing to
//! do has claimed nothing.

use contract::wire::cloudevents::version_of;
use contract::{Key, Partition, Topic};
use stream::{Stream, StreamError};

use super::worker::End;
use super::{Backoff, Shared};

/// Views looked at. One would do, but for foreign ones that cannot be read.
const RECORDS_MAX: usize = 64;

/// What stream or database did not do.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Looks until stream and database answer.
pub(super) async fn check(shared: &Shared, partition: Partition) -> Result<(), End> {
    let mut backoff = Backoff::default();
    loop {
        match strange(shared, partition).await {
            Ok(None) => return Ok(()),
            Ok(Some(key)) => return Err(End::Failed(has_view(&key))),
            Err(error) => {
                if !backoff.failing() {
                    tracing::warn!(partition, %error, "a partition is not begun yet; it is tried again");
                }
                shared.env.sleep(backoff.next(&*shared.env)).await;
            }
        }
    }
}

/// An entity that has a view and is not in the database.
async fn strange(shared: &Shared, partition: Partition) -> Result<Option<Key>, Failure> {
    for key in viewed(&*shared.stream, partition).await? {
        let loaded = shared.database.load(vec![key.clone()], Vec::new(), Vec::new()).await?;
        if !loaded.entities.contains_key(&key) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Entities of which a partition has views, some of them.
pub(crate) async fn viewed(stream: &dyn Stream, partition: Partition) -> Result<Vec<Key>, StreamError> {
    let bounds = stream.bounds(Topic::Views).await?;
    let Some(bounds) = bounds.get(partition as usize).filter(|bounds| bounds.start < bounds.end) else {
        return Ok(Vec::new());
    };
    let mut tail = stream.tail(Topic::Views, partition, bounds.start).await?;
    let records = tail.next(RECORDS_MAX).await?;
    Ok(records.iter().filter_map(|stored| version_of(&stored.record)).map(|(key, _)| key).collect())
}

/// Claims the topics for the database; the reason where they are another's.
pub(super) async fn claim(shared: &Shared) -> Result<Option<String>, Failure> {
    let own = shared.database.name(shared.env.uuid().to_string()).await?;
    let first = shared.stream.claim(&own).await?;
    Ok((first != own).then(|| claimed(&first, Some(&own))))
}

/// What to tell the operator of an entity that has a view and is not in the database.
pub(crate) fn has_view(key: &Key) -> String {
    format!(
        "the stream has a view of {key}, and the database, which has carried out no command of this partition, does not have \
         it: another database serves these topics, or this one was emptied; {MEND}"
    )
}

/// What to tell the operator of topics that another database claimed.
pub(crate) fn claimed(first: &str, own: Option<&str>) -> String {
    let own = own.map_or_else(|| "has no name yet".to_owned(), |own| format!("is {own}"));
    format!(
        "another database serves these topics: {first} claimed them with their first command, and this one {own}; {MEND}"
    )
}

const MEND: &str = "use that one, or restore this one from a backup (docs/operations.md, \"Another stream\")";
