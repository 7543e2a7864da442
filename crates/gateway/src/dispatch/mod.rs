//! Command out, answer back.

mod answers;
mod retrieve;

use std::sync::Arc;
use std::time::Duration;

use contract::wire::cloudevents;
use contract::{
    Action, Command, CommandId, Env, Key, OperationId, Precondition, Problem, Registry, Retry, Slug, Topic,
};
use stream::{AppendError, Stream};

pub(crate) use answers::{Answer, Answers, Operation};
pub(crate) use retrieve::{Retrieves, unreadable};

/// Sends commands and waits for what answers them.
pub(crate) struct Dispatch {
    pub(crate) stream: Arc<dyn Stream>,
    pub(crate) registry: Registry,
    pub(crate) answers: Arc<Answers>,
    pub(crate) env: Arc<dyn Env>,
    /// The events' `source`.
    pub(crate) source: String,
    /// How long a write may wait for the stream's acknowledgement where its client does not wait for the view.
    pub(crate) write_wait: Duration,
    /// How long a read waits for its answer.
    pub(crate) read_wait: Duration,
}

/// What of a request travels with its command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub(crate) request_id: Option<String>,
    pub(crate) traceparent: Option<String>,
}

/// How a write ended, as far as the gateway waited.
pub(crate) enum Write {
    Answered(Answer),
    /// Acknowledged by the stream, not yet answered.
    Pending(OperationId),
}

/// A write that may not have reached the stream.
pub(crate) struct Undelivered {
    pub(crate) problem: Problem,
    /// Where to ask what became of it, if that is in doubt.
    pub(crate) operation: Option<OperationId>,
}

impl Dispatch {
    pub(crate) fn command(
        &self,
        key: Key,
        action: Action,
        precondition: Option<Precondition>,
        labels: Labels,
    ) -> Command {
        Command {
            id: CommandId(self.env.uuid()),
            key,
            action,
            precondition,
            idempotency: None,
            time: self.env.now(),
            source: self.source.clone(),
            request_id: labels.request_id,
            traceparent: labels.traceparent,
        }
    }

    /// Sends a write and waits for its view or reply; without `wait`, only for the stream's acknowledgement.
    pub(crate) async fn write(&self, command: Command, wait: Duration) -> Result<Write, Undelivered> {
        let operation = OperationId { command: command.id, key: command.key.clone() };
        let Some(mut waiter) = Answers::register(&self.answers, command.id) else {
            return Err(Undelivered { problem: overloaded().retry(Retry::Safe), operation: None });
        };
        let record = cloudevents::encode_command(&command, &self.registry);
        let mut deadline = self.env.sleep(if wait.is_zero() { self.write_wait } else { wait });
        tokio::select! {
            biased;
            appended = self.stream.append(Topic::Commands, record) => {
                if let Err(error) = appended {
                    let problem = append_problem(&error);
                    let in_doubt = problem.retry == Some(Retry::Unknown);
                    return Err(Undelivered { problem, operation: in_doubt.then_some(operation) });
                }
            }
            () = &mut deadline => {
                let detail = "the stream has not acknowledged the command in time; it may still be carried out: ask the operation at Location";
                let problem = Problem::new(Slug::OutcomeUnknown, detail).retry(Retry::Unknown);
                return Err(Undelivered { problem, operation: Some(operation) });
            }
        }
        if wait.is_zero() {
            // Who asked to be told later is, also where the answer was as fast as the acknowledgement.
            drop(waiter.lapse(self.env.monotonic()));
            return Ok(Write::Pending(operation));
        }
        tokio::select! {
            biased;
            answer = waiter.answer() => return Ok(answer.map_or(Write::Pending(operation), Write::Answered)),
            () = &mut deadline => {}
        }
        Ok(waiter.lapse(self.env.monotonic()).map_or(Write::Pending(operation), Write::Answered))
    }

    /// Sends a retrieve or list command and waits for its reply.
    pub(crate) async fn ask(&self, command: Command) -> Result<Answer, Problem> {
        self.ask_within(command, self.read_wait).await
    }

    /// The same for a reader of another patience.
    pub(crate) async fn ask_within(&self, command: Command, wait: Duration) -> Result<Answer, Problem> {
        let Some(mut waiter) = Answers::register(&self.answers, command.id) else { return Err(overloaded()) };
        let record = cloudevents::encode_command(&command, &self.registry);
        let exchange = async {
            self.stream.append(Topic::Commands, record).await.map_err(|error| {
                let mut problem = append_problem(&error);
                if problem.retry.take() == Some(Retry::Unknown) {
                    problem.slug = Slug::StreamUnreachable;
                }
                problem
            })?;
            waiter.answer().await.ok_or_else(no_answer)
        };
        tokio::select! {
            biased;
            answer = exchange => answer,
            () = self.env.sleep(wait) => Err(no_answer()),
        }
    }
}

/// An event answered a command that it cannot answer.
pub(crate) fn unexpected() -> Problem {
    Problem::new(Slug::Internal, "the data store gave an answer of another kind")
}

fn overloaded() -> Problem {
    Problem::new(Slug::Overloaded, "too many commands wait for their answer; try again shortly")
}

fn no_answer() -> Problem {
    Problem::new(Slug::NoAnswer, "the data store did not answer in time; try again")
}

/// Every doubt is `unknown`.
fn append_problem(error: &AppendError) -> Problem {
    let detail = error.to_string();
    match error {
        AppendError::TooLarge { .. } => Problem::new(Slug::EntityTooLarge, detail).retry(Retry::Safe),
        AppendError::Overloaded => Problem::new(Slug::Overloaded, detail).retry(Retry::Safe),
        AppendError::Full => Problem::new(Slug::StorageFull, detail).retry(Retry::Safe),
        // Causes may name hosts and files; they are for the log.
        AppendError::Unavailable(reason) => {
            tracing::warn!(reason, "a command was refused");
            Problem::new(Slug::StreamUnreachable, "the event stream cannot be reached; nothing was stored")
                .retry(Retry::Safe)
        }
        AppendError::Unknown(reason) => {
            tracing::warn!(reason, "the outcome of a command is in doubt");
            let detail = "the stream failed while it stored the command; it may still be carried out: ask the operation at Location";
            Problem::new(Slug::OutcomeUnknown, detail).retry(Retry::Unknown)
        }
    }
}
