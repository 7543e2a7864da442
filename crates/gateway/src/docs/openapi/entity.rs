//! The paths of entity types.

use contract::EntityType;
use contract::entity::Kind;
use contract::list::{FILTER_CHARS_MAX, FILTER_VALUES_MAX};
use serde_json::{Map, Value, json};

use super::changes::{STREAM, STREAM_PARAMETERS, stream_content};
use super::shared::{
    AGE, COMPRESSED, DEPRECATION, PREFERENCE, REPLAYED, TOKEN, accepted, add_problems, header_references, headers_of,
    one_example, parameter_references, problem_response,
};
use super::{Names, OLD_PATHS, capital, reference};

/// What an event tells, in short.
const STREAM_DATA: &str = "{\"id\":\"019ab3c5-7e1b-7d03-8a55-0c1f2e3d4b5a\",\"name\":\"..\"}";

/// On responses that depend on who asks, and for what.
const VARY: (&str, &str) = ("Vary", "Vary");

/// Where operations are said to be: the type's own path, or the plural one of the 1.0.x specification.
struct Place<'a> {
    names: &'a Names,
    segment: &'a str,
    old: bool,
}

/// Adds the pair of paths of one type.
pub(super) fn paths(names: &Names, paths: &mut Map<String, Value>) {
    let place = Place { names, segment: &names.path, old: false };
    add(&place, paths);
}

/// Adds the plural paths of one type, where it has any.
pub(super) fn plural_paths(names: &Names, plural: Option<&str>, paths: &mut Map<String, Value>) {
    if let Some(segment) = plural {
        add(&Place { names, segment, old: true }, paths);
    }
}

/// Adds the parameters that filter lists of one type, by their components.
pub(super) fn filters(entity_type: &EntityType, names: &Names, parameters: &mut Value) {
    let fields = entity_type.fields().iter().filter(|field| field.filter);
    for (field, component) in fields.zip(&names.filters) {
        let types = if field.kind == Kind::List { &field.schema["items"]["type"] } else { &field.schema["type"] };
        let items = match types.as_str() {
            _ if field.kind == Kind::Flag => json!({"type": "string", "enum": ["0", "1", "true", "false", ""]}),
            Some("boolean") => json!({"type": "string", "enum": ["true", "false", ""]}),
            _ => json!({"type": "string", "maxLength": FILTER_CHARS_MAX, "pattern": "^[^\\u0000]*$"}),
        };
        let holds = if field.kind == Kind::List { "holds" } else { "is" };
        parameters[component] = json!({
            "name": field.name, "in": "query", "required": false, "style": "form", "explode": true,
            "description": format!("Only {} whose `{}` {holds} one of these; an empty value: where it is unset.", names.many, field.name),
            "schema": {"type": "array", "maxItems": FILTER_VALUES_MAX, "items": items},
        });
    }
}

fn add(place: &Place<'_>, paths: &mut Map<String, Value>) {
    let mut list = json!({"get": place.list(), "post": place.create()});
    let mut one = json!({"get": place.get(), "put": place.update(), "patch": place.patch(), "delete": place.delete()});
    if !place.old {
        list["head"] = head(&list["get"], "List");
        list["options"] = place.options("List", &[], &[], "GET, HEAD, POST, OPTIONS");
        one["head"] = head(&one["get"], "");
        one["options"] = place.options("", &["Id"], &["NotFound"], "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
    }
    paths.insert(format!("/{}", place.segment), list);
    paths.insert(format!("/{}/{{id}}", place.segment), one);
}

impl Place<'_> {
    fn list(&self) -> Value {
        let many = &self.names.many;
        let description = format!(
            "All {many} that fit the filters, a page at a time, oldest first unless `sort` says otherwise. A filter that is repeated finds \
            what shows one of the values, several filters what fits all of them; an empty value stands for unset. Follow `Link: rel=\"next\"` \
            to the next page: by `created` no row comes twice and none is missed, whatever is written meanwhile; by `updated` or `name` a row \
            that changes meanwhile may. An empty list is `[]`. `Accept: application/x-ndjson` gives all that fit as a stream, without \
            `limit` and `cursor`, a row a line, each as of its sending; one that cannot be finished is cut without its last chunk.{STREAM}"
        );
        let own = ["Limit", "Cursor", "Ids", "ModifiedAfter", "Sort"];
        let filters = self.names.filters.iter().map(String::as_str);
        let parameters: Vec<&str> =
            own.into_iter().chain(filters).chain(["IfNoneMatch"]).chain(STREAM_PARAMETERS).collect();
        let operation = self.operation("list", &parameters, &format!("List {many}"), &description);
        let headers = [("ETag", "ListETag"), ("Link", "Link"), ("X-Total-Count", "TotalCount"), COMPRESSED, AGE, VARY];
        let schema = json!({"type": "array", "maxItems": 200, "items": self.schema("")});
        let mut ok = self.response(&format!("A page of {many}, or all of them."), &headers, schema, "List");
        ok["content"]["application/x-ndjson"] =
            json!({"schema": {"type": "string", "description": "An object a line (NDJSON)."}});
        ok["content"]["text/event-stream"] = stream_content(STREAM_DATA);
        let unchanged =
            json!({"description": "The page that the client has is current.", "headers": self.headers(&headers)});
        self.finish(operation, [("200", ok), ("304", unchanged)], &READ_PROBLEMS)
    }

    fn get(&self) -> Value {
        let one = &self.names.one;
        let description = format!("The current view of the {one}, full: every field, `null` where unset.{STREAM}");
        let parameters = ["Id", "IfMatch", "IfUnmodifiedSince", "IfNoneMatch", "IfModifiedSince", "CacheControl"];
        let parameters = [&parameters[..], &STREAM_PARAMETERS].concat();
        let operation = self.operation("get", &parameters, &format!("Read {}", self.names.a), &description);
        let headers = [("ETag", "ETag"), ("Last-Modified", "LastModified"), AGE, VARY];
        let mut ok = self.response(&format!("The {one}."), &headers, self.schema(""), "");
        ok["content"]["text/event-stream"] = stream_content(STREAM_DATA);
        let unchanged = json!({"description": "What the client has is current.", "headers": self.headers(&headers)});
        let problems = [&READ_PROBLEMS[..], &["NotFound", "Gone", "ConditionFailed"]].concat();
        self.finish(operation, [("200", ok), ("304", unchanged)], &problems)
    }

    fn create(&self) -> Value {
        let a = &self.names.a;
        let description = format!(
            "Creates {a} under a new id. Sending the same twice makes two, but with the same `Idempotency-Key`; to choose the id, and \
            be refused where it exists, use `PUT` with `If-None-Match: *`; here that condition never holds (`412`).\n\n\
            **Many at once**: as `application/x-ndjson`, a row with an `id` is created there (also one that was deleted) or merged, one \
            without is created under a new id. Each row stands for itself, and one that is refused stops no other. Read the answer while \
            you send: once 8 MiB of it wait, no more rows are read. If the connection is cut, rows whose line you have are durable, and \
            of the others nothing is known: rows with ids can be sent again. Conditions and `Idempotency-Key` are refused here (`400`); \
            `Prefer: wait=N` is the wait of each row, `Consistency-Token` in the answer is of its start."
        );
        let parameters = ["IdempotencyKey", "Prefer", "Timestamps"];
        let mut operation = self.operation("create", &parameters, &format!("Create {a}"), &description);
        operation["requestBody"] = self.body("Create", "application/json");
        operation["requestBody"]["description"] = "At most 1 MiB; as `application/x-ndjson` 1 MiB a row.".into();
        operation["requestBody"]["content"]["application/x-ndjson"] = lines("A row a line (NDJSON).", BATCH_EXAMPLE);
        let responses = [
            ("200", self.batch()),
            ("201", self.created()),
            ("202", accepted(self.deprecation())),
            ("422", self.invalid()),
        ];
        self.finish(operation, responses, &WRITE_PROBLEMS)
    }

    fn batch(&self) -> Value {
        let description = "Of `application/x-ndjson`: a line for each row, in their order, written once the row is durable: `line` \
            (of the body, from 1), `status`, `id`, `etag`, `changed` (whether there is a new version), `location` (of what was \
            created, or of the operation where `status` is 202), and the `object` (not with `Prefer: return=minimal`) or the `problem`.";
        let mut headers = self.headers(&[PREFERENCE, COMPRESSED, VARY]);
        headers.sort_keys();
        json!({
            "description": description,
            "headers": headers,
            "content": {"application/x-ndjson": lines("An answer a line (NDJSON).", BATCH_ANSWER)},
        })
    }

    fn update(&self) -> Value {
        let one = &self.names.one;
        let description = format!(
            "**Fields sent are set, fields not sent keep their value, `null` clears** (RFC 7396, JSON Merge Patch). `PUT` does this here \
            because clients of the 1.0.x specification rely on it; `PATCH` is the standard form. Lists are replaced whole.\n\n\
            A write that changes nothing makes no new version: `200` with the same `ETag`. With `If-None-Match: *` the {one} is created \
            at this id (`201`), or nothing happens because it exists (`412`); one that was deleted (`410`) is created anew. What `GET` gave can be sent back: `id` must be the \
            path's, `created` and `updated` are ignored but for `timestamps=keep`, which stores them."
        );
        let summary = format!("Update {}, or create it at an id", self.names.a);
        let parameters = [
            "Id",
            "WriteIfMatch",
            "CreateCondition",
            "WriteIfUnmodifiedSince",
            "IdempotencyKey",
            "Prefer",
            "Timestamps",
        ];
        let mut operation = self.operation("update", &parameters, &summary, &description);
        operation["requestBody"] = self.body("Update", "application/json");
        let accepted = accepted(self.deprecation());
        let responses = [
            ("200", self.changed()),
            ("201", self.created()),
            ("202", accepted),
            ("204", self.minimal("The write was carried out, and `Prefer: return=minimal` was sent.", true)),
            ("422", self.invalid()),
        ];
        self.finish(operation, responses, &[&WRITE_PROBLEMS[..], &["WriteNotFound", "WriteGone"]].concat())
    }

    fn patch(&self) -> Value {
        let description = "JSON Merge Patch (RFC 7396): fields sent are set, fields not sent keep their value, `null` clears. Lists \
            are replaced whole. A write that changes nothing makes no new version: `200` with the same `ETag`.";
        let parameters = [
            "Id",
            "WriteIfMatch",
            "WriteIfNoneMatch",
            "WriteIfUnmodifiedSince",
            "IdempotencyKey",
            "Prefer",
            "Timestamps",
        ];
        let mut operation = self.operation("patch", &parameters, &format!("Change {}", self.names.a), description);
        operation["requestBody"] = self.body("Update", "application/merge-patch+json");
        let responses = [
            ("200", self.changed()),
            ("202", accepted(self.deprecation())),
            ("204", self.minimal("The write was carried out, and `Prefer: return=minimal` was sent.", true)),
            ("422", self.invalid()),
        ];
        let component = if self.old { "DeprecatedPatchMediaType" } else { "PatchMediaType" };
        let mut operation =
            self.finish(operation, responses, &[&WRITE_PROBLEMS[..], &["WriteNotFound", "WriteGone"]].concat());
        operation["responses"]["415"] = reference("responses", component);
        operation
    }

    fn delete(&self) -> Value {
        let one = &self.names.one;
        let description = format!(
            "Deletes the {one}. From then on it is `410`, for every request but a `PUT` with `If-None-Match: *`, which creates it anew. \
            What refers to it is left as it is."
        );
        let parameters =
            ["Id", "WriteIfMatch", "WriteIfNoneMatch", "WriteIfUnmodifiedSince", "IdempotencyKey", "Prefer"];
        let operation = self.operation("delete", &parameters, &format!("Delete {}", self.names.a), &description);
        let responses =
            [("202", accepted(self.deprecation())), ("204", self.minimal(&format!("The {one} was deleted."), false))];
        let others = WRITE_PROBLEMS
            .into_iter()
            .filter(|name| !["BadRequest", "NotAcceptable", "BodyTooLarge", "UnsupportedMediaType"].contains(name));
        let problems: Vec<_> = others.chain(["WriteNotFound", "WriteGone", "KeyReused"]).collect();
        self.finish(operation, responses, &problems)
    }

    fn changed(&self) -> Value {
        let headers = [("ETag", "ETag"), ("Content-Location", "ContentLocation"), PREFERENCE, REPLAYED, VARY];
        self.response(&format!("The {} as it is now.", self.names.one), &headers, self.schema(""), "Updated")
    }

    fn minimal(&self, description: &str, tagged: bool) -> Value {
        let tag: &[_] = if tagged { &[("ETag", "ETag")] } else { &[] };
        let headers = [tag, &[PREFERENCE, REPLAYED, VARY]].concat();
        json!({"description": description, "headers": self.headers(&headers)})
    }

    fn options(&self, suffix: &str, parameters: &[&str], problems: &[&str], allow: &str) -> Value {
        let mut headers = header_references(&[]);
        headers.insert(
            "Allow".to_owned(),
            json!({"description": "The methods.", "schema": {"type": "string"}, "example": allow}),
        );
        if allow.contains("PATCH") {
            headers.insert("Accept-Patch".to_owned(), reference("headers", "AcceptPatch"));
        }
        let mut operation =
            self.operation("options", parameters, "Which methods this path offers", "`Allow` lists the methods.");
        operation["operationId"] = format!("options{}{suffix}", self.names.component).into();
        self.finish(
            operation,
            [("204", json!({"description": "The methods are in `Allow`.", "headers": headers}))],
            problems,
        )
    }

    fn finish<const N: usize>(&self, mut operation: Value, own: [(&str, Value); N], problems: &[&str]) -> Value {
        let mut responses: Map<_, _> =
            own.into_iter().map(|(status, response)| (status.to_owned(), response)).collect();
        add_problems(&mut responses, problems, self.old);
        operation["responses"] = responses.into();
        operation
    }

    fn operation(&self, verb: &str, parameters: &[&str], summary: &str, description: &str) -> Value {
        let name = if self.old { capital(self.segment) } else { self.names.component.clone() };
        let tag = if self.old { OLD_PATHS } else { &self.names.path };
        let mut operation = json!({
            "operationId": format!("{verb}{name}"),
            "tags": [tag],
            "summary": summary,
            "description": description,
            "parameters": parameter_references(&[parameters, if verb == "options" { &[] } else { &["ConsistencyToken"] }].concat()),
        });
        if self.old {
            operation["description"] = format!("Deprecated: use `/{}`.\n\n{description}", self.names.path).into();
            operation["deprecated"] = true.into();
        }
        operation
    }

    fn created(&self) -> Value {
        let headers = [
            ("Location", "Location"),
            ("Content-Location", "ContentLocation"),
            ("ETag", "ETag"),
            PREFERENCE,
            REPLAYED,
            VARY,
        ];
        let mut response =
            self.response(&format!("The {} was created.", self.names.one), &headers, self.schema(""), "");
        let name = &self.names.component;
        let link =
            |verb: &str| json!({"operationId": format!("{verb}{name}"), "parameters": {"id": "$response.body#/id"}});
        response["links"] =
            json!({"get": link("get"), "patch": link("patch"), "delete": link("delete"), "update": link("update")});
        response
    }

    fn invalid(&self) -> Value {
        let component = format!("{}Invalid", self.names.component);
        let mut examples = Map::new();
        for name in [component.as_str(), "entity-too-large", "idempotency-key-reused"] {
            examples.insert(name.to_owned(), reference("examples", name));
        }
        let description = "The body is JSON, but breaks the schema (`errors` has every bad field), or the object would be \
            larger than 512 KiB; or the idempotency key came before with another request.";
        problem_response(description, examples, &[&[PREFERENCE, REPLAYED, TOKEN], self.deprecation()].concat())
    }

    fn body(&self, suffix: &str, media_type: &str) -> Value {
        let component = format!("{}{suffix}", self.names.component);
        json!({
            "required": true,
            "description": "At most 1 MiB.",
            "content": {media_type: {"schema": self.schema(suffix), "examples": one_example(&component)}},
        })
    }

    fn schema(&self, suffix: &str) -> Value {
        reference("schemas", &format!("{}{suffix}", self.names.component))
    }

    fn response(&self, description: &str, headers: &[(&str, &str)], schema: Value, example: &str) -> Value {
        let example = format!("{}{example}", self.names.component);
        json!({
            "description": description,
            "headers": self.headers(headers),
            "content": {"application/json": {"schema": schema, "examples": one_example(&example)}},
        })
    }

    fn headers(&self, headers: &[(&str, &str)]) -> Map<String, Value> {
        let mut references = header_references(&[headers, &[TOKEN]].concat());
        references.extend(header_references(self.deprecation()));
        references
    }

    fn deprecation(&self) -> &'static [(&'static str, &'static str)] {
        if self.old { &DEPRECATION } else { &[] }
    }
}

fn lines(description: &str, example: &str) -> Value {
    json!({"schema": {"type": "string", "description": description}, "example": example})
}

const BATCH_EXAMPLE: &str = "{\"id\":\"a-1\",\"name\":\"Advice\"}\n{\"name\":\"Library\"}\n";
const BATCH_ANSWER: &str = "{\"line\":1,\"status\":200,\"id\":\"a-1\",\"etag\":\"\\\"4-9f2b\\\"\",\"changed\":true}\n";

/// The problems of every read.
const READ_PROBLEMS: [&str; 5] = ["Forbidden", "NotAcceptable", "ReadFailed", "Unavailable", "NoAnswer"];

/// The problems of every write; what the body's schema breaks is said per type.
const WRITE_PROBLEMS: [&str; 8] = [
    "BadRequest",
    "Forbidden",
    "NotAcceptable",
    "PreconditionFailed",
    "BodyTooLarge",
    "UnsupportedMediaType",
    "WriteFailed",
    "WriteUnavailable",
];

/// The same as a GET, without a body.
fn head(get: &Value, suffix: &str) -> Value {
    let mut head = get.clone();
    let name = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let id = name(get, "operationId");
    let id = id.trim_start_matches("get").trim_start_matches("list");
    head["operationId"] = format!("head{id}{suffix}").into();
    head["summary"] = format!("{}: headers only", name(get, "summary")).into();
    head["description"] = "Answers as `GET` does, without the body.".into();
    let responses = head["responses"].as_object_mut();
    for (status, response) in responses.into_iter().flatten() {
        if status.starts_with('2') {
            if let Some(response) = response.as_object_mut() {
                response.shift_remove("content");
            }
        } else if let Some(reference) = response.get("$ref").and_then(Value::as_str) {
            let headers = headers_of(reference);
            *response = json!({"description": format!("As `GET`'s {status}, without the body."), "headers": headers});
        }
    }
    head
}
