//! Fate: `lapwing-testnet ctl` from another terminal, and a scenario in which nodes are cut from each other.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::machine;
use crate::stage::PATIENCE;
use crate::start::lapwing;

/// A federation that stays; it is killed when the test ends before it.
struct Up {
    testnet: Child,
    /// What it says, read by a thread so that it never waits for us.
    said: std::thread::JoinHandle<Vec<String>>,
}

impl Up {
    fn start(runs: &Path, nodes: usize) -> Self {
        let mut testnet = Command::new(env!("CARGO_BIN_EXE_lapwing-testnet"))
            .args(["up", "--seed", "31", "--nodes", &nodes.to_string()])
            .env("TMPDIR", runs)
            .env("LAPWING_BIN", lapwing())
            .env_remove("KEEP")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(testnet.stdout.take().unwrap()).lines();
        let mut said: Vec<String> = Vec::new();
        while !said.iter().any(|line| line.contains("Ctrl-C ends it")) {
            said.push(lines.next().expect("it never came up").unwrap());
        }
        let said = std::thread::spawn(move || {
            said.extend(lines.map_while(Result::ok));
            said
        });
        Up { testnet, said }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ended = self.testnet.kill();
        let _waited = self.testnet.wait();
    }
}

/// Says a command to the newest run: exit code, answer, error.
fn ctl(runs: &Path, command: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lapwing-testnet"))
        .arg("ctl")
        .args(command.split(' '))
        .env("TMPDIR", runs)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// Waits until the status says so of a node (its line), or of the whole.
#[track_caller]
fn shows(runs: &Path, node: &str, what: &str) {
    let begun = Instant::now();
    loop {
        let (code, status, error) = ctl(runs, "status");
        assert_eq!(code, 0, "{error}");
        let mut lines = status.lines();
        if lines.any(|l| l.starts_with(node) && l.contains(what)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{node}: {what}: {status}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_running_federation_takes_every_command() {
    let _turn = machine::shared();
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path();
    let (code, _, error) = ctl(runs, "status");
    assert_eq!(code, 1);
    assert!(error.contains("lapwing-testnet up"), "{error}");

    let mut up = Up::start(runs, 3);
    let does = |command: &str, says: &str| {
        let (code, answer, error) = ctl(runs, command);
        assert_eq!(code, 0, "{command}: {error}");
        assert!(answer.contains(says), "{command}: {answer}");
    };
    for n in 1..=3 {
        shows(runs, &format!("node {n}"), "up      2 peers");
    }
    does("kill 2", "node 2 is killed (kill -9)");
    shows(runs, "node 2", "down");
    does("restart 2", "node 2 is back");
    shows(runs, "node 2", "2 peers");
    does("stop 3", "node 3 is stopped");
    shows(runs, "node 3", "down");
    does("restart 3", "node 3 is back");
    does("pause 1", "node 1 is paused");
    shows(runs, "node 1", "paused");
    does("resume 1", "node 1 goes on");
    for n in 1..=3 {
        shows(runs, &format!("node {n}"), "2 peers");
    }
    does("partition 1,2", "nodes 1, 2 are cut");
    shows(runs, "some nodes are cut", "from others");
    shows(runs, "node 3", "0 peers");
    shows(runs, "node 1", "1 peers");
    does("heal", "reach each other again");
    shows(runs, "node 3", "2 peers");

    for (command, says) in [
        ("dance", "not a command; there are status, kill N"),
        ("kill", "not a command"),
        ("kill 4", "there is no node 4"),
        ("partition 1,9", "there is no node 9"),
        ("restart 1", "node 1 runs already"),
    ] {
        let (code, _, error) = ctl(runs, command);
        assert_eq!(code, 1, "{command}");
        assert!(error.contains(says), "{command}: {error}");
        assert_eq!(error.lines().count(), 1, "{command}: {error}");
    }
    shows(runs, "node 1", "2 peers");

    kill_process(Pid::from_child(&up.testnet), Signal::INT).unwrap();
    assert!(up.testnet.wait().unwrap().success());
    let left = runs.join("lapwing-testnet").read_dir().unwrap().count();
    assert_eq!(left, 0, "nothing is left behind");
    let said = std::mem::replace(&mut up.said, std::thread::spawn(Vec::new));
    let said = said.join().unwrap().join("\n");
    assert!(
        said.contains("/v1/node") && !said.contains('\x1b'),
        "{said}"
    );
    assert!(said.contains("is killed (kill -9)"), "{said}");
}

#[test]
fn a_federation_that_is_cut_in_two_heals_and_loses_nothing() {
    let _turn = machine::alone();
    let dir = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/partition.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_lapwing-testnet"))
        .arg("run")
        .arg(file)
        .args(["--once", "--verbose", "--seed", "13"])
        .env("TMPDIR", dir.path())
        .env("LAPWING_BIN", lapwing())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    for line in [
        "are cut from the others",
        "reach each other again",
        "goes on",
    ] {
        assert!(text.contains(line), "{line}: {said}");
    }
    let counts: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for (name, expected) in [
        ("nodes", 5),
        ("users", 24),
        ("bookings_confirmed", 22),
        ("bookings_lost", 0),
        ("double_bookings", 0),
        ("token_multi_bookings", 0),
        ("acknowledged_writes_lost", 0),
        ("replicas_diverged", 0),
    ] {
        assert_eq!(counts[name], expected, "{name}: {said}");
    }
}
