//! A status as a person reads it.

use std::fmt::Write;

use crate::status::{Level, Peer, Status, TrustList};

/// Digits that an id is shown with, where its name is beside it.
const SHORT: usize = 8;

/// The whole of it, in lines.
pub(super) fn text(status: &Status) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _written = head(&mut out, status)
        .and_then(|()| peers(&mut out, status))
        .and_then(|()| load(&mut out, status))
        .and_then(|()| trust(&mut out, status))
        .and_then(|()| findings(&mut out, status));
    out
}

fn head(out: &mut String, status: &Status) -> std::fmt::Result {
    let ready = match &status.why {
        None => "yes",
        Some(why) => why,
    };
    writeln!(out, "node        {}", status.node_id)?;
    if let Some(operator) = &status.operator {
        writeln!(out, "operator    {operator}")?;
    }
    writeln!(
        out,
        "version     {}, up for {}",
        status.version,
        span(status.uptime)
    )?;
    writeln!(out, "ready       {ready}")?;
    let roster = match (status.roster, status.roster_expires) {
        (Some(n), Some(at)) => format!("roster {n}, {}", left(at, status.now)),
        _ => "no roster".to_owned(),
    };
    writeln!(out, "federation  {}, {roster}", status.federation)?;
    for address in &status.listening {
        writeln!(out, "listening   {address}")?;
    }
    let clock = match status.clock.offset {
        Some(0) => format!("as {} peers' clocks", status.clock.peers),
        Some(offset) => format!(
            "{} s {} {} peers' clocks",
            offset.unsigned_abs(),
            if offset > 0 { "behind" } else { "ahead of" },
            status.clock.peers
        ),
        None => "nobody to compare with".to_owned(),
    };
    writeln!(out, "clock       {clock}")
}

fn peers(out: &mut String, status: &Status) -> std::fmt::Result {
    writeln!(
        out,
        "\npeers       {} of {} connected",
        status.peers_connected, status.peers_expected
    )?;
    for peer in &status.peers {
        let id = short(&peer.node_id);
        if !peer.connected {
            let seen = match peer.last_seen {
                Some(at) => format!("last seen {} ago", span(status.now.saturating_sub(at))),
                None => "not seen since the start".to_owned(),
            };
            writeln!(out, "  {id}  {:<20} away, {seen}", peer.operator)?;
            continue;
        }
        writeln!(
            out,
            "  {id}  {:<20} {:<5} {}, {}",
            peer.operator,
            peer.transport.as_deref().unwrap_or("?"),
            in_step(peer, status.now),
            peer.address.as_deref().unwrap_or("address unknown"),
        )?;
    }
    Ok(())
}

fn in_step(peer: &Peer, now: u64) -> String {
    let throttled = if peer.throttled {
        ", throttled for its faults"
    } else {
        ""
    };
    match (peer.missing, peer.compared) {
        (0, Some(at)) => format!("compared {} ago{throttled}", span(now.saturating_sub(at))),
        (0, None) => format!("not compared yet{throttled}"),
        (n, _) => format!("{n} items to fetch{throttled}"),
    }
}

fn load(out: &mut String, status: &Status) -> std::fmt::Result {
    let queues = &status.queues;
    writeln!(
        out,
        "\nqueues      {} requests in {} regions: {} open, {} waiting, {} booked",
        queues.requests, queues.regions, queues.open, queues.waiting, queues.booked
    )?;
    for region in &queues.longest {
        let name = region.name.as_deref().unwrap_or("no longer published");
        writeln!(
            out,
            "  {}  {name:<20} {} requests, {} open",
            short(&region.region),
            region.requests,
            region.open
        )?;
    }
    let n = &status.numbers;
    writeln!(
        out,
        "items       {}; since the start {} written, {} healed",
        n.items, n.written, n.healed
    )?;
    writeln!(
        out,
        "work        {} flows; since the start {} tokens, {} admissions, {} claims",
        n.flows, n.tokens, n.admissions, n.claims
    )?;
    let store = &status.store;
    let known = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
    writeln!(
        out,
        "store       {} on disk, {} free of {}",
        known(store.bytes),
        known(store.disk_free),
        known(store.disk_total)
    )?;
    writeln!(
        out,
        "commits     {}, the last took {} ms; {} pending ({})",
        store.commits,
        store.last_commit_micros / 1000,
        store.pending_commits,
        size(store.pending_bytes as u64)
    )
}

fn trust(out: &mut String, status: &Status) -> std::fmt::Result {
    writeln!(out, "\ntrust")?;
    for list in &status.trust {
        let of = list.name.as_deref().unwrap_or("the federation");
        let entries = list
            .entries
            .map_or_else(String::new, |n| format!(", {n} entries"));
        writeln!(
            out,
            "  {:<13} {of:<20} no. {}, {} old{entries}{}",
            list.kind,
            list.sequence,
            span(status.now.saturating_sub(list.issued)),
            life(list, status.now),
        )?;
    }
    Ok(())
}

fn life(list: &TrustList, now: u64) -> String {
    match list.expires {
        None => String::new(),
        Some(at) if list.expired => {
            format!(", ERROR: expired {} ago", span(now.saturating_sub(at)))
        }
        Some(at) if list.half_life_passed => {
            format!(", WARNING: past half of its life, {}", left(at, now))
        }
        Some(at) => format!(", {}", left(at, now)),
    }
}

fn findings(out: &mut String, status: &Status) -> std::fmt::Result {
    if status.findings.is_empty() {
        return writeln!(out, "\nnothing to look at");
    }
    writeln!(out)?;
    for finding in &status.findings {
        let word = match finding.level {
            Level::Error => "ERROR",
            Level::Warning => "WARNING",
        };
        writeln!(out, "{word:<8} {}: {}", finding.code, finding.text)?;
    }
    Ok(())
}

fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

fn left(at: u64, now: u64) -> String {
    match at.checked_sub(now) {
        Some(seconds) => format!("expires in {}", span(seconds)),
        None => format!("expired {} ago", span(now.saturating_sub(at))),
    }
}

/// The two largest units.
fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, m) => format!("{m} min {rest} s"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut whole = bytes;
    let mut tenths = 0;
    let mut unit = "";
    for name in UNITS {
        if whole < 1024 && !unit.is_empty() {
            break;
        }
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit = name;
    }
    format!("{whole}.{tenths} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Finding;

    #[test]
    fn spans_and_sizes_are_short() {
        for (seconds, said) in [
            (0, "0 s"),
            (61, "1 min 1 s"),
            (3600 * 5 + 59, "5 h 0 min"),
            (86_400 * 3 + 7200, "3 d 2 h"),
        ] {
            assert_eq!(span(seconds), said);
        }
        for (bytes, said) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 40, "3.0 TiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), said);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let list = |expired, half_life_passed| TrustList {
            kind: "status".to_owned(),
            name: Some("Med".to_owned()),
            sequence: 7,
            issued: 900,
            expires: Some(if expired { 940 } else { 1010 }),
            expired,
            half_life_passed,
            ..TrustList::default()
        };
        let status = Status {
            now: 1000,
            why: Some("The node has no roster yet.".to_owned()),
            trust: vec![list(true, true), list(false, true), list(false, false)],
            peers: vec![Peer {
                node_id: "ab".repeat(32),
                operator: "North".to_owned(),
                last_seen: Some(940),
                ..Peer::default()
            }],
            findings: vec![Finding {
                level: Level::Error,
                code: "not_ready".to_owned(),
                text: "words".to_owned(),
            }],
            ..Status::default()
        };
        let text = text(&status);
        for line in [
            "ready       The node has no roster yet.",
            "  status        Med                  no. 7, 1 min 40 s old, ERROR: expired 1 min 0 s ago",
            "  status        Med                  no. 7, 1 min 40 s old, WARNING: past half of its life, expires in 10 s",
            "  status        Med                  no. 7, 1 min 40 s old, expires in 10 s",
            "  abababab  North                away, last seen 1 min 0 s ago",
            "ERROR    not_ready: words",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
    }
}
