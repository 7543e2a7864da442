//! Figures of one bench, and how they are summed up.

use std::fmt::{self, Display};

/// A table of absolute figures and the ratios that were asked for.
#[derive(Default)]
pub(super) struct Report {
    rows: Vec<[String; 2]>,
    goals: Vec<Goal>,
}

/// A ratio and its goal.
pub(super) struct Goal {
    what: String,
    ratio: f64,
    bound: Bound,
}

/// What the ratio should be.
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// For information.
    None,
}

impl Report {
    /// Adds a line of the table.
    pub(super) fn row(&mut self, what: impl Into<String>, figures: impl Into<String>) {
        self.rows.push([what.into(), figures.into()]);
    }

    /// Adds a ratio.
    pub(super) fn goal(&mut self, what: impl Into<String>, ratio: f64, bound: Bound) {
        self.goals.push(Goal { what: what.into(), ratio, bound });
    }

    pub(super) fn goals(&self) -> impl Iterator<Item = &Goal> {
        self.goals.iter()
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|[what, _]| what.len()).max().unwrap_or(0);
        for [what, figures] in &self.rows {
            writeln!(formatter, "{what:<width$}  {figures}")?;
        }
        for goal in &self.goals {
            writeln!(formatter, "{goal}")?;
        }
        Ok(())
    }
}

impl Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, ratio, bound } = self;
        let verdict = |met| if met { "met" } else { "MISSED" };
        match *bound {
            Bound::AtLeast(goal) => {
                write!(formatter, "{what}: {ratio:.2}, goal at least {goal}: {}", verdict(*ratio >= goal))
            }
            Bound::AtMost(goal) => {
                write!(formatter, "{what}: {ratio:.2}, goal at most {goal}: {}", verdict(*ratio <= goal))
            }
            Bound::None => write!(formatter, "{what}: {ratio:.2}"),
        }
    }
}

/// The middle value; of an even number the mean of the two in the middle. NaN of none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => f64::NAN,
        all if all.len() % 2 == 1 => all[all.len() / 2],
        all => f64::midpoint(all[all.len() / 2 - 1], all[all.len() / 2]),
    }
}

/// The median of the quotients of two sides' rounds, pair by pair.
pub(super) fn median_ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
}

#[cfg(test)]
mod tests {
    use super::{Bound, Report, median, median_ratio};

    #[test]
    fn medians_are_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
        assert_eq!(median_ratio(&[2.0, 9.0, 4.0], &[1.0, 3.0, 2.0]), 2.0);
    }

    #[test]
    fn a_missed_goal_is_said_loudly() {
        let mut report = Report::default();
        report.goal("reads", 1.3, Bound::AtLeast(1.2));
        report.goal("memory", 2.6, Bound::AtMost(2.5));
        let lines: Vec<_> = report.goals().map(ToString::to_string).collect();
        assert_eq!(lines, ["reads: 1.30, goal at least 1.2: met", "memory: 2.60, goal at most 2.5: MISSED"]);
    }
}
