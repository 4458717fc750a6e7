//! Nodes of the roster on the local network, found by multicast DNS where the operator wants it.
//!
//! Anybody on that network can say that any node is anywhere. So only nodes of the roster count, only
//! few addresses of each, kept apart from the others; and whoever answers must prove the node's key.
//! Without a roster nobody is dialled.

use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use crate::peer::{dialable, node_id};
use crate::swarm::Net;

/// So many announcements the machinery may keep; with more, somebody floods the network.
const MAX_ANNOUNCED: usize = 4096;

impl Net {
    /// The local network tells of these.
    pub(crate) fn found_locally(&mut self, found: &[(PeerId, Multiaddr)]) {
        let now = Instant::now();
        for (peer, address) in found.iter().take(MAX_ANNOUNCED) {
            let Some(node) = node_id(peer) else {
                continue;
            };
            let Some(address) = dialable(address, &node, false) else {
                continue;
            };
            if !self.book.learn_local(node, address.clone(), now) {
                continue;
            }
            self.counters.found_locally += 1;
            tracing::info!(peer = %node, %address, "node of the roster found on the local network");
            let due = |n: &_| self.peers.contains_key(n);
            if self.closing.is_none() && self.book.due(now, due).contains(&node) {
                self.connect(node);
            }
        }
    }

    /// The local network no longer tells of these.
    pub(crate) fn gone_locally(&mut self, gone: &[(PeerId, Multiaddr)]) {
        for (peer, address) in gone {
            if let Some(node) = node_id(peer)
                && let Some(address) = dialable(address, &node, false)
            {
                self.book.forget_local(&node, &address);
            }
        }
    }

    /// Stops asking the local network when it says too much: the machinery keeps all it hears.
    pub(crate) fn bound_local(&mut self) {
        let mdns = &mut self.swarm.behaviour_mut().mdns;
        let flooded = mdns
            .as_ref()
            .is_some_and(|m| m.discovered_nodes().len() > MAX_ANNOUNCED);
        if flooded {
            *mdns = Toggle::from(None);
            tracing::error!(
                "the local network is flooded with announcements; nodes are no longer looked for there until this node starts anew"
            );
        }
    }
}
