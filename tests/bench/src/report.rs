//! What is reported: a table for people, a file for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What it is compared with; nothing for a number that is reported alone.
    pub(crate) baseline: Option<&'static str>,
    pub(crate) baseline_value: Option<f64>,
    /// Value over the baseline's.
    pub(crate) ratio: Option<f64>,
    /// The ratio that may not be exceeded, or for a throughput not be missed.
    pub(crate) bound: Option<f64>,
    /// Whether the bound holds; true where there is none.
    pub(crate) holds: bool,
    /// Lowest and highest value of the rounds, and of the baseline's.
    pub(crate) spread: [Option<f64>; 4],
}

/// Which side of its bound a ratio must be on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// The results of several rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(pub(crate) Vec<f64>);

impl Rounds {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The median; of an even number, the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = |n: usize| sorted.get(n).copied().unwrap_or(0.0);
        let half = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) {
            f64::midpoint(middle(half.saturating_sub(1)), middle(half))
        } else {
            middle(half)
        }
    }

    /// The value that this share of all is not above; the highest of fewer than it takes to tell.
    fn quantile(&self, share: f64) -> f64 {
        let sorted = self.sorted();
        let at = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    fn ends(&self) -> [Option<f64>; 2] {
        let sorted = self.sorted();
        [sorted.first().copied(), sorted.last().copied()]
    }
}

impl Row {
    /// A line with a baseline and a bound.
    pub(crate) fn bounded(
        name: &'static str,
        unit: &'static str,
        ours: &Rounds,
        baseline: &'static str,
        theirs: &Rounds,
        bound: Bound,
    ) -> Self {
        let values = (ours.median(), theirs.median());
        Row::compared(name, unit, ours, baseline, theirs, values, bound)
    }

    /// A line whose value is not the median of its samples, but what this share of them is not above.
    pub(crate) fn at_share(
        name: &'static str,
        unit: &'static str,
        share: f64,
        ours: &Rounds,
        baseline: &'static str,
        theirs: &Rounds,
        bound: Bound,
    ) -> Self {
        let values = (ours.quantile(share), theirs.quantile(share));
        Row::compared(name, unit, ours, baseline, theirs, values, bound)
    }

    fn compared(
        name: &'static str,
        unit: &'static str,
        ours: &Rounds,
        baseline: &'static str,
        theirs: &Rounds,
        (value, baseline_value): (f64, f64),
        bound: Bound,
    ) -> Self {
        let ratio = value / baseline_value;
        let (limit, holds) = match bound {
            Bound::AtMost(limit) => (limit, ratio <= limit),
            Bound::AtLeast(limit) => (limit, ratio >= limit),
        };
        let ([low, high], [their_low, their_high]) = (ours.ends(), theirs.ends());
        Row {
            name,
            value,
            unit,
            baseline: Some(baseline),
            baseline_value: Some(baseline_value),
            ratio: Some(ratio),
            bound: Some(limit),
            // No number at all, as after a division by nothing, holds no bound.
            holds,
            spread: [low, high, their_low, their_high],
        }
    }

    /// A line that is reported alone.
    pub(crate) fn reported(name: &'static str, unit: &'static str, ours: &Rounds) -> Self {
        let [low, high] = ours.ends();
        Row {
            name,
            value: ours.median(),
            unit,
            baseline: None,
            baseline_value: None,
            ratio: None,
            bound: None,
            holds: true,
            spread: [low, high, None, None],
        }
    }
}

/// The table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<22} {:>11} {:<12} {:>11}  {:>6} {:>6}  {:<5}  {:<27} baseline",
        "name", "value", "unit", "baseline", "ratio", "bound", "holds", "spread (ours; baseline)"
    );
    for row in rows {
        let number = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), show);
        let [low, high, their_low, their_high] = row.spread.map(number);
        let spread = match row.baseline {
            Some(_) => format!("{low}–{high}; {their_low}–{their_high}"),
            None => format!("{low}–{high}"),
        };
        let holds = match (row.bound, row.holds) {
            (None, _) => "–",
            (Some(_), true) => "yes",
            (Some(_), false) => "NO",
        };
        let ratio = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| format!("{n:.2}"));
        let _ = writeln!(
            text,
            "{:<22} {:>11} {:<12} {:>11}  {:>6} {:>6}  {holds:<5}  {spread:<27} {}",
            row.name,
            show(row.value),
            row.unit,
            number(row.baseline_value),
            ratio(row.ratio),
            ratio(row.bound),
            row.baseline.unwrap_or("–"),
        );
    }
    text
}

fn show(n: f64) -> String {
    if n.abs() >= 1000.0 {
        format!("{n:.0}")
    } else {
        format!("{n:.1}")
    }
}

/// Writes the file.
pub(crate) fn write(rows: &[Row], path: &Path) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(rows)?;
    text.push('\n');
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: &[f64], theirs: &[f64], bound: Bound) -> Row {
        Row::bounded(
            "x",
            "µs",
            &Rounds(ours.to_vec()),
            "y",
            &Rounds(theirs.to_vec()),
            bound,
        )
    }

    #[test]
    fn medians_are_compared() {
        let held = row(
            &[30.0, 10.0, 14.0],
            &[10.0, 9.0, 11.0, 10.0],
            Bound::AtMost(1.5),
        );
        assert_eq!(
            (held.value, held.baseline_value, held.holds),
            (14.0, Some(10.0), true)
        );
        assert!(!row(&[16.0], &[10.0], Bound::AtMost(1.5)).holds);
        assert!(row(&[5.0], &[10.0], Bound::AtLeast(0.5)).holds);
        assert!(!row(&[4.0], &[10.0], Bound::AtLeast(0.5)).holds);
    }

    #[test]
    fn shares_of_all_samples_are_found() {
        let all = Rounds((1..=100).rev().map(f64::from).collect());
        assert_eq!((all.quantile(0.5), all.quantile(0.99)), (50.0, 99.0));
        assert_eq!(Rounds(vec![3.0, 1.0]).quantile(0.99), 3.0);
        assert_eq!(Rounds::default().quantile(0.5), 0.0);
    }

    #[test]
    fn what_was_not_measured_holds_nothing() {
        assert!(!row(&[], &[], Bound::AtMost(1.5)).holds);
        assert!(!row(&[], &[], Bound::AtLeast(0.5)).holds);
        assert!(!row(&[1.0], &[], Bound::AtMost(1.5)).holds);
    }

    #[test]
    fn the_table_has_a_line_a_row() {
        let rows = [
            row(&[1.0], &[1.0], Bound::AtMost(1.5)),
            Row::reported("z", "1/s", &Rounds(vec![2000.0])),
        ];
        let text = table(&rows);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|l| !l.contains("NaN")), "{text}");
    }
}
