//! The adapter's queries.

use std::collections::HashMap;
use std::pin::pin;

use contract::{CommandId, Digest, Idempotency, Key, Outcome, Problem, Repeat, Timestamp};
use futures_util::TryStreamExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use super::pool::{Pool, bounded, failure};
use crate::database::change::Columns;
use crate::database::{Error, LOAD_BYTES_MAX, Loaded, status};
use crate::decide::{Keyed, Revision};

const ENTITIES: &str = "SELECT n, version, created, updated, time, schema, command, object
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (type, id, n)
    JOIN store_entities e ON e.type = asked.type AND e.id = asked.id";
const OUTCOMES: &str =
    "SELECT command, succeeded, version, created, problem, entity FROM store_outcomes WHERE command = ANY ($1)";
const KEYS: &str = "SELECT key, fingerprint, first FROM store_keys WHERE key = ANY ($1)";

pub(super) async fn load(
    pool: &Pool,
    keys: Vec<Key>,
    commands: Vec<CommandId>,
    idempotency: Vec<Digest>,
) -> Result<Loaded, Error> {
    bounded(async {
        let client = pool.get().await?;
        let keyed = if idempotency.is_empty() { Default::default() } else { read_keyed(&client, &idempotency).await? };
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
        let entities = entities?;
        let objects = entities.values().filter_map(Revision::live).map(|entity| entity.object.len());
        let size_bytes = objects.chain(keyed.values().map(|(_, bytes)| *bytes)).sum::<usize>();
        if size_bytes > LOAD_BYTES_MAX && entities.len() + keyed.len() > 1 {
            return Err(Error::TooMuch);
        }
        let keyed = keyed.into_iter().map(|(key, (keyed, _))| (key, keyed)).collect();
        Ok(Loaded { entities, outcomes: outcomes?, keyed })
    })
    .await
}

async fn read_entities(rows: RowStream, keys: &[Key]) -> Result<HashMap<Key, Revision>, Error> {
    let mut rows = pin!(rows);
    let (mut found, mut size_bytes) = (HashMap::new(), 0);
    while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
        let revision = revision(&row);
        size_bytes += revision.live().map_or(0, |entity| entity.object.len());
        let number = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
        if let Some(key) = keys.get(number) {
            found.insert(key.clone(), revision);
        }
        if size_bytes > LOAD_BYTES_MAX && found.len() > 1 {
            return Err(Error::TooMuch);
        }
    }
    Ok(found)
}

/// With their sizes in bytes.
async fn read_keyed(
    client: &deadpool_postgres::Object,
    keys: &[Digest],
) -> Result<HashMap<Digest, (Keyed, usize)>, Error> {
    let statement = client.prepare_cached(KEYS).await.map_err(|error| failure(&error))?;
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key.0[..]).collect();
    let asked: [&(dyn ToSql + Sync); 1] = [&keys];
    let mut rows = pin!(client.query_raw(&statement, asked).await.map_err(|error| failure(&error))?);
    let (mut found, mut size_bytes) = (HashMap::new(), 0);
    while let Some(row) = rows.try_next().await.map_err(|error| failure(&error))? {
        let first = row.get::<_, &[u8]>(2);
        let digest = |column| {
            let bytes = <[u8; 32]>::try_from(row.get::<_, &[u8]>(column)).map(Digest);
            bytes.map_err(|_| Error::Data("an idempotency key is damaged".to_owned()))
        };
        let idempotency = Idempotency { key: digest(0)?, fingerprint: digest(1)? };
        let repeat = serde_json::from_slice::<Repeat>(first)
            .map_err(|error| Error::Data(format!("an idempotency key's first answer cannot be read: {error}")))?;
        size_bytes += first.len();
        found.insert(idempotency.key, (Keyed { idempotency, first: repeat }, first.len()));
        if size_bytes > LOAD_BYTES_MAX && found.len() > 1 {
            return Err(Error::TooMuch);
        }
    }
    Ok(found)
}

fn revision(row: &Row) -> Revision {
    Revision::from(Columns {
        version: row.get(1),
        created: row.get(2),
        updated: row.get(3),
        time: row.get(4),
        schema: row.get(5),
        command: CommandId(row.get(6)),
        object: row.get(7),
    })
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
        entity: row.get::<_, Option<&str>>(5).and_then(Key::parse),
        problem,
    })
}
