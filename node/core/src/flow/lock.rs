//! Taking a token's booking lock from W of the region's holders.

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::{Answer, CheckedLock, Locks};
use lapwing_protocol::id::{LockId, NodeId};
use lapwing_protocol::item::Item;
use lapwing_protocol::peer::{CheckedPeerCall, CheckedReply, PeerCall, PeerReply};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::LockOrder;
use rand_core::CryptoRng;

use super::{Flow, Got, list, worst};
use crate::core::Core;
use crate::input::ClientTag;
use crate::quorum::Quorum;
use crate::store::Reader;

/// A lock being taken.
pub(crate) struct Lock {
    tag: ClientTag,
    lock: LockId,
    quorum: Quorum,
    outstanding: usize,
    grants: Vec<Bytes<640>>,
    problems: Vec<Problem>,
}

impl<R: Reader> Core<R> {
    pub(super) fn start_lock(
        &mut self,
        tag: ClientTag,
        lock: CheckedLock,
        order: &LockOrder,
        rng: &mut dyn CryptoRng,
    ) {
        // Of both rosters' holders: else two locks could be held, one by each.
        let quorum = self.write_quorum(lock.ticket().grant().region.as_bytes());
        let holders = quorum.nodes();
        let flow = self.start(Flow::Lock(Lock {
            tag,
            lock: lock.accept().lock(),
            quorum,
            outstanding: holders.len(),
            grants: Vec::new(),
            problems: Vec::new(),
        }));
        for holder in holders {
            self.ask(
                flow,
                0,
                holder,
                || PeerCall::Lock(order.clone()),
                || CheckedPeerCall::Lock(Box::new(lock.clone())),
                rng,
            );
        }
    }

    pub(super) fn step_lock(&mut self, mut flow: Lock, from: NodeId, got: Got) -> Option<Lock> {
        flow.outstanding = flow.outstanding.saturating_sub(1);
        let grant = match got {
            Got::Peer(CheckedReply::Lock(item)) => match item.item() {
                // Not another lock's, and not another holder's.
                Item::Lock(grant) if grant.lock == flow.lock && grant.holder == from => {
                    Ok(item.body().to_vec())
                }
                _ => Err(Problem::Malformed),
            },
            Got::Own(PeerReply::Lock(item)) => Ok(item.body.to_vec()),
            other => Err(other.problem().unwrap_or(Problem::Malformed)),
        };
        match grant.and_then(|g| Bytes::try_from(g).map_err(|_| Problem::Malformed)) {
            Ok(grant) => {
                flow.quorum.count(from);
                flow.grants.push(grant);
            }
            Err(problem) => flow.problems.push(problem),
        }
        if flow.quorum.met() {
            self.answer(
                flow.tag,
                Ok(Answer::Locks(Locks {
                    grants: list(flow.grants),
                })),
            );
            return None;
        }
        if flow.outstanding == 0 {
            self.answer(flow.tag, Err(worst(&flow.problems)));
            return None;
        }
        Some(flow)
    }
}
