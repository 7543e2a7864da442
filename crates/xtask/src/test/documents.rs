//! The documents of the API: linters, and a client that is generated from the OpenAPI one (`tests/documents/run.mjs`).

use std::time::Duration;

use anyhow::Result;

use super::node;
use crate::packages::ensure_package;
use crate::shell::{Program, workspace_root};

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const RUN_LIMIT: Duration = Duration::from_secs(3 * 60);

/// Installs what is missing and runs the script, which learns from `DOS_TEST_BIN` where the program is.
pub(super) fn run() -> Result<()> {
    let directory = workspace_root().join("tests/documents");
    let node = ensure_package("node", "nodejs")?;
    node::install(&directory)?;
    // As the tests build it: with `build`, Cargo would choose other features and compile it once more.
    Program::cargo().args(["test", "--workspace", "--no-run"]).run(BUILD_LIMIT)?;
    Program::new(node)
        .args(["tests/documents/run.mjs"])
        .env("DOS_TEST_BIN", workspace_root().join("target/debug/dos"))
        .run(RUN_LIMIT)
}
