//! Connections: which stand, which are to be made, and which only seem to stand.
//!
//! A peer that vanishes without closing and comes back finds its old connection still standing here.
//! Gossip tells its subscriptions on the first connection of a peer alone, so the peer would never
//! hear of them. Three things mend it: who dials in although an older connection stands has lost that
//! one; a connection whose pings fail is closed; and a peer some of whose
//! subscriptions are missing is connected anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lapwing_core::Input;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::time::Time;
use libp2p::core::ConnectedPoint;
use libp2p::kad::{PeerInfo, QueryId};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use crate::behaviour::LOOKUP;
use crate::peer::{dialable, ip, needs_resolving, node_id, peer_id};
use crate::swarm::Net;

/// An idle connection of this age that this node did not choose is closed when there are too many.
const IDLE: Duration = Duration::from_secs(60);
/// So many times the connections of its own choice a node keeps in all.
const SURPLUS: usize = 4;

/// A connected node.
pub(crate) struct Peer {
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    /// Since when, for the operator.
    pub(crate) since: Time,
    /// Since when gossip has not known all its subscriptions.
    silent: Instant,
}

/// One of its connections.
pub(crate) struct Connection {
    at: Instant,
    /// The other end.
    pub(crate) address: Multiaddr,
    /// Whether this node made it.
    pub(crate) dialled: bool,
}

/// Connections of one peer that may stand: two nodes that dial each other at once have two.
const PER_PEER: usize = 2;

impl Peer {
    /// Whether the other end of a connection is on this machine.
    pub(crate) fn same_machine(&self, id: &ConnectionId) -> bool {
        let ip = self.connections.get(id).and_then(|c| ip(&c.address));
        ip.is_some_and(|ip| ip.is_loopback())
    }
}

impl Net {
    /// A connection stands.
    pub(crate) fn connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let Some(node) = node_id(&peer) else {
            return;
        };
        self.changed = true;
        let now = Instant::now();
        let address = endpoint.get_remote_address().clone();
        let connection = Connection {
            at: now,
            address: address.clone(),
            dialled: endpoint.is_dialer(),
        };
        self.book.connected(node);
        if let Some(known) = self.peers.get_mut(&node) {
            let stale = self.tuning.stale;
            let old = known
                .connections
                .values()
                .any(|c| now.saturating_duration_since(c.at) >= stale);
            known.connections.insert(id, connection);
            if old && endpoint.is_listener() {
                tracing::info!(peer = %node, "peer came back; connecting anew");
                self.reconnect(node);
            } else if known.connections.len() > PER_PEER {
                self.counters.connections_shed += 1;
                self.swarm.close_connection(id);
            }
            return;
        }
        let known = Peer {
            connections: BTreeMap::from([(id, connection)]),
            since: (self.channels.now)(),
            silent: now,
        };
        self.peers.insert(node, known);
        if endpoint.is_dialer()
            && let Some(address) = dialable(&address, &node, true)
        {
            self.learn(node, address);
        }
        tracing::info!(peer = %node, "peer connected");
        self.score(&node);
        self.tell(Input::PeerUp(node));
        self.pump(node);
    }

    /// A connection is gone.
    pub(crate) fn disconnected(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(node) = node_id(&peer) else {
            return;
        };
        self.changed = true;
        let Some(known) = self.peers.get_mut(&node) else {
            return;
        };
        known.connections.remove(&id);
        if !known.connections.is_empty() {
            return;
        }
        self.peers.remove(&node);
        tracing::info!(peer = %node, "peer disconnected");
        self.tell(Input::PeerDown(node));
        if self.closing.is_some() {
            return;
        }
        self.book.hurry(&node);
        if self.renew.remove(&node) || self.outbound.waits(&node) {
            self.connect(node);
        }
    }

    /// Closes all connections to a peer.
    pub(crate) fn part(&mut self, node: NodeId) {
        if let Some(peer) = peer_id(&node) {
            // An error says that there is none.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Closes all connections to a peer and makes a new one.
    pub(crate) fn reconnect(&mut self, node: NodeId) {
        self.counters.healed += 1;
        self.renew.insert(node);
        self.part(node);
    }

    /// Connects to a node by its known addresses, else by asking for them.
    pub(crate) fn connect(&mut self, node: NodeId) {
        if self.peers.contains_key(&node) || self.closing.is_some() {
            return;
        }
        if self.swarm.behaviour().gate.admit(Some(&node)).is_err() {
            return self.give_up(&node);
        }
        let addresses = self.book.addresses(&node);
        if addresses.is_empty() {
            if !self.look_up(node) {
                self.give_up(&node);
            }
            return;
        }
        if !self.book.dial(node, Instant::now()) {
            return;
        }
        if addresses.iter().any(needs_resolving) {
            self.workers.resolve(node, addresses);
        } else {
            self.dial(node, addresses);
        }
    }

    /// Dials a node at these addresses.
    pub(crate) fn dial(&mut self, node: NodeId, addresses: Vec<Multiaddr>) {
        let Some(peer) = peer_id(&node) else {
            return;
        };
        if addresses.is_empty() {
            return self.dial_failed(node);
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .build();
        match self.swarm.dial(options) {
            Ok(()) => self.counters.dials += 1,
            // A dial is under way, and its end will be told.
            Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(_) => self.dial_failed(node),
        }
    }

    /// A node could not be reached: asks others for its addresses if a call waits, else leaves it to
    /// the next tick.
    pub(crate) fn dial_failed(&mut self, node: NodeId) {
        if self.peers.contains_key(&node) {
            return;
        }
        self.counters.dials_failed += 1;
        self.book.failed(node, Instant::now());
        if self.outbound.waits(&node) && !self.look_up(node) {
            self.give_up(&node);
        }
    }

    /// Asks Kademlia where a node is; false when it was asked just now and the answer is in.
    fn look_up(&mut self, node: NodeId) -> bool {
        if self.lookups.values().any(|(n, _)| *n == node) {
            return true;
        }
        let Some(peer) = peer_id(&node) else {
            return false;
        };
        if self.peers.is_empty() || !self.book.look_up(node, Instant::now()) {
            return false;
        }
        let query = self
            .swarm
            .behaviour_mut()
            .kad
            .get_n_closest_peers(peer, LOOKUP);
        self.lookups.insert(query, (node, false));
        true
    }

    /// Kademlia found addresses of nodes; `last` when the lookup is done.
    pub(crate) fn found(&mut self, query: &QueryId, peers: &[PeerInfo], last: bool) {
        let Some((wanted, mut news)) = self.lookups.get(query).copied() else {
            return;
        };
        let local = self
            .listening
            .iter()
            .filter_map(ip)
            .any(|ip| ip.is_loopback());
        for info in peers.iter().take(LOOKUP.get()) {
            let Some(node) = node_id(&info.peer_id) else {
                continue;
            };
            for address in info
                .addrs
                .iter()
                .take(16)
                .filter_map(|a| dialable(a, &node, local))
            {
                news |= self.learn(node, address) && node == wanted;
            }
        }
        if !last {
            self.lookups.insert(*query, (wanted, news));
            return;
        }
        self.lookups.remove(query);
        if news && self.outbound.waits(&wanted) {
            self.connect(wanted);
        } else if !self.peers.contains_key(&wanted) {
            self.give_up(&wanted);
        }
        if news {
            self.book.hurry(&wanted);
        }
    }

    /// Remembers where a node is; whether that is news.
    pub(crate) fn learn(&mut self, node: NodeId, address: Multiaddr) -> bool {
        if !self.book.knows(&node) {
            return false;
        }
        if let Some(peer) = peer_id(&node) {
            self.swarm
                .behaviour_mut()
                .kad
                .add_address(&peer, address.clone());
        }
        self.book.learn(node, address)
    }

    /// Forgets where nodes are that are no longer in the roster.
    pub(crate) fn forget_strangers(&mut self) {
        let behaviour = self.swarm.behaviour_mut();
        let strangers: Vec<PeerId> = behaviour
            .kad
            .kbuckets()
            .flat_map(|bucket| {
                bucket
                    .iter()
                    .map(|e| *e.node.key.preimage())
                    .collect::<Vec<_>>()
            })
            .filter(|peer| behaviour.gate.admit(node_id(peer).as_ref()).is_err())
            .collect();
        for peer in strangers {
            behaviour.kad.remove_peer(&peer);
        }
        self.heals.retain(|node, _| self.book.knows(node));
    }

    /// What is to be looked at from time to time.
    pub(crate) fn on_tick(&mut self) {
        let now = Instant::now();
        for node in self.swarm.behaviour_mut().gate.tick(now.into_std()) {
            tracing::info!(peer = %node, "peer may connect again");
            self.book.hurry(&node);
        }
        for node in self.faults.tick(now) {
            self.score(&node);
        }
        self.rates.tick(now);
        self.part_from_unheard(now);
        self.bound_local();
        if self.closing.is_none() {
            self.heal(now);
            for node in self.book.due(now, |n| self.peers.contains_key(n)) {
                self.connect(node);
            }
            self.close_surplus(now);
        }
        self.publish_status();
    }

    /// Connects anew to peers whose subscriptions were lost.
    fn heal(&mut self, now: Instant) {
        let subscribed: BTreeSet<NodeId> = self
            .swarm
            .behaviour()
            .gossip
            .all_peers()
            .filter(|(_, topics)| self.topics.complete(topics.iter().copied()))
            .filter_map(|(peer, _)| node_id(peer))
            .collect();
        let mut lost = Vec::new();
        for (node, peer) in &mut self.peers {
            if subscribed.contains(node) {
                peer.silent = now;
                self.heals.remove(node);
                continue;
            }
            let long = now.saturating_duration_since(peer.silent) >= self.tuning.heal;
            let allowed = self.heals.get(node).is_none_or(|(_, at)| now >= *at);
            if long && allowed {
                lost.push(*node);
            }
        }
        for node in lost {
            // Soon at first, for the other side may have yet to notice; a peer that never subscribes is
            // left alone ever longer.
            let times = self.heals.get(&node).map_or(0, |(n, _)| *n);
            let wait = self
                .tuning
                .heal
                .saturating_mul(1 << times.saturating_sub(2).min(6));
            self.heals
                .insert(node, (times.saturating_add(1), now + wait));
            tracing::info!(peer = %node, "gossip subscriptions of a peer were lost; connecting anew");
            self.reconnect(node);
        }
    }

    /// In a large federation, closes idle connections that this node did not choose.
    fn close_surplus(&mut self, now: Instant) {
        let most = self.limits.chosen.saturating_mul(SURPLUS);
        if !self.book.selective() || self.peers.len() <= most {
            return;
        }
        let surplus = self.peers.len() - most;
        let idle: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(n, p)| {
                let old = p
                    .connections
                    .values()
                    .all(|c| now.saturating_duration_since(c.at) > IDLE);
                old && !self.book.chosen(n) && self.outbound.to(n) == 0 && self.inbound.of(n) == 0
            })
            .map(|(n, _)| *n)
            .take(surplus)
            .collect();
        for node in idle {
            self.part(node);
        }
    }
}
