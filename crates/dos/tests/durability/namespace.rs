//! Mounts that only some processes see, so that a disk can be full or read-only without harm to others.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shared::process::{EFFECT_MAX, Process, wait_for};

/// A mount namespace, held open by a process that does nothing else.
pub(crate) struct Namespace {
    holder: Process,
}

impl Namespace {
    /// Makes one and runs a shell script in it, as its root.
    pub(crate) fn new(script: &str, logs: &Path) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-ec"]);
        // The holder ends by itself should nobody be left to end it.
        command.arg(format!("{script}\necho mounted\nexec sleep 600"));
        let mut holder = Process::start(command, logs);
        wait_for(EFFECT_MAX, "the mounts", || {
            if let Some(status) = holder.ended() {
                panic!(
                    "this test mounts a file system that only it sees; it must run as root, or user namespaces must be \
                     allowed (sysctl -w kernel.unprivileged_userns_clone=1 \
                     kernel.apparmor_restrict_unprivileged_userns=0); unshare ended with {status}: {}",
                    holder.stderr()
                );
            }
            holder.stdout().contains("mounted").then_some(())
        });
        Self { holder }
    }

    /// The program under test, inside.
    pub(crate) fn dos(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--user", "--mount", "--preserve-credentials", "--target", &self.holder.id().to_string()]);
        command.arg(env!("CARGO_BIN_EXE_dos"));
        command
    }

    /// The way from outside to a file inside. (Not for SQLite, which follows links by itself.)
    pub(crate) fn path(&self, inside: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(inside.strip_prefix("/").unwrap())
    }
}
