//! Nodes that find each other on the local network, in a network of its own that reaches nowhere.
//!
//! The test runs itself again in a new network namespace. Where none can be made, it says so and
//! passes; what is done with announcements is tested without a network, in `discovery.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::{Node, bounded, config, strange_seed};
use lapwing_net::NetConfig;
use lapwing_protocol::testing::Fixture;

const INSIDE: &str = "LAPWING_TEST_NETWORK";
const SET_UP: &str = "ip link add lap0 type veth peer name lap1 \
    && ip addr add 10.77.0.1/24 dev lap0 && ip link set lap0 up && ip link set lap1 up \
    && ip link set lo up";

#[test]
fn nodes_of_the_roster_find_each_other_on_the_local_network() {
    let possible = Command::new("unshare")
        .args(["-rn", "sh", "-c", SET_UP])
        .output();
    if !possible.is_ok_and(|o| o.status.success()) {
        println!("skipped: no network namespace with a virtual link can be made here");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let script = format!("{SET_UP} && exec \"$0\" --exact inside --ignored --nocapture");
    let out = Command::new("unshare")
        .args(["-rn", "sh", "-c", &script])
        .arg(this)
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs inside a network of its own, started by the test above"]
async fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    bounded(async {
        let fixture = Fixture::new(81, 2);
        let view = Arc::new(fixture.view());
        let local = |settings: &mut NetConfig| {
            settings.listen = vec!["/ip4/10.77.0.1/tcp/0".parse().unwrap()];
            settings.mdns = true;
        };
        // A stranger announces itself, too.
        let mut settings = NetConfig::new(fixture.federation.id(), strange_seed());
        settings.tuning = common::quick();
        local(&mut settings);
        let stranger = Node::start(settings, &view).await;
        let mut nodes = Vec::new();
        for node in fixture.nodes() {
            let mut settings = config(&fixture, node);
            local(&mut settings);
            nodes.push(Node::start(settings, &view).await);
        }
        let ids: Vec<_> = nodes.iter().map(Node::id).collect();
        nodes[0].up(ids[1]).await;
        nodes[1].up(ids[0]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let found: Vec<_> = nodes
            .iter()
            .map(|n| n.handle.status().counters.found_locally)
            .collect();
        assert!(found.iter().any(|n| *n > 0), "{found:?}");
        for node in &nodes {
            assert_eq!(node.handle.status().peers.len(), 1);
        }
        // Found by it, and not let in; and it was dialled by nobody.
        let status = stranger.handle.status();
        assert!(status.counters.found_locally > 0, "{status:?}");
        assert!(status.peers.is_empty());
    })
    .await;
}
