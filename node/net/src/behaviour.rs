//! The protocols that one connection carries, with their settings.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lapwing_protocol::hash::hash_with;
use lapwing_protocol::id::FederationId;
use lapwing_protocol::peer::{MAX_GOSSIP, PROTOCOL};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    self, Message, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds, TopicHash,
    TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{StreamProtocol, identify, kad, mdns, ping};

use crate::admission::Gate;
use crate::codec::FrameCodec;
use crate::config::{Mesh, NetConfig};
use crate::error::NetError;
use crate::faults::PART;
use crate::gossip::Topics;

/// How many heartbeats a message may wait for its check before it is no longer passed on; together
/// with the heartbeat this is at least five seconds by default.
const CHECK_HEARTBEATS: usize = 6;
/// Room for the envelope around the largest gossip message, and for control messages.
const GOSSIP_FRAME: usize = MAX_GOSSIP + 16 * 1024;
/// The longest time a request may take in the protocol's machinery; this node's own deadlines are
/// shorter.
pub(crate) const CALL_CEILING: Duration = Duration::from_secs(60);

pub(crate) type Gossipsub =
    gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>;

/// The protocols. Those that refuse connections come first, so that the others never hear of a
/// connection that is refused.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) gate: Gate,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) kad: kad::Behaviour<MemoryStore>,
    pub(crate) gossip: Gossipsub,
    pub(crate) calls: request_response::Behaviour<FrameCodec>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// What identifies the federation in the names of protocols.
pub(crate) fn version(federation: &FederationId) -> String {
    format!("/lapwing/{federation}/1")
}

impl Behaviour {
    /// All protocols of a node in a federation with so many nodes, as far as is known.
    pub(crate) fn new(
        key: &Keypair,
        config: &NetConfig,
        topics: &Topics,
        nodes: usize,
        hashed: &Arc<AtomicU64>,
    ) -> Result<Self, NetError> {
        Ok(Self {
            gate: Gate::default(),
            limits: connection_limits::Behaviour::new(limits(config)),
            identify: identify::Behaviour::new(
                identify::Config::new(version(&config.federation), key.public())
                    .with_agent_version(concat!("lapwing/", env!("CARGO_PKG_VERSION")).to_owned())
                    .with_push_listen_addr_updates(true)
                    // Announced addresses stand in for those it listens on, which may lead nowhere.
                    .with_hide_listen_addrs(!config.announce.is_empty()),
            ),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(config.tuning.ping)
                    .with_timeout(config.tuning.ping_timeout),
            ),
            kad: kademlia(key, config)?,
            gossip: gossip(config, topics, nodes, hashed)?,
            calls: calls(config),
            mdns: local(key, config)?.into(),
        })
    }
}

/// The local network's names, where the operator wants them asked for.
fn local(key: &Keypair, config: &NetConfig) -> Result<Option<mdns::tokio::Behaviour>, NetError> {
    let start = || mdns::tokio::Behaviour::new(mdns::Config::default(), key.public().to_peer_id());
    let started = config.mdns.then(start).transpose();
    started.map_err(|source| NetError::Mdns { source })
}

fn limits(config: &NetConfig) -> ConnectionLimits {
    let each_way = (config.limits.connections - config.limits.connections / 4).max(1);
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(config.limits.handshakes))
        .with_max_pending_outgoing(Some(config.limits.dials))
        .with_max_established(Some(config.limits.connections))
        .with_max_established_incoming(Some(each_way))
        .with_max_established_outgoing(Some(each_way))
        // Two nodes that dial each other at once need two. A third stands for a moment only: it is
        // either closed, or a node that lost both without a word, which is connected anew.
        .with_max_established_per_peer(Some(3))
}

fn calls(config: &NetConfig) -> request_response::Behaviour<FrameCodec> {
    let codec = FrameCodec::new(config.limits.frame_bytes, config.tuning.frame);
    let protocol = StreamProtocol::new(PROTOCOL);
    let settings = request_response::Config::default()
        .with_request_timeout(CALL_CEILING)
        // Streams beyond the number are dropped without a word, so it must exceed both quotas.
        .with_max_concurrent_streams(streams(config));
    request_response::Behaviour::with_codec(codec, [(protocol, ProtocolSupport::Full)], settings)
}

/// Streams for calls on one connection.
pub(crate) fn streams(config: &NetConfig) -> usize {
    let limits = &config.limits;
    limits.calls_in_per_peer + limits.calls_out_per_peer + 64
}

fn kademlia(key: &Keypair, config: &NetConfig) -> Result<kad::Behaviour<MemoryStore>, NetError> {
    let name = format!("/lapwing/{}/kad/1", config.federation);
    let name = StreamProtocol::try_from_owned(name).map_err(|_| NetError::BadSettings {
        what: "the federation's name for Kademlia is not a protocol name",
    })?;
    let id = key.public().to_peer_id();
    // Kademlia finds nodes; it keeps no records, whoever offers some.
    let store = MemoryStore::with_config(
        id,
        MemoryStoreConfig {
            max_records: 0,
            max_provided_keys: 0,
            ..MemoryStoreConfig::default()
        },
    );
    let mut settings = kad::Config::new(name);
    settings
        .set_query_timeout(Duration::from_secs(10))
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_caching(kad::Caching::Disabled)
        .set_periodic_bootstrap_interval(Some(Duration::from_secs(300)));
    let mut kademlia = kad::Behaviour::with_config(id, store, settings);
    // Until an address is confirmed from outside it would be a client that answers nobody.
    kademlia.set_mode(Some(kad::Mode::Server));
    Ok(kademlia)
}

fn gossip(
    config: &NetConfig,
    topics: &Topics,
    nodes: usize,
    hashed: &Arc<AtomicU64>,
) -> Result<Gossipsub, NetError> {
    let hashed = Arc::clone(hashed);
    let tuning = &config.tuning;
    let mesh = match tuning.mesh {
        Some(mesh) => mesh,
        None if (1..=8).contains(&nodes) => Mesh::SMALL,
        None => Mesh::LARGE,
    };
    let consistent = mesh.low <= mesh.size && mesh.size <= mesh.high && mesh.low >= 1;
    if !consistent {
        return Err(NetError::BadSettings {
            what: "the gossip mesh must have 1 <= low <= size <= high",
        });
    }
    let settings = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        // Once for each message that comes or goes, before it is known whether it came before.
        .message_id_fn(move |message| {
            hashed.fetch_add(1, Ordering::Relaxed);
            message_id(message)
        })
        .mesh_n(mesh.size)
        .mesh_n_low(mesh.low)
        .mesh_n_high(mesh.high)
        .mesh_outbound_min((mesh.size / 2).min(2).min(mesh.low))
        .gossip_factor(if nodes > 100 { 0.02 } else { 0.25 })
        .flood_publish(false)
        .heartbeat_interval(tuning.heartbeat)
        .heartbeat_initial_delay(tuning.heartbeat.min(Duration::from_secs(1)))
        .history_length(CHECK_HEARTBEATS)
        .history_gossip(3)
        .max_transmit_size(GOSSIP_FRAME)
        .duplicate_cache_time(Duration::from_secs(120))
        .build()
        .map_err(|_| NetError::BadSettings {
            what: "the gossip settings contradict each other",
        })?;
    let filter = WhitelistSubscriptionFilter(topics.all().collect::<HashSet<_>>());
    let mut gossip =
        Gossipsub::new_with_subscription_filter(MessageAuthenticity::Anonymous, settings, filter)
            .map_err(|_| NetError::BadSettings {
            what: "gossip cannot be anonymous with these settings",
        })?;
    gossip
        .with_peer_score(score(topics), thresholds())
        .map_err(|_| NetError::BadSettings {
            what: "the gossip scores are out of bounds",
        })?;
    Ok(gossip)
}

/// The same message has the same id wherever it is: a hash of topic and data.
fn message_id(message: &Message) -> MessageId {
    MessageId::new(&hash_with("lapwing/v1/gossip-id", |out| {
        out.array(2);
        out.text(message.topic.as_str());
        out.bytes(&message.data);
    }))
}

/// Scores, for federations of few nodes (`docs/spec/net.md`): what fails its check weighs most, and
/// the sum of a peer's faults is taken from its score. Nothing is scored that honest nodes of one
/// machine, of a quiet topic or under load would be punished for: shared addresses, few messages,
/// slowness. In a mesh of four, one that is wrongly thrown out is a quarter of it.
fn score(topics: &Topics) -> PeerScoreParams {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 100.0,
        first_message_deliveries_weight: 0.01,
        first_message_deliveries_decay: 0.99,
        first_message_deliveries_cap: 100.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        // A bad message is forgotten after about ten minutes.
        invalid_message_deliveries_decay: gossipsub::score_parameter_decay(Duration::from_secs(
            600,
        )),
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: topics
            .all()
            .map(|t: TopicHash| (t, topic.clone()))
            .collect(),
        topic_score_cap: 10.0,
        app_specific_weight: 1.0,
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: 0.9,
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -20.0,
        publish_threshold: -50.0,
        // The sum of faults at which a peer is disconnected.
        graylist_threshold: -PART,
        accept_px_threshold: 100.0,
        opportunistic_graft_threshold: 0.5,
    }
}

/// How many nodes a lookup returns at most.
pub(crate) const LOOKUP: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);
