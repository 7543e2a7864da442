//! What went wrong, as RFC 9457 writes it, from one closed list.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

macro_rules! slugs {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:literal $slug:literal $title:literal;)*) => {
        /// The closed list of problem types; each has a page at `/problem/<slug>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Slug { $($(#[doc = $doc])+ #[serde(rename = $slug)] $name,)* }

        impl Slug {
            /// All of them, in the order of their status.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The HTTP status.
            pub const fn status(self) -> u16 { match self { $(Self::$name => $status,)* } }

            /// The last segment of the problem type's URI.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $slug,)* } }

            /// A short summary that is the same for every occurrence.
            pub const fn title(self) -> &'static str { match self { $(Self::$name => $title,)* } }

            /// What it means and what to do next, for the problem's page.
            pub const fn explanation(self) -> &'static str { match self { $(Self::$name => concat!($($doc),+),)* } }
        }
    };
}

slugs! {
    /// The body is not a JSON object: the text is cut, is not UTF-8, has a key twice, nests too deep, or holds a number out of range: an integer of more than 64 bits, or what no double can hold. Correct the body; `detail` says where it breaks.
    InvalidJson = 400 "invalid-json" "The body is not a JSON object";
    /// The query, a header, a cursor or an id in the path is malformed, or a header asks for what is not offered yet. `errors` names each `parameter` or `header`; correct it and send the request again.
    InvalidRequest = 400 "invalid-request" "The request is malformed";
    /// The caller may not do this. This gateway lets anonymous callers read only; ask its operator.
    Forbidden = 403 "forbidden" "Not allowed";
    /// There is no entity of that id, or no such path. `GET /` lists the resources.
    NotFound = 404 "not-found" "Not found";
    /// The path does not offer this method; `Allow` lists those it does.
    MethodNotAllowed = 405 "method-not-allowed" "Method not offered";
    /// None of the media types in `Accept` is offered. Ask for `application/json` or leave the header out.
    NotAcceptable = 406 "not-acceptable" "No acceptable media type";
    /// The request, or its body, did not arrive in time. Send it again over a faster connection.
    RequestTimeout = 408 "request-timeout" "The request took too long to arrive";
    /// The entity was deleted, and stays so: `PUT` with `If-None-Match: *` creates it anew at the same id.
    Gone = 410 "gone" "Deleted";
    /// The position in `since` is too old to go on from, or of another event stream. List the entities anew, and go on from that list's `Consistency-Token`.
    PositionExpired = 410 "position-expired" "The position cannot be gone on from";
    /// A condition of the request does not hold for the entity as it is; nothing was changed. Read it again and decide anew.
    PreconditionFailed = 412 "precondition-failed" "A precondition does not hold";
    /// The body is larger than 1 MiB.
    BodyTooLarge = 413 "body-too-large" "The body is too large";
    /// The request's URI is longer than 8 KiB.
    UriTooLong = 414 "uri-too-long" "The URI is too long";
    /// The body has another `Content-Type` than `application/json`, or a `Content-Encoding`. Send plain JSON.
    UnsupportedMediaType = 415 "unsupported-media-type" "The media type is not supported";
    /// The body is JSON, but breaks the entity's schema. `errors` has every bad field, up to 100 of them; the schemas are in `/openapi.json`.
    InvalidEntity = 422 "invalid-entity" "The entity is not valid";
    /// The object would be larger than 512 KiB after this write; nothing was changed.
    EntityTooLarge = 422 "entity-too-large" "The entity would be too large";
    /// The `Idempotency-Key` came before with another request: another method, path, query, condition or body. A key stands for one request; take a new one for a new request.
    IdempotencyKeyReused = 422 "idempotency-key-reused" "The idempotency key belongs to another request";
    /// The request's header fields are too many or too long.
    HeadersTooLarge = 431 "headers-too-large" "The header fields are too large";
    /// The gateway failed in a way that it did not foresee. Report it with the `request_id`.
    Internal = 500 "internal" "Internal error";
    /// Too many requests are under way; this one was refused at once. Try again after `Retry-After` seconds.
    Overloaded = 503 "overloaded" "Too many requests under way";
    /// The event stream cannot be reached, so nothing can be written now. Reads go on. Try again after `Retry-After` seconds.
    StreamUnreachable = 503 "stream-unreachable" "The event stream cannot be reached";
    /// The disk of the event stream is full; nothing was written. Tell the operator, try again later.
    StorageFull = 503 "storage-full" "The disk is full";
    /// The gateway is starting or shutting down. Try again after `Retry-After` seconds, or ask another instance.
    NotReady = 503 "not-ready" "The gateway is not ready";
    /// This instance has not yet seen all that the request's `Consistency-Token` tells of; nothing was done. Try again after `Retry-After` seconds, with the same token.
    Behind = 503 "behind" "This instance is behind";
    /// The latest view of this entity could not be read from the stream, and an older one would be wrong. The operator's log says why.
    UnreadableView = 503 "unreadable-view" "The entity's latest view cannot be read";
    /// It is not known whether the write happened. Ask the operation at `Location`, or read the entity, before you send it again.
    OutcomeUnknown = 503 "outcome-unknown" "The outcome is not known";
    /// The data store could not carry the command out, and never will as it stands: it was set aside. Report it with the `request_id`.
    CommandFailed = 500 "command-failed" "The command could not be carried out";
    /// The data store did not answer a retrieve in time. Try again.
    NoAnswer = 504 "no-answer" "No answer from the data store in time";
}

/// Whether a failed write may be sent again without the risk of doing it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Nothing was produced.
    Safe,
    /// It may have happened.
    Unknown,
    /// It was decided, and would be decided so again.
    No,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where: a JSON pointer as URI fragment [RFC 6901 6], a query parameter, or a header.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// Where a [`FieldError`] lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In the body, such as `#/name`.
    Pointer(String),
    /// In the query.
    Parameter(String),
    /// In a header.
    Header(String),
}

impl FieldError {
    /// A fault of a field of the body; `name` is not yet escaped.
    pub fn field(name: &str, detail: impl Into<String>) -> Self {
        let mut place = "#/".to_owned();
        push_fragment(&mut place, &name.replace('~', "~0").replace('/', "~1"));
        Self { place: Place::Pointer(place), detail: detail.into() }
    }

    /// A fault of a query parameter.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self { place: Place::Parameter(name.to_owned()), detail: detail.into() }
    }

    /// A fault of a header.
    pub fn header(name: &str, detail: impl Into<String>) -> Self {
        Self { place: Place::Header(name.to_owned()), detail: detail.into() }
    }
}

/// The most faults that one answer lists.
pub const ERRORS_MAX: usize = 100;

/// A problem as it travels in events; the gateway adds what belongs to one HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which of the closed list.
    pub slug: Slug,
    /// What happened here, and what to do next.
    pub detail: Cow<'static, str>,
    /// Every bad field, or the first [`ERRORS_MAX`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// On writes: whether it may be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

impl Problem {
    /// A problem without field errors.
    pub fn new(slug: Slug, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { slug, detail: detail.into(), errors: Vec::new(), retry: None }
    }

    /// A problem that lists what is wrong, the first [`ERRORS_MAX`] of it; the detail is the list in one sentence.
    pub fn with_errors(slug: Slug, errors: Vec<FieldError>) -> Self {
        let count = errors.len();
        Self::with_first_errors(slug, errors, count)
    }

    /// The same where `count` things are wrong, of which `errors` are the first.
    pub fn with_first_errors(slug: Slug, mut errors: Vec<FieldError>, count: usize) -> Self {
        errors.truncate(ERRORS_MAX);
        let first = errors.first().map_or_else(String::new, |error| {
            let place = match &error.place {
                Place::Pointer(place) | Place::Parameter(place) | Place::Header(place) => place,
            };
            format!("{place}: {}", error.detail)
        });
        let listed = errors.len();
        let detail = match count {
            0 | 1 => first,
            _ if count > listed => {
                format!("{first} (and {} more; errors lists the first {listed} of {count})", count - 1)
            }
            _ => format!("{first} (and {} more, see errors)", count - 1),
        };
        Self { slug, detail: detail.into(), errors, retry: None }
    }

    /// The same, saying whether a write may be sent again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }
}

impl FieldError {
    /// The same fault at a JSON pointer beneath its field; the pointer's `~` and `/` are escaped already.
    #[must_use]
    pub fn beneath(mut self, pointer: &str) -> Self {
        if let Place::Pointer(place) = &mut self.place {
            push_fragment(place, pointer);
        }
        self
    }
}

/// Appends to a URI fragment, percent-encoding what may not stand in one [RFC 3986 3.5].
fn push_fragment(fragment: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte) {
            fragment.push(char::from(byte));
        } else {
            fragment.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_before_the_list_is_cut() {
        let errors = |count: usize| (0..count).map(|i| FieldError::field(&i.to_string(), "is odd")).collect();
        for (count, said) in [
            (1, "#/0: is odd"),
            (100, "#/0: is odd (and 99 more, see errors)"),
            (200, "#/0: is odd (and 199 more; errors lists the first 100 of 200)"),
        ] {
            let problem = Problem::with_errors(Slug::InvalidEntity, errors(count));
            assert_eq!((problem.detail.as_ref(), problem.errors.len()), (said, count.min(ERRORS_MAX)));
        }
    }
}
