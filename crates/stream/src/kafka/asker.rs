//! The client for questions: about topics, leaders, bounds.
//!
//! Whether brokers can be reached is known from its answers alone, so a client that has lost its way would keep everything
//! else from working. Where questions of a kind had no answer for [`LOST_AFTER`] another one takes its place, each time anew: that
//! costs little, and brokers that are away answer none of them. Measured: after a broker had hung for 20 s, a client
//! that was made meanwhile had its answers at once, and an older one took several times as long, or found partitions
//! unknown that others saw.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::Env;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;

use super::link::{Context, Link};
use super::options::Options;
use super::{ASK_LIMIT, dispose, names};

/// Two questions without an answer.
pub(super) const LOST_AFTER: Duration = ASK_LIMIT.saturating_mul(2);

/// See the module.
pub(super) struct Asker(Mutex<State>);

struct State {
    client: Arc<BaseConsumer<Context>>,
    /// Since when questions of each kind have no answer.
    failing: [Option<Duration>; 2],
}

/// What is asked: each goes its own way through librdkafka.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// What brokers and topics there are.
    Topics,
    /// Where partitions begin and end.
    Bounds,
}

impl Asker {
    pub(super) fn new(options: &Options, link: &Arc<Link>) -> KafkaResult<Self> {
        Ok(Self(Mutex::new(State { client: create(options, link)?, failing: [None; 2] })))
    }

    pub(super) fn client(&self) -> Arc<BaseConsumer<Context>> {
        Arc::clone(&self.state().client)
    }

    /// What became of a question.
    pub(super) fn answered(&self, kind: Kind, well: bool, options: &Options, link: &Arc<Link>, env: &dyn Env) {
        let mut state = self.state();
        let failing = &mut state.failing[kind as usize];
        if well {
            *failing = None;
            return;
        }
        let now = env.monotonic();
        let since = *failing.get_or_insert(now);
        if now.saturating_sub(since) < LOST_AFTER {
            return;
        }
        state.failing = [None; 2];
        match create(options, link) {
            Ok(client) => {
                metrics::counter!(names::RENEWED, "client" => "asker").increment(1);
                dispose(std::mem::replace(&mut state.client, client));
            }
            Err(error) => tracing::error!(%error, "no other client for questions can be made"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        // To end it takes a while.
        dispose(self.client());
    }
}

fn create(options: &Options, link: &Arc<Link>) -> KafkaResult<Arc<BaseConsumer<Context>>> {
    let context = Context { link: Arc::clone(link), is_producer: false };
    options.asker().create_with_context(context).map(Arc::new)
}
