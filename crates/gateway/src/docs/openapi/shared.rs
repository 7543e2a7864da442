//! Parameters, headers and responses that many operations share.

use contract::Slug;
use contract::list::IDS_MAX;
use serde_json::{Map, Value, json};

use super::example::{ETAG, ID, OPERATION};
use super::{ID_PATTERN, reference};
use crate::http::cursor::CHARS_MAX;

/// A list of entity tags [RFC 9110 8.8.3], or `*`; empty elements are passed over [5.6.1.2]. At most 64 tags.
const ENTITY_TAGS: &str = "^[ \\t]*(\\*|[ \\t,]*((W/)?\"[^\"\\x00-\\x20\\x7F]*\"([ \\t]*,[ \\t,]*(W/)?\"[^\"\\x00-\\x20\\x7F]*\"){0,63})?[ \\t,]*)[ \\t]*$";

/// Parameters. Optional ones have no example: interactive references would send it along unasked.
pub(super) fn parameters() -> Value {
    let header = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema});
    let query = |name: &str, schema: Value, description: &str| json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema});
    let text = || json!({"type": "string"});
    // Of reads, `If-None-Match` and dates that cannot be read are passed over: their schemas ask for nothing.
    let tags = || json!({"type": "string", "pattern": ENTITY_TAGS});
    let slugs: Vec<_> = Slug::ALL.iter().map(|slug| slug.as_str()).collect();
    json!({
        "Id": {
            "name": "id", "in": "path", "required": true, "example": ID,
            "description": "The entity's id. One outside the grammar is answered `404`, as there can be no such entity; a create there `400`.",
            "schema": {"type": "string", "pattern": ID_PATTERN},
        },
        "Operation": {
            "name": "id", "in": "path", "required": true, "example": OPERATION,
            "description": "The operation's id, from the `Location` of a `202`.",
            "schema": text(),
        },
        "Slug": {
            "name": "slug", "in": "path", "required": true, "example": "not-found",
            "description": "The last segment of a problem's `type`.",
            "schema": {"type": "string", "enum": slugs},
        },
        "Limit": query("limit", json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
            "The most rows of a page. It may hold fewer; only a missing `rel=\"next\"` ends the list."),
        "Cursor": query("cursor", json!({"type": "string", "minLength": 1, "maxLength": CHARS_MAX, "pattern": "^[A-Za-z0-9_-]+$"}),
            "Where the page begins: opaque, from the `Link` of the page before, and good for the same filters and order only."),
        "Ids": {
            "name": "ids", "in": "query", "required": false, "style": "form", "explode": false,
            "description": "Only these, in this order, whatever `sort` says; those that do not exist or do not fit are left out.",
            "schema": {"type": "array", "minItems": 1, "maxItems": IDS_MAX, "uniqueItems": true,
                "items": {"type": "string", "pattern": ID_PATTERN}},
        },
        "ModifiedAfter": query("modified_after", json!({"type": "string", "format": "date-time"}),
            "Only those whose `updated` is later."),
        "Sort": query("sort", json!({"type": "string", "default": "created",
                "enum": ["created", "-created", "updated", "-updated", "name", "-name"]}),
            "The order; with `-` the last ones first. `name` is the field that names an entity, without its case, and what has none is \
            last both ways. Equal ones go by id."),
        "Timestamps": query("timestamps", json!({"type": "string", "enum": ["keep"]}),
            "`keep` stores `created` and `updated` as sent, for imports and restores; else they are ignored."),
        "Prefer": header("Prefer", text(), "RFC 7240. `wait=N` waits up to N seconds (0 to 30, 5 unless said) for what becomes \
            of the write; `respond-async` does not wait and gives `202`; `return=minimal` leaves the object out of the answer. \
            `Preference-Applied` says what was heeded."),
        "Wait": header("Prefer", text(), "RFC 7240. `wait=N` waits up to N seconds (0 to 30) for the operation to end. \
            `Preference-Applied` says how long it was."),
        "CreateCondition": header("If-None-Match", tags(), "RFC 9110. `*` creates the entity at this id, and changes nothing where it \
            exists (`412`); with ETags in double quotes, separated by commas, nothing is changed while one of them is current."),
        "WriteIfMatch": header("If-Match", tags(), "RFC 9110. The ETag that you changed, in double quotes (several are separated \
            by commas), or `*`: nothing is changed unless it is current (`412`)."),
        "WriteIfNoneMatch": header("If-None-Match", tags(), "RFC 9110. ETags in double quotes, separated by commas, or `*`: nothing is \
            changed while one of them is current (`412`)."),
        "WriteIfUnmodifiedSince": header("If-Unmodified-Since", json!({"type": "string", "format": "http-date"}), "RFC 9110. An HTTP date: nothing is changed if the entity was \
            changed since (`412`). It counts only without `If-Match`, which is exact where this counts seconds."),
        "IdempotencyKey": header("Idempotency-Key", json!({"type": "string", "minLength": 16, "maxLength": 255}),
            "A key of your own for this write, such as a UUID. Sent again with the same request within 24 hours, nothing is done and the \
            first answer comes again, with `Idempotent-Replayed: true`; with another request it is `422`."),
        "IfMatch": header("If-Match", tags(), "RFC 9110. ETags in double quotes, separated by commas, or `*`: `412` unless one of them is \
            current."),
        "IfUnmodifiedSince": header("If-Unmodified-Since", text(), "RFC 9110. An HTTP date: `412` if the entity was changed since. \
            It counts only without `If-Match`."),
        "IfNoneMatch": header("If-None-Match", text(), "RFC 9110. ETags you have, in double quotes, separated by commas, or `*`: \
            `304` while one of them is current."),
        "IfModifiedSince": header("If-Modified-Since", text(), "RFC 9110. An HTTP date: `304` if nothing changed since. It counts \
            only without `If-None-Match`."),
        "CacheControl": header("Cache-Control", json!({"type": "string"}), "`no-cache` has the data store asked, whatever the \
            gateway holds. Slower, and never needed to read your own write."),
        "Since": query("since", json!({"type": "string", "minLength": 1, "maxLength": 7168, "pattern": "^[A-Za-z0-9_-]+$"}),
            "The position from which on changes are wanted: an event's `id`, a `rel=\"next\"`, or a `Consistency-Token`. On a path of \
            entities it is for streams of events only."),
        "Snapshot": query("snapshot", json!({"type": "boolean"}),
            "`true` begins the stream with the current view of everything. For streams of events only; who comes back with a position \
            goes on from there."),
        "LastEventId": header("Last-Event-ID", text(), "The `id` of the last event that was received, as browsers send it by \
            themselves. For streams of events only; passed over elsewhere."),
        "Type": query("type", text(), "Changes of this entity type only."),
        "ChangesLimit": query("limit", json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
            "The most rows of a page. It may hold fewer; an empty one says that nothing happened since."),
        "ConsistencyToken": header("Consistency-Token", json!({"type": "string", "minLength": 1, "maxLength": 7168, "pattern": "^[A-Za-z0-9_-]+$"}),
            "The token of an earlier answer, of any instance: this one answers once it has seen all that the token tells of, or \
            `503` with `Retry-After` where that takes too long."),
        "RequestId": header("X-Request-ID", text(), "Your label of this request; it may repeat. Without one the gateway \
            makes one."),
    })
}

/// Response headers.
pub(super) fn headers() -> Value {
    let header = |description: &str, example: &str| json!({"description": description, "schema": {"type": "string"}, "example": example});
    let seconds = json!({"type": "integer", "minimum": 0});
    json!({
        "ETag": header("The version's strong validator, opaque.", ETAG),
        "ListETag": header("A weak validator of the page, opaque: any change to its rows, their order, the number of all or the next page \
            changes it.", "W/\"3f0c9a54be1d7e20\""),
        "LastModified": header("When the version was made (RFC 9110). Sent once that second is over.", "Tue, 24 Nov 2026 09:30:00 GMT"),
        "Location": header("The entity's path.", &format!("/provider/{ID}")),
        "OperationLocation": header("Where to ask what became of the write.", &format!("/operation/{OPERATION}")),
        "ContentLocation": header("The path of the entity that the body shows.", &format!("/provider/{ID}")),
        "Link": header("`rel=\"next\"` is the next page (RFC 8288); not there on the last one.",
            "</provider?limit=50&cursor=MDE5YWIz>; rel=\"next\""),
        "NextChanges": header("`rel=\"next\"` is what changes from here on (RFC 8288); always there.",
            "</changes?limit=50&since=Ab0bT5Wq3cYzqO0eBAMMAAGLx2hJ>; rel=\"next\""),
        "SuccessorVersion": header("`rel=\"successor-version\"` is the path to use instead; on lists also `rel=\"next\"`.",
            "</provider>; rel=\"successor-version\""),
        "Deprecation": header("Since when this path is deprecated (RFC 9745).", "@1795478400"),
        "TotalCount": {"description": "How many fit, on all pages.", "schema": seconds, "example": 2857},
        "CacheControl": header("RFC 9111. `no-cache` on reads (`private, no-cache` where credentials were \
            sent): keep it, and ask whether it is current; else `no-store`.", "no-cache"),
        "Vary": header("Request headers that the response depends on.", "Accept, Authorization"),
        "Age": {"description": "While the event stream is away, at least how many seconds old the view is (RFC 9111).", "schema": seconds, "example": 12},
        "ContentEncoding": header("Where `Accept-Encoding` asked for it and the body is not short.", "gzip"),
        "RequestId": header("The request's label, as sent or as made by the gateway.", "019ab3c5-7e1b-7d03-8a55-0c1f2e3d4b5a"),
        "PreferenceApplied": header("The preferences that were heeded (RFC 7240).", "wait=10"),
        "RetryAfter": {"description": "Seconds to wait before asking again.", "schema": seconds, "example": 1},
        "AcceptPatch": header("What a `PATCH` takes (RFC 5789).", "application/merge-patch+json"),
        "IdempotentReplayed": header("`true`: this is the first answer to the idempotency key, given again.", "true"),
        "AcceptEncoding": header("Where the body was encoded: the encodings that are read, which is none (RFC 9110).", "identity"),
        "ConsistencyToken": header("Send it with your next request, to whichever instance: you read there what you wrote here. \
            Opaque; the latest one stands for all before it.", "Ab0bT5Wq3cYzqO0eBAMMAAGLx2hJ"),
        "ContentSecurityPolicy": header("What the page may load.", "default-src 'none'"),
        "ContentTypeOptions": header("`nosniff`: the media type is as it says.", "nosniff"),
    })
}

/// References to an operation's parameters, the one that every operation takes behind them.
pub(super) fn parameter_references(parameters: &[&str]) -> Value {
    parameters.iter().chain(&["RequestId"]).map(|name| reference("parameters", name)).collect()
}

/// References to headers, each by its name on the wire and its component.
pub(super) fn header_references(headers: &[(&str, &str)]) -> Map<String, Value> {
    let common = [("Cache-Control", "CacheControl"), ("X-Request-ID", "RequestId")];
    headers
        .iter()
        .chain(&common)
        .map(|(name, component)| ((*name).to_owned(), reference("headers", component)))
        .collect()
}

/// Headers of every answer of a deprecated path.
pub(super) const DEPRECATION: [(&str, &str); 2] = [("Deprecation", "Deprecation"), ("Link", "SuccessorVersion")];

/// The component that answers a status; the same for all operations, but for those that read and those that write.
const RESPONSES: &[(&str, &[Slug])] = &[
    ("InvalidRequest", &[Slug::InvalidRequest]),
    ("BadRequest", &[Slug::InvalidJson, Slug::InvalidRequest]),
    ("ConditionFailed", &[Slug::PreconditionFailed]),
    ("KeyReused", &[Slug::IdempotencyKeyReused]),
    ("PatchMediaType", &[Slug::UnsupportedMediaType]),
    ("Forbidden", &[Slug::Forbidden]),
    ("NotFound", &[Slug::NotFound]),
    ("WriteNotFound", &[Slug::NotFound]),
    ("Gone", &[Slug::Gone]),
    ("PositionExpired", &[Slug::PositionExpired]),
    ("WriteGone", &[Slug::Gone]),
    ("NotAcceptable", &[Slug::NotAcceptable]),
    ("RequestTimeout", &[Slug::RequestTimeout]),
    ("PreconditionFailed", &[Slug::PreconditionFailed]),
    ("BodyTooLarge", &[Slug::BodyTooLarge]),
    ("UriTooLong", &[Slug::UriTooLong]),
    ("UnsupportedMediaType", &[Slug::UnsupportedMediaType]),
    ("HeadersTooLarge", &[Slug::HeadersTooLarge]),
    ("Internal", &[Slug::Internal]),
    ("ReadFailed", &[Slug::CommandFailed, Slug::Internal]),
    ("WriteFailed", &[Slug::CommandFailed, Slug::Internal]),
    ("Unavailable", &[Slug::NotReady, Slug::Overloaded, Slug::UnreadableView, Slug::StreamUnreachable, Slug::Behind]),
    (
        "WriteUnavailable",
        &[
            Slug::Overloaded,
            Slug::StreamUnreachable,
            Slug::StorageFull,
            Slug::NotReady,
            Slug::OutcomeUnknown,
            Slug::UnreadableView,
            Slug::Behind,
        ],
    ),
    ("NoAnswer", &[Slug::NoAnswer]),
];

/// The problems' responses; with `deprecated` also those of deprecated paths.
pub(super) fn responses(deprecated: bool) -> Map<String, Value> {
    let current = RESPONSES.iter().map(|(name, slugs)| ((*name).to_owned(), response(name, slugs, &[])));
    let old = RESPONSES.iter().filter(|_| deprecated);
    let old = old.map(|(name, slugs)| (format!("{OLD}{name}"), response(name, slugs, &DEPRECATION)));
    current.chain(old).collect()
}

/// Begins the names of the responses of deprecated paths.
const OLD: &str = "Deprecated";

fn response(name: &str, slugs: &[Slug], more: &[(&str, &str)]) -> Value {
    let told: Vec<_> =
        slugs.iter().map(|slug| format!("**{}.** {}", slug.title(), slug.explanation().trim())).collect();
    let examples = slugs.iter().map(|slug| (slug.as_str(), reference("examples", slug.as_str())));
    let examples: Map<_, _> = examples.map(|(name, example)| (name.to_owned(), example)).collect();
    problem_response(&told.join("\n\n"), examples, &[extra_headers(name), more].concat())
}

/// A response that is a problem.
pub(super) fn problem_response(description: &str, examples: Map<String, Value>, headers: &[(&str, &str)]) -> Value {
    let headers = [headers, &[("Vary", "Vary")]].concat();
    json!({
        "description": description,
        "headers": header_references(&headers),
        "content": {"application/problem+json": {"schema": reference("schemas", "Problem"), "examples": examples}},
    })
}

/// The header that tells how old a view is.
pub(super) const AGE: (&str, &str) = ("Age", "Age");

/// The header of what may be compressed.
pub(super) const COMPRESSED: (&str, &str) = ("Content-Encoding", "ContentEncoding");

/// The header that tells which preferences a write heeded, whatever came of it.
pub(super) const PREFERENCE: (&str, &str) = ("Preference-Applied", "PreferenceApplied");

/// The header that tells of an answer that was given before.
pub(super) const REPLAYED: (&str, &str) = ("Idempotent-Replayed", "IdempotentReplayed");

/// The header that another instance wants to see.
pub(super) const TOKEN: (&str, &str) = ("Consistency-Token", "ConsistencyToken");

fn extra_headers(component: &str) -> &'static [(&'static str, &'static str)] {
    match component {
        "WriteUnavailable" => &[("Retry-After", "RetryAfter"), ("Location", "OperationLocation"), PREFERENCE, TOKEN],
        "Unavailable" => &[("Retry-After", "RetryAfter"), TOKEN],
        "NotFound" | "Gone" => &[AGE, TOKEN],
        "ConditionFailed" | "PositionExpired" => &[TOKEN],
        "WriteFailed" => &[PREFERENCE],
        "WriteNotFound" | "WriteGone" | "PreconditionFailed" => &[PREFERENCE, REPLAYED, TOKEN],
        "KeyReused" => &[PREFERENCE, TOKEN],
        "PatchMediaType" => &[("Accept-Encoding", "AcceptEncoding"), ("Accept-Patch", "AcceptPatch")],
        "UnsupportedMediaType" => &[("Accept-Encoding", "AcceptEncoding")],
        _ => &[],
    }
}

/// What any request may meet, before it is looked at more closely.
const ANY: [&str; 4] = ["InvalidRequest", "RequestTimeout", "UriTooLong", "HeadersTooLarge"];

/// Adds the problems of these components to an operation's responses, and those that any request may meet.
pub(super) fn add_problems(responses: &mut Map<String, Value>, components: &[&str], deprecated: bool) {
    for name in ANY.iter().chain(components) {
        let slugs = RESPONSES.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, slugs)| slugs);
        if let Some(slug) = slugs.first() {
            let component = if deprecated { format!("{OLD}{name}") } else { (*name).to_owned() };
            responses.insert(slug.status().to_string(), reference("responses", &component));
        }
    }
    responses.sort_keys();
}

/// The headers of the component that this refers to.
pub(super) fn headers_of(reference: &str) -> Value {
    let name = reference.rsplit('/').next().unwrap_or_default();
    let found = RESPONSES.iter().find(|(known, _)| *known == name);
    found.map_or(Value::Null, |(name, slugs)| response(name, slugs, &[])["headers"].take())
}

/// The `202` of a write.
pub(super) fn accepted(more: &[(&str, &str)]) -> Value {
    let own = [("Location", "OperationLocation"), ("Retry-After", "RetryAfter"), PREFERENCE, TOKEN, ("Vary", "Vary")];
    let headers = [&own, more].concat();
    json!({
        "description": "The command is stored and will be carried out; what became of it is not known yet, because the client asked \
            not to wait or the data store did not answer in time. Ask the operation at `Location`.",
        "headers": header_references(&headers),
        "content": {"application/json": {
            "schema": reference("schemas", "Operation"),
            "examples": {"pending": reference("examples", "pending")},
        }},
        "links": {"operation": {"operationId": "getOperation", "parameters": {"id": "$response.body#/id"}}},
    })
}

/// The example of a component as a map of one.
pub(super) fn one_example(component: &str) -> Value {
    let mut examples = Map::new();
    examples.insert(component.to_owned(), reference("examples", component));
    Value::Object(examples)
}
