//! What the network side tells the operator and the metrics.

use std::collections::BTreeMap;

use lapwing_protocol::id::NodeId;
use lapwing_protocol::peer::PeerCall;
use lapwing_protocol::time::Time;
use libp2p::Multiaddr;

/// A snapshot of the network side, at most half a second old.
#[derive(Clone, Debug, Default)]
pub struct NetStatus {
    /// Addresses it listens on.
    pub listening: Vec<Multiaddr>,
    /// The nodes it is connected to, by their ids.
    pub peers: Vec<PeerStatus>,
    /// Nodes that are kept away because of their faults, for a minute or for longer.
    pub banned: usize,
    /// Nodes whose quotas are tightened because of their faults.
    pub throttled: usize,
    /// Calls of peers that wait for their reply.
    pub calls_in: usize,
    /// Calls to peers that wait for their reply.
    pub calls_out: usize,
    /// Counted since the start.
    pub counters: Counters,
    /// Calls since the start by their names in the protocol, such as `push`; those never made are
    /// missing.
    pub calls: BTreeMap<&'static str, CallCounters>,
    /// Bytes over TCP since the start.
    pub tcp: Traffic,
    /// Bytes over QUIC since the start.
    pub quic: Traffic,
}

/// How a connection is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP, noise and yamux.
    Tcp,
    /// QUIC, which brings its own encryption and streams.
    Quic,
}

impl Transport {
    /// Its name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }
}

/// Bytes in streams: what the protocols said, without the framing and encryption below them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// What became of one kind of call, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCounters {
    /// Calls of peers that were handed on to the core.
    pub taken: u64,
    /// Calls that were made to peers.
    pub made: u64,
    /// Calls made that had a good reply.
    pub answered: u64,
    /// Calls made that the peer refused, or whose reply failed its check.
    pub refused: u64,
    /// Calls made that had no reply in time.
    pub timed_out: u64,
    /// Calls made to a peer that could not be reached, or was lost before the reply.
    pub unreachable: u64,
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
    /// How its oldest connection is carried.
    pub transport: Transport,
    /// Whether this node made that connection.
    pub dialled: bool,
    /// Whether its quotas are tightened because of its faults.
    pub throttled: bool,
    /// Its score in gossip; below zero it has done wrong.
    pub score: f64,
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
    /// Calls of peers that were refused because they came faster, or were larger, than one may ask.
    pub calls_over_rate: u64,
    /// Calls and replies that do not decode.
    pub malformed: u64,
    /// Calls and replies that are too long.
    pub oversized: u64,
    /// Gossip of this node's own that was handed to peers.
    pub gossip_published: u64,
    /// Gossip that came again after it had been seen.
    pub gossip_duplicates: u64,
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
    /// How often a peer was disconnected for its faults and kept away for a minute.
    pub parted: u64,
    /// How often a peer was kept away for long.
    pub bans: u64,
    /// Connections refused because there were too many, of this peer or in all.
    pub connections_shed: u64,
    /// Dials that were begun.
    pub dials: u64,
    /// Dials that reached nobody, or somebody else.
    pub dials_failed: u64,
    /// Addresses of nodes of the roster that were heard of on the local network.
    pub found_locally: u64,
}

/// A call's name in the protocol.
pub(crate) fn call_name(call: &PeerCall) -> &'static str {
    match call {
        PeerCall::Hello(_) => "hello",
        PeerCall::Push(_) => "push",
        PeerCall::Read(_) => "read",
        PeerCall::ReadMarks(_) => "marks",
        PeerCall::Opened(_) => "opened",
        PeerCall::Admit(_) => "admit",
        PeerCall::Challenge(_) => "challenge",
        PeerCall::Grant(_) => "grant",
        PeerCall::Lock(_) => "lock",
        PeerCall::Digests(_) => "digests",
        PeerCall::Ids(_) => "ids",
        PeerCall::Items(_) => "items",
        PeerCall::TrustIds => "trust_ids",
        PeerCall::TrustRecords(_) => "trust_records",
        PeerCall::Proofs => "proofs",
    }
}
