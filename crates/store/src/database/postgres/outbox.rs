//! Owners, marks, and the events that wait to be published.

use std::pin::pin;

use bytes::Bytes;
use contract::{Headers, Partition, Record};
use futures_util::TryStreamExt as _;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::pool::{Lease, Pool, bounded, failure};
use crate::database::{Error, Marks, Outgoing, Standing, UNPUBLISHED_BYTES_MAX, topic};

const TAKE: &str = "INSERT INTO store_positions AS p (partition, owner) VALUES ($1, 1)
    ON CONFLICT (partition) DO UPDATE SET owner = p.owner + 1 RETURNING owner, next, published, views";
const STANDING: &str = "SELECT owner, next, published, views FROM store_positions WHERE partition = $1";
const MARK: &str = "UPDATE store_positions SET published = greatest(published, $3), views = greatest(views, $4)
    WHERE partition = $1 AND owner = $2";
/// Comes before the mark is moved: so it looks only between the old mark and the new one, past what was removed before
/// and is not vacuumed yet.
pub(super) const REMOVE: &str = "DELETE FROM store_outbox o USING store_positions p
    WHERE p.partition = $1 AND o.partition = $1 AND o.sequence > p.published AND o.sequence <= $2";
const UNPUBLISHED: &str = "SELECT sequence, topic, key, headers, value FROM store_outbox
    WHERE partition = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";

pub(super) async fn take(pool: &Pool, partition: Partition) -> Result<Standing, Error> {
    bounded(async {
        let client = pool.get().await?;
        let statement = client.prepare_cached(TAKE).await.map_err(|error| failure(&error))?;
        let row = client.query_one(&statement, &[&partition.cast_signed()]).await.map_err(|error| failure(&error))?;
        Ok(read(&row))
    })
    .await
}

pub(super) async fn standing(pool: &Pool, partition: Partition) -> Result<Standing, Error> {
    bounded(async {
        let client = pool.get().await?;
        let statement = client.prepare_cached(STANDING).await.map_err(|error| failure(&error))?;
        let row = client.query_opt(&statement, &[&partition.cast_signed()]).await.map_err(|error| failure(&error))?;
        Ok(row.map_or(Standing { outbox: Some(Marks::default()), ..Standing::default() }, |row| read(&row)))
    })
    .await
}

fn read(row: &Row) -> Standing {
    let number = |column: usize| row.get::<_, Option<i64>>(column).map(i64::cast_unsigned);
    let marks = Marks { published: number(2).unwrap_or(0), views: number(3) };
    Standing { owner: number(0).unwrap_or(0), position: number(1), outbox: Some(marks) }
}

pub(super) async fn mark(pool: &Pool, partition: Partition, owner: u64, marks: Marks) -> Result<(), Error> {
    bounded(async {
        let lease = Lease::new(pool.get().await?);
        let client = lease.client()?;
        let (set, remove) = futures_util::future::try_join(client.prepare_cached(MARK), client.prepare_cached(REMOVE))
            .await
            .map_err(|error| failure(&error))?;
        let (published, views) = (marks.published.cast_signed(), marks.views.map(u64::cast_signed));
        let (partition, owner) = (partition.cast_signed(), owner.cast_signed());
        client.batch_execute("BEGIN").await.map_err(|error| failure(&error))?;
        client.execute(&remove, &[&partition, &published]).await.map_err(|error| failure(&error))?;
        let row: [&(dyn ToSql + Sync); 4] = [&partition, &owner, &published, &views];
        let set = client.execute(&set, &row).await.map_err(|error| failure(&error))?;
        let end = if set == 1 { "COMMIT" } else { "ROLLBACK" };
        client.batch_execute(end).await.map_err(|error| failure(&error))?;
        lease.give_back();
        if set == 1 { Ok(()) } else { Err(Error::Conflict) }
    })
    .await
}

pub(super) async fn unpublished(
    pool: &Pool,
    partition: Partition,
    after: u64,
    limit: usize,
) -> Result<Vec<Outgoing>, Error> {
    bounded(async {
        let client = pool.get().await?;
        let statement = client.prepare_cached(UNPUBLISHED).await.map_err(|error| failure(&error))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (partition, after) = (partition.cast_signed(), after.cast_signed());
        let row: [&(dyn ToSql + Sync); 3] = [&partition, &after, &limit];
        let rows = client.query_raw(&statement, row).await.map_err(|error| failure(&error))?;
        let mut rows = pin!(rows);
        let (mut found, mut size_bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
            let event = event(&row)?;
            size_bytes += event.record.size_bytes();
            if size_bytes > UNPUBLISHED_BYTES_MAX && !found.is_empty() {
                break;
            }
            found.push(event);
        }
        Ok(found)
    })
    .await
}

fn event(row: &Row) -> Result<Outgoing, Error> {
    let bytes = |column: usize| Bytes::copy_from_slice(row.get::<_, &[u8]>(column));
    let sequence = row.get::<_, i64>(0).cast_unsigned();
    let headers = Headers::from_bytes(bytes(3));
    let headers = headers.ok_or_else(|| Error::Broken(format!("the event {sequence} in the outbox is damaged")))?;
    let record = Record { key: bytes(2), headers, value: bytes(4) };
    Ok(Outgoing { sequence, topic: topic(row.get(1))?, record })
}
