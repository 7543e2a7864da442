//! The index of lists, made while other stores go on.
//!
//! One store at a time makes it, under a lock of the session. What counts as made is forgotten first. Then, chunk by chunk, the
//! old entries are removed and those of each entity are added, with its row locked: a commit of another store that changes
//! the entity comes before, and is seen, or waits, and brings its own changes after. An entity that is created behind the scan
//! brings all of its entries itself.

use std::sync::Arc;

use contract::{EntityType, Timestamp};
use deadpool_postgres::Object;

use super::pool::{Lease, Pool, bounded, failure};
use crate::database::change::NEVER;
use crate::database::index::{definition, definition_name, entries};
use crate::database::{Change, Error};

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(7305808869232374)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(7305808869232374)";
const MADE_BY: &str = "SELECT value FROM store_meta WHERE name = $1";
const FORGET: &str = "DELETE FROM store_meta WHERE name = $1";
const FORGET_ALL: &str = "DELETE FROM store_meta WHERE name LIKE 'index:%'";
const MADE: &str = "INSERT INTO store_meta (name, value) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const CLEAR: &str = "DELETE FROM store_index WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM store_index WHERE type = $1 LIMIT $2))";
const SCAN: &str = "SELECT id, updated, object FROM store_entities WHERE type = $1 AND id > $2 AND created < $3
    ORDER BY id LIMIT $4 FOR SHARE";
pub(super) const ADD: &str = "INSERT INTO store_index (type, field, value, id)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) ON CONFLICT DO NOTHING";
pub(super) const REMOVE: &str = "DELETE FROM store_index i
    USING unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) AS n (type, field, value, id)
    WHERE i.type = n.type AND i.field = n.field AND i.value = n.value AND i.id = n.id";
const ANALYZE: &str = "ANALYZE store_index, store_entities";

/// Entities that one transaction looks at.
const CHUNK: i64 = 2000;

/// Rows of the index as columns.
#[derive(Default)]
pub(super) struct Columns {
    types: Vec<String>,
    fields: Vec<String>,
    values: Vec<Vec<u8>>,
    ids: Vec<String>,
}

impl Columns {
    fn push(&mut self, entity_type: &str, field: &str, value: &[u8], id: &str) {
        self.types.push(entity_type.to_owned());
        self.fields.push(field.to_owned());
        self.values.push(value.to_vec());
        self.ids.push(id.to_owned());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn into_parameters(self) -> Vec<super::commit::Parameter> {
        vec![Box::new(self.types), Box::new(self.fields), Box::new(self.values), Box::new(self.ids)]
    }
}

/// What a batch removes from the index and adds to it.
pub(super) fn of_batch(changes: &[Change]) -> (Columns, Columns) {
    let (mut removed, mut added) = (Columns::default(), Columns::default());
    for change in changes {
        let row = change.row();
        for (columns, entries) in [(&mut removed, &change.index.removed), (&mut added, &change.index.added)] {
            for (field, value) in entries {
                columns.push(row.entity_type, field, value, row.id);
            }
        }
    }
    (removed, added)
}

/// Makes the index complete for these types; without any, none of it counts.
pub(super) async fn make(pool: &Pool, types: Option<Vec<Arc<EntityType>>>) -> Result<(), Error> {
    let lease = Lease::new(bounded(pool.get()).await?);
    let client = lease.client()?;
    let Some(types) = types else {
        bounded(async { client.execute(FORGET_ALL, &[]).await.map_err(|error| failure(&error)) }).await?;
        lease.give_back();
        return Ok(());
    };
    if !is_made(client, &types).await? {
        let locked = bounded(async { client.query_one(TRY_LOCK, &[]).await.map_err(|error| failure(&error)) }).await?;
        if !locked.get::<_, bool>(0) {
            lease.give_back();
            return Err(Error::Transient("another store makes the index of lists".to_owned()));
        }
        // Where it fails the connection is closed, and the lock with it.
        for entity_type in &types {
            if !is_made(client, std::slice::from_ref(entity_type)).await? {
                make_one(client, entity_type).await?;
            }
        }
        bounded(async { client.query_one(UNLOCK, &[]).await.map_err(|error| failure(&error)) }).await?;
    }
    lease.give_back();
    Ok(())
}

async fn is_made(client: &Object, types: &[Arc<EntityType>]) -> Result<bool, Error> {
    bounded(async {
        for entity_type in types {
            let name = definition_name(entity_type);
            let found = client.query_opt(MADE_BY, &[&name]).await.map_err(|error| failure(&error))?;
            if found.is_none_or(|row| row.get::<_, &str>(0) != definition(entity_type)) {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

async fn make_one(client: &Object, entity_type: &EntityType) -> Result<(), Error> {
    let (name, made_by) = (definition_name(entity_type), definition(entity_type));
    tracing::info!(%name, "the index of lists is made");
    bounded(async { client.execute(FORGET, &[&name]).await.map_err(|error| failure(&error)) }).await?;
    let kind = entity_type.name().as_str();
    let clear = async || client.execute(CLEAR, &[&kind, &(10 * CHUNK)]).await.map_err(|error| failure(&error));
    while bounded(clear()).await? > 0 {}
    let mut after = Some(String::new());
    while let Some(from) = after {
        after = bounded(chunk(client, entity_type, &from)).await?;
    }
    // A planner that takes the table for small walks it the wrong way.
    bounded(async { client.batch_execute(ANALYZE).await.map_err(|error| failure(&error)) }).await?;
    bounded(async { client.execute(MADE, &[&name, &made_by]).await.map_err(|error| failure(&error)) }).await?;
    Ok(())
}

/// Adds the entries of some entities; answers the last id, if there was one.
async fn chunk(client: &Object, entity_type: &EntityType, after: &str) -> Result<Option<String>, Error> {
    let name = entity_type.name().as_str();
    client.batch_execute("BEGIN").await.map_err(|error| failure(&error))?;
    let rows = client.query(SCAN, &[&name, &after, &NEVER, &CHUNK]).await.map_err(|error| failure(&error))?;
    let mut columns = Columns::default();
    for row in &rows {
        let found = entries(entity_type, row.get(2), Timestamp::from_millis(row.get(1)));
        for (field, value) in found {
            columns.push(name, &field, &value, row.get(0));
        }
    }
    let Columns { types, fields, values, ids } = columns;
    client.execute(ADD, &[&types, &fields, &values, &ids]).await.map_err(|error| failure(&error))?;
    client.batch_execute("COMMIT").await.map_err(|error| failure(&error))?;
    Ok(rows.last().map(|row| row.get(0)))
}
