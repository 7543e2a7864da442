//! The adapter's queries.

use contract::{CommandId, Digest, Idempotency, Key, Outcome, Problem, Repeat, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row};
use uuid::Uuid;

use crate::database::change::Columns;
use crate::database::{Error, LOAD_BYTES_MAX, Loaded, status};
use crate::decide::{Keyed, Revision};

const ENTITY: &str =
    "SELECT version, created, updated, time, schema, object, command FROM store_entities WHERE type = ?1 AND id = ?2";
const OUTCOME: &str = "SELECT status, version, created, problem, entity FROM store_outcomes WHERE command = ?1";
const KEY: &str = "SELECT fingerprint, first FROM store_keys WHERE key = ?1";

/// `Ok(Err(..))` is a row that cannot be read.
pub(super) type Found<T> = rusqlite::Result<Result<T, Error>>;

pub(super) fn load(
    connection: &Connection,
    keys: Vec<Key>,
    commands: Vec<CommandId>,
    idempotency: Vec<Digest>,
) -> Found<Loaded> {
    let mut loaded = Loaded::default();
    // One snapshot for all of it.
    let transaction = connection.unchecked_transaction()?;
    let mut statement = connection.prepare_cached(ENTITY)?;
    let mut size_bytes = 0;
    for key in keys {
        let Some(id) = &key.id else { continue };
        let found = statement.query_row((key.entity_type.as_str(), id.as_str()), revision).optional()?;
        let Some(revision) = found else { continue };
        let revision_bytes = revision.live().map_or(0, |entity| entity.object.len());
        if loaded.entities.insert(key, revision).is_none() {
            size_bytes += revision_bytes;
        }
        if size_bytes > LOAD_BYTES_MAX && loaded.entities.len() > 1 {
            return Ok(Err(Error::TooMuch));
        }
    }
    drop(statement);
    let mut statement = connection.prepare_cached(OUTCOME)?;
    for command in commands {
        let found = statement.query_row((command.0.as_bytes(),), |row| outcome(row, command)).optional()?;
        match found {
            None => {}
            Some(Ok(outcome)) => drop(loaded.outcomes.insert(command, outcome)),
            Some(Err(error)) => return Ok(Err(error)),
        }
    }
    drop(statement);
    for key in idempotency {
        let mut statement = connection.prepare_cached(KEY)?;
        let found = statement.query_row((&key.0[..],), |row| keyed(row, key)).optional()?;
        match found {
            None => {}
            Some(Ok((keyed, keyed_bytes))) => {
                let is_new = loaded.keyed.insert(key, keyed).is_none();
                size_bytes += if is_new { keyed_bytes } else { 0 };
            }
            Some(Err(error)) => return Ok(Err(error)),
        }
        if size_bytes > LOAD_BYTES_MAX && loaded.entities.len() + loaded.keyed.len() > 1 {
            return Ok(Err(Error::TooMuch));
        }
    }
    transaction.finish()?;
    Ok(Ok(loaded))
}

fn revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    Ok(Revision::from(Columns {
        version: row.get(0)?,
        created: row.get(1)?,
        updated: row.get(2)?,
        time: row.get(3)?,
        schema: row.get_ref(4)?.as_str()?,
        object: row.get_ref(5)?.as_blob()?,
        command: command(row.get_ref(6)?.as_blob_or_null()?),
    }))
}

/// With its size in bytes.
fn keyed(row: &Row<'_>, key: Digest) -> rusqlite::Result<Result<(Keyed, usize), Error>> {
    let (fingerprint, first) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
    let fingerprint = fingerprint.try_into().map(Digest).map_err(|_| "its fingerprint is damaged".to_owned());
    let read = serde_json::from_slice::<Repeat>(first).map_err(|error| error.to_string());
    let both = fingerprint.and_then(|fingerprint| Ok((fingerprint, read?)));
    Ok(match both {
        Ok((fingerprint, repeat)) => {
            Ok((Keyed { idempotency: Idempotency { key, fingerprint }, first: repeat }, first.len()))
        }
        Err(reason) => Err(Error::Data(format!("an idempotency key's first answer cannot be read: {reason}"))),
    })
}

fn command(bytes: Option<&[u8]>) -> CommandId {
    CommandId(bytes.and_then(|bytes| Uuid::from_slice(bytes).ok()).unwrap_or_default())
}

fn outcome(row: &Row<'_>, command: CommandId) -> rusqlite::Result<Result<Outcome, Error>> {
    let problem = match row.get_ref(3)?.as_str_or_null()? {
        None => None,
        Some(text) => match serde_json::from_str::<Problem>(text) {
            Ok(problem) => Some(problem),
            Err(error) => return Ok(Err(Error::Data(format!("the outcome of {command} cannot be read: {error}")))),
        },
    };
    let status = status(row.get(0)?, problem.as_ref());
    let version = row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned);
    let created = row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis);
    let entity = row.get_ref(4)?.as_str_or_null()?.and_then(Key::parse);
    Ok(Ok(Outcome { command, status, version, entity, problem, created }))
}
