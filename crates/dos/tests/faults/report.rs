//! The figures of a run, as a table for `docs/faults.md`.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::time::Duration;

use crate::cluster::ON_DEMAND;
use crate::fault::{Done, Kind};
use crate::load::Records;
use crate::reads::Seen;
use crate::shared::history::{Outcome, Version};

const BEGIN: &str = "<!-- figures -->\n";
const END: &str = "<!-- end of figures -->\n";

/// Figures of one round, or of all rounds of a kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    rounds: usize,
    writes: usize,
    acknowledged: usize,
    /// `4xx`: by condition, or because the entity is not there.
    refused: usize,
    /// `503`, `retry: safe`.
    safe: usize,
    /// `202`, not counting what asked for it.
    pending: usize,
    asked_async: usize,
    /// `retry: unknown`, with an operation.
    unknown: usize,
    /// The connection was lost.
    lost: usize,
    /// Of `unknown` and `lost`, those that were carried out.
    in_doubt_done: usize,
    versions: usize,
    reads: usize,
    /// At gateways with a materialised view, all of them of the one that was killed: otherwise the run fails.
    reads_failed: usize,
    /// At the gateway that reads on demand.
    reads_failed_on_demand: usize,
    /// From the fault to the last `202`.
    pending_longest: Duration,
    answer_longest: Duration,
    recovery_longest: Duration,
    in_doubt: Vec<String>,
}

impl Row {
    /// What clients were told.
    pub(crate) fn new(records: &Records, done: &Done) -> Self {
        let mut row =
            Self { rounds: 1, writes: records.sent.len(), recovery_longest: done.recovery, ..Self::default() };
        for sent in &records.sent {
            let write = &sent.write;
            row.answer_longest = row.answer_longest.max(sent.ended - sent.begun);
            match &write.outcome {
                Outcome::Acknowledged { .. } | Outcome::Deleted => row.acknowledged += 1,
                Outcome::Accepted { .. } if write.respond_async => row.asked_async += 1,
                Outcome::Accepted { .. } => {
                    row.pending += 1;
                    row.pending_longest = row.pending_longest.max(sent.ended.saturating_sub(done.begun));
                }
                Outcome::Refused(..500) => row.refused += 1,
                Outcome::Refused(_) => row.safe += 1,
                Outcome::Unknown { operation } => {
                    row.in_doubt.push(write.marker.clone());
                    *(if operation.is_some() { &mut row.unknown } else { &mut row.lost }) += 1;
                }
                Outcome::Never | Outcome::Strange(_) | Outcome::None => {}
            }
        }
        row.reads = records.reads.len();
        for read in records.reads.iter().filter(|read| matches!(read.seen, Seen::Failed(_))) {
            *(if read.gateway == ON_DEMAND { &mut row.reads_failed_on_demand } else { &mut row.reads_failed }) += 1;
        }
        row
    }

    /// What the check found.
    pub(crate) fn checked(&mut self, versions: &[Version], is_applied: impl Fn(&str) -> bool) {
        self.versions = versions.len();
        self.in_doubt_done = self.in_doubt.drain(..).filter(|marker| is_applied(marker)).count();
    }

    fn add(&mut self, other: &Self) {
        for (sum, count) in [
            (&mut self.rounds, other.rounds),
            (&mut self.writes, other.writes),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.refused, other.refused),
            (&mut self.safe, other.safe),
            (&mut self.pending, other.pending),
            (&mut self.asked_async, other.asked_async),
            (&mut self.unknown, other.unknown),
            (&mut self.lost, other.lost),
            (&mut self.in_doubt_done, other.in_doubt_done),
            (&mut self.versions, other.versions),
            (&mut self.reads, other.reads),
            (&mut self.reads_failed, other.reads_failed),
            (&mut self.reads_failed_on_demand, other.reads_failed_on_demand),
        ] {
            *sum += count;
        }
        self.pending_longest = self.pending_longest.max(other.pending_longest);
        self.answer_longest = self.answer_longest.max(other.answer_longest);
        self.recovery_longest = self.recovery_longest.max(other.recovery_longest);
    }

    fn cells(&self) -> [String; 15] {
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        let window = if self.pending == 0 { "-".to_owned() } else { seconds(self.pending_longest) };
        [
            self.rounds.to_string(),
            self.writes.to_string(),
            self.acknowledged.to_string(),
            self.refused.to_string(),
            self.asked_async.to_string(),
            self.pending.to_string(),
            window,
            self.safe.to_string(),
            format!("{} + {}", self.unknown, self.lost),
            self.in_doubt_done.to_string(),
            seconds(self.answer_longest),
            self.reads.to_string(),
            self.reads_failed.to_string(),
            self.reads_failed_on_demand.to_string(),
            seconds(self.recovery_longest),
        ]
    }
}

const COLUMNS: [&str; 16] = [
    "fault",
    "times",
    "writes",
    "done (`2xx`)",
    "refused (`4xx`)",
    "`202`, asked for",
    "`202`, late",
    "last late `202` after the fault",
    "`503 safe`",
    "in doubt: `503 unknown` + connection lost",
    "of those, done",
    "longest wait",
    "reads",
    "reads failed, materialised",
    "reads failed, on demand",
    "in order again after",
];

impl Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, cell) in COLUMNS.iter().skip(2).zip(self.cells().iter().skip(1)) {
            write!(formatter, "{cell} {name}, ")?;
        }
        write!(formatter, "{} versions", self.versions)
    }
}

/// Figures of a whole run.
pub(crate) struct Report {
    seed: u64,
    patience: u32,
    rows: BTreeMap<Kind, Row>,
    end: String,
}

impl Report {
    pub(crate) fn new(seed: u64, patience: u32) -> Self {
        Self { seed, patience, rows: BTreeMap::new(), end: String::new() }
    }

    pub(crate) fn add(&mut self, kind: Kind, row: Row) {
        self.rows.entry(kind).or_default().add(&row);
    }

    fn all(&self) -> Row {
        let mut all = Row::default();
        self.rows.values().for_each(|row| all.add(row));
        all
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.all().acknowledged
    }

    /// All rounds are done, and no violation was found.
    pub(crate) fn finish(&mut self, took: Duration, repeats: usize, entities: usize) {
        let Row { rounds, versions, .. } = self.all();
        self.end = format!(
            "Seed {}: {rounds} faults in {} minutes, {entities} entities with {versions} versions; {repeats} records came twice on \
             `dos.views`. No violation was found: otherwise there would be no table.\n",
            self.seed,
            took.as_secs().div_ceil(60),
        );
        if self.patience > 1 {
            self.end += &format!(
                "The machine did other things as well: promised times were judged {} times as long.\n",
                self.patience
            );
        }
    }

    /// Puts the figures into a document, where the old ones are.
    pub(crate) fn write_into(&self, file: &str) {
        let text = fs::read_to_string(file).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("the document has a place for figures");
        let (_, after) = rest.split_once(END).expect("the document has an end of the figures");
        fs::write(file, format!("{before}{BEGIN}{self}{END}{after}")).unwrap();
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| {} |", COLUMNS.join(" | "))?;
        writeln!(formatter, "|---{}|", "|--:".repeat(COLUMNS.len() - 1))?;
        for (kind, row) in &self.rows {
            writeln!(formatter, "| {} | {} |", kind.name(), row.cells().join(" | "))?;
        }
        writeln!(formatter, "| all | {} |\n", self.all().cells().join(" | "))?;
        write!(formatter, "{}", self.end)
    }
}
