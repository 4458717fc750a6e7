//! libp2p with a node's protocols and settings and an open store, doing nothing: the memory that the
//! chosen libraries take by themselves. The settings are those of the node's network shell.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures::prelude::*;
use lapwing_store::{SledOptions, SledStore};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    self, IdentTopic, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds,
    TopicHash, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::kad::store::MemoryStore;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder, identify, identity::Keypair, kad, noise, ping, tcp, yamux,
};
use serde::{Deserialize, Serialize};

use crate::child::{listen, say};

/// It is idle now.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Idle;

/// Topics that a node knows by name.
const TOPICS: u16 = 257;
/// Topics that a node of a federation by the standard parameters is subscribed to: its shards, and
/// that of trust records.
const SUBSCRIBED: u16 = 17;
/// Where a baseline listens by TCP, as a node does.
pub(super) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
/// Where it listens by QUIC, as a node does too.
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
/// The largest gossip message with its envelope.
const FRAME: usize = 32 * 1024;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
    pub(super) gossip:
        gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>,
    calls: request_response::Behaviour<Nothing>,
}

/// Runs as this baseline until the main process ends.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let store = SledStore::open(dir, &SledOptions::default())?;
    let _swarm = runtime.spawn(idle()?);
    say(&Idle)?;
    while listen::<serde_json::Value>()?.is_some() {}
    drop(store);
    Ok(())
}

fn idle() -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    let key = Keypair::generate_ed25519();
    let behaviour = behaviour(&key)?;
    Ok(async move {
        let mut swarm = swarm(key, behaviour, &[TCP, QUIC])?;
        loop {
            let _event = swarm.select_next_some().await;
        }
    })
}

/// A swarm with a node's transports that listens at these addresses, and is subscribed to what a node is
/// subscribed to. Within a runtime.
pub(super) fn swarm(
    key: Keypair,
    behaviour: Behaviour,
    addresses: &[&str],
) -> anyhow::Result<Swarm<Behaviour>> {
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_quic()
        .with_behaviour(|_| behaviour)?
        .with_swarm_config(|c| {
            c.with_idle_connection_timeout(Duration::from_secs(24 * 3600))
                .with_max_negotiating_inbound_streams(512)
        })
        .build();
    for address in addresses {
        swarm.listen_on(address.parse()?)?;
    }
    for n in 0..SUBSCRIBED {
        swarm.behaviour_mut().gossip.subscribe(&topic(n))?;
    }
    Ok(swarm)
}

/// The topics that a node subscribes to, by number.
pub(super) fn topic(n: u16) -> IdentTopic {
    IdentTopic::new(format!("lapwing/{:064}/shard/{n}", 0))
}

/// A node's protocols, by its settings.
pub(super) fn behaviour(key: &Keypair) -> anyhow::Result<Behaviour> {
    let id = key.public().to_peer_id();
    let mut settings = kad::Config::new(StreamProtocol::new("/lapwing/0/kad/1"));
    settings
        .set_query_timeout(Duration::from_secs(10))
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_periodic_bootstrap_interval(Some(Duration::from_secs(300)));
    let mut kad = kad::Behaviour::with_config(id, MemoryStore::new(id), settings);
    kad.set_mode(Some(kad::Mode::Server));
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(64))
        .with_max_established(Some(1024))
        .with_max_established_per_peer(Some(3));
    let calls = request_response::Config::default()
        .with_request_timeout(Duration::from_secs(60))
        .with_max_concurrent_streams(448);
    let protocol = (
        StreamProtocol::new("/lapwing/call/1"),
        ProtocolSupport::Full,
    );
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        identify: identify::Behaviour::new(
            identify::Config::new("/lapwing/0/1".to_owned(), key.public())
                .with_push_listen_addr_updates(true),
        ),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(10))),
        kad,
        gossip: gossip()?,
        calls: request_response::Behaviour::with_codec(Nothing, [protocol], calls),
    })
}

fn gossip()
-> anyhow::Result<gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>> {
    let settings = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|m| MessageId::new(blake3::hash(&m.data).as_bytes()))
        .mesh_n(4)
        .mesh_n_low(3)
        .mesh_n_high(4)
        .mesh_outbound_min(2)
        .flood_publish(false)
        .heartbeat_interval(Duration::from_secs(1))
        .history_length(6)
        .history_gossip(3)
        .max_transmit_size(FRAME)
        .duplicate_cache_time(Duration::from_secs(120))
        .build()?;
    let topics: Vec<TopicHash> = (0..TOPICS).map(|n| topic(n).hash()).collect();
    let filter = WhitelistSubscriptionFilter(topics.iter().cloned().collect::<HashSet<_>>());
    let gossip = gossipsub::Behaviour::new_with_subscription_filter(
        MessageAuthenticity::Anonymous,
        settings,
        filter,
    );
    let mut gossip = gossip.ok().context("gossip cannot be anonymous")?;
    let score = PeerScoreParams {
        topics: topics
            .into_iter()
            .map(|t| (t, TopicScoreParams::default()))
            .collect(),
        ..PeerScoreParams::default()
    };
    let scored = gossip.with_peer_score(score, PeerScoreThresholds::default());
    scored.map_err(anyhow::Error::msg)?;
    Ok(gossip)
}

/// A codec that is never used: nobody calls.
#[derive(Clone)]
pub(super) struct Nothing;

impl request_response::Codec for Nothing {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        whole(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        whole(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> std::io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> std::io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }
}

async fn whole(io: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(FRAME as u64).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
