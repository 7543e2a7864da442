//! The adapter's lists.

use contract::reply::Page;
use contract::{EntityId, EntityType, ListQuery};
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params_from_iter};

use super::read::Found;
use crate::database::change::NEVER;
use crate::database::index::{definition, definition_name, not_kept};
use crate::database::page::{self, Filling};
use crate::database::select::{self, Condition, Dialect, Parameter, Sql};

const TOTAL: &str = "SELECT total FROM store_counts WHERE type = ?1";
/// The columns of [`select::page`].
const PAGE: &str =
    "SELECT id, created, updated, schema, object, NULL FROM store_entities INDEXED BY store_entities_by_created
    WHERE type = ?1 AND (created, id) > (?2, ?3) AND created < ?4 ORDER BY created, id LIMIT ?5";
const ONE: &str = "SELECT id, created, updated, schema, object, NULL FROM store_entities WHERE type = ?1 AND id = ?2 AND created < ?3";
const MADE_BY: &str = "SELECT value FROM store_meta WHERE name = ?1";

pub(super) fn page(connection: &Connection, entity_type: &EntityType, query: &ListQuery) -> Found<Page> {
    match &query.ids {
        Some(ids) => by_ids(connection, entity_type, query, ids),
        None if query.is_plain() => plain(connection, entity_type, query),
        None => indexed(connection, entity_type, query),
    }
}

fn plain(connection: &Connection, entity_type: &EntityType, query: &ListQuery) -> Found<Page> {
    let name = entity_type.name().as_str();
    let mut filling = Filling::new(entity_type, query, count(connection, name)?);
    let (created, id) = match &query.after {
        Some(position) => (position.time().unwrap_or_default().as_millis(), position.id.as_str()),
        None => (i64::MIN, ""),
    };
    let mut statement = connection.prepare_cached(PAGE)?;
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let rows = statement.query((name, created, id, NEVER, limit))?;
    Ok(match fill(rows, &mut filling)? {
        Ok(()) => Ok(filling.finish()),
        Err(error) => Err(error),
    })
}

fn by_ids(connection: &Connection, entity_type: &EntityType, query: &ListQuery, ids: &[EntityId]) -> Found<Page> {
    let name = entity_type.name().as_str();
    let mut filling = Filling::new(entity_type, query, 0);
    let mut statement = connection.prepare_cached(ONE)?;
    for id in ids {
        let mut rows = statement.query((name, id.as_str(), NEVER))?;
        if let Some(row) = rows.next()?
            && let Err(error) = filling.offer(&read(row)?)
        {
            return Ok(Err(error));
        }
        filling.passed(id);
    }
    Ok(Ok(filling.finish()))
}

fn indexed(connection: &Connection, entity_type: &EntityType, query: &ListQuery) -> Found<Page> {
    // One snapshot for all of it.
    let transaction = connection.unchecked_transaction()?;
    let mut statement = connection.prepare_cached(MADE_BY)?;
    let made_by = statement.query_row((definition_name(entity_type),), |row| row.get::<_, String>(0)).optional()?;
    if made_by.is_none_or(|made_by| made_by != definition(entity_type)) {
        return Ok(Err(not_kept(entity_type)));
    }
    let name = entity_type.name().as_str();
    let conditions = select::conditions(query);
    let counts = conditions.iter().map(|one| number(connection, &select::count(Dialect::Sqlite, name, one)));
    let counts: Vec<i64> = counts.collect::<Result<_, _>>()?;
    let driver = (0..counts.len()).min_by_key(|number| counts[*number]);
    let others: Vec<_> = (0..conditions.len()).filter(|other| Some(*other) != driver).map(|n| &conditions[n]).collect();
    let total = match driver {
        None => count(connection, name)?,
        Some(driver) => number(connection, &select::total(Dialect::Sqlite, name, &conditions[driver], &others))?,
    };
    let gathered = driver.filter(|driver| select::gathers(counts[*driver], total)).map(|driver| &conditions[driver]);
    let all: Vec<&Condition> = conditions.iter().collect();
    let probed = if gathered.is_some() { &others } else { &all };
    let mut filling = Filling::new(entity_type, query, total);
    for part in select::parts(query) {
        let sql = select::page(Dialect::Sqlite, name, query, *part, gathered, probed);
        let mut statement = connection.prepare(&sql.text)?;
        let rows = statement.query(params_from_iter(&sql.parameters))?;
        if let Err(error) = fill(rows, &mut filling)? {
            return Ok(Err(error));
        }
        if filling.is_full() {
            break;
        }
    }
    transaction.finish()?;
    Ok(Ok(filling.finish()))
}

fn fill(mut rows: rusqlite::Rows<'_>, filling: &mut Filling<'_>) -> Found<()> {
    while let Some(row) = rows.next()? {
        match filling.push(&read(row)?) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(()))
}

fn read<'a>(row: &'a Row<'_>) -> rusqlite::Result<page::Row<'a>> {
    Ok(page::Row {
        id: row.get_ref(0)?.as_str()?,
        created: row.get(1)?,
        updated: row.get(2)?,
        schema: row.get_ref(3)?.as_str()?,
        object: row.get_ref(4)?.as_blob()?,
        name: row.get_ref(5)?.as_blob_or_null()?,
    })
}

/// How many entities of a type there are.
fn count(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let total = connection.prepare_cached(TOTAL)?.query_row((name,), |row| row.get::<_, i64>(0)).optional()?;
    Ok(total.unwrap_or(0))
}

fn number(connection: &Connection, sql: &Sql) -> rusqlite::Result<i64> {
    connection.prepare(&sql.text)?.query_row(params_from_iter(&sql.parameters), |row| row.get(0))
}

impl ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(text) => text.as_str().into(),
            Self::Bytes(bytes) => bytes.as_slice().into(),
            Self::Integer(number) => (*number).into(),
        })
    }
}
