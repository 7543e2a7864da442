//! The load generator.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Arguments;
use super::report::median;
use crate::packages::ensure_package;
use crate::shell::{Program, workspace_root};

/// Connections, as most goals say.
pub(super) const CONNECTIONS: u32 = 64;

/// What one run measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) per_second: f64,
    pub(super) bytes_each: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Runs `wrk -t1` with a script of `bench/wrk` and so many connections. Any answer but a success is an error.
pub(super) fn run(
    script: &str,
    address: SocketAddr,
    connections: u32,
    seconds: u64,
    arguments: &[&Path],
) -> Result<Load> {
    let wrk = ensure_package("wrk", "wrk")?;
    let script = workspace_root().join("bench/wrk").join(script);
    let program = Program::new(wrk)
        .args(["-t1", "-c", &connections.to_string(), "--timeout", "10s", "-d", &format!("{seconds}s"), "-s"])
        .args([script.as_os_str(), format!("http://{address}").as_ref(), "--".as_ref()])
        .args(arguments);
    let output = program.output()?;
    read(&String::from_utf8_lossy(&output))
}

/// Reads the line that the scripts print.
fn read(output: &str) -> Result<Load> {
    let line = output.lines().find_map(|line| line.strip_prefix("result: "));
    let line = line.with_context(|| format!("wrk gave no result: {output}"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let figure = |name: &str| {
        let value = words.chunks_exact(2).find(|pair| pair[0] == name).and_then(|pair| pair[1].parse::<f64>().ok());
        value.with_context(|| format!("no {name} in {line:?}"))
    };
    let (requests, failed) = (figure("requests")?, figure("failed")?);
    if failed > 0.0 || requests < 1.0 {
        bail!("{failed} of {requests} requests failed: {output}");
    }
    Ok(Load {
        per_second: requests / (figure("microseconds")? / 1e6),
        bytes_each: figure("bytes")? / requests,
        p50_ms: figure("p50")? / 1e3,
        p99_ms: figure("p99")? / 1e3,
    })
}

/// Medians of the rounds, as a line.
pub(super) fn describe(rounds: &[Load], arguments: &Arguments) -> String {
    let of = |figure: fn(&Load) -> f64| median(rounds.iter().map(figure));
    let all: Vec<_> = rounds.iter().map(|load| format!("{:.0}", load.per_second)).collect();
    format!(
        "{:>9.0}/s  p50 {:.2} ms  p99 {:.2} ms  {:.0} B each  ({} x {} s: {})",
        of(|load| load.per_second),
        of(|load| load.p50_ms),
        of(|load| load.p99_ms),
        of(|load| load.bytes_each),
        arguments.rounds,
        arguments.seconds,
        all.join(" "),
    )
}

/// Requests per second of each round.
pub(super) fn rates(rounds: &[Load]) -> Vec<f64> {
    rounds.iter().map(|load| load.per_second).collect()
}

#[cfg(test)]
mod tests {
    use super::{Load, read};

    #[test]
    fn results_are_read_and_failures_refused() {
        let line = "Running\nresult: requests 1000 microseconds 500000 failed 0 bytes 5000 p50 1500 p99 9000\n";
        assert_eq!(read(line).unwrap(), Load { per_second: 2000.0, bytes_each: 5.0, p50_ms: 1.5, p99_ms: 9.0 });
        assert!(read(&line.replace("failed 0", "failed 3")).unwrap_err().to_string().starts_with("3 of 1000"));
        assert!(read("no such host").is_err());
    }
}
