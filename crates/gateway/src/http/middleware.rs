//! What every request passes, in this order: label, limits, route, method, access, readiness, consistency token, handler, label, count, log.
//!
//! One function and not a stack of layers: measured, four layers cost half the throughput of a read.

use std::sync::Arc;
use std::time::Duration;

use contract::{EntityId, Slug};
use http::header::{
    AGE, ALLOW, AUTHORIZATION, CACHE_CONTROL, HOST, HeaderName, HeaderValue, IF_MATCH, IF_UNMODIFIED_SINCE, LINK,
};
use http::request::Parts;
use http::{Method, Request, StatusCode, Version};
use tracing::{debug, warn};

use super::body::{ACCEPT_PATCH, Incoming, MERGE_PATCH};
use super::encoding::encode;
use super::handlers::Scope;
use super::negotiation::{EVENT_STREAM, JSON, NDJSON, choose, wants_gzip};
use super::outgoing::Outgoing;
use super::request::{header_error, sane_token};
use super::response::{self, Answered, Context, Failure, NO_CACHE, NO_STORE};
use super::router::{Route, route};
use super::{consistency, cors, handlers};
use crate::config::Access;
use crate::gateway::Gateway;
use crate::metrics::RouteLabel;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");

/// When the plural paths became deprecated: 2026-11-24T00:00:00Z, as RFC 9745 writes it.
const DEPRECATED_SINCE: HeaderValue = HeaderValue::from_static("@1795478400");

/// The longest path and query.
pub(crate) const URI_BYTES_MAX: usize = 8 * 1024;

/// Header fields of one request, and their bytes.
const HEADER_FIELDS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// One request as handlers see it.
pub(crate) struct Call<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    /// What callers without credentials may do here.
    pub(crate) anonymous: Access,
    pub(crate) parts: Parts,
    pub(crate) request_id: &'a str,
}

/// Answers one request.
pub(crate) async fn handle(gateway: &Arc<Gateway>, anonymous: Access, request: Request<Incoming>) -> Answered {
    let started = gateway.env.monotonic();
    let (parts, body) = request.into_parts();
    let label = parts.headers.get(X_REQUEST_ID).filter(|value| sane_token(value).is_some()).cloned();
    let label = label.or_else(|| response::value(&gateway.request_id()));
    let label = label.unwrap_or(HeaderValue::from_static("unlabelled"));
    let request_id = label.to_str().unwrap_or_default();

    let uri = parts.uri.clone();
    let read = matches!(parts.method, Method::GET | Method::HEAD);
    let identified = parts.headers.contains_key(AUTHORIZATION);
    let open = cors::is_open(&parts.method, &parts.headers);
    let write = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let route = route(uri.path(), &gateway.registry);
    let route_label = route.as_ref().map_or(RouteLabel::Unknown, Route::label);
    let deprecated = match &route {
        Some(Route::Collection(resource) | Route::Entity(resource, _)) if resource.deprecated => {
            Some(resource.entity_type.name())
        }
        _ => None,
    };
    let compresses = read && route.as_ref().is_some_and(Route::compresses);
    let gzip = wants_gzip(&parts.headers);
    let views = read && matches!(route, Some(Route::Collection(_) | Route::Entity(..)));
    let answered = answer(Call { gateway, anonymous, parts, request_id }, route.as_ref(), body).await;
    let mut response = answered.unwrap_or_else(|failure| {
        let failure = if write { failure.nothing_produced() } else { failure };
        let context = Context { public_url: &gateway.config.public_url, path: uri.path(), request_id, read };
        response::problem(failure, context)
    });

    if compresses || matches!(response.body(), Outgoing::Stream(_)) {
        encode(gzip, &gateway.encoders, &mut response);
    }
    if views && let Some(away) = gateway.dispatch.stream.away_for() {
        age(&mut response, away);
    }
    if let Some(name) = deprecated {
        response.headers_mut().insert(DEPRECATION, DEPRECATED_SINCE);
        let id = uri.path().split('/').nth(2).filter(|id| EntityId::is_valid(id));
        let successor = id.map_or_else(String::new, |id| format!("/{id}"));
        let link = format!("<{}/{name}{successor}>; rel=\"successor-version\"", gateway.config.public_url);
        response::set(&mut response, LINK, link);
    }
    if identified && response.headers().get(CACHE_CONTROL) == Some(&NO_CACHE) {
        // What one caller was shown is not for a shared cache [RFC 9111 3.5].
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    if open {
        cors::open(&mut response);
    }
    let seconds = gateway.env.monotonic().saturating_sub(started).as_secs_f64();
    let status = response.status().as_u16();
    gateway.metrics.record(route_label, write, status, seconds);
    // A probe asks again and again, and why it is not ready was logged when it came to be so.
    if status >= 500 && !matches!(route, Some(Route::Ready)) {
        warn!(status, path = uri.path(), request_id, seconds, "request failed");
    } else {
        debug!(status, path = uri.path(), request_id, seconds, "request");
    }
    response.headers_mut().insert(X_REQUEST_ID, label);
    response
}

async fn answer(call: Call<'_>, route: Option<&Route<'_>>, body: Incoming) -> Result<Answered, Failure> {
    check_limits(&call.parts)?;
    check_host(&call.parts)?;
    if cors::is_preflight(&call.parts) {
        return Ok(cors::preflight());
    }
    refuse_unoffered(&call.parts, route)?;
    let Some(route) = route else {
        if call.parts.method == Method::OPTIONS && call.parts.uri.path() == "*" {
            return Ok(options("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        return Err(Failure::new(Slug::NotFound, "there is nothing at this path; GET / lists the resources"));
    };
    let method = call.parts.method.clone();
    if method == Method::OPTIONS {
        if let Route::Entity(_, id) = route {
            handlers::entity_id(id)?;
        }
        let mut response = options(route.allow());
        if route.offers(&Method::PATCH) {
            response.headers_mut().insert(ACCEPT_PATCH, MERGE_PATCH);
        }
        return Ok(response);
    }
    if !route.offers(&method) {
        let detail = format!("{method} is not offered here; offered are {}", route.allow());
        return Err(Failure::new(Slug::MethodNotAllowed, detail).with(ALLOW, route.allow()));
    }
    if !route.needs_views() {
        return offer(&call, route, &method, body).await;
    }
    check_access(&call, &method)?;
    if !call.gateway.ready.is_open() {
        return Err(Failure::new(Slug::NotReady, "the gateway is reading its views; /health/ready says how far it is"));
    }
    consistency::wait(call.gateway, &call.parts.headers).await?;
    let mut answered = offer(&call, route, &method, body).await;
    consistency::stamp(call.gateway, &mut answered);
    answered
}

/// Hands a request that was let in to what answers it.
async fn offer(call: &Call<'_>, route: &Route<'_>, method: &Method, body: Incoming) -> Result<Answered, Failure> {
    match (route, method) {
        (Route::Entity(resource, id), &Method::PUT) => handlers::put(call, *resource, id, body).await,
        (Route::Entity(resource, id), &Method::PATCH) => handlers::patch(call, *resource, id, body).await,
        (Route::Entity(resource, id), &Method::DELETE) => handlers::delete(call, *resource, id).await,
        (Route::Entity(resource, id), _) => match choose(&call.parts.headers, &[JSON, EVENT_STREAM])? {
            EVENT_STREAM => handlers::follow(call, Scope::Entity(*resource, id)).await,
            _ => handlers::get(call, *resource, id).await,
        },
        (Route::Collection(resource), &Method::POST) => handlers::post(call, *resource, body).await,
        (Route::Collection(resource), _) => match choose(&call.parts.headers, &[JSON, NDJSON, EVENT_STREAM])? {
            EVENT_STREAM => handlers::follow(call, Scope::Type(*resource)).await,
            chosen => handlers::list(call, *resource, chosen == JSON).await,
        },
        (Route::Changes, _) => match choose(&call.parts.headers, &[JSON, EVENT_STREAM])? {
            EVENT_STREAM => handlers::follow(call, Scope::All).await,
            _ => handlers::poll(call).await,
        },
        (Route::Operation(id), _) => handlers::operation(call, id).await,
        (Route::Root, _) => handlers::root(call),
        (Route::Versions, _) => handlers::versions(call),
        (Route::Alive, _) => Ok(handlers::alive()),
        (Route::Ready, _) => Ok(handlers::ready(call)),
        (Route::OpenApiJson, _) => handlers::openapi_json(call),
        (Route::OpenApiYaml, _) => handlers::openapi_yaml(call),
        (Route::AsyncApi, _) => handlers::asyncapi(call),
        (Route::Docs(path), _) => handlers::docs(call, path),
        (Route::Schema(entity_type), _) => handlers::schema(call, entity_type),
        (Route::Problem(slug), _) => handlers::problem_page(call, slug),
    }
}

/// With the stream away the view is at least so old [RFC 9111 5.1].
fn age(response: &mut Answered, away: Duration) {
    if matches!(response.status().as_u16(), 200 | 304 | 404 | 410) {
        response.headers_mut().insert(AGE, HeaderValue::from(away.as_secs()));
    }
}

fn options(allow: &'static str) -> Answered {
    let mut response = Answered::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

fn check_limits(parts: &Parts) -> Result<(), Failure> {
    let uri_bytes = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    if uri_bytes > URI_BYTES_MAX {
        return Err(Failure::new(
            Slug::UriTooLong,
            format!("the URI has {uri_bytes} bytes; {URI_BYTES_MAX} are allowed"),
        ));
    }
    let fields = parts.headers.len();
    if fields > HEADER_FIELDS_MAX {
        let detail = format!("the request has {fields} header fields; {HEADER_FIELDS_MAX} are allowed");
        return Err(Failure::new(Slug::HeadersTooLarge, detail));
    }
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        let detail = format!("the header fields have {bytes} bytes; {HEADER_BYTES_MAX} are allowed");
        return Err(Failure::new(Slug::HeadersTooLarge, detail));
    }
    Ok(())
}

/// HTTP/1.1 wants one `Host` [RFC 9112 3.2], though no URL is built from it.
fn check_host(parts: &Parts) -> Result<(), Failure> {
    let hosts = parts.headers.get_all(HOST).iter().count();
    if hosts == 1 || (hosts == 0 && parts.version < Version::HTTP_11) {
        return Ok(());
    }
    Err(header_error(&HOST, format!("must be there once, not {hosts} times")))
}

/// What is not offered yet is refused: to pass over it would be to promise what is not kept.
fn refuse_unoffered(parts: &Parts, route: Option<&Route<'_>>) -> Result<(), Failure> {
    let conditional = match route {
        Some(Route::Entity(..)) => true,
        Some(Route::Collection(_)) => parts.method == Method::POST,
        _ => false,
    };
    for name in [IF_MATCH, IF_UNMODIFIED_SINCE] {
        if parts.headers.contains_key(&name) && !conditional {
            return Err(header_error(&name, "is not offered yet; nothing was done"));
        }
    }
    Ok(())
}

fn check_access(call: &Call<'_>, method: &Method) -> Result<(), Failure> {
    let needed = if matches!(*method, Method::GET | Method::HEAD) { Access::Read } else { Access::Write };
    if call.anonymous >= needed {
        return Ok(());
    }
    let detail = "anonymous callers may only read here; the operator can allow more with --anonymous write";
    Err(Failure::new(Slug::Forbidden, detail))
}
