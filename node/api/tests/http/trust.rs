//! What apps read of the chain of trust, of the node, and of its health.

use lapwing_api::{Node, NotReady};
use lapwing_protocol::codec::Decoder;
use lapwing_protocol::hash::record_hash;
use lapwing_protocol::testing::START;
use lapwing_protocol::trust::TrustView;

use crate::node::served;

#[tokio::test]
async fn an_app_rebuilds_the_nodes_view_from_one_download() {
    let served = served().await;
    let mut client = served.client().await;
    let reply = client.get("/v1/trust/all").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/cbor"));
    let mut d = Decoder::new(&reply.body);
    let mut view = TrustView::new(served.fixture.federation.clone()).unwrap();
    for _ in 0..d.array_len(1000).unwrap() {
        view.learn(d.bytes(2 << 20).unwrap(), START).unwrap();
    }
    d.end().unwrap();
    assert!(view == *served.node.view());
    let tag = reply.header("etag").unwrap().to_owned();
    for tags in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let again = client
            .request("GET", "/v1/trust/all", &[("if-none-match", &tags)])
            .await;
        assert_eq!(
            (again.status, again.header("etag")),
            (304, Some(tag.as_str()))
        );
    }
    let changed = client
        .request("GET", "/v1/trust/all", &[("if-none-match", "\"x\"")])
        .await;
    assert_eq!(changed.body, reply.body);
    let head = client.request("HEAD", "/v1/trust/all", &[]).await;
    assert_eq!(
        (head.status, head.header("etag")),
        (200, Some(tag.as_str()))
    );
    assert_eq!(
        head.header("content-length").unwrap(),
        reply.body.len().to_string()
    );
}

#[tokio::test]
async fn a_published_record_is_served_and_changes_what_is_tagged() {
    let mut served = served().await;
    let mut client = served.client().await;
    let before = client.get("/v1/trust/all").await;
    let index = client.get("/v1/trust").await;
    let status = served.fixture.mediator.redate(START);
    let reply = client.post("/v1/trust", "application/cose", &status).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let id = record_hash(&status);
    assert_eq!(reply.body, lapwing_protocol::codec::to_bytes(&id));
    let after = client.get("/v1/trust/all").await;
    assert_ne!(before.header("etag"), after.header("etag"));
    let tag = index.header("etag").unwrap();
    let index = client
        .request("GET", "/v1/trust", &[("if-none-match", tag)])
        .await;
    assert_eq!(index.status, 200);
    let entry = &index.json()["mediators"][0]["status"];
    assert_eq!(entry["id"], id.to_hex());
    let record = client.get(&format!("/v1/trust/records/{id}")).await;
    assert_eq!(record.body, status);
    assert_eq!(record.header("content-type"), Some("application/cose"));
    assert_eq!(
        record.header("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    let tag = format!("\"{id}\"");
    assert_eq!(record.header("etag"), Some(tag.as_str()));
    let mediator = served.fixture.mediator.id;
    let latest = client.get(&format!("/v1/trust/status/{mediator}")).await;
    assert_eq!(
        (latest.body, latest.headers.get("etag")),
        (status, record.headers.get("etag"))
    );
    assert_eq!(latest.headers["cache-control"], "no-cache");
}

#[tokio::test]
async fn the_latest_of_each_kind_is_found_and_nothing_else_is() {
    let served = served().await;
    let mut client = served.client().await;
    let roster = client.get("/v1/trust/roster").await;
    assert_eq!(roster.body, served.fixture.roster);
    let mediator = served.fixture.mediator.id;
    for kind in [
        "registration",
        "certificate",
        "regions",
        "directory",
        "revocations",
        "status",
    ] {
        let reply = client.get(&format!("/v1/trust/{kind}/{mediator}")).await;
        assert_eq!(reply.status, 200, "{kind}");
        let index = client.get("/v1/trust").await.json();
        assert_eq!(
            index["mediators"][0][kind]["id"],
            record_hash(&reply.body).to_hex()
        );
    }
    let nobody = "00".repeat(32);
    for path in [
        format!("/v1/trust/status/{nobody}"),
        format!("/v1/trust/roster/{mediator}"),
        format!("/v1/trust/provider/{mediator}"),
        format!("/v1/trust/status/{}", mediator.to_hex().to_uppercase()),
        "/v1/trust/status".to_owned(),
        format!("/v1/trust/records/{nobody}"),
        "/v1/trust/records/x".to_owned(),
    ] {
        let reply = client.get(&path).await;
        assert_eq!(reply.status, 404, "{path}");
        let _is_problem = reply.code();
    }
}

#[tokio::test]
async fn the_node_says_who_it_is() {
    let served = served().await;
    let mut client = served.client().await;
    let node = client.get("/v1/node").await.json();
    assert_eq!(node["node"], served.node.id().to_hex());
    assert_eq!(node["federation"], served.fixture.federation.id().to_hex());
    assert_eq!(node["roster"], 1);
    assert_eq!(node["time"], START.get());
    assert_eq!(node["params"]["clock_skew"], 300);
    assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn health_tells_living_from_serving() {
    let served = served().await;
    let mut client = served.client().await;
    assert_eq!(client.get("/health/live").await.json()["status"], "live");
    assert_eq!(client.get("/health/ready").await.json()["status"], "ready");
    *served.node.not_ready.lock().unwrap() = Some(NotReady::NoRoster);
    assert_eq!(client.get("/health/live").await.status, 200);
    let reply = client.get("/health/ready").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "not_ready"));
    assert_eq!(reply.json()["detail"], NotReady::NoRoster.to_string());
    assert_eq!(
        client.request("HEAD", "/health/ready", &[]).await.status,
        503
    );
}
