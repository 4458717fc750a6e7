//! Relays between nodes, so that a partition needs no rights on the machine.
//!
//! Each node announces a relay's address instead of its own; whoever dials it comes through here. A
//! partition closes the connections between its two sides and refuses new ones, as a router does that
//! answers with a reset (a pause, by contrast, swallows: SIGSTOP). Who dials is found in `/proc`: the
//! dialling end of a connection is a socket of one of our own processes. So this works unprivileged,
//! on Linux, over TCP. Clients of the API do not pass through here.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The nodes on the smaller side of each partition: two nodes can talk when every partition has both on
/// one side.
type Cuts = Vec<BTreeSet<usize>>;

fn apart(cuts: &Cuts, a: usize, b: usize) -> bool {
    cuts.iter().any(|cut| cut.contains(&a) != cut.contains(&b))
}

/// Where the kernel lists connections. proc_pid_net(5).
const TABLE: &str = "/proc/net/tcp";

/// Whether relays work on this machine: whether it says who dials.
#[must_use]
pub fn possible() -> bool {
    fs::read_to_string(TABLE).is_ok_and(|table| table.contains("inode"))
}

/// The relays of a run. When this is dropped, they end.
#[derive(Debug)]
pub struct Relays {
    addresses: Vec<SocketAddr>,
    cuts: watch::Sender<Cuts>,
    /// The processes of the nodes, by number.
    processes: Arc<Mutex<Vec<Option<u32>>>>,
    _tasks: JoinSet<()>,
}

impl Relays {
    /// One relay for each of these addresses, on a free port.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn start(nodes: &[SocketAddr]) -> io::Result<Self> {
        let cuts = watch::Sender::new(Cuts::new());
        let processes = Arc::new(Mutex::new(vec![None; nodes.len()]));
        let mut addresses = Vec::new();
        let mut tasks = JoinSet::new();
        for (number, node) in nodes.iter().enumerate() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            addresses.push(listener.local_addr()?);
            let relay = Relay {
                number,
                node: *node,
                processes: processes.clone(),
                cuts: cuts.subscribe(),
            };
            tasks.spawn(relay.serve(listener));
        }
        Ok(Relays {
            addresses,
            cuts,
            processes,
            _tasks: tasks,
        })
    }

    /// Where the `n`th node is reached.
    #[must_use]
    pub fn address(&self, n: usize) -> Option<SocketAddr> {
        self.addresses.get(n).copied()
    }

    /// A node's process is this one now.
    pub fn process(&self, n: usize, pid: Option<u32>) {
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = processes.get_mut(n) {
            *place = pid;
        }
    }

    /// Cuts these nodes from all others.
    pub fn cut(&self, nodes: BTreeSet<usize>) {
        self.cuts.send_modify(|cuts| cuts.push(nodes));
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.cuts.send_modify(Cuts::clear);
    }

    /// Whether any two nodes are apart.
    #[must_use]
    pub fn any_cut(&self) -> bool {
        !self.cuts.borrow().is_empty()
    }
}

#[derive(Clone)]
struct Relay {
    number: usize,
    node: SocketAddr,
    processes: Arc<Mutex<Vec<Option<u32>>>>,
    cuts: watch::Receiver<Cuts>,
}

impl Relay {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, from)) = accepted {
                    connections.spawn(self.clone().carry(stream, from));
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn carry(mut self, mut stream: TcpStream, from: SocketAddr) {
        let (SocketAddr::V4(from), Ok(SocketAddr::V4(here))) = (from, stream.local_addr()) else {
            return;
        };
        let processes = self.processes.clone();
        let dialler = tokio::task::spawn_blocking(move || {
            let processes = processes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            dialler(from, here, &processes)
        });
        // Whoever is none of our nodes is on no side, and has no business here.
        let Ok(Some(other)) = dialler.await else {
            return;
        };
        let number = self.number;
        if apart(&self.cuts.borrow(), other, number) {
            return;
        }
        let Ok(mut node) = TcpStream::connect(self.node).await else {
            return;
        };
        // Both are on one machine: waiting for more bytes gains nothing.
        let _nodelay = (stream.set_nodelay(true), node.set_nodelay(true));
        tokio::select! {
            _ = copy_bidirectional(&mut stream, &mut node) => {}
            _ = self.cuts.wait_for(|cuts| apart(cuts, other, number)) => {}
        }
    }
}

/// Which of these processes holds the dialling end of a connection.
fn dialler(from: SocketAddrV4, to: SocketAddrV4, processes: &[Option<u32>]) -> Option<usize> {
    let table = fs::read_to_string(TABLE).ok()?;
    let socket = format!("socket:[{}]", inode(&table, from, to)?);
    processes.iter().position(|pid| {
        pid.and_then(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok())
            .into_iter()
            .flatten()
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|at| at.as_os_str() == socket.as_str()))
    })
}

/// The number of a socket by its two ends. proc_pid_net(5): the second and third field are the ends,
/// the tenth is the inode.
fn inode(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<&str> {
    let (local, remote) = (hex(local), hex(remote));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ends = fields.next() == Some(&local) && fields.next() == Some(&remote);
        ends.then(|| fields.nth(6)).flatten()
    })
}

/// An end as the kernel writes it: the address in the machine's own order, the port as a number.
fn hex(end: SocketAddrV4) -> String {
    format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(end.ip().octets()),
        end.port()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    #[test]
    fn two_are_apart_when_any_cut_parts_them() {
        let cuts = vec![BTreeSet::from([3, 4]), BTreeSet::from([0])];
        assert!(apart(&cuts, 3, 1) && apart(&cuts, 1, 4) && apart(&cuts, 0, 1));
        assert!(!apart(&cuts, 3, 4) && !apart(&cuts, 1, 2));
        assert!(!apart(&Cuts::new(), 0, 1));
    }

    #[test]
    fn sockets_are_found_by_their_ends() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n";
        let end = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        assert_eq!(inode(table, end(8080), end(50000)), Some("4711"));
        assert_eq!(inode(table, end(50000), end(8080)), None);
    }

    #[tokio::test]
    async fn a_cut_closes_connections_and_healing_lets_new_ones_pass() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = echo.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let relays = Relays::start(&[address, address]).await.unwrap();
        // This test dials as if it were node 1.
        relays.process(1, Some(std::process::id()));
        let dial = || async {
            let mut stream = TcpStream::connect(relays.address(0).unwrap())
                .await
                .unwrap();
            let said = stream.write_all(b"hallo").await;
            let mut heard = [0; 5];
            let heard = timeout(Duration::from_secs(5), stream.read_exact(&mut heard)).await;
            (said.is_ok() && heard.unwrap().is_ok(), stream)
        };
        let (passes, mut open) = dial().await;
        assert!(passes);
        relays.cut(BTreeSet::from([1]));
        assert!(relays.any_cut());
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(5), open.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the open connection is closed");
        assert!(!dial().await.0);
        relays.heal();
        assert!(dial().await.0);
    }
}
