//! What follows from faults: drawn here, counted in `faults`.

use lapwing_core::Severity;
use lapwing_protocol::id::NodeId;
use tokio::time::Instant;

use crate::faults::{Consequence, PART};
use crate::peer::peer_id;
use crate::swarm::Net;

impl Net {
    /// Counts a peer's fault and draws the consequence.
    pub(crate) fn fault(&mut self, node: NodeId, severity: Severity, what: &'static str) {
        self.counters.faults += 1;
        let now = Instant::now();
        let consequence = self.faults.add(node, severity, now);
        if severity == Severity::Minor && consequence == Consequence::Counted {
            tracing::debug!(peer = %node, what, "fault of a peer");
        } else {
            tracing::warn!(peer = %node, what, ?severity, ?consequence, "fault of a peer");
        }
        match consequence {
            Consequence::Banned => {
                self.counters.bans += 1;
                self.keep_away(node, now + self.tuning.ban);
            }
            Consequence::Parted => {
                self.counters.parted += 1;
                self.score(&node);
                self.keep_away(node, now + self.tuning.pause);
            }
            Consequence::Counted | Consequence::Throttled => self.score(&node),
        }
    }

    /// Disconnects a peer, and lets it in again when the time is over.
    pub(crate) fn keep_away(&mut self, node: NodeId, until: Instant) {
        self.swarm.behaviour_mut().gate.ban(node, until.into_std());
        self.part(node);
        self.give_up(&node);
    }

    /// Tells gossip what a peer's faults come to.
    pub(crate) fn score(&mut self, node: &NodeId) {
        if let Some(peer) = peer_id(node) {
            let penalty = self.faults.penalty(node, Instant::now());
            self.swarm
                .behaviour_mut()
                .gossip
                .set_application_score(&peer, -penalty);
        }
    }

    /// Parts from peers that gossip no longer listens to because of what they sent. Their score alone
    /// is not enough, for it falls under load as well: there must be faults, too.
    pub(crate) fn part_from_unheard(&mut self, now: Instant) {
        let gossip = &self.swarm.behaviour().gossip;
        let unheard: Vec<NodeId> = self
            .peers
            .keys()
            .filter(|node| {
                let score = peer_id(node).and_then(|peer| gossip.peer_score(&peer));
                self.faults.throttled(node, now) && score.is_some_and(|s| s <= -PART)
            })
            .copied()
            .collect();
        for node in unheard {
            tracing::warn!(peer = %node, "gossip does not listen to this peer any more; disconnecting");
            self.counters.parted += 1;
            self.keep_away(node, now + self.tuning.pause);
        }
    }
}
