//! What follows from faults: throttled, disconnected for a while, kept away for longer, let in again;
//! and nothing of it for who did no wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::raw::Raw;
use common::{Node, asks, bounded, config, tolerant};
use lapwing_core::CallFailure;
use lapwing_net::Command;
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::peer::{PeerCall, PeerReply};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::testing::{Fixture, list};
use lapwing_protocol::trust::TrustView;

/// A node, an honest peer connected to it, and the keys of a third.
async fn three(seed: u64) -> (Fixture, Arc<TrustView>, Vec<NodeId>, Node, Node) {
    let fixture = Fixture::new(seed, 3);
    let view = Arc::new(fixture.view());
    let ids: Vec<_> = fixture.nodes().map(|n| n.id).collect();
    let mut node = Node::start(tolerant(&fixture, fixture.node(&ids[0])), &view).await;
    let mut settings = config(&fixture, fixture.node(&ids[1]));
    settings.bootstrap = vec![node.address()];
    let mut honest = Node::start(settings, &view).await;
    honest.up(ids[0]).await;
    node.up(ids[1]).await;
    (fixture, view, ids, node, honest)
}

fn is_blameless(node: &Node, peer: &NodeId) -> bool {
    let status = node.handle.status();
    let found = status.peers.iter().find(|p| p.node == *peer);
    found.is_some_and(|p| !p.throttled && p.score >= 0.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_calls_lead_to_a_ban_step_by_step_and_it_ends() {
    bounded(async {
        let (fixture, _view, ids, mut node, mut honest) = three(61).await;
        let seed = || *fixture.node(&ids[2]).peer.seed();
        let mut raw = Raw::new(seed());
        let peer = raw.connect(node.address()).await;
        node.up(ids[2]).await;
        for _ in 0..2 {
            assert!(raw.call(&peer, vec![1]).await.is_some());
        }
        let status = node.status("throttling", |s| s.throttled == 1).await;
        assert_eq!((status.banned, status.peers.len()), (0, 2));
        assert!(
            status
                .peers
                .iter()
                .any(|p| p.node == ids[2] && p.throttled && p.score < 0.0)
        );
        while raw.call(&peer, vec![1]).await.is_some() {}
        node.down(ids[2]).await;
        let parted = node.status("the first step", |s| s.counters.parted == 1);
        let counters = parted.await.counters;
        assert_eq!((counters.bans, counters.faults), (0, 8));

        // It comes back as it likes, still throttled, until it is kept away for good.
        for _ in 0..10 {
            node.status("the end of the pause", |s| {
                s.banned == 0 || s.counters.bans > 0
            })
            .await;
            if node.handle.status().counters.bans > 0 {
                break;
            }
            raw = Raw::new(seed());
            raw.connect(node.address()).await;
            while raw.call(&peer, vec![1]).await.is_some() {}
        }
        let status = node.status("a ban", |s| s.counters.bans == 1).await;
        assert_eq!((status.banned, status.peers.len()), (1, 1));
        assert!(status.counters.parted >= 2);
        let mut early = Raw::new(seed());
        early.swarm.dial(node.address()).unwrap();
        early.run(Duration::from_millis(500)).await;
        node.status("a refusal", |s| s.counters.strangers > 0).await;
        asks(&mut honest, &mut node, 1).await;

        // The ban ends by itself, and what was before it is forgotten.
        node.status("the end of the ban", |s| s.banned == 0).await;
        let mut late = Raw::new(seed());
        late.connect(node.address()).await;
        let good = to_bytes(&PeerCall::TrustIds);
        let (answer, ()) = tokio::join!(late.call(&peer, good), async {
            let (tag, ..) = node.called().await;
            let reply = PeerReply::TrustIds(list(Vec::new()));
            node.handle.send(Command::Reply { tag, reply });
        });
        assert!(answer.is_some());
        let status = node.status("both", |s| s.peers.len() == 2).await;
        assert_eq!(status.throttled, 0);
        assert!(is_blameless(&node, &ids[1]));
        assert_eq!(honest.handle.status().counters.faults, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_replies_throttle_and_then_disconnect() {
    bounded(async {
        let (fixture, _view, ids, mut node, mut honest) = three(62).await;
        let mut raw = Raw::new(*fixture.node(&ids[2]).peer.seed());
        raw.connect(node.address()).await;
        node.up(ids[2]).await;
        for tag in 1..=8 {
            node.call(tag, ids[2], PeerCall::TrustIds, 5000);
            tokio::select! {
                reply = node.replied(tag) => {
                    let malformed = matches!(reply, Err(CallFailure::Refused(Problem::Malformed)));
                    assert!(malformed, "{tag}: {reply:?} {:?}", node.handle.status());
                }
                () = raw.answer(b"no reply at all", Duration::from_secs(10)) => panic!("no reply"),
            }
            let want = usize::from(tag >= 2);
            node.status("its standing", |s| s.throttled == want).await;
        }
        node.down(ids[2]).await;
        let parted = node.status("the first step", |s| s.counters.parted == 1);
        assert_eq!(parted.await.counters.faults, 8);
        asks(&mut node, &mut honest, 100).await;
        assert!(is_blameless(&node, &ids[1]));
    })
    .await;
}
