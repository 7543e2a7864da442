//! The limit of a write: HTTP in, one durable append, a canned answer out.
//!
//! Bare hyper on the runtime that `dos` has; one thread appends the bodies of all requests that wait and syncs the file
//! once for all of them. Nothing is parsed, checked, decided or kept.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use crate::canned::{Canned, Done};

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
type Append = (Bytes, Done);

/// Prints `ready: http://ADDRESS:PORT` and serves until it is ended.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let canned = Canned::read(&arguments.response).context("--response")?;
    let file = OpenOptions::new().create(true).append(true).open(&arguments.file)?;
    let (appends, queue) = channel();
    std::thread::Builder::new().name("limit-writer".to_owned()).spawn(move || write(file, &queue))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // A body that the writer takes no more is dropped, and with it whom to tell.
    runtime.block_on(canned.serve(arguments.listen, move |body, done| drop(appends.send((body, done)))))
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
