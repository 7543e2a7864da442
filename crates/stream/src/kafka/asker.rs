//! The client for questions: about topics, leaders, bounds.
//!
//! Whether brokers can be reached is known from its answers alone, so a client that has lost its way would keep everything
//! else from working. Where it had no answer for [`LOST_AFTER`] another one takes its place, each time anew: that costs little, and
//! brokers that are away answer none of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::Env;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaResult;

use super::link::{Context, Link};
use super::options::Options;
use super::{LOST_AFTER, dispose, names};

/// See the module.
pub(super) struct Asker(Mutex<State>);

struct State {
    client: Arc<BaseConsumer<Context>>,
    /// When it was made, or had its last answer.
    answered: Duration,
}

impl Asker {
    pub(super) fn new(options: &Options, link: &Arc<Link>, env: &dyn Env) -> KafkaResult<Self> {
        Ok(Self(Mutex::new(State { client: create(options, link)?, answered: env.monotonic() })))
    }

    pub(super) fn client(&self) -> Arc<BaseConsumer<Context>> {
        Arc::clone(&self.state().client)
    }

    /// What became of a question.
    pub(super) fn answered(&self, well: bool, options: &Options, link: &Arc<Link>, env: &dyn Env) {
        let mut state = self.state();
        let now = env.monotonic();
        if well {
            state.answered = now;
        } else if now.saturating_sub(state.answered) >= LOST_AFTER {
            state.answered = now;
            match create(options, link) {
                Ok(client) => {
                    metrics::counter!(names::RENEWED, "client" => "asker").increment(1);
                    dispose(std::mem::replace(&mut state.client, client));
                }
                Err(error) => tracing::error!(%error, "no other client for questions can be made"),
            }
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
