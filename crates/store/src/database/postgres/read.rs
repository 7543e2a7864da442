//! The adapter's queries.

use std::pin::pin;

use bytes::Bytes;
use contract::reply::Page;
use contract::{CommandId, EntityType, Key, ListQuery, Outcome, Problem, Timestamp};
use futures_util::TryStreamExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use super::pool::{Pool, bounded, failure};
use crate::database::{Error, LOAD_BYTES_MAX, Loaded, page, status};
use crate::decide::Entity;

const ENTITIES: &str = "SELECT n, version, created, updated, time, schema, command, object
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (type, id, n)
    JOIN store_entities e ON e.type = asked.type AND e.id = asked.id";
const OUTCOMES: &str =
    "SELECT command, succeeded, version, created, problem FROM store_outcomes WHERE command = ANY ($1)";
const TOTAL: &str = "SELECT coalesce(sum(total), 0)::bigint FROM store_counts WHERE type = $1";
const PAGE: &str = "SELECT created, id, schema, object FROM store_entities
    WHERE type = $1 AND (created, id) > ($2, $3) ORDER BY created, id LIMIT $4";

pub(super) async fn load(pool: &Pool, keys: Vec<Key>, commands: Vec<CommandId>) -> Result<Loaded, Error> {
    bounded(async {
        let client = pool.get().await?;
        let prepared =
            futures_util::future::try_join(client.prepare_cached(ENTITIES), client.prepare_cached(OUTCOMES)).await;
        let (entities, outcomes) = prepared.map_err(|error| failure(&error))?;
        let mut keys: Vec<_> = keys.into_iter().filter(|key| key.id.is_some()).collect();
        keys.sort_unstable();
        keys.dedup();
        let types: Vec<_> = keys.iter().map(|key| key.entity_type.as_str()).collect();
        let ids: Vec<_> = keys.iter().filter_map(|key| key.id.as_ref()).map(contract::EntityId::as_str).collect();
        let commands: Vec<_> = commands.iter().map(|command| command.0).collect();
        let asked_entities: [&(dyn ToSql + Sync); 2] = [&types, &ids];
        let asked_outcomes: [&(dyn ToSql + Sync); 1] = [&commands];
        // Both are sent before either is answered.
        let (entities, outcomes) = futures_util::future::join(
            async {
                if keys.is_empty() {
                    return Ok(Default::default());
                }
                let rows = client.query_raw(&entities, asked_entities).await.map_err(|error| failure(&error))?;
                read_entities(rows, &keys).await
            },
            async {
                if commands.is_empty() {
                    return Ok(Default::default());
                }
                let rows = client.query(&outcomes, &asked_outcomes).await.map_err(|error| failure(&error))?;
                rows.iter().map(outcome).map(|found| found.map(|outcome| (outcome.command, outcome))).collect()
            },
        )
        .await;
        Ok(Loaded { entities: entities?, outcomes: outcomes? })
    })
    .await
}

async fn read_entities(rows: RowStream, keys: &[Key]) -> Result<std::collections::HashMap<Key, Entity>, Error> {
    let mut rows = pin!(rows);
    let (mut found, mut size_bytes) = (std::collections::HashMap::new(), 0);
    while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
        let entity = entity(&row);
        size_bytes += entity.object.len();
        let number = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
        if let Some(key) = keys.get(number) {
            found.insert(key.clone(), entity);
        }
        if size_bytes > LOAD_BYTES_MAX && found.len() > 1 {
            return Err(Error::TooMuch);
        }
    }
    Ok(found)
}

fn entity(row: &Row) -> Entity {
    Entity {
        version: row.get::<_, i64>(1).cast_unsigned(),
        created: Timestamp::from_millis(row.get(2)),
        updated: Timestamp::from_millis(row.get(3)),
        time: Timestamp::from_millis(row.get(4)),
        data_schema: row.get::<_, &str>(5).into(),
        command: CommandId(row.get(6)),
        object: Bytes::copy_from_slice(row.get::<_, &[u8]>(7)),
    }
}

fn outcome(row: &Row) -> Result<Outcome, Error> {
    let command = CommandId(row.get::<_, Uuid>(0));
    let problem = row.get::<_, Option<&str>>(4).map(serde_json::from_str::<Problem>).transpose();
    let problem = problem.map_err(|error| Error::Data(format!("the outcome of {command} cannot be read: {error}")))?;
    Ok(Outcome {
        command,
        status: status(row.get(1), problem.as_ref()),
        version: row.get::<_, Option<i64>>(2).map(i64::cast_unsigned),
        created: row.get::<_, Option<i64>>(3).map(Timestamp::from_millis),
        problem,
    })
}

pub(super) async fn list(pool: &Pool, entity_type: &EntityType, query: &ListQuery) -> Result<Page, Error> {
    bounded(async {
        let client = pool.get().await?;
        let prepared = futures_util::future::try_join(client.prepare_cached(TOTAL), client.prepare_cached(PAGE)).await;
        let (total, page) = prepared.map_err(|error| failure(&error))?;
        let name = entity_type.name().as_str();
        let (created, id) = match &query.after {
            Some(position) => (position.created.as_millis(), position.id.as_str()),
            None => (i64::MIN, ""),
        };
        // One more than asked for tells whether there is a next page.
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
        let asked: [&(dyn ToSql + Sync); 4] = [&name, &created, &id, &limit];
        let asked_total: [&(dyn ToSql + Sync); 1] = [&name];
        let sent = futures_util::future::join(client.query_one(&total, &asked_total), client.query_raw(&page, asked));
        let (total, rows) = sent.await;
        let total = total.map_err(|error| failure(&error))?.get(0);
        let mut rows = pin!(rows.map_err(|error| failure(&error))?);
        let mut filling = page::Filling::new(entity_type, query.limit, total);
        while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
            let row = page::Row { created: row.get(0), id: row.get(1), schema: row.get(2), object: row.get(3) };
            if !filling.push(&row)? {
                break;
            }
        }
        Ok(filling.finish())
    })
    .await
}
