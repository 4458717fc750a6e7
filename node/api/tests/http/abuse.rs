//! Clients that mean no good, or know no better.

use std::time::{Duration, Instant};

use lapwing_api::{Event, Rate};
use lapwing_protocol::client::{CallKind, MAX_WATCH_ORDER};

use crate::client::Client;
use crate::node::{recorder, served, served_by, served_with};

const READ: &str = "/v1/mailboxes/read";
const CBOR: &str = "application/cbor";

#[tokio::test]
async fn every_call_refuses_what_it_does_not_take() {
    let served = served_with(|c| c.rate = None).await;
    for kind in CallKind::ALL {
        let path = kind.path();
        let mut client = served.client().await;
        for wrong in ["text/plain", "application/json", "", "application/cborx"] {
            let reply = client.post(path, wrong, b"").await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (415, "wrong_type"),
                "{path}"
            );
        }
        let encoded = format!("{}\r\ncontent-encoding: gzip", kind.content_type());
        let reply = client.post(path, &encoded, b"").await;
        assert_eq!(reply.code(), "wrong_type");
        for junk in [
            &b""[..],
            b"\x00",
            b"\xff\xff\xff\xff",
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
            &[0x81; 100],
        ] {
            let reply = client.post(path, kind.content_type(), junk).await;
            assert_eq!(reply.status, 400, "{path} {reply:?}");
            assert_eq!(reply.code(), "malformed", "{path} {reply:?}");
        }
        let reply = client.request("DELETE", path, &[]).await;
        assert_eq!((reply.status, reply.code().as_str()), (405, "wrong_method"));
        assert!(reply.header("allow").unwrap().contains("POST"), "{reply:?}");
    }
    assert!(served.node.asked().is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_length_or_while_it_comes() {
    let served = served_with(|c| c.rate = None).await;
    let watches = ("/v1/watches", CBOR, MAX_WATCH_ORDER);
    let calls = CallKind::ALL.map(|k| (k.path(), k.content_type(), k.max_body()));
    for (path, content_type, max) in calls.into_iter().chain([watches]) {
        let head = format!("POST {path} HTTP/1.1\r\nhost: n\r\ncontent-type: {content_type}\r\n");
        for length in [max as u64 + 1, u64::MAX / 2] {
            let mut client = served.client().await;
            client
                .send(format!("{head}content-length: {length}\r\n\r\n").as_bytes())
                .await;
            let reply = client.reply().await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (413, "too_large"),
                "{path}"
            );
            assert!(client.closed().await);
        }
        let mut client = served.client().await;
        client
            .send(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())
            .await;
        client.send(format!("{max:x}\r\n").as_bytes()).await;
        client.send(&vec![0; max]).await;
        client.send(b"\r\n1\r\n").await;
        client.send(b"\0\r\n").await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (413, "too_large"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn other_spellings_of_a_path_are_no_paths() {
    let served = served().await;
    let mut client = served.client().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/V1/tokens",
        "/v1/Tokens",
        "/v1/tokens/",
        "//v1/tokens",
        "/v1//tokens",
        "/v1/%74okens",
        "/v1/./tokens",
        "/v1/x/../tokens",
        "/v1/tokens;x",
        "/v2/tokens",
        "/status",
        "/health",
        "/health/live/",
        "/HEALTH/live",
        "/v1/trust/",
        "/v1/trust/nothing",
        "/v1/trust/Roster",
    ] {
        for method in ["GET", "POST"] {
            let reply = client
                .request(method, path, &[("content-length", "0")])
                .await;
            assert!([404, 405].contains(&reply.status), "{method} {path}");
            let code = reply.code();
            assert!(
                code == "unknown_call" || code == "wrong_method",
                "{method} {path} {code}"
            );
        }
    }
    assert_eq!(client.request("GET", "/v1/tokens", &[]).await.status, 405);
    assert!(served.node.asked().is_empty());
}

#[tokio::test]
async fn heads_are_bounded_in_size_number_and_time() {
    let served = served_with(|c| c.head_timeout = Duration::from_millis(300)).await;
    let mut many = String::from("GET /health/live HTTP/1.1\r\n");
    for n in 0..200 {
        many += &format!("x-{n}: 1\r\n");
    }
    let large = format!(
        "GET /health/live HTTP/1.1\r\nx: {}\r\n\r\n",
        "y".repeat(40_000)
    );
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(40_000));
    for bytes in [many + "\r\n", large, long] {
        let mut client = served.client().await;
        client.send(bytes.as_bytes()).await;
        let reply = client.reply().await;
        assert!([414, 431].contains(&reply.status), "{reply:?}");
    }
    for junk in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut client = served.client().await;
        client.send(junk).await;
        assert!(client.maybe_reply().await.is_none_or(|r| r.status == 400));
    }
    // One letter at a time.
    let mut slow = served.client().await;
    let begun = Instant::now();
    let mut idle = served.client().await;
    for _ in 0..100 {
        slow.send(b"G").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if begun.elapsed() > Duration::from_millis(800) {
            break;
        }
    }
    assert!(slow.maybe_reply().await.is_none());
    assert!(idle.closed().await);
}

#[tokio::test]
async fn a_slow_body_is_not_waited_for() {
    let served = served_with(|c| c.body_timeout = Duration::from_millis(200)).await;
    let mut client = served.client().await;
    let head = format!(
        "POST {READ} HTTP/1.1\r\nhost: n\r\ncontent-type: {CBOR}\r\ncontent-length: 500\r\n\r\nabc"
    );
    client.send(head.as_bytes()).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.code().as_str()), (408, "slow_body"));
    assert!(client.closed().await);
}

#[tokio::test]
async fn what_is_too_much_at_once_is_shed() {
    let served = served_with(|c| {
        c.max_calls = 2;
        c.call_timeout = Duration::from_millis(400);
    })
    .await;
    // A gate that nobody opens: the node never answers.
    let fixture = served.fixture.clone();
    let mut node = recorder(&fixture);
    std::sync::Arc::get_mut(&mut node).unwrap().gate = tokio::sync::Semaphore::new(0);
    let served = served_by(fixture, node, |c| {
        c.max_calls = 2;
        c.call_timeout = Duration::from_millis(400);
    })
    .await;
    let body = served.read_order();
    let mut calls = Vec::new();
    for _ in 0..6 {
        let (mut client, body) = (served.client().await, body.clone());
        calls.push(tokio::spawn(async move {
            client.post(READ, CBOR, &body).await.code()
        }));
    }
    let mut codes = Vec::new();
    for call in calls {
        codes.push(call.await.unwrap());
    }
    codes.sort();
    assert_eq!(
        codes,
        [
            "busy",
            "busy",
            "busy",
            "busy",
            "holders_away",
            "holders_away"
        ]
    );
    // What was taken is given back.
    let mut client = served.client().await;
    assert_eq!(client.post(READ, CBOR, &body).await.code(), "holders_away");
}

#[tokio::test]
async fn one_network_cannot_spend_for_another() {
    let served = served_with(|c| {
        c.rate = Some(Rate {
            per_second: 100,
            burst: 4096,
        });
    })
    .await;
    let mut near = Client::from("127.0.0.1", served.address).await;
    let mut limited = None;
    for n in 0..200 {
        let reply = near.post("/v1/tokens", CBOR, b"junk").await;
        if reply.status == 429 {
            limited = Some((n, reply));
            break;
        }
        assert_eq!(reply.status, 400);
    }
    let (spent, reply) = limited.unwrap();
    assert!((102..=110).contains(&spent), "{spent}");
    assert_eq!(reply.code(), "rate_limited");
    assert_eq!(reply.header("retry-after"), Some("1"));
    let mut neighbour = Client::from("127.0.0.77", served.address).await;
    assert_eq!(
        neighbour.post("/v1/tokens", CBOR, b"junk").await.status,
        429
    );
    let mut far = Client::from("127.0.1.1", served.address).await;
    assert_eq!(far.post("/v1/tokens", CBOR, b"junk").await.status, 400);
    // Claiming to be somebody else helps only a trusted proxy.
    let forwarded = format!("{CBOR}\r\nx-forwarded-for: 203.0.113.5");
    assert_eq!(
        near.post("/v1/tokens", &forwarded, b"junk").await.status,
        429
    );
    // Health is not limited.
    assert_eq!(near.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn a_trusted_proxy_names_the_network() {
    let served = served_with(|c| {
        c.rate = Some(Rate {
            per_second: 1,
            burst: 4096,
        });
        c.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let mut proxy = served.client().await;
    let as_client = |address: &str| format!("{CBOR}\r\nx-forwarded-for: 9.9.9.9, {address}");
    for _ in 0..102 {
        let reply = proxy
            .post("/v1/tokens", &as_client("203.0.113.5"), b"junk")
            .await;
        assert_eq!(reply.status, 400);
    }
    assert_eq!(
        proxy
            .post("/v1/tokens", &as_client("203.0.113.6"), b"junk")
            .await
            .status,
        429
    );
    assert_eq!(
        proxy
            .post("/v1/tokens", &as_client("203.0.114.6"), b"junk")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn connections_are_bounded_for_each_network_and_for_all() {
    let served = served_with(|c| {
        c.max_connections = 3;
        c.max_network_connections = 2;
    })
    .await;
    let mut kept = Vec::new();
    for source in ["127.0.0.1", "127.0.0.2", "127.0.1.1"] {
        let mut client = Client::from(source, served.address).await;
        assert_eq!(client.get("/health/live").await.status, 200);
        kept.push(client);
    }
    for source in ["127.0.0.3", "127.0.2.1"] {
        let mut turned_away = Client::from(source, served.address).await;
        let reply = turned_away.maybe_reply().await.unwrap();
        assert_eq!(reply.status, 503);
        assert!(turned_away.closed().await);
    }
    let counted = served.node.counted.lock().unwrap().clone();
    let count = |event| counted.iter().filter(|e| **e == event).count();
    assert_eq!(count(Event::ConnectionShed), 2);
    assert_eq!(count(Event::ConnectionOpened), 3);
    kept.remove(0);
    let mut tries = 0;
    loop {
        let mut client = Client::from("127.0.0.3", served.address).await;
        if client.request("GET", "/health/live", &[]).await.status == 200 {
            break;
        }
        tries += 1;
        assert!(tries < 100);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn waits_are_bounded_in_number_and_length() {
    let served = served_with(|c| c.max_waiting = 1).await;
    let body = served.read_order();
    let mut client = served.client().await;
    for wait in ["31", "-1", "x", ""] {
        let reply = client
            .post(&format!("{READ}?wait={wait}"), CBOR, &body)
            .await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "out_of_bounds")
        );
    }
    let mut first = served.client().await;
    let (path, order) = (format!("{READ}?wait=2"), body.clone());
    let waiting = tokio::spawn(async move { first.post(&path, CBOR, &order).await.status });
    while served.node.hub.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        client
            .post(&format!("{READ}?wait=2"), CBOR, &body)
            .await
            .code(),
        "busy"
    );
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn who_asks_and_does_not_read_is_cut_off() {
    let served = served_with(|c| c.stall_timeout = Duration::from_millis(300)).await;
    served.node.put(0, 65_536);
    let mut client = served.client().await;
    let body = served.read_order();
    let head = format!(
        "POST {READ} HTTP/1.1\r\nhost: n\r\ncontent-type: {CBOR}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();
    let sending = async {
        loop {
            client.send(&request).await;
            tokio::task::yield_now().await;
        }
    };
    let _stuck = tokio::time::timeout(Duration::from_secs(2), sending).await;
    let before = served.node.asked().len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(served.node.asked().len(), before);
    // All that the kernel's buffers hold, then the end.
    let mut answers = 0;
    while client.read_some().await {
        answers += 1;
        assert!(answers < 100_000);
    }
}
