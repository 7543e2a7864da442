//! The documents of the API: linters, and a client that is generated from the OpenAPI one (`tests/documents/run.mjs`).

use std::time::Duration;

use anyhow::Result;

use super::node;
use crate::packages::ensure_package;
use crate::shell::{Program, build_dos, workspace_root};

const RUN_LIMIT: Duration = Duration::from_secs(3 * 60);

/// Installs what is missing and runs the script, which learns from `DOS_TEST_BIN` where the program is.
pub(super) fn run() -> Result<()> {
    let directory = workspace_root().join("tests/documents");
    let node = ensure_package("node", "nodejs")?;
    node::install(&directory)?;
    let dos = build_dos()?;
    Program::new(node).args(["tests/documents/run.mjs"]).env("DOS_TEST_BIN", dos).run(RUN_LIMIT)
}
