//! One item to its holders: acknowledged when W of them have it on disk.

use lapwing_protocol::id::NodeId;
use lapwing_protocol::item::{CheckedItem, Item, ItemKind};
use lapwing_protocol::mailbox::{Ack, Receipt};
use lapwing_protocol::peer::{CheckedPeerCall, Gossip, PeerCall};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::size::SizeClass;
use rand_core::CryptoRng;

use super::{Flow, FlowId, Got, list, worst};
use crate::core::Core;
use crate::digest::shard_of;
use crate::effect::{Effect, Topic};
use crate::input::ClientTag;
use crate::quorum::Quorum;
use crate::store::Reader;
use lapwing_protocol::client::Answer;

/// What a put is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// A client waits for the receipt.
    Answer(ClientTag),
    /// A flow waits.
    Flow(FlowId, u16),
}

const PUSH: u16 = 0;
const OPENED: u16 = 1;

/// A put under way.
pub(crate) struct Put {
    item: CheckedItem,
    quorum: Quorum,
    outstanding: usize,
    acks: Vec<Ack>,
    problems: Vec<Problem>,
    /// Holders that do not know what the item belongs to.
    unopened: Vec<NodeId>,
    asked_opening: bool,
    then: Then,
}

/// A written offer whose spend is being brought to the region's holders.
pub(crate) struct Spent {
    receipt: Receipt,
    then: Then,
}

impl<R: Reader> Core<R> {
    /// Brings an item to its holders.
    pub(crate) fn start_put(&mut self, item: CheckedItem, then: Then, rng: &mut dyn CryptoRng) {
        let quorum = self.write_quorum(&item.placement());
        let holders = quorum.nodes();
        let id = self.next_id();
        let put = Put {
            quorum,
            outstanding: holders.len(),
            item: item.clone(),
            acks: Vec::new(),
            problems: Vec::new(),
            unopened: Vec::new(),
            asked_opening: false,
            then,
        };
        if holders.is_empty() {
            return self.end_put(put, Err(Problem::NotReady), rng);
        }
        self.flows.insert(id, Flow::Put(put));
        for holder in holders {
            self.push(id, holder, std::slice::from_ref(&item), rng);
        }
    }

    fn push(&mut self, id: FlowId, to: NodeId, items: &[CheckedItem], rng: &mut dyn CryptoRng) {
        let wire = || PeerCall::Push(list(items.iter().map(CheckedItem::to_wire).collect()));
        let own = || CheckedPeerCall::Push(items.iter().cloned().map(Ok).collect());
        self.ask(id, PUSH, to, wire, own, rng);
    }

    pub(super) fn step_put(
        &mut self,
        id: FlowId,
        mut put: Put,
        from: NodeId,
        what: u16,
        got: Got,
        rng: &mut dyn CryptoRng,
    ) -> Option<Put> {
        put.outstanding = put.outstanding.saturating_sub(1);
        if what == OPENED {
            self.reopened(id, &mut put, got, rng);
        } else {
            match got
                .pushed()
                .and_then(|mut r| r.pop().ok_or(Problem::Malformed))
                .and_then(|r| r)
            {
                Ok(ack) => {
                    put.quorum.count(from);
                    put.acks.push(ack);
                }
                Err(problem) => {
                    if problem == Problem::NotOpened || problem == Problem::UnknownRequest {
                        put.unopened.push(from);
                    }
                    put.problems.push(problem);
                }
            }
        }
        if put.quorum.met() {
            let acks = list(std::mem::take(&mut put.acks));
            let receipt = Receipt {
                item: put.item.id(),
                acks,
            };
            self.end_put(put, Ok(receipt), rng);
            return None;
        }
        if put.outstanding == 0
            && !put.asked_opening
            && !put.unopened.is_empty()
            && put.item.kind() != ItemKind::Opening
        {
            // A holder that missed the opening learns it from one that has it.
            put.asked_opening = true;
            let others = put.quorum.nodes();
            for holder in others.into_iter().filter(|h| !put.unopened.contains(h)) {
                put.outstanding += 1;
                let key = put.item.key();
                let order = lapwing_protocol::peer::OpenedOrder {
                    placement: key.placement,
                    request: key.request,
                };
                self.ask(
                    id,
                    OPENED,
                    holder,
                    || PeerCall::Opened(order.clone()),
                    || CheckedPeerCall::Opened(order.clone()),
                    rng,
                );
            }
        }
        if put.outstanding == 0 {
            let problem = worst(&put.problems);
            self.end_put(put, Err(problem), rng);
            return None;
        }
        Some(put)
    }

    /// A holder told the opening: push it, and the item again, to those that missed it.
    fn reopened(&mut self, id: FlowId, put: &mut Put, got: Got, rng: &mut dyn CryptoRng) {
        let opening = match got {
            Got::Peer(lapwing_protocol::peer::CheckedReply::Items { mut items, .. }) => items.pop(),
            Got::Own(lapwing_protocol::peer::PeerReply::Items(list)) => list
                .items
                .first()
                .and_then(|i| lapwing_protocol::item::check(i, &self.view).ok()),
            _ => None,
        };
        let Some(opening) = opening else { return };
        for holder in std::mem::take(&mut put.unopened) {
            put.outstanding += 1;
            // The answer's last result is the item's own.
            self.push(id, holder, &[opening.clone(), put.item.clone()], rng);
        }
    }

    fn end_put(&mut self, put: Put, done: Result<Receipt, Problem>, rng: &mut dyn CryptoRng) {
        let receipt = match done {
            Ok(receipt) => receipt,
            Err(problem) => return self.then(put.then, Err(problem), rng),
        };
        self.announce(&put);
        if let Item::Blob(blob) = put.item.item()
            && let Some(ticket) = blob.ticket()
            && let Some(spend) = CheckedItem::spend(ticket, put.item.stamp())
        {
            // The region's holders know of the offer before the provider does: else a ticket whose
            // spend was lost would lapse, and the request have more open offers than it may.
            let flow = self.start(Flow::Spend(Spent {
                receipt,
                then: put.then,
            }));
            return self.start_put(spend, Then::Flow(flow, 0), rng);
        }
        self.then(put.then, Ok(receipt), rng);
    }

    /// The spend of a written offer is kept, or not.
    pub(super) fn spend_put(
        &mut self,
        flow: Spent,
        done: Result<Receipt, Problem>,
        rng: &mut dyn CryptoRng,
    ) -> Option<Spent> {
        self.then(flow.then, done.map(|_| flow.receipt), rng);
        None
    }

    fn then(&mut self, then: Then, done: Result<Receipt, Problem>, rng: &mut dyn CryptoRng) {
        match then {
            Then::Answer(tag) => self.answer(tag, done.map(Answer::Receipt)),
            Then::Flow(id, what) => self.put_done(id, what, done, rng),
        }
    }

    /// Tells who waits, here and at other nodes.
    fn announce(&mut self, put: &Put) {
        let item = &put.item;
        let (id, message) = match item.item() {
            Item::Blob(blob) if blob.write().mailbox.size == SizeClass::Small => {
                (blob.mailbox(), Gossip::Item(item.to_wire()))
            }
            Item::Blob(blob) => (blob.mailbox(), Gossip::Written(blob.write().into())),
            Item::Mark(state) => (state.mark.id(), Gossip::Item(item.to_wire())),
            _ => return,
        };
        // A holder says so when it has stored it.
        if !self.serves(id.as_bytes()) || put.unopened.contains(&self.me.id()) {
            self.emit(Effect::Changed(id));
        }
        let shards = self.view.params().map_or(1, |p| p.shards);
        let topic = Topic::Shard(shard_of(id.as_bytes(), shards));
        self.emit(Effect::Publish { topic, message });
    }
}
