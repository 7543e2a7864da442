//! Accepting connections, and letting them go.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use super::body::Incoming;
use super::head_timer::HeadTimer;
use super::unstalled::Unstalled;
use super::{middleware, response};
use crate::config::Access;
use crate::gateway::Gateway;

/// What hyper reads of a request's head before it gives up; the middleware's own limits are below this.
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// Header fields that hyper reads before it gives up.
const HEADER_FIELDS_MAX: usize = 1024;

/// How long accepting pauses when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1 until `stop` is true, then lets requests under way end, for as long as the configuration allows.
///
/// `anonymous` is what callers without credentials may do on this listener.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, anonymous: Access, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(gateway.config.connections_max));
    let mut http = http1::Builder::new();
    http.header_read_timeout(gateway.config.receive_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADER_FIELDS_MAX);
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
                    connection(gateway, http, socket, anonymous, stop).await;
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
    gateway.feed.close();
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

async fn connection(
    gateway: Arc<Gateway>,
    mut http: http1::Builder,
    socket: TcpStream,
    anonymous: Access,
    mut stop: watch::Receiver<bool>,
) {
    let socket = Unstalled::new(socket, Arc::clone(&gateway.env), gateway.config.receive_timeout);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let gateway = Arc::clone(&gateway);
        // Boxed, as only then hyper gives the socket back after a time-out.
        Box::pin(async move {
            Ok::<_, Infallible>(middleware::handle(&gateway, anonymous, request.map(Incoming::Network)).await)
        })
    });
    let mut connection = http.timer(HeadTimer::default()).serve_connection(TokioIo::new(socket), service);
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner();
    if let Err(error) = ended {
        // Clients that hang up, or send what is no HTTP.
        debug!(%error, "a connection ended early");
        // A head that began and did not end in time; an idle connection is closed without a word.
        if error.is_timeout() && !parts.read_buf.is_empty() {
            let _ = socket.write_all(response::SLOW_HEAD.as_bytes()).await;
        }
    }
    let _ = socket.shutdown().await;
}
