//! Watches and their event streams.

use std::time::Duration;

use lapwing_protocol::client::WatchOrder;
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::testing::list;

use crate::client::Client;
use crate::node::{Served, served, served_with};

const CBOR: &str = "application/cbor";

/// A watch on two mailboxes, of which the second is the fixture's.
fn watch_order(served: &Served) -> Vec<u8> {
    let proofs = [
        served.signed_proof(|p| p.mailbox.nonce = [77; 16]),
        served.signed_proof(|_| ()),
    ];
    to_bytes(&WatchOrder {
        proofs: list(proofs.into_iter().map(|p| p.try_into().unwrap()).collect()),
    })
}

async fn opened(served: &Served) -> String {
    let mut client = served.client().await;
    let reply = client.post("/v1/watches", CBOR, &watch_order(served)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let answer = reply.json();
    assert_eq!(answer["expires"], 1_800_000_300_u64);
    let token = answer["watch"].as_str().unwrap();
    assert_eq!(token.len(), 64);
    format!("/v1/watches/{token}/events")
}

async fn following(served: &Served, path: &str) -> Client {
    following_after(served, path, "").await
}

async fn following_after(served: &Served, path: &str, header: &str) -> Client {
    let mut client = served.client().await;
    let head = format!("GET {path} HTTP/1.1\r\nhost: n\r\n{header}\r\n");
    client.send(head.as_bytes()).await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(head.header("access-control-allow-origin"), Some("*"));
    client
}

#[tokio::test]
async fn a_change_is_told_by_its_place_within_a_moment() {
    let served = served().await;
    let path = opened(&served).await;
    // Between the order and the stream: not lost.
    served.node.hub.notify(&served.mailbox.id());
    let mut client = following(&served, &path).await;
    assert_eq!(
        client.chunk().await.unwrap(),
        "event: changed\nid: 1\ndata: {\"index\":1}\n\n"
    );
    let first = {
        let mut other = served.mailbox.clone();
        other.nonce = [77; 16];
        other.id()
    };
    served.node.hub.notify(&first);
    assert_eq!(
        client.chunk().await.unwrap(),
        "event: changed\nid: 2\ndata: {\"index\":0}\n\n"
    );
    // A second stream takes the place of the first, and goes on counting.
    let mut again = following(&served, &path).await;
    assert!(client.chunk().await.is_none());
    served.node.hub.notify(&first);
    assert_eq!(
        again.chunk().await.unwrap(),
        "event: changed\nid: 3\ndata: {\"index\":0}\n\n"
    );
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event_that_arrived() {
    let served = served().await;
    let path = opened(&served).await;
    served.node.hub.notify(&served.mailbox.id());
    let mut client = following(&served, &path).await;
    assert!(client.chunk().await.unwrap().contains("id: 1\n"));
    // The app never saw it: its last event is none of this watch's.
    let mut again = following_after(&served, &path, "last-event-id: 0\r\n").await;
    assert_eq!(
        again.chunk().await.unwrap(),
        "event: changed\nid: 2\ndata: {\"index\":1}\n\n"
    );
    // It saw that one: the stream begins with what is new.
    let mut third = following_after(&served, &path, "last-event-id: 2\r\n").await;
    served.node.hub.notify(&served.mailbox.id());
    assert!(third.chunk().await.unwrap().contains("id: 3\n"));
}

#[tokio::test]
async fn only_who_may_read_may_watch() {
    let served = served().await;
    let mut client = served.client().await;
    let other = served.fixture.nodes().nth(1).unwrap().id;
    let elsewhere = served.signed_proof(|p| p.node = other);
    let order = |proofs: Vec<Vec<u8>>| {
        to_bytes(&WatchOrder {
            proofs: list(proofs.into_iter().map(|p| p.try_into().unwrap()).collect()),
        })
    };
    let cases = [
        (
            order(vec![served.signed_proof(|_| ()), elsewhere]),
            "wrong_node",
        ),
        (order(vec![]), "out_of_bounds"),
        (vec![0x80], "malformed"),
    ];
    for (body, code) in cases {
        assert_eq!(client.post("/v1/watches", CBOR, &body).await.code(), code);
    }
    assert!(served.node.hub.is_empty());
    for token in ["", "ab", &"cd".repeat(32), &"AB".repeat(32)] {
        let reply = client.get(&format!("/v1/watches/{token}/events")).await;
        assert_eq!(reply.status, 404, "{token}");
    }
}

#[tokio::test]
async fn watches_are_bounded_and_streams_end_with_the_node() {
    let mut served = served_with(|c| c.max_watches = 1).await;
    let path = opened(&served).await;
    let mut stream = following(&served, &path).await;
    let mut client = served.client().await;
    let reply = client
        .post("/v1/watches", CBOR, &watch_order(&served))
        .await;
    assert_eq!(reply.code(), "busy");
    assert_eq!(served.node.hub.len(), 2);
    served.stop();
    assert!(stream.chunk().await.is_none());
    let ended = tokio::time::timeout(Duration::from_secs(2), served.ended()).await;
    assert!(ended.is_ok());
}
