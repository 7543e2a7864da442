//! The index of lists, made and brought on.

use std::sync::Arc;

use contract::{EntityType, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::{Sqlite, TransactError};
use crate::database::change::NEVER;
use crate::database::index::{Entry, definition, definition_name, entries};
use crate::database::{Change, Error};

const MADE_BY: &str = "SELECT value FROM store_meta WHERE name = ?1";
const FORGET: &str = "DELETE FROM store_meta WHERE name LIKE 'index:%'";
const MADE: &str = "INSERT OR REPLACE INTO store_meta (name, value) VALUES (?1, ?2)";
const CLEAR: &str = "DELETE FROM store_index WHERE (type, field, value, id) IN
    (SELECT type, field, value, id FROM store_index WHERE type = ?1 LIMIT ?2)";
const SCAN: &str = "SELECT id, updated, object FROM store_entities WHERE type = ?1 AND id > ?2 AND created < ?3
    ORDER BY id LIMIT ?4";
const ADD: &str = "INSERT INTO store_index (type, field, value, id) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
const REMOVE: &str = "DELETE FROM store_index WHERE type = ?1 AND field = ?2 AND value = ?3 AND id = ?4";

/// Rows that one job of the writer looks at, or removes.
const CHUNK: i64 = 2000;

/// Makes the index complete for these types; none of it counts without any. Nobody else works on the file.
pub(super) async fn make(database: &Sqlite, types: Option<Vec<Arc<EntityType>>>) -> Result<(), Error> {
    let Some(types) = types else {
        return database.write(|transaction| Ok(transaction.connection().execute(FORGET, ()).map(drop)?)).await;
    };
    for entity_type in types {
        let (name, made_by) = (definition_name(&entity_type), definition(&entity_type));
        let asked = name.clone();
        let found = database.read(move |connection| made_by_now(connection, &asked).map(Ok)).await?;
        if found.as_ref() == Some(&made_by) {
            continue;
        }
        tracing::info!(%name, "the index of lists is made");
        let kind = Arc::clone(&entity_type);
        while database
            .write({
                let kind = Arc::clone(&kind);
                move |t| clear(t.connection(), &kind)
            })
            .await?
        {}
        let mut after = Some(String::new());
        while let Some(from) = after {
            let kind = Arc::clone(&kind);
            after = database.write(move |transaction| chunk(transaction.connection(), &kind, &from)).await?;
        }
        database.write(move |t| Ok(t.connection().execute(MADE, (&name, &made_by)).map(drop)?)).await?;
    }
    Ok(())
}

fn made_by_now(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection.prepare_cached(MADE_BY)?.query_row((name,), |row| row.get(0)).optional()
}

/// Removes some entries of a type; whether there may be more. What is left of it counts no more.
fn clear(connection: &Connection, entity_type: &EntityType) -> Result<bool, TransactError> {
    connection.execute("DELETE FROM store_meta WHERE name = ?1", (definition_name(entity_type),))?;
    let removed = connection.prepare_cached(CLEAR)?.execute((entity_type.name().as_str(), 10 * CHUNK))?;
    Ok(removed > 0)
}

/// Adds the entries of some entities; answers the last id, if there was one.
fn chunk(connection: &Connection, entity_type: &EntityType, after: &str) -> Result<Option<String>, TransactError> {
    let name = entity_type.name().as_str();
    let mut statement = connection.prepare_cached(SCAN)?;
    let mut rows = statement.query((name, after, NEVER, CHUNK))?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let updated = Timestamp::from_millis(row.get(1)?);
        let found = entries(entity_type, row.get_ref(2)?.as_blob().unwrap_or_default(), updated);
        add(connection, name, &id, &found)?;
        last = Some(id);
    }
    Ok(last)
}

fn add(connection: &Connection, name: &str, id: &str, entries: &[Entry]) -> Result<(), TransactError> {
    let mut statement = connection.prepare_cached(ADD)?;
    for (field, value) in entries {
        statement.execute((name, &**field, value, id))?;
    }
    Ok(())
}

/// Brings the index on.
pub(super) fn change(connection: &Connection, change: &Change) -> Result<(), TransactError> {
    let row = change.row();
    if !change.index.removed.is_empty() {
        let mut statement = connection.prepare_cached(REMOVE)?;
        for (field, value) in &change.index.removed {
            statement.execute((row.entity_type, &**field, value, row.id))?;
        }
    }
    if change.index.added.is_empty() {
        return Ok(());
    }
    add(connection, row.entity_type, row.id, &change.index.added)
}
