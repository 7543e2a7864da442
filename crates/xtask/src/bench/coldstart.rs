//! From exec to ready of a gateway whose views are on Kafka, without and with a snapshot, against a bare consumer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::report::{Bound, Report, median, median_ratio};
use super::restart::figure;
use super::{Arguments, release, scratch};
use crate::clock::Stopwatch;
use crate::running::Server;
use crate::servers::{self, Kind};
use crate::shell::Program;

const FILL_LIMIT: Duration = Duration::from_secs(30 * 60);
const START_LIMIT: Duration = Duration::from_secs(300);

/// What a start took.
struct Start {
    seconds: f64,
    processor_seconds: f64,
    resident: f64,
    peak: f64,
}

/// All rounds.
#[derive(Default)]
struct Rounds {
    reads: Vec<f64>,
    cold: Vec<Start>,
    from_snapshot: Vec<Start>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Report> {
    let folder = scratch("coldstart")?;
    let running = servers::start(&[Kind::Kafka], 1)?;
    let kafka = running.variables.get(Kind::Kafka.variable()).cloned().unwrap_or_default();
    let prefix = format!("bench_{}.", std::process::id());
    let count = arguments.entities.to_string();
    let fill = ["fill-topic", "--kafka", &kafka, "--topic-prefix", &prefix, "--count", &count];
    let stopwatch = Stopwatch::start();
    Program::new(release("bench")).args(fill).run(FILL_LIMIT)?;
    println!("filled in {:.1} s", stopwatch.elapsed().as_secs_f64());

    let settings = |name: &str, snapshot: &str| -> Result<std::path::PathBuf> {
        let file = folder.join(name);
        fs::write(&file, format!("[kafka]\nbrokers = \"{kafka}\"\ntopic_prefix = \"{prefix}\"\n{snapshot}"))?;
        Ok(file)
    };
    let cold = settings("cold.toml", "")?;
    let snapshots = folder.join("snapshots");
    let warm = settings("warm.toml", &format!("[snapshot]\ndir = \"{}\"\n", snapshots.display()))?;
    // Makes the snapshot as it ends, and warms up.
    start(&warm, &folder)?;
    let snapshot_bytes = fs::metadata(snapshots.join("views.snapshot")).context("no snapshot was written")?.len();

    let (mut rounds, mut value_bytes) = (Rounds::default(), 0.0);
    for _ in 0..arguments.rounds {
        let topic = format!("{prefix}dos.views");
        let read = Program::new(release("bench")).args(["read-topic", "--kafka", &kafka, "--topic", &topic]);
        let output = String::from_utf8(read.output()?)?;
        rounds.reads.push(figure(output.trim(), "seconds")?);
        value_bytes = figure(output.trim(), "value_bytes")?;
        rounds.cold.push(start(&cold, &folder)?);
        rounds.from_snapshot.push(start(&warm, &folder)?);
    }
    fs::remove_dir_all(&folder)?;
    Ok(report(arguments, &rounds, value_bytes, snapshot_bytes as f64))
}

/// Starts a gateway, waits until it is ready, and ends it.
fn start(settings: &Path, folder: &Path) -> Result<Start> {
    let gateway = ["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--config"];
    let gateway = gateway.map(AsRef::as_ref).into_iter().chain([settings]);
    let stopwatch = Stopwatch::start();
    let mut dos = Server::start(&release("dos"), gateway, &folder.join("dos.log"))?;
    dos.ready(START_LIMIT)?;
    Ok(Start {
        seconds: stopwatch.elapsed().as_secs_f64(),
        processor_seconds: dos.processor_seconds()?,
        resident: dos.memory("VmRSS")?,
        peak: dos.memory("VmHWM")?,
    })
}

fn report(arguments: &Arguments, rounds: &Rounds, value_bytes: f64, snapshot_bytes: f64) -> Report {
    let all = |values: &[f64]| values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(" ");
    let line = |values: &[f64]| format!("{:.2} s  ({})", median(values.iter().copied()), all(values));
    let seconds = |starts: &[Start]| starts.iter().map(|start| start.seconds).collect::<Vec<_>>();
    let of = |starts: &[Start], figure: fn(&Start) -> f64| median(starts.iter().map(figure));
    let Rounds { reads, cold, from_snapshot } = rounds;
    let mut report = Report::default();
    report.row("entities", format!("{} services, {:.0} MB of objects", arguments.entities, value_bytes / 1e6));
    report.row("the snapshot's file", format!("{:.0} MB", snapshot_bytes / 1e6));
    report.row("bare consumer, to the end of each partition", line(reads));
    for (what, starts) in [("cold", cold), ("from the snapshot", from_snapshot)] {
        report.row(format!("exec to ready, {what}"), line(&seconds(starts)));
        let processor = of(starts, |start| start.processor_seconds);
        let (resident, peak) = (of(starts, |start| start.resident), of(starts, |start| start.peak));
        let figures = format!("{processor:.2} s, VmRSS {:.0} MB, VmHWM {:.0} MB", resident / 1e6, peak / 1e6);
        report.row(format!("processor time and memory at ready, {what}"), figures);
    }
    report.goal("cold start / bare consumer", median_ratio(&seconds(cold), reads), Bound::AtMost(2.0));
    let ratio = median_ratio(&seconds(from_snapshot), reads);
    report.goal("start from the snapshot / bare consumer", ratio, Bound::AtMost(0.3));
    let memory = |starts| of(starts, |start: &Start| start.peak) / value_bytes;
    report.goal("cold, VmHWM / bytes of objects", memory(cold), Bound::None);
    report.goal("from the snapshot, VmHWM / bytes of objects", memory(from_snapshot), Bound::None);
    report
}
