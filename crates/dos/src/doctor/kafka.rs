//! Brokers, topics, permissions; and whether the topics are the database's.

use std::sync::Arc;
use std::time::Duration;

use contract::Env;
use store::Glance;
use store::database::Log;
use stream::kafka::{Kafka, Options};
use stream::{Stream as _, StreamError};

use super::{Findings, Served};
use crate::settings::Settings;

/// How often topics that were just looked at are asked for once more, and the wait between.
const ASKS_MAX: u32 = 20;
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The topics that a database must belong to, where they are there already.
pub(super) async fn look(
    settings: &Settings,
    env: &Arc<dyn Env>,
    findings: &mut Findings,
) -> std::io::Result<Option<Served>> {
    let Some(options) = settings.kafka("doctor") else { return Ok(None) };
    let examined = stream::kafka::examine(options.clone(), Arc::clone(env)).await;
    for finding in &examined.findings {
        match &finding.found {
            Ok(text) => findings.fine(&finding.about, text)?,
            Err(text) => findings.fault(&finding.about, text)?,
        }
    }
    let claimed = examined.database;
    Ok(examined.log.map(|(cluster, partitions)| Served { log: Log { cluster, partitions }, claimed, options }))
}

/// Whether a store on this database would be let to these topics.
pub(super) async fn served(
    topics: &Served,
    glance: &Glance,
    env: &Arc<dyn Env>,
    findings: &mut Findings,
) -> std::io::Result<()> {
    match refusal(topics, glance, env).await {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => findings.fault("tables", &reason),
        Err(error) => findings.doubt("tables", &format!("they could not be compared with the topics: {error}")),
    }
}

async fn refusal(
    Served { log, claimed, options }: &Served,
    glance: &Glance,
    env: &Arc<dyn Env>,
) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
    // They are all there and marked, so opening them makes nothing.
    let options = Options { create_topics: false, ..options.clone() };
    let kafka = Kafka::open(options, Arc::clone(env))?;
    let mut asks = 0;
    let reached = loop {
        match kafka.topology().await {
            Ok(_) => break Ok(()),
            Err(error @ StreamError::Unavailable(_)) if asks == ASKS_MAX => break Err(error),
            Err(StreamError::Unavailable(_)) => {}
            // It was told.
            Err(_) => return Ok(None),
        }
        asks += 1;
        env.sleep(ASK_EVERY).await;
    };
    let found = match reached {
        Ok(()) => glance.refusal(&kafka, log.partitions, claimed.as_deref()).await,
        Err(error) => Err(error.into()),
    };
    kafka.close().await;
    found
}
