//! How the rest of the node holds the network side: start, commands, status, end.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures::StreamExt;
use lapwing_core::{CallFailure, CallTag, Input, PeerTag, Severity, Topic};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::peer::{Gossip, PeerCall, PeerReply};
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::TrustView;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, ListenerId};
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, TransportError};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use crate::behaviour::{Behaviour, BehaviourEvent, streams};
use crate::config::{NetConfig, check_announce, check_listen};
use crate::error::NetError;
use crate::gossip::Topics;
use crate::peer::{ip, kind, node_id, port};
use crate::status::{NetStatus, Transport};
use crate::swarm::{Channels, Net};
use crate::transport::{Meters, transport};

/// The core's queue. It is called from the event loop, so it must not block.
pub type Inputs = Arc<dyn Fn(Input) + Send + Sync>;
/// The present, in seconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Connections stay when nothing is said on them; ping finds out whether they still stand.
const IDLE: Duration = Duration::from_secs(24 * 3600);
/// Streams of one connection whose protocol is being agreed on.
const NEGOTIATING: usize = 512;
/// Streams of one connection that carry no calls.
const OTHER_STREAMS: usize = 64;
/// How long the operating system may take to report the addresses listened on.
const LISTEN_PATIENCE: Duration = Duration::from_secs(5);

/// What the node wants of its network side.
// A call is the largest by far and the most frequent; boxing it would help nobody.
#[allow(clippy::large_enum_variant)]
pub enum Command {
    /// Call a peer, connecting first where needed; [`Input::Reply`] comes exactly once.
    Call {
        /// Comes back with the reply; distinct from those of other open calls.
        tag: CallTag,
        /// Whom.
        to: NodeId,
        /// What.
        call: PeerCall,
        /// Give up after so many milliseconds; a minute at most.
        timeout_ms: u32,
    },
    /// Reply to a peer's call; for a call that is gone this does nothing.
    Reply {
        /// The call.
        tag: PeerTag,
        /// The reply.
        reply: PeerReply,
    },
    /// Gossip.
    Publish {
        /// Where.
        topic: Topic,
        /// What.
        message: Gossip,
    },
    /// From now on follow this view of the chain of trust.
    View(Arc<TrustView>),
    /// A peer misbehaved.
    Fault {
        /// Which.
        peer: NodeId,
        /// How badly.
        severity: Severity,
        /// A fixed text for the log.
        what: &'static str,
    },
    /// Take no more calls, let due replies leave, close all connections and end.
    Shutdown,
}

/// A running network side. It ends by [`Command::Shutdown`], or when this is dropped.
pub struct Handle {
    node: NodeId,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<NetStatus>,
    inputs: Inputs,
}

impl Handle {
    /// Hands over a command. After the end, a call fails at once and everything else does nothing.
    pub fn send(&self, command: Command) {
        if let Err(mpsc::error::SendError(Command::Call { tag, to, .. })) =
            self.commands.send(command)
        {
            (self.inputs)(Input::Reply {
                tag,
                from: to,
                reply: Err(CallFailure::Unreachable),
            });
        }
    }

    /// The addresses listened on, with the ports that were taken.
    #[must_use]
    pub fn listening(&self) -> Vec<Multiaddr> {
        self.status.borrow().listening.clone()
    }

    /// The node's id: the public half of its peer key.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// A snapshot for operator and metrics.
    #[must_use]
    pub fn status(&self) -> NetStatus {
        self.status.borrow().clone()
    }

    /// Returns when the network side has ended; it does not ask it to.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }
}

/// Opens the listeners and runs the network side on the current tokio runtime. When this returns, the
/// addresses are bound.
///
/// `inputs` takes what the core is told; `now` is the clock that signed times are held against.
///
/// # Errors
/// [`NetError`]: an address that cannot be listened on or dialled, a view of another federation, a
/// key or settings that cannot be used.
pub async fn start(
    config: NetConfig,
    view: Arc<TrustView>,
    now: Clock,
    inputs: Inputs,
) -> Result<Handle, NetError> {
    if config.listen.is_empty() {
        return Err(NetError::NothingToListenOn);
    }
    for address in &config.announce {
        check_announce(address)?;
    }
    let bootstrap = config.bootstrap_nodes()?;
    if view.federation_id() != config.federation {
        return Err(NetError::WrongFederation);
    }
    let mut seed = Zeroizing::new(*config.seed);
    let key = Keypair::ed25519_from_bytes(&mut *seed).map_err(|_| NetError::BadKey)?;
    let node = node_id(&key.public().to_peer_id()).ok_or(NetError::BadKey)?;
    let topics = Topics::new(&config.federation);
    let nodes = view.roster().map_or(0, |r| r.nodes().count());
    let hashed = Arc::new(AtomicU64::new(0));
    let behaviour = Behaviour::new(&key, &config, &topics, nodes, &hashed)?;
    let meters = Meters::default();
    let streams = streams(&config) + OTHER_STREAMS;
    let transport = transport(&key, streams, &meters).map_err(|_| NetError::BadKey)?;
    let mut swarm = build(key, transport, behaviour);
    let mut early = Vec::new();
    let listening = listen(&mut swarm, &config.listen, &mut early).await?;
    for address in &config.announce {
        swarm.add_external_address(address.clone());
    }

    let (commands, commands_in) = mpsc::unbounded_channel();
    let (status_out, status) = watch::channel(NetStatus {
        listening: listening.iter().map(|(_, a)| a.clone()).collect(),
        ..NetStatus::default()
    });
    let channels = Channels {
        commands: commands_in,
        status: status_out,
        inputs: Arc::clone(&inputs),
        now,
        meters,
        ids: hashed,
    };
    let net = Net::new(
        swarm, config, node, topics, &bootstrap, view, listening, channels,
    );
    tokio::spawn(net.run(early));
    Ok(Handle {
        node,
        commands,
        status,
        inputs,
    })
}

fn build(
    key: Keypair,
    transport: Boxed<(PeerId, StreamMuxerBox)>,
    behaviour: Behaviour,
) -> Swarm<Behaviour> {
    let local = key.public().to_peer_id();
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE)
        .with_max_negotiating_inbound_streams(NEGOTIATING);
    Swarm::new(transport, behaviour, local, config)
}

/// Binds every address, and waits until all are reported; what else happens meanwhile goes to `early`.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
    early: &mut Vec<SwarmEvent<BehaviourEvent>>,
) -> Result<Vec<(ListenerId, Multiaddr)>, NetError> {
    let mut waiting = Vec::new();
    for address in addresses {
        check_listen(address)?;
        probe(address)?;
        let id = swarm.listen_on(address.clone()).map_err(|e| match e {
            TransportError::MultiaddrNotSupported(address) => {
                NetError::AddressNotSupported { address }
            }
            TransportError::Other(e) => NetError::listen(address, e),
        })?;
        waiting.push((id, address.clone()));
    }
    let mut listening = Vec::new();
    let reported = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr {
                    listener_id,
                    address,
                } => {
                    waiting.retain(|(id, _)| *id != listener_id);
                    listening.push((listener_id, address));
                }
                SwarmEvent::ListenerClosed {
                    listener_id,
                    reason,
                    ..
                } => {
                    let error = reason
                        .err()
                        .unwrap_or_else(|| std::io::ErrorKind::ConnectionAborted.into());
                    if let Some((_, address)) = waiting.iter().find(|(id, _)| *id == listener_id) {
                        return Err(NetError::listen(address, error));
                    }
                }
                // Peers may connect before all addresses are reported.
                event => early.push(event),
            }
        }
        Ok(())
    };
    match tokio::time::timeout(LISTEN_PATIENCE, reported).await {
        Ok(result) => result.map(|()| listening),
        Err(_) => {
            let address = waiting
                .into_iter()
                .next()
                .map(|(_, a)| a)
                .unwrap_or_else(Multiaddr::empty);
            Err(NetError::listen(
                &address,
                std::io::ErrorKind::TimedOut.into(),
            ))
        }
    }
}

/// Sees whether the address is free. The listener itself allows others on the same port, so two nodes
/// with the same port would share the connections without a word.
fn probe(address: &Multiaddr) -> Result<(), NetError> {
    let (Some(ip), Some(port)) = (ip(address), port(address).filter(|p| *p != 0)) else {
        return Ok(());
    };
    let socket = SocketAddr::new(ip, port);
    let free = match kind(address) {
        Some(Transport::Quic) => UdpSocket::bind(socket).map(drop),
        _ => TcpListener::bind(socket).map(drop),
    };
    free.map_err(|e| NetError::listen(address, e))
}
