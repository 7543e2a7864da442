//! Pages of lists with filters and orders on many entities, against the same pages on few.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::report::{Bound, Report, median, median_ratio};
use super::wrk::{self, Load};
use super::{Arguments, release, scratch};
use crate::clock::Stopwatch;
use crate::running::{Server, exchange};
use crate::shell::{Program, workspace_root};

const FILL_LIMIT: Duration = Duration::from_secs(30 * 60);
const START_LIMIT: Duration = Duration::from_secs(300);

/// Entities of the other side.
const FEW: u64 = 3000;

/// Rows of a page; only values that at least as many of the few entities have are asked for.
const ROWS: usize = 50;

/// Kinds of pages: a name, and its query, in which the filters in capitals are replaced.
const PAGES: [(&str, &str); 12] = [
    ("oldest first, no filter", ""),
    ("published", "published=1"),
    ("one taxonomy", "TAXONOMY"),
    ("one provider", "PROVIDER"),
    ("one taxonomy, published", "TAXONOMY&published=1"),
    ("published, not flagged", "published=1&flagged=false"),
    ("by name", "sort=name"),
    ("latest first", "sort=-updated"),
    ("one taxonomy by name", "TAXONOMY&sort=name"),
    ("one provider, latest first", "PROVIDER&sort=-updated"),
    ("published, not flagged, by name", "published=1&flagged=false&sort=name"),
    ("one taxonomy, published, latest first", "TAXONOMY&published=1&sort=-updated"),
];

/// A gateway with its entities.
struct Side {
    _server: Server,
    address: SocketAddr,
    entities: f64,
    /// From the first list that needs the index to its answer.
    first_seconds: f64,
    processor_seconds: f64,
    /// The index, in bytes, as the gateway counts it, and what the process grew by while it was made.
    size: f64,
    grown: f64,
    resident: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<Report> {
    let folder = scratch("lists")?;
    let files = paths(&folder)?;
    let few = Side::start(&folder, "few", FEW)?;
    let many = Side::start(&folder, "many", arguments.entities)?;
    let mut report = Report::default();
    report.row("load", format!("wrk -t1 -c1, pages of {ROWS}, a random value each time"));
    for side in [&few, &many] {
        let Side { entities, first_seconds, processor_seconds, size, grown, resident, .. } = side;
        report.row(
            format!("{entities} entities"),
            format!(
                "indexed in {first_seconds:.2} s ({processor_seconds:.2} s of processor time); {:.0} B per entity, the process grew by {:.0} B per entity, VmRSS {:.0} MB then",
                size / entities,
                grown / entities,
                resident / 1e6
            ),
        );
    }
    for ((name, _), file) in PAGES.iter().zip(&files) {
        let mut loads = [const { Vec::new() }; 2];
        for round in 0..=arguments.rounds {
            for (side, loads) in [&many, &few].into_iter().zip(&mut loads) {
                // The first round warms up.
                let seconds = if round == 0 { 1 } else { arguments.seconds };
                let load = wrk::run("reads.lua", side.address, 1, seconds, &[file])?;
                if round > 0 {
                    loads.push(load);
                }
            }
        }
        let [many, few] = &loads;
        let p50 = |loads: &[Load]| loads.iter().map(|load| load.p50_ms).collect::<Vec<f64>>();
        let (ours, theirs) = (p50(many), p50(few));
        let figures = |loads: &[Load], p50: &[f64]| {
            let of = |figure: fn(&Load) -> f64| median(loads.iter().map(figure));
            let (p50, p99, bytes) = (median(p50.iter().copied()), of(|load| load.p99_ms), of(|load| load.bytes_each));
            format!("p50 {:.0} us, p99 {:.0} us, {bytes:.0} B", p50 * 1e3, p99 * 1e3)
        };
        report.row(*name, format!("{}; of few: {}", figures(many, &ours), figures(few, &theirs)));
        report.goal(format!("{name}: p50 / of few"), median_ratio(&ours, &theirs), Bound::AtMost(3.0));
    }
    drop((few, many));
    fs::remove_dir_all(&folder)?;
    Ok(report)
}

impl Side {
    fn start(folder: &Path, name: &str, count: u64) -> Result<Self> {
        let data = folder.join(name);
        let fill = Program::new(release("bench")).args(["fill", "--count", &count.to_string(), "--data-dir"]);
        fill.args([&data]).run(FILL_LIMIT)?;
        let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"];
        let serve = serve.map(AsRef::as_ref).into_iter().chain([data.as_os_str()]);
        let mut server = Server::start(&release("dos"), serve, &folder.join(format!("{name}.log")))?;
        let address = server.ready(START_LIMIT)?;
        get(address, "/service?limit=200")?;
        let (before, busy, stopwatch) = (server.memory("RssAnon")?, server.processor_seconds()?, Stopwatch::start());
        // Refused while the index is in the making for longer than a read may wait.
        while get(address, "/service?sort=name&limit=1").is_err() {
            if stopwatch.elapsed() > START_LIMIT {
                bail!("lists are not indexed after {START_LIMIT:?}");
            }
        }
        let first_seconds = stopwatch.elapsed().as_secs_f64();
        let grown = server.memory("RssAnon")? - before;
        let resident = server.memory("VmRSS")?;
        let processor_seconds = server.processor_seconds()? - busy;
        let log = fs::read_to_string(folder.join(format!("{name}.log")))?;
        let line = log.lines().find_map(|line| line.split_once("size_bytes=")).context("no line tells of an index")?;
        let size = line.1.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse()?;
        let entities = count as f64;
        Ok(Self { _server: server, address, entities, first_seconds, processor_seconds, size, grown, resident })
    }
}

fn get(address: SocketAddr, path: &str) -> Result<()> {
    let response = exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))?;
    if !response.starts_with(b"HTTP/1.1 200 ") {
        bail!("GET {path}: {}", String::from_utf8_lossy(&response).lines().next().unwrap_or_default());
    }
    Ok(())
}

/// A file of paths for each kind of page.
fn paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let rows = fs::read_to_string(workspace_root().join("data/trafford/service.jsonl"))?;
    let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let taxonomies = rows.iter().flat_map(|row| row["taxonomy_ids"].as_array().into_iter().flatten());
    let taxonomies = frequent("taxonomy_ids", taxonomies);
    let providers = frequent("provider_id", rows.iter().map(|row| &row["provider_id"]));
    let mut files = Vec::new();
    for (number, (_, query)) in PAGES.iter().enumerate() {
        let one = [String::new()];
        let (capitals, values) = match query.split('&').next() {
            Some(name @ "TAXONOMY") => (name, &taxonomies[..]),
            Some(name @ "PROVIDER") => (name, &providers[..]),
            _ => ("TAXONOMY", &one[..]),
        };
        let mut paths = String::new();
        for value in values {
            writeln!(paths, "/service?limit={ROWS}&{}", query.replace(capitals, value))?;
        }
        let file = folder.join(format!("paths-{number}"));
        fs::write(&file, paths)?;
        files.push(file);
    }
    Ok(files)
}

/// The filters whose values at least a page of rows has.
fn frequent<'a>(field: &str, values: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut counts = BTreeMap::<&str, usize>::new();
    values.filter_map(Value::as_str).for_each(|value| *counts.entry(value).or_default() += 1);
    let frequent = counts.into_iter().filter(|(_, count)| *count >= ROWS);
    frequent.map(|(value, _)| format!("{field}={value}")).collect()
}
