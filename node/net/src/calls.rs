//! Calls in both directions: what the core asks of peers, and what peers ask of it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use lapwing_core::{CallFailure, CallTag, Input, PeerTag, Severity};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::peer::{CheckedPeerCall, CheckedReply, MAX_MESSAGE, PeerCall, PeerReply};
use lapwing_protocol::problem::Problem;
use libp2p::PeerId;
use libp2p::request_response::{
    Event, InboundRequestId, Message, OutboundFailure, OutboundRequestId, ResponseChannel,
};
use tokio::time::Instant;

use crate::behaviour::CALL_CEILING;
use crate::codec::Frame;
use crate::gossip::wrong_for_all;
use crate::peer::{node_id, peer_id};
use crate::rates::Pace;
use crate::status::call_name;
use crate::swarm::Net;
use crate::work::BadReply;

/// A call with its tag and peer.
type Open = (CallTag, NodeId, Arc<PeerCall>);

impl Net {
    pub(crate) fn on_calls(&mut self, event: Event<Frame, Frame>) {
        match event {
            Event::Message { peer, message, .. } => match message {
                Message::Request {
                    request_id,
                    request,
                    channel,
                } => {
                    self.called(&peer, request_id, request, channel);
                }
                Message::Response {
                    request_id,
                    response,
                } => {
                    self.replied(&request_id, response);
                }
            },
            Event::OutboundFailure {
                request_id, error, ..
            } => {
                self.call_failed(&request_id, &error);
            }
            Event::InboundFailure { request_id, .. } | Event::ResponseSent { request_id, .. } => {
                self.inbound.close(&request_id)
            }
        }
    }

    pub(crate) fn call(&mut self, tag: CallTag, to: NodeId, call: PeerCall, timeout_ms: u32) {
        self.calls.entry(call_name(&call)).or_default().made += 1;
        let refused = self.swarm.behaviour().gate.admit(Some(&to)).is_err();
        if to == self.own || refused || self.closing.is_some() {
            self.count(&call, Some(CallFailure::Unreachable));
            return self.fail(tag, to, CallFailure::Unreachable);
        }
        let name = call_name(&call);
        let patience = Duration::from_millis(u64::from(timeout_ms)).min(CALL_CEILING);
        if let Err(why) = self
            .outbound
            .begin(tag, to, call, Instant::now() + patience)
        {
            tracing::warn!(peer = %to, ?why, "call not begun");
            self.calls.entry(name).or_default().unreachable += 1;
            return self.fail(tag, to, CallFailure::Unreachable);
        }
        if self.peers.contains_key(&to) {
            self.pump(to);
        } else {
            self.connect(to);
        }
    }

    /// Sends what may go out to a connected peer.
    pub(crate) fn pump(&mut self, to: NodeId) {
        let Some(peer) = peer_id(&to) else {
            return;
        };
        while let Some((tag, call)) = self.outbound.next(&to) {
            let calls = &mut self.swarm.behaviour_mut().calls;
            let request = calls.send_request(&peer, Frame::Call(call));
            self.outbound.sent(tag, to, request);
        }
    }

    /// Settles a call, unless it is settled.
    pub(crate) fn settle(&mut self, tag: CallTag, failure: CallFailure) {
        if let Some((to, call)) = self.outbound.settle(tag) {
            self.count(&call, Some(failure));
            self.fail(tag, to, failure);
        }
    }

    /// Counts what became of a call of this node.
    fn count(&mut self, call: &PeerCall, failure: Option<CallFailure>) {
        let counts = self.calls.entry(call_name(call)).or_default();
        match failure {
            None => counts.answered += 1,
            Some(CallFailure::Refused(_)) => counts.refused += 1,
            Some(CallFailure::Timeout) => counts.timed_out += 1,
            Some(CallFailure::Unreachable) => counts.unreachable += 1,
        }
    }

    /// Tells the core that a call failed. Settled calls are counted by [`Net::count`] first.
    pub(crate) fn fail(&self, tag: CallTag, to: NodeId, failure: CallFailure) {
        let reply = Err(failure);
        self.tell(Input::Reply {
            tag,
            from: to,
            reply,
        });
    }

    /// Fails the calls that wait for a connection to a node that cannot be had.
    pub(crate) fn give_up(&mut self, node: &NodeId) {
        for tag in self.outbound.give_up(node) {
            self.settle(tag, CallFailure::Unreachable);
        }
    }

    pub(crate) fn reply(&mut self, tag: PeerTag, reply: PeerReply) {
        if let Some(channel) = self.inbound.answer(tag) {
            let frame = Frame::Reply(Box::new(reply));
            // A channel that is closed reports its failure by itself.
            let _ = self
                .swarm
                .behaviour_mut()
                .calls
                .send_response(channel, frame);
        }
    }

    pub(crate) fn call_checked(
        &mut self,
        tag: PeerTag,
        name: &'static str,
        result: Result<CheckedPeerCall, Problem>,
    ) {
        // Its time may be over, or its connection gone.
        let Some(from) = self.inbound.waiting(tag) else {
            return;
        };
        match result {
            Ok(call) => {
                self.counters.calls_taken += 1;
                self.calls.entry(name).or_default().taken += 1;
                self.tell(Input::Peer { tag, from, call });
            }
            Err(problem) => {
                self.counters.calls_refused += 1;
                self.reply(tag, PeerReply::Refused(problem));
                if problem == Problem::Malformed {
                    self.counters.malformed += 1;
                }
                if wrong_for_all(problem) {
                    self.fault(from, Severity::Major, "call that fails its check");
                }
            }
        }
    }

    pub(crate) fn reply_checked(&mut self, tag: CallTag, result: Result<CheckedReply, BadReply>) {
        let Some((from, call)) = self.outbound.settle(tag) else {
            return;
        };
        let reply = match result {
            Ok(reply) => Ok(reply),
            Err(BadReply::Empty) => Err(CallFailure::Unreachable),
            Err(BadReply::Refused(problem)) => Err(CallFailure::Refused(problem)),
            Err(BadReply::Malformed) => {
                self.counters.malformed += 1;
                self.fault(from, Severity::Major, "reply that does not decode");
                Err(CallFailure::Refused(Problem::Malformed))
            }
            Err(BadReply::Failed(problem)) => {
                if wrong_for_all(problem) {
                    self.fault(from, Severity::Major, "reply that fails its check");
                }
                Err(CallFailure::Refused(problem))
            }
        };
        self.count(&call, reply.as_ref().err().copied());
        self.tell(Input::Reply { tag, from, reply });
    }

    pub(crate) fn called(
        &mut self,
        peer: &PeerId,
        request: InboundRequestId,
        frame: Frame,
        channel: ResponseChannel<Frame>,
    ) {
        let node = node_id(peer);
        let admitted = self.swarm.behaviour().gate.admit(node.as_ref()).is_ok();
        let Some(from) = node.filter(|_| admitted && self.closing.is_none()) else {
            return self.refuse(channel, Problem::NotReady);
        };
        let now = Instant::now();
        let throttled = self.faults.throttled(&from, now);
        let bytes = match &frame {
            Frame::Received(frame) => frame.bytes.len(),
            _ => MAX_MESSAGE,
        };
        match self.rates.take(from, bytes, throttled, now) {
            Pace::Within => {}
            pace @ (Pace::Over | Pace::Flood) => {
                self.counters.calls_over_rate += 1;
                self.refuse(channel, Problem::Busy);
                if pace == Pace::Flood {
                    self.fault(from, Severity::Major, "calls in a flood");
                }
                return;
            }
        }
        let (open, quota) = (self.inbound.of(&from), self.limits.calls_in_per_peer);
        let own = if throttled { quota / 8 } else { quota };
        if self.inbound.len() >= self.limits.calls_in || open >= own.max(1) {
            self.counters.calls_shed += 1;
            self.refuse(channel, Problem::Busy);
            // A throttled peer does not know that it is: no fault may follow from that.
            if open >= quota {
                self.fault(
                    from,
                    Severity::Minor,
                    "more calls at once than a peer may have open",
                );
            }
            return;
        }
        match frame {
            Frame::Received(frame) => {
                let tag = self
                    .inbound
                    .open(from, request, channel, now + self.tuning.reply);
                self.workers.check_call(tag, from, frame);
            }
            Frame::TooLong => {
                self.counters.oversized += 1;
                self.counters.calls_refused += 1;
                self.refuse(channel, Problem::TooLarge);
                self.fault(from, Severity::Major, "call that is too long");
            }
            // The codec reads neither.
            Frame::Call(_) | Frame::Reply(_) => self.refuse(channel, Problem::Malformed),
        }
    }

    pub(crate) fn refuse(&mut self, channel: ResponseChannel<Frame>, problem: Problem) {
        let frame = Frame::Reply(Box::new(PeerReply::Refused(problem)));
        // A channel that is closed has nobody at its end.
        let _ = self
            .swarm
            .behaviour_mut()
            .calls
            .send_response(channel, frame);
    }

    pub(crate) fn replied(&mut self, request: &OutboundRequestId, frame: Frame) {
        let Some((tag, to, call)) = self.returned(request) else {
            return;
        };
        match frame {
            Frame::Received(frame) => self.workers.check_reply(tag, to, call, frame),
            Frame::TooLong => {
                self.counters.oversized += 1;
                self.fault(to, Severity::Major, "reply that is too long");
                self.settle(tag, CallFailure::Refused(Problem::TooLarge));
            }
            // The codec reads neither.
            Frame::Call(_) | Frame::Reply(_) => self.settle(tag, CallFailure::Unreachable),
        }
    }

    pub(crate) fn call_failed(&mut self, request: &OutboundRequestId, error: &OutboundFailure) {
        let Some((tag, _, _)) = self.returned(request) else {
            return;
        };
        let failure = match error {
            OutboundFailure::Timeout => CallFailure::Timeout,
            // The codec's word for a call that is too long to send.
            OutboundFailure::Io(e) if e.kind() == ErrorKind::InvalidInput => {
                CallFailure::Refused(Problem::TooLarge)
            }
            _ => CallFailure::Unreachable,
        };
        self.settle(tag, failure);
    }

    /// A request came to its end: the next in line goes out.
    pub(crate) fn returned(&mut self, request: &OutboundRequestId) -> Option<Open> {
        let (to, open) = self.outbound.returned(request)?;
        if self.peers.contains_key(&to) {
            self.pump(to);
        } else if self.outbound.waits(&to) {
            self.connect(to);
        }
        open.map(|(tag, call)| (tag, to, call))
    }
}
