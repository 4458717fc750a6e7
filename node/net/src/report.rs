//! The snapshot for operator and metrics.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::peer::{kind, peer_id, without_peer};
use crate::status::{NetStatus, PeerStatus, Transport};
use crate::swarm::Net;

impl Net {
    /// Tells the operator's side how things are.
    pub(crate) fn publish_status(&mut self) {
        self.changed = false;
        let view = self.view.borrow().clone();
        let now = Instant::now();
        let gossip = &self.swarm.behaviour().gossip;
        let score = |node| gossip.peer_score(&peer_id(node)?);
        let peers = self.peers.iter().map(|(node, peer)| {
            let first = peer.connections.values().next();
            PeerStatus {
                node: *node,
                address: first
                    .filter(|_| view.in_roster(node))
                    .map(|c| c.address.clone()),
                since: peer.since,
                pending: self.outbound.to(node) + self.inbound.of(node),
                transport: first
                    .and_then(|c| kind(&without_peer(&c.address)))
                    .unwrap_or(Transport::Tcp),
                dialled: first.is_some_and(|c| c.dialled),
                throttled: self.faults.throttled(node, now),
                score: score(node).unwrap_or_default(),
            }
        });
        // Every message is hashed, those that came again, too.
        let hashed = self.channels.ids.load(Ordering::Relaxed);
        self.counters.gossip_duplicates = hashed.saturating_sub(self.new_messages);
        let status = NetStatus {
            listening: self.listening.iter().cloned().collect(),
            peers: peers.collect(),
            banned: self.swarm.behaviour().gate.banned(),
            calls_in: self.inbound.len(),
            calls_out: self.outbound.len(),
            throttled: self.faults.count_throttled(now),
            counters: self.counters,
            calls: self.calls.clone(),
            tcp: self.channels.meters.tcp.read(),
            quic: self.channels.meters.quic.read(),
        };
        self.channels.status.send_replace(status);
    }
}
