//! What is true of a world as a whole: replicas agree, stores hold what they should.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_core::store::{Reader, prefix_end};
use lapwing_protocol::item::ItemKind;
use lapwing_protocol::time::Hour;

use super::world::World;

/// How many rows a store has of each kind, by the first byte of their keys.
pub type Spaces = BTreeMap<char, usize>;

impl World {
    /// Every row of a node's store.
    ///
    /// # Panics
    /// Never: memory can always be read.
    #[must_use]
    pub fn rows(&self, node: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.store(node)
            .scan(&[], &prefix_end(&[]), usize::MAX)
            .expect("memory is read")
    }

    /// How many rows of each kind a node's store has.
    #[must_use]
    pub fn spaces(&self, node: usize) -> Spaces {
        let mut out = Spaces::new();
        for (key, _) in self.rows(node) {
            let space = key.first().map_or('?', |b| char::from(*b));
            *out.entry(space).or_default() += 1;
        }
        out
    }

    /// The distinct bodies of all stored items of a kind, at any node.
    #[must_use]
    pub fn bodies(&self, kind: ItemKind) -> BTreeSet<Vec<u8>> {
        // Behind prefix and placement: a zero and the slot, or a one and the request; then the kind.
        let kind_at = |key: &[u8]| match key.get(33) {
            Some(0) => key.get(38).copied(),
            _ => key.get(66).copied(),
        };
        let mut out = BTreeSet::new();
        for node in 0..self.len() {
            for (key, value) in self.rows(node) {
                if key.first() == Some(&b'd') && kind_at(&key).map(u64::from) == Some(kind.code()) {
                    // Version, stamp and expiry hour come first.
                    out.insert(value.get(9..).unwrap_or_default().to_vec());
                }
            }
        }
        out
    }

    /// Pairs of nodes that are up and whose digests differ.
    #[must_use]
    pub fn differing(&self) -> Vec<(usize, usize)> {
        let from = Hour::ZERO;
        let mut out = Vec::new();
        for a in 0..self.len() {
            for b in 0..a {
                if self.up(a)
                    && self.up(b)
                    && self.core(a).digests(&self.id(b), from)
                        != self.core(b).digests(&self.id(a), from)
                {
                    out.push((a, b));
                }
            }
        }
        out
    }

    /// Runs until all digests are equal.
    ///
    /// # Panics
    /// Where they are not within so many milliseconds.
    pub fn converge(&mut self, within_ms: u64) {
        let until = self.millis().plus_millis(within_ms);
        while !self.differing().is_empty() {
            assert!(
                self.millis() < until,
                "replicas converge: {:?} differ",
                self.differing()
            );
            self.run(500);
        }
    }
}
