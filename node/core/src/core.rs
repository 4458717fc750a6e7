//! The node core: `handle(input, now, rng) -> effects`.
//!
//! It names no clock, file, socket or thread. While one input is handled, writes gather in one batch and
//! what depends on them gathers behind it; both leave together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use lapwing_protocol::id::{ClaimId, NodeId, RecordId, RegionId, RequestId};
use lapwing_protocol::item::{CheckedItem, ItemBytes};
use lapwing_protocol::peer::PeerReply;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::{Hour, Millis, Time};
use lapwing_protocol::trust::{Equivocation, EquivocationProof, TrustView};
use rand_core::CryptoRng;

use crate::continuity::Continuity;
use crate::digest::Digests;
use crate::effect::{Alarm, Effect, Severity};
use crate::flow::{Fanout, Flow, FlowId, Then};
use crate::identity::Identity;
use crate::input::{CallTag, ClientTag, Input, PeerTag};
use crate::lottery::Lottery;
use crate::mailboxes::Held;
use crate::numbers::Numbers;
use crate::queue::{Limits, QueueIndex};
use crate::quorum::Before;
use crate::spread::Outbox;
use crate::store::{Batch, CommitId, Entry, Overlay, ReadError, Reader};
use crate::sync::PeerState;
use crate::witness::Issuers;

/// What happens once everything written so far is on disk.
#[derive(Debug)]
pub(crate) enum After {
    /// An effect for the shell.
    Do(Effect),
    /// This node's own answer within a flow.
    Own(CallTag, PeerReply),
    /// Bring an item to its holders.
    Put(CheckedItem, Then),
}

/// Whom a call is answered to: a peer, or a flow of this node that counts itself as one of the holders.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReplyTo {
    Peer(PeerTag),
    Own(CallTag),
}

/// The node core over a store that it can read.
pub struct Core<R> {
    pub(crate) me: Identity,
    pub(crate) store: R,
    pub(crate) overlay: Overlay,
    pub(crate) view: TrustView,
    pub(crate) now: Millis,
    pub(crate) queue: QueueIndex,
    pub(crate) digests: Digests,
    pub(crate) peers: BTreeMap<NodeId, PeerState>,
    pub(crate) lottery: Option<Lottery>,
    pub(crate) continuity: Continuity,
    pub(crate) issuers: Issuers,
    pub(crate) outbox: Outbox,
    pub(crate) flows: BTreeMap<FlowId, Flow>,
    pub(crate) calls: BTreeMap<CallTag, Fanout>,
    /// Trust records on their way, by call.
    pub(crate) fetches: BTreeMap<CallTag, NodeId>,
    pub(crate) claims: BTreeMap<ClaimId, (Vec<RequestId>, Millis)>,
    /// When each provider claimed lately in a region.
    pub(crate) recent_claims: BTreeMap<(RegionId, RecordId), Vec<(Millis, ClaimId)>>,
    /// The tickets granted to the claims picked last, until they are asked for by name.
    pub(crate) picked: VecDeque<(ClaimId, BTreeMap<RequestId, ItemBytes>)>,
    /// What opened the mailboxes written to lately: the requests of an inbox.
    pub(crate) openers: BTreeMap<[u8; 32], Vec<RequestId>>,
    /// What is in mailboxes that are open to all, or deleted from.
    pub(crate) boxes: BTreeMap<[u8; 32], Held>,
    pub(crate) before: Option<Before>,
    /// Some peer had no trust record that this node lacks.
    pub(crate) compared: bool,
    pub(crate) stored_trust: BTreeMap<RecordId, ()>,
    /// Proofs of equivocation.
    pub(crate) equivocations: BTreeMap<Equivocation, EquivocationProof>,
    /// The records of these proofs that are not in force, for other nodes to see.
    pub(crate) disputed: BTreeMap<RecordId, Arc<[u8]>>,
    /// Records that were refused for good.
    pub(crate) refused_trust: BTreeSet<RecordId>,
    /// Stored records may have been superseded.
    pub(crate) sweep_trust: bool,
    pub(crate) numbers: Numbers,
    pub(crate) next_expiry: Millis,
    pub(crate) next_sync: Millis,
    /// When a record that came too early may bring the next comparison forward.
    pub(crate) next_early: Millis,
    /// Trust records that came before what they need.
    pub(crate) early: BTreeMap<RecordId, Vec<u8>>,
    next_commit: u64,
    next_id: u64,
    waiting: BTreeMap<CommitId, Vec<After>>,
    batch: Batch,
    after: Vec<After>,
    out: Vec<Effect>,
    own: VecDeque<(CallTag, PeerReply)>,
    puts: VecDeque<(CheckedItem, Then)>,
}

impl<R: Reader> Core<R> {
    /// A core over what the store holds: trust records in force, queues and digests are read back.
    ///
    /// `view` knows the federation and whatever trust records the node was configured with. The effects
    /// are to be carried out like those of [`Core::handle`].
    ///
    /// # Errors
    /// [`ReadError`] where the store cannot be read. Rows that do not decode are left out and alarmed.
    pub fn open(
        me: Identity,
        store: R,
        view: TrustView,
        now: Millis,
    ) -> Result<(Self, Vec<Effect>), ReadError> {
        let queue = QueueIndex::new(me.id(), limits(&view));
        let mut core = Core {
            me,
            store,
            overlay: Overlay::new(),
            view,
            now,
            queue,
            digests: Digests::default(),
            peers: BTreeMap::new(),
            lottery: None,
            continuity: Continuity::default(),
            issuers: Issuers::default(),
            outbox: Outbox::default(),
            flows: BTreeMap::new(),
            calls: BTreeMap::new(),
            fetches: BTreeMap::new(),
            claims: BTreeMap::new(),
            recent_claims: BTreeMap::new(),
            picked: VecDeque::new(),
            openers: BTreeMap::new(),
            boxes: BTreeMap::new(),
            before: None,
            compared: false,
            stored_trust: BTreeMap::new(),
            equivocations: BTreeMap::new(),
            disputed: BTreeMap::new(),
            refused_trust: BTreeSet::new(),
            sweep_trust: true,
            numbers: Numbers::default(),
            next_expiry: now,
            next_sync: now,
            next_early: now,
            early: BTreeMap::new(),
            next_commit: 1,
            next_id: 1,
            waiting: BTreeMap::new(),
            batch: Batch::new(),
            after: Vec::new(),
            out: Vec::new(),
            own: VecDeque::new(),
            puts: VecDeque::new(),
        };
        core.load_trust()?;
        core.load_items()?;
        let unread = |_| ReadError::Unavailable;
        core.load_proofs().map_err(unread)?;
        core.load_doubles().map_err(unread)?;
        core.load_continuity().map_err(unread)?;
        core.out.push(Effect::View(Arc::new(core.view.clone())));
        core.close();
        let effects = std::mem::take(&mut core.out);
        Ok((core, effects))
    }

    /// Handles one input. Effects are to be carried out in order.
    pub fn handle(&mut self, input: Input, now: Millis, rng: &mut dyn CryptoRng) -> Vec<Effect> {
        // A clock that steps back must not make signed times go back within one run.
        self.now = self.now.max(now);
        match input {
            Input::Client { tag, call } => self.client(tag, call, rng),
            Input::Peer { tag, from, call } => self.serve(ReplyTo::Peer(tag), from, call, rng),
            Input::Reply { tag, from, reply } => self.replied(tag, from, reply, rng),
            Input::Gossip { item, .. } => self.gossiped(&item),
            // Who reads asks W holders: whatever is here or not, somebody has it.
            Input::Written(mailbox) => self.emit(Effect::Changed(mailbox)),
            Input::TrustHave { from, id } => self.trust_announced(from, id),
            Input::Trust { from, first, rest } => self.trust_checked(from, first, rest),
            Input::Durable(id) => self.durable(id),
            Input::PeerUp(node) => self.peer_up(node),
            Input::PeerDown(node) => self.peer_down(node),
            Input::Tick => self.tick(rng),
        }
        // A node's own answers may come at once where nothing had to be written.
        loop {
            while let Some((tag, reply)) = self.own.pop_front() {
                self.own_replied(tag, reply, rng);
            }
            while let Some((item, then)) = self.puts.pop_front() {
                self.start_put(item, then, rng);
            }
            self.close();
            if self.own.is_empty() && self.puts.is_empty() {
                return std::mem::take(&mut self.out);
            }
        }
    }

    /// The chain of trust as the core sees it.
    pub fn view(&self) -> &TrustView {
        &self.view
    }

    /// The digests of what this node and `peer` both hold and what expires at `from` or later.
    pub fn digests(&self, peer: &NodeId, from: Hour) -> Vec<lapwing_protocol::peer::Digest> {
        self.digests.common(&self.me.id(), peer, from)
    }

    // --- What the other modules build on. ---

    pub(crate) fn time(&self) -> Time {
        self.now.time()
    }

    pub(crate) fn hour(&self) -> Hour {
        self.time().hour()
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Reads through what is pending, the writes of the input at hand included.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Problem> {
        if let Some(written) = self.batch.get(key) {
            return Ok(written.map(<[u8]>::to_vec));
        }
        self.overlay
            .get(&self.store, key)
            .map_err(|_| Problem::Internal)
    }

    /// Scans through what is pending, the writes of the input at hand included.
    pub(crate) fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, Problem> {
        let touched: Vec<_> = self
            .batch
            .iter()
            .filter(|(k, _)| *k >= from && *k < to)
            .collect();
        let want = limit.saturating_add(touched.len());
        let mut rows = self
            .overlay
            .scan(&self.store, from, to, want)
            .map_err(|_| Problem::Internal)?;
        if touched.is_empty() {
            return Ok(rows);
        }
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = rows.drain(..).collect();
        for (key, value) in touched {
            match value {
                Some(v) => merged.insert(key.to_vec(), v.to_vec()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }

    pub(crate) fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.batch.put(key, value);
    }

    pub(crate) fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.batch.delete(key);
    }

    /// Does something now.
    pub(crate) fn emit(&mut self, effect: Effect) {
        self.out.push(effect);
    }

    /// Does something once all that was written so far is on disk.
    pub(crate) fn emit_after(&mut self, effect: Effect) {
        self.after.push(After::Do(effect));
    }

    pub(crate) fn answer(
        &mut self,
        tag: ClientTag,
        result: Result<lapwing_protocol::client::Answer, Problem>,
    ) {
        self.emit(Effect::Answer { tag, result });
    }

    pub(crate) fn fault(&mut self, peer: NodeId, severity: Severity, what: &'static str) {
        self.emit(Effect::Fault {
            peer,
            severity,
            what,
        });
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) {
        *self.numbers.alarms.entry(alarm.kind()).or_default() += 1;
        self.emit(Effect::Alarm(alarm));
    }

    /// Replies at once.
    pub(crate) fn reply(&mut self, to: ReplyTo, reply: PeerReply) {
        match to {
            ReplyTo::Peer(tag) => self.emit(Effect::Reply { tag, reply }),
            ReplyTo::Own(tag) => self.own.push_back((tag, reply)),
        }
    }

    /// Replies once all that was written so far is on disk.
    pub(crate) fn reply_after(&mut self, to: ReplyTo, reply: PeerReply) {
        match to {
            ReplyTo::Peer(tag) => self.emit_after(Effect::Reply { tag, reply }),
            ReplyTo::Own(tag) => self.after.push(After::Own(tag, reply)),
        }
    }

    /// Brings an item to its holders once all that was written so far is on disk: for what this node
    /// signs under a number that it must never use again.
    pub(crate) fn put_after(&mut self, item: CheckedItem, then: Then) {
        self.after.push(After::Put(item, then));
    }

    fn durable(&mut self, id: CommitId) {
        self.overlay.durable(id);
        let later = self.waiting.split_off(&CommitId(id.0 + 1));
        let done = std::mem::replace(&mut self.waiting, later);
        for after in done.into_values().flatten() {
            self.release(after);
        }
    }

    fn release(&mut self, after: After) {
        match after {
            After::Do(effect) => self.out.push(effect),
            After::Own(tag, reply) => self.own.push_back((tag, reply)),
            After::Put(item, then) => self.puts.push_back((item, then)),
        }
    }

    /// Closes the batch of the input at hand; what depends on it waits.
    fn close(&mut self) {
        let after = std::mem::take(&mut self.after);
        if !self.batch.is_empty() {
            let id = CommitId(self.next_commit);
            self.next_commit += 1;
            let batch = std::mem::take(&mut self.batch);
            self.overlay.push(id, batch.clone());
            self.out.push(Effect::Commit { id, batch });
            self.waiting.insert(id, after);
        } else if !after.is_empty() {
            // Nothing was written now, but what it rests on may still be on its way.
            self.waiting
                .entry(CommitId(self.next_commit.saturating_sub(1)))
                .or_default()
                .extend(after);
            if self.overlay.is_empty() {
                self.durable(CommitId(self.next_commit.saturating_sub(1)));
            }
        }
    }
}

/// The limits of the queues, as the roster sets them.
pub(crate) fn limits(view: &TrustView) -> Limits {
    let quorum = u8::try_from(view.write_quorum()).unwrap_or(u8::MAX);
    match view.params() {
        Some(p) => Limits {
            open_offers: p.open_offers,
            reoffers: p.reoffers,
            quorum,
        },
        None => Limits {
            open_offers: 1,
            reoffers: 0,
            quorum,
        },
    }
}
