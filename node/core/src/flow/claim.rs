//! Claiming requests: challenges from the region's holders, then their grants.
//!
//! One holder picks, so that claims made at once do not each get half of what they need; all grant the
//! same requests, each by its own limits. A request is claimed when W holders granted it.

use std::collections::BTreeMap;

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::{Answer, Challenges as ChallengeList, Claims};
use lapwing_protocol::codec::from_bytes;
use lapwing_protocol::cose::{Verified, parse};
use lapwing_protocol::id::{ClaimId, NodeId, RequestId};
use lapwing_protocol::item::{ItemBytes, ItemKind, MAX_ITEM};
use lapwing_protocol::peer::{CheckedPeerCall, CheckedReply, GrantOrder, PeerCall, PeerReply};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{
    Admission, Challenge, ChallengeOrder, Claim as ClaimRecord, Claimed, QueueEntry, TicketGrant,
    claim_id,
};
use rand_core::CryptoRng;

use super::{Flow, FlowId, Got, list, worst};
use crate::core::Core;
use crate::input::ClientTag;
use crate::store::Reader;

/// Challenges being gathered.
pub(crate) struct Challenges {
    tag: ClientTag,
    outstanding: usize,
    found: Vec<Challenge>,
    problems: Vec<Problem>,
    need: usize,
}

/// A claim under way.
pub(crate) struct Claim {
    tag: ClientTag,
    id: ClaimId,
    claim: Verified<ClaimRecord>,
    need: usize,
    /// Holders that may still pick, nearest last.
    pickers: Vec<NodeId>,
    holders: Vec<NodeId>,
    outstanding: usize,
    order: Vec<RequestId>,
    entries: BTreeMap<RequestId, QueueEntry>,
    grants: BTreeMap<RequestId, BTreeMap<NodeId, Vec<u8>>>,
    problems: Vec<Problem>,
}

const PICK: u16 = 0;
const FOLLOW: u16 = 1;

impl<R: Reader> Core<R> {
    pub(super) fn start_challenges(
        &mut self,
        tag: ClientTag,
        order: ChallengeOrder,
        rng: &mut dyn CryptoRng,
    ) {
        let holders = self.view.holders(order.region.as_bytes());
        let flow = self.start(Flow::Challenge(Challenges {
            tag,
            outstanding: holders.len(),
            found: Vec::new(),
            problems: Vec::new(),
            need: self.view.write_quorum(),
        }));
        for holder in holders {
            self.ask(
                flow,
                0,
                holder,
                || PeerCall::Challenge(order.clone()),
                || CheckedPeerCall::Challenge(order.clone()),
                rng,
            );
        }
    }

    pub(super) fn step_challenges(&mut self, mut flow: Challenges, got: Got) -> Option<Challenges> {
        flow.outstanding = flow.outstanding.saturating_sub(1);
        match got {
            Got::Peer(CheckedReply::Challenge(c)) | Got::Own(PeerReply::Challenge(c)) => {
                flow.found.push(c)
            }
            other => flow
                .problems
                .push(other.problem().unwrap_or(Problem::Malformed)),
        }
        if flow.outstanding > 0 {
            return Some(flow);
        }
        let result = if flow.found.len() >= flow.need {
            Ok(Answer::Challenges(ChallengeList {
                challenges: list(flow.found),
            }))
        } else {
            Err(worst(&flow.problems))
        };
        self.answer(flow.tag, result);
        None
    }

    pub(super) fn start_claim(
        &mut self,
        tag: ClientTag,
        claim: Verified<ClaimRecord>,
        rng: &mut dyn CryptoRng,
    ) {
        let answered = |n: &NodeId| claim.answers.iter().any(|a| a.holder == *n);
        let holders: Vec<_> = self
            .view
            .holders(claim.region.as_bytes())
            .into_iter()
            .filter(answered)
            .collect();
        if holders.len() < self.view.write_quorum() {
            return self.answer(tag, Err(Problem::ChallengeFailed));
        }
        let mut pickers = holders.clone();
        pickers.reverse();
        let flow = Claim {
            tag,
            id: claim_id(claim.bytes()),
            claim,
            need: self.view.write_quorum(),
            pickers,
            holders,
            outstanding: 0,
            order: Vec::new(),
            entries: BTreeMap::new(),
            grants: BTreeMap::new(),
            problems: Vec::new(),
        };
        let id = self.next_id();
        if let Some(flow) = self.next_picker(id, flow, rng) {
            self.flows
                .entry(id)
                .or_insert_with(|| Flow::Claim(Box::new(flow)));
        }
    }

    /// Asks the next holder to pick; ends the claim where none is left.
    fn next_picker(
        &mut self,
        id: FlowId,
        mut flow: Claim,
        rng: &mut dyn CryptoRng,
    ) -> Option<Claim> {
        let Some(picker) = flow.pickers.pop() else {
            self.answer(flow.tag, Err(worst(&flow.problems)));
            return None;
        };
        flow.outstanding = 1;
        let claim = flow.claim.clone();
        self.ask_grant(id, PICK, picker, &claim, Vec::new(), rng);
        Some(flow)
    }

    fn ask_grant(
        &mut self,
        id: FlowId,
        what: u16,
        holder: NodeId,
        claim: &Verified<ClaimRecord>,
        requests: Vec<RequestId>,
        rng: &mut dyn CryptoRng,
    ) {
        let wire = || {
            PeerCall::Grant(GrantOrder {
                claim: Bytes::try_from(claim.bytes().to_vec()).unwrap_or_default(),
                requests: list(requests.clone()),
            })
        };
        self.ask(
            id,
            what,
            holder,
            wire,
            || CheckedPeerCall::Grant(Box::new(claim.clone()), requests.clone()),
            rng,
        );
    }

    pub(super) fn step_claim(
        &mut self,
        id: FlowId,
        mut flow: Claim,
        from: NodeId,
        what: u16,
        got: Got,
        rng: &mut dyn CryptoRng,
    ) -> Option<Claim> {
        flow.outstanding = flow.outstanding.saturating_sub(1);
        match (what, got.items()) {
            (PICK, Ok((items, _))) => {
                flow.picked(&items);
                let claim = flow.claim.clone();
                let asked = if flow.order.is_empty() {
                    Vec::new()
                } else {
                    flow.holders.clone()
                };
                for holder in asked {
                    flow.outstanding += 1;
                    self.ask_grant(id, FOLLOW, holder, &claim, flow.order.clone(), rng);
                }
            }
            (PICK, Err(problem)) => {
                flow.problems.push(problem);
                return self.next_picker(id, flow, rng);
            }
            (_, Ok((items, _))) => flow.granted(from, &items),
            (_, Err(problem)) => flow.problems.push(problem),
        }
        if flow.outstanding > 0 && !flow.complete() {
            return Some(flow);
        }
        let claimed = flow.claimed();
        // Nothing granted although there was something to grant: say why.
        let result = match (claimed.is_empty(), flow.problems.first()) {
            (true, Some(problem)) if !flow.order.is_empty() => Err(*problem),
            _ => Ok(Answer::Claims(Claims {
                claimed: list(claimed),
            })),
        };
        self.answer(flow.tag, result);
        None
    }
}

impl Claim {
    /// Takes the entries that a holder picked, in its order.
    fn picked(&mut self, items: &[ItemBytes]) {
        for item in items.iter().filter(|i| i.kind == ItemKind::Entry) {
            let Ok(entry) = from_bytes::<QueueEntry>(&item.body, MAX_ITEM) else {
                continue;
            };
            let Ok(admission) = parse::<Admission>(&entry.admission) else {
                continue;
            };
            let said = admission.unverified();
            if said.region != self.claim.region {
                continue;
            }
            if self.entries.insert(said.request, entry).is_none() {
                self.order.push(said.request);
            }
        }
    }

    /// Takes a holder's grants.
    fn granted(&mut self, from: NodeId, items: &[ItemBytes]) {
        for item in items.iter().filter(|i| i.kind == ItemKind::Ticket) {
            let Ok(grant) = parse::<TicketGrant>(&item.body) else {
                continue;
            };
            let said = grant.unverified();
            if said.claim == self.id && said.holder == from {
                let grants = self.grants.entry(said.request).or_default();
                grants.insert(from, item.body.to_vec());
            }
        }
    }

    /// Whether every request that was picked is claimed: nobody else's answer is needed.
    fn complete(&self) -> bool {
        let enough = |r| self.grants.get(r).is_some_and(|g| g.len() >= self.need);
        !self.order.is_empty() && self.order.iter().all(enough)
    }

    /// The requests with grants of enough holders, in the picker's order.
    fn claimed(&mut self) -> Vec<Claimed> {
        let mut out = Vec::new();
        for request in &self.order {
            let Some(grants) = self.grants.remove(request).filter(|g| g.len() >= self.need) else {
                continue;
            };
            let Some(entry) = self.entries.remove(request) else {
                continue;
            };
            let grants = grants
                .into_values()
                .filter_map(|g| Bytes::try_from(g).ok())
                .collect();
            out.push(Claimed {
                entry,
                grants: list(grants),
            });
        }
        out
    }
}
