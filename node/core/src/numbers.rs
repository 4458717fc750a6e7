//! What the core says of itself, for status and metrics: sums alone, nothing of any one client.

use std::collections::BTreeMap;

use lapwing_protocol::id::{NodeId, RegionId};
use lapwing_protocol::item::ItemKind;
use lapwing_protocol::time::Millis;

use crate::accept::How;
use crate::core::Core;
use crate::flow::Flow;
use crate::queue::Listed;
use crate::store::Reader;

/// How busy the core is and what it holds.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Items held.
    pub items: u64,
    /// Requests in the queues of this node's regions.
    pub requests: u64,
    /// Of these, the requests that a claim could pick now.
    pub listed: u64,
    /// Flows under way.
    pub flows: usize,
    /// The same by what they do, a fixed word each; a kind of which none is under way is missing.
    pub flow_kinds: BTreeMap<&'static str, usize>,
    /// Commits not yet on disk.
    pub pending_commits: usize,
    /// Tokens issued since start.
    pub tokens: u64,
    /// Requests admitted since start, as the issuer of their tokens.
    pub admissions: u64,
    /// Claims for which this node, as a holder of the region, granted at least one ticket since start.
    pub claims: u64,
    /// Grants of tickets signed since start.
    pub tickets: u64,
    /// Grants of booking locks signed since start.
    pub locks: u64,
    /// Releases of booking locks taken as fresh writes since start.
    pub releases: u64,
    /// Wishes to be listed again taken as fresh writes since start.
    pub relists: u64,
    /// Proofs kept that somebody signed two records of one number.
    pub equivocations: usize,
    /// Proofs kept that a node admitted a token twice.
    pub double_admissions: usize,
    /// Alarms raised since start, by what they are about: a fixed word each.
    pub alarms: BTreeMap<&'static str, u64>,
    /// Items taken since start: by writes and pushes.
    pub written: u64,
    /// Items taken since start: by comparison with other holders.
    pub healed: u64,
    /// Nodes connected.
    pub peers: usize,
    /// The same by kind of item; a kind of which nothing came or went is missing.
    pub kinds: BTreeMap<ItemKind, Taken>,
}

/// Items of one kind, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// By writes and pushes.
    pub written: u64,
    /// By comparison with other holders.
    pub healed: u64,
    /// Removed because they expired.
    pub expired: u64,
}

/// What the core knows of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerNumbers {
    /// Which.
    pub node: NodeId,
    /// Whether it is connected.
    pub up: bool,
    /// Its clock less this node's, in seconds, as of its last greeting; nothing before that.
    pub clock_offset: Option<i64>,
    /// When everything that both hold was last compared to the end, and what was missing fetched.
    pub compared: Option<Millis>,
    /// Items that the comparison under way, or the last one that broke off, found missing here and
    /// that have not come yet.
    pub missing: u64,
}

/// A region's queue at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionNumbers {
    /// Which.
    pub region: RegionId,
    /// Its requests.
    pub listed: Listed,
}

impl<R: Reader> Core<R> {
    /// What it does and holds.
    pub fn numbers(&self) -> Numbers {
        let mut flow_kinds = BTreeMap::new();
        for flow in self.flows.values() {
            *flow_kinds.entry(flow.kind()).or_default() += 1;
        }
        Numbers {
            items: self.digests.len(),
            requests: self.queue.total() as u64,
            listed: self.queue.regions().map(|(_, l)| l.open).sum(),
            flows: self.flows.len(),
            flow_kinds,
            equivocations: self.equivocations.len(),
            double_admissions: self.issuers.doubles().count(),
            pending_commits: self.overlay.len(),
            peers: self.peers_up(),
            ..self.numbers.clone()
        }
    }

    /// How many nodes are connected.
    pub fn peers_up(&self) -> usize {
        self.peers.values().filter(|p| p.up).count()
    }

    /// The nodes that were ever connected since the start and are still in the roster, by id.
    pub fn peer_numbers(&self) -> Vec<PeerNumbers> {
        self.peers
            .iter()
            .filter(|(node, _)| self.view.in_roster(node))
            .map(|(node, peer)| PeerNumbers {
                node: *node,
                up: peer.up,
                clock_offset: peer.clock_offset,
                compared: peer.compared,
                missing: peer.missing,
            })
            .collect()
    }

    /// The queues of the regions that have requests here, by id.
    pub fn region_numbers(&self) -> Vec<RegionNumbers> {
        self.queue
            .regions()
            .map(|(region, listed)| RegionNumbers { region, listed })
            .collect()
    }

    /// Counts an item taken.
    pub(crate) fn count_taken(&mut self, kind: ItemKind, how: How) {
        match how {
            How::Fresh => {
                self.numbers.written += 1;
                self.count_kind(kind, |n| n.written += 1);
                match kind {
                    ItemKind::Release => self.numbers.releases += 1,
                    ItemKind::Relist => self.numbers.relists += 1,
                    _ => {}
                }
            }
            How::Sync => {
                self.numbers.healed += 1;
                self.count_kind(kind, |n| n.healed += 1);
            }
        }
    }

    /// Counts an item taken or removed.
    pub(crate) fn count_kind(&mut self, kind: ItemKind, change: impl FnOnce(&mut Taken)) {
        change(self.numbers.kinds.entry(kind).or_default());
    }
}

impl Flow {
    /// What a flow does, in a fixed word.
    fn kind(&self) -> &'static str {
        match self {
            Flow::Put(_) => "put",
            Flow::Read(_) => "read",
            Flow::Marks(_) => "marks",
            Flow::Open(_) => "open",
            Flow::Request(_) => "request",
            Flow::Admit(_) => "admit",
            Flow::Spend(_) => "spend",
            Flow::Challenge(_) => "challenge",
            Flow::Claim(_) => "claim",
            Flow::Lock(_) => "lock",
            Flow::Sync(_) => "sync",
            Flow::Spread(_) => "spread",
        }
    }
}
