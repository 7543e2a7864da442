//! `GET /T`: pages of a type's entities, or all of them as a stream.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use contract::list::LIST_LIMIT_MAX;
use contract::{Action, EntityType, Key, ListPosition, ListQuery, ReplyBody, Slug};
use futures_util::stream::{self, StreamExt as _};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, LINK, VARY};
use http::{Response, StatusCode};
use serde_json::value::RawValue;
use twox_hash::XxHash3_64;

use super::super::conditions::is_known;
use super::super::consistency::{self, CONSISTENCY_TOKEN};
use super::super::cursor::Cursor;
use super::super::list_query::{Asked, list_query};
use super::super::middleware::Call;
use super::super::negotiation::NDJSON;
use super::super::outgoing::{Cut, Outgoing};
use super::super::response::{self, Answered, Failure, X_TOTAL_COUNT};
use super::super::router::Resource;
use super::labels;
use crate::dispatch::{Answer, Labels, unexpected};
use crate::gateway::Gateway;
use crate::views::{Held, Materialised, Page, Views};

/// Rows that a stream takes at a time: it holds no more, and they are as of then.
const STREAMED: usize = LIST_LIMIT_MAX / 2;

/// Where rows come from.
#[derive(Clone)]
struct Source {
    gateway: Arc<Gateway>,
    entity_type: Arc<EntityType>,
    labels: Labels,
}

/// One page, however it was come by.
struct Found {
    items: Items,
    total: u64,
    next: Option<ListPosition>,
}

enum Items {
    Held(Vec<Held>),
    Listed(Vec<Box<RawValue>>),
}

/// One page, with `X-Total-Count`, a weak `ETag` and, where there is more, `Link: rel="next"` [RFC 8288]; or a stream.
pub(crate) async fn list(call: &Call<'_>, resource: Resource<'_>, is_page: bool) -> Result<Answered, Failure> {
    let asked = list_query(resource.entity_type, &call.parts.uri, is_page)?;
    let (gateway, entity_type) = (Arc::clone(call.gateway), Arc::clone(resource.entity_type));
    let source = Source { gateway, entity_type, labels: labels(call) };
    if is_page { page(call, &source, asked).await } else { all(source, asked).await }
}

async fn page(call: &Call<'_>, source: &Source, asked: Asked) -> Result<Answered, Failure> {
    let Asked { query, parameters } = asked;
    let Found { items, total, next } = source.find(&query).await?;
    let body = items.array();
    let name = source.entity_type.name();
    let next = next.map(|after| Cursor { list: Cursor::list_of(name, &query), after }.encode());
    let etag = etag(&body, total, next.as_deref());
    let mut response = if is_known(&call.parts.headers, &etag) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(CACHE_CONTROL, response::NO_CACHE);
        response.headers_mut().insert(VARY, response::VARY_READS);
        response
    } else {
        response::read(body)
    };
    response::set(&mut response, ETAG, format_args!("W/{etag}"));
    response::set(&mut response, X_TOTAL_COUNT, total);
    if let Some(cursor) = next {
        let public_url = &call.gateway.config.public_url;
        let target = format!("{public_url}/{name}?{parameters}limit={}&cursor={cursor}", query.limit);
        response::set(&mut response, LINK, format_args!("<{target}>; rel=\"next\""));
    }
    Ok(response)
}

/// A validator of a page: of its rows, their order, the number of all, and where the next one begins. Lists say it with `W/`,
/// for the answer's other headers may differ; the same page has the same on every gateway.
fn etag(body: &[u8], total: u64, next: Option<&str>) -> String {
    let mut bytes = [XxHash3_64::oneshot(body).to_be_bytes(), total.to_be_bytes()].concat();
    bytes.extend_from_slice(next.unwrap_or_default().as_bytes());
    format!("\"{:016x}\"", XxHash3_64::oneshot(&bytes))
}

/// All rows, one a line, each as of its sending. Between two pages nothing is held but where the first ended, so that a slow reader
/// costs nothing.
async fn all(source: Source, asked: Asked) -> Result<Answered, Failure> {
    let token = consistency::before(&source.gateway);
    let mut query = ListQuery { limit: STREAMED, ..asked.query };
    // What is wrong from the start is said with a status.
    let first = source.find(&query).await?;
    let (total, lines) = (first.total, first.items.lines());
    query.after = first.next;
    let rest = stream::unfold(Some(query), move |query| {
        let source = source.clone();
        async move {
            let mut query = query.filter(|query| query.after.is_some())?;
            match source.find(&query).await {
                Ok(Found { items, next, .. }) => {
                    query.after = next;
                    Some((Ok(items.lines()), Some(query)))
                }
                Err(failure) => {
                    tracing::warn!(detail = %failure.problem.detail, "a stream of a list is cut");
                    Some((Err(Cut("the list cannot go on")), None))
                }
            }
        }
    });
    let lines = stream::once(async move { Ok(lines) }).chain(rest).filter(|lines| {
        // An empty chunk would be the last one.
        std::future::ready(lines.as_ref().map_or(true, |lines| !lines.is_empty()))
    });
    let mut response = response::read(Bytes::new());
    *response.body_mut() = Outgoing::Stream(lines.boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    if let Some(token) = token {
        response.headers_mut().insert(CONSISTENCY_TOKEN, token);
    }
    response::set(&mut response, X_TOTAL_COUNT, total);
    Ok(response)
}

impl Source {
    async fn find(&self, query: &ListQuery) -> Result<Found, Failure> {
        match &*self.gateway.views {
            Views::Materialised(views) => {
                let Page { rows, total, next } = self.look(views, query).await?;
                Ok(Found { items: Items::Held(rows), total, next })
            }
            Views::OnDemand(_) => self.ask(query).await,
        }
    }

    /// The page from memory. Where lists with filters and orders are not indexed yet, that is waited for.
    async fn look(&self, views: &Materialised, query: &ListQuery) -> Result<Page, Failure> {
        let Gateway { env, config, .. } = &*self.gateway;
        let mut deadline = None;
        loop {
            let mut built = match views.list(self.entity_type.name(), query) {
                Ok(page) => return Ok(page),
                Err(built) => built,
            };
            let deadline = deadline.get_or_insert_with(|| env.sleep(config.read_wait));
            tokio::select! {
                biased;
                _ = built.wait_for(|built| *built) => {}
                () = deadline => {
                    let detail = "lists with filters or another order than created are being prepared; try again shortly";
                    return Err(Failure::new(Slug::NotReady, detail));
                }
            }
        }
    }

    /// The page as the data store has it.
    async fn ask(&self, query: &ListQuery) -> Result<Found, Failure> {
        let Gateway { dispatch, retrieves, .. } = &*self.gateway;
        let name = self.entity_type.name();
        let command = dispatch.command(Key::list(name.clone()), Action::List(query.clone()), None, self.labels.clone());
        let Answer::Reply(reply) = dispatch.ask(command).await? else { return Err(unexpected().into()) };
        match reply.body {
            ReplyBody::Listed(page) => {
                page.items.iter().for_each(|item| retrieves.listed(name, item.get().as_bytes()));
                Ok(Found { items: Items::Listed(page.items), total: page.total, next: page.next })
            }
            ReplyBody::Rejected(problem) => Err(problem.into()),
            _ => Err(unexpected().into()),
        }
    }
}

impl Items {
    fn array(&self) -> Bytes {
        self.join(b"[", b",", b"]")
    }

    fn lines(&self) -> Bytes {
        self.join(b"", b"\n", if self.len() == 0 { b"" } else { b"\n" })
    }

    fn len(&self) -> usize {
        match self {
            Self::Held(rows) => rows.len(),
            Self::Listed(rows) => rows.len(),
        }
    }

    fn object(&self, number: usize) -> &[u8] {
        match self {
            Self::Held(rows) => rows.get(number).map_or(&[], Held::object),
            Self::Listed(rows) => rows.get(number).map_or(&[], |row| row.get().as_bytes()),
        }
    }

    fn join(&self, before: &[u8], between: &[u8], behind: &[u8]) -> Bytes {
        let bytes: usize = (0..self.len()).map(|number| self.object(number).len() + between.len()).sum();
        let mut joined = BytesMut::with_capacity(bytes + before.len() + behind.len());
        joined.put_slice(before);
        for number in 0..self.len() {
            if number > 0 {
                joined.put_slice(between);
            }
            joined.put_slice(self.object(number));
        }
        joined.put_slice(behind);
        joined.freeze()
    }
}
