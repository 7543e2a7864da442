//! What the figures were measured on.

use std::fs;
use std::process::Command;

/// A few lines: the command, the machine, the versions.
pub(super) fn describe() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches([':', ' ', '\t']).to_owned()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "command   cargo xtask {}\nmachine   {processors} x {}, {}, Linux {}, load {load} at the start\nversions  {}",
        arguments.join(" "),
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        kernel.trim(),
        version("rustc", "--version"),
    )
}

/// The first line that a program says about its version, on whichever stream.
pub(super) fn version(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return format!("{program} is missing") };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}
