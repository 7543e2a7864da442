//! What happened since a position: as a stream of events, or a page at a time.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Gauge, counter, gauge};
use bytes::{BufMut as _, Bytes, BytesMut};
use contract::list::LIST_LIMIT_MAX;
use contract::{Env, FieldError, Key, Problem, Slug};
use futures_util::stream::{StreamExt as _, unfold};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK};
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::super::event_stream;
use super::super::middleware::Call;
use super::super::negotiation::EVENT_STREAM;
use super::super::outgoing::{Cut, Outgoing};
use super::super::request::{header_error, query};
use super::super::response::{self, Answered, Failure};
use super::super::router::Resource;
use super::{entity_id, read};
use crate::feed::{Change, Feed, Filter, Follower, Lost, Resumed, Step, What};
use crate::metrics::{FEED_CUT, FEED_STREAMS};
use crate::position::Position;
use crate::views::{Look, Views};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// So that proxies which collect answers before they pass them on do not.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const LIMIT_DEFAULT: usize = 50;
/// A page ends behind the row that is beyond so many bytes, as lists do.
const PAGE_BYTES_MAX: usize = 768 << 10;

/// Which changes are followed.
#[derive(Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// Of all types.
    All,
    Type(Resource<'a>),
    /// The id as it came.
    Entity(Resource<'a>, &'a str),
}

/// What the query asks for.
#[derive(Default)]
struct Asked {
    since: Option<Position>,
    snapshot: bool,
    type_name: Option<contract::TypeName>,
    limit: Option<usize>,
}

/// A stream of events, from here and now, from a position, or from everything there is.
pub(crate) async fn follow(call: &Call<'_>, scope: Scope<'_>) -> Result<Answered, Failure> {
    let known: &[_] = if matches!(scope, Scope::All) { &["since", "snapshot", "type"] } else { &["since", "snapshot"] };
    let asked = asked(call, known)?;
    let filter = filter(scope, &asked)?;
    let since = match last_event_id(&call.parts.headers)? {
        Some(position) => Some(position),
        None => asked.since.clone(),
    };
    let feed = &call.gateway.feed;
    let mut response = Answered::default();
    if call.parts.method != Method::HEAD {
        let place = feed.subscribe().ok_or_else(|| {
            Failure::new(Slug::Overloaded, "too many streams of changes are open; try again, or poll /changes")
        })?;
        let (follower, prelude) = begin(call, filter, since, asked.snapshot).await?;
        let sending = Sending {
            follower,
            prelude: Some(prelude),
            typed: matches!(scope, Scope::All),
            heartbeat: feed.config.heartbeat,
            env: Arc::clone(&call.gateway.env),
            _place: place,
            _counted: Counted::new(),
        };
        *response.body_mut() = Outgoing::Stream(unfold(sending, Sending::next).boxed());
    }
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(http::header::CACHE_CONTROL, response::NO_STORE);
    headers.insert(http::header::VARY, HeaderValue::from_static("Accept, Authorization"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// Where a stream begins, and what it says first.
async fn begin(
    call: &Call<'_>,
    filter: Filter,
    since: Option<Position>,
    snapshot: bool,
) -> Result<(Follower, Bytes), Failure> {
    let gateway = call.gateway;
    let (feed, now) = (&gateway.feed, gateway.feed.now().ok_or_else(not_ready)?);
    let resumed = match &since {
        Some(position) => Some(feed.resume(position, gateway.config.read_wait).await),
        None => None,
    };
    let is_reset = match resumed {
        Some(Resumed::Behind) => return Err(behind()),
        Some(Resumed::Here) => {
            let follower = Follower::new(feed, filter, since.unwrap_or(now));
            let text = event_stream::beginning(&follower.position().encode());
            return Ok((follower, text));
        }
        Some(Resumed::Unknown | Resumed::TooOld) => true,
        None => false,
    };
    let (mut follower, mut first) = (Follower::new(feed, filter.clone(), now.clone()), None);
    match filter {
        Filter::Entity(key) if snapshot => first = current(call, &key, &now.encode()).await?,
        Filter::All | Filter::Type(_) if snapshot => {
            follower = Follower::new(feed, filter, feed.start().await.ok_or_else(not_ready)?);
            // There, what was deleted by now is passed over with all else that is no longer current.
            if matches!(&*gateway.views, Views::Materialised(_)) {
                follower.quiet_before(now);
            }
        }
        _ => {}
    }
    let position = follower.position().encode();
    let reset = if is_reset { event_stream::reset(&position) } else { Bytes::new() };
    let text = [event_stream::beginning(&position), reset, first.unwrap_or_default()].concat();
    Ok((follower, text.into()))
}

/// The current view of one entity as the first event; none where there is no such entity.
async fn current(call: &Call<'_>, key: &Key, position: &str) -> Result<Option<Bytes>, Failure> {
    let what = match read::look(call, key).await {
        Ok(held) => What::View(held),
        Err(failure) => match (failure.problem.slug, call.gateway.views.look(key), &key.id) {
            (Slug::Gone, Look::Deleted(version), Some(id)) => What::Deleted(id.clone(), version),
            (Slug::NotFound | Slug::Gone, ..) => return Ok(None),
            _ => return Err(failure),
        },
    };
    // Its own offset is not known; the position is one that it is not behind.
    let change = Change { offset: 0, entity_type: key.entity_type.clone(), what };
    Ok(Some(event_stream::one(position, &change)))
}

fn not_ready() -> Failure {
    Failure::new(Slug::NotReady, "the event stream does not answer; try again")
}

fn behind() -> Failure {
    Failure::new(Slug::Behind, "this instance has not reached the position yet; try again with the same")
}

fn asked(call: &Call<'_>, known: &[&str]) -> Result<Asked, Failure> {
    let (mut asked, mut errors) = (Asked::default(), Vec::new());
    for (name, value) in query(call.parts.uri.query(), known)? {
        let wrong = match name.as_str() {
            "since" => {
                asked.since = Position::decode(&value);
                let detail = "is none of this gateway's positions; take it from an event's id, rel=\"next\" or a Consistency-Token as it is";
                asked.since.is_none().then_some(detail.to_owned())
            }
            "snapshot" => {
                asked.snapshot = value == "true";
                (!matches!(value.as_str(), "true" | "false")).then(|| "must be `true` or `false`".to_owned())
            }
            "type" => {
                asked.type_name = call.gateway.registry.get(&value).map(|entity_type| entity_type.name().clone());
                let types =
                    || call.gateway.registry.iter().map(|t| t.name().to_string()).collect::<Vec<_>>().join(", ");
                asked.type_name.is_none().then(|| format!("is none of the entity types: {}", types()))
            }
            _ => {
                asked.limit = value.parse().ok().filter(|limit| (1..=LIST_LIMIT_MAX).contains(limit));
                let is_number = value.starts_with(|c: char| matches!(c, '1'..='9'));
                let fits = is_number && asked.limit.is_some();
                (!fits).then(|| format!("must be a whole number from 1 to {LIST_LIMIT_MAX}"))
            }
        };
        errors.extend(wrong.map(|detail| FieldError::parameter(&name, detail)));
    }
    if errors.is_empty() { Ok(asked) } else { Err(Problem::with_errors(Slug::InvalidRequest, errors).into()) }
}

fn filter(scope: Scope<'_>, asked: &Asked) -> Result<Filter, Failure> {
    Ok(match (scope, &asked.type_name) {
        (Scope::Entity(resource, id), _) => {
            Filter::Entity(Key::new(resource.entity_type.name().clone(), entity_id(id)?))
        }
        (Scope::Type(resource), _) => Filter::Type(resource.entity_type.name().clone()),
        (Scope::All, Some(name)) => Filter::Type(name.clone()),
        (Scope::All, None) => Filter::All,
    })
}

/// Where a client that comes back was; an empty one has seen nothing.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Failure> {
    let mut values = headers.get_all(&LAST_EVENT_ID).iter();
    let Some(value) = values.next().filter(|value| !value.is_empty()) else { return Ok(None) };
    let position = value.to_str().ok().and_then(Position::decode).filter(|_| values.next().is_none());
    position
        .map(Some)
        .ok_or_else(|| header_error(&LAST_EVENT_ID, "is none of this gateway's; send an event's id as it is, once"))
}

/// One stream under way.
struct Sending {
    follower: Follower,
    /// Sent before anything else.
    prelude: Option<Bytes>,
    typed: bool,
    heartbeat: Duration,
    env: Arc<dyn Env>,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Sending {
    async fn next(mut self) -> Option<(Result<Bytes, Cut>, Self)> {
        if let Some(prelude) = self.prelude.take() {
            return Some((Ok(prelude), self));
        }
        let text = tokio::select! {
            biased;
            step = self.follower.next() => match step {
                Ok(step) => Ok(event_stream::changes(&mut self.follower, &step, self.typed)),
                Err(Lost::Closed) => return None,
                Err(Lost::Unknown) => {
                    self.follower.jump();
                    Ok(event_stream::reset(&self.follower.position().encode()))
                }
                Err(Lost::Slow) => {
                    counter!(FEED_CUT).increment(1);
                    Err(Cut("the client takes less than happens"))
                }
                Err(Lost::Away) => Err(Cut("the event stream cannot be read")),
            },
            () = self.env.sleep(self.heartbeat) => {
                self.follower.touch();
                Ok(event_stream::heartbeat(&self.follower.position().encode()))
            }
        };
        Some((text, self))
    }
}

/// Counts an open stream for as long as it lives.
struct Counted(Gauge);

impl Counted {
    fn new() -> Self {
        let streams = gauge!(FEED_STREAMS);
        streams.increment(1.0);
        Self(streams)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// `GET /changes`: the same for those who poll; `rel="next"` is always there.
pub(crate) async fn poll(call: &Call<'_>) -> Result<Answered, Failure> {
    let asked = asked(call, &["since", "type", "limit"])?;
    let gateway = call.gateway;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    let filter = filter(Scope::All, &asked)?;
    let since = match asked.since {
        None => gateway.feed.now().ok_or_else(not_ready)?,
        Some(position) => match gateway.feed.resume(&position, gateway.config.read_wait).await {
            Resumed::Here => position,
            Resumed::Behind => return Err(behind()),
            Resumed::TooOld => return Err(expired("the position is too old to go on from")),
            Resumed::Unknown => {
                return Err(expired(
                    "the position is of another event stream, or of a part of this one that is no more",
                ));
            }
        },
    };
    let mut follower = Follower::new(&gateway.feed, filter, since);
    let body = page(&gateway.feed, &mut follower, limit, gateway.env.sleep(gateway.config.read_wait)).await?;
    let mut response = response::read(body);
    follower.touch();
    let mut link = format!("<{}/changes?limit={limit}", gateway.config.public_url);
    if let Some(name) = asked.type_name {
        link += &format!("&type={name}");
    }
    link += &format!("&since={}>; rel=\"next\"", follower.position().encode());
    response::set(&mut response, LINK, &link);
    Ok(response)
}

fn expired(what: &str) -> Failure {
    let detail = format!("{what}; list the entities anew and go on from that list's Consistency-Token");
    Failure::new(Slug::PositionExpired, detail)
}

/// What has happened since, up to a limit of rows, of bytes and of time.
async fn page(
    feed: &Feed,
    follower: &mut Follower,
    limit: usize,
    mut deadline: contract::env::BoxFuture<()>,
) -> Result<Bytes, Failure> {
    let begun = follower.position().clone();
    let (mut rows, mut text) = (0, BytesMut::from(&b"["[..]));
    while rows < limit && text.len() < PAGE_BYTES_MAX {
        let step = tokio::select! {
            biased;
            step = follower.try_next() => step,
            () = &mut deadline => break,
        };
        let Step { partition, changes, next } = match step {
            Ok(Some(step)) => step,
            Ok(None) => return Ok(closed(text)),
            Err(Lost::Unknown) => {
                return Err(expired("the position lies in a part of the event stream that is no more"));
            }
            Err(Lost::Closed) => return Err(Failure::new(Slug::NotReady, "the gateway is shutting down")),
            Err(Lost::Away | Lost::Slow) => return Err(not_ready()),
        };
        let is_whole = changes.len() <= limit - rows;
        for change in changes.iter().take(limit - rows) {
            if rows > 0 {
                text.put_u8(b',');
            }
            row(&mut text, change);
            follower.advance(partition, change.offset + 1);
            rows += 1;
        }
        if is_whole {
            follower.advance(partition, next);
        }
    }
    if rows == 0 && *follower.position() == begun && !feed.is_closed() {
        return Err(Failure::new(Slug::Overloaded, "too many read older changes now; try again"));
    }
    Ok(closed(text))
}

fn closed(mut text: BytesMut) -> Bytes {
    text.put_u8(b']');
    text.freeze()
}

fn row(text: &mut BytesMut, change: &Change) {
    let (name, id, version) = (&change.entity_type, change.id(), change.version());
    let is_deleted = matches!(change.what, What::Deleted(..));
    // Names and ids have no character that JSON would escape.
    let head =
        format!("{{\"type\":\"{name}\",\"id\":\"{id}\",\"version\":{version},\"deleted\":{is_deleted},\"object\":");
    text.put_slice(head.as_bytes());
    match &change.what {
        What::View(held) => text.put_slice(held.object()),
        What::Deleted(..) => text.put_slice(b"null"),
    }
    text.put_u8(b'}');
}
