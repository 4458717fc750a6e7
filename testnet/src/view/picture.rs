//! What a view draws, as text: it fits the terminal, whatever that is.

use std::net::SocketAddr;

use lapwing_protocol::id::NodeId;

use crate::audit::diverged;
use crate::node::{Life, Status};
use crate::report::{BOLD, DIM, GREEN, RED, Say};
use crate::scenario::Scenario;
use crate::tally::Progress;

/// Most lines of what happened.
const TICKER: usize = 20;
/// Lines of what happened that there is room for, however many nodes there are.
const FEWEST: usize = 4;
/// Width of a bar where there is room.
const BAR: u64 = 30;
/// Width of a bar where there is not.
const SHORT_BAR: u64 = 10;
const YELLOW: &str = "33";

/// What is known of one node.
pub(super) struct Seen {
    pub(super) id: NodeId,
    pub(super) name: String,
    pub(super) api: SocketAddr,
    pub(super) life: Life,
    pub(super) status: Option<Status>,
}

/// What is drawn besides the nodes.
pub(super) struct Scene<'a> {
    pub(super) say: &'a Say,
    pub(super) progress: Progress,
    pub(super) scenario: Option<&'a Scenario>,
    pub(super) seed: u64,
}

/// At most so many characters that are seen; what paints is not counted.
pub(super) fn cut(line: &str, width: usize) -> String {
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

/// A terminal's size: columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// From how many columns on there is room for everything.
const WIDE: usize = 100;

/// What fits a terminal of this size: never more lines than it has, the cursor's own left out.
pub(super) fn picture(scene: &Scene<'_>, nodes: &[Seen], size: Size) -> String {
    let (say, p) = (scene.say, &scene.progress);
    let wide = size.columns >= WIDE;
    let name = scene.scenario.map_or("A federation", |s| s.name.as_str());
    let mut lines = vec![
        format!(
            "{}  {}",
            say.paint(BOLD, format!("Lapwing · {name}")),
            say.paint(DIM, format!("seed {} · {:.1} s", scene.seed, say.seconds()))
        ),
        say.paint(
            DIM,
            "  node      state     peers   items  behind  requests    disk   API",
        ),
    ];
    let people = match scene.scenario {
        Some(scenario) => people(say, scenario, p, wide),
        None => Vec::new(),
    };
    // The line of the replicas, an empty one, and the cursor's.
    let rest = size.rows.saturating_sub(lines.len() + people.len() + 3);
    // Some room is left for what happens.
    let most = rest.saturating_sub(FEWEST).max(1);
    let fit = if nodes.len() <= most {
        nodes.len()
    } else {
        most.saturating_sub(1)
    };
    let seen = nodes.iter().enumerate().take(fit);
    lines.extend(seen.map(|(n, one)| node_line(say, n, one, nodes, wide)));
    if fit < nodes.len() {
        lines.push(say.paint(DIM, format!("  and {} more", nodes.len() - fit)));
    }
    let statuses = nodes.iter().map(|s| (s.id, s.status.clone())).collect();
    let replicas = match diverged(&statuses) {
        0 => say.paint(GREEN, "all holders hold the same"),
        n => say.paint(YELLOW, format!("{n} pairs of nodes differ")),
    };
    lines.push(format!("  replicas  {replicas}"));
    lines.extend(people);
    lines.push(String::new());
    let room = size.rows.saturating_sub(lines.len() + 1);
    let newest = say.newest(room.min(TICKER));
    // What has several lines (a log) would break the picture.
    lines.extend(
        newest
            .iter()
            .map(|l| l.lines().next().unwrap_or_default().to_owned()),
    );
    lines.truncate(size.rows.saturating_sub(1));
    lines
        .iter()
        .map(|line| format!("{}\n", cut(line, size.columns)))
        .collect()
}

fn node_line(say: &Say, n: usize, seen: &Seen, all: &[Seen], wide: bool) -> String {
    let state = match (seen.life, &seen.status) {
        (Life::Up, Some(_)) => say.paint(GREEN, "● up    "),
        (Life::Up, None) => say.paint(YELLOW, "○ starts"),
        (Life::Paused, _) => say.paint(YELLOW, "‖ paused"),
        (Life::Down, _) => say.paint(RED, "✗ down  "),
    };
    let Some(status) = &seen.status else {
        return format!("  {:<8}  {state}", seen.name);
    };
    format!(
        "  {:<8}  {state}  {:>5}  {:>6}  {:>6}  {:>8}  {:>5} k   {}{}",
        seen.name,
        status.peers_connected,
        status.number("items"),
        behind(n, all),
        status.number("requests"),
        status.store.bytes.unwrap_or(0) / 1024,
        if wide { "http://" } else { "" },
        seen.api
    )
}

/// How many items others hold that this node should hold too and does not, as far as counts tell.
fn behind(n: usize, all: &[Seen]) -> u64 {
    let Some((id, Some(mine))) = all.get(n).map(|s| (s.id, &s.status)) else {
        return 0;
    };
    let count = |status: &Status, about: &str| -> u64 {
        let rows = status.digests.get(about).into_iter().flatten();
        rows.map(|(_, count, _)| count).sum()
    };
    let others = all.iter().filter(|s| s.id != id);
    others
        .filter_map(|s| s.status.as_ref().map(|status| (s.id, status)))
        .map(|(other, theirs)| {
            count(theirs, &id.to_hex()).saturating_sub(count(mine, &other.to_hex()))
        })
        .sum()
}

fn people(say: &Say, scenario: &Scenario, p: &Progress, wide: bool) -> Vec<String> {
    let users = scenario.users.count as u64;
    let standing = p.confirmed.saturating_sub(p.cancelled);
    let mut lines = vec![
        format!(
            "  providers {}  {} slots open, {} claims, {} offers",
            bar(say, p.certified, scenario.provider_count() as u64, wide),
            p.slots,
            p.claimed,
            p.offers
        ),
        format!(
            "  requests  {}  {} tokens, {} drawn anew, {} uploads refused",
            bar(say, p.admitted, users, wide),
            p.drawn,
            p.redrawn,
            p.reuse_attempts.saturating_sub(p.reuse_accepted)
        ),
        format!(
            "  bookings  {}  {} cancelled, {} again, {} changed, {} refused",
            bar(say, standing, scenario.standing() as u64, wide),
            p.cancelled,
            p.reoffered,
            p.changed,
            p.turned_down
        ),
    ];
    let wrong = p.double_bookings + p.multi_bookings + p.reuse_accepted + p.revoked_shown;
    if wrong > 0 {
        let what = format!("{wrong} things happened that must not");
        lines.push(format!("  {}", say.paint(RED, what)));
    }
    lines
}

fn bar(say: &Say, have: u64, of: u64, wide: bool) -> String {
    let length = if wide { BAR } else { SHORT_BAR };
    let full = (have.min(of) * length).checked_div(of).unwrap_or(0);
    let (full, rest) = (
        "█".repeat(usize::try_from(full).unwrap_or(0)),
        "░".repeat(usize::try_from(length - full).unwrap_or(0)),
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
    use crate::scenario::DAY;

    #[test]
    fn lines_are_cut_by_what_is_seen() {
        assert_eq!(cut("\x1b[31mabc\x1b[0mdef", 4), "\x1b[31mabc\x1b[0md");
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("ab", 5), "ab");
    }

    #[test]
    fn a_bar_never_overflows() {
        let say = Say::new(false);
        assert!(bar(&say, 400, 300, true).contains("400/300"));
        assert!(bar(&say, 0, 0, false).ends_with("0/0   "));
    }

    #[test]
    fn a_picture_fits_its_terminal() {
        let say = Say::new(false);
        say.watched(true);
        for n in 0..40 {
            say.line(
                "user 17",
                "node 3",
                format!("does number {n}, and says more than fits a line, and more"),
            );
        }
        let scenario = Scenario::parse(DAY).unwrap();
        let scene = Scene {
            say: &say,
            progress: Progress::default(),
            scenario: Some(&scenario),
            seed: 7,
        };
        let node = |n: u8| Seen {
            id: NodeId::from_bytes([n; 32]),
            name: format!("node {}", n + 1),
            api: SocketAddr::from(([127, 0, 0, 1], 65_535)),
            life: Life::Up,
            status: Some(Status::default()),
        };
        for (nodes, columns, rows) in [
            (5, 80, 24),
            (5, 120, 40),
            (64, 80, 24),
            (5, 40, 8),
            (3, 0, 0),
        ] {
            let seen: Vec<_> = (0..nodes).map(node).collect();
            let text = picture(&scene, &seen, Size { columns, rows });
            assert!(
                text.lines().count() < rows.max(1),
                "{columns}x{rows}: {text}"
            );
            let width = text.lines().map(|l| l.chars().count()).max().unwrap_or(0);
            assert!(width <= columns, "{columns}x{rows}: {text}");
            if rows >= 24 {
                // Nothing that counts is cut off, and there is room for what happens.
                for whole in [
                    "127.0.0.1:65535",
                    "uploads refused",
                    "changed, 0 refused",
                    "does number 39",
                ] {
                    assert!(text.contains(whole), "{columns}x{rows}: {whole}: {text}");
                }
            }
        }
    }
}
