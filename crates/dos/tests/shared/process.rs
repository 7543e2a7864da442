//! `dos` as a child process: started, waited for with a bound, and always ended by its own id.

use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a start may take: recovery, and a machine that does other things as well.
pub(crate) const START_MAX: Duration = Duration::from_secs(30);
/// How long anything else may take that is expected at once.
pub(crate) const EFFECT_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

/// The program under test.
pub(crate) fn dos() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dos"))
}

/// Arguments of `dos` that serve a data folder on a free port.
pub(crate) fn serve(data: &Path) -> Vec<OsString> {
    ["serve", "--listen", "127.0.0.1:0", "--data-dir"].map(OsString::from).into_iter().chain([data.into()]).collect()
}

/// Asks again and again until there is an answer; panics with `what` when it takes too long.
pub(crate) fn wait_for<T>(bound: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < bound, "not within {} s: {what}", bound.as_secs());
        std::thread::sleep(POLL);
    }
}

/// A child that does not outlive its owner.
pub(crate) struct Process {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to files in `logs`, one pair for each start.
    pub(crate) fn start(mut command: Command, logs: &Path) -> Self {
        static STARTS: AtomicU32 = AtomicU32::new(0);
        let number = STARTS.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (logs.join(format!("out-{number}")), logs.join(format!("err-{number}")));
        command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        Self { child, out, err }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    /// The status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, bound: Duration) -> ExitStatus {
        let what = format!("the end of process {}", self.id());
        wait_for(bound, &what, || self.ended())
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let id = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
    }

    /// SIGKILL, and waits until nothing of the process is left.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway that said it is ready.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a command that serves, and waits until it is ready.
    pub(crate) fn start(command: Command, logs: &Path) -> Self {
        let mut process = Process::start(command, logs);
        let address = wait_for(START_MAX, "the ready line", || {
            let ready = process.stdout().lines().find_map(ready_line);
            if ready.is_none()
                && let Some(status) = process.ended()
            {
                panic!("dos ended with {status} before it was ready:\n{}", process.stderr());
            }
            ready
        });
        Self { process, address }
    }

    /// Starts the program on a data folder, with its logs beside it.
    pub(crate) fn on(folder: &Path, data: &Path) -> Self {
        let mut command = dos();
        command.args(serve(data));
        Self::start(command, folder)
    }
}

fn ready_line(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("ready: API http://")?.split_whitespace().next()?.parse().ok()
}
