//! Where the progress of a long job is shown: a bar on a terminal, plain lines in a pipe.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Receives what a job reports while it runs. Calls come from one task, in order.
pub trait Progress: Send + Sync {
    /// The whole job is this much, in the unit of [`Progress::advance`].
    fn total(&self, amount: u64);
    /// A part of the job begins; `name` is a file or an entity type.
    fn begin(&self, name: &str);
    /// That much more is done.
    fn advance(&self, amount: u64);
    /// Something the user should know; a rejected row, for instance. One line.
    fn complain(&self, line: &str);
    /// The part that began last is complete; `summary` says with what result.
    fn end(&self, name: &str, summary: &str);
    /// The job is over, well or badly. What is shown must leave room for the report.
    fn finish(&self);
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of files.
    Bytes,
    /// Rows.
    Rows,
}

/// A bar if standard error is a terminal, else plain lines there.
pub fn for_stderr(unit: Unit) -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() { Box::new(Bar::new(unit)) } else { Box::new(Lines) }
}

/// One line at the beginning and the end of each part.
#[derive(Debug)]
pub struct Lines;

impl Progress for Lines {
    fn total(&self, _amount: u64) {}

    fn begin(&self, name: &str) {
        write_line(&format!("{name} ..."));
    }

    fn advance(&self, _amount: u64) {}

    fn complain(&self, line: &str) {
        write_line(line);
    }

    fn end(&self, name: &str, summary: &str) {
        write_line(&format!("{name}: {summary}"));
    }

    fn finish(&self) {}
}

/// A bar over all parts, with the name of the current one before it.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar of unknown length on standard error.
    pub fn new(unit: Unit) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let amounts = match unit {
            Unit::Bytes => "{bytes}/{total_bytes}",
            Unit::Rows => "{human_pos}/{human_len} rows",
        };
        let template = format!("{{prefix}} {{wide_bar}} {amounts} {{eta}}");
        // The template is fixed; were it ever wrong, the default style still shows a bar.
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Progress for Bar {
    fn total(&self, amount: u64) {
        self.0.set_length(amount);
    }

    fn begin(&self, name: &str) {
        self.0.set_prefix(name.to_owned());
        self.0.tick();
    }

    fn advance(&self, amount: u64) {
        self.0.inc(amount);
    }

    fn complain(&self, line: &str) {
        self.0.suspend(|| write_line(line));
    }

    fn end(&self, _name: &str, _summary: &str) {}

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A line on standard error. A reader that has gone is no reason to stop the job.
fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A duration as people say it: `0.4 s`, `75 s`.
pub(crate) fn seconds(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}
