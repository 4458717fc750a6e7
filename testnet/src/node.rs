//! One node as a process of its own: made by `lapwing init`, run by `lapwing run`, asked by its sockets,
//! stopped as an operator would or killed as a power cut would.

mod error;
mod keys;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use lapwing_client::http::{Ask, ask_socket};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::key::VerifyingKey;
use lapwing_protocol::placement::peer_id_bytes;
use rand_chacha::ChaCha20Rng;
use rustix::process::Signal;
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

pub use error::NodeError;

use self::keys::{base58, write_keys};
use crate::cleanup::{RunDir, signal};
use crate::clients;

/// How long a node may take from its start until it is ready.
const READY: Duration = Duration::from_secs(30);
/// How long a node may take to stop by itself.
const STOP: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Most bytes of a status.
const MAX_STATUS: usize = 16 << 20;
/// How many lines of a log an error shows.
const LOG_LINES: usize = 8;

/// Loopback ports that nobody uses now, all different.
///
/// # Errors
/// What the operating system says.
pub fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let bound: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    bound.iter().map(TcpListener::local_addr).collect()
}

/// The node binary: `LAPWING_BIN`, else the one beside this program.
///
/// # Errors
/// When this program's own place is not known.
pub fn binary() -> io::Result<PathBuf> {
    match std::env::var_os("LAPWING_BIN") {
        Some(path) => Ok(path.into()),
        None => Ok(std::env::current_exe()?.with_file_name("lapwing")),
    }
}

/// What a node tells about itself on its admin socket, as far as a testnet asks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The nodes it is connected with.
    pub peers: Vec<Peer>,
    /// Counters by name.
    pub numbers: BTreeMap<String, serde_json::Value>,
    /// By the other node's id: shard, count and XOR of what both hold.
    pub digests: BTreeMap<String, Vec<(u32, u64, String)>>,
    /// Bytes on disk.
    pub store_bytes: Option<u64>,
}

/// One peer in a status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// Its node id, in hex.
    pub node_id: String,
}

impl Status {
    /// A counter; zero where there is none.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.numbers
            .get(name)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
    }
}

/// Asks one node how it is.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The node's id.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// Where its API listens.
    pub api: SocketAddr,
    socket: PathBuf,
}

impl Probe {
    /// Asks the admin socket how the node is.
    ///
    /// # Errors
    /// [`NodeError::Silent`], [`NodeError::BadStatus`].
    pub async fn status(&self) -> Result<Status, NodeError> {
        let reply = ask_socket(&self.socket, &Ask::get("/status", MAX_STATUS)).await;
        let reply = reply.map_err(|source| NodeError::Silent {
            name: self.name.clone(),
            source,
        })?;
        serde_json::from_slice(&reply.body).map_err(|source| NodeError::BadStatus {
            name: self.name.clone(),
            source,
        })
    }
}

/// One node. When this is dropped, its process is killed.
#[derive(Debug)]
pub struct Node {
    name: String,
    binary: PathBuf,
    dir: PathBuf,
    api: SocketAddr,
    listen: SocketAddr,
    id: NodeId,
    signing: VerifyingKey,
    announce: Option<SocketAddr>,
    child: Option<Child>,
    paused: bool,
}

/// How a node's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Up,
    /// It was stopped by a signal and answers nobody.
    Paused,
    /// It does not run.
    Down,
}

/// What a new node is made of.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// What people call it.
    pub name: &'a str,
    /// Its directory; must not exist.
    pub dir: &'a Path,
    /// Where its API listens.
    pub api: SocketAddr,
    /// Where other nodes connect.
    pub listen: SocketAddr,
    /// The federation file.
    pub federation: &'a Path,
    /// Where other nodes are told that it listens, if that is not where it does.
    pub announce: Option<SocketAddr>,
    /// Multiaddresses of the nodes to ask first.
    pub bootstrap: &'a [String],
}

impl Node {
    /// Runs `lapwing init`, then puts keys from `rng` in the place of those that it drew, so that a
    /// seed decides which node holds what.
    ///
    /// # Errors
    /// [`NodeError::Binary`], [`NodeError::Init`], [`NodeError::Write`].
    pub async fn init(
        binary: &Path,
        new: NewNode<'_>,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, NodeError> {
        let mut command = Command::new(binary);
        command
            .arg("init")
            .arg("--dir")
            .arg(new.dir)
            .arg("--federation")
            .arg(new.federation);
        command
            .arg("--api")
            .arg(new.api.to_string())
            .arg("--listen")
            .arg(multiaddress(new.listen))
            .arg("--json");
        for address in new.bootstrap {
            command.arg("--bootstrap").arg(address);
        }
        let output = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await;
        let output = output.map_err(|source| NodeError::Binary {
            binary: binary.to_owned(),
            source,
        })?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(NodeError::Init {
                name: new.name.to_owned(),
                why,
            });
        }
        if let Some(announce) = new.announce {
            let path = new.dir.join("lapwing.toml");
            announce_as(&path, announce).map_err(|source| NodeError::Write { path, source })?;
        }
        let (id, signing) = write_keys(&new.dir.join("node.key"), rng)?;
        Ok(Node {
            name: new.name.to_owned(),
            binary: binary.to_owned(),
            dir: new.dir.to_owned(),
            api: new.api,
            listen: new.listen,
            id,
            signing,
            announce: new.announce,
            child: None,
            paused: false,
        })
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The key with which it signs.
    #[must_use]
    pub fn signing(&self) -> VerifyingKey {
        self.signing
    }

    /// Where its API listens.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Where other nodes connect, with its peer id.
    #[must_use]
    pub fn address(&self) -> String {
        format!(
            "{}/p2p/{}",
            multiaddress(self.announce.unwrap_or(self.listen)),
            base58(&peer_id_bytes(&self.id))
        )
    }

    /// The process's number while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Starts the process. Its log goes to `node.log` in its directory.
    ///
    /// # Errors
    /// [`NodeError::Write`], [`NodeError::Binary`].
    pub fn start(&mut self, run: &RunDir) -> Result<(), NodeError> {
        let path = self.dir.join("node.log");
        let failed = |source| NodeError::Write {
            path: path.clone(),
            source,
        };
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        let child = Command::new(&self.binary)
            .arg("run")
            .arg("--config")
            .arg(self.dir.join("lapwing.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // A Ctrl-C in the terminal is for this program, which then stops its nodes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| NodeError::Binary {
                binary: self.binary.clone(),
                source,
            })?;
        if let Some(pid) = child.id() {
            run.record(pid).map_err(failed)?;
        }
        self.child = Some(child);
        self.paused = false;
        Ok(())
    }

    /// How its process is, as far as this program did it.
    #[must_use]
    pub fn life(&self) -> Life {
        match (&self.child, self.paused) {
            (None, _) => Life::Down,
            (Some(_), true) => Life::Paused,
            (Some(_), false) => Life::Up,
        }
    }

    /// Stops the process where it stands (SIGSTOP): its connections stay, and nobody is answered.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`], [`NodeError::Process`].
    pub fn pause(&mut self) -> Result<(), NodeError> {
        self.signal(Signal::STOP)?;
        self.paused = true;
        Ok(())
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    /// [`NodeError::NotRunning`], [`NodeError::Process`].
    pub fn resume(&mut self) -> Result<(), NodeError> {
        self.signal(Signal::CONT)?;
        self.paused = false;
        Ok(())
    }

    fn signal(&self, which: Signal) -> Result<(), NodeError> {
        let pid = self.pid().ok_or_else(|| NodeError::NotRunning {
            name: self.name.clone(),
        })?;
        signal(pid, which).map_err(|source| NodeError::Process {
            name: self.name.clone(),
            source,
        })
    }

    /// Waits until the node serves. Asks as a client of network 127.0.0.1.
    ///
    /// # Errors
    /// [`NodeError::Ended`], [`NodeError::NotReady`], [`NodeError::NotRunning`].
    pub async fn wait_ready(&mut self) -> Result<(), NodeError> {
        let begun = Instant::now();
        loop {
            if self.is_ready().await? {
                return Ok(());
            }
            if begun.elapsed() > READY {
                return Err(NodeError::NotReady {
                    name: self.name.clone(),
                    log: self.log_end(),
                });
            }
            sleep(LOOK).await;
        }
    }

    /// Whether the node serves; asks once, as a client of network 127.0.0.1.
    ///
    /// # Errors
    /// [`NodeError::Ended`], [`NodeError::NotRunning`].
    pub async fn is_ready(&mut self) -> Result<bool, NodeError> {
        self.check_alive()?;
        let client = clients::from(Ipv4Addr::LOCALHOST);
        let answer = client
            .ask(&self.api.into(), &Ask::get("/health/ready", 64 * 1024))
            .await;
        Ok(answer.is_ok_and(|r| r.status.is_success()))
    }

    /// Whether the process runs.
    ///
    /// # Errors
    /// [`NodeError::Ended`] with the end of its log, [`NodeError::NotRunning`].
    pub fn check_alive(&mut self) -> Result<(), NodeError> {
        let Some(child) = &mut self.child else {
            return Err(NodeError::NotRunning {
                name: self.name.clone(),
            });
        };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.child = None;
                Err(NodeError::Ended {
                    name: self.name.clone(),
                    status,
                    log: self.log_end(),
                })
            }
            Err(source) => Err(NodeError::Process {
                name: self.name.clone(),
                source,
            }),
        }
    }

    /// Stops the process as an operator does (SIGTERM), and waits.
    ///
    /// # Errors
    /// [`NodeError::NotStopped`], [`NodeError::Process`].
    pub async fn stop(&mut self) -> Result<(), NodeError> {
        if self.paused {
            self.resume()?;
        }
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let failed = |source| NodeError::Process {
            name: self.name.clone(),
            source,
        };
        if let Some(pid) = child.id() {
            signal(pid, Signal::TERM).map_err(failed)?;
        }
        match timeout(STOP, child.wait()).await {
            Ok(waited) => waited.map(drop).map_err(failed),
            Err(_) => {
                child.kill().await.map_err(failed)?;
                Err(NodeError::NotStopped {
                    name: self.name.clone(),
                })
            }
        }
    }

    /// Kills the process as a power cut would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// [`NodeError::NotRunning`], [`NodeError::Process`].
    pub async fn kill(&mut self) -> Result<(), NodeError> {
        let Some(mut child) = self.child.take() else {
            return Err(NodeError::NotRunning {
                name: self.name.clone(),
            });
        };
        child.kill().await.map_err(|source| NodeError::Process {
            name: self.name.clone(),
            source,
        })
    }

    /// Asks the admin socket how the node is.
    ///
    /// # Errors
    /// [`NodeError::Silent`], [`NodeError::BadStatus`].
    pub async fn status(&self) -> Result<Status, NodeError> {
        self.probe().status().await
    }

    /// For who asks how the node is while others act on it.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe {
            id: self.id,
            name: self.name.clone(),
            api: self.api,
            socket: self.dir.join("admin.sock"),
        }
    }

    /// The last lines of the node's log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = fs::read(self.dir.join("node.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES);
        lines
            .get(from..)
            .unwrap_or_default()
            .iter()
            .map(|l| format!("    {l}\n"))
            .collect()
    }
}

/// Adds `net.announce` to a configuration that `lapwing init` wrote.
fn announce_as(config: &Path, address: SocketAddr) -> io::Result<()> {
    let mut table: toml::Table = toml::from_str(&fs::read_to_string(config)?)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    let net = table
        .entry("net")
        .or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(net) = net {
        net.insert(
            "announce".to_owned(),
            toml::Value::Array(vec![multiaddress(address).into()]),
        );
    }
    let text =
        toml::to_string(&table).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    fs::write(config, text)
}

fn multiaddress(at: SocketAddr) -> String {
    format!("/ip4/{}/tcp/{}", at.ip(), at.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_different() {
        let ports = free_ports(20).unwrap();
        let mut distinct = ports.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 20);
        assert!(ports.iter().all(|p| TcpListener::bind(p).is_ok()));
    }

    #[test]
    fn a_status_may_say_more_or_less() {
        let status: Status = serde_json::from_str(
            r#"{"numbers":{"items":3},"more":1,"digests":{"aa":[[0,2,"ff"]]}}"#,
        )
        .unwrap();
        assert_eq!(
            (
                status.number("items"),
                status.number("other"),
                status.digests["aa"][0].1
            ),
            (3, 0, 2)
        );
    }
}
