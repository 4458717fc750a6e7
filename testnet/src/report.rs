//! What people see: a line for each thing that happens, a table at the end. Colours only where a
//! terminal shows them and `NO_COLOR` is not set.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many lines a watched run remembers.
const REMEMBERED: usize = 64;

/// Tells what happens, one line each: when, who, at which node, what.
#[derive(Debug)]
pub struct Say {
    begun: Instant,
    colour: bool,
    /// Whether lines about single people are printed too.
    verbose: bool,
    /// One line at a time.
    out: Mutex<Out>,
}

/// Where lines go.
#[derive(Debug)]
enum Out {
    /// To standard output.
    Lines,
    /// To whoever draws them.
    Watched(VecDeque<String>),
}

impl Default for Say {
    fn default() -> Self {
        Say::new(true)
    }
}

pub(crate) const DIM: &str = "2";
pub(crate) const BOLD: &str = "1";
pub(crate) const GREEN: &str = "32";
pub(crate) const RED: &str = "31";

impl Say {
    /// Begins. Lines about single people are printed only if it is verbose.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Say {
            begun: Instant::now(),
            colour: io::stdout().is_terminal() && !plain,
            verbose,
            out: Mutex::new(Out::Lines),
        }
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on lines are kept for who draws them, or printed again.
    pub fn watched(&self, watched: bool) {
        *self.out() = match watched {
            true => Out::Watched(VecDeque::new()),
            false => Out::Lines,
        };
    }

    /// The newest lines, oldest first, while it is watched.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<String> {
        match &*self.out() {
            Out::Lines => Vec::new(),
            Out::Watched(lines) => lines
                .iter()
                .skip(lines.len().saturating_sub(count))
                .cloned()
                .collect(),
        }
    }

    /// Whether colours are shown.
    #[must_use]
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Seconds since the run began.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Text in a colour (an SGR code of ECMA-48), where colours are shown.
    pub fn paint(&self, code: &str, text: impl Display) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    fn write(&self, line: &str) {
        match &mut *self.out() {
            Out::Watched(lines) => {
                if lines.len() == REMEMBERED {
                    lines.pop_front();
                }
                lines.push_back(line.to_owned());
            }
            Out::Lines => {
                // Nobody reads any more: the run goes on all the same.
                let _closed = writeln!(io::stdout(), "{line}");
            }
        }
    }

    /// Something that one of many people did: shown where there is room for it.
    pub fn detail(&self, who: &str, place: &str, what: impl Display) {
        if self.verbose || matches!(*self.out(), Out::Watched(_)) {
            self.line(who, place, what);
        }
    }

    /// Something happened.
    pub fn line(&self, who: &str, place: &str, what: impl Display) {
        let when = self.paint(DIM, format!("{:6.1} s", self.seconds()));
        self.write(&format!(
            "{when}  {}  {place:<8}{what}",
            self.paint(BOLD, format!("{who:<12}"))
        ));
    }

    /// Something good that people waited for.
    pub fn good(&self, who: &str, place: &str, what: impl Display) {
        self.line(who, place, self.paint(GREEN, what));
    }

    /// Something that should not be.
    pub fn bad(&self, who: &str, place: &str, what: impl Display) {
        self.line(who, place, self.paint(RED, what));
    }

    /// Plain text.
    pub fn plain(&self, text: impl Display) {
        self.write(&text.to_string());
    }

    /// A table: the first row names the columns. Numbers stand to the right.
    pub fn table(&self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            rows.iter()
                .filter_map(|r| r.get(at))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (n, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| {
                    let number = cell.chars().next().is_some_and(|c| c.is_ascii_digit());
                    if number {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                })
                .collect();
            let line = format!("  {}", cells.join("  ")).trim_end().to_owned();
            self.write(&if n == 0 { self.paint(DIM, line) } else { line });
        }
    }
}
