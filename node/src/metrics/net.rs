//! The figures of the network side.

use lapwing_net::{CallCounters, NetStatus, Traffic};

use super::page::{Page, figure, label};

/// Writes them.
pub(super) fn write(page: &mut Page, net: &NetStatus) {
    let bytes = |transport: &str, traffic: Traffic| {
        let labels = |direction: &str| {
            vec![
                ("transport", transport.to_owned()),
                ("direction", direction.to_owned()),
            ]
        };
        [
            (labels("received"), traffic.received),
            (labels("sent"), traffic.sent),
        ]
    };
    page.counters(
        "lapwing_net_bytes",
        "Bytes exchanged with other nodes",
        bytes("tcp", net.tcp)
            .into_iter()
            .chain(bytes("quic", net.quic)),
    );
    page.gauges(
        "lapwing_net_calls_open",
        "Calls between nodes that wait for their reply",
        [
            (label("direction", "in"), figure(net.calls_in as u64)),
            (label("direction", "out"), figure(net.calls_out as u64)),
        ],
    );
    let calls = net.calls.iter().flat_map(|(kind, calls)| {
        let CallCounters {
            taken,
            made,
            answered,
            refused,
            timed_out,
            unreachable,
        } = *calls;
        [
            ("taken", taken),
            ("made", made),
            ("answered", answered),
            ("refused", refused),
            ("timed_out", timed_out),
            ("unreachable", unreachable),
        ]
        .map(|(outcome, n)| {
            let labels = vec![
                ("call", (*kind).to_owned()),
                ("outcome", outcome.to_owned()),
            ];
            (labels, n)
        })
    });
    page.counters(
        "lapwing_net_calls",
        "Calls between nodes, by kind and what became of them",
        calls,
    );
    let c = &net.counters;
    page.counters(
        "lapwing_net_calls_turned_away",
        "Calls of other nodes that were not handed on, by reason",
        [
            ("refused", c.calls_refused),
            ("shed", c.calls_shed),
            ("over_rate", c.calls_over_rate),
            ("malformed", c.malformed),
            ("oversized", c.oversized),
        ]
        .map(|(reason, n)| (label("reason", reason), n)),
    );
    page.counters(
        "lapwing_gossip_messages",
        "Gossip messages by what became of them",
        [
            ("published", c.gossip_published),
            ("accepted", c.gossip_accepted),
            ("duplicate", c.gossip_duplicates),
            ("ignored", c.gossip_ignored),
            ("rejected", c.gossip_rejected),
            ("shed", c.gossip_shed),
            ("late", c.gossip_late),
            ("not_sent", c.gossip_not_sent),
        ]
        .map(|(outcome, n)| (label("outcome", outcome), n)),
    );
    page.counter(
        "lapwing_gossip_healed",
        "Nodes connected anew because their gossip subscriptions were lost",
        c.healed,
    );
    page.counter("lapwing_net_dials", "Connections tried", c.dials);
    page.counter(
        "lapwing_net_dials_failed",
        "Connections tried that reached nobody, or somebody else",
        c.dials_failed,
    );
    page.counters(
        "lapwing_net_connections_refused",
        "Connections of other nodes that were refused, by reason",
        [("stranger", c.strangers), ("too_many", c.connections_shed)]
            .map(|(reason, n)| (label("reason", reason), n)),
    );
    page.counter(
        "lapwing_net_found_locally",
        "Addresses of nodes heard of on the local network",
        c.found_locally,
    );
    page.counter("lapwing_net_faults", "Faults of other nodes", c.faults);
    page.counter(
        "lapwing_net_parted",
        "Nodes sent away for a minute for their faults",
        c.parted,
    );
    page.counter(
        "lapwing_net_bans",
        "Nodes sent away for long for their faults",
        c.bans,
    );
    page.gauge(
        "lapwing_net_throttled",
        "Nodes with tightened quotas now",
        figure(net.throttled as u64),
    );
    page.gauge(
        "lapwing_net_banned",
        "Nodes that are kept away now",
        figure(net.banned as u64),
    );
}
