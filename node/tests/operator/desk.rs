//! A directory, the commands that run in it, and the nodes that were started from it.

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

pub(crate) const LAPWING: &str = env!("CARGO_BIN_EXE_lapwing");
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory in which commands run.
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn run(&self, command: &str) -> Output {
        Command::new(LAPWING)
            .args(command.split(' '))
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn done(&self, command: &str) -> String {
        let output = self.run(command);
        assert!(output.status.success(), "{command}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}:\n{text}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    /// A federation with one root.
    pub(crate) fn federation(&self) {
        let root = self.done("federation root new --out root.key");
        let root = root.trim();
        self.done(&format!(
            "federation new --name Example --root {root} --threshold 1 --out federation.toml"
        ));
    }

    /// A node's directory; with its API's port, and what `init` said.
    pub(crate) fn node(&self, name: &str, bootstrap: Option<&str>) -> (u16, Value) {
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
    pub(crate) fn operator(&self, name: &str) {
        let entry = self.done(&format!(
            "federation operator new --name {name} --out {name}.key --node {name}.json"
        ));
        fs::write(self.path(&format!("{name}.toml")), entry).unwrap();
    }

    pub(crate) fn start(&self, name: &str) -> Node {
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

    pub(crate) fn status(&self, name: &str) -> Value {
        let output = self.run(&format!("status --config {name}/lapwing.toml --json"));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    pub(crate) fn metrics(&self, name: &str) -> String {
        let mut socket = UnixStream::connect(self.path(&format!("{name}/admin.sock"))).unwrap();
        socket
            .write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    }
}

pub(crate) struct Node {
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
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        wait(text, || self.log().contains(text));
        let log = self.log();
        log.lines().find(|l| l.contains(text)).unwrap().to_owned()
    }

    pub(crate) fn ended(&mut self) -> Option<i32> {
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

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) fn get(api: u16, path: &str, headers: &str) -> String {
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

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
