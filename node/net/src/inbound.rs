//! Calls of peers that wait for their reply: bounded per peer and overall, each with a deadline, each
//! answered at most once. A call counts until its reply has left, so that a peer that does not read
//! its replies runs into its own bound.

use std::collections::BTreeMap;

use lapwing_core::PeerTag;
use lapwing_protocol::id::NodeId;
use libp2p::request_response::{InboundRequestId, ResponseChannel};
use tokio::time::Instant;

use crate::codec::Frame;
use crate::deadlines::Deadlines;

struct Open {
    from: NodeId,
    request: InboundRequestId,
    /// Gone once the reply is on its way.
    channel: Option<ResponseChannel<Frame>>,
}

/// The open calls of peers.
pub(crate) struct Inbound {
    open: BTreeMap<PeerTag, Open>,
    by_request: BTreeMap<InboundRequestId, PeerTag>,
    by_node: BTreeMap<NodeId, usize>,
    due: Deadlines<PeerTag>,
    next: u64,
}

impl Inbound {
    /// None open.
    pub(crate) fn new() -> Self {
        Self {
            open: BTreeMap::new(),
            by_request: BTreeMap::new(),
            by_node: BTreeMap::new(),
            due: Deadlines::new(),
            next: 0,
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// How many of a peer's are open.
    pub(crate) fn of(&self, node: &NodeId) -> usize {
        self.by_node.get(node).copied().unwrap_or(0)
    }

    /// Opens a call that must be answered by `due`.
    pub(crate) fn open(
        &mut self,
        from: NodeId,
        request: InboundRequestId,
        channel: ResponseChannel<Frame>,
        due: Instant,
    ) -> PeerTag {
        let tag = PeerTag(self.next);
        self.next = self.next.wrapping_add(1);
        self.by_request.insert(request, tag);
        *self.by_node.entry(from).or_default() += 1;
        self.due.set(tag, due);
        let channel = Some(channel);
        self.open.insert(
            tag,
            Open {
                from,
                request,
                channel,
            },
        );
        tag
    }

    /// The peer of a call that still wants its reply.
    pub(crate) fn waiting(&self, tag: PeerTag) -> Option<NodeId> {
        let open = self.open.get(&tag)?;
        open.channel.as_ref().map(|_| open.from)
    }

    /// Where to send a call's reply; none when it was answered or is gone.
    pub(crate) fn answer(&mut self, tag: PeerTag) -> Option<ResponseChannel<Frame>> {
        self.due.remove(&tag);
        self.open.get_mut(&tag)?.channel.take()
    }

    /// Closes a call whose reply has left, or never will.
    pub(crate) fn close(&mut self, request: &InboundRequestId) {
        if let Some(tag) = self.by_request.get(request).copied() {
            self.close_tag(tag);
        }
    }

    /// Closes a call by its tag.
    pub(crate) fn close_tag(&mut self, tag: PeerTag) {
        let Some(open) = self.open.remove(&tag) else {
            return;
        };
        self.by_request.remove(&open.request);
        self.due.remove(&tag);
        if let Some(n) = self.by_node.get_mut(&open.from) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.by_node.remove(&open.from);
            }
        }
    }

    /// When the next is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.next()
    }

    /// A call that was not answered in time.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<PeerTag> {
        self.due.pop(now)
    }
}
