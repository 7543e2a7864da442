//! Owners, marks, and the events that wait to be published.

use bytes::Bytes;
use contract::{Headers, Partition, Record, Topic};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::read::Found;
use super::{TransactError, one};
use crate::database::{Error, Marks, Outgoing, Standing, UNPUBLISHED_BYTES_MAX, topic};

const TAKE: &str = "INSERT INTO store_positions (partition, owner) VALUES (?1, 1)
    ON CONFLICT DO UPDATE SET owner = owner + 1 RETURNING owner, next, published, views";
const STANDING: &str = "SELECT owner, next, published, views FROM store_positions WHERE partition = ?1";
const MARK: &str = "UPDATE store_positions SET published = MAX(published, ?3),
    views = CASE WHEN ?4 > COALESCE(views, -1) THEN ?4 ELSE views END WHERE partition = ?1 AND owner = ?2";
const INSERT: &str =
    "INSERT INTO store_outbox (partition, sequence, topic, key, headers, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const REMOVE: &str = "DELETE FROM store_outbox WHERE partition = ?1 AND sequence <= ?2";
const UNPUBLISHED: &str = "SELECT sequence, topic, key, headers, value FROM store_outbox
    WHERE partition = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3";

pub(super) fn take(connection: &Connection, partition: Partition, outbox: bool) -> Result<Standing, TransactError> {
    let mut statement = connection.prepare_cached(TAKE)?;
    Ok(statement.query_row((partition,), |row| read_standing(row, outbox))?)
}

pub(super) fn standing(connection: &Connection, partition: Partition, outbox: bool) -> rusqlite::Result<Standing> {
    let mut statement = connection.prepare_cached(STANDING)?;
    let found = statement.query_row((partition,), |row| read_standing(row, outbox)).optional()?;
    Ok(found.unwrap_or(Standing { outbox: outbox.then(Marks::default), ..Standing::default() }))
}

fn read_standing(row: &Row<'_>, outbox: bool) -> rusqlite::Result<Standing> {
    let number = |column| row.get::<_, Option<i64>>(column).map(|number| number.map(i64::cast_unsigned));
    let marks = Marks { published: number(2)?.unwrap_or(0), views: number(3)? };
    Ok(Standing { owner: number(0)?.unwrap_or(0), position: number(1)?, outbox: outbox.then_some(marks) })
}

/// Moves the marks and removes what lies before them.
pub(super) fn mark(
    connection: &Connection,
    partition: Partition,
    owner: u64,
    marks: Marks,
) -> Result<(), TransactError> {
    let (published, views) = (marks.published.cast_signed(), marks.views.map(u64::cast_signed));
    one(connection.prepare_cached(MARK)?.execute((partition, owner.cast_signed(), published, views))?)?;
    connection.prepare_cached(REMOVE)?.execute((partition, published))?;
    Ok(())
}

pub(super) fn keep(
    connection: &Connection,
    partition: Partition,
    first: u64,
    outgoing: &[(Topic, Record)],
) -> Result<(), TransactError> {
    let mut statement = connection.prepare_cached(INSERT)?;
    for (sequence, (topic, record)) in (first.cast_signed()..).zip(outgoing) {
        let (key, headers, value) = (&record.key[..], &record.headers.as_bytes()[..], &record.value[..]);
        statement.execute((partition, sequence, topic.name(), key, headers, value))?;
    }
    Ok(())
}

pub(super) fn unpublished(
    connection: &Connection,
    partition: Partition,
    after: u64,
    limit: usize,
) -> Found<Vec<Outgoing>> {
    let (mut found, mut size_bytes) = (Vec::new(), 0);
    let mut statement = connection.prepare_cached(UNPUBLISHED)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((partition, after.cast_signed(), limit))?;
    while let Some(row) = rows.next()? {
        let bytes = |column| Ok::<_, rusqlite::Error>(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?));
        let Some(headers) = Headers::from_bytes(bytes(3)?) else {
            return Ok(Err(Error::Broken(format!("an event in the outbox of partition {partition} is damaged"))));
        };
        let topic = match topic(row.get_ref(1)?.as_str()?) {
            Ok(topic) => topic,
            Err(error) => return Ok(Err(error)),
        };
        let record = Record { key: bytes(2)?, headers, value: bytes(4)? };
        size_bytes += record.size_bytes();
        if size_bytes > UNPUBLISHED_BYTES_MAX && !found.is_empty() {
            break;
        }
        found.push(Outgoing { sequence: row.get::<_, i64>(0)?.cast_unsigned(), topic, record });
    }
    Ok(Ok(found))
}
