//! The API reference in a real browser: `tests/browser/run.mjs` drives Debian's Chromium through playwright-core.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::node;
use crate::packages::ensure_package;
use crate::shell::{Program, build_dos, workspace_root};

const RUN_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Installs what is missing and runs the script, which learns from `CHROMIUM` and `DOS_TEST_BIN` where the two programs are.
pub(super) fn run() -> Result<()> {
    let directory = workspace_root().join("tests/browser");
    ensure!(directory.join("run.mjs").is_file(), "tests/browser/run.mjs is missing");
    let chromium = ensure_package("chromium", "chromium")?;
    let node = ensure_package("node", "nodejs")?;
    node::install(&directory)?;
    let dos = build_dos()?;
    Program::new(node).args(["tests/browser/run.mjs"]).env("CHROMIUM", chromium).env("DOS_TEST_BIN", dos).run(RUN_LIMIT)
}
