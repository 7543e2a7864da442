//! What an import did, per type and in all.

use std::io::{self, Write};
use std::time::Duration;

use contract::TypeName;

use super::progress::seconds;
use super::text::{count, thousands};

/// Rows by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub rows: u64,
    /// New entities.
    pub created: u64,
    /// Entities that were there and changed.
    pub updated: u64,
    /// Entities that were there like this.
    pub unchanged: u64,
    /// Entities that were there and were left as they are, however that is.
    pub kept: u64,
    /// Entities that had been deleted and were left so.
    pub gone: u64,
    /// Rows that did not go in.
    pub rejected: u64,
    /// Rows that may have gone in.
    pub unknown: u64,
    /// Rows without an id: a second import creates them again.
    pub without_id: u64,
    /// Rows whose id an earlier row of the same file had: the later one wins. Counted by a dry run only.
    pub repeated: u64,
}

/// The result of an import.
#[derive(Debug, Default)]
pub struct Report {
    /// Per type, in the order of the files.
    pub types: Vec<(TypeName, Counts)>,
    /// How long it took.
    pub elapsed: Duration,
    /// Nothing was sent.
    pub dry_run: bool,
    /// What is there already was left as it is.
    pub create_only: bool,
    /// Why the import ended early, if it did.
    pub stopped: Option<String>,
}

impl Report {
    /// Whether every row went in.
    pub fn is_clean(&self) -> bool {
        let total = self.total();
        self.stopped.is_none() && total.rejected == 0 && total.unknown == 0
    }

    /// The counts of all types.
    pub fn total(&self) -> Counts {
        self.types.iter().fold(Counts::default(), |sum, (_, counts)| sum.plus(*counts))
    }

    /// Writes the summary that people and scripts read.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (name, counts) in &self.types {
            writeln!(out, "{name}: {}", self.words(counts))?;
        }
        let total = self.total();
        writeln!(out, "total: {} in {}", self.words(&total), seconds(self.elapsed))?;
        if let Some(reason) = &self.stopped {
            writeln!(out, "stopped early: {reason}")?;
            let there = if self.create_only {
                "rows with an id that are there already are left as they are"
            } else {
                "rows with an id that are there already are merged, which changes nothing where they are the same"
            };
            writeln!(out, "run the same import again: {there}")?;
        }
        self.write_kept(&total, out)?;
        if total.without_id > 0 {
            let verb = if total.without_id == 1 { "has" } else { "have" };
            writeln!(
                out,
                "warning: {} {verb} no id: a second import would create them again",
                count(total.without_id, "row")
            )?;
        }
        if total.unknown > 0 {
            writeln!(out, "warning: {} may or may not have gone in, see above", count(total.unknown, "row"))?;
        }
        Ok(())
    }

    /// What was there before.
    fn write_kept(&self, total: &Counts, out: &mut dyn Write) -> io::Result<()> {
        let left = total.kept + total.gone;
        let nothing = !self.dry_run && self.stopped.is_none() && total.rows > 0;
        let nothing_changed = nothing && total.unchanged + left == total.rows;
        let prefix = if nothing_changed { "nothing changed: " } else { "" };
        let (there, end) = match (total.kept, total.unchanged) {
            (0, unchanged) => (if nothing_changed { unchanged } else { 0 }, ""),
            (kept, _) => (kept, " and were left as they are"),
        };
        if there > 0 {
            let rows = match there {
                1 if total.rows == 1 => "the only row was".to_owned(),
                1 => "1 row was".to_owned(),
                _ if there == total.rows => format!("all {} were", count(there, "row")),
                _ => format!("{} were", count(there, "row")),
            };
            let end = if there == 1 { end.replace("were", "was").replace("they are", "it is") } else { end.to_owned() };
            writeln!(out, "{prefix}{rows} there already{end}")?;
        }
        if total.gone > 0 {
            let prefix = if there > 0 { "" } else { prefix };
            writeln!(out, "{prefix}{} had been deleted since, and stayed so", count(total.gone, "row"))?;
        }
        Ok(())
    }

    pub(crate) fn words(&self, counts: &Counts) -> String {
        let number = thousands;
        if self.dry_run {
            let good = counts.rows - counts.rejected;
            return format!(
                "{}: {} would be sent, {} rejected",
                count(counts.rows, "row"),
                number(good),
                number(counts.rejected)
            ) + &some(counts.repeated, "with the id of an earlier row");
        }
        format!(
            "{}: {} created, {} updated, {} unchanged, {} rejected",
            count(counts.rows, "row"),
            number(counts.created),
            number(counts.updated),
            number(counts.unchanged),
            number(counts.rejected)
        ) + &some(counts.kept, "there already")
            + &some(counts.gone, "deleted since")
            + &some(counts.unknown, "unknown")
    }
}

impl Counts {
    /// The sum of both.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            created: self.created + other.created,
            updated: self.updated + other.updated,
            unchanged: self.unchanged + other.unchanged,
            kept: self.kept + other.kept,
            gone: self.gone + other.gone,
            rejected: self.rejected + other.rejected,
            unknown: self.unknown + other.unknown,
            without_id: self.without_id + other.without_id,
            repeated: self.repeated + other.repeated,
        }
    }
}

fn some(number: u64, words: &str) -> String {
    if number == 0 { String::new() } else { format!(", {} {words}", thousands(number)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        report.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn report(counts: Counts) -> Report {
        let types = vec![(TypeName::parse("provider").unwrap(), counts)];
        Report { types, elapsed: Duration::from_millis(1234), ..Report::default() }
    }

    #[test]
    fn a_first_and_a_second_run() {
        let mut first = report(Counts { rows: 2126, created: 2126, ..Counts::default() });
        let line = "2,126 rows: 2,126 created, 0 updated, 0 unchanged, 0 rejected";
        assert_eq!(text(&first), format!("provider: {line}\ntotal: {line} in 1.2 s\n"));
        assert!(first.is_clean());
        first.types[0].1 = Counts { rows: 2126, unchanged: 2126, ..Counts::default() };
        assert!(text(&first).ends_with("nothing changed: all 2,126 rows were there already\n"));
    }

    #[test]
    fn what_was_left_alone_is_said() {
        let end = |counts: Counts| {
            let mut report = report(counts);
            report.create_only = true;
            let text = text(&report);
            text.lines().skip(2).collect::<Vec<_>>().join("\n")
        };
        let counts = Counts { rows: 2126, kept: 2126, ..Counts::default() };
        assert_eq!(end(counts), "nothing changed: all 2,126 rows were there already and were left as they are");
        let counts = Counts { rows: 3, created: 2, kept: 1, ..Counts::default() };
        assert_eq!(end(counts), "1 row was there already and was left as it is");
        let counts = Counts { rows: 3, kept: 2, gone: 1, ..Counts::default() };
        let both = "nothing changed: 2 rows were there already and were left as they are\n\
                    1 row had been deleted since, and stayed so";
        assert_eq!(end(counts), both);
        let counts = Counts { rows: 1, gone: 1, ..Counts::default() };
        assert_eq!(end(counts), "nothing changed: 1 row had been deleted since, and stayed so");
    }

    #[test]
    fn a_stopped_import_says_what_another_run_does() {
        let mut report = report(Counts { rows: 2, created: 2, ..Counts::default() });
        report.stopped = Some("interrupted".to_owned());
        assert!(text(&report).contains("are merged, which changes nothing where they are the same"));
        report.create_only = true;
        assert!(text(&report).contains("are left as they are"));
    }

    #[test]
    fn what_went_wrong_is_said() {
        let counts = Counts { rows: 3, created: 1, rejected: 1, unknown: 1, without_id: 1, ..Counts::default() };
        let mut report = report(counts);
        report.stopped = Some("no answer".to_owned());
        assert!(!report.is_clean());
        let text = text(&report);
        for part in [
            "3 rows: 1 created, 0 updated, 0 unchanged, 1 rejected, 1 unknown",
            "stopped early: no answer",
            "1 row has no id",
            "may or may not",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_dry_run_says_what_it_would_do() {
        let mut report = report(Counts { rows: 5, rejected: 1, repeated: 2, ..Counts::default() });
        report.dry_run = true;
        assert!(text(&report).contains("5 rows: 4 would be sent, 1 rejected, 2 with the id of an earlier row"));
    }
}
