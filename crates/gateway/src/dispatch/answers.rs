//! Who waits for which answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::metrics::{Gauge, gauge};
use contract::reply::FirstAnswer;
use contract::{CommandId, EntityId, Key, Outcome, OutcomeStatus, Reply, ReplyBody, TypeName};
use moka::sync::Cache;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

use crate::metrics::IN_FLIGHT;
use crate::views::{Held, Views};

/// Operations remembered here; for older ones the data store is asked.
const OPERATIONS_MAX: u64 = 16_384;

/// What answered a command.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    View(Held),
    /// The entity was deleted, with this version.
    Deleted(u64),
    Reply(Reply),
}

/// What this gateway knows of an operation.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Not answered yet; since when, on the monotonic clock, its request has ended. None: it has not.
    Pending(Option<Duration>),
    Done(Outcome),
}

/// Waiters by command, replies that came before the view they depend on, and operations whose request has ended.
pub(crate) struct Answers {
    waiting: Mutex<HashMap<CommandId, oneshot::Sender<Answer>>>,
    waiting_max: usize,
    /// Zero where nobody can be interested in what passes, so that most views cost no lock.
    interest: AtomicUsize,
    has_operations: AtomicBool,
    operations: Cache<CommandId, Operation>,
    /// Told whenever a command is answered.
    ended: Notify,
    parked: Mutex<HashMap<Key, Vec<Reply>>>,
    parked_count: AtomicUsize,
    views: Arc<Views>,
    in_flight: Gauge,
}

/// One registered command; dropping it ends the waiting.
pub(crate) struct Waiter {
    id: CommandId,
    answer: oneshot::Receiver<Answer>,
    answers: Arc<Answers>,
}

impl Answers {
    pub(crate) fn new(waiting_max: usize, views: Arc<Views>) -> Self {
        Self {
            waiting: Mutex::default(),
            waiting_max,
            interest: AtomicUsize::new(0),
            has_operations: AtomicBool::new(false),
            operations: Cache::new(OPERATIONS_MAX),
            ended: Notify::new(),
            parked: Mutex::default(),
            parked_count: AtomicUsize::new(0),
            views,
            in_flight: gauge!(IN_FLIGHT),
        }
    }

    /// Registers a command before it is sent; `None` where too many wait already.
    pub(crate) fn register(this: &Arc<Self>, id: CommandId) -> Option<Waiter> {
        let (send, answer) = oneshot::channel();
        let mut waiting = this.waiting();
        if waiting.len() >= this.waiting_max {
            return None;
        }
        waiting.insert(id, send);
        this.interest.store(waiting.len(), Ordering::SeqCst);
        drop(waiting);
        this.in_flight.increment(1.0);
        Some(Waiter { id, answer, answers: Arc::clone(this) })
    }

    /// A view passed and was applied.
    pub(crate) fn view(&self, entity_type: &TypeName, correlation: CommandId, held: Held) {
        let parked = self.parked_count.load(Ordering::SeqCst) > 0;
        let id = parked.then(|| EntityId::parse(held.id())).flatten();
        self.deliver(correlation, || Answer::View(held));
        if let Some(id) = id {
            self.release(&Key::new(entity_type.clone(), id));
        }
    }

    /// A deletion passed and was applied.
    pub(crate) fn deleted(&self, key: &Key, correlation: CommandId, version: u64) {
        self.deliver(correlation, || Answer::Deleted(version));
        if self.parked_count.load(Ordering::SeqCst) > 0 {
            self.release(key);
        }
    }

    /// A reply passed: it is answered once this gateway's own view has reached the version that caused it.
    pub(crate) fn reply(&self, reply: Reply) {
        let Some((key, version)) = reply.depends_on().filter(|_| self.is_awaited(reply.correlation)) else {
            return self.deliver(reply.correlation, || Answer::Reply(reply));
        };
        if self.views.has_reached(key, version) {
            return self.deliver(reply.correlation, || Answer::Reply(reply));
        }
        let key = key.clone();
        self.parked().entry(key.clone()).or_default().push(reply);
        self.parked_count.fetch_add(1, Ordering::SeqCst);
        // The view may have been applied between the look and the parking.
        self.release(&key);
    }

    /// What is known of an operation whose request has ended.
    pub(crate) fn operation(&self, id: CommandId) -> Option<Operation> {
        if self.waiting().contains_key(&id) {
            return Some(Operation::Pending(None));
        }
        self.operations.get(&id)
    }

    /// Completes when the next command is answered, whichever it is.
    pub(crate) fn next_end(&self) -> Notified<'_> {
        self.ended.notified()
    }

    /// Delivers the replies of a key whose versions have been reached.
    fn release(&self, key: &Key) {
        let mut due = Vec::new();
        {
            let mut parked = self.parked();
            let Some(replies) = parked.get_mut(key) else { return };
            let before = replies.len();
            for reply in std::mem::take(replies) {
                let reached = reply.depends_on().is_none_or(|(key, version)| self.views.has_reached(key, version));
                match (reached, self.is_awaited(reply.correlation)) {
                    (true, _) => due.push(reply),
                    (false, true) => replies.push(reply),
                    // Nobody waits for it any more.
                    (false, false) => {}
                }
            }
            self.parked_count.fetch_sub(before - replies.len(), Ordering::SeqCst);
            if replies.is_empty() {
                parked.remove(key);
            }
        }
        for reply in due {
            self.deliver(reply.correlation, || Answer::Reply(reply));
        }
    }

    fn is_awaited(&self, id: CommandId) -> bool {
        self.is_interesting() && (self.waiting().contains_key(&id) || self.operations.contains_key(&id))
    }

    fn is_interesting(&self) -> bool {
        self.interest.load(Ordering::SeqCst) > 0 || self.has_operations.load(Ordering::SeqCst)
    }

    fn deliver(&self, id: CommandId, answer: impl FnOnce() -> Answer) {
        if !self.is_interesting() {
            return;
        }
        let mut waiting = self.waiting();
        if let Some(send) = waiting.remove(&id) {
            self.interest.store(waiting.len(), Ordering::SeqCst);
            // The receiver may be gone: then nobody wants it.
            let _ = send.send(answer());
        } else if self.has_operations.load(Ordering::SeqCst) && self.operations.contains_key(&id) {
            // Under the lock, so that a waiter that lapses meanwhile does not overwrite it.
            self.operations.insert(id, Operation::Done(outcome_of(id, &answer())));
        } else {
            return;
        }
        drop(waiting);
        self.ended.notify_waiters();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<CommandId, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parked(&self) -> MutexGuard<'_, HashMap<Key, Vec<Reply>>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits for the answer. Cancel safe; `None` never comes while this waiter is registered.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }

    /// Stops waiting at this time: the answer if it came at the last moment, else the operation is remembered as pending.
    pub(crate) fn lapse(mut self, now: Duration) -> Option<Answer> {
        let mut waiting = self.answers.waiting();
        if waiting.remove(&self.id).is_some() {
            self.answers.has_operations.store(true, Ordering::SeqCst);
            self.answers.operations.insert(self.id, Operation::Pending(Some(now)));
        }
        self.answers.interest.store(waiting.len(), Ordering::SeqCst);
        drop(waiting);
        self.answer.try_recv().ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.answers.waiting();
        waiting.remove(&self.id);
        self.answers.interest.store(waiting.len(), Ordering::SeqCst);
        self.answers.in_flight.decrement(1.0);
    }
}

fn outcome_of(command: CommandId, answer: &Answer) -> Outcome {
    let (status, version, problem) = match answer {
        Answer::View(held) => (OutcomeStatus::Succeeded, Some(held.version()), None),
        Answer::Deleted(version) => (OutcomeStatus::Succeeded, Some(*version), None),
        Answer::Reply(reply) => match &reply.body {
            ReplyBody::Rejected(problem) => (OutcomeStatus::Failed, None, Some(problem.clone())),
            ReplyBody::Outcome(outcome) => return outcome.clone(),
            ReplyBody::Repeated(repeat) => {
                let (status, problem) = match &repeat.answer {
                    FirstAnswer::Rejected(problem) => (OutcomeStatus::Failed, Some(problem.clone())),
                    FirstAnswer::Object(_) | FirstAnswer::Deleted => (OutcomeStatus::Succeeded, None),
                };
                let entity = (repeat.key != reply.key).then(|| repeat.key.clone());
                return Outcome { command, status, version: repeat.version, entity, problem, created: None };
            }
            _ => (OutcomeStatus::Succeeded, reply.version, None),
        },
    };
    Outcome { command, status, version, entity: None, problem, created: None }
}
