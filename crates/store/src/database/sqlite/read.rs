//! The adapter's queries.

use bytes::Bytes;
use contract::reply::Page;
use contract::{CommandId, EntityType, Key, ListQuery, Outcome, Problem, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row};
use uuid::Uuid;

use crate::database::{Error, LOAD_BYTES_MAX, Loaded, page, status};
use crate::decide::Entity;

const ENTITY: &str =
    "SELECT version, created, updated, time, schema, object, command FROM store_entities WHERE type = ?1 AND id = ?2";
const OUTCOME: &str = "SELECT status, version, created, problem FROM store_outcomes WHERE command = ?1";
const TOTAL: &str = "SELECT total FROM store_counts WHERE type = ?1";
const PAGE: &str = "SELECT created, id, schema, object FROM store_entities INDEXED BY store_entities_by_created
    WHERE type = ?1 AND (created, id) > (?2, ?3) ORDER BY created, id LIMIT ?4";

/// `Ok(Err(..))` is a row that cannot be read.
pub(super) type Found<T> = rusqlite::Result<Result<T, Error>>;

pub(super) fn load(connection: &Connection, keys: Vec<Key>, commands: Vec<CommandId>) -> Found<Loaded> {
    let mut loaded = Loaded::default();
    // One snapshot for all of it.
    let transaction = connection.unchecked_transaction()?;
    let mut statement = connection.prepare_cached(ENTITY)?;
    let mut size_bytes = 0;
    for key in keys {
        let Some(id) = &key.id else { continue };
        let found = statement.query_row((key.entity_type.as_str(), id.as_str()), entity).optional()?;
        let Some(entity) = found else { continue };
        let entity_bytes = entity.object.len();
        if loaded.entities.insert(key, entity).is_none() {
            size_bytes += entity_bytes;
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
    transaction.finish()?;
    Ok(Ok(loaded))
}

fn entity(row: &Row<'_>) -> rusqlite::Result<Entity> {
    Ok(Entity {
        version: row.get::<_, i64>(0)?.cast_unsigned(),
        created: Timestamp::from_millis(row.get(1)?),
        updated: Timestamp::from_millis(row.get(2)?),
        time: Timestamp::from_millis(row.get(3)?),
        data_schema: row.get_ref(4)?.as_str()?.into(),
        object: Bytes::copy_from_slice(row.get_ref(5)?.as_blob()?),
        command: command(row.get_ref(6)?.as_blob_or_null()?),
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
    Ok(Ok(Outcome { command, status, version, problem, created }))
}

pub(super) fn list(connection: &Connection, entity_type: &EntityType, query: &ListQuery) -> Found<Page> {
    let name = entity_type.name().as_str();
    let total = connection.prepare_cached(TOTAL)?.query_row((name,), |row| row.get::<_, i64>(0)).optional()?;
    let mut filling = page::Filling::new(entity_type, query.limit, total.unwrap_or(0));
    let (created, id) = match &query.after {
        Some(position) => (position.created.as_millis(), position.id.as_str()),
        None => (i64::MIN, ""),
    };
    let mut statement = connection.prepare_cached(PAGE)?;
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = statement.query((name, created, id, limit))?;
    while let Some(row) = rows.next()? {
        let (id, schema) = (row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?);
        let item = page::Row { created: row.get(0)?, id, schema, object: row.get_ref(3)?.as_blob()? };
        match filling.push(&item) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(filling.finish()))
}
