//! `cargo xtask schemathesis`: requests made from the OpenAPI document, good ones and bad ones, on a running gateway, until
//! there were enough. What the tool is told stands in `tests/schemathesis`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use crate::packages::install_python_tools;
use crate::running::Server;
use crate::shell::{Program, build_dos, workspace_root};

const READY_LIMIT: Duration = Duration::from_secs(30);
const ROUND_LIMIT: Duration = Duration::from_secs(60 * 60);
const BOUNDED_LIMIT: Duration = Duration::from_secs(3 * 60);

/// Of the run in the test command: one type of entities stands for all, for the code is the same.
const BOUNDED_PATHS: &str =
    r"^/(provider|providers|changes|operation|health|schema|problem|docs|versions|openapi)?(/|\.|$)";
const BOUNDED_SEED: u64 = 1;
const BOUNDED_EXAMPLES: u32 = 4;
const BOUNDED_CASES: u64 = 2_000;

/// Arguments of `schemathesis`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The least number of requests: whole rounds are run until there were so many.
    #[arg(long, default_value_t = 20_000)]
    cases: u64,
    /// Of the first round; each further one has the next.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many requests each operation gets in a round beside those that are the same in every round.
    #[arg(long, default_value_t = 25)]
    examples: u32,
    /// Only the paths that this regular expression finds.
    #[arg(long, value_name = "REGEX")]
    paths: Option<String>,
    /// Where the gateway's reads come from.
    #[arg(long, value_enum, default_value_t = Views::Materialised)]
    views: Views,
}

#[derive(Clone, Copy, ValueEnum)]
enum Views {
    Materialised,
    OnDemand,
}

/// What one round is to do.
struct Round<'a> {
    seed: u64,
    examples: u32,
    paths: Option<&'a str>,
    limit: Duration,
}

/// What of the tool's report is of use here.
#[derive(Deserialize)]
struct Report {
    complete: bool,
    test_cases: Cases,
}

#[derive(Deserialize)]
struct Cases {
    generated: u64,
}

/// Runs rounds until there were enough requests; the first that finds something ends it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut gateway = Gateway::start(arguments.views)?;
    let mut cases = 0;
    for seed in arguments.seed.. {
        let paths = arguments.paths.as_deref();
        let round = Round { seed, examples: arguments.examples, paths, limit: ROUND_LIMIT };
        cases += gateway.test(&round)?;
        println!("seed {seed}: {cases} cases so far");
        if cases >= arguments.cases {
            break;
        }
    }
    println!("{cases} cases from seed {}: nothing found", arguments.seed);
    Ok(())
}

/// The run that is part of `cargo xtask test`.
pub(crate) fn run_bounded() -> Result<()> {
    let mut gateway = Gateway::start(Views::Materialised)?;
    let paths = Some(BOUNDED_PATHS);
    let round = Round { seed: BOUNDED_SEED, examples: BOUNDED_EXAMPLES, paths, limit: BOUNDED_LIMIT };
    let cases = gateway.test(&round)?;
    ensure!(cases >= BOUNDED_CASES, "only {cases} cases were run; {BOUNDED_CASES} are wanted");
    println!("{cases} cases from seed {BOUNDED_SEED}: nothing found");
    Ok(())
}

/// A gateway with a directory of its own, and the tool that tests it.
struct Gateway {
    tool: PathBuf,
    address: SocketAddr,
    directory: tempfile::TempDir,
    server: Server,
}

impl Gateway {
    fn start(views: Views) -> Result<Self> {
        let tools = install_python_tools("tests/schemathesis/requirements.txt", "target/schemathesis")?;
        let dos = build_dos()?;
        let directory = tempfile::tempdir()?;
        let views = views.to_possible_value().context("every kind of views has a name")?;
        let data = directory.path().join("data");
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--anonymous", "write", "--views", views.get_name()];
        let arguments = arguments.iter().map(Path::new).chain([Path::new("--data-dir"), &data]);
        let log = directory.path().join("log");
        let mut server = Server::start(&dos, arguments, &log)?;
        let address = server.ready(READY_LIMIT)?;
        Ok(Self { tool: tools.join("bin/schemathesis"), address, directory, server })
    }

    /// The number of requests, of which none was answered otherwise than the document says.
    fn test(&mut self, round: &Round<'_>) -> Result<u64> {
        let report = self.directory.path().join("report.json");
        let (seed, examples) = (round.seed.to_string(), round.examples.to_string());
        let url = format!("http://{}/openapi.json", self.address);
        let told = workspace_root().join("tests/schemathesis");
        // What it leaves lying about goes with the directory.
        let tool = Program::new(&self.tool).current_dir(self.directory.path());
        let tool = tool.env("PYTHONPATH", &told).env("PYTHONDONTWRITEBYTECODE", "1");
        let tool = tool.args(["--config-file"]).args([told.join("schemathesis.toml")]);
        let tool = tool.args(["run", &url, "--no-color", "--seed", &seed, "--max-examples", &examples]);
        let tool = tool.args(["--report", "json", "--report-json-path"]).args([&report]);
        let tool = round.paths.iter().fold(tool, |tool, paths| tool.args(["--include-path-regex", *paths]));
        let outcome = tool.run(round.limit);
        ensure!(self.server.is_running(), "the gateway ended; its log: {}", self.log());
        outcome.with_context(|| format!("seed {seed}"))?;
        let report = fs::read(&report).context("schemathesis left no report")?;
        counted(&report)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

/// How many cases a report tells of; a run that was not whole, or had none, is an error.
fn counted(report: &[u8]) -> Result<u64> {
    let report: Report = serde_json::from_slice(report).context("the report of schemathesis")?;
    match (report.complete, report.test_cases.generated) {
        (false, _) => bail!("schemathesis did not finish"),
        (true, 0) => bail!("schemathesis ran no case"),
        (true, cases) => Ok(cases),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn a_run_without_a_case_or_an_end_is_an_error() {
        let report = |complete: bool, generated: u64| {
            let report = serde_json::json!({"complete": complete, "test_cases": {"generated": generated}});
            counted(report.to_string().as_bytes())
        };
        assert_eq!(report(true, 7).unwrap(), 7);
        assert!(report(true, 0).is_err() && report(false, 7).is_err());
        assert!(counted(b"{}").is_err());
    }
}
