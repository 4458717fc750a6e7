//! A peer that speaks the protocols but keeps to no rule: it sends whatever bytes it is given.

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use lapwing_net::Multiaddr;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, StreamProtocol, Swarm, SwarmBuilder, identity::Keypair, noise, tcp, yamux};
use tokio::time::timeout;

use super::PATIENCE;

/// A call that is begun and never ended.
pub(crate) const HANG: &[u8] = b"hang";

#[derive(Clone, Default)]
pub(crate) struct RawCodec;

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, bytes: Vec<u8>) -> io::Result<()> {
    io.write_all(&bytes).await?;
    io.close().await
}

impl request_response::Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        if bytes == HANG {
            io.write_all(&bytes).await?;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        // The other side may have stopped reading; its answer is still of interest.
        let _ = write(io, bytes).await;
        Ok(())
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, bytes).await
    }
}

#[derive(NetworkBehaviour)]
pub(crate) struct RawBehaviour {
    calls: request_response::Behaviour<RawCodec>,
    gossip: gossipsub::Behaviour,
}

pub(crate) struct Raw {
    pub(crate) swarm: Swarm<RawBehaviour>,
}

impl Raw {
    pub(crate) fn new(mut seed: [u8; 32]) -> Self {
        let key = Keypair::ed25519_from_bytes(&mut seed).unwrap();
        let protocol = StreamProtocol::new("/lapwing/1");
        let calls = request_response::Behaviour::new(
            [(protocol, ProtocolSupport::Full)],
            request_response::Config::default().with_max_concurrent_streams(1000),
        );
        let gossip = gossipsub::Behaviour::new(
            MessageAuthenticity::Anonymous,
            gossipsub::ConfigBuilder::default()
                .validation_mode(ValidationMode::Anonymous)
                .message_id_fn(|m| gossipsub::MessageId::new(&m.data))
                .heartbeat_interval(Duration::from_millis(200))
                .heartbeat_initial_delay(Duration::from_millis(200))
                .build()
                .unwrap(),
        )
        .unwrap();
        let swarm = SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(
                tcp::Config::default(),
                noise::Config::new,
                yamux::Config::default,
            )
            .unwrap()
            .with_quic()
            .with_behaviour(|_| RawBehaviour { calls, gossip })
            .unwrap()
            .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        Self { swarm }
    }

    /// Connects to a node.
    pub(crate) async fn connect(&mut self, address: Multiaddr) -> PeerId {
        self.swarm.dial(address).unwrap();
        let wait = async {
            loop {
                if let SwarmEvent::ConnectionEstablished { peer_id, .. } =
                    self.swarm.select_next_some().await
                {
                    return peer_id;
                }
            }
        };
        timeout(PATIENCE, wait)
            .await
            .expect("the raw peer could not connect")
    }

    /// Sends bytes as a call; what came back, if anything did.
    pub(crate) async fn call(&mut self, to: &PeerId, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let id = self.swarm.behaviour_mut().calls.send_request(to, bytes);
        let wait = async {
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::Behaviour(RawBehaviourEvent::Calls(event)) => match event {
                        request_response::Event::Message {
                            message:
                                request_response::Message::Response {
                                    request_id,
                                    response,
                                },
                            ..
                        } if request_id == id => return Some(response),
                        request_response::Event::OutboundFailure { request_id, .. }
                            if request_id == id =>
                        {
                            return None;
                        }
                        _ => {}
                    },
                    SwarmEvent::ConnectionClosed {
                        num_established: 0, ..
                    } => return None,
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, wait)
            .await
            .expect("the raw peer got no answer")
    }

    /// Makes so many calls at once; how many of them failed within `time`.
    pub(crate) async fn flood(
        &mut self,
        to: &PeerId,
        calls: usize,
        bytes: &[u8],
        time: Duration,
    ) -> usize {
        for _ in 0..calls {
            let calls = &mut self.swarm.behaviour_mut().calls;
            calls.send_request(to, bytes.to_vec());
        }
        let mut failed = 0;
        let wait = async {
            loop {
                if let SwarmEvent::Behaviour(RawBehaviourEvent::Calls(
                    request_response::Event::OutboundFailure { .. },
                )) = self.swarm.select_next_some().await
                {
                    failed += 1;
                }
            }
        };
        let _: Result<(), _> = timeout(time, wait).await;
        failed
    }

    /// Subscribes to a topic and waits until the other side is known to, too.
    pub(crate) async fn subscribe(&mut self, topic: &IdentTopic) {
        self.swarm.behaviour_mut().gossip.subscribe(topic).unwrap();
        let hash = topic.hash();
        let wait = async {
            loop {
                let gossip = &self.swarm.behaviour().gossip;
                if gossip
                    .all_peers()
                    .any(|(_, topics)| topics.contains(&&hash))
                {
                    return;
                }
                self.swarm.select_next_some().await;
            }
        };
        timeout(PATIENCE, wait)
            .await
            .expect("the other side did not subscribe");
    }

    pub(crate) fn publish(&mut self, topic: &IdentTopic, data: Vec<u8>) {
        self.swarm
            .behaviour_mut()
            .gossip
            .publish(topic.clone(), data)
            .unwrap();
    }

    /// Answers every call with these bytes, for so long.
    pub(crate) async fn answer(&mut self, bytes: &[u8], time: Duration) {
        let wait = async {
            loop {
                if let SwarmEvent::Behaviour(RawBehaviourEvent::Calls(
                    request_response::Event::Message {
                        message: request_response::Message::Request { channel, .. },
                        ..
                    },
                )) = self.swarm.select_next_some().await
                {
                    let _ = self
                        .swarm
                        .behaviour_mut()
                        .calls
                        .send_response(channel, bytes.to_vec());
                }
            }
        };
        let _: Result<(), _> = timeout(time, wait).await;
    }

    /// Keeps the swarm going for so long.
    pub(crate) async fn run(&mut self, time: Duration) {
        let wait = async {
            loop {
                self.swarm.select_next_some().await;
            }
        };
        let _: Result<(), _> = timeout(time, wait).await;
    }
}
