//! Who may be connected: the nodes of the roster, nobody else. While there is no roster, anybody may,
//! or a node could never learn the first one. A node that showed bad intent is kept away for a while.
//!
//! A connection's other end is known once its noise handshake is done; a stranger is refused there,
//! before any protocol is spoken with it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Instant;

use lapwing_protocol::id::NodeId;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::peer::node_id;

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Not a node of the roster.
    #[error("not a node of the roster")]
    Stranger,
    /// Kept away for a while.
    #[error("kept away because of its faults")]
    Banned,
    /// This node is about to end.
    #[error("this node is about to end")]
    Closing,
}

/// Lets connections through, or not.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    roster: Option<BTreeSet<NodeId>>,
    banned: BTreeMap<NodeId, Instant>,
    closing: bool,
}

impl Gate {
    /// From now on nobody is let in.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// From now on only these; none: anybody, while there is no roster.
    pub(crate) fn set_roster(&mut self, roster: Option<BTreeSet<NodeId>>) {
        self.roster = roster;
    }

    /// Keeps a node away until then.
    pub(crate) fn ban(&mut self, node: NodeId, until: Instant) {
        let longest = self.banned.entry(node).or_insert(until);
        *longest = until.max(*longest);
    }

    /// Forgets bans that are over, and says whose they were.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<NodeId> {
        let over = self.banned.iter().filter(|(_, until)| **until <= now);
        let over: Vec<NodeId> = over.map(|(node, _)| *node).collect();
        for node in &over {
            self.banned.remove(node);
        }
        over
    }

    /// How many nodes are kept away.
    pub(crate) fn banned(&self) -> usize {
        self.banned.len()
    }

    /// Whether a node may be connected.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit(&self, node: Option<&NodeId>) -> Result<(), Refused> {
        let Some(node) = node else {
            return Err(Refused::Stranger);
        };
        if self
            .banned
            .get(node)
            .is_some_and(|until| *until > Instant::now())
        {
            return Err(Refused::Banned);
        }
        match &self.roster {
            Some(roster) if !roster.contains(node) => Err(Refused::Stranger),
            _ => Ok(()),
        }
    }

    fn check(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        self.admit(node_id(peer).as_ref())
            .map_err(ConnectionDenied::new)
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if self.closing {
            return Err(ConnectionDenied::new(Refused::Closing));
        }
        self.check(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if let Some(peer) = peer {
            self.check(&peer)?;
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn anybody_enters_until_there_is_a_roster() {
        let mut gate = Gate::default();
        assert_eq!(gate.admit(Some(&node(1))), Ok(()));
        gate.set_roster(Some([node(2)].into()));
        assert_eq!(gate.admit(Some(&node(1))), Err(Refused::Stranger));
        assert_eq!(gate.admit(Some(&node(2))), Ok(()));
        assert_eq!(gate.admit(None), Err(Refused::Stranger));
    }

    #[test]
    fn a_ban_ends() {
        let mut gate = Gate::default();
        let now = Instant::now();
        gate.ban(node(1), now + Duration::from_secs(60));
        assert_eq!(gate.admit(Some(&node(1))), Err(Refused::Banned));
        // A shorter one does not shorten it.
        gate.ban(node(1), now + Duration::from_secs(1));
        assert!(gate.tick(now + Duration::from_secs(59)).is_empty());
        assert_eq!(gate.tick(now + Duration::from_secs(61)), [node(1)]);
        assert_eq!(gate.banned(), 0);
        assert_eq!(gate.admit(Some(&node(1))), Ok(()));
    }
}
