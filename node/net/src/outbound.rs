//! This node's calls to peers: each is settled exactly once. Calls to one peer go out in order, so
//! many at once; the rest wait in line, because streams beyond what a connection carries would break
//! it for all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lapwing_core::CallTag;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::peer::PeerCall;
use libp2p::request_response::OutboundRequestId;
use tokio::time::Instant;

use crate::deadlines::Deadlines;

struct Open {
    to: NodeId,
    call: Arc<PeerCall>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<CallTag>,
    on_wire: usize,
}

/// The peer of a request that came to its end, and the call.
type Returned = (NodeId, Option<(CallTag, Arc<PeerCall>)>);

/// The open calls of this node.
pub(crate) struct Outbound {
    open: BTreeMap<CallTag, Open>,
    lines: BTreeMap<NodeId, Line>,
    on_wire: BTreeMap<OutboundRequestId, (CallTag, NodeId)>,
    due: Deadlines<CallTag>,
    max: usize,
    max_per_peer: usize,
}

/// A call that was to be sent cannot even be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotBegun {
    /// Too many are open.
    Full,
    /// A call with this tag is open.
    TagInUse,
}

impl Outbound {
    /// None open; at most `max` at once, `max_per_peer` of one peer on the wire.
    pub(crate) fn new(max: usize, max_per_peer: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            lines: BTreeMap::new(),
            on_wire: BTreeMap::new(),
            due: Deadlines::new(),
            max,
            max_per_peer: max_per_peer.max(1),
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// How many to a peer are in line or on the wire.
    pub(crate) fn to(&self, node: &NodeId) -> usize {
        self.lines
            .get(node)
            .map_or(0, |l| l.waiting.len() + l.on_wire)
    }

    /// Begins a call: it waits in its peer's line.
    pub(crate) fn begin(
        &mut self,
        tag: CallTag,
        to: NodeId,
        call: PeerCall,
        due: Instant,
    ) -> Result<(), NotBegun> {
        if self.open.contains_key(&tag) {
            return Err(NotBegun::TagInUse);
        }
        if self.open.len() >= self.max {
            return Err(NotBegun::Full);
        }
        let call = Arc::new(call);
        self.open.insert(tag, Open { to, call });
        self.due.set(tag, due);
        self.lines.entry(to).or_default().waiting.push_back(tag);
        Ok(())
    }

    /// Whether calls to this peer wait to be sent.
    pub(crate) fn waits(&self, node: &NodeId) -> bool {
        let open = |t| self.open.contains_key(t);
        self.lines
            .get(node)
            .is_some_and(|l| l.waiting.iter().any(open))
    }

    /// The next call that may go out to a peer; [`Outbound::sent`] must follow.
    pub(crate) fn next(&mut self, node: &NodeId) -> Option<(CallTag, Arc<PeerCall>)> {
        let line = self.lines.get_mut(node)?;
        while line.on_wire < self.max_per_peer {
            let tag = line.waiting.pop_front()?;
            // Settled ones stay in line until their turn.
            if let Some(open) = self.open.get(&tag) {
                return Some((tag, Arc::clone(&open.call)));
            }
        }
        None
    }

    /// The call went out as this request.
    pub(crate) fn sent(&mut self, tag: CallTag, to: NodeId, request: OutboundRequestId) {
        self.on_wire.insert(request, (tag, to));
        self.lines.entry(to).or_default().on_wire += 1;
    }

    /// The request came to its end: its peer, and its call if that is still open.
    pub(crate) fn returned(&mut self, request: &OutboundRequestId) -> Option<Returned> {
        let (tag, to) = self.on_wire.remove(request)?;
        if let Some(line) = self.lines.get_mut(&to) {
            line.on_wire = line.on_wire.saturating_sub(1);
        }
        self.sweep(&to);
        let call = self
            .open
            .get(&tag)
            .map(|open| (tag, Arc::clone(&open.call)));
        Some((to, call))
    }

    /// Settles a call: its peer and itself once, nothing after that.
    pub(crate) fn settle(&mut self, tag: CallTag) -> Option<(NodeId, Arc<PeerCall>)> {
        self.due.remove(&tag);
        let open = self.open.remove(&tag)?;
        Some((open.to, open.call))
    }

    /// Takes out the calls that wait to be sent to a peer.
    pub(crate) fn give_up(&mut self, node: &NodeId) -> Vec<CallTag> {
        let Some(line) = self.lines.get_mut(node) else {
            return Vec::new();
        };
        let tags = line
            .waiting
            .drain(..)
            .filter(|t| self.open.contains_key(t))
            .collect();
        self.sweep(node);
        tags
    }

    /// When the next is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.next()
    }

    /// A call whose time is over; it is to be settled.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<CallTag> {
        self.due.pop(now)
    }

    /// All open calls.
    pub(crate) fn all(&self) -> Vec<CallTag> {
        self.open.keys().copied().collect()
    }

    fn sweep(&mut self, node: &NodeId) {
        let empty = |l: &Line| l.waiting.is_empty() && l.on_wire == 0;
        if self.lines.get(node).is_some_and(empty) {
            self.lines.remove(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn begin(out: &mut Outbound, tag: u64, to: u8) -> Result<(), NotBegun> {
        let due = Instant::now() + Duration::from_secs(tag);
        out.begin(CallTag(tag), node(to), PeerCall::TrustIds, due)
    }

    #[test]
    fn a_call_is_settled_once() {
        let mut out = Outbound::new(10, 10);
        begin(&mut out, 1, 1).unwrap();
        assert_eq!(begin(&mut out, 1, 2), Err(NotBegun::TagInUse));
        assert_eq!(out.settle(CallTag(1)).map(|(to, _)| to), Some(node(1)));
        assert!(out.settle(CallTag(1)).is_none());
        assert_eq!(out.next(&node(1)).map(|(t, _)| t), None);
        assert_eq!(out.next_due(), None);
    }

    #[test]
    fn open_calls_are_bounded_and_go_out_in_order() {
        let mut out = Outbound::new(3, 10);
        for tag in [5, 3, 4] {
            begin(&mut out, tag, 1).unwrap();
        }
        assert_eq!(begin(&mut out, 6, 2), Err(NotBegun::Full));
        let order: Vec<_> = std::iter::from_fn(|| out.next(&node(1)).map(|(t, _)| t.0)).collect();
        assert_eq!(order, [5, 3, 4]);
    }

    #[test]
    fn calls_in_line_can_be_given_up() {
        let mut out = Outbound::new(10, 10);
        for (tag, to) in [(1, 1), (2, 1), (3, 2)] {
            begin(&mut out, tag, to).unwrap();
        }
        out.settle(CallTag(1));
        assert!(out.waits(&node(1)));
        assert_eq!(out.give_up(&node(1)), [CallTag(2)]);
        assert!(!out.waits(&node(1)));
        assert!(out.waits(&node(2)));
        assert_eq!(out.to(&node(1)), 0);
    }

    #[test]
    fn what_is_overdue_comes_out_in_order_of_time() {
        let mut out = Outbound::new(10, 10);
        begin(&mut out, 2, 1).unwrap();
        begin(&mut out, 1, 1).unwrap();
        let later = Instant::now() + Duration::from_secs(10);
        assert_eq!(out.overdue(later), Some(CallTag(1)));
        assert_eq!(out.overdue(later), Some(CallTag(2)));
        assert_eq!(out.overdue(later), None);
    }
}
