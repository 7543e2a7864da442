//! The paths that are no entities.

use contract::{Registry, Slug};
use serde_json::{Map, Value, json};

use super::super::documents::{API_VERSION, VERSIONS};
use super::shared::{COMPRESSED, PREFERENCE, add_problems, header_references, parameter_references};
use super::{SYSTEM, reference};

const JSON: &str = "application/json";

/// Adds the paths that are no entities.
pub(super) fn paths(registry: &Registry, paths: &mut Map<String, Value>) {
    paths.insert("/".to_owned(), resources());
    paths.insert("/versions".to_owned(), versions());
    paths.insert("/operation/{id}".to_owned(), operation());
    paths.insert("/health/alive".to_owned(), alive());
    paths.insert("/health/ready".to_owned(), ready());
    let about = "This document, as JSON. Its schemas are generated from the entity types that the gateway serves.";
    paths.insert("/openapi.json".to_owned(), document("getOpenapiJson", "OpenAPI", JSON, about));
    let about = "This document, as YAML.";
    paths.insert("/openapi.yaml".to_owned(), document("getOpenapiYaml", "OpenAPI", "application/yaml", about));
    let about = "The topics of the event stream and the messages on them (AsyncAPI 3.0), for services that listen to the directory.";
    paths.insert("/asyncapi.json".to_owned(), document("getAsyncapiJson", "AsyncAPI", JSON, about));
    paths.insert("/schema/{type}".to_owned(), schema(registry));
    paths.insert("/docs".to_owned(), docs());
    paths.insert("/problem/{slug}".to_owned(), problem());
}

/// A path with one GET.
fn get(parameters: &[&str], id: &str, summary: &str, description: &str, responses: Map<String, Value>) -> Value {
    json!({
        "get": {
            "operationId": id,
            "tags": [SYSTEM],
            "summary": summary,
            "description": description,
            "parameters": parameter_references(parameters),
            "responses": responses,
        },
    })
}

fn responses<const N: usize>(own: [(u16, Value); N], problems: &[&str]) -> Map<String, Value> {
    let mut responses: Map<_, _> = own.into_iter().map(|(status, response)| (status.to_string(), response)).collect();
    add_problems(&mut responses, problems, false);
    responses
}

fn response(description: &str, media_type: &str, content: Value) -> Value {
    json!({"description": description, "headers": header_references(&[COMPRESSED, ("Vary", "Vary")]), "content": {media_type: content}})
}

/// A response that no cache may keep.
fn fresh(description: &str, headers: &[(&str, &str)], content: Value) -> Value {
    let headers = [headers, &[("Vary", "Vary")]].concat();
    json!({"description": description, "headers": header_references(&headers), "content": {JSON: content}})
}

/// Headers of every page for people.
const PAGE: [(&str, &str); 3] = [
    ("Content-Security-Policy", "ContentSecurityPolicy"),
    ("X-Content-Type-Options", "ContentTypeOptions"),
    ("Vary", "Vary"),
];

fn page(headers: &[(&str, &str)]) -> Value {
    let headers = header_references(&[headers, &PAGE, &[COMPRESSED]].concat());
    json!({"description": "The page.", "headers": headers, "content": {"text/html": {"schema": {"type": "string"}}}})
}

/// What the client has is current.
fn unchanged(headers: &[(&str, &str)]) -> Value {
    json!({"description": "What the client has is current.", "headers": header_references(headers)})
}

fn example(value: Value) -> Value {
    json!({"example": {"value": value}})
}

fn resources() -> Value {
    let sample = json!([{
        "apiPath": "/provider",
        "description": "An organisation that runs services.",
        "apiVersionNumber": API_VERSION,
        "apiUrl": "http://127.0.0.1:8080/provider",
        "apiDocumentationUrl": "http://127.0.0.1:8080/docs#/provider",
    }]);
    let content = json!({
        "schema": {"type": "array", "items": reference("schemas", "Resource")},
        "examples": example(sample),
    });
    let ok = response("The resources.", JSON, content);
    let description = "One row per entity type: where it is and where it is described.";
    get(
        &[],
        "listResources",
        "What this gateway serves",
        description,
        responses([(200, ok)], &["NotAcceptable", "Internal"]),
    )
}

fn versions() -> Value {
    let schema = json!({"type": "array", "items": reference("schemas", "Version")});
    let content = json!({"schema": schema, "examples": example(json!(VERSIONS))});
    let ok = response("The versions.", JSON, content);
    let description = "Which versions of the API this gateway answers, and which of them to use.";
    get(&[], "listVersions", "Versions of the API", description, responses([(200, ok)], &["NotAcceptable", "Internal"]))
}

fn operation() -> Value {
    let examples: Map<_, _> = ["succeeded", "failed", "pending"]
        .map(|name| (name.to_owned(), reference("examples", name)))
        .into_iter()
        .collect();
    let content = json!({"schema": reference("schemas", "Operation"), "examples": examples});
    let headers = [("Retry-After", "RetryAfter"), PREFERENCE];
    let ok = fresh(
        "What became of the write; while it is pending, ask again after `Retry-After`, or with `Prefer: wait=N`.",
        &headers,
        content,
    );
    let description = "What became of a write that was answered `202`, or whose outcome was not known. Any gateway can answer, also \
        after a restart, for at least 24 hours. `404` is final: the data store never saw the write, and never will.";
    let problems = ["Forbidden", "NotFound", "NotAcceptable", "ReadFailed", "Unavailable", "NoAnswer"];
    get(
        &["Operation", "Wait"],
        "getOperation",
        "What became of a write",
        description,
        responses([(200, ok)], &problems),
    )
}

fn alive() -> Value {
    let content = json!({"schema": reference("schemas", "Alive"), "examples": example(json!({"status": "ok"}))});
    let description = "Answers while the process runs. For a supervisor that restarts what does not answer.";
    let ok = fresh("It runs.", &[], content);
    get(&[], "getHealthAlive", "Whether the gateway runs", description, responses([(200, ok)], &[]))
}

fn ready() -> Value {
    let content = json!({"schema": reference("schemas", "Ready"), "examples": example(json!({"status": "ok"}))});
    let ok = fresh("It is ready.", &[], content);
    let errors = json!({"errors": {"views": "catching up with the event stream"}});
    let content = json!({"schema": reference("schemas", "Notready"), "examples": example(errors)});
    let not_ready = fresh("It is not ready, and why.", &[("Retry-After", "RetryAfter")], content);
    let description = "Whether requests should be sent here: the views have caught up with the event stream, and it is not shutting \
        down. For load balancers.";
    let responses = responses([(200, ok), (503, not_ready)], &[]);
    get(&[], "getHealthReady", "Whether the gateway is ready", description, responses)
}

fn document(id: &str, format: &str, media_type: &str, description: &str) -> Value {
    let schema = if format == "OpenAPI" { "Document" } else { "Events" };
    let content = json!({"schema": reference("schemas", schema)});
    let headers = [("ETag", "ETag"), ("Vary", "Vary")];
    let mut ok = response(&format!("The {format} document."), media_type, content);
    ok["headers"] = header_references(&[&headers[..], &[COMPRESSED]].concat()).into();
    let responses = responses([(200, ok), (304, unchanged(&headers))], &["NotAcceptable", "Internal"]);
    get(&["IfNoneMatch"], id, &format!("The {format} document"), description, responses)
}

fn schema(registry: &Registry) -> Value {
    let content = json!({"schema": {"type": "object", "description": "JSON Schema 2020-12."}});
    let headers = [("ETag", "ETag"), ("Vary", "Vary")];
    let mut ok = response("The schema.", "application/schema+json", content.clone());
    ok["content"][JSON] = content;
    ok["headers"] = header_references(&[&headers[..], &[COMPRESSED]].concat()).into();
    let responses = responses([(200, ok), (304, unchanged(&headers))], &["NotFound", "NotAcceptable", "Internal"]);
    let description =
        "The JSON Schema of an entity type, as the gateway holds writes against it and events name it in `dataschema`.";
    let mut path = get(&["IfNoneMatch"], "getSchema", "An entity type's schema", description, responses);
    let names: Vec<_> = registry.iter().map(|entity_type| entity_type.name().as_str()).collect();
    let name = json!({
        "name": "type", "in": "path", "required": true, "description": "The type's name.",
        "schema": {"type": "string", "enum": names}, "example": names.first(),
    });
    path["get"]["parameters"].as_array_mut().into_iter().for_each(|parameters| parameters.insert(0, name.clone()));
    path
}

fn docs() -> Value {
    let etag = ("ETag", "ETag");
    let (ok, unchanged) = (page(&[etag]), unchanged(&[&[etag][..], &PAGE].concat()));
    let description =
        "This document to read and to try out in a browser. Everything that the page needs comes from the gateway.";
    let responses = responses([(200, ok), (304, unchanged)], &["Internal"]);
    get(&["IfNoneMatch"], "getDocs", "The interactive reference", description, responses)
}

fn problem() -> Value {
    let slugs: Vec<_> = Slug::ALL.iter().map(|slug| format!("`{}`", slug.as_str())).collect();
    let description =
        format!("What a problem's `type` means and what to do about it. The list is closed: {}.", slugs.join(", "));
    let responses = responses([(200, page(&[]))], &["NotFound", "NotAcceptable", "Internal"]);
    get(&["Slug"], "getProblem", "What a problem means", &description, responses)
}
