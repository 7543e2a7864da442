//! `POST /T` with `application/x-ndjson`: many rows, each carried out as a request of its own would be, and answered by a line
//! each, in their order.
//!
//! A task of its own reads the rows, so that it sees a client that takes no answers: it reads on until so many bytes of them
//! wait. A line is written once its row is durable. If the connection is cut, rows that were sent to the data store are carried
//! out; those without a line are unknown to the client.

mod line;
mod rows;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use contract::entity::{IdRule, Rules, Timestamps};
use contract::precondition::Tags;
use contract::{Action, EntityId, EntityType, FieldError, Key, Precondition, Problem, Slug, json};
use futures_util::stream::{FuturesOrdered, StreamExt as _, unfold};
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, VARY,
};
use http::request::Parts;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use self::rows::{Next, Rows};
use super::super::body::{self, Incoming};
use super::super::middleware::Call;
use super::super::negotiation::{NDJSON, choose};
use super::super::outgoing::Outgoing;
use super::super::request::{PREFERENCE_APPLIED, Preference, Returned, header_error, preference};
use super::super::response::{self, Answered, Context, Failure, NO_STORE, VARY_READS};
use super::super::router::Resource;
use super::idempotency::IDEMPOTENCY_KEY;
use super::labels;
use super::write::{carry_out, timestamps};
use crate::config::Access;
use crate::gateway::Gateway;
use crate::views::Look;

/// Batches at once; one more is refused.
pub(crate) const BATCHES_MAX: usize = 32;
/// Rows of one batch under way at once, and their bytes.
const ROWS_MAX: usize = 128;
const ROWS_BYTES_MAX: usize = 4 << 20;
/// Answers of one batch that wait for the client to take them; while there are more, no row is read.
const ANSWERS_KIB_MAX: usize = 8 << 10;
/// How often a row is tried that is there when created and gone when merged.
const ROUNDS_MAX: u32 = 4;

/// One batch.
struct Batch {
    gateway: Arc<Gateway>,
    anonymous: Access,
    entity_type: Arc<EntityType>,
    parts: Parts,
    request_id: String,
    timestamps: Timestamps,
    wait: Duration,
    minimal: bool,
}

/// A row that was read.
struct Row {
    number: u64,
    size_bytes: usize,
    /// None where the data store is to choose it.
    id: Option<EntityId>,
    object: Result<Map<String, Value>, Problem>,
}

/// The answers on their way to the client.
struct Lines {
    send: mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// Answers at once; what becomes of the rows follows.
pub(crate) async fn batch(call: &Call<'_>, resource: Resource<'_>, incoming: Incoming) -> Result<Answered, Failure> {
    choose(&call.parts.headers, &[NDJSON])?;
    for name in [&IF_MATCH, &IF_NONE_MATCH, &IF_MODIFIED_SINCE, &IF_UNMODIFIED_SINCE, &IDEMPOTENCY_KEY] {
        refuse(call, name)?;
    }
    let timestamps = timestamps(call)?;
    body::check_media_type(&call.parts, NDJSON)?;
    let gateway = call.gateway;
    let place = Arc::clone(&gateway.batches).try_acquire_owned();
    let place =
        place.map_err(|_| Failure::new(Slug::Overloaded, "too many batches are under way; try again shortly"))?;
    // Every row has a line of its own, which is no answer to give later.
    let Preference { wait, returned, .. } = preference(&call.parts.headers);
    let preference = Preference { asynchronous: false, wait: wait.filter(|wait| !wait.is_zero()), returned };
    let batch = Batch {
        gateway: Arc::clone(gateway),
        anonymous: call.anonymous,
        entity_type: Arc::clone(resource.entity_type),
        parts: call.parts.clone(),
        request_id: call.request_id.to_owned(),
        timestamps,
        wait: preference.write_wait(gateway.config.write_wait),
        minimal: returned == Some(Returned::Minimal),
    };
    let (send, receive) = mpsc::unbounded_channel();
    let lines = Lines { send, room: Arc::new(Semaphore::new(ANSWERS_KIB_MAX)) };
    gateway.env.spawn(Box::pin(async move {
        batch.run(incoming, lines).await;
        drop(place);
    }));
    let mut response = Answered::new(Outgoing::Stream(unfold(receive, next_lines).boxed()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(VARY, VARY_READS);
    if let Some(applied) = preference.applied(false, true) {
        response::set(&mut response, PREFERENCE_APPLIED, &applied);
    }
    Ok(response)
}

/// Of many rows neither a condition nor a key can be kept.
fn refuse(call: &Call<'_>, name: &HeaderName) -> Result<(), Failure> {
    if call.parts.headers.contains_key(name) {
        let detail = "is for a request about one entity; a batch whose rows have ids can be sent again without it";
        return Err(header_error(name, detail));
    }
    Ok(())
}

/// All lines that wait, as one piece.
async fn next_lines(
    mut receive: mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>,
) -> Option<(Result<Bytes, super::super::outgoing::Cut>, mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>)> {
    let mut waiting = Vec::new();
    receive.recv_many(&mut waiting, ROWS_MAX).await;
    let piece = match &mut *waiting {
        [] => return None,
        [(line, _)] => std::mem::take(line),
        lines => {
            let mut piece = BytesMut::with_capacity(lines.iter().map(|(line, _)| line.len()).sum());
            lines.iter().for_each(|(line, _)| piece.extend_from_slice(line));
            piece.freeze()
        }
    };
    Some((Ok(piece), receive))
}

impl Lines {
    /// Hands a line over once there is room; false where nobody takes it any more.
    async fn send(&self, line: Bytes) -> bool {
        let kib = u32::try_from(line.len().div_ceil(1024).min(ANSWERS_KIB_MAX)).unwrap_or(1);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(kib).await else { return false };
        self.send.send((line, room)).is_ok()
    }
}

impl Batch {
    async fn run(self, incoming: Incoming, lines: Lines) {
        let parts = self.parts.clone();
        let call = Call { gateway: &self.gateway, anonymous: self.anonymous, parts, request_id: &self.request_id };
        let (env, timeout) = (Arc::clone(&self.gateway.env), self.gateway.config.receive_timeout);
        let mut rows = Rows::new(incoming);
        let mut under_way = FuturesOrdered::new();
        let (mut busy, mut size_bytes) = (HashSet::new(), 0);
        // A row waits for an earlier one of its id, so that the later one wins.
        let mut held: Option<Row> = None;
        let mut last = None;
        loop {
            if let Some(row) = held.take_if(|row| row.id.as_ref().is_none_or(|id| !busy.contains(id))) {
                busy.extend(row.id.clone());
                size_bytes += row.size_bytes;
                under_way.push_back(self.carry_out(&call, row));
            }
            let reads = last.is_none() && held.is_none() && under_way.len() < ROWS_MAX && size_bytes < ROWS_BYTES_MAX;
            if !reads && under_way.is_empty() {
                break;
            }
            let next = tokio::select! {
                biased;
                Some((line, id, size)) = under_way.next(), if !under_way.is_empty() => {
                    if let Some(id) = id {
                        busy.remove(&id);
                    }
                    size_bytes -= size;
                    if !lines.send(line).await {
                        return;
                    }
                    continue;
                }
                next = rows.next(&*env, timeout), if reads => next,
            };
            match next {
                Next::Row(number, row) => held = Some(read(number, row)),
                Next::End => last = Some(None),
                Next::Broken(number, problem) => {
                    last = Some(Some(line::refused(number, None, problem, context(&call))));
                }
            }
        }
        if let Some(Some(line)) = last {
            lines.send(line).await;
        }
    }

    /// The row's line, its id, and how large it was.
    async fn carry_out(&self, call: &Call<'_>, row: Row) -> (Bytes, Option<EntityId>, usize) {
        let Row { number, size_bytes, id, object } = row;
        let object = match object {
            Ok(object) => object,
            Err(problem) => return (line::refused(number, id.as_ref(), problem, context(call)), id, size_bytes),
        };
        let line = match &id {
            Some(known) => self.line(call, number, known, self.put(call, known, &object).await),
            None => {
                let new = EntityId::from_uuid(self.gateway.env.uuid());
                let created = self.write(call, &new, object, true, IdRule::Forbidden).await;
                self.line(call, number, &new, created)
            }
        };
        (line, id, size_bytes)
    }

    fn line(&self, call: &Call<'_>, number: u64, id: &EntityId, answered: Result<Answered, Failure>) -> Bytes {
        match answered {
            Ok(answered) => line::answered(number, id, answered, self.minimal),
            Err(failure) => line::failed(number, Some(id), &failure.nothing_produced(), context(call)),
        }
    }

    /// Creates the row at its id, or merges it into what is there.
    async fn put(&self, call: &Call<'_>, id: &EntityId, object: &Map<String, Value>) -> Result<Answered, Failure> {
        let key = Key::new(self.entity_type.name().clone(), id.clone());
        let mut creates = !matches!(self.gateway.views.look(&key), Look::Found(_));
        // What a row lacks that is enough for a merge only.
        let mut incomplete = None;
        for _ in 0..ROUNDS_MAX {
            let written = self.write(call, id, object.clone(), creates, IdRule::Equal(id)).await;
            match written.as_ref().err().map(|failure| failure.problem.slug) {
                Some(Slug::PreconditionFailed) if creates => creates = false,
                Some(Slug::InvalidEntity) if creates && incomplete.is_none() => {
                    incomplete = written.err();
                    creates = false;
                }
                Some(Slug::NotFound | Slug::Gone) if !creates => match incomplete {
                    Some(incomplete) => return Err(incomplete),
                    None => creates = true,
                },
                _ => return written,
            }
        }
        let detail = "the entity comes and goes: somebody else is writing it; nothing was changed";
        Err(Failure::new(Slug::Overloaded, detail))
    }

    async fn write(
        &self,
        call: &Call<'_>,
        id: &EntityId,
        object: Map<String, Value>,
        creates: bool,
        rule: IdRule<'_>,
    ) -> Result<Answered, Failure> {
        let rules = Rules { complete: creates, id: rule, timestamps: self.timestamps };
        let data = self.entity_type.accept(object, rules)?.into_data();
        let key = Key::new(self.entity_type.name().clone(), id.clone());
        let action = if creates { Action::Create(data) } else { Action::Update(data) };
        let absent = Precondition { if_none_match: Some(Tags::Any), ..Precondition::default() };
        let precondition = (creates && matches!(rule, IdRule::Equal(_))).then_some(absent);
        let command = self.gateway.dispatch.command(key, action, precondition, labels(call));
        carry_out(call, Resource { entity_type: &self.entity_type, deprecated: false }, command, self.wait).await
    }
}

fn read(number: u64, row: Result<Bytes, Problem>) -> Row {
    let size_bytes = row.as_ref().map_or(0, Bytes::len);
    let parsed = row
        .and_then(|row| json::parse_object(&row).map_err(|error| Problem::new(Slug::InvalidJson, error.to_string())));
    let (id, object) = match parsed {
        Ok(object) => match object.get("id").map(id_of) {
            None => (None, Ok(object)),
            Some(Some(id)) => (Some(id), Ok(object)),
            Some(None) => {
                let detail = "must be 1 to 64 of A-Z a-z 0-9 . _ -, or be left out for a new one";
                (None, Err(Problem::with_errors(Slug::InvalidEntity, vec![FieldError::field("id", detail)])))
            }
        },
        Err(problem) => (None, Err(problem)),
    };
    Row { number, size_bytes, id, object }
}

fn id_of(value: &Value) -> Option<EntityId> {
    EntityId::parse(value.as_str()?)
}

fn context<'a>(call: &'a Call<'_>) -> Context<'a> {
    let public_url = &call.gateway.config.public_url;
    Context { public_url, path: call.parts.uri.path(), request_id: call.request_id, read: false }
}
