//! What a peer may cost: connections, handshakes, streams, calls and bytes in a second.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::raw::{HANG, Raw};
use common::{
    Node, all_connected, asks, at_port, bounded, config, listen_over, tolerant, with_peer,
};
use lapwing_core::{CallFailure, Input};
use lapwing_net::{Command, NetConfig, Transport};
use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::item::{ItemBytes, ItemKind};
use lapwing_protocol::peer::{PeerCall, PeerReply};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::testing::{Fixture, START, list};
use libp2p::swarm::dial_opts::DialOpts;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

/// Two nodes that are connected, the first with other settings.
async fn two(seed: u64, change: impl Fn(&mut NetConfig)) -> (Node, Node) {
    let fixture = Fixture::new(seed, 2);
    let view = Arc::new(fixture.view());
    let mut nodes: Vec<Node> = Vec::new();
    for node in fixture.nodes() {
        let mut settings = config(&fixture, node);
        settings.bootstrap = nodes.first().map(Node::address).into_iter().collect();
        if nodes.is_empty() {
            change(&mut settings);
        }
        nodes.push(Node::start(settings, &view).await);
    }
    all_connected(&mut nodes).await;
    let other = nodes.pop().unwrap();
    (nodes.pop().unwrap(), other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_keeps_two_connections() {
    bounded(async {
        let fixture = Fixture::new(71, 2);
        let view = Arc::new(fixture.view());
        let ids: Vec<_> = fixture.nodes().map(|n| n.id).collect();
        let mut settings = tolerant(&fixture, fixture.node(&ids[0]));
        // A connection of this age would be taken for lost.
        settings.tuning.stale = Duration::from_secs(600);
        settings.listen = vec![listen_over(Transport::Tcp), listen_over(Transport::Quic)];
        let node = Node::start(settings, &view).await;
        let mut raw = Raw::new(*fixture.node(&ids[1]).peer.seed());
        for transport in [Transport::Tcp, Transport::Quic, Transport::Tcp].repeat(3) {
            let address = node.address_over(transport);
            let anew = DialOpts::unknown_peer_id().address(address).build();
            raw.swarm.dial(anew).unwrap();
        }
        raw.run(Duration::from_secs(2)).await;
        let counters = raw.swarm.network_info().connection_counters().clone();
        assert_eq!(counters.num_established(), 2);
        let status = node
            .status("seven refused", |s| s.counters.connections_shed == 7)
            .await;
        assert_eq!((status.peers.len(), status.counters.faults), (1, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_each_way() {
    bounded(async {
        let fixture = Fixture::new(72, 7);
        let view = Arc::new(fixture.view());
        let mut keys = fixture.nodes();
        let mut settings = tolerant(&fixture, keys.next().unwrap());
        settings.limits.connections = 4;
        let node = Node::start(settings, &view).await;
        let mut raws = Vec::new();
        for key in keys {
            let mut raw = Raw::new(*key.peer.seed());
            raw.swarm.dial(node.address()).unwrap();
            raw.run(Duration::from_millis(300)).await;
            raws.push(raw);
        }
        let status = node
            .status("three refused", |s| s.counters.connections_shed == 3)
            .await;
        assert_eq!(status.peers.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_and_outgoing_connections_are_bounded() {
    bounded(async {
        let fixture = Fixture::new(78, 7);
        let view = Arc::new(fixture.view());
        let mut keys = fixture.nodes();
        let first = keys.next().unwrap();
        // Listeners that accept and then say nothing: dials to them last until they are given up.
        let mut silent = Vec::new();
        let mut settings = config(&fixture, first);
        settings.limits.dials = 2;
        for key in fixture.nodes().skip(1) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let address = at_port(Transport::Tcp, port);
            settings.bootstrap.push(with_peer(address, &key.id));
            silent.push(listener);
        }
        let node = Node::start(settings, &view).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut reached = 0;
        for listener in &silent {
            let accept = tokio::time::timeout(Duration::from_millis(50), listener.accept());
            reached += usize::from(accept.await.is_ok());
        }
        assert_eq!(reached, 2);
        let status = node
            .status("dials put off", |s| s.counters.dials_failed >= 4)
            .await;
        assert_eq!(status.counters.dials, 2);
        node.stop().await;

        let mut settings = config(&fixture, first);
        settings.limits.connections = 4;
        let mut others = Vec::new();
        for key in keys {
            let other = Node::start(config(&fixture, key), &view).await;
            settings.bootstrap.push(other.address());
            others.push(other);
        }
        let node = Node::start(settings, &view).await;
        node.status("three made", |s| {
            s.peers.iter().filter(|p| p.dialled).count() == 3
        })
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let status = node.handle.status();
        assert!(status.peers.len() <= 4, "{status:?}");
        assert!(status.peers.iter().filter(|p| p.dialled).count() <= 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_are_bounded() {
    bounded(async {
        let (mut node, mut other) = two(73, |c| c.limits.handshakes = 2).await;
        let mut silent = Vec::new();
        for _ in 0..10 {
            let to = ("127.0.0.1", node.port());
            silent.push(TcpStream::connect(to).await.unwrap());
        }
        let mut closed = 0;
        for stream in &mut silent {
            // The node speaks first where it listens: only the end of the stream counts.
            let mut all = Vec::new();
            let end = stream.read_to_end(&mut all);
            closed += usize::from(
                tokio::time::timeout(Duration::from_millis(300), end)
                    .await
                    .is_ok(),
            );
        }
        assert_eq!(closed, 8);
        asks(&mut other, &mut node, 1).await;
        let refused = node.status("eight refused", |s| s.counters.connections_shed == 8);
        assert_eq!(refused.await.counters.faults, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded_and_the_connection_stands() {
    bounded(async {
        for (seed, transport) in [(74, Transport::Tcp), (75, Transport::Quic)] {
            let fixture = Fixture::new(seed, 2);
            let view = Arc::new(fixture.view());
            let ids: Vec<_> = fixture.nodes().map(|n| n.id).collect();
            let mut settings = tolerant(&fixture, fixture.node(&ids[0]));
            settings.listen = vec![listen_over(transport)];
            settings.limits.calls_in_per_peer = 4;
            settings.limits.calls_out_per_peer = 4;
            let mut node = Node::start(settings, &view).await;
            let mut raw = Raw::new(*fixture.node(&ids[1]).peer.seed());
            let peer = raw.connect(node.address()).await;
            node.up(ids[1]).await;
            // 4 + 4 + 64 are taken; those beyond are dropped, or (QUIC) wait to be opened.
            let failed = raw.flood(&peer, 200, HANG, Duration::from_secs(1)).await;
            assert!((60..=128).contains(&failed), "{transport:?}: {failed}");
            // What hangs is given up when its time is over, and the peer can call again.
            raw.run(Duration::from_secs(3)).await;
            let good = to_bytes(&PeerCall::TrustIds);
            let (answer, ()) = tokio::join!(raw.call(&peer, good), async {
                let (tag, ..) = node.called().await;
                let reply = PeerReply::TrustIds(list(Vec::new()));
                node.handle.send(Command::Reply { tag, reply });
            });
            assert!(answer.is_some());
            let gone = |i: &Input| matches!(i, Input::PeerDown(_));
            assert_eq!(node.count(Duration::from_millis(10), gone).await, 0);
        }
    })
    .await;
}

/// Answers what came within `time`; how many calls that were.
async fn answer_all(node: &mut Node, time: Duration) -> usize {
    let calls = node.count(time, |i| matches!(i, Input::Peer { .. })).await;
    for _ in 0..calls {
        let (tag, ..) = node.called().await;
        let reply = PeerReply::TrustIds(list(Vec::new()));
        node.handle.send(Command::Reply { tag, reply });
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_rate_are_refused_as_busy_and_a_flood_is_a_fault() {
    bounded(async {
        let (mut node, mut other) = two(76, |c| c.limits.calls_per_second = 5).await;
        let to = node.id();
        for tag in 0..80 {
            other.call(tag, to, PeerCall::TrustIds, 10_000);
        }
        let taken = answer_all(&mut node, Duration::from_millis(500)).await;
        assert!((50..=56).contains(&taken), "{taken}");
        let mut busy = 0;
        for tag in 0..80 {
            match other.replied(tag).await {
                Ok(_) => {}
                Err(CallFailure::Refused(Problem::Busy)) => busy += 1,
                Err(e) => panic!("{tag}: {e:?}"),
            }
        }
        assert_eq!(busy, 80 - taken);
        let status = node
            .status("refusals", |s| s.counters.calls_over_rate == busy as u64)
            .await;
        assert_eq!((status.counters.faults, status.throttled), (0, 0));
        // A little later it may call again.
        tokio::time::sleep(Duration::from_secs(1)).await;
        asks(&mut other, &mut node, 1000).await;
        other
            .status("its refusals", |s| {
                s.calls["trust_ids"].refused == busy as u64
            })
            .await;

        for tag in 2000..2300 {
            other.call(tag, to, PeerCall::TrustIds, 10_000);
        }
        answer_all(&mut node, Duration::from_millis(500)).await;
        for tag in 2000..2300 {
            let _ = other.replied(tag).await;
        }
        let status = node.status("a fault", |s| s.counters.faults > 0).await;
        assert!(status.counters.faults <= 3);
        assert_eq!((status.peers.len(), status.counters.parted), (1, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_beyond_the_rate_are_refused_as_busy() {
    bounded(async {
        let (mut node, mut other) = two(77, |c| c.limits.mib_per_second = 1).await;
        let item = ItemBytes {
            stamp: START.hour(),
            kind: ItemKind::Blob,
            body: Bytes::try_from(vec![0; 15_000]).unwrap(),
        };
        let call = PeerCall::Push(list(vec![item; 64]));
        let (mut taken, mut busy) = (0, 0);
        for tag in 0..16 {
            other.call(tag, node.id(), call.clone(), 10_000);
            tokio::select! {
                (tag, ..) = node.called() => {
                    taken += 1;
                    let reply = PeerReply::Refused(Problem::NotReady);
                    node.handle.send(Command::Reply { tag, reply });
                }
                reply = other.replied(tag) => {
                    assert!(matches!(reply, Err(CallFailure::Refused(Problem::Busy))), "{reply:?}");
                    busy += 1;
                }
            }
        }
        assert!(taken >= 11 && busy >= 1, "{taken} taken, {busy} busy");
        let status = node.handle.status();
        assert_eq!((status.counters.faults, status.peers.len()), (0, 1));
    })
    .await;
}
