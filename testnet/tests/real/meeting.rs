//! Nodes find each other, whichever is there first.

use std::time::Duration;

use lapwing_client::driver::now;
use lapwing_testnet::net::Net;
use tokio::time::sleep;

use crate::machine;
use crate::start::options;

#[tokio::test]
async fn nodes_meet_although_those_they_ask_first_start_last() {
    let _turn = machine::shared();
    let dir = tempfile::tempdir().unwrap();
    let mut net = Net::prepare(&options(dir.path(), 5, 6), now())
        .await
        .unwrap();
    // Each one asks those before it; none of them is there yet.
    for n in (0..5).rev() {
        net.launch(n).unwrap();
        sleep(Duration::from_millis(700)).await;
    }
    net.wait_met().await.unwrap();
    net.stop().await.unwrap();
}
