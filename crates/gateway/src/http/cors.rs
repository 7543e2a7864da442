//! Reads from pages of other origins [Fetch 3.2]: anonymous ones are open to all, writes to none.
//!
//! A write from any page that somebody looks at would reach a gateway that only this somebody can reach. What is said does not
//! depend on `Origin`, so that a shared cache can give one answer to all.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CACHE_CONTROL,
    ORIGIN,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::response::{Answered, NO_STORE};

/// Any origin.
const ANY: HeaderValue = HeaderValue::from_static("*");
/// What anonymous callers may send from anywhere.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");
/// Every header that a request can have here, but credentials.
const ALLOWED: HeaderValue = HeaderValue::from_static(
    "Accept, Accept-Encoding, Cache-Control, Consistency-Token, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, \
     If-None-Match, If-Unmodified-Since, Last-Event-ID, Prefer, traceparent, X-Request-ID",
);
/// Every header that an answer can have here: without credentials, and to any origin none are sent, `*` stands for all
/// [Fetch 3.3.3]. Their names would be a third of an answer.
const EXPOSED: HeaderValue = ANY;
/// Seconds for which a browser need not ask again; none keeps it longer than a day.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Whether a browser asks what a page of another origin may send.
pub(crate) fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(ORIGIN)
        && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What it may: the same everywhere, so that the answer to the request itself, be it `404`, can be read.
pub(crate) fn preflight() -> Answered {
    let mut response = Answered::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

/// Whether pages of other origins may read the answer.
pub(crate) fn is_open(method: &Method, headers: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) && !headers.contains_key(AUTHORIZATION)
}

/// Lets them.
pub(crate) fn open(response: &mut Answered) {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}
