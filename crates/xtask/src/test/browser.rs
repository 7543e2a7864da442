//! The API reference in a real browser: `tests/browser/run.mjs` drives Debian's Chromium through playwright-core.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::packages::ensure_package;
use crate::shell::{Program, workspace_root};

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const INSTALL_LIMIT: Duration = Duration::from_secs(5 * 60);
const RUN_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Installs what is missing and runs the script, which learns from `CHROMIUM` and `DOS_TEST_BIN` where the two programs are.
pub(super) fn run() -> Result<()> {
    let directory = workspace_root().join("tests/browser");
    ensure!(directory.join("run.mjs").is_file(), "tests/browser/run.mjs is missing");
    let chromium = ensure_package("chromium", "chromium")?;
    let node = ensure_package("node", "nodejs")?;
    if !is_installed(&directory) {
        let npm = ensure_package("npm", "npm")?;
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        Program::new(npm).args(arguments).current_dir(&directory).run(INSTALL_LIMIT)?;
    }
    // As the tests build it: with `build`, Cargo would choose other features and compile it once more.
    Program::cargo().args(["test", "--workspace", "--no-run"]).run(BUILD_LIMIT)?;
    Program::new(node)
        .args(["tests/browser/run.mjs"])
        .env("CHROMIUM", chromium)
        .env("DOS_TEST_BIN", workspace_root().join("target/debug/dos"))
        .run(RUN_LIMIT)
}

/// Whether `node_modules` is what the lock file asks for: npm writes a lock of its own there when it is done.
fn is_installed(directory: &Path) -> bool {
    let modified = |file: &str| fs::metadata(directory.join(file)).and_then(|metadata| metadata.modified());
    match (modified("node_modules/.package-lock.json"), modified("package-lock.json")) {
        (Ok(installed), Ok(wanted)) => installed >= wanted,
        _ => false,
    }
}
