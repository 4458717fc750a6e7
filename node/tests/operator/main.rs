//! What an operator does with a running node: the real binary, real sockets, real signals.
#![allow(clippy::unwrap_used)]

mod desk;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desk::{Desk, get, mode, said, wait};

#[test]
fn two_nodes_are_seen_in_step_and_one_going_away() {
    let desk = Desk::new();
    desk.federation();
    let (_, north) = desk.node("north", None);
    desk.node("south", Some(north["address"].as_str().unwrap()));
    desk.operator("north");
    desk.operator("south");
    desk.done("federation roster draft --operator north.toml --out roster.toml");
    desk.done("federation roster admit --roster roster.toml --operator south.toml");
    desk.done("federation roster sign --draft roster.toml --key root.key --into roster.cbor");
    let _north = desk.start("north");
    assert_eq!(mode(&desk.path("north/admin.sock")), 0o600);
    assert_eq!(mode(&desk.path("north/node.key")), 0o600);
    assert_eq!(mode(&desk.path("north/data")), 0o700);
    let check = desk.run("status --config north/lapwing.toml --check");
    assert_eq!(check.status.code(), Some(2), "no roster: critical");

    // The roster comes by a reload of the federation file.
    desk.edit("federation.toml", "# roster = ", "roster = ");
    let applied = desk.done("reload --config north/lapwing.toml");
    assert_eq!(applied, "applied: roster\n");
    wait("the roster", || desk.status("north")["roster"] == 1);
    let again: Value =
        serde_json::from_str(&desk.done("reload --config north/lapwing.toml --json")).unwrap();
    assert_eq!(again["applied"], Value::Array(Vec::new()));

    let south = desk.start("south");
    wait("two nodes in step", || {
        let status = desk.status("north");
        status["ready"] == true && status["peers"][0]["compared"].is_u64()
    });
    let status = desk.status("north");
    let peer = &status["peers"][0];
    assert_eq!(
        (&peer["operator"], &peer["connected"], &peer["transport"]),
        (&"south".into(), &true.into(), &"tcp".into())
    );
    assert!(peer["clock_offset"].as_i64().unwrap().abs() <= 2, "{peer}");
    assert_eq!(status["clock"]["peers"], 1);
    assert_eq!(status["operator"], "north");
    assert_eq!(status["trust"][0]["kind"], "roster");
    assert_eq!(status["peers_expected"], 1);
    assert!(status["store"]["bytes"].as_u64().unwrap() > 0);
    assert!(status["store"]["disk_free"].as_u64().unwrap() > 0);
    assert!(status["store"]["commits"].as_u64().unwrap() > 0);
    let text = desk.done("status --config north/lapwing.toml");
    for part in [
        "peers       1 of 1 connected",
        "south                tcp   compared ",
        "  roster        the federation       no. 1, ",
        "queues      0 requests in 0 regions",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    let metrics = desk.metrics("north");
    for line in [
        "lapwing_ready 1.0",
        "lapwing_peers_connected 1.0",
        "lapwing_peers_by_transport{transport=\"tcp\"} 1.0",
        "lapwing_roster_sequence 1.0",
        "lapwing_store_failed 0.0",
    ] {
        assert!(
            metrics.lines().any(|l| l == line),
            "{line}\nis not in\n{metrics}"
        );
    }
    assert!(metrics.contains("\r\ncontent-type: application/openmetrics-text"));
    assert!(metrics.ends_with("# EOF\n"));

    drop(south);
    wait("south away", || {
        let status = desk.status("north");
        status["peers"][0]["connected"] == false && status["peers"][0]["last_seen"].is_u64()
    });
    let gone = desk.run("status --config north/lapwing.toml");
    let text = String::from_utf8(gone.stdout).unwrap();
    assert!(text.contains("away, last seen "), "{text}");
}

#[test]
fn a_reload_applies_what_can_change_and_names_the_rest() {
    let desk = Desk::new();
    desk.federation();
    let (api, _) = desk.node("north", None);
    let node = desk.start("north");
    let from = "origin: https://b.example\r\n";
    assert!(get(api, "/v1/trust", from).contains("access-control-allow-origin: *"));

    desk.edit(
        "north/lapwing.toml",
        "# cors_origins = [\"https://app.example.org\"]",
        "cors_origins = [\"https://a.example\"]",
    );
    desk.edit(
        "north/lapwing.toml",
        "level = \"info\"",
        "level = \"debug\"",
    );
    desk.edit("north/lapwing.toml", "cache_mib = 64", "cache_mib = 65");
    node.signal("-HUP");
    let line = node.wait_for_line("read the configuration anew");
    assert!(line.contains("needs a restart: store.cache_mib"), "{line}");
    assert!(line.contains("log.level, api.cors_origins"), "{line}");
    wait("the new origins", || {
        !get(api, "/v1/trust", from).contains("access-control-allow-origin")
    });
    let own = get(api, "/v1/trust", "origin: https://a.example\r\n");
    assert!(own.contains("access-control-allow-origin: https://a.example"));

    // What waits for a restart is named again; what holds already is not.
    let said_again = desk.done("reload --config north/lapwing.toml");
    assert_eq!(said_again, "needs a restart: store.cache_mib\n");
    desk.edit("north/lapwing.toml", "cache_mib = 65", "cache_mib = 64");
    let unchanged = desk.done("reload --config north/lapwing.toml");
    assert_eq!(unchanged, "nothing changed\n");

    // A bad file changes nothing, and one line says so.
    desk.edit("north/lapwing.toml", "https://a.example", "a.example");
    node.signal("-HUP");
    let line = node.wait_for_line("nothing was changed");
    assert!(
        line.contains("`api.cors_origins` has `a.example`"),
        "{line}"
    );
    let own = get(api, "/v1/trust", "origin: https://a.example\r\n");
    assert!(own.contains("access-control-allow-origin: https://a.example"));
    assert!(
        desk.metrics("north")
            .contains("lapwing_log_errors_total 1\n")
    );
    let refused = desk.run("reload --config north/lapwing.toml");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(said(&refused).lines().count(), 1);
}

#[test]
fn what_is_asked_when_the_node_stops_is_still_answered() {
    let desk = Desk::new();
    desk.federation();
    let (api, _) = desk.node("north", None);
    let mut node = desk.start("north");
    wait("the API", || TcpStream::connect(("127.0.0.1", api)).is_ok());
    let mut stream = TcpStream::connect(("127.0.0.1", api)).unwrap();
    stream
        .write_all(
            b"POST /v1/trust HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/cose\r\ncontent-length: 4\r\n\r\nju",
        )
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    node.signal("-TERM");
    node.wait_for_line("stopping");
    wait("no new connections", || {
        TcpStream::connect(("127.0.0.1", api)).is_err()
    });
    stream.write_all(b"nk").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(node.ended(), Some(0), "{}", node.log());
    node.wait_for_line("stopped");
    assert!(!desk.path("north/admin.sock").exists());
}

#[test]
fn a_stuck_client_does_not_keep_a_node_from_stopping() {
    let desk = Desk::new();
    desk.federation();
    let (api, _) = desk.node("north", None);
    let mut node = desk.start("north");
    wait("the API", || TcpStream::connect(("127.0.0.1", api)).is_ok());
    let mut stream = TcpStream::connect(("127.0.0.1", api)).unwrap();
    stream.write_all(b"POST /v1/trust HTTP/1.1\r\nho").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    node.signal("-TERM");
    assert_eq!(node.ended(), Some(0), "{}", node.log());
    assert!(begun.elapsed() < Duration::from_secs(40));
}

#[test]
fn signals_that_come_while_a_node_starts_wait_until_it_has() {
    let desk = Desk::new();
    desk.federation();
    desk.node("north", None);
    let mut node = desk.start("north");
    // The admin socket is bound early: most of the start is still to come.
    node.signal("-HUP");
    node.wait_for_line("read the configuration anew");
    node.signal("-TERM");
    assert_eq!(node.ended(), Some(0), "{}", node.log());
}

#[test]
fn secrets_that_others_may_read_stop_the_start() {
    let desk = Desk::new();
    desk.federation();
    desk.node("north", None);
    let key = desk.path("north/node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    for command in [
        "run --config north/lapwing.toml",
        "config check north/lapwing.toml",
    ] {
        let refused = desk.run(command);
        assert_eq!(refused.status.code(), Some(1), "{command}");
        assert_eq!(said(&refused).lines().count(), 1, "{command}");
        assert!(
            said(&refused).contains("run `chmod 600` on it"),
            "{command}"
        );
    }
}

#[test]
fn exit_codes_are_as_the_page_says() {
    let desk = Desk::new();
    desk.federation();
    desk.node("north", None);
    fs::write(desk.path("bad.toml"), "nonsense = 1\n").unwrap();
    for (command, code) in [
        ("status --config north/lapwing.toml", 3),
        ("status --config bad.toml", 1),
        ("status --config north/lapwing.toml --check", 2),
        ("status --config bad.toml --check", 3),
        ("status --config north/lapwing.toml --check --json", 2),
        ("reload --config north/lapwing.toml", 3),
        ("reload --config bad.toml", 1),
        ("config check bad.toml", 1),
        ("config check north/lapwing.toml", 0),
        ("store set-aside --config bad.toml", 1),
        ("nonsense", 2),
        ("completions tcsh", 2),
        ("--version", 0),
    ] {
        assert_eq!(desk.run(command).status.code(), Some(code), "{command}");
    }
    let check = desk.run("status --config north/lapwing.toml --check");
    let line = String::from_utf8(check.stdout).unwrap();
    assert!(
        line.starts_with("LAPWING CRITICAL - no node answers"),
        "{line}"
    );
    let checked: Value =
        serde_json::from_str(&desk.done("config check north/lapwing.toml --json")).unwrap();
    assert_eq!(checked["federation"], "Example");
}

#[test]
fn commands_teach_by_example_and_complete() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = desk.done(&format!("completions {shell}"));
        assert!(
            text.contains("federation") && text.contains("reload"),
            "{shell}"
        );
    }
    for command in [
        "init",
        "run",
        "status",
        "reload",
        "config check",
        "store set-aside",
        "store rewrite",
        "publish",
        "completions",
    ] {
        let help = desk.done(&format!("{command} --help"));
        assert!(help.contains("Example"), "{command}:\n{help}");
    }
}
