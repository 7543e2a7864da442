//! The adapter's lists.

use std::pin::pin;

use contract::reply::Page;
use contract::{EntityId, EntityType, ListQuery};
use deadpool_postgres::Object;
use futures_util::TryStreamExt as _;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Row, RowStream};

use super::pool::{Pool, bounded, failure};
use crate::database::Error;
use crate::database::change::NEVER;
use crate::database::index::{definition, definition_name, not_kept};
use crate::database::page::{self, Filling};
use crate::database::select::{self, Condition, Dialect, Parameter, Sql};

const TOTAL: &str = "SELECT coalesce(sum(total), 0)::bigint FROM store_counts WHERE type = $1";
/// The columns of [`select::page`].
const PAGE: &str = "SELECT id, created, updated, schema, object, NULL::bytea FROM store_entities
    WHERE type = $1 AND (created, id) > ($2, $3) AND created < $4 ORDER BY created, id LIMIT $5";
const BY_IDS: &str = "SELECT e.id, e.created, e.updated, e.schema, e.object, NULL::bytea
    FROM unnest($2::text[]) WITH ORDINALITY AS asked (id, n)
    JOIN store_entities e ON e.type = $1 AND e.id = asked.id AND e.created < $3 ORDER BY n";
const MADE_BY: &str = "SELECT value FROM store_meta WHERE name = $1";

pub(super) async fn page(pool: &Pool, entity_type: &EntityType, query: &ListQuery) -> Result<Page, Error> {
    bounded(async {
        let client = pool.get().await?;
        match &query.ids {
            Some(ids) => by_ids(&client, entity_type, query, ids).await,
            None if query.is_plain() => plain(&client, entity_type, query).await,
            None => indexed(&client, entity_type, query).await,
        }
    })
    .await
}

async fn plain(client: &Object, entity_type: &EntityType, query: &ListQuery) -> Result<Page, Error> {
    let prepared = futures_util::future::try_join(client.prepare_cached(TOTAL), client.prepare_cached(PAGE)).await;
    let (total, page) = prepared.map_err(|error| failure(&error))?;
    let name = entity_type.name().as_str();
    let (created, id) = match &query.after {
        Some(position) => (position.time().unwrap_or_default().as_millis(), position.id.as_str()),
        None => (i64::MIN, ""),
    };
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let asked: [&(dyn ToSql + Sync); 5] = [&name, &created, &id, &NEVER, &limit];
    let asked_total: [&(dyn ToSql + Sync); 1] = [&name];
    let sent = futures_util::future::join(client.query_one(&total, &asked_total), client.query_raw(&page, asked));
    let (total, rows) = sent.await;
    let total = total.map_err(|error| failure(&error))?.get(0);
    let mut filling = Filling::new(entity_type, query, total);
    fill(rows.map_err(|error| failure(&error))?, &mut filling).await?;
    Ok(filling.finish())
}

async fn by_ids(client: &Object, entity_type: &EntityType, query: &ListQuery, ids: &[EntityId]) -> Result<Page, Error> {
    let statement = client.prepare_cached(BY_IDS).await.map_err(|error| failure(&error))?;
    let (name, texts): (_, Vec<_>) = (entity_type.name().as_str(), ids.iter().map(EntityId::as_str).collect());
    let asked: [&(dyn ToSql + Sync); 3] = [&name, &texts, &NEVER];
    let mut rows = pin!(client.query_raw(&statement, asked).await.map_err(|error| failure(&error))?);
    let mut filling = Filling::new(entity_type, query, 0);
    let mut waiting = ids.iter();
    while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
        let row = read(&row);
        // Those that are not there are passed on the way.
        for id in waiting.by_ref() {
            if id.as_str() == row.id {
                filling.offer(&row)?;
                filling.passed(id);
                break;
            }
            filling.passed(id);
        }
    }
    Ok(filling.finish())
}

async fn indexed(client: &Object, entity_type: &EntityType, query: &ListQuery) -> Result<Page, Error> {
    let name = definition_name(entity_type);
    let made_by = client.query_opt(MADE_BY, &[&name]).await.map_err(|error| failure(&error))?;
    if made_by.is_none_or(|row| row.get::<_, &str>(0) != definition(entity_type)) {
        return Err(not_kept(entity_type));
    }
    let name = entity_type.name().as_str();
    let conditions = select::conditions(query);
    let counts =
        conditions.iter().map(|one| async { number(client, &select::count(Dialect::Postgres, name, one)).await });
    let counts: Vec<i64> = futures_util::future::try_join_all(counts).await?;
    let driver = (0..counts.len()).min_by_key(|number| counts[*number]);
    let others: Vec<_> = (0..conditions.len()).filter(|other| Some(*other) != driver).map(|n| &conditions[n]).collect();
    let total = match driver {
        None => client.query_one(TOTAL, &[&name]).await.map_err(|error| failure(&error))?.get(0),
        Some(driver) => number(client, &select::total(Dialect::Postgres, name, &conditions[driver], &others)).await?,
    };
    let gathered = driver.filter(|driver| select::gathers(counts[*driver], total)).map(|driver| &conditions[driver]);
    let all: Vec<&Condition> = conditions.iter().collect();
    let probed = if gathered.is_some() { &others } else { &all };
    let mut filling = Filling::new(entity_type, query, total);
    for part in select::parts(query) {
        let sql = select::page(Dialect::Postgres, name, query, *part, gathered, probed);
        let rows = client.query_raw(&sql.text, sql.parameters.iter().map(as_sql)).await;
        fill(rows.map_err(|error| failure(&error))?, &mut filling).await?;
        if filling.is_full() {
            break;
        }
    }
    Ok(filling.finish())
}

async fn fill(rows: RowStream, filling: &mut Filling<'_>) -> Result<(), Error> {
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
        if !filling.push(&read(&row))? {
            break;
        }
    }
    Ok(())
}

fn read(row: &Row) -> page::Row<'_> {
    page::Row {
        id: row.get(0),
        created: row.get(1),
        updated: row.get(2),
        schema: row.get(3),
        object: row.get(4),
        name: row.get(5),
    }
}

async fn number(client: &Object, sql: &Sql) -> Result<i64, Error> {
    let mut rows =
        pin!(client.query_raw(&sql.text, sql.parameters.iter().map(as_sql)).await.map_err(|error| failure(&error))?);
    let row = rows.try_next().await.map_err(|error| failure(&error))?;
    row.map(|row| row.get(0)).ok_or_else(|| Error::Transient("the database gave no number".to_owned()))
}

fn as_sql(parameter: &Parameter) -> &(dyn ToSql + Sync) {
    parameter
}

impl ToSql for Parameter {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Text(text) => text.as_str().to_sql(kind, out),
            Self::Bytes(bytes) => bytes.as_slice().to_sql(kind, out),
            Self::Integer(number) => number.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        <&str as ToSql>::accepts(kind) || <&[u8] as ToSql>::accepts(kind) || <i64 as ToSql>::accepts(kind)
    }

    to_sql_checked!();
}
