//! A federation of real nodes on this machine: each with directory and ports of its own, each of an
//! operator of its own.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lapwing_protocol::federation::Params;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::time::Time;
use tokio::time::sleep;

use crate::cleanup::{Cleaned, RunDir};
use crate::federation::{FoundError, Founders};
use crate::node::{NewNode, Node, NodeError, free_ports};
use crate::relays::{self, Relays};
use crate::seeds::Seeds;

/// How long the nodes may take to find each other.
const MEET: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Why there is no federation.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The federation cannot be founded.
    #[error(transparent)]
    Found(#[from] FoundError),
    /// A node does not do what it should.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A file or port cannot be had.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// The nodes did not find each other in time.
    #[error("{name} sees {seen} of {all} other nodes after {} s", MEET.as_secs())]
    Apart {
        /// A node that does not see all others.
        name: String,
        /// How many it sees.
        seen: usize,
        /// How many there are.
        all: usize,
    },
    /// There is no node of that number, which counts from zero; people count from one.
    #[error("there is no node {}", .0 + 1)]
    NoNode(usize),
    /// Nodes that talk to each other directly cannot be cut from each other.
    #[error("this federation was started without relays: its nodes cannot be cut from each other")]
    NoRelays,
    /// This machine does not say who connects to whom.
    #[error(
        "nodes cannot be cut from each other here: that takes Linux, where /proc/net/tcp says who connects to whom"
    )]
    NoTable,
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> NetError {
    move |source| NetError::Io { what, source }
}

/// What a federation is started with.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// How many nodes, each of an operator of its own.
    pub nodes: usize,
    /// Where randomness comes from.
    pub seeds: Seeds,
    /// The numbers all nodes share.
    pub params: Params,
    /// Where run directories live ([`RunDir::base`]).
    pub base: PathBuf,
    /// The node binary.
    pub binary: PathBuf,
    /// Whether the run's directory stays when all is over.
    pub keep: bool,
    /// Whether the nodes reach each other through relays, so that they can be cut from each other.
    pub relays: bool,
}

/// A running federation. Dropping it kills its nodes.
#[derive(Debug)]
pub struct Net {
    // Before the directory: fields are dropped in order, and the processes use it.
    nodes: Vec<Node>,
    relays: Option<Relays>,
    founders: Founders,
    run: RunDir,
    cleaned: Cleaned,
}

impl Net {
    /// Makes the nodes, signs their roster, starts them and waits until they are one federation.
    ///
    /// # Errors
    /// [`NetError`].
    pub async fn start(options: &NetOptions, now: Time) -> Result<Self, NetError> {
        let mut net = Self::prepare(options, now).await?;
        for n in 0..net.nodes.len() {
            net.launch(n)?;
        }
        for node in &mut net.nodes {
            node.wait_ready().await?;
        }
        net.wait_met().await?;
        Ok(net)
    }

    /// Makes the nodes and signs their roster; starts nothing.
    ///
    /// # Errors
    /// [`NetError`]; [`NetError::NoTable`] where relays are wanted and cannot be.
    pub async fn prepare(options: &NetOptions, now: Time) -> Result<Self, NetError> {
        let (mut run, cleaned) =
            RunDir::create(&options.base).map_err(io_error("cannot make a run directory"))?;
        if options.keep {
            run.keep()
                .map_err(io_error("cannot keep the run directory"))?;
        }
        if options.relays && !relays::possible() {
            return Err(NetError::NoTable);
        }
        let founders = Founders::new(
            "Lapwing testnet",
            options.nodes,
            options.params.clone(),
            options.seeds,
        )?;
        founders
            .write_keys(run.path())
            .map_err(io_error("cannot write the operators' keys"))?;
        let file = run.path().join("federation.toml");
        fs::write(&file, founders.file("roster.cbor"))
            .map_err(io_error("cannot write the federation file"))?;
        let ports = free_ports(options.nodes * 2).map_err(io_error("cannot find free ports"))?;
        let listens: Vec<_> = ports.iter().skip(1).step_by(2).copied().collect();
        let relays = match options.relays {
            true => Some(
                Relays::start(&listens)
                    .await
                    .map_err(io_error("cannot start the relays"))?,
            ),
            false => None,
        };
        let mut nodes: Vec<Node> = Vec::new();
        for (n, pair) in ports.chunks_exact(2).enumerate() {
            let &[api, listen] = pair else { continue };
            let (name, dir) = (
                format!("node {}", n + 1),
                run.path().join(format!("n{}", n + 1)),
            );
            let bootstrap: Vec<String> = nodes.iter().map(Node::address).collect();
            let new = NewNode {
                name: &name,
                dir: &dir,
                api,
                listen,
                federation: &file,
                announce: relays.as_ref().and_then(|r| r.address(n)),
                bootstrap: &bootstrap,
            };
            nodes.push(
                Node::init(
                    &options.binary,
                    new,
                    &mut options.seeds.stream("node", n as u64),
                )
                .await?,
            );
        }
        let entries: Vec<_> = nodes.iter().map(|n| (n.id(), n.signing())).collect();
        let roster = founders.roster(&entries, 1, now)?;
        fs::write(run.path().join("roster.cbor"), roster)
            .map_err(io_error("cannot write the roster"))?;
        Ok(Net {
            nodes,
            relays,
            founders,
            run,
            cleaned,
        })
    }

    /// Waits until every node is connected with every other.
    ///
    /// # Errors
    /// [`NetError::Apart`], [`NetError::Node`].
    pub async fn wait_met(&mut self) -> Result<(), NetError> {
        let begun = Instant::now();
        let all = self.nodes.len().saturating_sub(1);
        for node in &mut self.nodes {
            loop {
                node.check_alive()?;
                let seen = node.status().await.map(|s| s.peers_connected).unwrap_or(0);
                if seen >= all {
                    break;
                }
                if begun.elapsed() > MEET {
                    return Err(NetError::Apart {
                        name: node.name().to_owned(),
                        seen,
                        all,
                    });
                }
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node, by its number from zero.
    ///
    /// # Errors
    /// [`NetError::NoNode`].
    pub fn node(&self, n: usize) -> Result<&Node, NetError> {
        self.nodes.get(n).ok_or(NetError::NoNode(n))
    }

    /// What people call a node, by its id.
    #[must_use]
    pub fn name_of(&self, id: &NodeId) -> &str {
        self.nodes
            .iter()
            .find(|n| n.id() == *id)
            .map_or("a node that is not ours", Node::name)
    }

    /// The founders with their keys.
    #[must_use]
    pub fn founders(&self) -> &Founders {
        &self.founders
    }

    /// The run's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.run.path()
    }

    /// What was left of earlier runs and is gone.
    #[must_use]
    pub fn cleaned(&self) -> Cleaned {
        self.cleaned
    }

    /// Kills a node (SIGKILL).
    ///
    /// # Errors
    /// [`NetError::NoNode`], [`NetError::Node`].
    pub async fn kill(&mut self, n: usize) -> Result<(), NetError> {
        Ok(self
            .nodes
            .get_mut(n)
            .ok_or(NetError::NoNode(n))?
            .kill()
            .await?)
    }

    /// Starts a node that does not run, and waits for nothing.
    ///
    /// # Errors
    /// [`NetError::NoNode`], [`NetError::Node`].
    pub fn launch(&mut self, n: usize) -> Result<(), NetError> {
        let node = self.nodes.get_mut(n).ok_or(NetError::NoNode(n))?;
        node.start(&self.run)?;
        if let Some(relays) = &self.relays {
            relays.process(n, node.pid());
        }
        Ok(())
    }

    /// Starts a node that does not run, and waits until it is ready.
    ///
    /// # Errors
    /// [`NetError::NoNode`], [`NetError::Node`].
    pub async fn restart(&mut self, n: usize) -> Result<(), NetError> {
        self.launch(n)?;
        let node = self.nodes.get_mut(n).ok_or(NetError::NoNode(n))?;
        Ok(node.wait_ready().await?)
    }

    /// Stops one node in order (SIGTERM), and waits.
    ///
    /// # Errors
    /// [`NetError::NoNode`], [`NetError::Node`].
    pub async fn stop_one(&mut self, n: usize) -> Result<(), NetError> {
        let node = self.nodes.get_mut(n).ok_or(NetError::NoNode(n))?;
        Ok(node.stop().await?)
    }

    /// Pauses a node (SIGSTOP).
    ///
    /// # Errors
    /// [`NetError::NoNode`], [`NetError::Node`].
    pub fn pause(&mut self, n: usize) -> Result<(), NetError> {
        let node = self.nodes.get_mut(n).ok_or(NetError::NoNode(n))?;
        Ok(node.pause()?)
    }

    /// Lets a paused node go on (SIGCONT).
    ///
    /// # Errors
    /// [`NetError::NoNode`], [`NetError::Node`].
    pub fn resume(&mut self, n: usize) -> Result<(), NetError> {
        let node = self.nodes.get_mut(n).ok_or(NetError::NoNode(n))?;
        Ok(node.resume()?)
    }

    /// Cuts these nodes from all others.
    ///
    /// # Errors
    /// [`NetError::NoRelays`], [`NetError::NoNode`].
    pub fn cut(&self, nodes: BTreeSet<usize>) -> Result<(), NetError> {
        let relays = self.relays.as_ref().ok_or(NetError::NoRelays)?;
        if let Some(n) = nodes.iter().find(|n| **n >= self.nodes.len()) {
            return Err(NetError::NoNode(*n));
        }
        relays.cut(nodes);
        Ok(())
    }

    /// Ends all partitions.
    ///
    /// # Errors
    /// [`NetError::NoRelays`].
    pub fn heal(&self) -> Result<(), NetError> {
        self.relays.as_ref().ok_or(NetError::NoRelays)?.heal();
        Ok(())
    }

    /// Whether nodes are cut from each other now.
    #[must_use]
    pub fn any_cut(&self) -> bool {
        self.relays.as_ref().is_some_and(Relays::any_cut)
    }

    /// Whether a node serves; asks once.
    ///
    /// # Errors
    /// [`NetError::NoNode`]; [`NetError::Node`] for one whose process ended.
    pub async fn is_ready(&mut self, n: usize) -> Result<bool, NetError> {
        let node = self.nodes.get_mut(n).ok_or(NetError::NoNode(n))?;
        Ok(node.is_ready().await?)
    }

    /// The error for a node that does not become ready.
    ///
    /// # Errors
    /// Always: [`NodeError::NotReady`] with the end of its log.
    pub fn not_ready(&self, n: usize) -> Result<(), NetError> {
        let node = self.node(n)?;
        Err(NodeError::NotReady {
            name: node.name().to_owned(),
            log: node.log_end(),
        }
        .into())
    }

    /// Whether all nodes run.
    ///
    /// # Errors
    /// [`NodeError::Ended`] for one that does not.
    pub fn check_alive(&mut self) -> Result<(), NetError> {
        for node in &mut self.nodes {
            node.check_alive()?;
        }
        Ok(())
    }

    /// Stops all nodes in order.
    ///
    /// # Errors
    /// The first that did not stop by itself; the others are stopped all the same.
    pub async fn stop(mut self) -> Result<(), NetError> {
        self.stop_all().await
    }

    /// The same, for one that is shared.
    ///
    /// # Errors
    /// As [`Net::stop`].
    pub async fn stop_all(&mut self) -> Result<(), NetError> {
        let mut result = Ok(());
        for node in &mut self.nodes {
            let stopped = node.stop().await;
            if result.is_ok() {
                result = stopped;
            }
        }
        Ok(result?)
    }
}
