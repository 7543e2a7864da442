//! Packages of npm that a folder of tests needs, from its lock file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::packages::ensure_package;
use crate::shell::Program;

const INSTALL_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Installs them into the folder, unless they are there.
pub(super) fn install(directory: &Path) -> Result<()> {
    if is_installed(directory) {
        return Ok(());
    }
    let npm = ensure_package("npm", "npm")?;
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    Program::new(npm).args(arguments).current_dir(directory).run(INSTALL_LIMIT)
}

/// Whether `node_modules` is what the lock file asks for: npm writes a lock of its own there when it is done.
fn is_installed(directory: &Path) -> bool {
    let modified = |file: &str| fs::metadata(directory.join(file)).and_then(|metadata| metadata.modified());
    match (modified("node_modules/.package-lock.json"), modified("package-lock.json")) {
        (Ok(installed), Ok(wanted)) => installed >= wanted,
        _ => false,
    }
}
