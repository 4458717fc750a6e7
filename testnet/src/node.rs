//! One node as a process of its own: made by `lapwing init`, run by `lapwing run`, asked by its sockets,
//! stopped as an operator would or killed as a power cut would.

mod error;
mod init;
mod keys;
mod probe;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lapwing_client::http::Ask;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::key::VerifyingKey;
use lapwing_protocol::placement::peer_id_bytes;
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

pub use error::NodeError;
pub use init::{NewNode, free_ports};
pub use probe::{Probe, Status, Store};

use self::init::multiaddress;
use self::keys::base58;
use crate::cleanup::{RunDir, signal};
use crate::clients;

/// How long a node may take from its start until it is ready.
const READY: Duration = Duration::from_secs(120);
/// How long a node may take to stop by itself.
const STOP: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// How many lines of a log an error shows.
const LOG_LINES: usize = 8;

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

impl Node {
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
    /// [`NodeError::Running`], [`NodeError::Write`], [`NodeError::Binary`].
    pub fn start(&mut self, run: &RunDir) -> Result<(), NodeError> {
        match self.check_alive() {
            // One that ended by itself is started again.
            Err(NodeError::NotRunning { .. } | NodeError::Ended { .. }) => {}
            Err(error) => return Err(error),
            Ok(()) => {
                let name = self.name.clone();
                return Err(NodeError::Running { name });
            }
        }
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
