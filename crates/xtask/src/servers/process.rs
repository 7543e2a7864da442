//! One server process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::clock::Stopwatch;
use crate::shell::end_child;

const POLL_INTERVAL: Duration = Duration::from_millis(50);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const EXCHANGE_LIMIT: Duration = Duration::from_secs(2);
/// Of the log, in an error.
const LOG_LINES: usize = 15;

/// How to start a server, any number of times.
#[derive(Clone)]
pub(super) struct Recipe {
    /// For messages.
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// What it is told to end with in good order.
    pub(super) signal: Signal,
    /// The user it runs as, where xtask is root.
    pub(super) user: Option<&'static str>,
    pub(super) log: PathBuf,
    /// What to say to it, once it listens, to get any answer.
    pub(super) address: SocketAddr,
    pub(super) greeting: Vec<u8>,
}

/// A running server; ended when dropped, and by the kernel should xtask be killed.
pub(super) struct Process {
    child: Child,
    name: String,
    signal: Signal,
}

impl Recipe {
    /// Starts it and waits until it answers.
    pub(super) fn start(&self, limit: Duration) -> Result<Process> {
        let mut process = self.spawn()?;
        self.wait(&mut process, limit)?;
        Ok(process)
    }

    /// Starts it. The kernel ends it with the thread that calls this, so that must be one that stays.
    pub(super) fn spawn(&self) -> Result<Process> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new("setpriv");
        let signal = if self.signal == Signal::INT { "INT" } else { "TERM" };
        command.args(["--pdeathsig", signal]).args(user(self.user)).arg("--").arg(&self.program).args(&self.arguments);
        command.current_dir(self.log.parent().unwrap_or(Path::new("/")));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        Ok(Process { child, name: self.name.clone(), signal: self.signal })
    }

    /// Waits until it answers.
    pub(super) fn wait(&self, process: &mut Process, limit: Duration) -> Result<()> {
        let stopwatch = Stopwatch::start();
        while !answers(self.address, &self.greeting) {
            let ended = process.child.try_wait()?;
            if ended.is_some() || stopwatch.elapsed() > limit {
                bail!("{} does not answer on {}; its log says:\n{}", self.name, self.address, self.log_end());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

/// Runs a program to its end, as this user.
pub(super) fn run_as<A: AsRef<OsStr>>(name: Option<&'static str>, program: &Path, arguments: &[A]) -> Result<()> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).args(user(name)).arg("--").arg(program).args(arguments);
    let output = command.current_dir("/").stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{}: {}\n{text}{errors}", program.display(), output.status);
    }
    Ok(())
}

/// Arguments of `setpriv`: only root can become another.
fn user(name: Option<&'static str>) -> Vec<String> {
    let Some(name) = name.filter(|_| rustix::process::geteuid().is_root()) else { return Vec::new() };
    vec![format!("--reuid={name}"), format!("--regid={name}"), "--init-groups".to_owned()]
}

fn answers(address: SocketAddr, greeting: &[u8]) -> bool {
    let exchange = || {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(EXCHANGE_LIMIT))?;
        socket.write_all(greeting)?;
        socket.read(&mut [0; 64])
    };
    exchange().is_ok_and(|count: usize| count > 0)
}

impl Process {
    /// Ends it in good order.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.end(self.signal)
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL)
    }

    /// Ends it with this signal.
    pub(super) fn end(&mut self, signal: Signal) -> Result<()> {
        end_child(&mut self.child, signal, STOP_LIMIT)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{} could not be stopped: {error:#}", self.name);
        }
    }
}
