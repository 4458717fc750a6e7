//! A configuration that changes while the API serves.

use lapwing_api::{ApiConfig, Origins, Rate, serve_changing};
use lapwing_protocol::testing::Fixture;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::client::Client;
use crate::node::recorder;

const ORIGIN: &str = "access-control-allow-origin";

#[tokio::test]
async fn what_may_change_applies_to_open_connections_and_a_bad_one_changes_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (configs, changing) = watch::channel(ApiConfig::default());
    let node = recorder(&Fixture::new(1, 3));
    let task = tokio::spawn(serve_changing(
        listener,
        node,
        changing,
        std::future::pending(),
    ));
    let mut client = Client::to(address).await;
    assert_eq!(client.get("/v1/trust/all").await.header(ORIGIN), Some("*"));

    let only = Origins::Only(["https://app.example".parse().unwrap()].into());
    configs.send_modify(|c| {
        c.cors_origins = only.clone();
        c.rate = Some(Rate {
            per_second: 1,
            burst: 4096,
        });
        c.max_connections = 1;
    });
    let mut tries = 0;
    while client.get("/v1/node").await.header(ORIGIN).is_some() {
        tries += 1;
        assert!(tries < 1000, "never applied");
        tokio::task::yield_now().await;
    }
    let mut second = Client::to(address).await;
    assert_eq!(second.maybe_reply().await.unwrap().status, 503);
    let mut asked = 0;
    while client.get("/v1/trust/all").await.status == 200 {
        asked += 1;
        assert!(asked < 200, "never limited");
    }

    configs.send_modify(|c| {
        c.max_connections = 0;
        c.rate = None;
        c.cors_origins = Origins::Any;
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let limited = client.get("/v1/trust/all").await;
    assert_eq!((limited.status, limited.header(ORIGIN)), (429, None));
    task.abort();
}
