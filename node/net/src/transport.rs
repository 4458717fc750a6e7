//! TCP, noise and yamux; and every dial from a port of its own.
//!
//! By default libp2p dials from the port it listens on, which helps where networks are traversed by
//! hole punching. Where another socket of the machine happens to have that port, each such dial fails
//! with "address in use", for as long as that socket lives: nodes of one machine were seen not to
//! find each other for minutes. Nobody here needs the port of a dial.

use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Transport, noise, tcp, yamux};

type Tcp = tcp::tokio::Transport;
/// A connection whose other end has proved its key.
type Secured = (PeerId, libp2p::core::muxing::StreamMuxerBox);

/// The transport of a node with this key.
pub(crate) fn transport(
    key: &Keypair,
) -> Result<libp2p::core::transport::Boxed<Secured>, noise::Error> {
    Ok(FreshPort(Tcp::new(tcp::Config::default()))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(yamux::Config::default())
        .boxed())
}

/// TCP that dials from a fresh port, whatever the dial asks for.
struct FreshPort(Tcp);

impl Transport for FreshPort {
    type Output = <Tcp as Transport>::Output;
    type Error = <Tcp as Transport>::Error;
    type ListenerUpgrade = <Tcp as Transport>::ListenerUpgrade;
    type Dial = <Tcp as Transport>::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        mut options: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        options.port_use = PortUse::New;
        self.0.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}
