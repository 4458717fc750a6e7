//! Making a node: free ports, `lapwing init`, and keys from the seed.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use rand_chacha::ChaCha20Rng;
use tokio::process::Command;

use super::keys::write_keys;
use super::{Node, NodeError};

/// The first port that is tried.
const LEAST: u16 = 10_000;
/// How many ports are tried for each that is wanted.
const TRIES: usize = 50;

/// Loopback ports that nobody uses now, all different. None, where there is room for that, that the
/// operating system gives to outgoing connections: one of these could take a port before its node starts,
/// or while it is down.
///
/// # Errors
/// What the operating system says.
pub fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let mut bound: Vec<TcpListener> = Vec::with_capacity(count);
    let room = first_outgoing().saturating_sub(LEAST);
    if usize::from(room) >= count * TRIES {
        for _ in 0..count * TRIES {
            if bound.len() == count {
                break;
            }
            let mut random = [0; 2];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let port = LEAST + u16::from_le_bytes(random) % room;
            bound.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        }
    }
    while bound.len() < count {
        bound.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    }
    bound.iter().map(TcpListener::local_addr).collect()
}

/// The first of the ports that Linux gives to outgoing connections (ip(7), `ip_local_port_range`). Elsewhere
/// a lower one than the first that IANA sets aside for that (49,152: RFC 6335, section 6).
fn first_outgoing() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
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

pub(super) fn multiaddress(at: SocketAddr) -> String {
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
        let outgoing = first_outgoing();
        let apart = ports.iter().all(|p| p.port() < outgoing);
        assert!(apart || usize::from(outgoing.saturating_sub(LEAST)) < 20 * TRIES);
    }
}
