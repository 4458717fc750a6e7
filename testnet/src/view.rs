//! The live view: nodes, replication, bookings and what happens, redrawn in place on a terminal; where
//! there is none, a line now and then.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::audit::diverged;
use crate::faults::SharedNet;
use crate::node::{Life, Probe, Status};
use crate::report::{BOLD, DIM, GREEN, RED, Say};
use crate::scenario::Scenario;
use crate::tally::{Progress, Tally};

/// Between two drawings.
const FRAME: Duration = Duration::from_millis(250);
/// Between two looks at a node.
const LOOK: Duration = Duration::from_secs(1);
/// Between two lines where nothing is drawn.
const LINE: Duration = Duration::from_secs(5);
/// Lines of what happened.
const TICKER: usize = 12;
/// Width of a bar.
const BAR: u64 = 30;
const YELLOW: &str = "33";

/// What a view shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The run's nodes.
    pub net: SharedNet,
    /// What has happened.
    pub tally: Arc<Tally>,
    /// Where lines go.
    pub say: Arc<Say>,
    /// What is played; nothing if nothing is.
    pub scenario: Option<Arc<Scenario>>,
    /// The seed.
    pub seed: u64,
}

/// Whether a view can be drawn here.
#[must_use]
pub fn possible() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// A view that is shown until this is dropped or [`View::end`]ed.
#[derive(Debug)]
pub struct View {
    say: Arc<Say>,
    drawn: bool,
    tasks: JoinSet<()>,
}

impl View {
    /// Draws, if `draw`; else says now and then how far it is.
    #[must_use]
    pub fn start(shown: Shown, draw: bool) -> Self {
        let mut tasks = JoinSet::new();
        let say = shown.say.clone();
        if draw {
            say.watched(true);
            tasks.spawn(redraw(shown));
        } else {
            tasks.spawn(lines(shown));
        }
        View {
            say,
            drawn: draw,
            tasks,
        }
    }

    /// Ends it; from now on lines are printed. The last picture stays.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
        if self.drawn {
            self.say.watched(false);
        }
    }
}

/// What is known of one node.
struct Seen {
    probe: Probe,
    life: Life,
    status: Option<Status>,
}

async fn look(net: &SharedNet) -> Vec<Seen> {
    let nodes: Vec<_> = {
        let net = net.lock().await;
        net.nodes().iter().map(|n| (n.probe(), n.life())).collect()
    };
    let mut asked = JoinSet::new();
    for (n, (probe, life)) in nodes.into_iter().enumerate() {
        asked.spawn(async move {
            let status = match life {
                // A paused node would keep us waiting.
                Life::Up => probe.status().await.ok(),
                Life::Paused | Life::Down => None,
            };
            (
                n,
                Seen {
                    probe,
                    life,
                    status,
                },
            )
        });
    }
    let mut seen: Vec<_> = asked.join_all().await;
    seen.sort_by_key(|(n, _)| *n);
    seen.into_iter().map(|(_, seen)| seen).collect()
}

async fn redraw(shown: Shown) {
    let mut nodes = look(&shown.net).await;
    let mut looked = Instant::now();
    let mut frames = interval(FRAME);
    let mut height = 0;
    loop {
        frames.tick().await;
        if looked.elapsed() >= LOOK {
            nodes = look(&shown.net).await;
            looked = Instant::now();
        }
        let width = tcgetwinsize(io::stdout()).map_or(100, |size| usize::from(size.ws_col));
        let text = picture(&shown, &nodes);
        let mut out = String::new();
        if height > 0 {
            // Cursor to the first line of the last picture. ECMA-48, CPL.
            let _ = write!(out, "\x1b[{height}F");
        }
        height = 0;
        for line in text.lines() {
            // Each line cleared to its end, cut to the terminal: a longer one would break the picture.
            let _ = writeln!(out, "{}\x1b[0m\x1b[K", cut(line, width));
            height += 1;
        }
        out.push_str("\x1b[J");
        let mut stdout = io::stdout().lock();
        // Nobody looks any more: the run goes on all the same.
        let _closed = stdout
            .write_all(out.as_bytes())
            .and_then(|()| stdout.flush());
    }
}

async fn lines(shown: Shown) {
    loop {
        sleep(LINE).await;
        let p = shown.tally.now();
        if p.users_began {
            shown.say.line(
                "so far",
                "",
                format!(
                    "{} requests, {} offers, {} bookings confirmed, {} turned down, {} done",
                    p.admitted, p.offers, p.confirmed, p.turned_down, p.done
                ),
            );
        }
    }
}

/// At most so many characters that are seen; what paints is not counted.
fn cut(line: &str, width: usize) -> String {
    let mut out = String::with_capacity(line.len());
    let (mut seen, mut escape) = (0, false);
    for c in line.chars() {
        if c == '\x1b' {
            escape = true;
        }
        if !escape {
            if seen == width {
                break;
            }
            seen += 1;
        } else if c.is_ascii_alphabetic() {
            escape = false;
        }
        out.push(c);
    }
    out
}

fn picture(shown: &Shown, nodes: &[Seen]) -> String {
    let say = &*shown.say;
    let p = shown.tally.now();
    let mut text = String::new();
    let name = shown
        .scenario
        .as_ref()
        .map_or("A federation", |s| s.name.as_str());
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        text,
        "{}  {}",
        say.paint(BOLD, format!("Lapwing · {name}")),
        say.paint(DIM, format!("seed {} · {:.1} s", shown.seed, say.seconds()))
    );
    let _ = writeln!(
        text,
        "{}",
        say.paint(
            DIM,
            "  node      state     peers   items  behind  requests    disk   API"
        )
    );
    for (n, seen) in nodes.iter().enumerate() {
        let _ = writeln!(text, "{}", node_line(say, n, seen, nodes));
    }
    let statuses = nodes
        .iter()
        .map(|s| (s.probe.id, s.status.clone()))
        .collect();
    let apart = diverged(&statuses);
    let replicas = match apart {
        0 => say.paint(GREEN, "all holders hold the same"),
        n => say.paint(YELLOW, format!("{n} pairs of nodes differ")),
    };
    let _ = writeln!(text, "  replicas  {replicas}");
    if let Some(scenario) = &shown.scenario {
        text.push_str(&people(say, scenario, &p));
    }
    text.push('\n');
    for line in say.newest(TICKER) {
        // What has several lines (a log) would break the picture.
        let _ = writeln!(text, "{}", line.lines().next().unwrap_or_default());
    }
    text
}

fn node_line(say: &Say, n: usize, seen: &Seen, all: &[Seen]) -> String {
    let state = match (seen.life, &seen.status) {
        (Life::Up, Some(_)) => say.paint(GREEN, "● up    "),
        (Life::Up, None) => say.paint(YELLOW, "○ starts"),
        (Life::Paused, _) => say.paint(YELLOW, "‖ paused"),
        (Life::Down, _) => say.paint(RED, "✗ down  "),
    };
    let Some(status) = &seen.status else {
        return format!("  {:<8}  {state}", seen.probe.name);
    };
    format!(
        "  {:<8}  {state}  {:>5}  {:>6}  {:>6}  {:>8}  {:>5} k   http://{}",
        seen.probe.name,
        status.peers.len(),
        status.number("items"),
        behind(n, all),
        status.number("requests"),
        status.store_bytes.unwrap_or(0) / 1024,
        seen.probe.api
    )
}

/// How many items others hold that this node should hold too and does not, as far as counts tell.
fn behind(n: usize, all: &[Seen]) -> u64 {
    let Some((id, Some(mine))) = all.get(n).map(|s| (s.probe.id, &s.status)) else {
        return 0;
    };
    let count = |status: &Status, about: &str| -> u64 {
        let rows = status.digests.get(about).into_iter().flatten();
        rows.map(|(_, count, _)| count).sum()
    };
    let others = all.iter().filter(|s| s.probe.id != id);
    others
        .filter_map(|s| s.status.as_ref().map(|status| (s.probe.id, status)))
        .map(|(other, theirs)| {
            count(theirs, &id.to_hex()).saturating_sub(count(mine, &other.to_hex()))
        })
        .sum()
}

fn people(say: &Say, scenario: &Scenario, p: &Progress) -> String {
    let mut text = String::new();
    let users = scenario.users.count as u64;
    let standing = p.confirmed.saturating_sub(p.cancelled);
    let _ = writeln!(
        text,
        "  providers {}  {} slots open, {} claims, {} offers",
        bar(say, p.certified, scenario.provider_count() as u64),
        p.slots,
        p.claimed,
        p.offers
    );
    let _ = writeln!(
        text,
        "  requests  {}  {} tokens, {} drawn anew, {} refused second uploads",
        bar(say, p.admitted, users),
        p.drawn,
        p.redrawn,
        p.reuse_attempts.saturating_sub(p.reuse_accepted)
    );
    let _ = writeln!(
        text,
        "  bookings  {}  {} cancelled, {} taken anew, {} changed, {} turned down",
        bar(say, standing, scenario.standing() as u64),
        p.cancelled,
        p.reoffered,
        p.changed,
        p.turned_down
    );
    let wrong = p.double_bookings + p.multi_bookings + p.reuse_accepted + p.revoked_shown;
    if wrong > 0 {
        let _ = writeln!(
            text,
            "  {}",
            say.paint(RED, format!("{wrong} things happened that must not"))
        );
    }
    text
}

fn bar(say: &Say, have: u64, of: u64) -> String {
    let full = (have.min(of) * BAR).checked_div(of).unwrap_or(0);
    let (full, rest) = (
        "█".repeat(usize::try_from(full).unwrap_or(0)),
        "░".repeat(usize::try_from(BAR - full).unwrap_or(0)),
    );
    format!(
        "{}{} {have:>4}/{of:<4}",
        say.paint(GREEN, full),
        say.paint(DIM, rest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_by_what_is_seen() {
        assert_eq!(cut("\x1b[31mabc\x1b[0mdef", 4), "\x1b[31mabc\x1b[0md");
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("ab", 5), "ab");
    }

    #[test]
    fn a_bar_never_overflows() {
        let say = Say::new(false);
        assert!(bar(&say, 400, 300).contains("400/300"));
        assert!(bar(&say, 0, 0).ends_with("0/0   "));
    }
}
