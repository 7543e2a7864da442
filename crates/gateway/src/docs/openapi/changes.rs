//! The change feed: `/changes`, and what streams of events add to the paths of entities.

use serde_json::{Map, Value, json};

use super::example::ID;
use super::shared::{COMPRESSED, TOKEN, add_problems, header_references, parameter_references};
use super::{SYSTEM, reference};

/// Parameters of a stream of events.
pub(super) const STREAM_PARAMETERS: [&str; 3] = ["Since", "Snapshot", "LastEventId"];

/// What the description of a path with a stream says of it.
pub(super) const STREAM: &str = "\n\nWith `Accept: text/event-stream` the answer is a stream of what happens from now on: `event: view` with the \
    object, `event: deleted` with its id, `event: reset` where the position cannot be gone on from. Each event's `id` is a position; \
    who comes back with it (`Last-Event-ID` or `since`), on any gateway, gets the latest state of all that changed since.";

/// The content of a stream, with what it may hold.
pub(super) fn stream_content(data: &str) -> Value {
    let text = format!("event: view\nid: Ab0bT5Wq3cYzqO0eBAMMAAGLx2hJ\ndata: {data}\n\n");
    json!({"schema": {"type": "string"}, "examples": {"view": {"summary": "One event", "value": text}}})
}

/// Adds the path of changes of all types.
pub(super) fn paths(paths: &mut Map<String, Value>) {
    let row = json!({"type": "provider", "id": ID, "version": 3, "deleted": true, "object": null});
    let page = json!({
        "schema": {"type": "array", "maxItems": 200, "items": reference("schemas", "Change")},
        "examples": {"deleted": {"summary": "One row", "value": [row]}},
    });
    let headers = header_references(&[("Link", "NextChanges"), COMPRESSED, TOKEN, ("Vary", "Vary")]);
    let ok = json!({
        "description": "What changed since the position, at most `limit` rows: empty where nothing did. As a stream, each object has the \
            type of its entity in front, as `@type`.",
        "headers": headers,
        "content": {
            "application/json": page,
            "text/event-stream": stream_content(&format!("{{\"@type\":\"contact\",\"id\":\"{ID}\",\"name\":\"..\"}}")),
        },
    });
    let mut responses = Map::new();
    responses.insert("200".to_owned(), ok);
    add_problems(&mut responses, &["Forbidden", "NotAcceptable", "PositionExpired", "Internal", "Unavailable"], false);
    let description = format!(
        "The latest state of each entity that changed since a position, deletions included, each entity in its order; versions in \
         between may be left out. For those who poll: follow `Link: rel=\"next\"`, which is always there. Without `since` it begins now; \
         begin with that of a list's `Consistency-Token` to miss nothing. `snapshot` and `Last-Event-ID` are for streams only, `limit` is \
         for pages only.{STREAM}"
    );
    let parameters = ["Since", "Type", "ChangesLimit", "Snapshot", "LastEventId", "ConsistencyToken"];
    let get = json!({
        "operationId": "listChanges",
        "tags": [SYSTEM],
        "summary": "What changed",
        "description": description,
        "parameters": parameter_references(&parameters),
        "responses": responses,
    });
    paths.insert("/changes".to_owned(), json!({"get": get}));
}

/// One row of a page.
pub(super) fn schema() -> Value {
    json!({
        "title": "Change",
        "type": "object",
        "description": "The latest state of an entity.",
        "properties": {
            "type": {"type": "string", "description": "Its type."},
            "id": reference("schemas", "Id"),
            "version": {"type": "integer", "minimum": 1, "description": "Of the entity; it only grows."},
            "deleted": {"type": "boolean", "description": "Whether it was deleted with this version."},
            "object": {"type": ["object", "null"], "description": "The full object; null once it is deleted."},
        },
        "required": ["type", "id", "version", "deleted", "object"],
    })
}
