//! Calls and replies between nodes, good ones and bad ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::proxy::Proxy;
use common::raw::Raw;
use common::{
    Node, all_connected, bounded, config, federation, mark_item, push, tolerant, with_peer,
};
use lapwing_core::{CallFailure, Input, Severity};
use lapwing_net::Command;
use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::codec::{from_bytes, to_bytes};
use lapwing_protocol::peer::{
    CheckedPeerCall, CheckedReply, MAX_MESSAGE, PeerCall, PeerReply, PushResult,
};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::testing::{Fixture, START, list};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_checked_and_its_reply_comes_back() {
    bounded(async {
        let (_fixture, _view, mut nodes) = federation(21, 3).await;
        all_connected(&mut nodes).await;
        let (from, to) = (nodes[0].id(), nodes[1].id());
        let (good, _) = mark_item(1, START.hour(), START);
        let mut bad = good.clone();
        let mut body = bad.body.to_vec();
        *body.last_mut().unwrap() ^= 1;
        bad.body = Bytes::try_from(body).unwrap();
        nodes[0].call(5, to, PeerCall::Push(list(vec![good, bad])), 5000);
        let (tag, caller, call) = nodes[1].called().await;
        assert_eq!(caller, from);
        let CheckedPeerCall::Push(items) = call else {
            panic!("another call arrived: {call:?}");
        };
        assert!(items[0].is_ok());
        assert_eq!(items[1].as_ref().err(), Some(&Problem::BadSignature));
        let refused = || PushResult::Refused(Problem::NotOpened);
        let reply = PeerReply::Push(list(vec![refused(), refused()]));
        nodes[1].handle.send(Command::Reply {
            tag,
            reply: reply.clone(),
        });
        // A second reply to the same call is dropped.
        nodes[1].handle.send(Command::Reply { tag, reply });
        let Ok(CheckedReply::Push(results)) = nodes[0].replied(5).await else {
            panic!("no such reply");
        };
        assert_eq!(results.len(), 2);

        nodes[0].call(6, to, PeerCall::TrustIds, 5000);
        let (tag, ..) = nodes[1].called().await;
        nodes[1].handle.send(Command::Reply {
            tag,
            reply: PeerReply::Refused(Problem::Busy),
        });
        assert!(matches!(
            nodes[0].replied(6).await,
            Err(CallFailure::Refused(Problem::Busy))
        ));

        // An answer to another question is refused by the checker.
        nodes[0].call(7, to, PeerCall::TrustIds, 5000);
        let (tag, ..) = nodes[1].called().await;
        let reply = PeerReply::Digests(list(Vec::new()));
        nodes[1].handle.send(Command::Reply { tag, reply });
        assert!(matches!(
            nodes[0].replied(7).await,
            Err(CallFailure::Refused(Problem::Malformed))
        ));
        nodes[0].status("a fault", |s| s.counters.faults == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_all_come_back() {
    bounded(async {
        let (_fixture, _view, mut nodes) = federation(22, 2).await;
        all_connected(&mut nodes).await;
        let to = nodes[1].id();
        let calls = 1000;
        for tag in 0..calls {
            nodes[0].call(tag, to, PeerCall::TrustIds, 20_000);
        }
        for _ in 0..calls {
            let (tag, ..) = nodes[1].called().await;
            let reply = PeerReply::TrustIds(list(Vec::new()));
            nodes[1].handle.send(Command::Reply { tag, reply });
        }
        for tag in 0..calls {
            nodes[0].replied(tag).await.unwrap();
        }
        let again = |i: &Input| matches!(i, Input::Reply { .. });
        assert_eq!(nodes[0].count(Duration::from_millis(200), again).await, 0);
        let status = nodes[1].status("no open call", |s| s.calls_in == 0).await;
        assert_eq!(status.counters.calls_taken, calls);
        assert_eq!(status.counters.calls_shed, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_cannot_be_answered_fail_once() {
    bounded(async {
        let fixture = Fixture::new(23, 4);
        let view = std::sync::Arc::new(fixture.view());
        let ids: Vec<_> = fixture.nodes().map(|n| n.id).collect();
        let mut there = Node::start(config(&fixture, fixture.node(&ids[0])), &view).await;
        let proxy = Proxy::start(([127, 0, 0, 1], there.port()).into()).await;
        let mut settings = config(&fixture, fixture.node(&ids[1]));
        let relay = format!("/ip4/127.0.0.1/tcp/{}", proxy.port)
            .parse()
            .unwrap();
        // A port where nobody listens, for a node that is dead.
        let dead = "/ip4/127.0.0.1/tcp/9".parse().unwrap();
        settings.bootstrap = vec![with_peer(relay, &ids[0]), with_peer(dead, &ids[2])];
        settings.tuning.ping = Duration::from_secs(60);
        let mut here = Node::start(settings, &view).await;
        here.up(ids[0]).await;

        let begun = tokio::time::Instant::now();
        here.call(1, ids[2], PeerCall::TrustIds, 1500); // dead
        here.call(2, ids[3], PeerCall::TrustIds, 1500); // nobody knows where
        here.call(3, here.id(), PeerCall::TrustIds, 1500); // itself
        here.call(4, ids[0], PeerCall::TrustIds, 1500); // asked, never answered
        there.called().await;
        proxy.cut();
        here.call(5, ids[0], PeerCall::TrustIds, 1500); // never arrives
        for tag in 1..=5 {
            let reply = here.replied(tag).await;
            assert!(
                matches!(reply, Err(CallFailure::Timeout | CallFailure::Unreachable)),
                "{tag}: {reply:?}"
            );
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(2500), "{took:?}");
        let more = |i: &Input| matches!(i, Input::Reply { .. });
        assert_eq!(here.count(Duration::from_secs(1), more).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_frames_are_refused_and_counted() {
    bounded(async {
        let fixture = Fixture::new(24, 2);
        let view = std::sync::Arc::new(fixture.view());
        let ids: Vec<_> = fixture.nodes().map(|n| n.id).collect();
        let mut node = Node::start(tolerant(&fixture, fixture.node(&ids[0])), &view).await;
        let mut raw = Raw::new(*fixture.node(&ids[1]).peer.seed());
        let peer = raw.connect(node.address()).await;
        node.up(ids[1]).await;

        let refusal = |bytes: Option<Vec<u8>>| {
            let bytes = bytes.expect("no answer");
            match from_bytes::<PeerReply>(&bytes, MAX_MESSAGE).unwrap() {
                PeerReply::Refused(problem) => problem,
                other => panic!("not refused: {other:?}"),
            }
        };
        // Not the shortest encoding of [13].
        let not_canonical = vec![0x81, 0x18, 0x0d];
        let unknown = vec![0x81, 0x18, 0xff];
        let mut trailing = to_bytes(&PeerCall::TrustIds);
        trailing.push(0);
        for (bytes, want) in [
            (Vec::new(), Problem::Malformed),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Problem::Malformed),
            (not_canonical, Problem::Malformed),
            (trailing, Problem::Malformed),
            (unknown, Problem::UnknownCall),
            (vec![0; MAX_MESSAGE + 1], Problem::TooLarge),
            (vec![0x9f; MAX_MESSAGE], Problem::Malformed),
        ] {
            let len = bytes.len();
            assert_eq!(refusal(raw.call(&peer, bytes).await), want, "{len} bytes");
        }
        let status = node.status("faults", |s| s.counters.faults >= 6).await;
        assert_eq!(status.counters.malformed, 5);
        assert_eq!(status.counters.oversized, 1);
        assert_eq!(status.counters.calls_refused, 7);

        // Good calls still pass, until there were too many faults.
        let good = to_bytes(&PeerCall::TrustIds);
        let (answer, ()) = tokio::join!(raw.call(&peer, good.clone()), async {
            let (tag, ..) = node.called().await;
            let reply = PeerReply::TrustIds(list(Vec::new()));
            node.handle.send(Command::Reply { tag, reply });
        });
        assert!(answer.is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_replies_are_refused_and_counted() {
    bounded(async {
        let fixture = Fixture::new(25, 2);
        let view = std::sync::Arc::new(fixture.view());
        let ids: Vec<_> = fixture.nodes().map(|n| n.id).collect();
        let mut node = Node::start(tolerant(&fixture, fixture.node(&ids[0])), &view).await;
        let mut raw = Raw::new(*fixture.node(&ids[1]).peer.seed());
        raw.connect(node.address()).await;
        node.up(ids[1]).await;
        let second = Duration::from_secs(2);
        for (tag, bytes, want) in [
            (
                1,
                b"no reply at all".to_vec(),
                CallFailure::Refused(Problem::Malformed),
            ),
            (
                2,
                vec![0; MAX_MESSAGE + 1],
                CallFailure::Refused(Problem::TooLarge),
            ),
            (3, Vec::new(), CallFailure::Unreachable),
        ] {
            node.call(tag, ids[1], PeerCall::TrustIds, 5000);
            let (reply, ()) = tokio::join!(node.replied(tag), raw.answer(&bytes, second));
            assert_eq!(reply.err(), Some(want), "{tag}");
        }
        let counters = node
            .status("faults", |s| s.counters.faults >= 2)
            .await
            .counters;
        assert_eq!((counters.malformed, counters.oversized), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_has_only_so_many_calls_open() {
    bounded(async {
        let fixture = Fixture::new(26, 2);
        let view = std::sync::Arc::new(fixture.view());
        let ids: Vec<_> = fixture.nodes().map(|n| n.id).collect();
        let mut settings = config(&fixture, fixture.node(&ids[0]));
        settings.limits.calls_in_per_peer = 4;
        settings.tuning.reply = Duration::from_secs(1);
        let mut node = Node::start(settings, &view).await;
        let mut settings = config(&fixture, fixture.node(&ids[1]));
        settings.bootstrap = vec![node.address()];
        let mut other = Node::start(settings, &view).await;
        other.up(ids[0]).await;
        for tag in 0..6 {
            other.call(tag, ids[0], PeerCall::TrustIds, 5000);
        }
        for _ in 0..4 {
            node.called().await;
        }
        // Two are refused at once; the others when their time is over, since nobody replies.
        for tag in 0..6 {
            let reply = other.replied(tag).await;
            assert!(
                matches!(reply, Err(CallFailure::Refused(Problem::Busy))),
                "{reply:?}"
            );
        }
        let taken = |i: &Input| matches!(i, Input::Peer { .. });
        assert_eq!(node.count(Duration::from_millis(100), taken).await, 0);
        let status = node.status("no open call", |s| s.calls_in == 0).await;
        assert_eq!(status.counters.calls_shed, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_intent_is_kept_away() {
    bounded(async {
        let (_fixture, _view, mut nodes) = federation(27, 2).await;
        all_connected(&mut nodes).await;
        let bad = nodes[1].id();
        for severity in [Severity::Minor, Severity::Major] {
            nodes[0].handle.send(Command::Fault {
                peer: bad,
                severity,
                what: "a test",
            });
        }
        nodes[0]
            .status("two faults", |s| {
                s.counters.faults == 2 && s.peers.len() == 1
            })
            .await;
        nodes[0].handle.send(Command::Fault {
            peer: bad,
            severity: Severity::Fatal,
            what: "a test",
        });
        nodes[0].down(bad).await;
        nodes[0].status("a ban", |s| s.banned == 1).await;
        nodes[0].call(1, bad, push(mark_item(1, START.hour(), START).0), 1000);
        assert!(matches!(
            nodes[0].replied(1).await,
            Err(CallFailure::Unreachable)
        ));
    })
    .await;
}
