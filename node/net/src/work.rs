//! Workers: decoding and signature checks, away from the event loop. Calls and gossip have their own
//! workers, so that a flood of one does not starve the other.
//!
//! Most messages hold one item or none: checking one takes less time than waking a thread for it and
//! being woken by it, so small ones are checked in a task of the runtime. Large ones, with dozens of
//! signatures, go to a thread that may block.

use std::sync::Arc;

use lapwing_core::{CallTag, PeerTag, Topic};
use lapwing_protocol::codec::{DecodeError, from_bytes};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::peer::{
    CheckedPeerCall, CheckedReply, MAX_MESSAGE, PeerCall, PeerReply, check_peer_call, check_reply,
};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::trust::TrustView;
use libp2p::gossipsub::MessageId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::codec::Received;
use crate::gossip::{Verdict, judge};
use crate::handle::Clock;
use crate::peer::resolve;
use crate::status::call_name;

/// Messages up to this size are checked in a task: a few signatures, some hundred microseconds; forty
/// in the worst case, two milliseconds.
const SMALL: usize = 8 * 1024;

/// What a worker found.
pub(crate) enum Done {
    /// A peer's call was checked; its name, where it decodes.
    Call(PeerTag, &'static str, Box<Result<CheckedPeerCall, Problem>>),
    /// A peer's reply was checked.
    Reply(CallTag, Box<Result<CheckedReply, BadReply>>),
    /// A gossip message was judged.
    Gossip {
        /// Its id.
        id: MessageId,
        /// Who passed it on.
        source: PeerId,
        /// The same as a node.
        from: NodeId,
        /// The judgement.
        verdict: Verdict,
    },
    /// A node's addresses were resolved.
    Resolved(NodeId, Vec<Multiaddr>),
}

/// Why a reply is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadReply {
    /// The peer closed the stream without a reply.
    Empty,
    /// The peer refused.
    Refused(Problem),
    /// The reply does not decode.
    Malformed,
    /// The reply fails its check.
    Failed(Problem),
}

/// Hands work to workers; results come back in the order in which they end.
pub(crate) struct Workers {
    calls: Arc<Semaphore>,
    gossip: Arc<Semaphore>,
    view: watch::Receiver<Arc<TrustView>>,
    now: Clock,
    done: mpsc::UnboundedSender<Done>,
}

impl Workers {
    /// So many workers for calls, and as many for gossip. What is in hand is bounded by who hands it
    /// over, hence the unbounded channel.
    pub(crate) fn new(
        size: usize,
        view: watch::Receiver<Arc<TrustView>>,
        now: Clock,
        done: mpsc::UnboundedSender<Done>,
    ) -> Self {
        let size = size.clamp(1, 1024);
        Self {
            calls: Arc::new(Semaphore::new(size)),
            gossip: Arc::new(Semaphore::new(size)),
            view,
            now,
            done,
        }
    }

    fn run(
        &self,
        workers: &Arc<Semaphore>,
        bytes: usize,
        work: impl FnOnce(&TrustView, &Clock) -> Done + Send + 'static,
    ) {
        let workers = Arc::clone(workers);
        let view = self.view.clone();
        let now = Arc::clone(&self.now);
        let done = self.done.clone();
        tokio::spawn(async move {
            let Ok(place) = workers.acquire_owned().await else {
                return;
            };
            // The view of this moment, not of when the work was handed over.
            let view = Arc::clone(&view.borrow());
            let check = move || {
                // Nobody is left to tell after the event loop has ended.
                let _ = done.send(work(&view, &now));
                drop(place);
            };
            if bytes <= SMALL {
                check();
            } else {
                tokio::task::spawn_blocking(check);
            }
        });
    }

    /// Decodes and checks a peer's call.
    pub(crate) fn check_call(&self, tag: PeerTag, from: NodeId, frame: Received) {
        self.run(&self.calls, frame.bytes.len(), move |view, now| {
            let call = from_bytes::<PeerCall>(&frame.bytes, MAX_MESSAGE).map_err(problem);
            let name = call.as_ref().map_or("", call_name);
            let checked = call.and_then(|c| check_peer_call(c, &from, view, now()));
            Done::Call(tag, name, Box::new(checked))
        });
    }

    /// Decodes and checks the reply to `call`.
    pub(crate) fn check_reply(
        &self,
        tag: CallTag,
        from: NodeId,
        call: Arc<PeerCall>,
        frame: Received,
    ) {
        self.run(&self.calls, frame.bytes.len(), move |view, now| {
            let reply = read_reply(&call, &frame.bytes, &from, view, now);
            Done::Reply(tag, Box::new(reply))
        });
    }

    /// Judges a gossip message.
    pub(crate) fn judge(
        &self,
        topic: Topic,
        id: MessageId,
        source: PeerId,
        from: NodeId,
        data: Vec<u8>,
    ) {
        self.run(&self.gossip, data.len(), move |view, now| {
            let verdict = judge(topic, &data, view, now());
            Done::Gossip {
                id,
                source,
                from,
                verdict,
            }
        });
    }

    /// Resolves the names in a node's addresses.
    pub(crate) fn resolve(&self, node: NodeId, addresses: Vec<Multiaddr>) {
        let done = self.done.clone();
        tokio::spawn(async move {
            let mut found = Vec::new();
            for address in addresses {
                found.extend(resolve(address).await);
            }
            let _ = done.send(Done::Resolved(node, found));
        });
    }
}

/// A call of a later version is no fault; everything else that does not decode is.
fn problem(error: DecodeError) -> Problem {
    match error {
        DecodeError::UnknownTag { .. } => Problem::UnknownCall,
        DecodeError::TooLong { .. } => Problem::TooLarge,
        _ => Problem::Malformed,
    }
}

fn read_reply(
    call: &PeerCall,
    bytes: &[u8],
    from: &NodeId,
    view: &TrustView,
    now: &Clock,
) -> Result<CheckedReply, BadReply> {
    if bytes.is_empty() {
        return Err(BadReply::Empty);
    }
    let reply = from_bytes::<PeerReply>(bytes, MAX_MESSAGE).map_err(|_| BadReply::Malformed)?;
    if let PeerReply::Refused(problem) = reply {
        return Err(BadReply::Refused(problem));
    }
    check_reply(call, reply, from, view, now()).map_err(BadReply::Failed)
}
