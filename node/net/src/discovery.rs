//! Whom to connect to, where they were last seen, and when to try again.
//!
//! In a federation of up to fifty nodes everybody is connected to everybody. In a larger one a node
//! picks some by a hash of both ids, which makes a random graph that stays connected; others are
//! dialled when there is something to ask them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lapwing_protocol::hash::hash;
use lapwing_protocol::id::NodeId;
use libp2p::Multiaddr;
use tokio::time::Instant;

/// Most addresses kept of one node.
const MAX_ADDRESSES: usize = 8;
/// Most nodes kept while there is no roster to say which are of use.
const MAX_NODES: usize = 1024;
/// Most addresses kept of one node that were heard of on the local network.
const MAX_LOCAL: usize = 2;
/// How often news from the local network may make a dial come sooner.
const HURRY: Duration = Duration::from_secs(10);
/// The wait after the first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longer than any dial takes.
const DIAL_PATIENCE: Duration = Duration::from_secs(30);
/// A lookup that found nothing is not repeated sooner.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Known {
    /// The best first.
    addresses: Vec<Multiaddr>,
    /// From the configuration; never forgotten.
    fixed: Vec<Multiaddr>,
    /// Heard of on the local network, where anybody can claim to be anybody: kept apart, so that
    /// false ones drive out no others.
    local: Vec<Multiaddr>,
    /// When such an address last made the next dial come sooner.
    hurried: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
    looked_up: Option<Instant>,
    dialing: Option<Instant>,
}

impl Known {
    /// Whether a dial is under way: one whose end was never told must not block the next for ever.
    fn busy(&self, now: Instant) -> bool {
        self.dialing.is_some_and(|at| now < at + DIAL_PATIENCE)
    }
}

/// The address book.
#[derive(Debug)]
pub(crate) struct Discovery {
    own: NodeId,
    nodes: BTreeMap<NodeId, Known>,
    bootstrap: BTreeSet<NodeId>,
    /// The nodes of the roster, without this one.
    roster: Option<BTreeSet<NodeId>>,
    chosen: BTreeSet<NodeId>,
    full_mesh: usize,
    choose: usize,
    longest_wait: Duration,
}

impl Discovery {
    /// Knows the bootstrap nodes alone.
    pub(crate) fn new(
        own: NodeId,
        bootstrap: &[(NodeId, Multiaddr)],
        full_mesh: usize,
        choose: usize,
        longest_wait: Duration,
    ) -> Self {
        let mut nodes: BTreeMap<NodeId, Known> = BTreeMap::new();
        for (node, address) in bootstrap.iter().filter(|(n, _)| *n != own) {
            nodes.entry(*node).or_default().fixed.push(address.clone());
        }
        Self {
            own,
            bootstrap: nodes.keys().copied().collect(),
            nodes,
            roster: None,
            chosen: BTreeSet::new(),
            full_mesh,
            choose,
            longest_wait,
        }
    }

    /// Follows a roster.
    pub(crate) fn set_roster(&mut self, roster: Option<BTreeSet<NodeId>>) {
        self.roster = roster.map(|mut r| {
            r.remove(&self.own);
            r
        });
        self.chosen = match &self.roster {
            None => self.bootstrap.clone(),
            Some(roster) if roster.len() < self.full_mesh => roster.clone(),
            Some(roster) => {
                let mut by_hash: Vec<_> = roster
                    .iter()
                    .map(|n| {
                        (
                            hash(
                                "lapwing/v1/neighbour",
                                &(*self.own.as_bytes(), *n.as_bytes()),
                            ),
                            *n,
                        )
                    })
                    .collect();
                by_hash.sort_unstable();
                by_hash
                    .into_iter()
                    .take(self.choose)
                    .map(|(_, n)| n)
                    .collect()
            }
        };
        if let Some(roster) = &self.roster {
            let bootstrap = &self.bootstrap;
            self.nodes
                .retain(|n, _| roster.contains(n) || bootstrap.contains(n));
        }
    }

    /// Whether addresses of this node are of use.
    pub(crate) fn knows(&self, node: &NodeId) -> bool {
        *node != self.own && self.roster.as_ref().is_none_or(|r| r.contains(node))
    }

    /// Whether this node keeps a connection to that one by its own choice.
    pub(crate) fn chosen(&self, node: &NodeId) -> bool {
        self.chosen.contains(node)
    }

    /// Whether the federation is so large that idle connections are closed.
    pub(crate) fn selective(&self) -> bool {
        self.roster
            .as_ref()
            .is_some_and(|r| r.len() >= self.full_mesh)
    }

    /// Remembers where a node is said to be, the newest first; whether that is news.
    pub(crate) fn learn(&mut self, node: NodeId, address: Multiaddr) -> bool {
        if !self.knows(&node) {
            return false;
        }
        // Without a roster anybody may tell of anybody.
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&node) {
            return false;
        }
        let known = self.nodes.entry(node).or_default();
        let before = known.addresses.len();
        known.addresses.retain(|a| *a != address);
        let news = known.addresses.len() == before;
        known.addresses.insert(0, address);
        known.addresses.truncate(MAX_ADDRESSES);
        news
    }

    /// Remembers where a node of the roster is said to be on the local network; whether that is news.
    /// The first such news in a while lets the next dial be now.
    pub(crate) fn learn_local(&mut self, node: NodeId, address: Multiaddr, now: Instant) -> bool {
        let listed = self.roster.as_ref().is_some_and(|r| r.contains(&node));
        if !listed || node == self.own {
            return false;
        }
        let known = self.nodes.entry(node).or_default();
        if known.local.contains(&address) || known.local.len() >= MAX_LOCAL {
            return false;
        }
        known.local.push(address);
        if known.hurried.is_none_or(|at| now >= at + HURRY) {
            known.hurried = Some(now);
            known.not_before = None;
        }
        true
    }

    /// The local network no longer says that a node is there.
    pub(crate) fn forget_local(&mut self, node: &NodeId, address: &Multiaddr) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.local.retain(|a| a != address);
        }
    }

    /// Somebody else answers at this address.
    pub(crate) fn forget(&mut self, node: &NodeId, address: &Multiaddr) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.addresses.retain(|a| a != address);
            known.local.retain(|a| a != address);
        }
    }

    /// Where to dial a node, the best first.
    pub(crate) fn addresses(&self, node: &NodeId) -> Vec<Multiaddr> {
        let Some(known) = self.nodes.get(node) else {
            return Vec::new();
        };
        let mut all = known.addresses.clone();
        for address in known.fixed.iter().chain(&known.local) {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }

    /// The connection stands.
    pub(crate) fn connected(&mut self, node: NodeId) {
        let Some(known) = self.entry(node) else {
            return;
        };
        known.failures = 0;
        known.not_before = None;
        known.dialing = None;
    }

    /// A dial begins; false when one is under way.
    pub(crate) fn dial(&mut self, node: NodeId, now: Instant) -> bool {
        self.entry(node).is_some_and(|known| {
            let free = !known.busy(now);
            if free {
                known.dialing = Some(now);
            }
            free
        })
    }

    /// A dial failed: the next one waits longer.
    pub(crate) fn failed(&mut self, node: NodeId, now: Instant) {
        let (own, longest_wait) = (self.own, self.longest_wait);
        let Some(known) = self.entry(node) else {
            return;
        };
        known.dialing = None;
        let doubled = FIRST_WAIT.saturating_mul(1 << known.failures.min(10));
        let wait = doubled.min(longest_wait);
        known.failures = known.failures.saturating_add(1);
        // Two nodes that lost each other do not dial in step for ever.
        let salt = hash("lapwing/v1/redial", &(*own.as_bytes(), known.failures));
        let spread = wait.mul_f64(f64::from(salt.first().copied().unwrap_or(0)) / 1024.0);
        known.not_before = Some(now + wait + spread);
    }

    /// The next dial of a node need not wait.
    pub(crate) fn hurry(&mut self, node: &NodeId) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.not_before = None;
        }
    }

    /// Whether a lookup of the node may begin now; if so, it counts as begun.
    pub(crate) fn look_up(&mut self, node: NodeId, now: Instant) -> bool {
        let Some(known) = self.entry(node) else {
            return false;
        };
        let soon = |at: Instant| now < at + LOOKUP_WAIT;
        if known.looked_up.is_some_and(soon) {
            return false;
        }
        known.looked_up = Some(now);
        true
    }

    fn entry(&mut self, node: NodeId) -> Option<&mut Known> {
        let room =
            self.nodes.len() < MAX_NODES || self.nodes.contains_key(&node) || self.roster.is_some();
        room.then(|| self.nodes.entry(node).or_default())
    }

    /// The nodes to connect to now, of those this node keeps connections to.
    pub(crate) fn due(&self, now: Instant, connected: impl Fn(&NodeId) -> bool) -> Vec<NodeId> {
        let ready = |n: &NodeId| {
            self.nodes
                .get(n)
                .is_none_or(|k| !k.busy(now) && k.not_before.is_none_or(|at| at <= now))
        };
        let mut due: Vec<NodeId> = self
            .chosen
            .iter()
            .filter(|n| !connected(n) && ready(n))
            .copied()
            .collect();
        // Cut off from all the chosen ones, those from the configuration may know the way.
        if due.len() == self.chosen.len() {
            let known = |n: &NodeId| self.knows(n) && !self.chosen.contains(n);
            let spare = self
                .bootstrap
                .iter()
                .filter(|n| known(n) && !connected(n) && ready(n));
            due.extend(spare);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/198.51.100.7/tcp/{port}").parse().unwrap()
    }

    fn book(full_mesh: usize, choose: usize) -> Discovery {
        let bootstrap = [(node(1), address(1)), (node(0), address(9))];
        Discovery::new(
            node(0),
            &bootstrap,
            full_mesh,
            choose,
            Duration::from_secs(8),
        )
    }

    #[test]
    fn without_a_roster_the_bootstrap_nodes_are_dialled() {
        let mut book = book(50, 24);
        book.set_roster(None);
        assert_eq!(book.due(Instant::now(), |_| false), [node(1)]);
        assert_eq!(book.addresses(&node(1)), [address(1)]);
    }

    #[test]
    fn a_small_roster_is_connected_in_full() {
        let mut book = book(50, 24);
        book.set_roster(Some((0..=4).map(node).collect()));
        let due = book.due(Instant::now(), |n| *n == node(2));
        assert_eq!(due, [node(1), node(3), node(4)]);
        assert!(!book.knows(&node(7)));
        book.learn(node(7), address(7));
        assert!(book.addresses(&node(7)).is_empty());
    }

    #[test]
    fn a_large_roster_is_connected_in_part() {
        let mut book = book(50, 24);
        book.set_roster(Some((0..100).map(node).collect()));
        assert!(book.selective());
        assert_eq!((0..100).filter(|n| book.chosen(&node(*n))).count(), 24);
        assert!(!book.chosen(&node(0)));
    }

    #[test]
    fn dials_that_fail_are_repeated_ever_later() {
        let mut book = book(50, 24);
        book.set_roster(None);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..6 {
            assert!(book.dial(node(1), now));
            assert!(!book.dial(node(1), now));
            book.failed(node(1), now);
            let before = now;
            while book.due(now, |_| false).is_empty() {
                now += Duration::from_millis(100);
            }
            waits.push(now - before);
        }
        assert!(waits.iter().take(4).is_sorted(), "{waits:?}");
        assert!(waits.iter().all(|w| *w <= Duration::from_secs(11)));
        book.failed(node(1), now);
        book.hurry(&node(1));
        assert_eq!(book.due(now, |_| false), [node(1)]);
    }

    #[test]
    fn addresses_are_few_and_the_newest_first() {
        let mut book = book(50, 24);
        book.set_roster(None);
        for port in 10..30 {
            book.learn(node(1), address(port));
        }
        let all = book.addresses(&node(1));
        assert_eq!(all.len(), MAX_ADDRESSES + 1);
        assert_eq!(all.first(), Some(&address(29)));
        assert_eq!(all.last(), Some(&address(1)));
    }

    #[test]
    fn the_local_network_tells_of_nodes_of_the_roster_alone_and_of_few_addresses() {
        let mut book = book(50, 24);
        let now = Instant::now();
        book.set_roster(None);
        assert!(!book.learn_local(node(1), address(2), now), "no roster");
        book.set_roster(Some((0..=3).map(node).collect()));
        assert!(!book.learn_local(node(7), address(7), now), "a stranger");
        assert!(!book.learn_local(node(0), address(7), now), "itself");
        for port in 10..30 {
            let news = book.learn_local(node(1), address(port), now);
            assert_eq!(news, port < 12, "{port}");
        }
        // False ones drive out no others.
        book.learn(node(1), address(5));
        let all = book.addresses(&node(1));
        assert_eq!(all, [5, 1, 10, 11].map(address));
        book.forget_local(&node(1), &address(10));
        assert!(book.learn_local(node(1), address(30), now));
    }

    #[test]
    fn the_local_network_cannot_make_a_node_dial_without_end() {
        let mut book = book(50, 24);
        let now = Instant::now();
        book.set_roster(Some([0, 1].map(node).into()));
        let mut dials = 0;
        for port in 100..200 {
            book.learn_local(node(1), address(port), now);
            if !book.due(now, |_| false).is_empty() {
                assert!(book.dial(node(1), now));
                book.failed(node(1), now);
                dials += 1;
            }
            book.forget_local(&node(1), &address(port));
        }
        assert_eq!(dials, 1);
        book.learn_local(node(1), address(9), now + HURRY);
        assert_eq!(book.due(now + HURRY, |_| false), [node(1)]);
    }

    #[test]
    fn lookups_are_not_repeated_at_once() {
        let mut book = book(50, 24);
        let now = Instant::now();
        assert!(book.look_up(node(3), now));
        assert!(!book.look_up(node(3), now + Duration::from_secs(1)));
        assert!(book.look_up(node(3), now + LOOKUP_WAIT));
    }
}
