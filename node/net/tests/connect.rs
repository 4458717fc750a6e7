//! Who finds whom, who is refused, and what happens at start and end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{
    Node, all_connected, asks, at_port, bounded, config, federation, listen_over, reaches,
    strange_seed,
};
use lapwing_core::{CallFailure, Input};
use lapwing_net::{Clock, Command, Inputs, NetConfig, NetError, Transport, start};
use lapwing_protocol::peer::{PeerCall, PeerReply};
use lapwing_protocol::testing::{Fixture, START};
use lapwing_protocol::trust::TrustView;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_find_each_other_through_one() {
    bounded(async {
        let (_fixture, _view, mut nodes) = federation(1, 5).await;
        all_connected(&mut nodes).await;
        for node in &nodes {
            let status = node.status("four peers", |s| s.peers.len() == 4).await;
            assert!(status.peers.iter().all(|p| p.address.is_some()));
            assert_eq!(status.counters.strangers, 0);
        }
        for node in nodes {
            node.stop().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_share_quic_alone_join_and_talk() {
    bounded(async {
        let fixture = Fixture::new(10, 2);
        let view = Arc::new(fixture.view());
        let mut nodes: Vec<Node> = Vec::new();
        for node in fixture.nodes() {
            let mut settings = config(&fixture, node);
            settings.listen = vec![listen_over(Transport::Quic)];
            settings.bootstrap = nodes.first().map(Node::address).into_iter().collect();
            nodes.push(Node::start(settings, &view).await);
        }
        all_connected(&mut nodes).await;
        let [a, b] = nodes.get_disjoint_mut([0, 1]).unwrap();
        for tag in 0..50 {
            asks(a, b, tag).await;
            asks(b, a, tag).await;
        }
        reaches(a, b, 1).await;
        reaches(b, a, 100).await;
        let status = a
            .status("counts", |s| s.quic.sent > 0 && !s.calls.is_empty())
            .await;
        let peer = &status.peers[0];
        assert_eq!((peer.transport, peer.dialled), (Transport::Quic, false));
        assert!(peer.score >= 0.0 && !peer.throttled);
        assert!(status.quic.received > 0);
        assert_eq!((status.tcp.sent, status.tcp.received), (0, 0));
        let calls = a
            .status("fifty calls", |s| s.calls["trust_ids"].taken == 50)
            .await
            .calls["trust_ids"];
        assert_eq!((calls.made, calls.answered), (50, 50));
        for node in nodes {
            node.stop().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_either_transport_meet_through_one_of_both() {
    bounded(async {
        let fixture = Fixture::new(11, 3);
        let view = Arc::new(fixture.view());
        let (tcp, quic) = (Transport::Tcp, Transport::Quic);
        let mut nodes: Vec<Node> = Vec::new();
        for (node, listen) in fixture.nodes().zip([&[tcp, quic][..], &[tcp], &[quic]]) {
            let mut settings = config(&fixture, node);
            settings.listen = listen.iter().map(|t| listen_over(*t)).collect();
            let through = |first: &Node| first.address_over(*listen.first().unwrap());
            settings.bootstrap = nodes.first().map(through).into_iter().collect();
            nodes.push(Node::start(settings, &view).await);
        }
        all_connected(&mut nodes).await;
        for (i, j) in [(0, 1), (0, 2), (1, 2), (2, 1)] {
            let [a, b] = nodes.get_disjoint_mut([i, j]).unwrap();
            asks(a, b, 1 + (i * 10 + j) as u64).await;
        }
        let [a, b] = nodes.get_disjoint_mut([1, 2]).unwrap();
        reaches(a, b, 1).await;
        let mixed = nodes[0].handle.status();
        assert!(mixed.tcp.received > 0 && mixed.quic.received > 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_lets_due_replies_leave_over_quic() {
    bounded(async {
        let fixture = Fixture::new(12, 2);
        let view = Arc::new(fixture.view());
        let mut nodes: Vec<Node> = Vec::new();
        for node in fixture.nodes() {
            let mut settings = config(&fixture, node);
            settings.listen = vec![listen_over(Transport::Quic)];
            settings.bootstrap = nodes.first().map(Node::address).into_iter().collect();
            nodes.push(Node::start(settings, &view).await);
        }
        all_connected(&mut nodes).await;
        // The one that ends is the one whose listener has the connection.
        let to = nodes[0].id();
        nodes[1].call(1, to, PeerCall::TrustIds, 5000);
        let (tag, ..) = nodes[0].called().await;
        nodes[0].handle.send(Command::Shutdown);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let reply = PeerReply::TrustIds(lapwing_protocol::testing::list(Vec::new()));
        nodes[0].handle.send(Command::Reply { tag, reply });
        nodes[1].replied(1).await.unwrap();
        nodes[0].handle.closed().await;
        nodes[1].down(to).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused() {
    bounded(async {
        let (fixture, _view, mut nodes) = federation(2, 2).await;
        all_connected(&mut nodes).await;
        // It has the federation's file, and everything it would need but a place in the roster.
        let mut settings = NetConfig::new(fixture.federation.id(), strange_seed());
        settings.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        settings.bootstrap = vec![nodes[0].address()];
        settings.tuning = common::quick();
        let empty = Arc::new(TrustView::new(fixture.federation.clone()).unwrap());
        let mut stranger = Node::start(settings, &empty).await;
        nodes[0]
            .status("a refusal", |s| s.counters.strangers > 0)
            .await;
        stranger.call(1, nodes[0].id(), PeerCall::TrustIds, 3000);
        let reply = stranger.replied(1).await;
        assert!(
            matches!(reply, Err(CallFailure::Unreachable | CallFailure::Timeout)),
            "{reply:?}"
        );
        let id = stranger.id();
        let seen = |i: &Input| match i {
            Input::PeerUp(node) => *node == id,
            Input::Peer { from, .. } => *from == id,
            _ => false,
        };
        assert_eq!(nodes[0].count(Duration::from_millis(200), seen).await, 0);
        assert_eq!(nodes[0].handle.status().peers.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_roster_joins_and_then_follows_it() {
    bounded(async {
        let (fixture, view, mut nodes) = federation(3, 3).await;
        all_connected(&mut nodes).await;
        let last = nodes.pop().unwrap();
        let gone = last.id();
        last.stop().await;
        nodes[0].down(gone).await;

        let empty = Arc::new(TrustView::new(fixture.federation.clone()).unwrap());
        let mut settings = config(&fixture, fixture.node(&gone));
        settings.bootstrap = vec![nodes[1].address()];
        let mut joining = Node::start(settings, &empty).await;
        joining.up(nodes[1].id()).await;
        joining.call(1, nodes[1].id(), PeerCall::TrustIds, 5000);
        let (tag, from, _) = nodes[1].called().await;
        assert_eq!(from, gone);
        let ids = view.records().into_iter().map(|(id, _)| id).collect();
        let reply = PeerReply::TrustIds(lapwing_protocol::testing::list(ids));
        nodes[1].handle.send(Command::Reply { tag, reply });
        joining.replied(1).await.unwrap();
        joining.handle.send(Command::View(Arc::clone(&view)));
        joining.up(nodes[0].id()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_the_roster_is_disconnected() {
    bounded(async {
        let (mut fixture, view, mut nodes) = federation(4, 3).await;
        all_connected(&mut nodes).await;
        let out = nodes[2].id();
        fixture
            .operators
            .retain(|o| o.nodes.iter().all(|n| n.id != out));
        let roster = fixture.sign_roster();
        let mut next = (*view).clone();
        next.learn(&roster, fixture.now).unwrap();
        let next = Arc::new(next);
        for node in &nodes[..2] {
            node.handle.send(Command::View(Arc::clone(&next)));
        }
        nodes[0].down(out).await;
        nodes[1].down(out).await;
        nodes[0]
            .status("the other to stay", |s| s.peers.len() == 1)
            .await;
        nodes[0].call(1, out, PeerCall::TrustIds, 1000);
        assert!(matches!(
            nodes[0].replied(1).await,
            Err(CallFailure::Unreachable)
        ));
        nodes[0]
            .status("refusals", |s| s.counters.strangers > 0)
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_finds_a_node_that_is_not_connected() {
    bounded(async {
        let fixture = Fixture::new(5, 5);
        let view = Arc::new(fixture.view());
        let mut nodes: Vec<Node> = Vec::new();
        for node in fixture.nodes() {
            let mut settings = config(&fixture, node);
            // As in a large federation, but for the numbers.
            settings.limits.full_mesh = 1;
            settings.limits.chosen = 1;
            settings.bootstrap = nodes.first().map(Node::address).into_iter().collect();
            nodes.push(Node::start(settings, &view).await);
        }
        for node in &nodes {
            node.status("a connection", |s| !s.peers.is_empty()).await;
        }
        for (i, j) in [(1, 2), (2, 3), (3, 4), (4, 1)] {
            let to = nodes[j].id();
            let mut tries = 0;
            // Right after the start, Kademlia may not yet know everybody.
            loop {
                tries += 1;
                nodes[i].call(tries, to, PeerCall::TrustIds, 5000);
                let Some((tag, ..)) = answered(&mut nodes, i, j, tries).await else {
                    assert!(tries < 10, "never found");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                };
                let reply = PeerReply::TrustIds(lapwing_protocol::testing::list(Vec::new()));
                nodes[j].handle.send(Command::Reply { tag, reply });
                nodes[i].replied(tries).await.unwrap();
                break;
            }
        }
    })
    .await;
}

/// The call as it arrived at `j`, or nothing when `i` was told that it failed.
async fn answered(
    nodes: &mut [Node],
    i: usize,
    j: usize,
    tag: u64,
) -> Option<(lapwing_core::PeerTag, lapwing_protocol::id::NodeId)> {
    let [a, b] = nodes.get_disjoint_mut([i, j]).unwrap();
    tokio::select! {
        (tag, from, _) = b.called() => Some((tag, from)),
        reply = a.replied(tag) => {
            assert!(reply.is_err());
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_lets_due_replies_leave() {
    bounded(async {
        let (_fixture, _view, mut nodes) = federation(6, 2).await;
        all_connected(&mut nodes).await;
        let (from, to) = (nodes[0].id(), nodes[1].id());
        nodes[0].call(1, to, PeerCall::TrustIds, 5000);
        let (tag, ..) = nodes[1].called().await;
        nodes[1].call(7, from, PeerCall::TrustIds, 5000);
        nodes[0].called().await;
        nodes[1].handle.send(Command::Shutdown);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let reply = PeerReply::TrustIds(lapwing_protocol::testing::list(Vec::new()));
        nodes[1].handle.send(Command::Reply { tag, reply });
        nodes[0].replied(1).await.unwrap();
        nodes[1].handle.closed().await;
        assert!(matches!(
            nodes[1].replied(7).await,
            Err(CallFailure::Unreachable)
        ));
        nodes[1].down(from).await;
        nodes[0].down(to).await;
        // After the end a call fails at once.
        nodes[1].call(8, from, PeerCall::TrustIds, 5000);
        assert!(matches!(
            nodes[1].replied(8).await,
            Err(CallFailure::Unreachable)
        ));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_why() {
    bounded(async {
        let fixture = Fixture::new(7, 2);
        let view = Arc::new(fixture.view());
        let mut nodes = fixture.nodes();
        let (first, second) = (nodes.next().unwrap(), nodes.next().unwrap());
        let running = Node::start(config(&fixture, first), &view).await;
        let taken = running.handle.listening().remove(0);

        let attempt = async |change: &dyn Fn(&mut NetConfig)| {
            let mut settings = config(&fixture, second);
            change(&mut settings);
            let clock: Clock = Arc::new(|| START);
            let inputs: Inputs = Arc::new(drop);
            start(settings, Arc::clone(&view), clock, inputs)
                .await
                .err()
                .unwrap()
        };
        let e = attempt(&|c| c.listen = vec![taken.clone()]).await;
        assert!(
            matches!(&e, NetError::AddressInUse { address } if *address == taken),
            "{e}"
        );
        let e = attempt(&|c| c.listen.clear()).await;
        assert!(matches!(e, NetError::NothingToListenOn), "{e}");
        let e = attempt(&|c| c.listen = vec!["/ip4/198.51.100.7/tcp/4001".parse().unwrap()]).await;
        assert!(matches!(e, NetError::AddressNotHere { .. }), "{e}");
        for bad in [
            "/ip4/127.0.0.1/udp/4001",
            "/ip4/127.0.0.1/udp/4001/quic",
            "/dns4/localhost/tcp/4001",
            "/ip4/127.0.0.1/tcp/4001/ws",
        ] {
            let e = attempt(&|c| c.listen = vec![bad.parse().unwrap()]).await;
            assert!(matches!(e, NetError::AddressNotSupported { .. }), "{e}");
            assert!(!e.to_string().contains('\n'));
        }
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let e = attempt(&|c| c.listen = vec![at_port(Transport::Quic, port)]).await;
        assert!(matches!(e, NetError::AddressInUse { .. }), "{e}");
        let e = attempt(&|c| c.bootstrap = vec![taken.clone()]).await;
        assert!(matches!(e, NetError::BootstrapWithoutNode { .. }), "{e}");
        let other = Fixture::new(8, 1).federation.id();
        let e = attempt(&|c| c.federation = other).await;
        assert!(matches!(e, NetError::WrongFederation), "{e}");
    })
    .await;
}

#[test]
fn the_seed_is_not_shown() {
    let fixture = Fixture::new(9, 1);
    let settings = config(&fixture, fixture.nodes().next().unwrap());
    let shown = format!("{settings:?}");
    assert!(shown.contains("seed: \"redacted\""), "{shown}");
}
