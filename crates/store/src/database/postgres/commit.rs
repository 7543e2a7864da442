//! The adapter's one write: a batch, whole.

use std::collections::BTreeMap;
use std::pin::Pin;

use contract::OutcomeStatus;
use deadpool_postgres::Object;
use futures_util::future::{join_all, join3, try_join_all};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::index;
use super::outbox::REMOVE;
use super::pool::{Lease, Pool, bounded, failure};
use crate::database::change::Row;
use crate::database::{Batch, Change, Committed, Error};

/// A statement that fails, and with it the transaction, unless it touches as many rows as its last parameter says: so
/// that `COMMIT` can be sent with it and need not wait for what the client makes of the number.
macro_rules! counted {
    ($number:literal, $sql:literal) => {
        concat!("WITH touched AS (", $sql, " RETURNING 1) SELECT 1 / (count(*) = $", $number, ")::int FROM touched")
    };
}

const POSITION: &str = counted!(
    8,
    "UPDATE store_positions SET next = $4, sequence = sequence + $5,
        published = greatest(published, $6), views = greatest(views, $7)
    WHERE partition = $1 AND owner = $2 AND next IS NOT DISTINCT FROM $3"
);
const CREATE: &str = counted!(
    10,
    "INSERT INTO store_entities (type, id, version, created, updated, time, schema, command, object)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::uuid[], $9::bytea[])
    ON CONFLICT DO NOTHING"
);
const UPDATE: &str = counted!(
    11,
    "UPDATE store_entities e SET version = n.version, created = n.created, updated = n.updated,
        time = n.time, schema = n.schema, command = n.command, object = n.object
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::uuid[], $9::bytea[], $10::bigint[])
        AS n (type, id, version, created, updated, time, schema, command, object, expected)
    WHERE e.type = n.type AND e.id = n.id AND e.version = n.expected"
);
const COUNT: &str = "INSERT INTO store_counts AS c (type, partition, total)
    SELECT type, $3, total FROM unnest($1::text[], $2::bigint[]) AS n (type, total)
    ON CONFLICT (type, partition) DO UPDATE SET total = c.total + excluded.total";
const REMEMBER: &str = counted!(
    8,
    "INSERT INTO store_outcomes (command, succeeded, version, created, problem, entity, time)
    SELECT n.*, $7 FROM unnest($1::uuid[], $2::boolean[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]) AS n
    ON CONFLICT DO NOTHING"
);
const FORGET: &str = "DELETE FROM store_outcomes WHERE command IN
    (SELECT command FROM store_outcomes WHERE time < $1 ORDER BY time LIMIT $2 FOR UPDATE SKIP LOCKED)";
const REMEMBER_KEYS: &str = counted!(
    5,
    "INSERT INTO store_keys (key, fingerprint, first, time)
    SELECT n.*, $4 FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS n ON CONFLICT DO NOTHING"
);
const FORGET_KEYS: &str = "DELETE FROM store_keys WHERE key IN
    (SELECT key FROM store_keys WHERE time < $1 ORDER BY time LIMIT $2 FOR UPDATE SKIP LOCKED)";
/// The last sequence was moved by [`POSITION`] in this transaction.
const KEEP: &str = counted!(
    7,
    "INSERT INTO store_outbox (partition, sequence, topic, key, headers, value)
    SELECT $1, p.sequence - $2 + n.number, n.topic, n.key, n.headers, n.value
    FROM unnest($3::text[], $4::bytea[], $5::bytea[], $6::bytea[]) WITH ORDINALITY AS n (topic, key, headers, value, number),
        store_positions p WHERE p.partition = $1"
);
const FIRST: &str = "SELECT sequence - $2 + 1 FROM store_positions WHERE partition = $1";

/// Outcomes removed by a commit: twice those it adds, so that the table shrinks under load, and a few more.
const FORGET_MIN: usize = 16;

/// Old idempotency keys are looked for with every commit that has some, and else once in so many commands.
const KEYS_LOOK_EVERY: u64 = 1024;

pub(super) type Parameter = Box<dyn ToSql + Sync + Send>;

/// A statement and its parameters.
struct Step {
    sql: &'static str,
    parameters: Vec<Parameter>,
}

impl Step {
    /// A [`counted`] one.
    fn counted(sql: &'static str, mut parameters: Vec<Parameter>, rows: usize) -> Self {
        parameters.push(Box::new(rows as i64));
        Self { sql, parameters }
    }
}

pub(super) async fn run(pool: &Pool, batch: Batch) -> Result<Committed, Error> {
    bounded(async {
        let steps = steps(&batch)?;
        let lease = Lease::new(pool.get().await?);
        let client = lease.client()?;
        // On a new connection this is one round trip, and afterwards none.
        let names = steps.iter().map(|step| step.sql).chain([FIRST]);
        let prepared = try_join_all(names.map(|sql| client.prepare_cached(sql))).await;
        let mut statements = prepared.map_err(|error| failure(&error))?;
        let first = statements.pop().ok_or(Error::Conflict)?;
        let (done, ended) = transaction(client, &batch, &steps, &statements, &first).await;
        // Where a statement failed it was rolled back; what matters is that it has ended.
        ended?;
        lease.give_back();
        done
    })
    .await
}

/// From `BEGIN` to `COMMIT` in one pipeline: what was done, and whether the transaction has ended.
async fn transaction(
    client: &Object,
    batch: &Batch,
    steps: &[Step],
    statements: &[Statement],
    first: &Statement,
) -> (Result<Committed, Error>, Result<(), Error>) {
    type Sent<'a> = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send + 'a>>;
    let begin: Sent<'_> = Box::pin(async { client.batch_execute("BEGIN").await.map(|()| 0) });
    let sent = steps.iter().zip(statements).map(|(step, statement)| -> Sent<'_> {
        Box::pin(
            client.execute_raw(statement, step.parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync))),
        )
    });
    let events = batch.outgoing.len() as i64;
    let partition = batch.partition.cast_signed();
    let asked: [&(dyn ToSql + Sync); 2] = [&partition, &events];
    // Few futures: these are polled, and so sent, in this order.
    let all = join_all(std::iter::once(begin).chain(sent));
    let (results, first, ended) = join3(all, client.query_opt(first, &asked), client.batch_execute("COMMIT")).await;
    let done = || {
        // A transaction that failed refuses all that follows, and `COMMIT` rolls it back: the first error is the reason.
        results.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| miss(&error))?;
        let first = first.map_err(|error| failure(&error))?.ok_or(Error::Conflict)?;
        let first = first.get::<_, i64>(0).cast_unsigned();
        Ok(Committed { unpublished: (events > 0).then_some(first) })
    };
    (done(), ended.map_err(|error| failure(&error)))
}

/// What a failed step means: [`counted`] ones divide by zero, and nothing else here divides.
fn miss(error: &tokio_postgres::Error) -> Error {
    if error.code() == Some(&SqlState::DIVISION_BY_ZERO) { Error::Conflict } else { failure(error) }
}

fn steps(batch: &Batch) -> Result<Vec<Step>, Error> {
    let (partition, published) = (batch.partition.cast_signed(), batch.marks.published.cast_signed());
    let remove = Step { sql: REMOVE, parameters: vec![Box::new(partition), Box::new(published)] };
    let mut steps = vec![remove, position(batch)];
    let (created, updated): (Vec<_>, Vec<_>) = batch.changes.iter().partition(|change| change.expected.is_none());
    if !created.is_empty() {
        steps.push(Step::counted(CREATE, columns(&created), created.len()));
    }
    if !updated.is_empty() {
        let mut parameters = columns(&updated);
        let expected = updated.iter().map(|change| change.expected.map_or(0, u64::cast_signed)).collect::<Vec<_>>();
        parameters.push(Box::new(expected));
        steps.push(Step::counted(UPDATE, parameters, updated.len()));
    }
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for change in batch.changes.iter().filter(|change| change.growth() != 0) {
        *counts.entry(change.key.entity_type.as_str()).or_default() += change.growth();
    }
    if !counts.is_empty() {
        let (types, totals): (Vec<_>, Vec<_>) =
            counts.into_iter().map(|(name, count)| (name.to_owned(), count)).unzip();
        let parameters: Vec<Parameter> = vec![Box::new(types), Box::new(totals), Box::new(partition)];
        steps.push(Step { sql: COUNT, parameters });
    }
    let (removed, added) = index::of_batch(&batch.changes);
    for (sql, columns) in [(index::REMOVE, removed), (index::ADD, added)] {
        if !columns.is_empty() {
            steps.push(Step { sql, parameters: columns.into_parameters() });
        }
    }
    steps.extend(outcomes(batch)?);
    if !batch.outgoing.is_empty() {
        steps.push(keep(batch));
    }
    Ok(steps)
}

fn position(batch: &Batch) -> Step {
    let parameters: Vec<Parameter> = vec![
        Box::new(batch.partition.cast_signed()),
        Box::new(batch.owner.cast_signed()),
        Box::new(batch.expected.map(u64::cast_signed)),
        Box::new(batch.next.cast_signed()),
        Box::new(batch.outgoing.len() as i64),
        Box::new(batch.marks.published.cast_signed()),
        Box::new(batch.marks.views.map(u64::cast_signed)),
    ];
    Step::counted(POSITION, parameters, 1)
}

fn columns(changes: &[&Change]) -> Vec<Parameter> {
    let rows: Vec<Row<'_>> = changes.iter().map(|change| change.row()).collect();
    fn column<T: ToSql + Sync + Send + 'static>(rows: &[Row<'_>], value: impl Fn(&Row<'_>) -> T) -> Parameter
    where
        Vec<T>: ToSql,
    {
        Box::new(rows.iter().map(value).collect::<Vec<T>>())
    }
    vec![
        column(&rows, |row| row.entity_type.to_owned()),
        column(&rows, |row| row.id.to_owned()),
        column(&rows, |row| row.version),
        column(&rows, |row| row.created),
        column(&rows, |row| row.updated),
        column(&rows, |row| row.time),
        column(&rows, |row| row.schema.to_owned()),
        column(&rows, |row| row.command),
        column(&rows, |row| Blob(row.object.clone())),
    ]
}

fn outcomes(batch: &Batch) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    if !batch.outcomes.is_empty() {
        let each = &batch.outcomes;
        let problems = each.iter().map(|outcome| outcome.problem.as_ref().map(serde_json::to_string).transpose());
        let problems: Vec<Option<String>> =
            problems.collect::<Result<_, _>>().map_err(|error| Error::Data(error.to_string()))?;
        let commands: Vec<Uuid> = each.iter().map(|outcome| outcome.command.0).collect();
        let succeeded: Vec<bool> = each.iter().map(|outcome| outcome.status == OutcomeStatus::Succeeded).collect();
        let versions: Vec<Option<i64>> = each.iter().map(|outcome| outcome.version.map(u64::cast_signed)).collect();
        let created: Vec<Option<i64>> = each.iter().map(|outcome| outcome.created.map(|at| at.as_millis())).collect();
        let entities: Vec<Option<String>> =
            each.iter().map(|outcome| outcome.entity.as_ref().map(ToString::to_string)).collect();
        let parameters: Vec<Parameter> = vec![
            Box::new(commands),
            Box::new(succeeded),
            Box::new(versions),
            Box::new(created),
            Box::new(problems),
            Box::new(entities),
            Box::new(batch.time.as_millis()),
        ];
        steps.push(Step::counted(REMEMBER, parameters, each.len()));
    }
    if !batch.keyed.is_empty() {
        steps.push(keyed(batch)?);
    }
    let limit = (2 * batch.outcomes.len() + FORGET_MIN) as i64;
    let mut forget = |sql, limit: i64| {
        let parameters: Vec<Parameter> = vec![Box::new(batch.forget_before.as_millis()), Box::new(limit)];
        steps.push(Step { sql, parameters });
    };
    forget(FORGET, limit);
    // Where no keys come any more, the last ones need not cost every commit a look.
    if !batch.keyed.is_empty() || batch.next / KEYS_LOOK_EVERY != batch.expected.unwrap_or(0) / KEYS_LOOK_EVERY {
        forget(FORGET_KEYS, limit.max(2 * KEYS_LOOK_EVERY as i64));
    }
    Ok(steps)
}

fn keyed(batch: &Batch) -> Result<Step, Error> {
    let each = &batch.keyed;
    let keys: Vec<Vec<u8>> = each.iter().map(|keyed| keyed.idempotency.key.0.to_vec()).collect();
    let fingerprints: Vec<Vec<u8>> = each.iter().map(|keyed| keyed.idempotency.fingerprint.0.to_vec()).collect();
    let firsts = each.iter().map(|keyed| serde_json::to_vec(&keyed.first));
    let firsts: Vec<Vec<u8>> = firsts.collect::<Result<_, _>>().map_err(|error| Error::Data(error.to_string()))?;
    let time = batch.time.as_millis();
    let parameters: Vec<Parameter> = vec![Box::new(keys), Box::new(fingerprints), Box::new(firsts), Box::new(time)];
    Ok(Step::counted(REMEMBER_KEYS, parameters, each.len()))
}

fn keep(batch: &Batch) -> Step {
    let each = &batch.outgoing;
    let topics: Vec<&'static str> = each.iter().map(|(topic, _)| topic.name()).collect();
    let keys: Vec<Blob> = each.iter().map(|(_, record)| Blob(record.key.clone())).collect();
    let headers: Vec<Blob> = each.iter().map(|(_, record)| Blob(record.headers.as_bytes().clone())).collect();
    let values: Vec<Blob> = each.iter().map(|(_, record)| Blob(record.value.clone())).collect();
    let parameters: Vec<Parameter> = vec![
        Box::new(batch.partition.cast_signed()),
        Box::new(each.len() as i64),
        Box::new(topics),
        Box::new(keys),
        Box::new(headers),
        Box::new(values),
    ];
    Step::counted(KEEP, parameters, each.len())
}

/// Shared bytes as `bytea`.
#[derive(Debug)]
struct Blob(bytes::Bytes);

impl ToSql for Blob {
    fn to_sql(
        &self,
        kind: &tokio_postgres::types::Type,
        out: &mut bytes::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        (&self.0[..]).to_sql(kind, out)
    }

    fn accepts(kind: &tokio_postgres::types::Type) -> bool {
        <&[u8] as ToSql>::accepts(kind)
    }

    tokio_postgres::types::to_sql_checked!();
}
