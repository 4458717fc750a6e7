//! What the shell costs: CPU time of a read through the API against a bare handler that does the same
//! work, one strict verification and one look-up, with the same bytes in and out. Run it alone:
//! `cargo test --release -p lapwing-api --test http -- --ignored --nocapture cost`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use lapwing_api::{ApiConfig, Node, serve};
use lapwing_protocol::client::{CallKind, check_call};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::testing::START;
use tokio::net::TcpListener;

use crate::client::Client;
use crate::node::{recorder, served};

const READS: u32 = 20_000;

/// Runs a server on a thread of its own; gives its address and the thread's id.
fn on_a_thread<F>(serving: impl FnOnce(TcpListener) -> F + Send + 'static) -> (SocketAddr, String)
where
    F: Future<Output = ()>,
{
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let id = std::fs::read_link("/proc/thread-self").unwrap();
        let id = id.file_name().unwrap().to_str().unwrap().to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send((listener.local_addr().unwrap(), id)).unwrap();
            serving(listener).await;
        });
    });
    told.recv().unwrap()
}

/// Nanoseconds that a thread was on a processor.
fn cpu(thread: &str) -> u64 {
    let path = match thread {
        "self" => "/proc/thread-self/schedstat".to_owned(),
        id => format!("/proc/self/task/{id}/schedstat"),
    };
    let text = std::fs::read_to_string(path).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

async fn measure(server: &(SocketAddr, String), path: &str, body: &[u8]) -> u64 {
    let mut client = Client::to(server.0).await;
    for _ in 0..500 {
        assert_eq!(
            client.post(path, "application/cbor", body).await.status,
            200
        );
    }
    let before = cpu(&server.1);
    for _ in 0..READS {
        client.post(path, "application/cbor", body).await;
    }
    (cpu(&server.1) - before) / u64::from(READS)
}

#[tokio::test]
#[ignore = "measures; run it in release"]
async fn cost_of_a_read() {
    let served = served().await;
    let node = recorder(&served.fixture);
    node.put(0, 4096);
    node.local.store(true, Ordering::Relaxed);
    let order = served.read_order();
    let page = Bytes::from(to_bytes(&node.page(None)));
    let key = SigningKey::from_seed(&[1; 32]);
    let (public, signature) = (key.verifying_key(), key.sign(&order));
    let bare = on_a_thread(async move |listener| {
        let (page, signed) = (page, Arc::new((public, signature)));
        let router = Router::new().route(
            "/read",
            post(move |body: Bytes| {
                let (page, signed) = (page.clone(), signed.clone());
                async move {
                    signed.0.verify(&body, &signed.1).unwrap();
                    // As a store that gives out copies would.
                    Bytes::from(page.to_vec())
                }
            }),
        );
        axum::serve(listener, router).await.unwrap();
    });
    let ours = on_a_thread(async move |listener| {
        let config = ApiConfig {
            rate: None,
            ..ApiConfig::default()
        };
        serve(listener, node, config, std::future::pending())
            .await
            .unwrap();
    });
    // The shell calls this once a read; what it costs is the protocol's affair.
    let (view, me) = (served.node.view(), served.node.id());
    let before = cpu("self");
    for _ in 0..READS {
        check_call(CallKind::Read, &order, &view, &me, START).unwrap();
    }
    let check = (cpu("self") - before) / u64::from(READS);
    let before = cpu("self");
    for _ in 0..READS {
        public.verify(&order, &signature).unwrap();
    }
    let verify = (cpu("self") - before) / u64::from(READS);
    println!("check_call {check} ns, of which one verification {verify} ns");
    for _ in 0..3 {
        let bare = measure(&bare, "/read", &order).await;
        let ours = measure(&ours, "/v1/mailboxes/read", &order).await;
        println!(
            "a read: bare {bare} ns, through the API {ours} ns, {:.2} of it",
            ours as f64 / bare as f64
        );
    }
}
