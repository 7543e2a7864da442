//! Retrieve events for reads: one per key at a time, whoever asks.

use std::sync::Arc;

use ::metrics::counter;
use contract::entity::stamps;
use contract::{Action, EntityId, Key, Problem, Registry, Reply, ReplyBody, Slug, TypeName};

use super::{Answer, Dispatch, Labels};
use crate::metrics::RETRIEVES;
use crate::views::{Boarding, Entry, Flights, Held, Views};

/// What a retrieve led to: the entity, or why there is none.
pub(crate) type Retrieved = Result<Held, Problem>;

/// The retrieves under way.
pub(crate) struct Retrieves {
    flights: Flights<Retrieved>,
    views: Arc<Views>,
    registry: Registry,
}

impl Retrieves {
    pub(crate) fn new(views: Arc<Views>, registry: Registry) -> Self {
        Self { flights: Flights::new(), views, registry }
    }

    /// A newer view of the key passed.
    pub(crate) fn detach(&self, entity_type: &TypeName, id: &str) {
        if self.flights.is_empty() {
            return;
        }
        if let Some(id) = EntityId::parse(id) {
            self.flights.detach(&Key::new(entity_type.clone(), id));
        }
    }

    /// A list from the data store told of this object: what is kept or asked for may be older.
    pub(crate) fn listed(&self, entity_type: &TypeName, object: &[u8]) {
        let Views::OnDemand(views) = &*self.views else { return };
        let Some(id) = stamps(object).ok().and_then(|stamps| EntityId::parse(stamps.id)) else { return };
        let key = Key::new(entity_type.clone(), id);
        self.flights.detach(&key);
        views.forget_other(&key, object);
    }

    /// The entity as the data store has it.
    pub(crate) async fn get(self: &Arc<Self>, dispatch: &Arc<Dispatch>, key: &Key, labels: Labels) -> Retrieved {
        let mut result = match self.flights.board(key) {
            Boarding::Joined(result) => result,
            Boarding::Leads { number, send, result } => {
                // A task of its own: when the one who asked hangs up, those who joined still get their answer.
                let (retrieves, dispatch, key) = (Arc::clone(self), Arc::clone(dispatch), key.clone());
                let env = Arc::clone(&dispatch.env);
                env.spawn(Box::pin(async move {
                    let (retrieved, version) = retrieves.fetch(&dispatch, &key, labels).await;
                    if let (Some(version), Views::OnDemand(views)) = (version, &*retrieves.views) {
                        views.tell(&key, version);
                    }
                    retrieves.flights.land(&key, number, || retrieves.remember(&key, &retrieved, version));
                    send.send_replace(Some(retrieved));
                }));
                result
            }
        };
        match result.wait_for(Option::is_some).await.map(|result| result.clone()) {
            Ok(Some(retrieved)) => retrieved,
            Ok(None) | Err(_) => Err(Problem::new(Slug::NotReady, "the gateway is shutting down")),
        }
    }

    /// The entity or why there is none, and the version that the data store told this of.
    async fn fetch(&self, dispatch: &Dispatch, key: &Key, labels: Labels) -> (Retrieved, Option<u64>) {
        counter!(RETRIEVES).increment(1);
        let command = dispatch.command(key.clone(), Action::Retrieve { operation: None }, None, labels);
        match dispatch.ask(command).await {
            Ok(Answer::Reply(reply)) => {
                let version = reply.version;
                (self.retrieved(key, reply), version)
            }
            Ok(Answer::View(_) | Answer::Deleted(_)) => (Err(unexpected(key)), None),
            Err(problem) => (Err(problem), None),
        }
    }

    fn retrieved(&self, key: &Key, reply: Reply) -> Retrieved {
        let (Some(entity_type), Some(id)) = (self.registry.get(key.entity_type.as_str()), &key.id) else {
            return Err(unexpected(key));
        };
        match (reply.body, reply.version) {
            (ReplyBody::Rejected(problem), _) => Err(problem),
            (ReplyBody::Retrieved(current), Some(version)) => {
                // Which schema it was written with is not said; to write it again is harmless.
                let held = Held::new(entity_type, id.as_str(), version, current.view_time, &current.object, "");
                held.map_err(|reason| {
                    tracing::warn!(%key, reason, "a reply cannot be read");
                    unreadable(key)
                })
            }
            _ => Err(unexpected(key)),
        }
    }

    fn remember(&self, key: &Key, retrieved: &Retrieved, version: Option<u64>) {
        let Views::OnDemand(views) = &*self.views else { return };
        let entry = match (retrieved, version) {
            (Ok(held), _) => Entry::View(held.clone()),
            (Err(Problem { slug: Slug::Gone, .. }), Some(version)) => Entry::Deleted(version),
            (Err(Problem { slug: Slug::NotFound, .. }), None) => Entry::Absent,
            (Err(_), _) => return,
        };
        views.remember(key, entry, views.passed(key));
    }
}

/// The latest view of an entity cannot be read.
pub(crate) fn unreadable(key: &Key) -> Problem {
    Problem::new(Slug::UnreadableView, format!("the latest view of {key} cannot be read; the operator's log says why"))
}

fn unexpected(key: &Key) -> Problem {
    tracing::error!(%key, "a retrieve was answered by another kind of event");
    super::unexpected()
}
