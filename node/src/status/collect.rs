//! Puts the account together from what each part of the node says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lapwing_api::NotReady;
use lapwing_core::PeerNumbers;
use lapwing_net::{NetStatus, PeerStatus};
use lapwing_protocol::id::{MediatorId, NodeId, RegionId, to_hex};
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::{MediatorTrust, TrustKind, TrustView};
use lapwing_store::CommitterStats;

use super::findings::findings;
use super::{Clock, Numbers, Peer, Queues, Region, Status, Store, Taken, TrustList, Watcher};
use crate::shell::Report;

/// Regions that are listed one by one.
const LONGEST: usize = 10;

/// Where the account comes from.
pub(crate) struct Source<'a> {
    pub(crate) id: NodeId,
    pub(crate) started: Time,
    pub(crate) now: Time,
    pub(crate) ready: Result<(), NotReady>,
    pub(crate) failed: bool,
    pub(crate) view: &'a TrustView,
    pub(crate) net: &'a NetStatus,
    pub(crate) commits: CommitterStats,
    pub(crate) store_bytes: Option<u64>,
    pub(crate) data_dir: &'a Path,
    pub(crate) report: Option<&'a Report>,
    pub(crate) watcher: &'a Watcher,
}

/// The account, with what is to be said about it.
pub(crate) fn collect(source: &Source<'_>) -> Status {
    let view = source.view;
    let roster = view.roster();
    let peers = peers(source);
    let mut status = Status {
        node_id: source.id.to_hex(),
        operator: roster
            .and_then(|r| r.nodes().find(|(_, n)| n.id == source.id))
            .map(|(o, _)| o.name.as_str().to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: source.now.get(),
        uptime: source.now.get().saturating_sub(source.started.get()),
        ready: source.ready.is_ok(),
        why: source.ready.err().map(|e| e.to_string()),
        federation: view.federation().name.as_str().to_owned(),
        roster: roster.map(|r| r.sequence),
        roster_expires: roster.map(|r| r.expires.get()),
        listening: source
            .net
            .listening
            .iter()
            .map(ToString::to_string)
            .collect(),
        peers_connected: peers.iter().filter(|p| p.connected).count(),
        peers_expected: peers.len(),
        clock: Clock::of(&peers, view.params().map(|p| p.clock_skew.get())),
        peers,
        trust: trust(view, source.now),
        store: store(source),
        ..Status::default()
    };
    if let Some(report) = source.report {
        tell_report(&mut status, report, view);
    }
    status.findings = findings(&status);
    status
}

fn peers(source: &Source<'_>) -> Vec<Peer> {
    let connected: BTreeMap<NodeId, &PeerStatus> =
        source.net.peers.iter().map(|p| (p.node, p)).collect();
    let roster: BTreeMap<NodeId, &str> = source
        .view
        .roster()
        .into_iter()
        .flat_map(|r| r.nodes())
        .filter(|(_, n)| n.id != source.id)
        .map(|(o, n)| (n.id, o.name.as_str()))
        .collect();
    let core: BTreeMap<NodeId, &PeerNumbers> = source
        .report
        .into_iter()
        .flat_map(|r| &r.peers)
        .map(|p| (p.node, p))
        .collect();
    let seen = source.watcher.last_seen(
        &connected.keys().copied().collect(),
        &roster.keys().copied().collect::<BTreeSet<_>>(),
        source.now.get(),
    );
    roster
        .iter()
        .map(|(id, operator)| {
            let net = connected.get(id);
            let core = core.get(id);
            Peer {
                node_id: id.to_hex(),
                operator: (*operator).to_owned(),
                connected: net.is_some(),
                address: net.and_then(|p| p.address.as_ref().map(ToString::to_string)),
                transport: net.map(|p| p.transport.name().to_owned()),
                dialled: net.map(|p| p.dialled),
                throttled: net.is_some_and(|p| p.throttled),
                since: net.map(|p| p.since.get()),
                last_seen: seen.get(id).copied(),
                pending: net.map_or(0, |p| p.pending),
                clock_offset: core.and_then(|p| p.clock_offset),
                compared: core.and_then(|p| p.compared).map(|m| m.time().get()),
                missing: core.map_or(0, |p| p.missing),
            }
        })
        .collect()
}

fn trust(view: &TrustView, now: Time) -> Vec<TrustList> {
    let mediators: BTreeMap<&MediatorId, &MediatorTrust> = view.mediators().collect();
    let mut lists: Vec<TrustList> = view
        .ages(now)
        .iter()
        .map(|age| {
            let of = age.mediator.as_ref().and_then(|m| mediators.get(m));
            let sequence = match age.kind {
                TrustKind::Roster => view.roster().map(|r| r.sequence),
                TrustKind::Registration => of.map(|m| m.registration().sequence),
                TrustKind::Certificate => of.and_then(|m| m.certificate()).map(|c| c.sequence),
                _ => of.and_then(|m| m.status()).map(|s| s.sequence),
            };
            TrustList {
                kind: format!("{:?}", age.kind).to_lowercase(),
                mediator: age.mediator.map(|m| m.to_hex()),
                name: of.map(|m| name_of(m)),
                sequence: sequence.unwrap_or_default(),
                issued: age.issued.get(),
                expires: Some(age.expires.get()),
                entries: None,
                half_life_passed: age.half,
                expired: age.expired,
            }
        })
        .collect();
    for (id, mediator) in mediators {
        let list = |kind: &str, sequence, issued: Time, entries| TrustList {
            kind: kind.to_owned(),
            mediator: Some(id.to_hex()),
            name: Some(name_of(mediator)),
            sequence,
            issued: issued.get(),
            entries: Some(entries),
            ..TrustList::default()
        };
        let regions = mediator.regions();
        lists.extend(regions.map(|l| list("regions", l.sequence, l.issued, l.regions.len())));
        let directory = mediator.directory();
        lists.extend(
            directory.map(|l| list("directory", l.sequence, l.issued, l.certificates.len())),
        );
        let revocations = mediator.revocations();
        lists.extend(
            revocations.map(|l| list("revocations", l.sequence, l.issued, l.serials.len())),
        );
    }
    lists
}

fn name_of(mediator: &MediatorTrust) -> String {
    mediator.registration().name.as_str().to_owned()
}

fn store(source: &Source<'_>) -> Store {
    let commits = source.commits;
    Store {
        bytes: source.store_bytes,
        disk_free: fs2::available_space(source.data_dir).ok(),
        disk_total: fs2::total_space(source.data_dir).ok(),
        failed: source.failed,
        commits: commits.commits,
        syncs: commits.groups,
        written_bytes: commits.bytes,
        pending_bytes: commits.pending_bytes,
        pending_commits: source.report.map_or(0, |r| r.numbers.pending_commits),
        last_commit_micros: commits.last_latency_micros,
        last_sync_micros: commits.last_apply_micros,
    }
}

fn tell_report(status: &mut Status, report: &Report, view: &TrustView) {
    let n = &report.numbers;
    status.numbers = Numbers {
        items: n.items,
        requests: n.requests,
        flows: n.flows,
        flow_kinds: named(&n.flow_kinds),
        pending_commits: n.pending_commits,
        tokens: n.tokens,
        admissions: n.admissions,
        claims: n.claims,
        tickets: n.tickets,
        locks: n.locks,
        releases: n.releases,
        relists: n.relists,
        written: n.written,
        healed: n.healed,
        peers: n.peers,
        kinds: n
            .kinds
            .iter()
            .map(|(kind, t)| {
                let taken = Taken {
                    written: t.written,
                    healed: t.healed,
                    expired: t.expired,
                };
                (format!("{kind:?}").to_lowercase(), taken)
            })
            .collect(),
    };
    status.alarms = named(&n.alarms);
    status.queues = queues(report, view);
    status.digests = report
        .digests
        .iter()
        .map(|(node, list)| {
            let rows = list.iter().map(|d| (d.shard, d.count, to_hex(&d.xor)));
            (node.to_hex(), rows.collect())
        })
        .collect();
}

fn named<V: Copy>(map: &BTreeMap<&'static str, V>) -> BTreeMap<String, V> {
    map.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect()
}

fn queues(report: &Report, view: &TrustView) -> Queues {
    let names: BTreeMap<RegionId, &str> = view
        .regions()
        .map(|(_, r)| (r.id, r.name.as_str()))
        .collect();
    let mut queues = Queues {
        regions: report.regions.len(),
        ..Queues::default()
    };
    let mut all: Vec<Region> = Vec::new();
    for region in &report.regions {
        let listed = region.listed;
        queues.requests += listed.requests;
        queues.open += listed.open;
        queues.waiting += listed.waiting;
        all.push(Region {
            region: region.region.to_hex(),
            name: names.get(&region.region).map(|n| (*n).to_owned()),
            requests: listed.requests,
            open: listed.open,
            waiting: listed.waiting,
        });
    }
    queues.booked = queues.requests.saturating_sub(queues.open + queues.waiting);
    all.sort_by_key(|r| std::cmp::Reverse(r.requests));
    all.truncate(LONGEST);
    queues.longest = all;
    queues
}
