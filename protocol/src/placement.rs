//! Which nodes hold what: a pure function of roster and id. See `docs/spec/placement.md`.
//!
//! The metric is the one that libp2p's Kademlia uses, so that a lookup of the id from any node ends
//! at the holders: XOR of the SHA-256 of a node's peer id with the SHA-256 of the id.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::federation::Roster;
use crate::id::NodeId;

/// An identity multihash of a libp2p public key: code 0, 36 bytes; then the protobuf of the key:
/// type Ed25519 (1), data of 32 bytes (libp2p peer id specification, "Keys").
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The bytes of the libp2p peer id of a node, whose Ed25519 public key is its id.
#[must_use]
pub fn peer_id_bytes(node: &NodeId) -> [u8; 38] {
    let mut out = [0; 38];
    let (prefix, key) = out.split_at_mut(PEER_ID_PREFIX.len());
    prefix.copy_from_slice(&PEER_ID_PREFIX);
    key.copy_from_slice(node.as_bytes());
    out
}

/// The point of the key space where a node lies.
#[must_use]
pub fn node_point(node: &NodeId) -> [u8; 32] {
    Sha256::digest(peer_id_bytes(node)).into()
}

/// The point of the key space where an id lies.
#[must_use]
pub fn id_point(id: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(id).into()
}

/// How far apart two points are; compares as a big-endian number.
#[must_use]
pub fn distance(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let mut out = *a;
    for (x, y) in out.iter_mut().zip(b) {
        *x ^= y;
    }
    out
}

/// The holders of one id by one roster. A caller with more than one question keeps a [`Placement`].
#[must_use]
pub fn holders(roster: &Roster, id: &[u8; 32]) -> Vec<NodeId> {
    Placement::new(roster).holders(id)
}

/// How many of `n` holders must have a write on disk before it is acknowledged: any two such sets
/// meet. For `n` up to 3 this is `min(2, n)`.
#[must_use]
pub fn write_quorum(n: usize) -> usize {
    if n == 0 { 0 } else { n.min(2).max(n / 2 + 1) }
}

/// How many of `n` holders a read must merge so that it meets every acknowledged write:
/// `n − W + 1`.
#[must_use]
pub fn read_quorum(n: usize) -> usize {
    if n == 0 { 0 } else { n - write_quorum(n) + 1 }
}

#[derive(Clone, Debug)]
struct Placed {
    node: NodeId,
    point: [u8; 32],
    operator: usize,
}

/// A roster's nodes with their points, ready to place ids.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Sorted by node.
    nodes: Vec<Placed>,
    replicas: usize,
    holders: usize,
}

impl Placement {
    /// Hashes the roster's nodes once.
    #[must_use]
    pub fn new(roster: &Roster) -> Self {
        let mut nodes = Vec::new();
        for (operator, o) in roster.operators.iter().enumerate() {
            nodes.extend(o.nodes.iter().map(|n| Placed {
                node: n.id,
                point: node_point(&n.id),
                operator,
            }));
        }
        nodes.sort_unstable_by_key(|n| n.node);
        let replicas = usize::from(roster.params.replicas);
        let operators = roster
            .operators
            .iter()
            .filter(|o| !o.nodes.is_empty())
            .count();
        let holders = if nodes.len() <= replicas {
            nodes.len()
        } else {
            replicas.min(operators)
        };
        Placement {
            nodes,
            replicas,
            holders,
        }
    }

    /// The holders of an id, nearest first: the R nodes nearest to it of distinct operators, or all
    /// nodes while there are at most R. Fewer than R where fewer operators have nodes.
    #[must_use]
    pub fn holders(&self, id: &[u8; 32]) -> Vec<NodeId> {
        let point = id_point(id);
        let mut by_distance: Vec<([u8; 32], &Placed)> = self
            .nodes
            .iter()
            .map(|n| (distance(&n.point, &point), n))
            .collect();
        by_distance.sort_unstable_by_key(|(d, _)| *d);
        let by_distance = by_distance.into_iter().map(|(_, n)| n);
        if self.nodes.len() <= self.replicas {
            return by_distance.map(|n| n.node).collect();
        }
        let mut operators = BTreeSet::new();
        by_distance
            .filter(|n| operators.insert(n.operator))
            .take(self.replicas)
            .map(|n| n.node)
            .collect()
    }

    /// Whether the roster has a node.
    #[must_use]
    pub fn has(&self, node: &NodeId) -> bool {
        self.nodes.binary_search_by(|n| n.node.cmp(node)).is_ok()
    }

    /// Whether a node is a holder of an id.
    #[must_use]
    pub fn is_holder(&self, id: &[u8; 32], node: &NodeId) -> bool {
        self.has(node) && self.holders(id).contains(node)
    }

    /// How many holders every id has.
    #[must_use]
    pub fn holder_count(&self) -> usize {
        self.holders
    }

    /// W: see [`write_quorum`].
    #[must_use]
    pub fn write_quorum(&self) -> usize {
        write_quorum(self.holders)
    }

    /// How many holders a read merges: see [`read_quorum`].
    #[must_use]
    pub fn read_quorum(&self) -> usize {
        read_quorum(self.holders)
    }
}
