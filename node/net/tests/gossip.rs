//! Gossip: what reaches all, what reaches nobody, and peers that vanish and return.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::proxy::Proxy;
use common::raw::Raw;
use common::{
    Node, SHARDS, all_connected, at_port, bounded, config, federation, listen_over, mark_item,
    publish, reaches, shard, tolerant, with_peer,
};
use lapwing_core::{Input, Topic};
use lapwing_net::{Command, Transport, Tuning};
use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::id::RecordId;
use lapwing_protocol::item::{ItemBytes, item_id};
use lapwing_protocol::peer::{Gossip, MAX_GOSSIP};
use lapwing_protocol::testing::{Fixture, START};
use libp2p::gossipsub::IdentTopic;

fn topic(placement: &[u8; 32]) -> Topic {
    Topic::Shard(shard(placement, SHARDS))
}

async fn hears(node: &mut Node, item: &ItemBytes) {
    let id = item_id(item.kind, &item.body);
    node.expect("a gossiped item", |i| match i {
        Input::Gossip { item, .. } if item.id() == id => Some(()),
        _ => None,
    })
    .await;
}

/// Waits for the meshes of all to form.
async fn settled() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_reaches_all_once() {
    bounded(async {
        let (_fixture, _view, mut nodes) = federation(41, 5).await;
        all_connected(&mut nodes).await;
        settled().await;
        let items: Vec<ItemBytes> = (1..=20).map(|n| publish(&nodes[3], n)).collect();
        for (i, node) in nodes.iter_mut().enumerate().filter(|(i, _)| *i != 3) {
            for item in &items {
                hears(node, item).await;
            }
            let again = |i: &Input| matches!(i, Input::Gossip { .. });
            assert_eq!(
                node.count(Duration::from_millis(300), again).await,
                0,
                "node {i}"
            );
            let counters = node.handle.status().counters;
            assert_eq!((counters.gossip_rejected, counters.faults), (0, 0));
        }
        // Nobody takes a sound connection for a lost one.
        tokio::time::sleep(Duration::from_secs(3)).await;
        for node in &nodes {
            let status = node.handle.status();
            assert_eq!((status.counters.healed, status.peers.len()), (0, 4));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_and_expired_items_are_not_passed_on() {
    bounded(async {
        let (_fixture, _view, mut nodes) = federation(42, 2).await;
        all_connected(&mut nodes).await;
        settled().await;
        let expired = START.minus(lapwing_protocol::time::Seconds::days(30));
        for (number, stamp, made) in [
            (1, START.hour().minus(2), START),
            (2, START.hour().plus(2), START),
            (3, START.hour(), expired),
        ] {
            let (item, placement) = mark_item(number, stamp, made);
            let message = Gossip::Item(item);
            nodes[0].handle.send(Command::Publish {
                topic: topic(&placement),
                message,
            });
        }
        let good = publish(&nodes[0], 4);
        hears(&mut nodes[1], &good).await;
        let status = nodes[1]
            .status("three ignored", |s| s.counters.gossip_ignored == 3)
            .await;
        assert_eq!(
            (status.counters.gossip_rejected, status.counters.faults),
            (0, 0)
        );
        let heard = |i: &Input| matches!(i, Input::Gossip { .. });
        assert_eq!(nodes[1].count(Duration::from_millis(100), heard).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_gossip_is_rejected_and_scored() {
    bounded(async {
        let fixture = Fixture::new(43, 3);
        let view = Arc::new(fixture.view());
        let ids: Vec<_> = fixture.nodes().map(|n| n.id).collect();
        let mut node = Node::start(tolerant(&fixture, fixture.node(&ids[0])), &view).await;
        let mut settings = config(&fixture, fixture.node(&ids[1]));
        settings.bootstrap = vec![node.address()];
        let mut other = Node::start(settings, &view).await;
        other.up(ids[0]).await;

        let mut raw = Raw::new(*fixture.node(&ids[2]).peer.seed());
        raw.connect(node.address()).await;
        node.up(ids[2]).await;
        let (good, placement) = mark_item(1, START.hour(), START);
        let name = format!(
            "lapwing/{}/shard/{}",
            fixture.federation.id(),
            shard(&placement, SHARDS)
        );
        let topic = IdentTopic::new(name);
        raw.subscribe(&topic).await;
        raw.run(Duration::from_secs(1)).await;

        let mut forged = good.clone();
        let mut body = forged.body.to_vec();
        *body.last_mut().unwrap() ^= 1;
        forged.body = Bytes::try_from(body).unwrap();
        raw.publish(&topic, to_bytes(&Gossip::Item(good.clone())));
        // Each at once: after a few of them the sender is no longer listened to.
        for bad in [
            b"garbage".to_vec(),
            to_bytes(&Gossip::Item(forged)),
            to_bytes(&Gossip::TrustHave(RecordId::from_bytes([1; 32]))),
            vec![0; MAX_GOSSIP + 1],
        ] {
            raw.publish(&topic, bad);
        }
        raw.run(Duration::from_secs(1)).await;
        hears(&mut node, &good).await;
        hears(&mut other, &good).await;
        let status = node
            .status("rejections", |s| s.counters.gossip_rejected >= 3)
            .await;
        assert!(status.counters.faults >= 3);
        // Nothing bad was passed on, and the honest node is not blamed.
        let counters = other.handle.status().counters;
        assert_eq!((counters.gossip_rejected, counters.faults), (0, 0));
        // The sender has lost its standing: it is sent away for a while.
        node.status("the sender to be gone", |s| s.counters.parted > 0)
            .await;
        node.down(ids[2]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trust_records_are_gossiped_whole_or_by_name() {
    bounded(async {
        let (mut fixture, _view, mut nodes) = federation(44, 3).await;
        all_connected(&mut nodes).await;
        settled().await;
        let roster = fixture.sign_roster();
        let message = Gossip::Trust(Bytes::try_from(roster.clone()).unwrap());
        nodes[0].handle.send(Command::Publish {
            topic: Topic::Trust,
            message,
        });
        for node in &mut nodes[1..] {
            node.expect("a trust record", |i| match i {
                Input::Trust {
                    from: Some(_),
                    first: Ok(checked),
                    rest,
                } => (checked.id() == record_hash(&roster) && rest.is_empty()).then_some(()),
                _ => None,
            })
            .await;
        }
        let id = RecordId::from_bytes([5; 32]);
        let message = Gossip::TrustHave(id);
        nodes[0].handle.send(Command::Publish {
            topic: Topic::Trust,
            message,
        });
        for node in &mut nodes[1..] {
            node.expect("the name of a record", |i| match i {
                Input::TrustHave { id: got, .. } => (*got == id).then_some(()),
                _ => None,
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_restarts_gets_gossip_again() {
    bounded(async {
        let (fixture, view, mut nodes) = federation(45, 3).await;
        all_connected(&mut nodes).await;
        let node = nodes.pop().unwrap();
        let id = node.id();
        node.stop().await;
        nodes[0].down(id).await;
        let mut settings = config(&fixture, fixture.node(&id));
        settings.bootstrap = vec![nodes[0].address()];
        let mut back = Node::start(settings, &view).await;
        back.up(nodes[0].id()).await;
        reaches(&nodes[0], &mut back, 1).await;
        reaches(&back, &mut nodes[0], 50).await;
    })
    .await;
}

/// The trap: the peer's old connection still stands on this side when it comes back. What notices it
/// here is the second connection, though an old one stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_vanished_without_a_word_gets_gossip_again() {
    let tune = |t: &mut Tuning| t.ping = Duration::from_secs(60);
    bounded(vanish_and_return(46, Transport::Tcp, tune)).await;
}

/// The same where the old connection is not yet old enough to tell: its pings fail in the end, and a
/// peer without subscriptions is connected anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_subscriptions_is_connected_anew() {
    let tune = |t: &mut Tuning| t.stale = Duration::from_secs(600);
    bounded(vanish_and_return(47, Transport::Tcp, tune)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_vanished_gets_gossip_again_over_quic() {
    let tune = |t: &mut Tuning| t.ping = Duration::from_secs(60);
    bounded(vanish_and_return(48, Transport::Quic, tune)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_subscriptions_is_connected_anew_over_quic() {
    let tune = |t: &mut Tuning| t.stale = Duration::from_secs(600);
    bounded(vanish_and_return(49, Transport::Quic, tune)).await;
}

async fn vanish_and_return(seed: u64, transport: Transport, tune: impl Fn(&mut Tuning)) {
    let fixture = Fixture::new(seed, 2);
    let view = Arc::new(fixture.view());
    let ids: Vec<_> = fixture.nodes().map(|n| n.id).collect();
    let settings = |n: usize| {
        let mut settings = config(&fixture, fixture.node(&ids[n]));
        settings.listen = vec![listen_over(transport)];
        tune(&mut settings.tuning);
        settings
    };
    let mut stays = Node::start(settings(0), &view).await;
    let to = ([127, 0, 0, 1], stays.port()).into();
    let proxy = match transport {
        Transport::Tcp => Proxy::start(to).await,
        Transport::Quic => Proxy::start_udp(to).await,
    };
    let mut with_proxy = settings(1);
    with_proxy.bootstrap = vec![with_peer(at_port(transport, proxy.port), &ids[0])];
    let mut first = Node::start(with_proxy, &view).await;
    first.up(ids[0]).await;
    stays.up(ids[1]).await;
    reaches(&stays, &mut first, 1).await;
    proxy.cut();
    drop(first);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(
        stays.handle.status().peers.len(),
        1,
        "the old connection must seem to stand"
    );

    let mut direct = settings(1);
    direct.bootstrap = vec![stays.address()];
    let mut back = Node::start(direct, &view).await;
    back.up(ids[0]).await;
    reaches(&stays, &mut back, 50).await;
    reaches(&back, &mut stays, 150).await;
    let status = stays.handle.status();
    assert!(status.peers.iter().all(|p| p.transport == transport));
    assert!(status.counters.healed + back.handle.status().counters.healed > 0);
}
