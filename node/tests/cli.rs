//! The node's command line, as an operator meets it: the real binary, real files, real ports.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const LAPWING: &str = env!("CARGO_BIN_EXE_lapwing");
const ROOT: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn lapwing(args: &[&str]) -> Output {
    Command::new(LAPWING)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes a node in a directory; its API listens at `api`.
fn init(dir: &Path, api: &str) -> PathBuf {
    let federation = dir.join("federation.toml");
    fs::write(
        &federation,
        format!("name = \"cli\"\nthreshold = 1\nroots = [\"{ROOT}\"]\n"),
    )
    .unwrap();
    let node = dir.join("node");
    let made = lapwing(&[
        "init",
        "--dir",
        node.to_str().unwrap(),
        "--federation",
        federation.to_str().unwrap(),
        "--api",
        api,
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--json",
    ]);
    assert!(made.status.success(), "{}", said(&made));
    node.join("lapwing.toml")
}

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    fn start(config: &Path) -> Self {
        let child = Command::new(LAPWING)
            .args(["run", "--config", config.to_str().unwrap()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Node(child)
    }

    /// Waits for it to end; a node that does not is killed and fails the test.
    fn end(mut self, patience: Duration) -> (Option<i32>, String) {
        let until = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "the node did not end in time");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut text = String::new();
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        (status.code(), text)
    }
}

fn wait_for_status(config: &Path) -> Output {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let status = lapwing(&["status", "--config", config.to_str().unwrap(), "--json"]);
        if !status.stdout.is_empty() {
            return status;
        }
        assert!(Instant::now() < until, "no status: {}", said(&status));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_node_is_made_checked_run_asked_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let config = init(dir.path(), "127.0.0.1:0");
    let key = fs::metadata(config.with_file_name("node.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    let checked = lapwing(&["config", "check", config.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", said(&checked));

    let away = lapwing(&["status", "--config", config.to_str().unwrap()]);
    assert_eq!(away.status.code(), Some(3));
    assert!(
        said(&away).contains("start it with `lapwing run`"),
        "{}",
        said(&away)
    );

    let node = Node::start(&config);
    let status = wait_for_status(&config);
    // Without a roster it runs, but is not ready.
    assert_eq!(status.status.code(), Some(3));
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["ready"], false);
    assert_eq!(status["why"], "The node has no roster yet.");

    // A second node over the same directory is told what stands in its way.
    let second = Node::start(&config).end(Duration::from_secs(20));
    assert_eq!(second.0, Some(1));
    assert!(
        second.1.contains("stop the node that uses it"),
        "{}",
        second.1
    );

    let pid = node.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let (code, log) = node.end(Duration::from_secs(20));
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn init_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = init(dir.path(), "127.0.0.1:0");
    let key = fs::read(config.with_file_name("node.key")).unwrap();
    let again = lapwing(&["init", "--dir", config.parent().unwrap().to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("exists already"), "{}", said(&again));
    assert_eq!(fs::read(config.with_file_name("node.key")).unwrap(), key);
}

#[test]
fn what_stops_a_start_is_named_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = init(dir.path(), &taken.local_addr().unwrap().to_string());
    let text = fs::read_to_string(&config).unwrap();
    let table: [(&str, String, &str); 6] = [
        (
            "port in use",
            text.clone(),
            "the port is in use; stop the other process, or change `api.listen`",
        ),
        (
            "unknown field",
            text.replace("cache_mib", "cash_mib"),
            "did you mean `cache_mib`?",
        ),
        (
            "impossible value",
            text.replace("cache_mib = 64", "cache_mib = 0"),
            "choose 1 to 65536",
        ),
        (
            "missing key file",
            text.replace("\"node.key\"", "\"other.key\""),
            "make one with `lapwing init`",
        ),
        (
            "missing federation",
            text.replace("federation.toml", "nowhere.toml"),
            "nowhere.toml: cannot be read",
        ),
        (
            "data under a file",
            text.replace("data_dir = \"data\"", "data_dir = \"node.key/data\""),
            "create it, or change `data_dir`",
        ),
    ];
    for (what, text, says) in table {
        fs::write(&config, text).unwrap();
        let (code, log) = Node::start(&config).end(Duration::from_secs(20));
        assert_eq!(code, Some(1), "{what}: {log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("lapwing: ") && last.contains(says),
            "{what}: {log}"
        );
    }
}

#[test]
fn a_damaged_store_is_named_and_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let config = init(dir.path(), "127.0.0.1:0");
    let node = Node::start(&config);
    wait_for_status(&config);
    drop(node);
    let store = config.with_file_name("data").join("store");
    let mut damaged = 0;
    for entry in walk(&store) {
        if entry.file_name().is_some_and(|n| n == "db") {
            let mut bytes = fs::read(&entry).unwrap();
            for byte in bytes.iter_mut().skip(16).step_by(3) {
                *byte ^= 0x5a;
            }
            fs::write(&entry, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(
        damaged > 0,
        "the store's file is where this test looks for it"
    );
    let (code, log) = Node::start(&config).end(Duration::from_secs(30));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.lines()
            .last()
            .unwrap_or_default()
            .contains("lapwing store set-aside"),
        "{log}"
    );

    let aside = lapwing(&["store", "set-aside", "--config", config.to_str().unwrap()]);
    assert!(aside.status.success(), "{}", said(&aside));
    let node = Node::start(&config);
    wait_for_status(&config);
    drop(node);
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(walk(&path))
        } else {
            out.push(path)
        }
    }
    out
}

#[test]
fn every_configuration_in_the_repository_loads() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), "127.0.0.1:0");
    let mut seen = 0;
    for entry in fs::read_dir(configs).unwrap() {
        let path = entry.unwrap().path();
        let text = match path.file_name().and_then(|n| n.to_str()) {
            Some("federation.toml") | None => continue,
            Some(name) if name.ends_with(".toml") => fs::read_to_string(&path).unwrap(),
            Some(_) => continue,
        };
        let file = dir.path().join("node").join("example.toml");
        let federation = dir.path().join("federation.toml");
        fs::write(
            &file,
            text.replace("\"federation.toml\"", &format!("{federation:?}")),
        )
        .unwrap();
        let checked = lapwing(&["config", "check", file.to_str().unwrap()]);
        assert!(
            checked.status.success(),
            "{}: {}",
            path.display(),
            said(&checked)
        );
        seen += 1;
    }
    assert!(seen > 0);
}
