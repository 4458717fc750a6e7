//! What people see: a line for each thing that happens, a table at the end, and one JSON object for
//! machines. Colours only where a terminal shows them.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::Instant;

use serde::Serialize;

/// What a run of the demo counts. The names are fixed: other programs read them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Nodes running at the end.
    pub nodes: u64,
    /// Regions in a node's list.
    pub regions: u64,
    /// Postal codes in that list.
    pub postal_codes: u64,
    /// Providers with a certificate in force and their region keys.
    pub providers: u64,
    /// Users whose request was admitted.
    pub users: u64,
    /// Bookings that stand at the end, for the user.
    pub bookings_confirmed: u64,
    /// Of these, those that the provider's book or a node lacks.
    pub bookings_lost: u64,
    /// Slots with more than one booking that stands.
    pub double_bookings: u64,
    /// Nodes killed on the way.
    pub nodes_killed: u64,
    /// Writes that nodes acknowledged and that can be read back by some call.
    pub acknowledged_writes: u64,
    /// Those of them that a node could not show at the end.
    pub acknowledged_writes_lost: u64,
    /// Pairs of holders that hold different things at the end.
    pub replicas_diverged: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Counts {
    /// The counts that are not what they must be: name, found, expected.
    #[must_use]
    pub fn wrong(&self, expected: &Expected) -> Vec<(&'static str, u64, String)> {
        let exactly = [
            ("nodes", self.nodes, expected.nodes),
            ("regions", self.regions, expected.regions),
            ("postal_codes", self.postal_codes, expected.postal_codes),
            ("providers", self.providers, expected.providers),
            ("users", self.users, expected.users),
            (
                "bookings_confirmed",
                self.bookings_confirmed,
                expected.users,
            ),
            ("bookings_lost", self.bookings_lost, 0),
            ("double_bookings", self.double_bookings, 0),
            ("nodes_killed", self.nodes_killed, expected.nodes_killed),
            ("acknowledged_writes_lost", self.acknowledged_writes_lost, 0),
            ("replicas_diverged", self.replicas_diverged, 0),
        ];
        let mut wrong: Vec<_> = exactly
            .into_iter()
            .filter(|(_, found, expected)| found != expected)
            .map(|(name, found, expected)| (name, found, expected.to_string()))
            .collect();
        // Every user writes at least a request and a booking.
        let least = expected.users * 2;
        if self.acknowledged_writes < least {
            wrong.push((
                "acknowledged_writes",
                self.acknowledged_writes,
                format!("{least} or more"),
            ));
        }
        wrong
    }
}

/// What the counts of a run must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Nodes.
    pub nodes: u64,
    /// Regions.
    pub regions: u64,
    /// Postal codes.
    pub postal_codes: u64,
    /// Providers.
    pub providers: u64,
    /// Users, each with one booking in the end.
    pub users: u64,
    /// Nodes killed.
    pub nodes_killed: u64,
}

/// Tells what happens, one line each: when, who, at which node, what.
#[derive(Debug)]
pub struct Say {
    begun: Instant,
    colour: bool,
    /// One line at a time.
    out: Mutex<()>,
}

impl Default for Say {
    fn default() -> Self {
        Say {
            begun: Instant::now(),
            colour: io::stdout().is_terminal(),
            out: Mutex::new(()),
        }
    }
}

const DIM: &str = "2";
const BOLD: &str = "1";
const GREEN: &str = "32";
const RED: &str = "31";

impl Say {
    /// Seconds since the run began.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    fn write(&self, line: &str) {
        let _one_at_a_time = self.out.lock();
        // Nobody reads any more: the run goes on all the same.
        let _closed = writeln!(io::stdout(), "{line}");
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

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected {
        nodes: 5,
        regions: 671,
        postal_codes: 8168,
        providers: 2,
        users: 10,
        nodes_killed: 1,
    };

    fn right() -> Counts {
        Counts {
            nodes: 5,
            regions: 671,
            postal_codes: 8168,
            providers: 2,
            users: 10,
            bookings_confirmed: 10,
            nodes_killed: 1,
            acknowledged_writes: 100,
            ..Counts::default()
        }
    }

    #[test]
    fn every_count_must_be_right() {
        assert_eq!(right().wrong(&EXPECTED), []);
        let spoil: [fn(&mut Counts); 12] = [
            |c| c.nodes = 4,
            |c| c.regions = 670,
            |c| c.postal_codes = 1,
            |c| c.providers = 1,
            |c| c.users = 9,
            |c| c.bookings_confirmed = 9,
            |c| c.bookings_lost = 1,
            |c| c.double_bookings = 1,
            |c| c.nodes_killed = 0,
            |c| c.acknowledged_writes = 3,
            |c| c.acknowledged_writes_lost = 1,
            |c| c.replicas_diverged = 1,
        ];
        for spoil in spoil {
            let mut counts = right();
            spoil(&mut counts);
            assert_eq!(counts.wrong(&EXPECTED).len(), 1, "{counts:?}");
        }
    }

    #[test]
    fn the_json_has_the_fixed_names() {
        let json = serde_json::to_value(right()).unwrap();
        let names: Vec<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = [
            "nodes",
            "regions",
            "postal_codes",
            "providers",
            "users",
            "bookings_confirmed",
            "bookings_lost",
            "double_bookings",
            "nodes_killed",
            "acknowledged_writes",
            "acknowledged_writes_lost",
            "replicas_diverged",
            "seconds",
        ];
        expected.sort_unstable();
        let mut names = names;
        names.sort_unstable();
        assert_eq!(names, expected);
    }
}
