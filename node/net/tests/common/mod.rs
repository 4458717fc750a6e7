//! Nodes on 127.0.0.1 with the keys of a made federation, and what they heard.

#![allow(dead_code)] // Each test binary uses a part.

pub(crate) mod proxy;
pub(crate) mod raw;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lapwing_core::{CallFailure, CallTag, Input, PeerTag, Topic};
use lapwing_net::{
    Clock, Command, Handle, Multiaddr, NetConfig, NetStatus, Transport, Tuning, start,
};
use lapwing_protocol::cose::sign;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::item::{ItemBytes, ItemKind, item_id};
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::mailbox::{Life, Mark, MarkState, MarkValue};
use lapwing_protocol::peer::{CheckedPeerCall, CheckedReply, Gossip, PeerCall, PeerReply};
use lapwing_protocol::testing::{Fixture, START, TestNode, list};
use lapwing_protocol::time::{Hour, Time};
use lapwing_protocol::trust::TrustView;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

/// The shards of the made federation.
pub(crate) const SHARDS: u16 = 16;

/// No test waits longer for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Times that make a test quick.
pub(crate) fn quick() -> Tuning {
    Tuning {
        heartbeat: Duration::from_millis(200),
        tick: Duration::from_millis(50),
        redial: Duration::from_secs(1),
        ping: Duration::from_millis(500),
        ping_timeout: Duration::from_secs(2),
        heal: Duration::from_secs(2),
        stale: Duration::from_millis(500),
        frame: Duration::from_secs(2),
        pause: Duration::from_millis(300),
        ban: Duration::from_secs(3),
        drain: Duration::from_secs(2),
        ..Tuning::default()
    }
}

/// The settings of a node of the fixture that listens on a free port.
pub(crate) fn config(fixture: &Fixture, node: &TestNode) -> NetConfig {
    let mut config = NetConfig::new(fixture.federation.id(), node.peer.seed());
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    config.tuning = quick();
    config
}

/// An address to listen on, at a free port.
pub(crate) fn listen_over(transport: Transport) -> Multiaddr {
    let address = match transport {
        Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
        Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
    };
    address.parse().unwrap()
}

/// The address of a port over a transport.
pub(crate) fn at_port(transport: Transport, port: u16) -> Multiaddr {
    let address = match transport {
        Transport::Tcp => format!("/ip4/127.0.0.1/tcp/{port}"),
        Transport::Quic => format!("/ip4/127.0.0.1/udp/{port}/quic-v1"),
    };
    address.parse().unwrap()
}

/// The settings of a node that meets a raw peer, which does not subscribe to what nodes do.
pub(crate) fn tolerant(fixture: &Fixture, node: &TestNode) -> NetConfig {
    let mut config = config(fixture, node);
    config.tuning.heal = Duration::from_secs(600);
    config
}

/// The seed of a key that is in no roster.
pub(crate) fn strange_seed() -> Zeroizing<[u8; 32]> {
    Zeroizing::new([99; 32])
}

/// A running node with everything it told its core.
pub(crate) struct Node {
    pub(crate) handle: Handle,
    inputs: mpsc::UnboundedReceiver<Input>,
    kept: Vec<Input>,
}

impl Node {
    pub(crate) async fn start(config: NetConfig, view: &Arc<TrustView>) -> Self {
        let (out, inputs) = mpsc::unbounded_channel();
        let tell = Arc::new(move |input| drop(out.send(input)));
        let now: Clock = Arc::new(|| START);
        let handle = start(config, Arc::clone(view), now, tell).await.unwrap();
        Self {
            handle,
            inputs,
            kept: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.handle.node_id()
    }

    /// An address with `/p2p/` that others can be given.
    pub(crate) fn address(&self) -> Multiaddr {
        let address = self.handle.listening().first().cloned().unwrap();
        with_peer(address, &self.id())
    }

    /// An address of one transport with `/p2p/`.
    pub(crate) fn address_over(&self, transport: Transport) -> Multiaddr {
        let listening = self.handle.listening();
        let mut of = listening
            .iter()
            .filter(|a| a.to_string().contains("quic-v1") == (transport == Transport::Quic));
        with_peer(of.next().cloned().unwrap(), &self.id())
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        let address = self.handle.listening().remove(0);
        let port = address.iter().find_map(|p| match p {
            libp2p::multiaddr::Protocol::Tcp(port) | libp2p::multiaddr::Protocol::Udp(port) => {
                Some(port)
            }
            _ => None,
        });
        port.unwrap()
    }

    /// Waits for an input that `pick` takes; others are kept for later.
    pub(crate) async fn expect<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&Input) -> Option<T>,
    ) -> T {
        if let Some(found) = self
            .kept
            .iter()
            .enumerate()
            .find_map(|(i, k)| pick(k).map(|t| (i, t)))
        {
            self.kept.remove(found.0);
            return found.1;
        }
        let wait = async {
            loop {
                let input = self.inputs.recv().await.expect("the network side ended");
                if let Some(found) = pick(&input) {
                    return found;
                }
                self.kept.push(input);
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}: {:?}", self.handle.status()),
        }
    }

    /// How many inputs `pick` takes within `time`.
    pub(crate) async fn count(&mut self, time: Duration, pick: impl Fn(&Input) -> bool) -> usize {
        let until = Instant::now() + time;
        while let Ok(Some(input)) = tokio::time::timeout_at(until, self.inputs.recv()).await {
            self.kept.push(input);
        }
        self.kept.iter().filter(|i| pick(i)).count()
    }

    pub(crate) async fn up(&mut self, node: NodeId) {
        self.expect("a peer to connect", |i| {
            matches!(i, Input::PeerUp(n) if *n == node).then_some(())
        })
        .await;
    }

    pub(crate) async fn down(&mut self, node: NodeId) {
        self.expect("a peer to disconnect", |i| {
            matches!(i, Input::PeerDown(n) if *n == node).then_some(())
        })
        .await;
    }

    pub(crate) fn call(&self, tag: u64, to: NodeId, call: PeerCall, timeout_ms: u32) {
        let tag = CallTag(tag);
        self.handle.send(Command::Call {
            tag,
            to,
            call,
            timeout_ms,
        });
    }

    pub(crate) async fn called(&mut self) -> (PeerTag, NodeId, CheckedPeerCall) {
        self.expect("a call", |i| match i {
            Input::Peer { tag, from, call } => Some((*tag, *from, call.clone())),
            _ => None,
        })
        .await
    }

    pub(crate) async fn replied(&mut self, tag: u64) -> Result<CheckedReply, CallFailure> {
        self.expect("a reply", |i| match i {
            Input::Reply { tag: t, reply, .. } if t.0 == tag => Some(reply.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn status(&self, what: &str, want: impl Fn(&NetStatus) -> bool) -> NetStatus {
        let wait = async {
            loop {
                let status = self.handle.status();
                if want(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for {what}: {:?}", self.handle.status()))
    }

    pub(crate) async fn stop(self) {
        self.handle.send(Command::Shutdown);
        timeout(PATIENCE, self.handle.closed())
            .await
            .expect("the network side did not end");
    }
}

pub(crate) fn with_peer(address: Multiaddr, node: &NodeId) -> Multiaddr {
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(node.as_bytes()).unwrap();
    let peer = libp2p::identity::PublicKey::from(key).to_peer_id();
    address.with(libp2p::multiaddr::Protocol::P2p(peer))
}

/// A federation of so many running nodes that know one another through the first.
pub(crate) async fn federation(seed: u64, nodes: usize) -> (Fixture, Arc<TrustView>, Vec<Node>) {
    let fixture = Fixture::new(seed, nodes);
    let view = Arc::new(fixture.view());
    let mut running: Vec<Node> = Vec::new();
    for node in fixture.nodes() {
        let mut config = config(&fixture, node);
        config.bootstrap = running.first().map(Node::address).into_iter().collect();
        running.push(Node::start(config, &view).await);
    }
    (fixture, view, running)
}

/// Waits until all are connected to all and know each other's gossip subscriptions.
pub(crate) async fn all_connected(nodes: &mut [Node]) {
    let ids: Vec<NodeId> = nodes.iter().map(Node::id).collect();
    for node in nodes.iter_mut() {
        let own = node.id();
        for id in ids.iter().filter(|id| **id != own) {
            node.up(*id).await;
        }
    }
}

/// A mark's state as an item with this stamp; every `number` makes another.
pub(crate) fn mark_item(number: u8, stamp: Hour, now: Time) -> (ItemBytes, [u8; 32]) {
    let key = SigningKey::from_seed(&[number; 32]);
    let mark = Mark {
        key: key.verifying_key(),
        day: now.day(),
        life: Life::Days14,
        nonce: [number; 16],
    };
    let placement = *mark.id().as_bytes();
    let state = MarkState {
        mark,
        version: 1,
        value: MarkValue::Open,
        by: lapwing_protocol::mailbox::NO_BOOKING,
    };
    let body = lapwing_protocol::bounded::Bytes::try_from(sign(&state, &key)).unwrap();
    (
        ItemBytes {
            stamp,
            kind: ItemKind::Mark,
            body,
        },
        placement,
    )
}

/// The shard of an id, of `shards`.
pub(crate) fn shard(id: &[u8; 32], shards: u16) -> u16 {
    u16::from(id[0]) / (256 / shards)
}

/// A call that carries one item.
pub(crate) fn push(item: ItemBytes) -> PeerCall {
    PeerCall::Push(list(vec![item]))
}

/// Publishes an item that `number` makes another, on its topic.
pub(crate) fn publish(node: &Node, number: u8) -> ItemBytes {
    let (item, placement) = mark_item(number, START.hour(), START);
    let topic = Topic::Shard(shard(&placement, SHARDS));
    let message = Gossip::Item(item.clone());
    node.handle.send(Command::Publish { topic, message });
    item
}

/// Publishes until the other hears: meshes take a heartbeat or two to form.
pub(crate) async fn reaches(from: &Node, to: &mut Node, first: u8) {
    for number in first..first + 40 {
        let item = publish(from, number);
        let id = item_id(item.kind, &item.body);
        let heard = |i: &Input| matches!(i, Input::Gossip { item, .. } if item.id() == id);
        if to.count(Duration::from_millis(500), heard).await > 0 {
            return;
        }
    }
    panic!("gossip never arrived: {:?}", to.handle.status());
}

/// Asks `to` and lets it answer.
pub(crate) async fn asks(from: &mut Node, to: &mut Node, tag: u64) {
    from.call(tag, to.id(), PeerCall::TrustIds, 5000);
    let (open, caller, _) = to.called().await;
    assert_eq!(caller, from.id());
    let reply = PeerReply::TrustIds(list(Vec::new()));
    to.handle.send(Command::Reply { tag: open, reply });
    from.replied(tag).await.unwrap();
}

/// No test runs longer.
pub(crate) async fn bounded(test: impl Future<Output = ()>) {
    timeout(Duration::from_secs(90), test)
        .await
        .expect("the test took too long");
}
