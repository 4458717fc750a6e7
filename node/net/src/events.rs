//! What the swarm reports, taken apart.

use lapwing_core::Severity;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::peer::MAX_GOSSIP;
use libp2p::gossipsub::{self, Message, MessageAcceptance, MessageId};
use libp2p::kad::{self, GetClosestPeersError, QueryResult};
use libp2p::swarm::{ConnectionId, DialError, ListenError, SwarmEvent};
use libp2p::{PeerId, identify, mdns, ping};

use crate::admission::Refused;
use crate::behaviour::{BehaviourEvent, version};
use crate::gossip::Verdict;
use crate::peer::{dialable, node_id};
use crate::swarm::Net;

/// Most listen addresses taken from one peer's identification.
const MAX_TOLD: usize = 16;

impl Net {
    pub(crate) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                ..
            } => {
                self.disconnected(peer_id, connection_id);
            }
            SwarmEvent::IncomingConnectionError { error, peer_id, .. } => {
                self.refused_in(&error, peer_id)
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => {
                self.refused_out(&peer, error);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.listening.insert(address);
                self.changed = true;
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening.remove(&address);
                self.changed = true;
            }
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                for address in addresses {
                    self.listening.remove(&address);
                }
                self.changed = true;
                if let Err(error) = reason {
                    tracing::error!(%error, "a listener closed; others cannot connect there");
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener failed once")
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                connection_id,
                info,
            }) => {
                self.identified(&peer_id, &connection_id, &info);
            }
            // A peer without the protocol is judged by its other traffic.
            BehaviourEvent::Ping(ping::Event {
                connection,
                result: Err(ping::Failure::Timeout | ping::Failure::Other { .. }),
                ..
            }) => {
                self.swarm.close_connection(connection);
            }
            BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                id, result, step, ..
            }) => {
                let peers = match result {
                    QueryResult::GetClosestPeers(Ok(found)) => found.peers,
                    QueryResult::GetClosestPeers(Err(GetClosestPeersError::Timeout {
                        peers,
                        ..
                    })) => peers,
                    _ => return,
                };
                self.found(&id, &peers, step.last);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.found_locally(&found),
            BehaviourEvent::Mdns(mdns::Event::Expired(gone)) => self.gone_locally(&gone),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Calls(event) => self.on_calls(event),
            _ => {}
        }
    }

    fn refused_in(&mut self, error: &ListenError, peer: Option<PeerId>) {
        let ListenError::Denied { cause } = error else {
            return;
        };
        match cause.downcast_ref::<Refused>() {
            Some(Refused::Closing) => {}
            Some(why @ (Refused::Stranger | Refused::Banned)) => {
                self.counters.strangers += 1;
                let node = peer.as_ref().and_then(node_id);
                tracing::debug!(peer = ?node, %why, "connection refused");
            }
            None => {
                self.counters.connections_shed += 1;
                tracing::debug!("connection refused: too many");
            }
        }
    }

    fn refused_out(&mut self, peer: &PeerId, error: DialError) {
        let Some(node) = node_id(peer) else {
            return;
        };
        match error {
            // A dial or connection is there already.
            DialError::DialPeerConditionFalse(_) => return,
            DialError::WrongPeerId { address, .. } => {
                if let Some(address) = dialable(&address, &node, true) {
                    self.book.forget(&node, &address);
                    self.swarm
                        .behaviour_mut()
                        .kad
                        .remove_address(peer, &address);
                }
            }
            _ => {}
        }
        self.dial_failed(node);
    }

    fn identified(&mut self, peer: &PeerId, connection: &ConnectionId, info: &identify::Info) {
        let Some(node) = node_id(peer) else {
            return;
        };
        if info.protocol_version != version(&self.view.borrow().federation_id()) {
            // Its addresses are of no use; what it says is judged call by call.
            tracing::warn!(peer = %node, "peer speaks for another federation or version");
            return;
        }
        let same_machine = self
            .peers
            .get(&node)
            .is_some_and(|p| p.same_machine(connection));
        for address in info.listen_addrs.iter().take(MAX_TOLD) {
            if let Some(address) = dialable(address, &node, same_machine) {
                self.learn(node, address);
            }
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                self.gossiped(propagation_source, message_id, message);
            }
            gossipsub::Event::SlowPeer {
                failed_messages, ..
            } => {
                self.counters.gossip_not_sent +=
                    (failed_messages.priority + failed_messages.non_priority) as u64;
            }
            _ => {}
        }
    }

    fn gossiped(&mut self, source: PeerId, id: MessageId, message: Message) {
        self.new_messages += 1;
        let (Some(from), Some(topic)) = (node_id(&source), self.topics.topic(&message.topic))
        else {
            self.report(&id, &source, MessageAcceptance::Ignore);
            return;
        };
        if message.data.len() > MAX_GOSSIP {
            self.counters.oversized += 1;
            self.judged_bad(&id, &source, from, "gossip that is too long");
            return;
        }
        let (all, each) = (
            self.limits.gossip_pending,
            self.limits.gossip_pending_per_peer,
        );
        if !self.pending.enter(from, all, each) {
            self.counters.gossip_shed += 1;
            self.report(&id, &source, MessageAcceptance::Ignore);
            return;
        }
        self.workers.judge(topic, id, source, from, message.data);
    }

    /// A worker's judgement on a message.
    pub(crate) fn judged(
        &mut self,
        id: &MessageId,
        source: &PeerId,
        from: NodeId,
        verdict: Verdict,
    ) {
        self.pending.leave(&from);
        match verdict {
            Verdict::Accept(heard) => {
                self.counters.gossip_accepted += 1;
                if !self.report(id, source, MessageAcceptance::Accept) {
                    self.counters.gossip_late += 1;
                }
                self.hear(from, heard);
            }
            Verdict::Ignore(heard) => {
                self.counters.gossip_ignored += 1;
                self.report(id, source, MessageAcceptance::Ignore);
                if let Some(heard) = heard {
                    self.hear(from, heard);
                }
            }
            Verdict::Reject(what) => self.judged_bad(id, source, from, what),
        }
    }

    fn judged_bad(&mut self, id: &MessageId, source: &PeerId, from: NodeId, what: &'static str) {
        self.counters.gossip_rejected += 1;
        self.report(id, source, MessageAcceptance::Reject);
        self.fault(from, Severity::Major, what);
    }

    /// Whether the message was still there to be passed on or dropped.
    fn report(&mut self, id: &MessageId, source: &PeerId, acceptance: MessageAcceptance) -> bool {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(id, source, acceptance)
    }
}
