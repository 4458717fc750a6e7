//! Whose answers a decision needs: holders by the roster in force and, while a new roster takes effect,
//! those by the one before it too.
//!
//! Each roster's holders make a set of their own, so that a read meets every acknowledged write whichever
//! roster its coordinator followed. Holders of both rosters compare what they hold, which moves it.

use std::collections::BTreeSet;

use lapwing_protocol::federation::Roster;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::placement::Placement;
use lapwing_protocol::time::Millis;

use crate::core::Core;
use crate::store::Reader;

/// How long after a new roster came the one before it counts in reads and writes, in milliseconds.
const HANDOVER_MS: u64 = 3_600_000;

/// The placement before the one in force, where it differs.
pub(crate) struct Before {
    placement: Placement,
    /// Until when it counts in reads and writes.
    until: Millis,
}

/// The answers that a decision needs, and those it has.
#[derive(Clone, Debug)]
pub(crate) struct Quorum {
    sets: Vec<Set>,
}

#[derive(Clone, Debug)]
struct Set {
    holders: Vec<NodeId>,
    need: usize,
    got: BTreeSet<NodeId>,
}

impl Quorum {
    /// Every node to be asked, once, nearest first.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        for node in self.sets.iter().flat_map(|s| &s.holders) {
            if !nodes.contains(node) {
                nodes.push(*node);
            }
        }
        nodes
    }

    /// Counts a node's answer.
    pub(crate) fn count(&mut self, node: NodeId) {
        for set in &mut self.sets {
            if set.holders.contains(&node) {
                set.got.insert(node);
            }
        }
    }

    /// Whether enough have answered.
    pub(crate) fn met(&self) -> bool {
        !self.sets.is_empty() && self.sets.iter().all(|s| s.got.len() >= s.need)
    }
}

impl<R: Reader> Core<R> {
    /// What a write to an id needs.
    pub(crate) fn write_quorum(&self, id: &[u8; 32]) -> Quorum {
        self.quorum(id, Placement::write_quorum)
    }

    /// What a read of an id needs.
    pub(crate) fn read_quorum(&self, id: &[u8; 32]) -> Quorum {
        self.quorum(id, Placement::read_quorum)
    }

    fn quorum(&self, id: &[u8; 32], need: impl Fn(&Placement) -> usize) -> Quorum {
        let Some(current) = self.view.placement() else {
            return Quorum { sets: Vec::new() };
        };
        let mut sets = vec![Set {
            holders: current.holders(id),
            need: need(current),
            got: BTreeSet::new(),
        }];
        if let Some(before) = self.handing_over() {
            // Who left the roster cannot be asked; what it had alone is beyond what is promised.
            let mut holders = before.holders(id);
            holders.retain(|n| current.has(n));
            sets.push(Set {
                need: need(before).min(holders.len()),
                holders,
                got: BTreeSet::new(),
            });
        }
        Quorum { sets }
    }

    /// Whether this node can know of the roster before the one in force: a node that has just joined
    /// would take what the former holders have for absent.
    pub(crate) fn settled(&self) -> bool {
        let mut rosters = self.view.rosters();
        let first = rosters
            .next()
            .is_none_or(|r| r.sequence <= 1 || r.nodes().count() == 1);
        first || rosters.next().is_some() || self.compared
    }

    pub(crate) fn handing_over(&self) -> Option<&Placement> {
        self.before
            .as_ref()
            .filter(|b| self.now < b.until)
            .map(|b| &b.placement)
    }

    /// Whether this node answers for an id: as a holder, or as one that hands over.
    pub(crate) fn serves(&self, id: &[u8; 32]) -> bool {
        let me = self.me.id();
        self.view.is_holder(id, &me) || self.handing_over().is_some_and(|b| b.is_holder(id, &me))
    }

    /// The nodes that keep an id: its holders, and those by the roster before.
    pub(crate) fn keepers(&self, id: &[u8; 32]) -> Vec<NodeId> {
        let mut keepers = self.view.holders(id);
        if let Some(before) = &self.before {
            for node in before.placement.holders(id) {
                if !keepers.contains(&node) {
                    keepers.push(node);
                }
            }
        }
        keepers
    }

    /// Notes the roster before the one in force, where ids moved between the two.
    pub(crate) fn note_rosters(&mut self) {
        let mut rosters = self.view.rosters();
        let moved = match (rosters.next(), rosters.next()) {
            (Some(now), Some(before)) if !same_places(now, before) => Some(Placement::new(before)),
            _ => None,
        };
        self.before = moved.map(|placement| Before {
            placement,
            until: self.now.plus_millis(HANDOVER_MS),
        });
    }
}

/// Whether two rosters place every id alike.
fn same_places(a: &Roster, b: &Roster) -> bool {
    let nodes = |r: &Roster| {
        r.nodes()
            .map(|(o, n)| (n.id, o.id))
            .collect::<BTreeSet<_>>()
    };
    a.params.replicas == b.params.replicas && nodes(a) == nodes(b)
}
