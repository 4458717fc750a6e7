//! TCP with noise and yamux, and QUIC beside it; and every dial over TCP from a port of its own.
//!
//! By default libp2p dials from the port it listens on, which helps where networks are traversed by
//! hole punching. Where another socket of the machine happens to have that port, each such dial fails
//! with "address in use", for as long as that socket lives: nodes of one machine were seen not to
//! find each other for minutes. Nobody here needs the port of a dial.
//!
//! QUIC has its handshake, encryption and streams in itself. A listener's socket serves its dials, too:
//! one that comes back at the same address with the same key tells its peers at once that their old
//! connections are gone (RFC 9000, 10.3).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::Either;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{
    Boxed, DialOpts, ListenerId, PortUse, TransportError, TransportEvent,
};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId, Transport, noise, quic, tcp, yamux};

use crate::meter::{Meter, Metered};

type Tcp = tcp::tokio::Transport;
/// A connection whose other end has proved its key.
type Secured = (PeerId, StreamMuxerBox);

/// Bytes that may be under way on one QUIC connection, and on one stream of it: unread ones stay in
/// memory, so they bound what a connection may hold there.
const QUIC_CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
const QUIC_STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// How long it may take until a connection's other end has proved its key.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// So many streams a connection at most, whatever is asked for: what yamux promises each stream must
/// fit into its connection's window of 1 GiB.
const MAX_STREAMS: usize = 4096;

/// What was sent and received, by transport.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    pub(crate) tcp: Meter,
    pub(crate) quic: Meter,
}

/// The transports of a node with this key, with so many streams a connection.
pub(crate) fn transport(
    key: &Keypair,
    streams: usize,
    meters: &Meters,
) -> Result<Boxed<Secured>, noise::Error> {
    let streams = streams.min(MAX_STREAMS);
    let mut yamux = yamux::Config::default();
    // Counts both directions. One more would end the connection.
    yamux.set_max_num_streams(streams);
    let meter = meters.tcp.clone();
    let tcp = FreshPort(Tcp::new(tcp::Config::default()))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(yamux)
        .map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(Metered::new(muxer, meter))));
    let mut settings = quic::Config::new(key);
    // Counts those that the other side opens; who would open one more waits.
    settings.max_concurrent_stream_limit = u32::try_from(streams).unwrap_or(u32::MAX);
    settings.max_connection_data = QUIC_CONNECTION_WINDOW;
    settings.max_stream_data = QUIC_STREAM_WINDOW;
    let meter = meters.quic.clone();
    let quic = quic::tokio::Transport::new(settings)
        .map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(Metered::new(muxer, meter))));
    let both = tcp.or_transport(quic).map(|either, _| match either {
        Either::Left(secured) | Either::Right(secured) => secured,
    });
    Ok(TransportTimeout::new(both, HANDSHAKE).boxed())
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
