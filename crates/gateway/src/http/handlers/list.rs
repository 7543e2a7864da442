//! `GET /T`: pages of a type's entities.

use bytes::{BufMut, Bytes, BytesMut};
use contract::{Action, Key, ListPosition, ListQuery, ReplyBody, Slug};
use http::header::{CACHE_CONTROL, ETAG, LINK, VARY};
use http::{Response, StatusCode};
use twox_hash::XxHash3_64;

use super::super::conditions::is_known;
use super::super::cursor::Cursor;
use super::super::list_query::{Asked, list_query};
use super::super::middleware::Call;
use super::super::request::check_accept;
use super::super::response::{self, Answered, Failure, X_TOTAL_COUNT};
use super::super::router::Resource;
use super::labels;
use crate::dispatch::{Answer, unexpected};
use crate::views::{Held, Materialised, Page, Views};

/// What a page's response needs.
struct Rows {
    body: Bytes,
    total: u64,
    next: Option<ListPosition>,
}

/// One page, with `X-Total-Count`, a weak `ETag` and, where there is more, `Link: rel="next"` [RFC 8288].
pub(crate) async fn list(call: &Call<'_>, resource: Resource<'_>) -> Result<Answered, Failure> {
    check_accept(&call.parts.headers, "application/json")?;
    let Asked { query, parameters, .. } = list_query(resource.entity_type, &call.parts.uri)?;
    let name = resource.entity_type.name();
    let rows = match &*call.gateway.views {
        Views::Materialised(views) => {
            let Page { rows, total, next } = page(call, views, resource, &query).await?;
            Rows { body: array(rows.iter().map(Held::object)), total, next }
        }
        Views::OnDemand(_) => ask(call, resource, query.clone()).await?,
    };
    let next = rows.next.map(|after| Cursor { list: Cursor::list_of(name, &query), after }.encode());
    let etag = etag(&rows.body, rows.total, next.as_deref());
    let mut response = if is_known(&call.parts.headers, &etag) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(CACHE_CONTROL, response::NO_CACHE);
        response.headers_mut().insert(VARY, response::VARY_READS);
        response
    } else {
        response::read(rows.body)
    };
    response::set(&mut response, ETAG, &format!("W/{etag}"));
    response::set(&mut response, X_TOTAL_COUNT, &rows.total.to_string());
    if let Some(cursor) = next {
        let public_url = &call.gateway.config.public_url;
        let target = format!("{public_url}/{name}?{parameters}limit={}&cursor={cursor}", query.limit);
        response::set(&mut response, LINK, &format!("<{target}>; rel=\"next\""));
    }
    Ok(response)
}

/// A validator of a page: of its rows, their order, the number of all, and where the next one begins. Lists say it with `W/`, for the answer's other
/// headers may differ; the same page has the same on every gateway.
fn etag(body: &[u8], total: u64, next: Option<&str>) -> String {
    let mut bytes = [XxHash3_64::oneshot(body).to_be_bytes(), total.to_be_bytes()].concat();
    bytes.extend_from_slice(next.unwrap_or_default().as_bytes());
    format!("\"{:016x}\"", XxHash3_64::oneshot(&bytes))
}

/// The page from memory. Where lists with filters and orders are not indexed yet, that is waited for.
async fn page(
    call: &Call<'_>,
    views: &Materialised,
    resource: Resource<'_>,
    query: &ListQuery,
) -> Result<Page, Failure> {
    let mut deadline = None;
    loop {
        let mut built = match views.list(resource.entity_type.name(), query) {
            Ok(page) => return Ok(page),
            Err(built) => built,
        };
        let deadline = deadline.get_or_insert_with(|| call.gateway.env.sleep(call.gateway.config.read_wait));
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
async fn ask(call: &Call<'_>, resource: Resource<'_>, query: ListQuery) -> Result<Rows, Failure> {
    let dispatch = &call.gateway.dispatch;
    let key = Key::list(resource.entity_type.name().clone());
    let command = dispatch.command(key, Action::List(query), None, labels(call));
    let Answer::Reply(reply) = dispatch.ask(command).await? else { return Err(unexpected().into()) };
    match reply.body {
        ReplyBody::Listed(page) => {
            let name = resource.entity_type.name();
            page.items.iter().for_each(|item| call.gateway.retrieves.listed(name, item.get().as_bytes()));
            let body = array(page.items.iter().map(|item| item.get().as_bytes()));
            Ok(Rows { body, total: page.total, next: page.next })
        }
        ReplyBody::Rejected(problem) => Err(problem.into()),
        _ => Err(unexpected().into()),
    }
}

fn array<'a>(items: impl Iterator<Item = &'a [u8]> + Clone) -> Bytes {
    let bytes: usize = items.clone().map(|item| item.len() + 1).sum();
    let mut body = BytesMut::with_capacity(bytes + 2);
    body.put_u8(b'[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            body.put_u8(b',');
        }
        body.put_slice(item);
    }
    body.put_u8(b']');
    body.freeze()
}
