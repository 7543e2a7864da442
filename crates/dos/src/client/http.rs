//! A small HTTP client: one gateway, bounded waits, and retries that never repeat what must not be repeated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use contract::Env;
use reqwest::header::{HeaderMap, HeaderName, LINK, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};

use super::link;
use super::problem::Problem;
use super::retry::{RETRY_AFTER_MAX, TRIES_MAX, Trouble, Verdict, WAIT_FIRST, WAIT_MAX, judge, root_cause};
use super::text::{cut, printable};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read: a page of 200 objects of 512 KiB, and some.
const BODY_BYTES_MAX: usize = 128 << 20;

const NOT_THE_API: &str = "is it the API of a Directory of Services? Name its address with --url";

/// Requests to one gateway.
#[derive(Clone)]
pub struct Client {
    inner: reqwest::Client,
    base: Url,
    env: Arc<dyn Env>,
}

/// A request that can be sent more than once.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, &'static str)>,
    pub(crate) body: Bytes,
    /// Whether executing it twice is the same as executing it once.
    pub(crate) repeatable: bool,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// An earlier try of this request may have been executed as well.
    pub(crate) doubted: bool,
}

/// Why there is no answer to act on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The gateway is away or refuses everything: no use in going on.
    Away(String),
    /// This request may have been executed or not.
    Unknown(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Away(reason) | Self::Unknown(reason)) = self;
        f.write_str(reason)
    }
}

impl std::error::Error for Failure {}

impl Client {
    /// A client for the gateway at `url`: `http` or `https`, a path before the API's own is kept.
    ///
    /// # Errors
    /// Where `url` is no such address, or an `https` one and the system has no root certificates.
    pub fn new(url: &str, env: Arc<dyn Env>) -> anyhow::Result<Self> {
        let base = base_url(url)?;
        // Somebody else in this process may have installed a provider already; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("dos/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // Following one would leave the gateway, or turn a write into a read.
            .redirect(reqwest::redirect::Policy::none());
        if base.scheme() == "http" {
            // Looking for root certificates fails where there are none, and plain HTTP needs none.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let inner = builder.build().map_err(|error| {
            let hint = "install the system's root certificates, or name a file of them in SSL_CERT_FILE";
            anyhow::anyhow!("cannot set up HTTP for {}: {}; {hint}", shown(&base), root_cause(&error))
        })?;
        Ok(Self { inner, base, env })
    }

    /// Time that has passed since some start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.env.monotonic()
    }

    /// Waits.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.env.sleep(duration).await;
    }

    /// The address of a path of the API; the path begins with `/`.
    pub(crate) fn url(&self, path_and_query: &str) -> anyhow::Result<Url> {
        let text = format!("{}{path_and_query}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).with_context(|| format!("{path_and_query} makes no address"))
    }

    /// The address that a header names, if it is of this very gateway: nothing is ever sent elsewhere.
    pub(crate) fn same_origin(&self, from: &Url, reference: &str) -> Option<Url> {
        let url = from.join(reference).ok()?;
        (url.origin() == self.base.origin()).then_some(url)
    }

    /// The names of the entity types that the gateway lists at `/`.
    pub(crate) async fn entity_types(&self) -> anyhow::Result<Vec<contract::TypeName>> {
        let answer = self.send(&Request::get(self.url("/")?)).await?;
        if answer.status != StatusCode::OK {
            bail!("GET {}/ was answered with: {}; {NOT_THE_API}", self.shown(), answer.reason());
        }
        let value: serde_json::Value = serde_json::from_slice(&answer.body)
            .map_err(|_| anyhow::anyhow!("{}/ does not list resources; {NOT_THE_API}", self.shown()))?;
        let types = types_in(&value);
        if types.is_empty() {
            bail!("{}/ lists no resource with an apiPath; {NOT_THE_API}", self.shown());
        }
        Ok(types)
    }

    /// The gateway's address without credentials.
    pub(crate) fn shown(&self) -> String {
        shown(&self.base)
    }

    /// Sends a request until there is an answer to act on: at most eight times, only what is safe to repeat.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        let mut doubted = false;
        let mut wait = WAIT_FIRST;
        for attempt in 1..=TRIES_MAX {
            let outcome = self.send_once(request).await;
            let (after, reason, away) = match judge(&outcome, request.repeatable) {
                Verdict::Final => {
                    return outcome
                        .map(|answer| Answer { doubted, ..answer })
                        .map_err(|trouble| Failure::Unknown(self.explain(&trouble)));
                }
                Verdict::Again { after, doubt, away } => {
                    doubted |= doubt;
                    let reason = outcome.map_or_else(|trouble| self.explain(&trouble), |answer| answer.reason());
                    (after, reason, away)
                }
            };
            if attempt == TRIES_MAX {
                let reason = format!("{reason} (tried {TRIES_MAX} times)");
                return Err(if away { Failure::Away(reason) } else { Failure::Unknown(reason) });
            }
            self.sleep(after.map_or(wait, |after| after.clamp(wait, RETRY_AFTER_MAX))).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
        Err(Failure::Away("no try was made".to_owned()))
    }

    /// Whether anything answers at all; unlike [`Client::send`] this does not wait for a server to come up.
    pub(crate) async fn reach(&self) -> anyhow::Result<()> {
        match self.send_once(&Request::get(self.url("/")?)).await {
            Ok(_) => Ok(()),
            Err(trouble) => bail!(self.explain(&trouble)),
        }
    }

    async fn send_once(&self, request: &Request) -> Result<Answer, Trouble> {
        let mut builder = self.inner.request(request.method.clone(), request.url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(name, *value);
        }
        if !request.body.is_empty() {
            builder = builder.body(request.body.clone());
        }
        let mut response = builder.send().await.map_err(|error| Trouble::from(&error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Trouble::from(&error))? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(Trouble { sent: true, reason: format!("the answer is over {} MiB", BODY_BYTES_MAX >> 20) });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze(), doubted: false })
    }

    fn explain(&self, trouble: &Trouble) -> String {
        let (url, reason) = (self.shown(), &trouble.reason);
        if trouble.sent {
            format!("no answer from {url}: {reason}")
        } else {
            format!(
                "cannot reach {url}: {reason}: is `dos serve` running there? Start it, or name its address with --url"
            )
        }
    }
}

impl Request {
    /// A read.
    pub(crate) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: Bytes::new(), repeatable: true }
    }
}

impl Answer {
    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The target of `Link: rel="next"`.
    pub(crate) fn next_link(&self) -> Option<&str> {
        link::next(self.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()))
    }

    /// Why the request was not done, in one line.
    pub(crate) fn reason(&self) -> String {
        let mut fallback = format!("HTTP {}", self.status);
        if self.status.is_redirection()
            && let Some(location) = self.header(&reqwest::header::LOCATION)
        {
            fallback =
                format!("{fallback}: the gateway is at {}: name that with --url", cut(&printable(location), 200));
        }
        Problem::parse(&self.body).reason(&fallback)
    }

    /// How long the gateway asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.header(&RETRY_AFTER)?.trim().parse().ok().map(Duration::from_secs)
    }
}

fn base_url(text: &str) -> anyhow::Result<Url> {
    let example = "give an address like http://127.0.0.1:8080";
    let url = Url::parse(text).map_err(|error| anyhow::anyhow!("--url {text}: {error}; {example}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        bail!("--url {}: neither http nor https; {example}", shown(&url));
    }
    if url.query().is_some() || url.fragment().is_some() {
        bail!("--url {}: has a query or a fragment; {example}", shown(&url));
    }
    Ok(url)
}

/// A proxy from the environment is not meant for this machine itself.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for addresses that cannot have credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// Every `apiPath` in the list of resources, as a type's name. What is no type's name is left out.
fn types_in(value: &serde_json::Value) -> Vec<contract::TypeName> {
    let entries: Vec<&serde_json::Value> = match value {
        serde_json::Value::Array(entries) => entries.iter().collect(),
        serde_json::Value::Object(object) => {
            object.values().flat_map(|v| v.as_array().into_iter().flatten().chain([v])).collect()
        }
        _ => Vec::new(),
    };
    let paths = entries.iter().filter_map(|entry| entry.get("apiPath")?.as_str());
    let mut types: Vec<_> = paths.filter_map(|path| contract::TypeName::parse(path.trim_matches('/'))).collect();
    let mut seen = std::collections::HashSet::new();
    types.retain(|name| seen.insert(name.clone()));
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_shown_without_credentials() {
        for bad in ["", "127.0.0.1:8080", "ftp://h/", "http://h/?a", "http://h/#a"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
        assert_eq!(shown(&base_url("https://me:secret@h:8443/dos/").unwrap()), "https://h:8443/dos");
        for (url, expected) in
            [("http://localhost:1", true), ("http://[::1]:1", true), ("http://127.9.9.9", true), ("http://h", false)]
        {
            assert_eq!(is_loopback(&base_url(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn resources_are_found_in_arrays_and_objects() {
        let array = serde_json::json!([{"apiPath": "/provider"}, {"apiPath": "/../x"}, 7, {"apiPath": "/event"}, {"apiPath": "/provider"}]);
        let object = serde_json::json!({"resources": [{"apiPath": "provider"}], "event": {"apiPath": "/event"}});
        for value in [array, object] {
            let names: Vec<_> = types_in(&value).iter().map(ToString::to_string).collect();
            assert_eq!(names, ["provider", "event"]);
        }
        assert!(types_in(&serde_json::json!("x")).is_empty());
    }
}
