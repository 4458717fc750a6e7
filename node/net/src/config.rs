//! What a node's network side is told at its start. Every number has a default that suits an
//! ordinary node; tests and testnets shorten the times.

use std::fmt;
use std::time::Duration;

use lapwing_protocol::id::{FederationId, NodeId};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use zeroize::Zeroizing;

use crate::error::NetError;
use crate::peer::{ip, kind, node_id};

/// Where to listen, whom to ask first, and within which bounds.
#[derive(Clone)]
pub struct NetConfig {
    /// Addresses to listen on, `/ip4|ip6/…/tcp/…` or `/ip4|ip6/…/udp/…/quic-v1`; port 0 takes a free
    /// one.
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach this node, where they are not those it listens on.
    pub announce: Vec<Multiaddr>,
    /// Nodes to ask first, each `/ip4|ip6|dns…/…/tcp/…/p2p/<peer id>`, or with `udp/…/quic-v1`.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether to look for nodes of the roster on the local network, and to be found there: everybody
    /// on it learns this node's peer id and addresses.
    pub mdns: bool,
    /// The seed of the node's Ed25519 peer key; its public half is the node's id.
    pub seed: Zeroizing<[u8; 32]>,
    /// The federation whose view is handed over.
    pub federation: FederationId,
    /// Bounds on what others may cost this node.
    pub limits: Limits,
    /// Times and sizes that change how lively the network side is, not what it does.
    pub tuning: Tuning,
}

impl NetConfig {
    /// A node that listens nowhere yet, with default bounds and times.
    #[must_use]
    pub fn new(federation: FederationId, seed: Zeroizing<[u8; 32]>) -> Self {
        Self {
            listen: Vec::new(),
            announce: Vec::new(),
            bootstrap: Vec::new(),
            mdns: false,
            seed,
            federation,
            limits: Limits::default(),
            tuning: Tuning::default(),
        }
    }

    /// The bootstrap nodes with the addresses to dial, without their `/p2p/` ends.
    pub(crate) fn bootstrap_nodes(&self) -> Result<Vec<(NodeId, Multiaddr)>, NetError> {
        let mut nodes = Vec::new();
        for address in &self.bootstrap {
            nodes.push(bootstrap_node(address)?);
        }
        Ok(nodes)
    }
}

fn bootstrap_node(address: &Multiaddr) -> Result<(NodeId, Multiaddr), NetError> {
    let mut rest = address.clone();
    let node = match rest.pop() {
        Some(Protocol::P2p(peer)) => node_id(&peer),
        _ => None,
    };
    let Some(node) = node else {
        return Err(NetError::BootstrapWithoutNode {
            address: address.clone(),
        });
    };
    // The error shows the address as it was written.
    check_announce(&rest).map_err(|_| NetError::AddressNotSupported {
        address: address.clone(),
    })?;
    Ok((node, rest))
}

/// Whether a node can listen on an address of this kind; whether it is free shows when it starts.
///
/// # Errors
/// [`NetError::AddressNotSupported`].
pub fn check_listen(address: &Multiaddr) -> Result<(), NetError> {
    match (kind(address), ip(address)) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err(NetError::AddressNotSupported {
            address: address.clone(),
        }),
    }
}

/// Whether an address of this kind can be told to others.
///
/// # Errors
/// [`NetError::AddressNotSupported`].
pub fn check_announce(address: &Multiaddr) -> Result<(), NetError> {
    match kind(address) {
        Some(_) => Ok(()),
        None => Err(NetError::AddressNotSupported {
            address: address.clone(),
        }),
    }
}

/// Whether a node can be dialled at this address of a bootstrap node.
///
/// # Errors
/// [`NetError::BootstrapWithoutNode`], [`NetError::AddressNotSupported`].
pub fn check_bootstrap(address: &Multiaddr) -> Result<(), NetError> {
    bootstrap_node(address).map(drop)
}

/// Shows where it listens; the seed is redacted.
impl fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetConfig")
            .field("listen", &self.listen)
            .field("announce", &self.announce)
            .field("bootstrap", &self.bootstrap)
            .field("mdns", &self.mdns)
            .field("seed", &"redacted")
            .field("federation", &self.federation)
            .field("limits", &self.limits)
            .field("tuning", &self.tuning)
            .finish()
    }
}

/// Bounds on what peers may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls of one peer that may wait for their replies at once; a peer with faults has an eighth.
    pub calls_in_per_peer: usize,
    /// Calls of all peers that may wait for their replies at once.
    pub calls_in: usize,
    /// Calls to one peer on the wire at once; further ones wait in line. More than what others take
    /// from one peer would be refused, and be counted as faults.
    pub calls_out_per_peer: usize,
    /// Calls of this node that may be open at once, in line or on the wire; further ones fail at once.
    pub calls_out: usize,
    /// Calls a peer may make in a second, with ten times as many at once; further ones are refused as
    /// busy. A peer with faults has an eighth.
    pub calls_per_second: u32,
    /// MiB of calls a peer may send in a second, with ten times as many at once; the same follows.
    pub mib_per_second: u32,
    /// Gossip messages that may wait for their check at once; further ones are ignored.
    pub gossip_pending: usize,
    /// Gossip messages of one peer that may wait for their check at once.
    pub gossip_pending_per_peer: usize,
    /// Checks of calls and replies that run at once, and as many checks of gossip.
    pub workers: usize,
    /// Bytes of large frames (above 64 KiB each) held in memory while they arrive and are checked.
    pub frame_bytes: usize,
    /// Connections in both directions; each direction has three quarters of them at most, so that
    /// others cannot take up those this node would make.
    pub connections: u32,
    /// Incoming connections whose handshake is under way.
    pub handshakes: u32,
    /// Dials under way.
    pub dials: u32,
    /// Up to so many nodes in the roster, this node connects to all of them.
    pub full_mesh: usize,
    /// In a larger federation, it keeps so many connections of its own choice, and closes idle ones
    /// beyond four times as many.
    pub chosen: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_in_per_peer: 256,
            calls_in: 4096,
            calls_out_per_peer: 128,
            calls_out: 16_384,
            calls_per_second: 5000,
            mib_per_second: 32,
            gossip_pending: 1024,
            gossip_pending_per_peer: 256,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            frame_bytes: 128 * 1024 * 1024,
            connections: 1024,
            handshakes: 64,
            dials: 128,
            full_mesh: 50,
            chosen: 24,
        }
    }
}

/// Gossip mesh sizes: how many peers of a topic get every message, and between which bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// The number aimed at.
    pub size: usize,
    /// Below this, peers are added.
    pub low: usize,
    /// Above this, peers are taken out.
    pub high: usize,
}

impl Mesh {
    /// For a federation of at most eight nodes.
    pub const SMALL: Self = Self {
        size: 4,
        low: 3,
        high: 4,
    };
    /// For a larger one.
    pub const LARGE: Self = Self {
        size: 6,
        low: 5,
        high: 12,
    };
}

/// Times and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How often the gossip mesh is mended.
    pub heartbeat: Duration,
    /// The gossip mesh; none: by the size of the roster at the start.
    pub mesh: Option<Mesh>,
    /// How often missing connections are looked at.
    pub tick: Duration,
    /// Longest wait between two dials of the same node; the first is one second.
    pub redial: Duration,
    /// How often each connection is pinged.
    pub ping: Duration,
    /// How long a ping may take; a connection on which two in a row fail is closed.
    pub ping_timeout: Duration,
    /// A peer that is connected for so long without a gossip subscription is connected anew.
    pub heal: Duration,
    /// A peer that connects again although a connection of this age stands has lost it.
    pub stale: Duration,
    /// How long a peer's call may wait for its reply.
    pub reply: Duration,
    /// How long a peer's frame may take to arrive.
    pub frame: Duration,
    /// How long a peer with many faults is kept away, each time.
    pub pause: Duration,
    /// How long a peer that showed bad intent is kept away.
    pub ban: Duration,
    /// How long a shutdown waits for replies that are due.
    pub drain: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            mesh: None,
            tick: Duration::from_millis(500),
            redial: Duration::from_secs(30),
            ping: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
            heal: Duration::from_secs(10),
            stale: Duration::from_secs(5),
            reply: Duration::from_secs(30),
            frame: Duration::from_secs(20),
            pause: Duration::from_secs(60),
            ban: Duration::from_secs(3600),
            drain: Duration::from_secs(2),
        }
    }
}
