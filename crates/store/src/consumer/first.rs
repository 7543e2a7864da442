//! Whether a database is the first to work on a partition, as it seems to be where it has no position there.
//!
//! An empty database on topics that another one serves would carry out every command once more, from the first that is kept
//! on, and give versions that were given before. The topics do not say whose they are, but their views do: before the
//! first commit of a partition nothing has left for its views, so a view of an entity that the database does not have
//! is another database's. A store that gets no partition does no harm, and is told when it gets one.

use contract::wire::cloudevents::version_of;
use contract::{Key, Partition, Topic};

use super::worker::End;
use super::{Backoff, Shared};

/// Views looked at. One would do, but for foreign ones that cannot be read.
const RECORDS_MAX: usize = 64;

/// Looks until stream and database answer.
pub(super) async fn check(shared: &Shared, partition: Partition) -> Result<(), End> {
    let mut backoff = Backoff::default();
    loop {
        match strange(shared, partition).await {
            Ok(None) => return Ok(()),
            Ok(Some(key)) => {
                return Err(End::Failed(format!(
                    "the stream has a view of {key}, and the database, which has carried out no command of this partition, \
                     does not have it: another database serves these topics, or this one was emptied; use that one, or \
                     restore this one from a backup (docs/operations.md, \"Another stream\")"
                )));
            }
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
async fn strange(
    shared: &Shared,
    partition: Partition,
) -> Result<Option<Key>, Box<dyn std::error::Error + Send + Sync>> {
    let bounds = shared.stream.bounds(Topic::Views).await?;
    let Some(bounds) = bounds.get(partition as usize).filter(|bounds| bounds.start < bounds.end) else {
        return Ok(None);
    };
    let mut tail = shared.stream.tail(Topic::Views, partition, bounds.start).await?;
    let records = tail.next(RECORDS_MAX).await?;
    for (key, _) in records.iter().filter_map(|stored| version_of(&stored.record)) {
        let loaded = shared.database.load(vec![key.clone()], Vec::new(), Vec::new()).await?;
        if !loaded.entities.contains_key(&key) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}
