//! What is not about entities: the index, versions, health, documents.

use bytes::Bytes;
use contract::{EntityType, Slug};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use super::super::conditions::is_known;
use super::super::middleware::Call;
use super::super::negotiation::choose;
use super::super::request::{check_accept, query};
use super::super::response::{self, Answered, Failure, NO_CACHE};
use crate::docs::{API_VERSION, CSP, Document, PROBLEM_CSP, VERSIONS, asset};

/// What a schema is served as.
const SCHEMA_TYPES: [&str; 2] = ["application/schema+json", "application/json"];

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// `GET /`: the resources.
pub(crate) fn root(call: &Call<'_>) -> Result<Answered, Failure> {
    plain(call, "application/json")?;
    let public_url = &call.gateway.config.public_url;
    let resources = call.gateway.registry.iter().map(|entity_type| {
        let path = format!("/{}", entity_type.name());
        json!({
            "apiPath": path,
            "description": entity_type.description(),
            "apiVersionNumber": API_VERSION,
            "apiUrl": format!("{public_url}{path}"),
            "apiDocumentationUrl": format!("{public_url}/docs#/{}", entity_type.name()),
        })
    });
    Ok(response::read(response::json(&resources.collect::<Vec<_>>())))
}

/// `GET /versions`: the versions of the API.
pub(crate) fn versions(call: &Call<'_>) -> Result<Answered, Failure> {
    plain(call, "application/json")?;
    Ok(response::read(response::json(&VERSIONS)))
}

/// `GET /health/alive`: the process answers.
pub(crate) fn alive() -> Answered {
    response::unstored(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#))
}

/// `GET /health/ready`: requests about entities are answered; else why not.
pub(crate) fn ready(call: &Call<'_>) -> Answered {
    let errors = call.gateway.ready.errors();
    if errors.is_empty() {
        return alive();
    }
    let mut response =
        response::unstored(StatusCode::SERVICE_UNAVAILABLE, response::json(&json!({ "errors": errors })));
    response::set(&mut response, http::header::RETRY_AFTER, "1");
    response
}

/// `GET /openapi.json`.
pub(crate) fn openapi_json(call: &Call<'_>) -> Result<Answered, Failure> {
    document(call, &call.gateway.documents().openapi_json, "application/json")
}

/// `GET /openapi.yaml`.
pub(crate) fn openapi_yaml(call: &Call<'_>) -> Result<Answered, Failure> {
    document(call, &call.gateway.documents().openapi_yaml, "application/yaml")
}

/// `GET /asyncapi.json`.
pub(crate) fn asyncapi(call: &Call<'_>) -> Result<Answered, Failure> {
    document(call, &call.gateway.documents().asyncapi_json, "application/json")
}

fn document(call: &Call<'_>, document: &Document, content_type: &'static str) -> Result<Answered, Failure> {
    plain(call, content_type)?;
    let known = is_known(&call.parts.headers, &document.etag);
    let mut response = response::read(if known { Bytes::new() } else { document.bytes.clone() });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(CONTENT_TYPE);
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.extensions_mut().insert(document.gzip.clone());
    }
    response::set(&mut response, ETAG, &document.etag);
    Ok(response)
}

/// `GET /schema/{type}`: an entity type's JSON Schema, which the events' `dataschema` names.
pub(crate) fn schema(call: &Call<'_>, entity_type: &EntityType) -> Result<Answered, Failure> {
    document(call, &Document::new(entity_type.document().to_string()), choose(&call.parts.headers, &SCHEMA_TYPES)?)
}

/// `GET /docs` and its assets: the interactive reference.
pub(crate) fn docs(call: &Call<'_>, path: &str) -> Result<Answered, Failure> {
    let Some(asset) = asset(path) else {
        return Err(Failure::new(Slug::NotFound, "the API reference has no such file; it begins at /docs"));
    };
    let known = is_known(&call.parts.headers, &asset.etag);
    let mut response = Response::new(if known { Bytes::new() } else { asset.bytes }.into());
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
        response.extensions_mut().insert(asset.gzip.clone());
    }
    page(&mut response, CSP);
    response::set(&mut response, ETAG, &asset.etag);
    Ok(response)
}

/// `GET /problem/{slug}`: what a problem's `type` means.
pub(crate) fn problem_page(call: &Call<'_>, slug: &str) -> Result<Answered, Failure> {
    plain(call, "text/html")?;
    let Some(html) = crate::docs::problem_page(slug) else {
        return Err(Failure::new(Slug::NotFound, "there is no problem of this name"));
    };
    let mut response = Response::new(Bytes::from(html).into());
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    page(&mut response, PROBLEM_CSP);
    Ok(response)
}

fn plain(call: &Call<'_>, offered: &'static str) -> Result<(), Failure> {
    check_accept(&call.parts.headers, offered)?;
    query(call.parts.uri.query(), &[]).map(|_| ())
}

fn page(response: &mut Answered, policy: &'static str) {
    const NOSNIFF: (HeaderName, HeaderValue) =
        (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(NOSNIFF.0, NOSNIFF.1);
}
