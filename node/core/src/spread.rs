//! What one holder has and others should have soon: its own grants, and witnesses of admissions.
//!
//! Comparing would bring grants too, but only after listing everything that a shard has; and it brings
//! nothing to a node that is no holder of the same id. Nobody waits for what is spread: it gathers by
//! node and leaves with the next tick, is tried a few times, and is then left to the comparison.

use std::collections::{BTreeMap, VecDeque};

use lapwing_protocol::id::NodeId;
use lapwing_protocol::item::{CheckedItem, Item};
use lapwing_protocol::peer::{CheckedPeerCall, MAX_ITEMS, PeerCall};
use rand_core::CryptoRng;

use crate::core::Core;
use crate::flow::{Flow, Got, list};
use crate::store::Reader;

/// Most items that wait for one node; beyond it the oldest is left to the comparison.
const MAX_WAITING: usize = 8_192;
/// Most pushes to one node at a tick.
const MAX_PUSHES: usize = 8;
/// How often an item is tried.
const TRIES: u8 = 5;

/// What waits to be spread.
#[derive(Default)]
pub(crate) struct Outbox(BTreeMap<NodeId, VecDeque<(CheckedItem, u8)>>);

/// A push of what is spread.
pub(crate) struct Spread {
    to: NodeId,
    items: Vec<(CheckedItem, u8)>,
}

impl Outbox {
    fn add(&mut self, to: NodeId, item: CheckedItem, tries: u8) {
        let waiting = self.0.entry(to).or_default();
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back((item, tries));
    }
}

impl<R: Reader> Core<R> {
    /// Spreads an item to a node with the next tick, after what is written now is on disk.
    pub(crate) fn spread(&mut self, to: NodeId, item: &CheckedItem) {
        if to != self.me.id() {
            self.outbox.add(to, item.clone(), TRIES);
        }
    }

    /// Spreads an item of this region's to its other holders.
    pub(crate) fn spread_to_holders(&mut self, item: &CheckedItem) {
        for holder in self.view.holders(&item.placement()) {
            self.spread(holder, item);
        }
    }

    /// Sends what waits.
    pub(crate) fn send_spread(&mut self, rng: &mut dyn CryptoRng) {
        for (to, mut waiting) in std::mem::take(&mut self.outbox.0) {
            // Who left the roster holds nothing any more.
            if !self.view.in_roster(&to) {
                continue;
            }
            for _ in 0..MAX_PUSHES {
                let items: Vec<_> = waiting.drain(..waiting.len().min(MAX_ITEMS)).collect();
                if items.is_empty() {
                    break;
                }
                self.push_spread(Spread { to, items }, rng);
            }
            if !waiting.is_empty() {
                self.outbox.0.insert(to, waiting);
            }
        }
    }

    fn push_spread(&mut self, spread: Spread, rng: &mut dyn CryptoRng) {
        let to = spread.to;
        let items: Vec<_> = spread.items.iter().map(|(i, _)| i.clone()).collect();
        let id = self.start(Flow::Spread(spread));
        let wire = || PeerCall::Push(list(items.iter().map(CheckedItem::to_wire).collect()));
        let own = || CheckedPeerCall::Push(items.iter().cloned().map(Ok).collect());
        self.ask(id, 0, to, wire, own, rng);
    }

    /// The other node took what was spread, or is tried again with the next tick.
    pub(crate) fn step_spread(&mut self, spread: Spread, got: Got) {
        let results = got.pushed();
        for (at, (item, tries)) in spread.items.into_iter().enumerate() {
            let done = match &results {
                Ok(results) => match results.get(at) {
                    Some(Err(problem)) => !problem.retry(),
                    _ => true,
                },
                Err(problem) => !problem.retry(),
            };
            if !done && tries > 1 {
                self.outbox.add(spread.to, item, tries - 1);
            }
        }
    }

    /// Tells the other holders of a region what this node granted there.
    pub(crate) fn granted(&mut self, item: &CheckedItem) {
        self.spread_to_holders(item);
        if let Item::Lock(_) = item.item() {
            self.numbers.locks += 1;
        } else {
            self.numbers.tickets += 1;
        }
    }
}
