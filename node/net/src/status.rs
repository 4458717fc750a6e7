//! What the network side tells the operator and the metrics.

use lapwing_protocol::id::NodeId;
use lapwing_protocol::time::Time;
use libp2p::Multiaddr;

/// A snapshot of the network side, at most half a second old.
#[derive(Clone, Debug, Default)]
pub struct NetStatus {
    /// Addresses it listens on.
    pub listening: Vec<Multiaddr>,
    /// The nodes it is connected to, by their ids.
    pub peers: Vec<PeerStatus>,
    /// Nodes that are kept away because of their faults.
    pub banned: usize,
    /// Calls of peers that wait for their reply.
    pub calls_in: usize,
    /// Calls to peers that wait for their reply.
    pub calls_out: usize,
    /// Counted since the start.
    pub counters: Counters,
}

/// A connected node.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Which.
    pub node: NodeId,
    /// The other end of the connection; only of nodes of the roster.
    pub address: Option<Multiaddr>,
    /// Since when it is connected.
    pub since: Time,
    /// Calls to it and from it that wait for their reply.
    pub pending: usize,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of peers that were handed on.
    pub calls_taken: u64,
    /// Calls of peers that were refused for what they said.
    pub calls_refused: u64,
    /// Calls of peers that were refused because too many were open.
    pub calls_shed: u64,
    /// Calls and replies that do not decode.
    pub malformed: u64,
    /// Calls and replies that are too long.
    pub oversized: u64,
    /// Gossip taken and passed on.
    pub gossip_accepted: u64,
    /// Gossip not passed on: known, stale, or not yet to be judged.
    pub gossip_ignored: u64,
    /// Gossip that failed its check.
    pub gossip_rejected: u64,
    /// Gossip dropped unseen because too much waited for its check.
    pub gossip_shed: u64,
    /// Gossip whose check ended too late to pass it on.
    pub gossip_late: u64,
    /// Messages this node could not hand to a peer in time.
    pub gossip_not_sent: u64,
    /// Connections refused because the other end is not in the roster or is kept away.
    pub strangers: u64,
    /// Peers connected anew because their gossip subscriptions were lost.
    pub healed: u64,
    /// Faults of peers.
    pub faults: u64,
}
