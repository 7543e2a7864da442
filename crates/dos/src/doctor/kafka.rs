//! Brokers, topics, permissions.

use std::sync::Arc;

use contract::Env;
use store::database::Log;

use super::Findings;
use crate::settings::Settings;

/// The log that a database must belong to, where there is one already.
pub(super) async fn look(
    settings: &Settings,
    env: &Arc<dyn Env>,
    findings: &mut Findings,
) -> std::io::Result<Option<Log>> {
    let Some(options) = settings.kafka("doctor") else { return Ok(None) };
    let examined = stream::kafka::examine(options, Arc::clone(env)).await;
    for finding in &examined.findings {
        match &finding.found {
            Ok(text) => findings.fine(&finding.about, text)?,
            Err(text) => findings.fault(&finding.about, text)?,
        }
    }
    Ok(examined.log.map(|(cluster, partitions)| Log { cluster, partitions }))
}
