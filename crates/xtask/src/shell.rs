//! Runs other programs: each is printed first, sees no standard input, and ends within a limit.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::clock::Stopwatch;
use crate::interrupts::Watch;

const POLL_INTERVAL: Duration = Duration::from_millis(20);
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// How long a program may tidy up between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// The root of the workspace, wherever xtask is called from.
pub(crate) fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// Builds `dos` with every feature that the tests want, and says where it lies: with `build`, Cargo would choose other features
/// and compile it once more.
pub(crate) fn build_dos() -> Result<PathBuf> {
    Program::cargo().args(["test", "--workspace", "--no-run"]).run(BUILD_LIMIT)?;
    Ok(workspace_root().join("target/debug/dos"))
}

/// Ends a program that runs beside others: by a signal, and by force once the limit is over. One that has ended is let be.
pub(crate) fn end_child(child: &mut Child, signal: Signal, limit: Duration) -> Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child without an id")?;
    kill_process(id, signal)?;
    let stopwatch = Stopwatch::start();
    while child.try_wait()?.is_none() {
        if stopwatch.elapsed() > limit {
            child.kill()?;
            child.wait()?;
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// A program to run in the workspace's root, unless another directory is given.
pub(crate) struct Program {
    command: Command,
}

impl Program {
    /// A program found in `PATH`.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(workspace_root()).stdin(Stdio::null());
        Self { command }
    }

    /// The cargo that runs xtask, without the variables it set for xtask: build scripts that watch one of them would
    /// run again, and with them half the dependencies.
    pub(crate) fn cargo() -> Self {
        let mut cargo = Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in std::env::vars_os() {
            if is_set_by_cargo(&name) {
                cargo.command.env_remove(name);
            }
        }
        cargo
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs in this directory.
    pub(crate) fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Prints the command and runs it; an exit other than 0 or a run over the limit is an error. The program leads a
    /// process group of its own, which is ended with it when time is up or xtask is interrupted.
    pub(crate) fn run(mut self, limit: Duration) -> Result<()> {
        println!("$ {self}");
        let child = self.command.process_group(0).spawn().with_context(|| format!("cannot start {self}"))?;
        let status = Group(child).wait(limit).with_context(|| format!("{self}"))?;
        if !status.success() {
            bail!("{self}: {status}");
        }
        Ok(())
    }

    /// Runs without printing and returns what the program wrote to standard output. Only for programs that end by
    /// themselves.
    pub(crate) fn output(mut self) -> Result<Vec<u8>> {
        let output = self.command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {self}"))?;
        if !output.status.success() {
            bail!("{self}: {}", output.status);
        }
        Ok(output.stdout)
    }
}

/// The command as one would type it in the workspace's root.
impl Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = Path::new(self.command.get_program());
        write!(formatter, "{}", program.file_name().unwrap_or(program.as_os_str()).display())?;
        for argument in self.command.get_args() {
            write!(formatter, " {}", argument.display())?;
        }
        Ok(())
    }
}

fn is_set_by_cargo(name: &OsString) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    let name = name.to_string_lossy();
    name == "CARGO_PRIMARY_PACKAGE" || name == "OUT_DIR" || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A child that leads a process group.
struct Group(Child);

impl Group {
    fn wait(mut self, limit: Duration) -> Result<ExitStatus> {
        let watch = Watch::start();
        if let Some(status) = self.poll(limit, || watch.is_interrupted())? {
            return Ok(status);
        }
        self.end()?;
        if watch.is_interrupted() {
            eprintln!("interrupted");
            std::process::exit(130);
        }
        bail!("not done within {} s, ended", limit.as_secs())
    }

    /// The exit status, or none if time was up or xtask was interrupted first.
    fn poll(&mut self, limit: Duration, is_interrupted: impl Fn() -> bool) -> Result<Option<ExitStatus>> {
        let stopwatch = Stopwatch::start();
        while stopwatch.elapsed() < limit && !is_interrupted() {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(None)
    }

    fn end(&mut self) -> Result<()> {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).context("a child without an id")?;
        // An empty group is no error: the child may have ended by itself meanwhile.
        let _ = kill_process_group(group, Signal::TERM);
        let ended = self.poll(GRACE, || false)?;
        // The leader may be gone and others of its group not.
        let _ = kill_process_group(group, Signal::KILL);
        if ended.is_none() {
            self.0.wait()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Program;
    use crate::clock::Stopwatch;

    #[test]
    fn a_failing_program_is_an_error_that_names_it() {
        let error = Program::new("false").args(["--really"]).run(Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.to_string(), "false --really: exit status: 1");
        assert!(Program::new("true").run(Duration::from_secs(10)).is_ok());
        assert!(Program::new("no-such-program").run(Duration::from_secs(10)).is_err());
    }

    #[test]
    fn a_program_over_its_limit_is_ended_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let id_file = directory.path().join("id");
        let script = format!("sleep 600 & echo $! > {}; wait", id_file.display());
        let stopwatch = Stopwatch::start();
        let error = Program::new("sh").args(["-c", &script]).run(Duration::from_secs(1)).unwrap_err();
        assert!(format!("{error:#}").ends_with("not done within 1 s, ended"), "{error:#}");
        assert!(stopwatch.elapsed() < Duration::from_secs(10));
        let id = std::fs::read_to_string(id_file).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "still there: {state}");
    }

    #[test]
    fn cargo_runs_without_the_variables_of_this_package() {
        let cargo = Program::cargo();
        let removed = cargo.command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name);
        let removed: Vec<_> = removed.map(|name| name.to_string_lossy().into_owned()).collect();
        assert!(removed.contains(&"CARGO_PKG_NAME".to_owned()), "{removed:?}");
        assert!(!removed.contains(&"CARGO_HOME".to_owned()) && !removed.contains(&"CARGO_TARGET_DIR".to_owned()));
    }
}
