//! PostgreSQL: whether it can be reached, its tables, rights, clock.

use std::sync::Arc;

use contract::Env;
use store::{Glance, Postgres, PostgresExamined, PostgresOptions};

use super::{CLOCK_MAX_MS, Findings, Tables};

/// The version of the tables that this program writes.
const VERSION: i64 = store::database::postgres::VERSION;

pub(super) async fn look(
    options: &PostgresOptions,
    env: &Arc<dyn Env>,
    findings: &mut Findings,
) -> std::io::Result<Option<Tables>> {
    let before = env.now();
    let examined = match Postgres::examine(options).await {
        Ok(examined) => examined,
        Err(error) => {
            let mend = "check database.url, and that the server runs and lets this user in";
            return findings.fault("database", &format!("{error}; {mend}")).map(|()| None);
        }
    };
    let after = env.now();
    findings.fine("database", &format!("PostgreSQL {}", examined.server))?;
    let ahead = if examined.clock < before {
        examined.clock.as_millis() - before.as_millis()
    } else {
        (examined.clock.as_millis() - after.as_millis()).max(0)
    };
    match ahead {
        ahead if ahead.abs() > CLOCK_MAX_MS => {
            let mend = "let a time service (NTP) set both";
            findings.fault("database clock", &format!("{ahead} ms ahead of this machine's; {mend}"))?;
        }
        ahead => findings.fine("database clock", &format!("differs by {} ms", ahead.abs()))?,
    }
    for right in &examined.missing_rights {
        findings.fault("database rights", &format!("this user lacks {right}; grant it"))?;
    }
    for setting in &examined.unsafe_settings {
        let text = format!("{setting} is off: the server may lose what it acknowledged; set it to on");
        findings.doubt("database", &text)?;
    }
    tables(&examined, findings)?;
    let glance = match examined.tables {
        None => Some(Glance::Empty),
        Some(VERSION) => Postgres::unmigrated(options).ok().map(Glance::Server),
        // They are not as this program asks for them.
        Some(_) => None,
    };
    Ok(Some(Tables { log: examined.log, glance }))
}

fn tables(examined: &PostgresExamined, findings: &mut Findings) -> std::io::Result<()> {
    let schema = &examined.schema;
    if schema.is_empty() {
        let mend = "set database.schema, or the user's search_path";
        return findings.fault("tables", &format!("there is no schema to make them in; {mend}"));
    }
    match examined.tables {
        None => findings.fine("tables", &format!("none in schema {schema} yet; made at the first start")),
        Some(version) if version > VERSION => {
            let text = format!(
                "those in schema {schema} have version {version}, and this program reads up to {VERSION}; use the newer \
                 program, or restore a backup made before it"
            );
            findings.fault("tables", &text)
        }
        Some(version) if version < VERSION => {
            let text = format!("version {version} in schema {schema}; brought up to {VERSION} at the next start");
            findings.fine("tables", &text)
        }
        Some(version) => findings.fine("tables", &format!("version {version} in schema {schema}")),
    }
}
