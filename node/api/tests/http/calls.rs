//! Calls that are well meant: what goes through, and how it comes back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lapwing_api::{Event, Node, Origins};
use lapwing_protocol::client::{Answer, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::sign;
use lapwing_protocol::id::TokenHash;
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::mailbox::{BlobWrite, Mailbox, WriteAuth, Writers, write_message};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::testing::{START, list};
use lapwing_protocol::time::Seconds;
use lapwing_protocol::token::{TokenOrder, TokenWork, epoch_at};

use crate::node::{Served, order, served, served_with};

const READ: &str = "/v1/mailboxes/read";
const CBOR: &str = "application/cbor";

fn token_order(served: &Served) -> Vec<u8> {
    let hash = TokenHash::from_bytes([4; 32]);
    let view = served.node.view();
    let params = view.params().unwrap();
    let work = TokenWork {
        federation: view.federation_id(),
        issuer: served.node.id(),
        epoch: epoch_at(served.node.now(), params.epoch),
    };
    let proof = work.search(&hash, params.token_work, 0, 1 << 20).unwrap();
    to_bytes(&TokenOrder {
        hash,
        proof,
        key: SigningKey::from_seed(&[6; 32]).verifying_key(),
    })
}

#[tokio::test]
async fn a_token_comes_back_as_its_own_bytes() {
    let served = served().await;
    let mut client = served.client().await;
    let reply = client.post("/v1/tokens", CBOR, &token_order(&served)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/cose"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.body, vec![7; 300]);
    assert_eq!(
        client.post("/v1/tokens", CBOR, b"junk").await.code(),
        "malformed"
    );
    assert_eq!(client.get("/v1/elsewhere").await.status, 404);
    let counted = served.node.counted.lock().unwrap().clone();
    assert_eq!(counted[0], Event::ConnectionOpened);
    let answered: Vec<_> = counted[1..]
        .iter()
        .map(|event| match event {
            Event::Answered {
                endpoint,
                status,
                refused,
                took,
            } => (*endpoint, *status, *refused, took.is_some()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        answered,
        [
            ("/v1/tokens", 200, None, true),
            ("/v1/tokens", 400, Some("malformed"), true),
            ("other", 404, Some("unknown_call"), false),
        ]
    );
}

#[tokio::test]
async fn a_blob_is_written_and_the_retry_on_the_same_connection_gets_the_same_bytes() {
    let served = served().await;
    let writer = SigningKey::from_seed(&[8; 32]);
    let mailbox = Mailbox {
        writers: Writers::Keys(list(vec![writer.verifying_key()])),
        ..served.mailbox.clone()
    };
    let blob = vec![1; 4096];
    let signature = writer.sign(&write_message(&mailbox.id(), 2, &blob));
    let write = to_bytes(&BlobWrite {
        mailbox,
        slot: 2,
        blob: blob.try_into().unwrap(),
        auth: WriteAuth::Key(signature),
    });
    let mut client = served.client().await;
    let first = client.post("/v1/mailboxes/write", CBOR, &write).await;
    let second = client.post("/v1/mailboxes/write", CBOR, &write).await;
    assert_eq!((first.status, second.status), (200, 200), "{first:?}");
    assert_eq!(first.body, second.body);
    assert!(matches!(
        Answer::parse(CallKind::Write, &first.body),
        Ok(Answer::Receipt(_))
    ));
    assert_eq!(served.node.asked(), ["put", "put"]);
}

#[tokio::test]
async fn a_body_in_many_chunks_is_one_body() {
    let served = served().await;
    let body = token_order(&served);
    let mut client = served.client().await;
    client
        .send(b"POST /v1/tokens HTTP/1.1\r\nhost: n\r\ncontent-type: Application/CBOR; x=y\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for byte in &body {
        client
            .send(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n'])
            .await;
        tokio::task::yield_now().await;
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn a_page_is_read_from_this_node_alone_or_from_its_holders() {
    let served = served().await;
    served.node.put(0, 4096);
    served.node.put(1, 4096);
    let mut client = served.client().await;
    let asked = client.post(READ, CBOR, &served.read_order()).await;
    assert_eq!(asked.status, 200);
    assert_eq!(asked.header("content-type"), Some(CBOR));
    assert_eq!(asked.body, to_bytes(&served.node.page(None)));
    served.node.local.store(true, Ordering::Relaxed);
    let local = client.post(READ, CBOR, &served.read_order()).await;
    assert_eq!(local.body, asked.body);
    assert_eq!(served.node.asked(), ["read"]);
    let after = order(&served.signed_proof(|_| ()), Some(0));
    let rest = client.post(READ, CBOR, &after).await;
    assert_eq!(rest.body, to_bytes(&served.node.page(Some(0))));
}

#[tokio::test]
async fn a_read_is_refused_where_its_proof_does_not_hold() {
    let served = served().await;
    let stale = START.plus(Seconds::new(301));
    let other = served.fixture.nodes().nth(1).unwrap().id;
    let stranger = sign(&served.proof(), &SigningKey::from_seed(&[99; 32]));
    let mut forged = served.signed_proof(|_| ());
    *forged.last_mut().unwrap() ^= 1;
    let mut long = served.read_order();
    long.push(0);
    let cases = [
        (
            order(&served.signed_proof(|p| p.time = stale), None),
            403,
            "stale_time",
        ),
        (
            order(&served.signed_proof(|p| p.node = other), None),
            403,
            "wrong_node",
        ),
        (order(&stranger, None), 403, "bad_signature"),
        (order(&forged, None), 403, "bad_signature"),
        (long, 400, "malformed"),
        (served.signed_proof(|_| ()), 400, "malformed"),
        (Vec::new(), 400, "malformed"),
    ];
    let mut client = served.client().await;
    for (body, status, code) in cases {
        let reply = client.post(READ, CBOR, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code));
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
    assert!(served.node.asked().is_empty());
}

#[tokio::test]
async fn the_nodes_refusals_keep_their_code_and_say_when_to_retry() {
    let served = served().await;
    let mut client = served.client().await;
    for (problem, retry) in [
        (Problem::HoldersAway, Some("2")),
        (Problem::StatusExpired, Some("60")),
        (Problem::NotOpened, None),
        (Problem::CapReached, None),
        (Problem::Internal, None),
    ] {
        *served.node.fails.lock().unwrap() = Some(problem);
        let reply = client.post(READ, CBOR, &served.read_order()).await;
        assert_eq!(reply.status, problem.status());
        assert_eq!(reply.code(), problem.text());
        assert_eq!(reply.header("retry-after"), retry);
        assert_eq!(reply.json()["detail"], problem.message());
    }
}

#[tokio::test]
async fn a_long_poll_answers_at_once_when_something_is_there() {
    let served = served().await;
    served.node.put(0, 4096);
    let mut client = served.client().await;
    let begun = Instant::now();
    let reply = client
        .post("/v1/mailboxes/read?wait=30", CBOR, &served.read_order())
        .await;
    assert_eq!(reply.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(served.node.hub.is_empty());
}

#[tokio::test]
async fn a_long_poll_ends_with_the_change_or_with_its_time() {
    let served = served().await;
    let mut client = served.client().await;
    let begun = Instant::now();
    let reply = client
        .post("/v1/mailboxes/read?wait=1", CBOR, &served.read_order())
        .await;
    assert_eq!(reply.body, to_bytes(&served.node.page(None)));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let (node, id) = (served.node.clone(), served.mailbox.id());
    let writer = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Heard of, but the holders have it only a moment later.
        node.hub.notify(&id);
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.put(3, 4096);
    });
    let begun = Instant::now();
    let reply = client
        .post("/v1/mailboxes/read?wait=30", CBOR, &served.read_order())
        .await;
    assert_eq!(reply.body, to_bytes(&served.node.page(None)));
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(reply.body.len() > 4096);
    writer.await.unwrap();
    assert!(served.node.hub.is_empty());
}

#[tokio::test]
async fn a_long_poll_of_a_client_that_left_is_forgotten() {
    let served = served().await;
    let mut client = served.client().await;
    let body = served.read_order();
    let head = format!(
        "POST {READ}?wait=30 HTTP/1.1\r\nhost: n\r\ncontent-type: {CBOR}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(&[head.as_bytes(), &body].concat()).await;
    while served.node.hub.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(client);
    while !served.node.hub.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_shutdown_ends_waits_with_an_answer_and_lets_calls_finish() {
    let mut served = served().await;
    let mut waiting = served.client().await;
    let body = served.read_order();
    let path = format!("{READ}?wait=30");
    let poll = tokio::spawn(async move { waiting.post(&path, CBOR, &body).await });
    while served.node.hub.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let address = served.address;
    served.stop();
    assert_eq!(poll.await.unwrap().status, 200);
    let begun = Instant::now();
    served.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn pages_of_other_origins_may_call() {
    let served = served().await;
    let mut client = served.client().await;
    let asks = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
    ];
    let reply = client.request("OPTIONS", "/v1/tokens", &asks).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        reply.header("access-control-allow-methods"),
        Some("GET, HEAD, POST")
    );
    assert!(reply.header("access-control-allow-credentials").is_none());
    let reply = client.request("OPTIONS", "/health/live", &asks).await;
    assert_eq!(reply.status, 405);
    assert!(reply.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn an_operator_may_name_the_pages_that_may_call() {
    let app = "https://app.example";
    let only = [app.parse().unwrap()];
    let served = served_with(|c| c.cors_origins = Origins::Only(only.into())).await;
    let mut client = served.client().await;
    for (origin, allowed) in [
        (app, Some(app)),
        ("https://other.example", None),
        ("null", None),
        ("https://app.example:8443", None),
    ] {
        let asks = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        for method in ["OPTIONS", "GET"] {
            let reply = client.request(method, "/v1/node", &asks).await;
            let given = reply.header("access-control-allow-origin");
            assert_eq!(given, allowed, "{method} {origin}");
            assert_eq!(reply.header("vary"), Some("origin"));
        }
    }
    // What is not a browser is answered as ever.
    let reply = client.get("/v1/node").await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn a_client_may_say_which_version_it_needs() {
    let served = served().await;
    let mut client = served.client().await;
    let spoken = client.get("/v1/node").await;
    let version = spoken.header("lapwing-version").unwrap().to_owned();
    for good in ["1", &version] {
        let reply = client
            .request("GET", "/v1/node", &[("lapwing-version", good)])
            .await;
        assert_eq!(reply.status, 200, "{good}");
    }
    for bad in ["2.0", "1.999", "new"] {
        let reply = client
            .request("GET", "/v1/node", &[("lapwing-version", bad)])
            .await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (406, "wrong_version")
        );
        assert_eq!(reply.header("lapwing-version"), Some(version.as_str()));
    }
}
