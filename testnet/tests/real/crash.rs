//! A testnet that crashes, and one that cannot start.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lapwing_client::driver::now;
use lapwing_testnet::cleanup::{Cleaned, RunDir};
use lapwing_testnet::net::{Net, NetError};
use lapwing_testnet::node::NodeError;

use crate::machine;
use crate::start::{lapwing, options};

fn processes(run: &Path) -> Vec<PathBuf> {
    let recorded = fs::read_to_string(run.join("processes")).unwrap();
    let numbers = recorded.lines().filter_map(|l| l.split(' ').next());
    numbers.map(|pid| Path::new("/proc").join(pid)).collect()
}

/// Whether a process runs: one that was killed may stay as a zombie until somebody waits for it.
fn lives(process: &Path) -> bool {
    fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn the_nodes_of_a_crashed_testnet_are_found_and_killed() {
    let _turn = machine::shared();
    let dir = tempfile::tempdir().unwrap();
    let mut testnet = Command::new(env!("CARGO_BIN_EXE_lapwing-testnet"))
        .args(["up", "--nodes", "3", "--seed", "1"])
        .env("TMPDIR", dir.path())
        .env("LAPWING_BIN", lapwing())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(testnet.stdout.take().unwrap()).lines();
    let up = lines
        .map_while(Result::ok)
        .any(|line| line.contains("are one federation"));
    assert!(up, "it never came up");
    testnet.kill().unwrap();
    testnet.wait().unwrap();
    let base = dir.path().join("lapwing-testnet");
    let run = fs::read_dir(&base).unwrap().next().unwrap().unwrap().path();
    let nodes = processes(&run);
    assert_eq!(nodes.len(), 3);
    assert!(
        nodes.iter().all(|p| lives(p)),
        "a killed parent takes no node along"
    );
    let (next, cleaned) = RunDir::create(&base).unwrap();
    assert_eq!(
        cleaned,
        Cleaned {
            killed: 3,
            removed: 1
        }
    );
    assert!(!nodes.iter().any(|p| lives(p)));
    assert!(!run.exists() && next.path().exists());
}

#[tokio::test]
async fn a_port_in_use_is_said_with_the_nodes_own_words() {
    let _turn = machine::shared();
    let dir = tempfile::tempdir().unwrap();
    let mut net = Net::prepare(&options(dir.path(), 1, 2), now())
        .await
        .unwrap();
    let api = net.node(0).unwrap().api();
    let _taken = TcpListener::bind(api).unwrap();
    let error = net.restart(0).await.unwrap_err();
    let NetError::Node(NodeError::Ended { status, log, .. }) = error else {
        panic!("{error}");
    };
    assert!(!status.success());
    assert!(
        log.contains(&api.to_string()),
        "the log names the address: {log}"
    );
}

#[tokio::test]
async fn a_missing_binary_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), 1, 3);
    options.binary = dir.path().join("nowhere");
    let error = Net::start(&options, now()).await.unwrap_err();
    assert!(
        error.to_string().contains("cargo build -p lapwing"),
        "{error}"
    );
}
