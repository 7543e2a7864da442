//! Programs that run while others measure or test them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::clock::Stopwatch;
use crate::shell::{end_child, workspace_root};

const STOP_LIMIT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// `USER_HZ`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);

/// A running program; stopped when dropped, and by the kernel should xtask be killed.
pub(crate) struct Server {
    child: Child,
    name: String,
}

impl Server {
    /// Starts a program; what it writes to standard error goes to `log`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program).args(arguments).current_dir(workspace_root());
        let errors = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name })
    }

    /// Waits for its line `ready: ..`, and says where it listens: the first URL of that line.
    pub(crate) fn ready(&mut self, limit: Duration) -> Result<SocketAddr> {
        let output = self.child.stdout.take().context("ready is asked for once")?;
        let (send, lines) = channel();
        // Goes on reading, so that the program never waits for room in the pipe.
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        })?;
        let stopwatch = Stopwatch::start();
        loop {
            let left = limit.saturating_sub(stopwatch.elapsed());
            let line = lines.recv_timeout(left).with_context(|| format!("{} did not become ready", self.name))?;
            if let Some(rest) = line.strip_prefix("ready: ") {
                let url = rest.split("http://").nth(1).and_then(|url| url.split([' ', '/']).next());
                return url.and_then(|url| url.parse().ok()).with_context(|| format!("no address in {line:?}"));
            }
        }
    }

    /// Waits until it takes connections.
    pub(crate) fn listens(&self, address: SocketAddr, limit: Duration) -> Result<()> {
        let stopwatch = Stopwatch::start();
        while TcpStream::connect(address).is_err() {
            if stopwatch.elapsed() > limit {
                bail!("{} does not listen on {address}", self.name);
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Bytes, from a line of `/proc/PID/status` in kB.
    pub(crate) fn memory(&self, line: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let kilobytes = value.and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.map(|kilobytes| kilobytes * 1024.0).with_context(|| format!("no {line} in its status"))
    }

    /// User and system time of the process so far, in seconds.
    pub(crate) fn processor_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn stop(&mut self) -> Result<()> {
        end_child(&mut self.child, Signal::TERM, STOP_LIMIT)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{} could not be stopped: {error:#}", self.name);
        }
    }
}

/// A free port of the loopback interface, for programs that cannot choose one by themselves.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// One request on a connection of its own; the whole response.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> Result<Vec<u8>> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(EXCHANGE_LIMIT))?;
    socket.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    socket.read_to_end(&mut response)?;
    Ok(response)
}
