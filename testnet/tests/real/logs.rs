//! What the nodes log while people book: nothing that is secret, and nothing of any one person.
//!
//! A small day is played with every line of the nodes' own on: tokens drawn, requests
//! placed, mailboxes written, read and watched, a node killed and healed. Then each line is held against
//! what may stand there. The ids of nodes may; any other long run of digits, letters or bytes may not,
//! whatever it is: mailbox ids, tokens, keys, blobs and signatures are all such runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::machine;
use crate::start::lapwing;

/// All of our own; of others the node lets through what they warn of.
const EVERYTHING: &str = "lapwing=trace,lapwing_core=trace,lapwing_store=trace,lapwing_net=trace,lapwing_api=trace,lapwing_protocol=trace";
/// Ids are 32 bytes. Half of one would still tell which.
const LONG_HEX: usize = 16;
/// Text that is neither a word nor a path: base64, base58.
const LONG_TEXT: usize = 32;
/// Numbers in a row, as bytes are shown.
const LONG_LIST: usize = 8;

/// What is wrong with a line, if anything. `public` are the ids of nodes.
fn wrong(line: &str, public: &BTreeSet<String>) -> Option<String> {
    for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let hex = word.len() >= LONG_HEX && word.bytes().all(|b| b.is_ascii_hexdigit());
        let peer = word.starts_with("12D3KooW");
        if hex && !public.contains(word) {
            return Some(format!("an id: {word}"));
        }
        let lower = word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if word.len() >= LONG_TEXT && !hex && !peer && !lower {
            return Some(format!("encoded bytes: {word}"));
        }
    }
    let numbers = |list: &str| {
        let mut run = 0;
        list.split(", ").any(|part| {
            let part = part.trim_matches(|c| c == '[' || c == ']' || c == ' ');
            run = if part.parse::<u8>().is_ok() {
                run + 1
            } else {
                0
            };
            run >= LONG_LIST
        })
    };
    if numbers(line) {
        return Some("a list of bytes".to_owned());
    }
    // Apps come from 127.1.0.0 and beyond, each from a network of its own; nodes are at 127.0.0.1.
    for (at, _) in line.match_indices("127.") {
        let rest = &line[at + 4..];
        if rest.starts_with(|c: char| c.is_ascii_digit()) && !rest.starts_with("0.0.1") {
            return Some("a client's address".to_owned());
        }
    }
    None
}

#[test]
fn the_scan_finds_what_must_not_be_there() {
    let node = "ab".repeat(32);
    let public = BTreeSet::from([node.clone()]);
    let good = format!(
        "DEBUG a peer's fault peer={node} severity=Minor what=\"an item that does not belong here\" at=/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWAbCdEfGhIjKlMnOpQrStUvWxYz1234567890abcdefgh [1, 2, 3]"
    );
    assert_eq!(wrong(&good, &public), None);
    for bad in [
        format!("mailbox={}", "cd".repeat(32)),
        "id=0123456789abcdef".to_owned(),
        "GET /v1/watches/q83vEjRWeJASNFZ4kBI0VniQEjRWeJASNFZ4kBI0VniQ/events".to_owned(),
        "key: [1, 2, 3, 4, 5, 6, 7, 8, 9]".to_owned(),
        "from 127.3.1.1:5555".to_owned(),
    ] {
        assert!(wrong(&bad, &public).is_some(), "{bad}");
    }
}

#[test]
fn a_round_of_bookings_leaves_nothing_of_anybody_in_the_logs() {
    let _turn = machine::alone();
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lapwing-testnet"))
        .arg("run")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/small.toml"))
        .args(["--once", "--keep", "--seed", "12"])
        .env("TMPDIR", dir.path())
        .env("LAPWING_BIN", lapwing())
        .env("LAPWING_LOG", EVERYTHING)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let run = fs::read_dir(dir.path().join("lapwing-testnet"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    let nodes: Vec<_> = (1..=3).map(|n| run.join(format!("n{n}"))).collect();
    let logs: Vec<String> = nodes
        .iter()
        .map(|node| fs::read_to_string(node.join("node.log")).unwrap())
        .collect();
    let public: BTreeSet<String> = logs
        .iter()
        .flat_map(|log| log.lines())
        .filter(|line| line.contains("running"))
        .filter_map(|line| line.split("node=").nth(1))
        .map(|rest| rest.chars().take(64).collect())
        .collect();
    assert_eq!(public.len(), 3, "each node says who it is");
    let secrets: Vec<String> = nodes.iter().flat_map(|node| secrets_of(node)).collect();
    assert!(secrets.len() >= 9);
    let mut seen = 0;
    for log in &logs {
        // Said by every node as it starts: else the scan would look at lines of an ordinary day only.
        assert!(
            log.contains("DEBUG"),
            "the level is not as asked for: {log}"
        );
        for line in log.lines() {
            seen += 1;
            assert!(!line.contains('\x1b'), "no colours in a file: {line:?}");
            if let Some(what) = wrong(line, &public) {
                panic!("{what}, in: {line}");
            }
            assert!(
                !secrets.iter().any(|s| line.contains(s)),
                "a secret: {line}"
            );
        }
    }
    println!("{seen} lines hold nothing of anybody");
}

/// The secrets in a node's key file.
fn secrets_of(node: &Path) -> Vec<String> {
    let text = fs::read_to_string(node.join("node.key")).unwrap();
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split('"').nth(1))
        .map(str::to_owned)
        .collect()
}
