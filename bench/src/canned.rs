//! The HTTP side of the limits of a write: every request is handed over, and answered with one canned response once what
//! took it says that it is done. Bare hyper on the runtime that `dos` has; nothing is parsed or checked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Whom to tell that a body is where it belongs. Dropped, it makes the answer a 500.
pub(crate) type Done = oneshot::Sender<()>;

/// Status, headers and body of every answer.
#[derive(Clone)]
pub(crate) struct Canned {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Canned {
    /// A whole HTTP/1.1 response, as the system gave it.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file)?;
        let split = text.windows(4).position(|window| window == b"\r\n\r\n").context("it has no end of headers")?;
        let mut lines = std::str::from_utf8(&text[..split])?.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("it has no status")?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').context("a header without a colon")?;
            let name = HeaderName::from_bytes(name.as_bytes())?;
            // hyper writes these by itself.
            if !matches!(name.as_str(), "date" | "content-length" | "connection") {
                headers.append(name, HeaderValue::from_str(value.trim())?);
            }
        }
        Ok(Self { status: status.parse()?, headers, body: Bytes::copy_from_slice(&text[split + 4..]) })
    }

    /// Prints `ready: http://ADDRESS:PORT` and serves until the process is ended.
    pub(crate) async fn serve<H>(self, listen: SocketAddr, hand_over: H) -> Result<()>
    where
        H: Fn(Bytes, Done) + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(listen).await?;
        println!("ready: http://{}", listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            spawn(connection(socket, self.clone(), hand_over.clone()));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a limit is no part of the simulated system")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

async fn connection<H: Fn(Bytes, Done) + Send + Sync>(socket: TcpStream, canned: Canned, hand_over: H) {
    let service = service_fn(|request| answer(request, &canned, &hand_over));
    // A client that hangs up is no concern of ours.
    let _ = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(
    request: Request<Incoming>,
    canned: &Canned,
    hand_over: &(impl Fn(Bytes, Done) + Sync),
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(canned.body.clone()));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let Ok(body) = request.into_body().collect().await else { return Ok(response) };
    let (done, wait) = oneshot::channel();
    hand_over(body.to_bytes(), done);
    if wait.await.is_ok() {
        *response.status_mut() = canned.status;
        response.headers_mut().clone_from(&canned.headers);
    }
    Ok(response)
}
