//! The limit of a write: HTTP in, one durable append, a canned answer out.
//!
//! Bare hyper on the runtime that `dos` has; one thread appends the bodies of all requests that wait and syncs the file
//! once for all of them. Nothing is parsed, checked, decided or kept.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, bail};
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

/// The most bodies of one group.
const GROUP_MAX: usize = 1024;

/// Arguments of `limit`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Address and port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The file that bodies are appended to
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// A whole HTTP/1.1 response, as the system gave it, to answer with
    #[arg(long, value_name = "FILE")]
    response: PathBuf,
}

/// One body, and whom to tell that it is durable.
type Append = (Bytes, oneshot::Sender<()>);

/// Status, headers and body of every answer.
#[derive(Clone)]
struct Canned {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Prints `ready: http://ADDRESS:PORT` and serves until it is ended.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut text = Vec::new();
    File::open(&arguments.response)?.read_to_end(&mut text)?;
    let canned = canned(&text).context("--response")?;
    let file = OpenOptions::new().create(true).append(true).open(&arguments.file)?;
    let (appends, queue) = channel();
    std::thread::Builder::new().name("limit-writer".to_owned()).spawn(move || write(file, &queue))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(arguments.listen, canned, appends))
}

fn canned(text: &[u8]) -> Result<Canned> {
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
    Ok(Canned { status: status.parse()?, headers, body: Bytes::copy_from_slice(&text[split + 4..]) })
}

async fn serve(listen: SocketAddr, canned: Canned, appends: Sender<Append>) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("ready: http://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        spawn(connection(socket, canned.clone(), appends.clone()));
    }
}

#[expect(clippy::disallowed_methods, reason = "a limit is no part of the simulated system")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

async fn connection(socket: TcpStream, canned: Canned, appends: Sender<Append>) {
    let service = service_fn(|request| answer(request, &canned, &appends));
    // A client that hangs up is no concern of ours.
    let _ = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(
    request: Request<Incoming>,
    canned: &Canned,
    appends: &Sender<Append>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(canned.body.clone()));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let Ok(body) = request.into_body().collect().await else { return Ok(response) };
    let (durable, wait) = oneshot::channel();
    if appends.send((body.to_bytes(), durable)).is_ok() && wait.await.is_ok() {
        *response.status_mut() = canned.status;
        response.headers_mut().clone_from(&canned.headers);
    }
    Ok(response)
}

/// Appends and syncs until nobody can send any more; ends the process when the disk fails.
fn write(mut file: File, queue: &Receiver<Append>) {
    let mut group = Vec::new();
    while let Ok((body, durable)) = queue.recv() {
        group.extend_from_slice(&body);
        let mut waiting = vec![durable];
        for (body, durable) in queue.try_iter().take(GROUP_MAX - 1) {
            group.extend_from_slice(&body);
            waiting.push(durable);
        }
        if let Err(error) = append(&mut file, &group) {
            eprintln!("error: {error:#}");
            std::process::exit(1);
        }
        group.clear();
        for durable in waiting {
            // Whoever hung up does not want to know.
            let _ = durable.send(());
        }
    }
}

fn append(file: &mut File, group: &[u8]) -> Result<()> {
    file.write_all(group)?;
    match file.sync_data() {
        Ok(()) => Ok(()),
        Err(error) => bail!("the file cannot be synced: {error}"),
    }
}
