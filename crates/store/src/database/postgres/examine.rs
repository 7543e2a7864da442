//! What an operator wants to know of the database before a start. Reads only.

use contract::Timestamp;

use super::pool::{Pool, bounded, failure};
use crate::database::{Error, Log};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The server's version.
    pub server: String,
    /// Its clock, at some time during the question.
    pub clock: Timestamp,
    /// The version of the tables; none where they are yet to be made.
    pub tables: Option<i64>,
    /// The log that they belong to; none before their first use.
    pub log: Option<Log>,
    /// Where the tables are or will be.
    pub schema: String,
    /// What this user may not do and must.
    pub missing_rights: Vec<String>,
    /// Settings of the server with which it may lose what it acknowledged.
    pub unsafe_settings: Vec<String>,
}

/// Missing rights, as a table's or schema's name and the right. `$1` is the schema that was asked for, or null.
const RIGHTS: &str = "
SELECT 'CREATE on the database ' || current_database() FROM (SELECT) AS one
    WHERE $1::text IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)
        AND NOT has_database_privilege(current_database(), 'CREATE')
UNION ALL SELECT privilege || ' on the schema ' || nspname
    FROM pg_namespace, unnest(ARRAY['USAGE', 'CREATE']) AS privilege
    WHERE nspname = coalesce($1, current_schema()) AND NOT has_schema_privilege(oid, privilege)
UNION ALL SELECT privilege || ' on the table ' || relname
    FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
    WHERE relkind = 'r' AND relname LIKE 'store\\_%'
        AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = coalesce($1, current_schema()))
        AND NOT has_table_privilege(oid, privilege)";

/// Times are milliseconds since 1970.
const SERVER: &str = "
SELECT current_setting('server_version'), (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    current_setting('fsync'), current_setting('synchronous_commit'), coalesce($1, current_schema(), ''),
    to_regclass('store_meta') IS NOT NULL";

pub(super) async fn run(pool: &Pool, schema: Option<&str>) -> Result<Examined, Error> {
    bounded(async {
        let client = pool.get().await?;
        let row = client.query_one(SERVER, &[&schema]).await.map_err(|error| failure(&error))?;
        let settings = [("fsync", row.get::<_, String>(2)), ("synchronous_commit", row.get(3))];
        let unsafe_settings = settings.into_iter().filter(|(_, value)| value == "off").map(|(name, _)| name.to_owned());
        let mut examined = Examined {
            server: row.get(0),
            clock: Timestamp::from_millis(row.get(1)),
            tables: None,
            log: None,
            schema: row.get(4),
            missing_rights: Vec::new(),
            unsafe_settings: unsafe_settings.collect(),
        };
        let rights = client.query(RIGHTS, &[&schema]).await.map_err(|error| failure(&error))?;
        examined.missing_rights = rights.iter().map(|row| row.get(0)).collect();
        let may_be_read = !examined.missing_rights.iter().any(|right| right == "SELECT on the table store_meta");
        if row.get::<_, bool>(5) && may_be_read {
            let rows =
                client.query("SELECT name, value FROM store_meta", &[]).await.map_err(|error| failure(&error))?;
            let value = |name: &str| {
                let row = rows.iter().find(|row| row.get::<_, &str>(0) == name);
                row.map(|row| row.get::<_, String>(1))
            };
            examined.tables = value("version").and_then(|version| version.parse().ok());
            let partitions = value("partitions").and_then(|count| count.parse().ok());
            examined.log = value("cluster").zip(partitions).map(|(cluster, partitions)| Log { cluster, partitions });
        }
        Ok(examined)
    })
    .await
}
