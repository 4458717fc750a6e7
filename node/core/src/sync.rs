//! Staying in step: on connecting, and then steadily, holders compare what they both hold, and fetch what
//! is missing. Each side fetches for itself. The chain of trust is compared in the same way.

use std::collections::BTreeSet;

use lapwing_protocol::id::NodeId;
use lapwing_protocol::item::{CheckedItem, ItemKey};
use lapwing_protocol::peer::{
    CheckedPeerCall, CheckedReply, Digest, IdOrder, MAX_IDS, MAX_ITEMS, PeerCall, Shard, StampedKey,
};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::{Hour, Millis};
use rand_core::CryptoRng;

use crate::accept::How;
use crate::core::Core;
use crate::digest::{shard_of, shard_range};
use crate::effect::{Effect, Severity};
use crate::flow::{Flow, FlowId, Got, list};
use crate::rows;
use crate::store::{Reader, prefix_end};

/// How often a connected holder is compared with, in milliseconds.
const SYNC_EVERY_MS: u64 = 5_000;
/// What expires within so many hours is not compared.
const MARGIN_HOURS: u32 = 1;
/// Rows read at a time while listing a shard.
const CHUNK: usize = 512;

/// What the core knows of a peer.
#[derive(Debug, Default)]
pub(crate) struct PeerState {
    pub(crate) up: bool,
    /// A comparison is under way.
    pub(crate) comparing: bool,
    /// Its clock less this node's, in seconds, as it last said.
    pub(crate) clock_offset: Option<i64>,
    /// When a comparison last ended with nothing left to fetch.
    pub(crate) compared: Option<Millis>,
    /// What was found missing and has not come yet.
    pub(crate) missing: u64,
    /// By which roster everything was compared to the end since the start.
    pub(crate) whole: Option<u64>,
}

/// A comparison with one peer.
pub(crate) struct Sync {
    peer: NodeId,
    from: Hour,
    /// The roster's sequence when it began: another one may place more on both.
    roster: Option<u64>,
    step: Step,
    /// Shards still to be listed, and how many items the peer says are in each.
    shards: Vec<(u16, u64)>,
    /// The shard being listed.
    listing: Option<Listing>,
    /// Keys still to be fetched, of one page.
    missing: Vec<ItemKey>,
}

/// A shard being listed, page by page.
struct Listing {
    shard: u16,
    /// The last key of the page before; none where there is no more.
    after: Option<ItemKey>,
    /// How many keys may still come: what the peer said, and slack for what came since.
    left: u64,
}

enum Step {
    Hello,
    Proofs,
    Trust,
    TrustRecords,
    Digests,
    Ids,
    Items,
}

impl<R: Reader> Core<R> {
    pub(crate) fn peer_up(&mut self, node: NodeId) {
        let peer = self.peers.entry(node).or_default();
        peer.up = true;
        // Compared with at the next tick.
        self.next_sync = self.now;
    }

    pub(crate) fn peer_down(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.up = false;
        }
    }

    /// Starts comparing with every connected peer that is not being compared with.
    pub(crate) fn sync_peers(&mut self, rng: &mut dyn CryptoRng) {
        if self.now < self.next_sync {
            return;
        }
        self.next_sync = self.now.plus_millis(SYNC_EVERY_MS);
        let idle: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(_, p)| p.up && !p.comparing)
            .map(|(n, _)| *n)
            .collect();
        for peer in idle {
            if let Some(state) = self.peers.get_mut(&peer) {
                state.comparing = true;
            }
            let from = self.hour().plus(MARGIN_HOURS);
            let flow = Sync {
                peer,
                from,
                roster: self.view.roster().map(|r| r.sequence),
                step: Step::Hello,
                shards: Vec::new(),
                listing: None,
                missing: Vec::new(),
            };
            let id = self.start(Flow::Sync(flow));
            let hello = self.own_hello(&peer);
            self.ask(
                id,
                0,
                peer,
                || PeerCall::Hello(hello.clone()),
                // Never this node itself: peers are others.
                || CheckedPeerCall::TrustIds,
                rng,
            );
        }
    }

    pub(crate) fn step_sync(
        &mut self,
        id: FlowId,
        mut flow: Sync,
        got: Got,
        rng: &mut dyn CryptoRng,
    ) -> Option<Sync> {
        let Got::Peer(reply) = got else {
            return self.end_sync(&flow);
        };
        match (&flow.step, reply) {
            (Step::Hello, CheckedReply::Hello(hello)) => {
                if hello.hello.federation != self.view.federation_id() {
                    self.fault(flow.peer, Severity::Major, "a node of another federation");
                    return self.end_sync(&flow);
                }
                let offset = i64::try_from(hello.hello.time.get()).unwrap_or(0)
                    - i64::try_from(self.time().get()).unwrap_or(0);
                if let Some(peer) = self.peers.get_mut(&flow.peer) {
                    peer.clock_offset = Some(offset);
                }
                // Where the store cannot be read now, the next greeting says it again.
                let _ = self.greeted(flow.peer, hello.latest.as_ref());
                if hello.hello.proofs == self.issuers.digest() {
                    flow.step = Step::Trust;
                    self.ask_peer(id, &flow, PeerCall::TrustIds, rng);
                } else {
                    flow.step = Step::Proofs;
                    self.ask_peer(id, &flow, PeerCall::Proofs, rng);
                }
            }
            (Step::Proofs, CheckedReply::Proofs { proofs, bad }) => {
                if bad > 0 {
                    self.fault(flow.peer, Severity::Minor, "a proof that proves nothing");
                }
                proofs.into_iter().for_each(|p| self.convict(p));
                flow.step = Step::Trust;
                self.ask_peer(id, &flow, PeerCall::TrustIds, rng);
            }
            (Step::Trust, CheckedReply::TrustIds(ids)) => {
                let unknown: Vec<_> = ids
                    .into_iter()
                    .filter(|i| !self.knows_record(i) && !self.refused_trust.contains(i))
                    .take(MAX_ITEMS)
                    .collect();
                if unknown.is_empty() {
                    self.compared = true;
                    self.ask_digests(id, &mut flow, rng);
                } else {
                    flow.step = Step::TrustRecords;
                    self.ask_peer(id, &flow, PeerCall::TrustRecords(list(unknown)), rng);
                }
            }
            (Step::TrustRecords, CheckedReply::TrustRecords(records)) => {
                if !records.is_empty() {
                    self.emit(Effect::CheckTrust {
                        from: Some(flow.peer),
                        records,
                    });
                }
                self.ask_digests(id, &mut flow, rng);
            }
            (Step::Digests, CheckedReply::Digests(theirs)) => {
                flow.shards = differing(&self.digests(&flow.peer, flow.from), &theirs);
                return self.next_page(id, flow, rng);
            }
            (Step::Ids, CheckedReply::Ids(keys)) => {
                match self.note_missing(&mut flow, &keys) {
                    Ok(()) => {
                        self.note_lag(&flow);
                        return self.next_items(id, flow, rng);
                    }
                    Err(Problem::OutOfBounds) => {
                        self.fault(flow.peer, Severity::Major, "ids that were not asked for");
                    }
                    Err(_) => {}
                }
                return self.end_sync(&flow);
            }
            (Step::Items, CheckedReply::Items { items, .. }) => {
                self.take_healed(&flow, &items);
                self.note_lag(&flow);
                return self.next_items(id, flow, rng);
            }
            _ => return self.end_sync(&flow),
        }
        Some(flow)
    }

    fn ask_peer(&mut self, id: FlowId, flow: &Sync, call: PeerCall, rng: &mut dyn CryptoRng) {
        // Never this node itself: peers are others.
        self.ask(id, 0, flow.peer, || call, || CheckedPeerCall::TrustIds, rng);
    }

    fn ask_digests(&mut self, id: FlowId, flow: &mut Sync, rng: &mut dyn CryptoRng) {
        flow.step = Step::Digests;
        self.ask_peer(id, flow, PeerCall::Digests(flow.from), rng);
    }

    /// Asks for the next page of the shard at hand, or for the first of the next shard.
    fn next_page(&mut self, id: FlowId, mut flow: Sync, rng: &mut dyn CryptoRng) -> Option<Sync> {
        let listing = match flow.listing.take() {
            Some(listing) => listing,
            None => {
                let Some((shard, count)) = flow.shards.pop() else {
                    if let Some(peer) = self.peers.get_mut(&flow.peer) {
                        peer.compared = Some(self.now);
                        peer.whole = flow.roster;
                        peer.missing = 0;
                    }
                    return self.end_sync(&flow);
                };
                let left = count.saturating_add(MAX_IDS as u64);
                let after = None;
                Listing { shard, after, left }
            }
        };
        let shard = Shard {
            shard: listing.shard,
            from: flow.from,
        };
        let after = listing.after;
        flow.listing = Some(listing);
        flow.step = Step::Ids;
        self.ask_peer(id, &flow, PeerCall::Ids(IdOrder { shard, after }), rng);
        Some(flow)
    }

    fn next_items(&mut self, id: FlowId, mut flow: Sync, rng: &mut dyn CryptoRng) -> Option<Sync> {
        if flow.missing.is_empty() {
            return self.next_page(id, flow, rng);
        }
        // Blobs of the largest size: as many as one message holds.
        let take = flow.missing.len().min(15);
        let keys: Vec<_> = flow.missing.drain(..take).collect();
        flow.step = Step::Items;
        self.ask_peer(id, &flow, PeerCall::Items(list(keys)), rng);
        Some(flow)
    }

    /// Notes what the peer has and this node lacks, or has with a later stamp.
    fn note_missing(&mut self, flow: &mut Sync, keys: &[StampedKey]) -> Result<(), Problem> {
        let shards = self.view.params().map_or(1, |p| p.shards);
        let listing = flow.listing.as_mut().ok_or(Problem::Internal)?;
        // A peer could else keep this node listing for ever.
        let left = listing.left.checked_sub(keys.len() as u64);
        listing.left = left.ok_or(Problem::OutOfBounds)?;
        let mut last = listing.after;
        for key in keys.iter().map(|k| k.key) {
            if last.is_some_and(|l| key <= l) || shard_of(&key.placement, shards) != listing.shard {
                return Err(Problem::OutOfBounds);
            }
            last = Some(key);
        }
        if keys.len() == MAX_IDS {
            listing.after = last;
        } else {
            flow.listing = None;
        }
        for stamped in keys {
            if !self.keepers(&stamped.key.placement).contains(&self.me.id()) {
                continue;
            }
            let row = self.get(&rows::item_key(&stamped.key))?;
            let known = row
                .as_deref()
                .and_then(rows::parse_item)
                .is_some_and(|(head, _)| head.stamp <= stamped.stamp);
            if !known {
                flow.missing.push(stamped.key);
            }
        }
        // Openings before what they open: the order of kinds.
        flow.missing.sort_by_key(|k| (k.kind, *k));
        Ok(())
    }

    /// Notes what is still to be fetched: of the page at hand, as the pages to come are not known.
    fn note_lag(&mut self, flow: &Sync) {
        if let Some(peer) = self.peers.get_mut(&flow.peer) {
            peer.missing = flow.missing.len() as u64;
        }
    }

    fn take_healed(&mut self, flow: &Sync, items: &[CheckedItem]) {
        for item in items {
            match self.accept(item, How::Sync) {
                Ok(_) | Err(Problem::Expired | Problem::NotOpened | Problem::UnknownRequest) => {}
                Err(Problem::NotHolder | Problem::CapReached | Problem::WrongSigner) => {
                    self.fault(
                        flow.peer,
                        Severity::Minor,
                        "an item that does not belong here",
                    );
                }
                Err(_) => self.fault(flow.peer, Severity::Minor, "an item that cannot be taken"),
            }
        }
    }

    fn end_sync(&mut self, flow: &Sync) -> Option<Sync> {
        if let Some(peer) = self.peers.get_mut(&flow.peer) {
            peer.comparing = false;
        }
        None
    }

    /// The keys of a shard that this node and `peer` both hold, in order.
    pub(crate) fn shard_keys(
        &self,
        peer: &NodeId,
        order: &IdOrder,
    ) -> Result<Vec<StampedKey>, Problem> {
        let shards = self.view.params().map_or(1, |p| p.shards);
        let (first, end) = shard_range(order.shard.shard, shards);
        let first = u8::try_from(first).map_err(|_| Problem::OutOfBounds)?;
        let mut from = vec![rows::ITEM, first];
        let to = match u8::try_from(end) {
            Ok(end) => vec![rows::ITEM, end],
            Err(_) => prefix_end(&[rows::ITEM]),
        };
        if let Some(after) = &order.after {
            if shard_of(&after.placement, shards) != order.shard.shard {
                return Err(Problem::OutOfBounds);
            }
            from = rows::item_key(after);
            from.push(0);
        }
        let mut out = Vec::new();
        loop {
            let found = self.scan(&from, &to, CHUNK)?;
            let end = found.len() < CHUNK;
            for (k, value) in &found {
                let (Some(key), Some((head, _))) =
                    (rows::parse_item_key(k), rows::parse_item(value))
                else {
                    continue;
                };
                let keepers = self.keepers(&key.placement);
                let both = keepers.contains(peer) && keepers.contains(&self.me.id());
                if both && head.expires >= order.shard.from {
                    out.push(StampedKey {
                        key,
                        stamp: head.stamp,
                    });
                    if out.len() == MAX_IDS {
                        return Ok(out);
                    }
                }
            }
            match found.last() {
                Some((k, _)) if !end => {
                    from.clone_from(k);
                    from.push(0);
                }
                _ => return Ok(out),
            }
        }
    }
}

/// Shards in which two lists of digests differ, with how many items they have there.
fn differing(ours: &[Digest], theirs: &[Digest]) -> Vec<(u16, u64)> {
    let all: BTreeSet<u16> = ours.iter().chain(theirs).map(|d| d.shard).collect();
    let find = |list: &[Digest], shard| list.iter().find(|d| d.shard == shard).cloned();
    all.into_iter()
        .filter(|s| find(ours, *s) != find(theirs, *s))
        .filter_map(|s| Some((s, find(theirs, s)?.count)))
        .collect()
}
