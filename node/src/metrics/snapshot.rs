//! The figures of the status and of the process.

use super::page::{Page, figure, label};
use super::process::Process;
use crate::status::{Level, Status};

/// Digits of a mediator's id that tell mediators apart in a label.
const SHORT: usize = 16;

/// Writes what the status says.
pub(super) fn write(page: &mut Page, status: &Status, watched: usize) {
    page.gauges(
        "lapwing_build_info",
        "The version that runs",
        [(label("version", &*status.version), 1.0)],
    );
    page.gauge(
        "lapwing_uptime_seconds",
        "Time since the node started",
        figure(status.uptime),
    );
    page.gauge(
        "lapwing_ready",
        "1 while the node can serve",
        f64::from(u8::from(status.ready)),
    );
    let level = |level: Level, name: &str| {
        let n = status.findings.iter().filter(|f| f.level == level).count();
        (label("level", name), figure(n as u64))
    };
    page.gauges(
        "lapwing_findings",
        "What `lapwing status` finds that somebody should look at",
        [
            level(Level::Warning, "warning"),
            level(Level::Error, "error"),
        ],
    );
    page.gauge(
        "lapwing_watched_mailboxes",
        "Mailboxes that apps wait for at this node",
        figure(watched as u64),
    );
    peers(page, status);
    trust(page, status);
    store(page, status);
    core(page, status);
}

fn peers(page: &mut Page, status: &Status) {
    page.gauge(
        "lapwing_peers_connected",
        "Other nodes of the roster that are connected",
        figure(status.peers_connected as u64),
    );
    page.gauge(
        "lapwing_peers_expected",
        "Other nodes of the roster",
        figure(status.peers_expected as u64),
    );
    let connected = || status.peers.iter().filter(|p| p.connected);
    let by = |name: &str| {
        let n = connected()
            .filter(|p| p.transport.as_deref() == Some(name))
            .count();
        (label("transport", name), figure(n as u64))
    };
    page.gauges(
        "lapwing_peers_by_transport",
        "Connected nodes by how they are connected",
        [by("tcp"), by("quic")],
    );
    page.gauge(
        "lapwing_lag_items",
        "Items found at other holders that this node lacks and has not fetched yet",
        figure(connected().map(|p| p.missing).sum()),
    );
    let oldest = connected()
        .filter_map(|p| p.compared.or(p.since))
        .map(|at| status.now.saturating_sub(at))
        .max();
    page.gauge(
        "lapwing_compared_age_seconds",
        "Time since the last full comparison with the connected node that was compared longest ago",
        figure(oldest.unwrap_or(0)),
    );
    #[allow(clippy::cast_precision_loss)]
    page.known(
        "lapwing_clock_offset_seconds",
        "The median of the connected nodes' clocks less this node's",
        status.clock.offset.map(|o| o as f64),
    );
}

fn trust(page: &mut Page, status: &Status) {
    page.known(
        "lapwing_roster_sequence",
        "The sequence of the roster in force",
        status.roster.map(figure),
    );
    let labels = |list: &crate::status::TrustList| {
        let mediator = list.mediator.as_deref().unwrap_or_default();
        let short = mediator.get(..SHORT).unwrap_or(mediator);
        vec![("kind", list.kind.clone()), ("mediator", short.to_owned())]
    };
    page.gauges(
        "lapwing_trust_age_seconds",
        "Age of each list of the chain of trust",
        status
            .trust
            .iter()
            .map(|l| (labels(l), figure(status.now.saturating_sub(l.issued)))),
    );
    #[allow(clippy::cast_precision_loss)]
    let left = |expires: u64| expires as f64 - status.now as f64;
    page.gauges(
        "lapwing_trust_expires_seconds",
        "Time until a list of the chain of trust expires; below zero it has",
        status
            .trust
            .iter()
            .filter_map(|l| Some((labels(l), left(l.expires?)))),
    );
    page.gauges(
        "lapwing_trust_life_seconds",
        "How long a list of the chain of trust is good for in all",
        status
            .trust
            .iter()
            .filter_map(|l| Some((labels(l), figure(l.expires?.saturating_sub(l.issued))))),
    );
    page.counters(
        "lapwing_alarms",
        "Alarms raised, by what they are about",
        status
            .alarms
            .iter()
            .map(|(kind, n)| (label("kind", kind), *n)),
    );
}

fn store(page: &mut Page, status: &Status) {
    let store = &status.store;
    let seconds = |micros: u64| figure(micros) / 1_000_000.0;
    page.known(
        "lapwing_store_bytes",
        "Size of the store's files",
        store.bytes.map(figure),
    );
    page.known(
        "lapwing_disk_free_bytes",
        "Free space on the disk of the store",
        store.disk_free.map(figure),
    );
    page.known(
        "lapwing_disk_size_bytes",
        "Size of the disk of the store",
        store.disk_total.map(figure),
    );
    page.gauge(
        "lapwing_store_failed",
        "1 once the disk failed",
        f64::from(u8::from(store.failed)),
    );
    page.counter(
        "lapwing_store_commits",
        "Commits made durable",
        store.commits,
    );
    page.counter(
        "lapwing_store_syncs",
        "Groups of commits synced to disk",
        store.syncs,
    );
    page.counter(
        "lapwing_store_written_bytes",
        "Bytes of keys and values made durable",
        store.written_bytes,
    );
    page.gauge(
        "lapwing_store_pending_bytes",
        "Bytes that wait to become durable",
        figure(store.pending_bytes as u64),
    );
    page.gauge(
        "lapwing_store_pending_commits",
        "Commits that wait to become durable",
        figure(store.pending_commits as u64),
    );
    page.gauge(
        "lapwing_store_last_commit_seconds",
        "How long the oldest commit of the last group waited until it was durable",
        seconds(store.last_commit_micros),
    );
    page.gauge(
        "lapwing_store_last_sync_seconds",
        "How long applying and syncing the last group took",
        seconds(store.last_sync_micros),
    );
}

fn core(page: &mut Page, status: &Status) {
    let n = &status.numbers;
    page.gauge("lapwing_items", "Items held", figure(n.items));
    let kinds = |of: fn(&crate::status::Taken) -> u64| {
        n.kinds
            .iter()
            .map(move |(kind, taken)| (label("kind", kind), of(taken)))
    };
    page.counters(
        "lapwing_items_written",
        "Items taken by writes and pushes, by kind",
        kinds(|t| t.written),
    );
    page.counters(
        "lapwing_items_healed",
        "Items fetched from other holders, by kind",
        kinds(|t| t.healed),
    );
    page.counters(
        "lapwing_items_expired",
        "Items removed because they expired, by kind",
        kinds(|t| t.expired),
    );
    let queues = &status.queues;
    page.gauge(
        "lapwing_queue_regions",
        "Regions with requests whose queue this node holds",
        figure(queues.regions as u64),
    );
    page.gauges(
        "lapwing_queue_requests",
        "Requests in the queues that this node holds, by how they stand",
        [
            (label("state", "open"), figure(queues.open)),
            (label("state", "waiting"), figure(queues.waiting)),
            (label("state", "booked"), figure(queues.booked)),
        ],
    );
    page.gauge(
        "lapwing_flows",
        "Calls of apps and comparisons under way",
        figure(n.flows as u64),
    );
    page.gauges(
        "lapwing_flows_by_kind",
        "The same by what they do",
        n.flow_kinds
            .iter()
            .map(|(kind, n)| (label("kind", kind), figure(*n as u64))),
    );
    for (name, help, value) in [
        ("lapwing_tokens", "Priority tokens issued", n.tokens),
        (
            "lapwing_admissions",
            "Requests admitted as the issuer of their tokens",
            n.admissions,
        ),
        (
            "lapwing_claims",
            "Claims for which this node granted a ticket",
            n.claims,
        ),
        ("lapwing_tickets", "Tickets granted", n.tickets),
        ("lapwing_locks", "Booking locks granted", n.locks),
        ("lapwing_releases", "Booking locks released", n.releases),
        (
            "lapwing_relists",
            "Users listed again at their wish",
            n.relists,
        ),
    ] {
        page.counter(name, help, value);
    }
}

/// Writes what is known of the process, under the names that Prometheus gives these figures.
pub(super) fn write_process(page: &mut Page, process: &Process) {
    page.known(
        "process_resident_memory_bytes",
        "Memory held",
        process.resident_bytes.map(figure),
    );
    if let Some(seconds) = process.cpu_seconds {
        page.seconds("process_cpu_seconds", "Processor time used", seconds);
    }
    page.known(
        "process_open_fds",
        "Open file descriptors",
        process.open_fds.map(|n| figure(n as u64)),
    );
    page.known(
        "process_max_fds",
        "Most file descriptors that may be open",
        process.max_fds.map(figure),
    );
}
