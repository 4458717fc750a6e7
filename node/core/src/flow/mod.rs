//! Flows: what takes more than one step, across holders.
//!
//! A flow asks some nodes, this one included, and goes on with each answer. Its calls always come back,
//! with an answer or a failure, so that every flow ends.

mod claim;
mod lock;
mod mark;
mod open;
mod put;
mod read;
mod request;

use lapwing_protocol::bounded::List;
use lapwing_protocol::client::CheckedCall;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::item::ItemBytes;
use lapwing_protocol::mailbox::Ack;
use lapwing_protocol::peer::{
    CheckedPeerCall, CheckedReply, ItemList, PeerCall, PeerReply, PushResult,
};
use lapwing_protocol::problem::Problem;
use rand_core::CryptoRng;

use crate::core::{Core, ReplyTo};
use crate::effect::{Effect, Severity};
use crate::input::{CallFailure, CallTag, ClientTag};
use crate::spread::Spread;
use crate::store::Reader;
use crate::sync::Sync;

pub(crate) use put::{Put, Then};
pub use read::read_local;
pub(crate) use read::stored_page;

/// Names a flow.
pub(crate) type FlowId = u64;

/// How long a peer may take for one step of a flow.
pub(crate) const STEP_MS: u32 = 4_000;

/// Where an answer belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fanout {
    pub(crate) flow: FlowId,
    /// What the flow asked; it knows.
    pub(crate) what: u16,
}

/// A flow under way.
pub(crate) enum Flow {
    Put(Put),
    Read(read::Read),
    Marks(mark::Marks),
    Open(open::Open),
    Request(request::Request),
    Admit(request::Admit),
    Spend(put::Spent),
    Challenge(claim::Challenges),
    Claim(Box<claim::Claim>),
    Lock(lock::Lock),
    Sync(Sync),
    Spread(Spread),
}

/// An answer to one step.
#[derive(Debug)]
pub(crate) enum Got {
    /// A peer's, checked.
    Peer(CheckedReply),
    /// This node's own.
    Own(PeerReply),
    /// None.
    Failed(CallFailure),
}

impl Got {
    /// Why there is no answer, or what was refused.
    pub(crate) fn problem(&self) -> Option<Problem> {
        match self {
            Got::Failed(CallFailure::Refused(p)) | Got::Own(PeerReply::Refused(p)) => Some(*p),
            Got::Failed(_) => Some(Problem::HoldersAway),
            _ => None,
        }
    }

    /// Items, as they travel.
    pub(crate) fn items(self) -> Result<(Vec<ItemBytes>, bool), Problem> {
        if let Some(problem) = self.problem() {
            return Err(problem);
        }
        match self {
            Got::Peer(CheckedReply::Items { items, more, .. }) => Ok((
                items
                    .iter()
                    .map(lapwing_protocol::item::CheckedItem::to_wire)
                    .collect(),
                more,
            )),
            Got::Peer(CheckedReply::Grants(items)) => Ok((
                items
                    .iter()
                    .map(lapwing_protocol::item::CheckedItem::to_wire)
                    .collect(),
                false,
            )),
            Got::Own(PeerReply::Items(list) | PeerReply::Grants(list)) => {
                Ok((list.items.into_vec(), list.more))
            }
            _ => Err(Problem::Malformed),
        }
    }

    /// Results of a push.
    pub(crate) fn pushed(self) -> Result<Vec<Result<Ack, Problem>>, Problem> {
        if let Some(problem) = self.problem() {
            return Err(problem);
        }
        match self {
            Got::Peer(CheckedReply::Push(results)) => Ok(results),
            Got::Own(PeerReply::Push(results)) => Ok(results
                .into_iter()
                .map(|r| match r {
                    PushResult::Stored(ack) => Ok(ack),
                    PushResult::Refused(problem) => Err(problem),
                })
                .collect()),
            _ => Err(Problem::Malformed),
        }
    }
}

/// A list of what is known to fit; what does not is cut off.
pub(crate) fn list<T, const MAX: usize>(mut v: Vec<T>) -> List<T, MAX> {
    v.truncate(MAX);
    List::try_from(v).unwrap_or_default()
}

/// A list of items that stops before the bound on a message's bytes.
pub(crate) fn item_list(items: Vec<ItemBytes>, more: bool) -> ItemList {
    let mut bytes = 0;
    let mut fit = Vec::new();
    let all = items.len();
    for item in items {
        bytes += item.body.len() + 64;
        if fit.len() == lapwing_protocol::peer::MAX_ITEMS
            || bytes > lapwing_protocol::peer::MAX_ITEM_BYTES
        {
            break;
        }
        fit.push(item);
    }
    let more = more || fit.len() < all;
    ItemList {
        items: list(fit),
        more,
    }
}

/// The refusal that explains most: one of a node's own making before "nobody answered".
pub(crate) fn worst(problems: &[Problem]) -> Problem {
    problems
        .iter()
        .copied()
        .find(|p| !p.retry())
        .or(problems.first().copied())
        .unwrap_or(Problem::HoldersAway)
}

impl<R: Reader> Core<R> {
    /// A client asks.
    pub(crate) fn client(&mut self, tag: ClientTag, call: CheckedCall, rng: &mut dyn CryptoRng) {
        if self.view.roster().is_none() && !matches!(call, CheckedCall::Publish(_)) {
            return self.answer(tag, Err(Problem::NotReady));
        }
        let rests_on_absence = matches!(
            call,
            CheckedCall::Read(..) | CheckedCall::ReadMarks(_) | CheckedCall::Lock(..)
        );
        if rests_on_absence && !self.settled() {
            return self.answer(tag, Err(Problem::NotReady));
        }
        match call {
            CheckedCall::Token(order) => self.issue_token(tag, &order, rng),
            CheckedCall::Request(request) => self.start_request(tag, request, rng),
            CheckedCall::Open(order) => self.start_open(tag, &order),
            CheckedCall::Put(item) => self.start_put(item, Then::Answer(tag), rng),
            CheckedCall::Read(proof, after) => self.start_read(tag, &proof, after, rng),
            CheckedCall::ReadMarks(ids) => self.start_marks(tag, ids, rng),
            CheckedCall::Challenge(order) => self.start_challenges(tag, order, rng),
            CheckedCall::Claim(claim) => self.start_claim(tag, *claim, rng),
            CheckedCall::Lock(lock) => {
                let (lock, order) = *lock;
                self.start_lock(tag, lock, &order, rng)
            }
            CheckedCall::Publish(record) => self.publish(tag, record),
        }
    }

    /// Starts a flow and runs its first step.
    pub(crate) fn start(&mut self, flow: Flow) -> FlowId {
        let id = self.next_id();
        self.flows.insert(id, flow);
        id
    }

    /// Asks a node for one step of a flow; this node answers itself by the same rules.
    pub(crate) fn ask(
        &mut self,
        flow: FlowId,
        what: u16,
        to: NodeId,
        wire: impl FnOnce() -> PeerCall,
        own: impl FnOnce() -> CheckedPeerCall,
        rng: &mut dyn CryptoRng,
    ) {
        let tag = CallTag(self.next_id());
        self.calls.insert(tag, Fanout { flow, what });
        if to == self.me.id() {
            self.serve(ReplyTo::Own(tag), to, own(), rng);
        } else {
            self.emit(Effect::Call {
                tag,
                to,
                call: wire(),
                timeout_ms: STEP_MS,
            });
        }
    }

    /// A peer replied, or did not.
    pub(crate) fn replied(
        &mut self,
        tag: CallTag,
        from: NodeId,
        reply: Result<CheckedReply, CallFailure>,
        rng: &mut dyn CryptoRng,
    ) {
        if self.fetches.remove(&tag).is_some() {
            if let Ok(CheckedReply::TrustRecords(records)) = reply
                && !records.is_empty()
            {
                self.emit(Effect::CheckTrust {
                    from: Some(from),
                    records,
                });
            }
            return;
        }
        if let Err(CallFailure::Refused(Problem::BadSignature | Problem::WrongSigner)) = &reply {
            self.fault(from, Severity::Major, "a reply that fails its check");
        }
        if let Ok(CheckedReply::Items { bad, .. }) = &reply
            && *bad > 0
        {
            self.fault(from, Severity::Major, "items that fail their check");
        }
        let got = match reply {
            Ok(reply) => Got::Peer(reply),
            Err(failure) => Got::Failed(failure),
        };
        self.step(tag, from, got, rng);
    }

    /// This node's own reply.
    pub(crate) fn own_replied(&mut self, tag: CallTag, reply: PeerReply, rng: &mut dyn CryptoRng) {
        let me = self.me.id();
        self.step(tag, me, Got::Own(reply), rng);
    }

    fn step(&mut self, tag: CallTag, from: NodeId, got: Got, rng: &mut dyn CryptoRng) {
        let Some(Fanout { flow: id, what }) = self.calls.remove(&tag) else {
            return;
        };
        // A flow that is done no longer listens.
        let Some(flow) = self.flows.remove(&id) else {
            return;
        };
        let next = match flow {
            Flow::Put(f) => self.step_put(id, f, from, what, got, rng).map(Flow::Put),
            Flow::Read(f) => self.step_read(f, from, got, rng).map(Flow::Read),
            Flow::Marks(f) => self.step_marks(f, from, got).map(Flow::Marks),
            Flow::Open(f) => Some(Flow::Open(f)),
            Flow::Spend(f) => Some(Flow::Spend(f)),
            Flow::Request(f) => self.step_request(id, f, got, rng).map(Flow::Request),
            Flow::Admit(f) => Some(Flow::Admit(f)),
            Flow::Challenge(f) => self.step_challenges(f, got).map(Flow::Challenge),
            Flow::Claim(f) => self
                .step_claim(id, *f, from, what, got, rng)
                .map(|f| Flow::Claim(Box::new(f))),
            Flow::Lock(f) => self.step_lock(f, from, got).map(Flow::Lock),
            Flow::Sync(f) => self.step_sync(id, f, got, rng).map(Flow::Sync),
            Flow::Spread(f) => {
                self.step_spread(f, got);
                None
            }
        };
        if let Some(flow) = next {
            self.flows.insert(id, flow);
        }
    }

    /// A put that a flow waits for is done.
    pub(crate) fn put_done(
        &mut self,
        id: FlowId,
        what: u16,
        done: Result<lapwing_protocol::mailbox::Receipt, Problem>,
        rng: &mut dyn CryptoRng,
    ) {
        let Some(flow) = self.flows.remove(&id) else {
            return;
        };
        let next = match flow {
            Flow::Open(f) => self.open_put(f, what, done).map(Flow::Open),
            Flow::Request(f) => self.request_put(f, done).map(Flow::Request),
            Flow::Admit(f) => self.admit_put(f, done).map(Flow::Admit),
            Flow::Spend(f) => self.spend_put(f, done, rng).map(Flow::Spend),
            other => Some(other),
        };
        if let Some(flow) = next {
            self.flows.insert(id, flow);
        }
    }
}
