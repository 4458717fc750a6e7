//! Which nodes hold what: a pure function of roster and id. See `docs/spec/placement.md`.
//!
//! The metric is the one that libp2p's Kademlia uses, so that a lookup of the id from any node ends
//! at the holders: XOR of the SHA-256 of a node's peer id with the SHA-256 of the id.

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
        let all = self.nodes.len() <= self.replicas;
        // The nearest so far, of distinct operators, sorted: R is small, and a roster is not.
        let mut nearest: Vec<([u8; 32], &Placed)> = Vec::with_capacity(self.replicas + 1);
        for n in &self.nodes {
            let d = distance(&n.point, &point);
            let same = nearest
                .iter()
                .position(|(_, o)| !all && o.operator == n.operator);
            match same {
                Some(at) if nearest.get(at).is_some_and(|(held, _)| *held < d) => continue,
                Some(at) => drop(nearest.remove(at)),
                None => (),
            }
            let at = nearest.partition_point(|(held, _)| *held < d);
            if at < self.replicas {
                nearest.insert(at, (d, n));
                nearest.truncate(self.replicas);
            }
        }
        nearest.into_iter().map(|(_, n)| n.node).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;
    use crate::federation::NodeEntry;
    use crate::testing::{Fixture, list};

    #[test]
    fn the_peer_id_is_libp2ps() {
        // The Ed25519 key of the test vectors in libp2p's peer id specification.
        let key = "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e";
        let bytes = peer_id_bytes(&key.parse().unwrap());
        assert_eq!(HEXLOWER.encode(&bytes), format!("002408011220{key}"));
    }

    #[test]
    fn quorums_meet() {
        let table: Vec<_> = (0..=7).map(|n| (write_quorum(n), read_quorum(n))).collect();
        assert_eq!(
            table,
            [
                (0, 0),
                (1, 1),
                (2, 1),
                (2, 2),
                (3, 2),
                (3, 3),
                (4, 3),
                (4, 4)
            ]
        );
        for n in 1..=7 {
            assert!(
                2 * write_quorum(n) > n
                    && read_quorum(n) + write_quorum(n) > n
                    && write_quorum(n) <= n
            );
        }
    }

    #[test]
    fn a_small_federation_holds_everything_everywhere() {
        for nodes in 0..=3 {
            let f = Fixture::new(1, nodes);
            let placement = Placement::new(&f.next_roster());
            let all: BTreeSet<NodeId> = f.nodes().map(|n| n.id).collect();
            assert_eq!(placement.holder_count(), nodes);
            assert_eq!(
                placement
                    .holders(&[7; 32])
                    .into_iter()
                    .collect::<BTreeSet<_>>(),
                all
            );
        }
        // Also where one operator runs them all.
        let mut f = Fixture::new(1, 0);
        f.add_operator(3);
        assert_eq!(holders(&f.next_roster(), &[7; 32]).len(), 3);
    }

    #[test]
    fn few_operators_make_few_holders() {
        let mut f = Fixture::new(1, 0);
        f.add_operator(3);
        f.add_operator(5);
        f.add_operator(0);
        let placement = Placement::new(&f.next_roster());
        assert_eq!(
            (placement.holder_count(), placement.holders(&[7; 32]).len()),
            (2, 2)
        );
        assert_eq!((placement.write_quorum(), placement.read_quorum()), (2, 1));
    }

    #[test]
    fn the_example_of_the_specification() {
        let mut f = Fixture::new(1, 0);
        (0..5).for_each(|_| f.add_operator(0));
        let node = |i: u8| NodeId::from_bytes([i; 32]);
        let signing = f.roots[0].verifying_key();
        let mut roster = f.next_roster();
        let mut operators = roster.operators.into_vec();
        for (o, nodes) in operators
            .iter_mut()
            .zip([&[1][..], &[2], &[3], &[4, 5], &[6]])
        {
            o.nodes = list(
                nodes
                    .iter()
                    .map(|i| NodeEntry {
                        id: node(*i),
                        signing,
                    })
                    .collect(),
            );
        }
        roster.operators = list(operators);
        let hex = |bytes: [u8; 32]| HEXLOWER.encode(&bytes);
        assert_eq!(
            hex(id_point(&[0; 32])),
            "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
        );
        assert_eq!(
            hex(node_point(&node(5))),
            "6778d8b8fcb65a6d75de24761a02730f60890887a48208542bf8753a5ab0886f"
        );
        assert_eq!(holders(&roster, &[0; 32]), [node(5), node(2), node(6)]);
    }

    proptest! {
        #[test]
        fn the_nearest_of_distinct_operators(
            seed in any::<u64>(),
            sizes in proptest::collection::vec(0usize..4, 1..12),
            replicas in 1u8..=7,
            id in any::<[u8; 32]>(),
        ) {
            let mut f = Fixture::with(seed, 0, 0, |p| p.replicas = replicas);
            for n in sizes {
                f.add_operator(n);
            }
            let roster = f.next_roster();
            let placement = Placement::new(&roster);
            let held = placement.holders(&id);
            prop_assert_eq!(held.len(), placement.holder_count());
            prop_assert!(f.nodes().all(|n| placement.is_holder(&id, &n.id) == held.contains(&n.id)));
            // The rule in other words: a node holds if fewer than R operators have a nearer one, and
            // its own operator has none.
            let far = |n: &NodeId| distance(&node_point(n), &id_point(&id));
            let owner = |n: &NodeId| roster.nodes().find(|(_, e)| e.id == *n).map(|(o, _)| o.id);
            if f.nodes().count() > usize::from(replicas) {
                for n in f.nodes() {
                    let nearer: BTreeSet<_> =
                        f.nodes().filter(|o| far(&o.id) < far(&n.id)).map(|o| owner(&o.id)).collect();
                    let holds = nearer.len() < usize::from(replicas) && !nearer.contains(&owner(&n.id));
                    prop_assert_eq!(holds, held.contains(&n.id));
                }
            }
            prop_assert!(held.windows(2).all(|w| far(&w[0]) < far(&w[1])));
        }

        #[test]
        fn a_node_that_leaves_moves_its_own_ids_alone(seed in any::<u64>(), id in any::<[u8; 32]>()) {
            let mut f = Fixture::new(seed, 8);
            let before = holders(&f.next_roster(), &id);
            let gone = f.operators.remove(3).nodes[0].id;
            let after = holders(&f.next_roster(), &id);
            if !before.contains(&gone) {
                prop_assert_eq!(before, after);
            } else {
                prop_assert!(before.iter().all(|h| *h == gone || after.contains(h)));
            }
        }
    }
}
