//! The admin API on its own socket.

use lapwing_api::{AdminAddress, AdminListener, serve_admin};
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::testing::{Fixture, START};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::client::Client;
use crate::node::{recorder, served};

#[tokio::test]
async fn the_operator_reads_the_status_and_publishes_over_the_unix_socket() {
    let mut fixture = Fixture::new(1, 3);
    let node = recorder(&fixture);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = AdminListener::bind(&AdminAddress::Socket(path.clone()))
        .await
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve_admin(listener, node.clone(), async {
        let _stopped = stopped.await;
    }));
    let mut client = Client::over(UnixStream::connect(&path).await.unwrap());
    assert_eq!(
        client.request("GET", "/status", &[]).await.json()["peers"],
        2
    );
    assert_eq!(client.request("GET", "/health/live", &[]).await.status, 200);
    let metrics = client.request("GET", "/metrics", &[]).await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text; version=1.0.0")
    );
    assert_eq!(metrics.body, b"# EOF\n");
    let refused = client.request("POST", "/reload", &[]).await;
    assert_eq!(refused.status, 409);
    assert_eq!(
        refused.json()["problem"],
        "this node cannot read its configuration anew"
    );
    let status = fixture.mediator.redate(START);
    let reply = client.post("/trust", "application/cose", &status).await;
    assert_eq!(reply.json()["id"], record_hash(&status).to_hex());
    assert_eq!(
        client
            .post("/trust", "application/cose", b"junk")
            .await
            .code(),
        "malformed"
    );
    assert_eq!(
        client.post("/trust", "text/plain", &status).await.code(),
        "wrong_type"
    );
    let large = vec![0; 2 << 20];
    let mut other = Client::over(UnixStream::connect(&path).await.unwrap());
    assert_eq!(
        other
            .post("/trust", "application/cose", &large)
            .await
            .code(),
        "too_large"
    );
    assert_eq!(
        client.request("GET", "/v1/node", &[]).await.code(),
        "unknown_call"
    );
    assert_eq!(
        client.request("GET", "/trust", &[]).await.code(),
        "wrong_method"
    );
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn the_loopback_port_answers_only_to_local_names() {
    let node = recorder(&Fixture::new(1, 3));
    let address = AdminAddress::Loopback("127.0.0.1:0".parse().unwrap());
    let listener = AdminListener::bind(&address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(serve_admin(listener, node, std::future::pending()));
    let mut client = Client::to(address).await;
    assert_eq!(client.request("GET", "/status", &[]).await.status, 200);
    client
        .send(b"GET /status HTTP/1.1\r\nhost: evil.example\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 404);
    task.abort();
}

#[tokio::test]
async fn the_public_socket_serves_nothing_of_it() {
    let served = served().await;
    let mut client = served.client().await;
    for path in [
        "/status",
        "/trust",
        "/admin",
        "/shutdown",
        "/metrics",
        "/reload",
    ] {
        assert_eq!(client.get(path).await.code(), "unknown_call");
    }
}
