//! What happens in the world: events as they fall due, and the effects of the cores carried out.

use lapwing_core::{CallFailure, CallTag, Effect, Input, PeerTag, Topic};
use lapwing_protocol::codec::{from_bytes, to_bytes};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::item;
use lapwing_protocol::peer::{
    Gossip, MAX_GOSSIP, MAX_MESSAGE, PeerCall, PeerReply, check_peer_call, check_reply,
};
use lapwing_store::Writer;

use super::net::{between, chance};
use super::node::{Inbound, Out};
use super::world::{CAUGHT, Event, World};

impl World {
    pub(super) fn alive(&self, node: usize, life: u64) -> bool {
        self.nodes[node].live.is_some() && self.nodes[node].life == life
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } if self.alive(node, life) => {
                self.input(node, Input::Tick);
                self.at(1_000, Event::Tick { node, life });
            }
            Event::Disk { node, life } if self.alive(node, life) => self.disk(node),
            Event::Call {
                from,
                life,
                to,
                tag,
                bytes,
            } => self.call_arrives(from, life, to, tag, &bytes),
            Event::Reply {
                from,
                to,
                life,
                tag,
                bytes,
            } if self.alive(to, life) => {
                self.reply_arrives(from, to, tag, &bytes);
            }
            Event::Lost {
                node,
                life,
                tag,
                why,
            } if self.alive(node, life) => {
                let out = self.nodes[node]
                    .live
                    .as_mut()
                    .and_then(|l| l.out.remove(&tag));
                if let Some(out) = out {
                    let from = self.nodes[out.to].id;
                    self.input(
                        node,
                        Input::Reply {
                            tag,
                            from,
                            reply: Err(why),
                        },
                    );
                }
            }
            Event::Gossip { from, to, bytes } if self.up(to) && self.net.linked(from, to) => {
                self.gossip_arrives(from, to, &bytes);
            }
            Event::CheckTrust {
                node,
                life,
                from,
                mut records,
            } if self.alive(node, life) => {
                let now = self.time_at(node).time();
                if let Some(first) = records.pop_front() {
                    let first = self.view(node).check(&first, now);
                    self.input(
                        node,
                        Input::Trust {
                            from,
                            first,
                            rest: records.into(),
                        },
                    );
                }
            }
            Event::Link { a, b } if self.up(a) && self.up(b) && self.net.linked(a, b) => {
                self.tell_link(a, b, true);
                self.tell_link(b, a, true);
            }
            _ => {}
        }
    }

    pub(super) fn input(&mut self, node: usize, input: Input) {
        let now = self.time_at(node);
        let Some(live) = self.nodes[node].live.as_mut() else {
            return;
        };
        let effects = live.core.handle(input, now, &mut self.rng);
        self.carry_out(node, effects);
    }

    pub(super) fn apply(&mut self, node: usize, batch: &lapwing_core::store::Batch) {
        self.nodes[node]
            .store
            .apply(batch)
            .expect("memory takes every batch");
    }

    fn disk(&mut self, node: usize) {
        let Some((id, batch)) = self.nodes[node]
            .live
            .as_mut()
            .and_then(|l| l.pending.pop_front())
        else {
            return;
        };
        self.apply(node, &batch);
        self.input(node, Input::Durable(id));
    }

    fn call_arrives(&mut self, from: usize, life: u64, to: usize, tag: CallTag, bytes: &[u8]) {
        if !self.up(to) || !self.net.linked(from, to) {
            return;
        }
        let call: PeerCall = from_bytes(bytes, MAX_MESSAGE).expect("a core's call decodes");
        let (caller, now) = (self.nodes[from].id, self.time_at(to).time());
        let checked = check_peer_call(call, &caller, &self.view(to), now);
        match checked {
            Err(problem) => self.send_reply(to, from, life, tag, &PeerReply::Refused(problem)),
            Ok(call) => {
                let Some(live) = self.nodes[to].live.as_mut() else {
                    return;
                };
                live.next_peer_tag += 1;
                let peer = PeerTag(live.next_peer_tag);
                live.inbound.insert(peer, Inbound { from, life, tag });
                self.input(
                    to,
                    Input::Peer {
                        tag: peer,
                        from: caller,
                        call,
                    },
                );
            }
        }
    }

    fn send_reply(&mut self, from: usize, to: usize, life: u64, tag: CallTag, reply: &PeerReply) {
        let bytes = to_bytes(reply);
        assert!(bytes.len() <= MAX_MESSAGE, "a reply fits one message");
        let after = between(&mut self.rng, self.net.latency);
        if !chance(&mut self.rng, self.net.loss) {
            self.at(
                after,
                Event::Reply {
                    from,
                    to,
                    life,
                    tag,
                    bytes,
                },
            );
        }
    }

    fn reply_arrives(&mut self, from: usize, to: usize, tag: CallTag, bytes: &[u8]) {
        if !self.net.linked(from, to) {
            return;
        }
        let Some(out) = self.nodes[to]
            .live
            .as_mut()
            .and_then(|l| l.out.remove(&tag))
        else {
            return;
        };
        let reply: PeerReply = from_bytes(bytes, MAX_MESSAGE).expect("a core's reply decodes");
        let (peer, now) = (self.nodes[from].id, self.time_at(to).time());
        let reply = check_reply(&out.call, reply, &peer, &self.view(to), now);
        let reply = reply.map_err(CallFailure::Refused);
        self.input(
            to,
            Input::Reply {
                tag,
                from: peer,
                reply,
            },
        );
    }

    fn gossip_arrives(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let peer = self.nodes[from].id;
        let now = self.time_at(to).time();
        match from_bytes::<Gossip>(bytes, MAX_GOSSIP).expect("a core's gossip decodes") {
            Gossip::Item(bytes) => {
                if let Ok(item) = item::check(&bytes, &self.view(to)) {
                    self.input(to, Input::Gossip { from: peer, item });
                }
            }
            Gossip::Trust(bytes) => {
                let first = self.view(to).check(&bytes, now);
                self.input(
                    to,
                    Input::Trust {
                        from: Some(peer),
                        first,
                        rest: Vec::new(),
                    },
                );
            }
            Gossip::Written(written) => {
                let mailbox = item::check_written(&written).expect("a core tells of good writes");
                self.input(to, Input::Written(mailbox));
            }
            Gossip::TrustHave(id) => self.input(to, Input::TrustHave { from: peer, id }),
        }
    }

    pub(super) fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        let life = self.nodes[node].life;
        for effect in effects {
            match effect {
                Effect::Commit { id, batch } => {
                    let took = between(&mut self.rng, self.net.disk);
                    let now = self.now;
                    let Some(live) = self.nodes[node].live.as_mut() else {
                        return;
                    };
                    live.pending.push_back((id, batch));
                    live.disk_at = live.disk_at.max(now).plus_millis(took);
                    let after = live.disk_at.since(now);
                    self.at(after, Event::Disk { node, life });
                }
                Effect::Answer { tag, result } => {
                    if self.asked.remove(&tag.0).is_some() {
                        self.answers.insert(tag.0, result);
                    }
                }
                Effect::Reply { tag, reply } if tag == CAUGHT => {
                    self.caught.insert(node, reply);
                }
                Effect::Reply { tag, reply } => {
                    let inbound = self.nodes[node]
                        .live
                        .as_mut()
                        .and_then(|l| l.inbound.remove(&tag));
                    let inbound = inbound.expect("a call is replied to once");
                    self.send_reply(node, inbound.from, inbound.life, inbound.tag, &reply);
                }
                Effect::Call {
                    tag,
                    to,
                    call,
                    timeout_ms,
                } => self.make_call(node, tag, &to, call, timeout_ms),
                Effect::Publish { topic, message } => self.publish(node, topic, &message),
                Effect::CheckTrust { from, records } => {
                    let after = between(&mut self.rng, (1, 20));
                    self.at(
                        after,
                        Event::CheckTrust {
                            node,
                            life,
                            from,
                            records: records.into(),
                        },
                    );
                }
                Effect::View(view) => {
                    if let Some(live) = self.nodes[node].live.as_mut() {
                        live.view = view;
                    }
                }
                Effect::Changed(mailbox) => {
                    self.woken.insert((node, mailbox));
                }
                Effect::Fault {
                    peer,
                    severity,
                    what,
                } => self.faults.push((node, peer, severity, what)),
                Effect::Alarm(alarm) => self.alarms.push((node, alarm)),
            }
        }
    }

    fn make_call(
        &mut self,
        node: usize,
        tag: CallTag,
        to: &NodeId,
        call: PeerCall,
        timeout_ms: u32,
    ) {
        self.calls += 1;
        let life = self.nodes[node].life;
        let to = self
            .nodes
            .iter()
            .position(|n| n.id == *to)
            .expect("a node of the world");
        assert_ne!(node, to, "no core calls itself");
        let bytes = to_bytes(&call);
        assert!(bytes.len() <= MAX_MESSAGE, "a call fits one message");
        if let Some(live) = self.nodes[node].live.as_mut() {
            let before = live.out.insert(tag, Out { to, call });
            assert!(before.is_none(), "a tag names one call");
        }
        let after = between(&mut self.rng, self.net.latency);
        if !self.up(to) || !self.net.linked(node, to) {
            self.at(
                after,
                Event::Lost {
                    node,
                    life,
                    tag,
                    why: CallFailure::Unreachable,
                },
            );
            return;
        }
        self.at(
            u64::from(timeout_ms),
            Event::Lost {
                node,
                life,
                tag,
                why: CallFailure::Timeout,
            },
        );
        if !chance(&mut self.rng, self.net.loss) {
            self.at(
                after,
                Event::Call {
                    from: node,
                    life,
                    to,
                    tag,
                    bytes,
                },
            );
        }
    }

    fn publish(&mut self, node: usize, _topic: Topic, message: &Gossip) {
        let bytes = to_bytes(message);
        assert!(bytes.len() <= MAX_GOSSIP, "gossip fits one message");
        for to in (0..self.len()).filter(|n| *n != node) {
            let after = between(&mut self.rng, self.net.latency);
            if !chance(&mut self.rng, self.net.gossip_loss) {
                self.at(
                    after,
                    Event::Gossip {
                        from: node,
                        to,
                        bytes: bytes.clone(),
                    },
                );
            }
        }
    }
}
