//! Reading marks: for each the highest state that R − W + 1 of its holders know.

use std::collections::BTreeMap;

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::{Answer, MAX_MARKS, Marks as MarkStates};
use lapwing_protocol::cose::parse;
use lapwing_protocol::id::{MailboxId, NodeId};
use lapwing_protocol::mailbox::{MarkState, MarkValue};
use lapwing_protocol::peer::{CheckedPeerCall, PeerCall};
use lapwing_protocol::problem::Problem;
use rand_core::CryptoRng;

use super::{Flow, Got, list};
use crate::core::Core;
use crate::input::ClientTag;
use crate::quorum::Quorum;
use crate::store::Reader;

/// What orders a state, and the state.
type Best = ((u64, MarkValue, [u8; 16]), Vec<u8>);

/// A read of marks under way.
pub(crate) struct Marks {
    tag: ClientTag,
    outstanding: usize,
    asked: BTreeMap<NodeId, Vec<MailboxId>>,
    answers: BTreeMap<MailboxId, Quorum>,
    best: BTreeMap<MailboxId, Best>,
}

impl<R: Reader> Core<R> {
    pub(super) fn start_marks(
        &mut self,
        tag: ClientTag,
        mut ids: Vec<MailboxId>,
        rng: &mut dyn CryptoRng,
    ) {
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(MAX_MARKS);
        let mut asked: BTreeMap<NodeId, Vec<MailboxId>> = BTreeMap::new();
        let mut answers = BTreeMap::new();
        for id in &ids {
            let quorum = self.read_quorum(id.as_bytes());
            for holder in quorum.nodes() {
                asked.entry(holder).or_default().push(*id);
            }
            answers.insert(*id, quorum);
        }
        let marks = Marks {
            tag,
            outstanding: asked.len(),
            asked: asked.clone(),
            answers,
            best: BTreeMap::new(),
        };
        if asked.is_empty() {
            return self.answer(
                tag,
                Ok(Answer::Marks(MarkStates {
                    states: list(Vec::new()),
                })),
            );
        }
        let flow = self.start(Flow::Marks(marks));
        for (what, (holder, ids)) in asked.into_iter().enumerate() {
            let what = u16::try_from(what).unwrap_or(u16::MAX);
            self.ask(
                flow,
                what,
                holder,
                || PeerCall::ReadMarks(list(ids.clone())),
                || CheckedPeerCall::ReadMarks(ids.clone()),
                rng,
            );
        }
    }

    pub(super) fn step_marks(&mut self, mut marks: Marks, from: NodeId, got: Got) -> Option<Marks> {
        marks.outstanding = marks.outstanding.saturating_sub(1);
        if let Ok((items, _)) = got.items() {
            for id in marks.asked.remove(&from).unwrap_or_default() {
                if let Some(quorum) = marks.answers.get_mut(&id) {
                    quorum.count(from);
                }
            }
            for item in items {
                let Ok(state) = parse::<MarkState>(&item.body) else {
                    continue;
                };
                let state = state.unverified();
                let id = state.mark.id();
                let better = marks
                    .best
                    .get(&id)
                    .is_none_or(|(order, _)| *order < state.order());
                if better {
                    marks.best.insert(id, (state.order(), item.body.to_vec()));
                }
            }
        }
        let done = marks.answers.values().all(Quorum::met);
        if !done && marks.outstanding > 0 {
            return Some(marks);
        }
        let result = if done {
            let states = marks
                .best
                .into_values()
                .filter_map(|(_, b)| Bytes::try_from(b).ok())
                .collect();
            Ok(Answer::Marks(MarkStates {
                states: list(states),
            }))
        } else {
            Err(Problem::HoldersAway)
        };
        self.answer(marks.tag, result);
        None
    }
}
