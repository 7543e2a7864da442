//! Building responses: the one place where a problem becomes a status and a body.

use std::fmt::{Display, Write as _};

use bytes::{Bytes, BytesMut};
use contract::{Problem, Retry, Slug};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::outgoing::Outgoing;

/// A response.
pub(crate) type Answered = Response<Outgoing>;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
pub(crate) const X_TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
pub(crate) const VARY_READS: HeaderValue = HeaderValue::from_static("Accept, Authorization");

/// What most values take that are put together.
const VALUE_BYTES: usize = 64;

/// Room for what an answer about an entity has, so that it need not grow.
const HEADERS: usize = 16;

/// The answer to a head that did not arrive in time; there is no request yet that it could belong to.
pub(crate) const SLOW_HEAD: &str = concat!(
    "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n",
    "connection: close\r\ncontent-length: 196\r\n\r\n",
    r#"{"type":"/problem/request-timeout","title":"The request took too long to arrive","status":408,"#,
    r#""detail":"the header did not arrive in time","code":408,"message":"the header did not arrive in time"}"#
);

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) problem: Problem,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem, headers: Vec::new() }
    }
}

impl Failure {
    pub(crate) fn new(slug: Slug, detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Problem::new(slug, detail).into()
    }

    /// The same with a header; a value that no header can carry is left out.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Adds a header; a value that no header can carry is left out.
    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
    }

    /// The same, as an answer to a write that was refused before anything was produced.
    #[must_use]
    pub(crate) fn nothing_produced(mut self) -> Self {
        self.problem.retry.get_or_insert(if retriable(self.problem.slug) { Retry::Safe } else { Retry::No });
        self
    }
}

/// Whether the same request may be answered otherwise later.
fn retriable(slug: Slug) -> bool {
    matches!(slug.status(), 408 | 429 | 503 | 504)
}

/// What a problem's body says beyond the problem itself.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) public_url: &'a str,
    pub(crate) path: &'a str,
    pub(crate) request_id: &'a str,
    /// Whether the answer is one to a read, and as such may be kept and checked again.
    pub(crate) read: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: u16,
    message: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [contract::FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Retry>,
}

/// The problem as its own JSON value, as in an operation's body.
pub(crate) fn problem_value(problem: &Problem, context: Context<'_>) -> Value {
    serde_json::to_value(body(problem, context)).unwrap_or_default()
}

fn body<'a>(problem: &'a Problem, context: Context<'a>) -> Body<'a> {
    let status = problem.slug.status();
    Body {
        r#type: format!("{}/problem/{}", context.public_url, problem.slug.as_str()),
        title: problem.slug.title(),
        status,
        detail: &problem.detail,
        instance: context.path,
        code: status,
        message: &problem.detail,
        request_id: context.request_id,
        errors: &problem.errors,
        retry: problem.retry,
    }
}

/// `application/problem+json` [RFC 9457].
pub(crate) fn problem(failure: Failure, context: Context<'_>) -> Answered {
    let slug = failure.problem.slug;
    let bytes = serde_json::to_vec(&body(&failure.problem, context)).unwrap_or_default();
    let mut response = Response::new(Bytes::from(bytes).into());
    *response.status_mut() = StatusCode::from_u16(slug.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    let kept = context.read && matches!(slug.status(), 404 | 410);
    headers.insert(CACHE_CONTROL, if kept { NO_CACHE } else { NO_STORE });
    headers.insert(VARY, VARY_READS);
    if matches!(slug.status(), 429 | 503) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    for (name, value) in failure.headers {
        headers.insert(name, value);
    }
    response
}

fn with_room(object: Bytes) -> Answered {
    let mut response = Response::new(object.into());
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    response
}

/// A body of JSON that may be kept and checked again: what a read gives.
pub(crate) fn read(object: Bytes) -> Answered {
    let mut response = with_room(object);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(VARY, VARY_READS);
    response
}

/// A body of JSON that nobody may keep.
pub(crate) fn unstored(status: StatusCode, object: Bytes) -> Answered {
    let mut response = with_room(object);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(VARY, VARY_READS);
    response
}

/// JSON from a value of ours.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Sets a header whose value is put together; one that no header can carry is left out.
pub(crate) fn set(response: &mut Answered, name: HeaderName, value: impl Display) {
    if let Some(value) = self::value(&value) {
        response.headers_mut().append(name, value);
    }
}

/// The value of a header, put together in place; none where no header can carry it.
pub(crate) fn value(value: &impl Display) -> Option<HeaderValue> {
    let mut bytes = BytesMut::with_capacity(VALUE_BYTES);
    // Writing into memory cannot fail.
    let _ = write!(bytes, "{value}");
    HeaderValue::from_maybe_shared(bytes.freeze()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canned_answer_has_the_length_it_says() {
        let (head, body) = SLOW_HEAD.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<Value>(body).unwrap()["title"] == Slug::RequestTimeout.title());
    }
}
