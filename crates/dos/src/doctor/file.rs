//! A data folder: its file, lock, permissions, and room.

use std::path::Path;
use std::sync::Arc;

use contract::Env;
use stream::embedded::{Embedded, Follower};

use super::Findings;
use crate::client::text::thousands;

/// Below the first it is soon full, below the second it is.
const ROOM_DOUBT: u64 = 1 << 30;
const ROOM_FAULT: u64 = 64 << 20;

/// The file, where there is one.
pub(super) fn look(
    folder: &Path,
    about: &str,
    env: &Arc<dyn Env>,
    findings: &mut Findings,
) -> std::io::Result<Option<Follower>> {
    let shown = folder.display();
    if !folder.exists() {
        findings.fine(about, &format!("{shown} is not there yet; made at the first start"))?;
        return room_and_rights(above(folder), about, env, findings).map(|()| None);
    }
    if !folder.is_dir() {
        let text = format!("{shown} is a file, and the data needs a folder; set another one");
        return findings.fault(about, &text).map(|()| None);
    }
    room_and_rights(folder, about, env, findings)?;
    if !folder.join("dos.sqlite").exists() {
        return findings.fine(about, &format!("{shown} has no data yet; made at the first start")).map(|()| None);
    }
    match Follower::open(folder) {
        Ok(follower) => {
            let user = if Embedded::is_open(folder) { "a running process has it" } else { "no process has it" };
            findings.fine(about, &format!("{shown}, {} partitions; {user}", follower.partitions()))?;
            Ok(Some(follower))
        }
        Err(error) => findings.fault(about, &error.to_string()).map(|()| None),
    }
}

/// The folder of a gateway's snapshots.
pub(super) fn snapshots(folder: &Path, env: &Arc<dyn Env>, findings: &mut Findings) -> std::io::Result<()> {
    let about = "snapshot folder";
    let shown = folder.display();
    if folder.is_dir() {
        findings.fine(about, &format!("{shown}"))?;
        return room_and_rights(folder, about, env, findings);
    }
    if folder.exists() {
        return findings.fault(about, &format!("{shown} is a file, and a folder is needed; set another snapshot.dir"));
    }
    findings.fine(about, &format!("{shown} is not there yet; made at the first start"))?;
    room_and_rights(above(folder), about, env, findings)
}

/// Where a folder will be made, with all its parents.
fn above(folder: &Path) -> &Path {
    let parent = folder.ancestors().skip(1).find(|parent| parent.as_os_str().is_empty() || parent.exists());
    parent.filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn room_and_rights(folder: &Path, about: &str, env: &Arc<dyn Env>, findings: &mut Findings) -> std::io::Result<()> {
    let [a, b, c, d, ..] = env.random();
    let probe = folder.join(format!(".dos-doctor-{a:02x}{b:02x}{c:02x}{d:02x}"));
    let made = std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe));
    if let Err(error) = made {
        let text =
            format!("{} cannot be written ({error}); let this user own it, or set another one", folder.display());
        findings.fault(about, &text)?;
    }
    match rustix::fs::statvfs(folder) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let text = format!("{} MiB free", thousands(free >> 20));
            match free {
                free if free < ROOM_FAULT => {
                    findings.fault("disk", &format!("{text}: writes will be refused; make room"))
                }
                free if free < ROOM_DOUBT => findings.doubt("disk", &format!("{text}: make room before it is full")),
                _ => findings.fine("disk", &text),
            }
        }
        Err(error) => findings.doubt("disk", &format!("its room cannot be told: {error}")),
    }
}
