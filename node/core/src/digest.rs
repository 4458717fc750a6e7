//! Digests of what this node holds, kept as it changes, so that two holders can compare in one step.
//!
//! Items are counted by the set of their holders, shard and expiry hour. What a pair of nodes compares is
//! the sum over all holder sets that contain both, without what is about to expire.

use std::collections::BTreeMap;

use lapwing_protocol::hash::hash;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::item::ItemKey;
use lapwing_protocol::peer::Digest;
use lapwing_protocol::time::Hour;

/// One bucket's sum.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    xor: [u8; 32],
}

impl Sum {
    fn flip(&mut self, other: &[u8; 32]) {
        for (a, b) in self.xor.iter_mut().zip(other) {
            *a ^= b;
        }
    }
}

/// All digests of a node.
#[derive(Default)]
pub(crate) struct Digests {
    sets: BTreeMap<Vec<NodeId>, BTreeMap<(u16, Hour), Sum>>,
}

fn leaf(key: &ItemKey, stamp: Hour) -> [u8; 32] {
    hash("lapwing/v1/digest", &(*key, stamp))
}

/// The shard of an id, of `shards` (a power of two up to 256): its first bits, so that a shard is one
/// range of ids.
pub(crate) fn shard_of(placement: &[u8; 32], shards: u16) -> u16 {
    u16::try_from(u32::from(placement[0]) * u32::from(shards.max(1)) / 256).unwrap_or(0)
}

/// The first bytes of a shard's ids: from this one, below that one (256: to the end).
pub(crate) fn shard_range(shard: u16, shards: u16) -> (u16, u16) {
    let width = 256 / shards.clamp(1, 256);
    (
        shard.saturating_mul(width),
        shard.saturating_add(1).saturating_mul(width),
    )
}

impl Digests {
    /// Counts an item in.
    pub(crate) fn add(
        &mut self,
        mut holders: Vec<NodeId>,
        shard: u16,
        expires: Hour,
        key: &ItemKey,
        stamp: Hour,
    ) {
        holders.sort_unstable();
        let sum = self
            .sets
            .entry(holders)
            .or_default()
            .entry((shard, expires))
            .or_default();
        sum.count += 1;
        sum.flip(&leaf(key, stamp));
    }

    /// Counts an item out that was counted in with the same arguments.
    pub(crate) fn remove(
        &mut self,
        mut holders: Vec<NodeId>,
        shard: u16,
        expires: Hour,
        key: &ItemKey,
        stamp: Hour,
    ) {
        holders.sort_unstable();
        let Some(buckets) = self.sets.get_mut(&holders) else {
            return;
        };
        let Some(sum) = buckets.get_mut(&(shard, expires)) else {
            return;
        };
        sum.count = sum.count.saturating_sub(1);
        sum.flip(&leaf(key, stamp));
        if sum.count == 0 {
            buckets.remove(&(shard, expires));
        }
        if buckets.is_empty() {
            self.sets.remove(&holders);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.sets.clear();
    }

    /// The digests of what both nodes hold and what expires at `from` or later, by shard; empty shards
    /// are left out.
    pub(crate) fn common(&self, a: &NodeId, b: &NodeId, from: Hour) -> Vec<Digest> {
        let mut shards: BTreeMap<u16, Sum> = BTreeMap::new();
        for (holders, buckets) in &self.sets {
            if holders.binary_search(a).is_err() || holders.binary_search(b).is_err() {
                continue;
            }
            for ((shard, expires), sum) in buckets {
                if *expires >= from {
                    let total = shards.entry(*shard).or_default();
                    total.count += sum.count;
                    total.flip(&sum.xor);
                }
            }
        }
        shards
            .into_iter()
            .map(|(shard, s)| Digest {
                shard,
                count: s.count,
                xor: s.xor,
            })
            .collect()
    }

    /// How many items are held.
    pub(crate) fn len(&self) -> u64 {
        self.sets
            .values()
            .flat_map(|b| b.values())
            .map(|s| s.count)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_protocol::id::ItemId;
    use lapwing_protocol::item::ItemKind;

    fn item(n: u8) -> ItemKey {
        ItemKey {
            placement: [n; 32],
            request: None,
            slot: 0,
            kind: ItemKind::Blob,
            id: ItemId::from_bytes([n; 32]),
        }
    }

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let (a, b, c) = (
            NodeId::from_bytes([1; 32]),
            NodeId::from_bytes([2; 32]),
            NodeId::from_bytes([3; 32]),
        );
        let (h, s) = (Hour::new(10), Hour::new(1));
        let (mut x, mut y) = (Digests::default(), Digests::default());
        for n in 0..20 {
            x.add(vec![a, b], u16::from(n) % 4, h, &item(n), s);
        }
        for n in (0..20).rev() {
            y.add(vec![b, a], u16::from(n) % 4, h, &item(n), s);
        }
        x.add(vec![a, c], 0, h, &item(99), s);
        assert_eq!(x.common(&a, &b, h), y.common(&b, &a, h));
        assert!(x.common(&a, &b, Hour::new(11)).is_empty());
        assert_eq!(x.common(&b, &c, h), vec![]);
        y.remove(vec![a, b], 3, h, &item(3), s);
        assert_ne!(x.common(&a, &b, h), y.common(&a, &b, h));
        for n in 0..20u8 {
            x.remove(vec![a, b], u16::from(n) % 4, h, &item(n), s);
        }
        assert_eq!(x.len(), 1);
    }
}
