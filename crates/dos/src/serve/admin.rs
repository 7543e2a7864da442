//! `GET /metrics`, `/health/alive` and `/health/ready` on an address of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use contract::Env;
use gateway::Gateway;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::store::StoreHealth;

/// The slowest that a scraper may send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at once: scrapers and probes are few.
const CONNECTIONS_MAX: usize = 16;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What is told here.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) metrics: Option<PrometheusHandle>,
    pub(super) gateway: Option<Arc<Gateway>>,
    pub(super) store: Option<Arc<StoreHealth>>,
}

/// Serves until it is time to stop.
pub(super) async fn serve(listener: TcpListener, told: Told, env: Arc<dyn Env>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>((place, listener.accept().await?.0))
        };
        let accepted = tokio::select! {
            biased;
            _ = stop.changed() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((place, socket)) => {
                let told = told.clone();
                env.spawn(Box::pin(async move {
                    connection(socket, told).await;
                    drop(place);
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin address could not be accepted");
                env.sleep(HEADER_TIMEOUT).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, told: Told) {
    let service = service_fn(move |request| {
        let told = told.clone();
        async move { Ok::<_, Infallible>(told.answer(request.uri().path()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the admin address ended early");
    }
}

impl Told {
    async fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let ok = || serde_json::json!({"status": "ok"}).to_string();
        let (status, content_type, body) = match (path, &self.metrics) {
            ("/metrics", Some(metrics)) => (StatusCode::OK, TEXT, metrics.render()),
            ("/health/alive", _) => (StatusCode::OK, JSON, ok()),
            ("/health/ready", _) => match self.errors().await {
                errors if errors.is_empty() => (StatusCode::OK, JSON, ok()),
                errors => {
                    let body = serde_json::json!({"errors": errors}).to_string();
                    (StatusCode::SERVICE_UNAVAILABLE, JSON, body)
                }
            },
            _ => (StatusCode::NOT_FOUND, TEXT, "GET /metrics, /health/alive or /health/ready\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
        response
    }

    /// What is missing, by part; empty when all parts are ready.
    async fn errors(&self) -> BTreeMap<&'static str, String> {
        let mut errors = match &self.store {
            Some(store) => store.errors().await,
            None => BTreeMap::new(),
        };
        errors.extend(self.gateway.iter().flat_map(|gateway| gateway.missing()));
        errors
    }
}
