//! From exec to ready with many entities, and the memory then, against a plain scan of the same rows.

use std::time::Duration;

use anyhow::{Context, Result};

use super::report::{Bound, Report, median, median_ratio};
use super::{Arguments, release, scratch};
use crate::clock::Stopwatch;
use crate::running::Server;
use crate::shell::Program;

const FILL_LIMIT: Duration = Duration::from_secs(30 * 60);
const START_LIMIT: Duration = Duration::from_secs(300);

/// What a start took.
struct Start {
    seconds: f64,
    processor_seconds: f64,
    resident: f64,
    anonymous: f64,
    peak: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<Report> {
    let folder = scratch("restart")?;
    let data = folder.join("data");
    let fill = Program::new(release("bench")).args(["fill", "--count", &arguments.entities.to_string(), "--data-dir"]);
    fill.args([&data]).run(FILL_LIMIT)?;

    let (mut scans, mut starts, mut object_bytes) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..arguments.rounds {
        // Twice, as the first run finds the page cache as the last start left it.
        let scan = Program::new(release("bench")).args(["scan", "--times", "2", "--data-dir"]).args([&data]);
        let output = String::from_utf8(scan.output()?)?;
        let line = output.lines().last().context("scan printed nothing")?;
        let (seconds, bytes) = (figure(line, "seconds")?, figure(line, "object_bytes")?);
        scans.push(seconds);
        object_bytes = bytes;

        let log = folder.join("dos.log");
        let serve =
            ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"].map(AsRef::as_ref);
        let stopwatch = Stopwatch::start();
        let mut dos = Server::start(&release("dos"), serve.into_iter().chain([data.as_os_str()]), &log)?;
        dos.ready(START_LIMIT)?;
        starts.push(Start {
            seconds: stopwatch.elapsed().as_secs_f64(),
            processor_seconds: dos.processor_seconds()?,
            resident: dos.memory("VmRSS")?,
            anonymous: dos.memory("RssAnon")?,
            peak: dos.memory("VmHWM")?,
        });
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(report(arguments, &scans, &starts, object_bytes))
}

pub(super) fn figure(line: &str, name: &str) -> Result<f64> {
    let words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| *word == name);
    let value = at.and_then(|at| words.get(at + 1)?.parse().ok());
    value.with_context(|| format!("no {name} in {line:?}"))
}

fn report(arguments: &Arguments, scans: &[f64], starts: &[Start], object_bytes: f64) -> Report {
    let of = |figure: fn(&Start) -> f64| starts.iter().map(figure).collect::<Vec<f64>>();
    let all = |values: &[f64]| values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(" ");
    let megabytes = |figure: fn(&Start) -> f64| format!("{:.0} MB", median(of(figure)) / 1e6);
    let seconds = of(|start| start.seconds);
    let mut report = Report::default();
    report.row("entities", format!("{} services, {:.0} MB of objects", arguments.entities, object_bytes / 1e6));
    report.row("plain scan, warm", format!("{:.2} s  ({})", median(scans.iter().copied()), all(scans)));
    report.row("exec to ready", format!("{:.2} s  ({})", median(seconds.iter().copied()), all(&seconds)));
    report.row("processor time to ready", format!("{:.2} s", median(of(|start| start.processor_seconds))));
    report.row("VmRSS at ready", megabytes(|start| start.resident));
    report.row("of it RssAnon", megabytes(|start| start.anonymous));
    report.row("VmHWM", megabytes(|start| start.peak));
    report.goal("time to ready / scan", median_ratio(&seconds, scans), Bound::AtMost(3.0));
    report.goal("VmRSS / bytes of objects", median(of(|start| start.resident)) / object_bytes, Bound::AtMost(2.5));
    report.goal("VmHWM / bytes of objects", median(of(|start| start.peak)) / object_bytes, Bound::AtMost(2.5));
    report
}
