//! What an operator does with a running node: the real binary, real sockets, real signals.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const LAPWING: &str = env!("CARGO_BIN_EXE_lapwing");
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory in which commands run.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, command: &str) -> Output {
        Command::new(LAPWING)
            .args(command.split(' '))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn done(&self, command: &str) -> String {
        let output = self.run(command);
        assert!(output.status.success(), "{command}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}:\n{text}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    /// A federation with one root.
    fn federation(&self) {
        let root = self.done("federation root new --out root.key");
        let root = root.trim();
        self.done(&format!(
            "federation new --name Example --root {root} --threshold 1 --out federation.toml"
        ));
    }

    /// A node's directory; with its API's port, and what `init` said.
    fn node(&self, name: &str, bootstrap: Option<&str>) -> (u16, Value) {
        let (api, listen) = (free_port(), free_port());
        let mut init = format!(
            "init --dir {name} --federation federation.toml --api 127.0.0.1:{api} --listen /ip4/127.0.0.1/tcp/{listen} --json"
        );
        if let Some(address) = bootstrap {
            init = format!("{init} --bootstrap {address}");
        }
        let text = self.done(&init);
        fs::write(self.path(&format!("{name}.json")), &text).unwrap();
        let mut made: Value = serde_json::from_str(&text).unwrap();
        let peer = made["peer_id"].as_str().unwrap().to_owned();
        made["address"] = format!("/ip4/127.0.0.1/tcp/{listen}/p2p/{peer}").into();
        (api, made)
    }

    /// An operator's entry for the roster, with one node.
    fn operator(&self, name: &str) {
        let entry = self.done(&format!(
            "federation operator new --name {name} --out {name}.key --node {name}.json"
        ));
        fs::write(self.path(&format!("{name}.toml")), entry).unwrap();
    }

    fn start(&self, name: &str) -> Node {
        let log = self.path(&format!("{name}.log"));
        let child = Command::new(LAPWING)
            .args(["run", "--config", &format!("{name}/lapwing.toml")])
            .current_dir(self.0.path())
            .env_remove("LAPWING_LOG")
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let node = Node { child, log };
        let socket = self.path(&format!("{name}/admin.sock"));
        wait("the admin socket", || UnixStream::connect(&socket).is_ok());
        node
    }

    fn status(&self, name: &str) -> Value {
        let output = self.run(&format!("status --config {name}/lapwing.toml --json"));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn metrics(&self, name: &str) -> String {
        let mut socket = UnixStream::connect(self.path(&format!("{name}/admin.sock"))).unwrap();
        socket
            .write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    }
}

struct Node {
    child: Child,
    log: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn wait_for_line(&self, text: &str) -> String {
        wait(text, || self.log().contains(text));
        let log = self.log();
        log.lines().find(|l| l.contains(text)).unwrap().to_owned()
    }

    fn ended(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn get(api: u16, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], api))).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

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
