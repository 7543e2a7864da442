//! Accepting connections, and letting them go.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use super::middleware;
use crate::gateway::Gateway;

/// What hyper reads of a request's head before it gives up; the middleware's own limits are below this.
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// Header fields that hyper reads before it gives up.
const HEADER_FIELDS_MAX: usize = 1024;

/// How long accepting pauses when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1 until `stop` is true, then lets requests under way end, for as long as the configuration allows.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(gateway.config.connections_max));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(gateway.config.receive_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADER_FIELDS_MAX)
        .pipeline_flush(true);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            accepted = accept(&places, &listener) => accepted,
        };
        match accepted {
            Ok((place, socket)) => {
                let (gateway, http, stop) = (Arc::clone(&gateway), http.clone(), stop.clone());
                let env = Arc::clone(&gateway.env);
                env.spawn(Box::pin(async move {
                    connection(gateway, http, socket, stop).await;
                    drop(place);
                }));
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                gateway.env.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    gateway.ready.close();
    drop(listener);
    let all = u32::try_from(gateway.config.connections_max).unwrap_or(u32::MAX);
    tokio::select! {
        _ = places.acquire_many(all) => debug!("every connection has ended"),
        () = gateway.env.sleep(gateway.config.drain_timeout) => warn!("requests were still under way at the deadline"),
    }
}

/// Waits until the gateway is to stop, or whoever could say so is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await.map(|stop| *stop);
}

async fn accept(
    places: &Arc<Semaphore>,
    listener: &TcpListener,
) -> std::io::Result<(tokio::sync::OwnedSemaphorePermit, TcpStream)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (socket, _) = listener.accept().await?;
    socket.set_nodelay(true)?;
    Ok((place, socket))
}

async fn connection(gateway: Arc<Gateway>, http: http1::Builder, socket: TcpStream, mut stop: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, Infallible>(middleware::handle(&gateway, request).await) }
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(socket), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients that hang up, or send what is no HTTP.
        debug!(%error, "a connection ended early");
    }
}
