//! `GET /metrics` on an address of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use contract::Env;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The slowest that a scraper may send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one connection after the other: a scraper needs no more.
pub(super) async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    env: Arc<dyn Env>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let socket = tokio::select! {
            biased;
            _ = stop.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the metrics could not be accepted");
                    env.sleep(HEADER_TIMEOUT).await;
                    continue;
                }
            },
        };
        let service = service_fn(|request| {
            let found = request.uri().path() == "/metrics";
            let body = if found { metrics.render() } else { "GET /metrics\n".to_owned() };
            let mut response = Response::new(Full::new(Bytes::from(body)));
            if !found {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(socket), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the metrics ended early");
        }
    }
}
