//! Claiming requests: challenges from the region's holders, then their grants.
//!
//! One holder picks, so that claims made at once do not each get half of what they need; the others grant
//! the same requests, each by its own limits. A request is claimed when W holders granted it.

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
        match got.items() {
            Ok((items, _)) => flow.take(&items, what == PICK),
            Err(problem) => {
                flow.problems.push(problem);
                if what == PICK {
                    return self.next_picker(id, flow, rng);
                }
            }
        }
        if what == PICK && !flow.order.is_empty() {
            let claim = flow.claim.clone();
            for holder in flow.holders.clone().into_iter().filter(|h| *h != from) {
                flow.outstanding += 1;
                self.ask_grant(id, FOLLOW, holder, &claim, flow.order.clone(), rng);
            }
        }
        if flow.outstanding > 0 {
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
    /// Takes a holder's entries and grants.
    fn take(&mut self, items: &[ItemBytes], picked: bool) {
        for item in items {
            match item.kind {
                ItemKind::Entry => {
                    let Ok(entry) = from_bytes::<QueueEntry>(&item.body, MAX_ITEM) else {
                        continue;
                    };
                    let Ok(admission) = parse::<Admission>(&entry.admission) else {
                        continue;
                    };
                    if admission.unverified().region != self.claim.region {
                        continue;
                    }
                    let request = admission.unverified().request;
                    if picked && !self.order.contains(&request) {
                        self.order.push(request);
                    }
                    self.entries.insert(request, entry);
                }
                ItemKind::Ticket => {
                    let Ok(grant) = parse::<TicketGrant>(&item.body) else {
                        continue;
                    };
                    let said = grant.unverified();
                    if said.claim != self.id {
                        continue;
                    }
                    self.grants
                        .entry(said.request)
                        .or_default()
                        .insert(said.holder, item.body.to_vec());
                }
                _ => {}
            }
        }
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
