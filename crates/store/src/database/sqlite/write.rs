//! The adapter's one write: a batch, whole.

use std::collections::BTreeMap;

use contract::{OutcomeStatus, TypeName};
use rusqlite::{Connection, OptionalExtension as _};

use super::{CONFLICT, TransactError, Transaction, index, one};
use crate::database::change::Row;
use crate::database::{Batch, Change, Committed};

/// `IS` also compares none with none.
const POSITION: &str = "UPDATE store_positions SET next = ?4, sequence = sequence + ?5
    WHERE partition = ?1 AND owner = ?2 AND next IS ?3 RETURNING sequence - ?5 + 1";
const CREATE: &str = "INSERT INTO store_entities (type, id, version, created, updated, time, schema, object, command)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
/// Without `created`, so that its index is not written again.
const UPDATE: &str =
    "UPDATE store_entities SET version = ?3, updated = ?4, time = ?5, schema = ?6, object = ?7, command = ?8
    WHERE type = ?1 AND id = ?2 AND version = ?9";
const MOVE: &str = "UPDATE store_entities SET created = ?3 WHERE type = ?1 AND id = ?2";
const COUNT: &str = "INSERT INTO store_counts (type, total) VALUES (?1, ?2)
    ON CONFLICT DO UPDATE SET total = total + excluded.total";
const REMEMBER: &str = "INSERT INTO store_outcomes (time, command, status, version, created, problem, entity)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
const REMEMBER_KEY: &str =
    "INSERT INTO store_keys (time, key, fingerprint, first) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
const FORGET_KEYS: &str = "DELETE FROM store_keys WHERE number IN
    (SELECT number FROM store_keys ORDER BY number LIMIT ?2) AND time < ?1";
const OLDEST: &str = "SELECT time FROM store_outcomes ORDER BY number LIMIT 1";
const FORGET: &str = "DELETE FROM store_outcomes WHERE number IN
    (SELECT number FROM store_outcomes ORDER BY number LIMIT ?2) AND time < ?1";

/// Outcomes removed by a commit: twice those it adds, so that the table shrinks under load, and a few more.
const FORGET_MIN: usize = 16;

/// `outbox` tells whether the outgoing events stay here, or are appended to the stream whose file this is.
pub(super) fn commit(
    transaction: &mut Transaction<'_>,
    batch: Batch,
    outbox: bool,
) -> Result<Committed, TransactError> {
    let connection = transaction.connection();
    let first = advance(connection, &batch, outbox)?;
    let mut grown: BTreeMap<&TypeName, i64> = BTreeMap::new();
    for change in &batch.changes {
        store(connection, change)?;
        let growth = change.growth();
        if growth != 0 {
            *grown.entry(&change.key.entity_type).or_default() += growth;
        }
    }
    for (name, count) in grown {
        connection.prepare_cached(COUNT)?.execute((name.as_str(), count))?;
    }
    remember(connection, &batch)?;
    let (partition, next) = (batch.partition, batch.next);
    if outbox {
        super::outbox::mark(connection, partition, batch.owner, batch.marks)?;
        super::outbox::keep(connection, partition, first, &batch.outgoing)?;
        return Ok(Committed { unpublished: (!batch.outgoing.is_empty()).then_some(first) });
    }
    for (topic, record) in batch.outgoing {
        transaction.append(topic, record)?;
    }
    transaction.keep_from(contract::Topic::Commands, partition, next)?;
    Ok(Committed::default())
}

/// Moves the position; answers the sequence of the first event.
fn advance(connection: &Connection, batch: &Batch, outbox: bool) -> Result<u64, TransactError> {
    let events = if outbox { batch.outgoing.len() as i64 } else { 0 };
    let (owner, next) = (batch.owner.cast_signed(), batch.next.cast_signed());
    let row = (batch.partition, owner, batch.expected.map(u64::cast_signed), next, events);
    let first = connection.prepare_cached(POSITION)?.query_row(row, |row| row.get::<_, i64>(0)).optional()?;
    first.map(i64::cast_unsigned).ok_or_else(|| TransactError::Aborted(CONFLICT.to_owned()))
}

fn store(connection: &Connection, change: &Change) -> Result<(), TransactError> {
    let Row { entity_type, id, version, created, updated, time, schema, object, command } = change.row();
    let (object, command) = (&object[..], &command.as_bytes()[..]);
    let Some(expected) = change.expected else {
        let row = (entity_type, id, version, created, updated, time, schema, object, command);
        one(connection.prepare_cached(CREATE)?.execute(row)?)?;
        return index::change(connection, change);
    };
    let row = (entity_type, id, version, updated, time, schema, object, command, expected.cast_signed());
    one(connection.prepare_cached(UPDATE)?.execute(row)?)?;
    if change.moved {
        connection.prepare_cached(MOVE)?.execute((entity_type, id, created))?;
    }
    index::change(connection, change)
}

fn remember(connection: &Connection, batch: &Batch) -> Result<(), TransactError> {
    let mut statement = connection.prepare_cached(REMEMBER)?;
    for outcome in &batch.outcomes {
        let problem = outcome.problem.as_ref().map(serde_json::to_string).transpose();
        let problem = problem.map_err(|error| TransactError::Aborted(error.to_string()))?;
        one(statement.execute((
            batch.time.as_millis(),
            outcome.command.0.as_bytes(),
            outcome.status == OutcomeStatus::Succeeded,
            outcome.version.map(u64::cast_signed),
            outcome.created.map(contract::Timestamp::as_millis),
            problem,
            outcome.entity.as_ref().map(ToString::to_string),
        ))?)?;
    }
    for keyed in &batch.keyed {
        let first = serde_json::to_vec(&keyed.first).map_err(|error| TransactError::Aborted(error.to_string()))?;
        let idempotency = &keyed.idempotency;
        let row = (batch.time.as_millis(), &idempotency.key.0[..], &idempotency.fingerprint.0[..], first);
        one(connection.prepare_cached(REMEMBER_KEY)?.execute(row)?)?;
    }
    forget(connection, batch)
}

fn forget(connection: &Connection, batch: &Batch) -> Result<(), TransactError> {
    let before = batch.forget_before.as_millis();
    let oldest = connection.prepare_cached(OLDEST)?.query_row((), |row| row.get::<_, i64>(0)).optional()?;
    if oldest.is_none_or(|time| time >= before) {
        return Ok(());
    }
    let limit = 2 * batch.outcomes.len() + FORGET_MIN;
    connection.prepare_cached(FORGET)?.execute((before, limit as i64))?;
    // Each key came with an outcome: they are forgotten as those are.
    connection.prepare_cached(FORGET_KEYS)?.execute((before, limit as i64))?;
    Ok(())
}
