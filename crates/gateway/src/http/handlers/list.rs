//! `GET /T`: pages of a type's entities, oldest first.

use bytes::{BufMut, Bytes, BytesMut};
use contract::list::LIST_LIMIT_MAX;
use contract::{Action, FieldError, Key, ListPosition, ListQuery, Problem, ReplyBody, Slug};
use http::header::LINK;

use super::super::cursor::Cursor;
use super::super::middleware::Call;
use super::super::request::{check_accept, query};
use super::super::response::{self, Answered, Failure, X_TOTAL_COUNT};
use super::super::router::Resource;
use super::labels;
use crate::dispatch::{Answer, unexpected};
use crate::views::{Held, Views};

const LIMIT_DEFAULT: usize = 50;

/// What a page's response needs.
struct Rows {
    body: Bytes,
    total: u64,
    next: Option<ListPosition>,
}

/// One page, with `X-Total-Count` and, where there is more, `Link: rel="next"` [RFC 8288].
pub(crate) async fn list(call: &Call<'_>, resource: Resource<'_>) -> Result<Answered, Failure> {
    check_accept(&call.parts.headers, "application/json")?;
    let query = list_query(call, resource)?;
    let limit = query.limit;
    let rows = match &*call.gateway.views {
        Views::Materialised(views) => {
            let (rows, total, next) = views.list(resource.entity_type.name(), &query);
            let body = array(rows.iter().map(Held::object));
            Rows { body, total, next }
        }
        Views::OnDemand(_) => ask(call, resource, query).await?,
    };
    let mut response = response::read(rows.body);
    response::set(&mut response, X_TOTAL_COUNT, &rows.total.to_string());
    if let Some(after) = rows.next {
        let name = resource.entity_type.name();
        let cursor = Cursor { entity_type: name.clone(), after }.encode();
        let public_url = &call.gateway.config.public_url;
        response::set(
            &mut response,
            LINK,
            &format!("<{public_url}/{name}?limit={limit}&cursor={cursor}>; rel=\"next\""),
        );
    }
    Ok(response)
}

fn list_query(call: &Call<'_>, resource: Resource<'_>) -> Result<ListQuery, Failure> {
    let mut list = ListQuery { limit: LIMIT_DEFAULT, ..ListQuery::default() };
    let mut errors = Vec::new();
    for (name, value) in query(call.parts.uri.query(), &["limit", "cursor"])? {
        match name.as_str() {
            "limit" => match value.parse() {
                Ok(limit @ 1..=LIST_LIMIT_MAX) if value.starts_with(|c: char| matches!(c, '1'..='9')) => {
                    list.limit = limit
                }
                _ => errors
                    .push(FieldError::parameter("limit", format!("must be a whole number from 1 to {LIST_LIMIT_MAX}"))),
            },
            _ => match Cursor::decode(&value) {
                Some(cursor) if cursor.entity_type == *resource.entity_type.name() => list.after = Some(cursor.after),
                Some(cursor) => {
                    let detail = format!("belongs to the list of {}", cursor.entity_type);
                    errors.push(FieldError::parameter("cursor", detail));
                }
                None => {
                    let detail = "is none of this gateway's; take it from rel=\"next\" as it is, or start without one";
                    errors.push(FieldError::parameter("cursor", detail));
                }
            },
        }
    }
    if errors.is_empty() { Ok(list) } else { Err(Problem::with_errors(Slug::InvalidRequest, errors).into()) }
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
