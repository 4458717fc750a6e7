//! A federation made by hand: the real binary, from the first root key to a node that is ready, and
//! what it says to those who err on the way.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const LAPWING: &str = env!("CARGO_BIN_EXE_lapwing");
const STRANGER: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// A directory in which commands run.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run_with(&self, passphrase_file: Option<&str>, command: &str) -> Output {
        let mut process = Command::new(LAPWING);
        process
            .args(command.split(' '))
            .current_dir(self.0.path())
            .env_remove("LAPWING_PASSPHRASE_FILE")
            .stdin(Stdio::null());
        if let Some(name) = passphrase_file {
            process.env("LAPWING_PASSPHRASE_FILE", self.path(name));
        }
        process.output().unwrap()
    }

    /// Runs a command that must succeed; what it printed.
    fn done(&self, command: &str) -> String {
        self.done_with(None, command)
    }

    fn done_with(&self, passphrase_file: Option<&str>, command: &str) -> String {
        let output = self.run_with(passphrase_file, command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{command}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.done(command)).unwrap()
    }

    /// Runs a command that must fail in one line that says `says`.
    fn refused(&self, command: &str, says: &str) {
        self.refused_with(None, command, says);
    }

    fn refused_with(&self, passphrase_file: Option<&str>, command: &str, says: &str) {
        let output = self.run_with(passphrase_file, command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert_eq!(said.lines().count(), 1, "{command}: {said}");
        assert!(
            said.starts_with("lapwing: ") && said.contains(says),
            "{command}: {said}"
        );
        assert!(output.stdout.is_empty(), "{command}");
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}:\n{text}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// A root key; its public half.
    fn root(&self, name: &str) -> String {
        self.done(&format!("federation root new --out {name}"))
            .trim()
            .to_owned()
    }

    /// A federation with one root and the given threshold of `roots`.
    fn federation(&self, roots: &[&str], threshold: usize) {
        let keys: Vec<String> = roots.iter().map(|r| self.root(r)).collect();
        self.done(&format!(
            "federation new --name Example --root {} --threshold {threshold} --out federation.toml",
            keys.join(" ")
        ));
    }

    /// A node's directory and an operator's entry with that node.
    fn operator(&self, name: &str) {
        let node = self.done(&format!(
            "init --dir node-{name} --federation federation.toml --api 127.0.0.1:0 --listen /ip4/127.0.0.1/tcp/0 --json"
        ));
        self.write(&format!("{name}.json"), &node);
        let entry = self.done(&format!(
            "federation operator new --name {name} --out {name}.key --node {name}.json"
        ));
        self.write(&format!("{name}.toml"), &entry);
    }
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
            .args([
                OsStr::new("run"),
                OsStr::new("--config"),
                config.as_os_str(),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Node(child)
    }
}

/// Asks for the status until it is as wanted; the status.
fn wait_for(desk: &Desk, wanted: impl Fn(&Output, &Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let output = desk.run_with(None, "status --config node-north/lapwing.toml --json");
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if wanted(&output, &status) {
            return status;
        }
        assert!(Instant::now() < until, "status: {status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_federation_is_founded_and_its_node_is_ready() {
    let desk = Desk::new();
    desk.federation(&["root.key"], 1);
    desk.operator("north");
    desk.done("federation roster draft --operator north.toml --out roster.toml");
    let signed = desk.json(
        "federation roster sign --draft roster.toml --key root.key --into roster.cbor --json",
    );
    assert_eq!(
        (&signed["complete"], &signed["sequence"]),
        (&true.into(), &1.into())
    );
    let shown = desk.json("federation roster show roster.cbor --federation federation.toml --json");
    assert_eq!(shown["complete"], true);
    assert_eq!(shown["operators"][0]["name"], "north");
    let node = serde_json::from_slice::<Value>(&desk.read("north.json")).unwrap();
    assert_eq!(shown["operators"][0]["nodes"][0]["id"], node["node_id"]);

    // Named in the federation file, the roster makes the node ready.
    desk.edit("federation.toml", "# roster = ", "roster = ");
    let _node = Node::start(&desk.path("node-north/lapwing.toml"));
    let ready = |o: &Output, _: &Value| o.status.code() == Some(0);
    assert_eq!(wait_for(&desk, ready)["roster"], 1);

    // The next roster reaches it through the admin socket; the one before is refused.
    desk.operator("south");
    desk.done("federation roster draft --from roster.cbor --out second.toml");
    desk.done("federation roster admit --roster second.toml --operator south.toml");
    desk.done("federation roster sign --draft second.toml --key root.key --into second.cbor");
    let publish = "publish --config node-north/lapwing.toml";
    let published = desk.json(&format!("{publish} second.cbor --json"));
    let shown = desk.json("federation roster show second.cbor --json");
    assert_eq!(published[0]["id"], shown["id"]);
    assert_eq!(shown["operators"].as_array().unwrap().len(), 2);
    wait_for(&desk, |_, s| s["roster"] == 2);
    desk.refused(&format!("{publish} roster.cbor"), "nothing goes back");

    // A mediator, by the operator of the roster, through the admin socket again.
    let mediator = desk.root("mediator.key");
    let register = format!(
        "federation mediator register --mediator {mediator} --name Chamber --days 30 --key north.key --into registration.cbor --json"
    );
    let registered = desk.json(&format!("{register} --area 10 --area 12"));
    assert_eq!(
        (&registered["complete"], &registered["needed"]),
        (&true.into(), &1.into())
    );
    desk.done(&format!("{publish} registration.cbor"));
    wait_for(&desk, |_, s| {
        s["trust"]
            .as_array()
            .is_some_and(|t| t.iter().any(|r| r["mediator"] == mediator.as_str()))
    });
    desk.refused(&format!("{publish} roster.toml"), "the node refuses it");
}

#[test]
fn a_node_without_a_roster_is_given_one_over_http() {
    let desk = Desk::new();
    desk.federation(&["root.key"], 1);
    desk.operator("north");
    desk.done("federation roster draft --operator north.toml --out roster.toml");
    desk.done("federation roster sign --draft roster.toml --key root.key --into roster.cbor");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let api = format!("http://127.0.0.1:{port}");
    desk.edit(
        "node-north/lapwing.toml",
        "127.0.0.1:0",
        &format!("127.0.0.1:{port}"),
    );

    let away = desk.run_with(None, &format!("publish --api {api} roster.cbor"));
    assert_eq!(away.status.code(), Some(3));
    assert!(
        String::from_utf8(away.stderr)
            .unwrap()
            .contains("start it with `lapwing run`")
    );

    let _node = Node::start(&desk.path("node-north/lapwing.toml"));
    wait_for(&desk, |_, s| s["ready"] == false);
    desk.done(&format!("publish --api {api} roster.cbor"));
    wait_for(&desk, |o, _| o.status.code() == Some(0));
    desk.refused(
        &format!("publish --api https://127.0.0.1:{port} roster.cbor"),
        "TLS",
    );
    desk.refused(
        "publish --api http://node.example.org roster.cbor",
        "not this machine",
    );
}

#[test]
fn roots_sign_the_same_bytes_until_they_are_enough() {
    let desk = Desk::new();
    desk.federation(&["one.key", "two.key", "three.key"], 2);
    desk.operator("north");
    desk.done("federation roster draft --operator north.toml --out roster.toml");
    let sign = |key: &str, into: &str| {
        desk.json(&format!(
            "federation roster sign --key {key} --into {into} --json"
        ))
    };
    let first = sign("one.key", "a.cbor");
    assert_eq!(
        (&first["signatures"], &first["complete"]),
        (&1.into(), &false.into())
    );
    // A missing threshold is said, and nothing is signed on the strength of such a roster.
    let shown = desk.done("federation roster show a.cbor --federation federation.toml");
    assert!(shown.contains("1 of 2: not yet to be followed"), "{shown}");
    let mediator = format!(
        "federation mediator register --mediator {STRANGER} --name M --all-areas --days 9 --key north.key"
    );
    desk.refused(
        &format!("{mediator} --roster a.cbor"),
        "give a roster with all its signatures",
    );

    let again = sign("one.key", "a.cbor");
    assert_eq!(again["signatures"], 1);
    let second = sign("two.key", "a.cbor");
    assert_eq!(
        (&second["signatures"], &second["complete"]),
        (&2.into(), &true.into())
    );
    // In the other order, and at another time: the same bytes.
    std::thread::sleep(Duration::from_millis(1100));
    sign("two.key", "b.cbor");
    sign("one.key", "b.cbor");
    assert_eq!(desk.read("a.cbor"), desk.read("b.cbor"));

    // Other contents under the same number, an earlier number, a later one.
    let draft = desk.read("roster.toml");
    let into = "federation roster sign --key three.key --into a.cbor";
    desk.edit("roster.toml", "replicas = 3", "replicas = 2");
    desk.refused(into, "never sign two with one number");
    fs::write(desk.path("roster.toml"), &draft).unwrap();
    desk.edit("roster.toml", "sequence = 1", "sequence = 2");
    desk.refused(into, "choose another file");
    desk.done("federation roster sign --key three.key --into c.cbor");
    fs::write(desk.path("roster.toml"), &draft).unwrap();
    desk.refused(
        "federation roster sign --key three.key --into c.cbor",
        "goes back to 1",
    );
    assert_eq!(
        desk.read("a.cbor"),
        desk.read("b.cbor"),
        "refusals change nothing"
    );
}

#[test]
fn a_node_follows_no_roster_with_too_few_signatures() {
    let desk = Desk::new();
    desk.federation(&["one.key", "two.key"], 2);
    desk.operator("north");
    desk.done("federation roster draft --operator north.toml");
    desk.done("federation roster sign --key one.key");
    let _node = Node::start(&desk.path("node-north/lapwing.toml"));
    wait_for(&desk, |_, s| s["ready"] == false);
    let publish = "publish --config node-north/lapwing.toml roster.cbor";
    desk.refused(publish, "wrong_signer");
    desk.done("federation roster sign --key two.key");
    desk.done(publish);
    wait_for(&desk, |o, _| o.status.code() == Some(0));
}

#[test]
fn wrong_keys_and_overwriting_are_refused() {
    let desk = Desk::new();
    desk.federation(&["root.key"], 1);
    desk.operator("north");
    desk.root("other.key");
    desk.done("federation roster draft --operator north.toml");
    let key = fs::metadata(desk.path("root.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let before = desk.read("root.key");

    desk.refused("federation root new --out root.key", "not overwritten");
    desk.refused(
        "federation operator new --name x --out root.key",
        "not overwritten",
    );
    assert_eq!(desk.read("root.key"), before);
    desk.refused(
        "federation roster draft --operator north.toml",
        "not overwritten",
    );
    desk.refused(
        &format!("federation new --name x --root {STRANGER} --threshold 1"),
        "not overwritten",
    );

    desk.refused(
        "federation roster sign --key other.key",
        "is no root of \"Example\"",
    );
    desk.refused(
        "federation roster sign --key north.key",
        "is the key of an operator",
    );
    desk.refused("federation roster sign --key north.toml", "chmod 600");
    desk.refused(
        "federation roster sign --key none.key",
        "none.key: cannot be read",
    );
    assert!(!desk.path("roster.cbor").exists());

    let register = format!("federation mediator register --mediator {STRANGER} --name M --days 9");
    desk.refused(
        &format!("{register} --all-areas --key root.key"),
        "an operator is needed",
    );
    desk.done("federation roster sign --key root.key");
    desk.edit("federation.toml", "# roster = ", "roster = ");
    desk.operator("south");
    desk.refused(
        &format!("{register} --all-areas --key south.key"),
        "no operator's key of roster 1",
    );
    desk.refused(
        &format!("{register} --area x/y --key north.key"),
        "postal code",
    );
    desk.done(&format!("{register} --area 12 10 --key north.key"));
    desk.done(&format!("{register} --area 10 12 --key north.key"));
    desk.refused(
        &format!("{register} --area 10 --key north.key"),
        "another list of areas",
    );
    let usage = desk.run_with(None, &format!("{register} --key north.key"));
    assert_eq!(
        usage.status.code(),
        Some(2),
        "where it may serve must be said"
    );
}

#[test]
fn passphrases_lock_keys() {
    let desk = Desk::new();
    for (name, words) in [
        ("right", "four words in order\n"),
        ("wrong", "four other words\n"),
        ("short", "four\n"),
    ] {
        desk.write(name, words);
        fs::set_permissions(desk.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    desk.refused(
        "federation root new --out root.key --passphrase",
        "LAPWING_PASSPHRASE_FILE",
    );
    desk.refused_with(
        Some("short"),
        "federation root new --out root.key",
        "shorter than 8",
    );
    desk.refused_with(
        Some("none"),
        "federation root new --out root.key",
        "correct LAPWING_PASSPHRASE_FILE",
    );
    assert!(!desk.path("root.key").exists());

    let root = desk.done_with(Some("right"), "federation root new --out root.key");
    assert!(
        !String::from_utf8(desk.read("root.key"))
            .unwrap()
            .contains("secret =")
    );
    desk.done(&format!(
        "federation new --name Example --root {} --threshold 1",
        root.trim()
    ));
    desk.operator("north");
    desk.done("federation roster draft --operator north.toml");
    let sign = "federation roster sign --key root.key";
    desk.refused_with(Some("wrong"), sign, "the passphrase does not open it");
    desk.refused(sign, "LAPWING_PASSPHRASE_FILE");
    fs::set_permissions(desk.path("right"), fs::Permissions::from_mode(0o644)).unwrap();
    desk.refused_with(Some("right"), sign, "chmod 600");
    assert!(!desk.path("roster.cbor").exists());
    fs::set_permissions(desk.path("right"), fs::Permissions::from_mode(0o600)).unwrap();
    desk.done_with(Some("right"), sign);
    assert!(desk.path("roster.cbor").exists());
}

#[test]
fn what_is_wrong_in_a_draft_is_named() {
    let desk = Desk::new();
    desk.federation(&["root.key"], 1);
    desk.operator("north");
    desk.done("federation roster draft --operator north.toml");
    let draft = String::from_utf8(desk.read("roster.toml")).unwrap();
    let table = [
        (
            "replicas = 3",
            "replicas = 8",
            "`params.replicas` is 8: choose 1 to 7",
        ),
        ("shards = 16", "shards = 12", "a power of two"),
        ("replicas = 3", "replica = 3", "did you mean `replicas`?"),
        ("sequence = 1", "sequence = 0", "the first roster has 1"),
        (
            "issued = 2",
            "issued = 9",
            "`expires` is not after `issued`",
        ),
        (
            "[[operators]]\nid = \"",
            "[[operators]]\nid = \"0",
            "an id has 64 characters",
        ),
        (
            "federation = \"",
            "federation = \"00",
            "an id has 64 characters",
        ),
    ];
    for (from, to, says) in table {
        desk.write("roster.toml", &draft);
        desk.edit("roster.toml", from, to);
        desk.refused("federation roster sign --key root.key", says);
    }
    desk.write("roster.toml", &draft);
    desk.refused(
        "federation roster admit --operator north.toml",
        "has the operator \"north\" already",
    );
    // A key with two uses.
    desk.edit(
        "north.toml",
        "id = \"",
        "id = \"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"\n# ",
    );
    desk.refused(
        "federation roster admit --operator north.toml",
        "every key has one use",
    );
    assert_eq!(desk.read("roster.toml"), draft.as_bytes());

    // Another federation's file, and a roster that nobody's root signed.
    desk.done("federation roster sign --key root.key");
    desk.done(&format!(
        "federation new --name Example --root {STRANGER} --threshold 1 --out other.toml"
    ));
    desk.refused(
        "federation roster show roster.cbor --federation other.toml",
        "another federation",
    );
    desk.refused(
        "federation roster sign --federation other.toml --key root.key",
        "another one than",
    );
    let mut forged = desk.read("roster.cbor");
    let last = forged.len() - 1;
    forged[last] ^= 1;
    fs::write(desk.path("roster.cbor"), forged).unwrap();
    desk.refused(
        "federation roster show roster.cbor --federation federation.toml",
        "bad signature",
    );
    desk.refused("federation roster show roster.toml", "is no such record");
}
