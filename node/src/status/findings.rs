//! What in a status somebody should look at, and what to do about it.

use super::clock::Judgement;
use super::{Finding, Level, Status};

/// How long a node may take to connect and to compare before it is spoken of, in seconds.
const PATIENCE: u64 = 120;
/// How long no comparison with a connected peer may end, in seconds.
const LAG: u64 = 600;
/// A sync that takes longer, in microseconds, makes every write slow.
const SLOW_SYNC: u64 = 1_000_000;
/// Free bytes below which the disk is about to fail.
const NO_SPACE: u64 = 512 << 20;
/// As a share of the disk: one in so many.
const LOW_SPACE: u64 = 10;
/// A store that is this small need not worry about a share of a large disk.
const ENOUGH_SPACE: u64 = 50 << 30;

/// All findings, the worst first.
pub(super) fn findings(status: &Status) -> Vec<Finding> {
    let mut found = Found(Vec::new());
    readiness(status, &mut found);
    clock(status, &mut found);
    trust(status, &mut found);
    peers(status, &mut found);
    store(status, &mut found);
    alarms(status, &mut found);
    found.0.sort_by_key(|f| std::cmp::Reverse(f.level));
    found.0
}

struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, level: Level, code: &str, text: String) {
        self.0.push(Finding {
            level,
            code: code.to_owned(),
            text,
        });
    }
}

fn readiness(status: &Status, found: &mut Found) {
    if !status.ready {
        let why = status.why.as_deref().unwrap_or("it does not say why");
        found.add(
            Level::Error,
            "not_ready",
            format!("the node serves nobody: {why}"),
        );
    }
}

fn clock(status: &Status, found: &mut Found) {
    let level = match status.clock.judge() {
        Judgement::Good => return,
        Judgement::Drifts => Level::Warning,
        Judgement::Wrong => Level::Error,
    };
    let offset = status.clock.offset.unwrap_or_default();
    let (seconds, side) = (
        offset.unsigned_abs(),
        if offset > 0 { "behind" } else { "ahead of" },
    );
    found.add(
        level,
        "clock",
        format!(
            "this clock is {seconds} s {side} the median of {} peers', and {} s are tolerated: check NTP on this machine",
            status.clock.peers,
            status.clock.tolerated.unwrap_or_default(),
        ),
    );
}

fn trust(status: &Status, found: &mut Found) {
    for list in &status.trust {
        let of = match (&list.name, &list.mediator) {
            (Some(name), _) => format!(" of {name}"),
            (None, Some(id)) => format!(" of {id}"),
            _ => String::new(),
        };
        let who = match list.kind.as_str() {
            "roster" => "the roots of the federation sign the next one",
            "registration" => "its operators sign it anew",
            "certificate" => "the mediator's root signs a new one",
            _ => "the mediator signs it anew; is its refresh running?",
        };
        let kind = &list.kind;
        if list.expired {
            found.add(
                Level::Error,
                "trust_expired",
                format!("the {kind}{of} has expired: {who}"),
            );
        } else if list.half_life_passed {
            found.add(
                Level::Warning,
                "trust_half_life",
                format!("the {kind}{of} is past half of its life: {who}"),
            );
        }
    }
}

fn peers(status: &Status, found: &mut Found) {
    if status.uptime < PATIENCE {
        return;
    }
    let away: Vec<&str> = status
        .peers
        .iter()
        .filter(|p| !p.connected)
        .map(|p| p.operator.as_str())
        .collect();
    if !away.is_empty() {
        let (n, of) = (away.len(), status.peers_expected);
        let mut names = away.join(", ");
        if n > 5 {
            names = format!("{} and {} more", away[..5].join(", "), n - 5);
        }
        found.add(
            Level::Warning,
            "peers_away",
            format!("{n} of {of} other nodes are not connected ({names}): ask their operators; check `bootstrap`, `announce` and the firewall"),
        );
    }
    let late: Vec<&str> = status
        .peers
        .iter()
        .filter(|p| p.connected && p.since.is_some_and(|s| s + LAG < status.now))
        .filter(|p| p.compared.is_none_or(|c| c + LAG < status.now))
        .map(|p| p.operator.as_str())
        .collect();
    if !late.is_empty() {
        found.add(
            Level::Warning,
            "lag",
            format!("no comparison with {} ended for {LAG} s: what this node missed stays missing; look at its disk and load, and at theirs", late.join(", ")),
        );
    }
}

fn store(status: &Status, found: &mut Found) {
    let store = &status.store;
    if store.failed {
        found.add(
            Level::Error,
            "disk_failed",
            "the disk failed: free or repair it, then start the node again".to_owned(),
        );
    }
    if let (Some(free), Some(total)) = (store.disk_free, store.disk_total) {
        let mib = free >> 20;
        if free < NO_SPACE {
            found.add(
                Level::Error,
                "disk_full",
                format!("{mib} MiB are left on the disk: free some, or reclaim with `lapwing store rewrite`"),
            );
        } else if free < total / LOW_SPACE && free < ENOUGH_SPACE {
            found.add(
                Level::Warning,
                "disk_low",
                format!(
                    "{mib} MiB are left on the disk, less than a tenth: make room before it fills"
                ),
            );
        }
    }
    if store.last_sync_micros > SLOW_SYNC {
        let ms = store.last_sync_micros / 1000;
        found.add(
            Level::Warning,
            "disk_slow",
            format!("the last sync took {ms} ms: every write waits for one; is the disk shared or failing?"),
        );
    }
}

fn alarms(status: &Status, found: &mut Found) {
    for (kind, count) in status.alarms.iter().filter(|(_, n)| **n > 0) {
        let (level, what) = match kind.as_str() {
            "damaged_row" => (
                Level::Warning,
                "stored rows do not decode and are left out: more than a few, set the store aside",
            ),
            "equivocation" => (
                Level::Error,
                "two records came with one sequence: the log names them; tell the federation",
            ),
            "lost_continuity" => (
                Level::Error,
                "this store is older than it was: see \"A damaged or lost store\" in docs/operator.md",
            ),
            _ => (
                Level::Error,
                "an alarm was raised: the log says what it is about",
            ),
        };
        found.add(level, kind, format!("{what} ({count} since the start)"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Clock, Peer, Store, TrustList};
    use super::*;

    /// A code, its level, and what brings it about.
    type Row = (&'static str, Level, fn(&mut Status));

    fn good() -> Status {
        Status {
            ready: true,
            now: 100_000,
            uptime: 50_000,
            peers_expected: 1,
            peers: vec![Peer {
                operator: "North".to_owned(),
                connected: true,
                since: Some(60_000),
                compared: Some(99_990),
                clock_offset: Some(0),
                ..Peer::default()
            }],
            store: Store {
                disk_free: Some(40 << 30),
                disk_total: Some(100 << 30),
                last_sync_micros: 4_000,
                ..Store::default()
            },
            ..Status::default()
        }
    }

    #[test]
    fn each_trouble_has_its_code_and_level() {
        assert_eq!(findings(&good()), []);
        let list = |half, expired| TrustList {
            kind: "status".to_owned(),
            name: Some("Med".to_owned()),
            half_life_passed: half,
            expired,
            ..TrustList::default()
        };
        let table: [Row; 10] = [
            ("not_ready", Level::Error, |s| s.ready = false),
            ("clock", Level::Warning, |s| {
                s.clock = Clock {
                    offset: Some(-151),
                    peers: 3,
                    tolerated: Some(300),
                };
            }),
            ("clock", Level::Error, |s| {
                s.clock = Clock {
                    offset: Some(400),
                    peers: 3,
                    tolerated: Some(300),
                };
            }),
            ("peers_away", Level::Warning, |s| {
                s.peers[0].connected = false
            }),
            ("lag", Level::Warning, |s| {
                s.peers[0].compared = Some(90_000)
            }),
            ("disk_full", Level::Error, |s| s.store.disk_free = Some(1)),
            ("disk_low", Level::Warning, |s| {
                s.store.disk_free = Some(9 << 30)
            }),
            ("disk_slow", Level::Warning, |s| {
                s.store.last_sync_micros = 2_000_000
            }),
            ("equivocation", Level::Error, |s| {
                s.alarms.insert("equivocation".to_owned(), 1);
            }),
            ("damaged_row", Level::Warning, |s| {
                s.alarms.insert("damaged_row".to_owned(), 1);
            }),
        ];
        let page = include_str!("../../../docs/operator.md");
        for code in table.iter().map(|row| row.0) {
            assert!(
                page.contains(&format!("| `{code}` |")),
                "{code} is not explained"
            );
        }
        for (code, level, break_it) in table {
            let mut status = good();
            break_it(&mut status);
            let found = findings(&status);
            assert_eq!(found.len(), 1, "{code}: {found:?}");
            assert_eq!((found[0].code.as_str(), found[0].level), (code, level));
            assert!(!found[0].text.contains('\n'));
        }
        let mut status = good();
        status.trust = vec![list(true, false), list(true, true)];
        let found = findings(&status);
        assert_eq!(found[0].code, "trust_expired", "the worst first");
        assert_eq!(found[1].code, "trust_half_life");
        assert!(found[1].text.contains("of Med"));
        // A node that just started is given time.
        let mut young = good();
        young.uptime = 10;
        young.peers[0].connected = false;
        assert_eq!(findings(&young), []);
    }
}
