//! Nodes as libp2p sees them: a node's id is its Ed25519 peer key, and a peer id is that key with a
//! prefix. Addresses that peers tell are looked at before they are kept.

use std::net::IpAddr;

use lapwing_protocol::id::NodeId;
use lapwing_protocol::placement::peer_id_bytes;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::status::Transport;

/// The peer id of a node.
pub fn peer_id(node: &NodeId) -> Option<PeerId> {
    PeerId::from_bytes(&peer_id_bytes(node)).ok()
}

/// The node of a peer id; none where its key is of another kind than Ed25519.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    let key = bytes.get(bytes.len().checked_sub(32)?..)?;
    let node = NodeId::from_bytes(key.try_into().ok()?);
    (peer_id_bytes(&node) == *bytes).then_some(node)
}

/// How an address is spoken to, where it is a bare one: a host and a port, and nothing else but what
/// QUIC needs.
pub(crate) fn kind(address: &Multiaddr) -> Option<Transport> {
    let mut parts = address.iter();
    if !matches!(
        parts.next()?,
        Protocol::Ip4(_)
            | Protocol::Ip6(_)
            | Protocol::Dns(_)
            | Protocol::Dns4(_)
            | Protocol::Dns6(_)
    ) {
        return None;
    }
    let kind = match (parts.next()?, parts.next()) {
        (Protocol::Tcp(_), None) => Transport::Tcp,
        (Protocol::Udp(_), Some(Protocol::QuicV1)) => Transport::Quic,
        _ => return None,
    };
    parts.next().is_none().then_some(kind)
}

/// The port of an address that has one.
pub(crate) fn port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|p| match p {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })
}

/// The IP address of an address that has one.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|p| match p {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

/// An address without its `/p2p/` end.
pub(crate) fn without_peer(address: &Multiaddr) -> Multiaddr {
    address
        .iter()
        .filter(|p| !matches!(p, Protocol::P2p(_)))
        .collect()
}

/// An address that `node` told of itself, fit to be dialled: without its `/p2p/` end, with a host and
/// a port that mean something. Loopback addresses count only among nodes of one machine.
pub(crate) fn dialable(
    address: &Multiaddr,
    node: &NodeId,
    same_machine: bool,
) -> Option<Multiaddr> {
    let mut address = address.clone();
    if let Some(Protocol::P2p(peer)) = address.iter().last() {
        if node_id(&peer) != Some(*node) {
            return None;
        }
        address.pop();
    }
    if kind(&address).is_none() || address.to_string().len() > 200 || port(&address) == Some(0) {
        return None;
    }
    match ip(&address) {
        Some(ip) if ip.is_unspecified() || ip.is_multicast() => None,
        Some(ip) if ip.is_loopback() && !same_machine => None,
        _ => Some(address),
    }
}

/// The addresses behind an address: itself, or what its name resolves to now.
pub(crate) async fn resolve(address: Multiaddr) -> Vec<Multiaddr> {
    let mut parts = address.iter();
    let (want4, want6, host) = match parts.next() {
        Some(Protocol::Dns(host)) => (true, true, host.into_owned()),
        Some(Protocol::Dns4(host)) => (true, false, host.into_owned()),
        Some(Protocol::Dns6(host)) => (false, true, host.into_owned()),
        _ => return vec![address],
    };
    let Some(port) = port(&address) else {
        return Vec::new();
    };
    let after: Multiaddr = parts.collect();
    let Ok(found) = tokio::net::lookup_host((host.as_str(), port)).await else {
        return Vec::new();
    };
    found
        .filter(|a| if a.is_ipv4() { want4 } else { want6 })
        .take(8)
        .map(|a| {
            let host = Multiaddr::empty().with(a.ip().into());
            after.iter().fold(host, Multiaddr::with)
        })
        .collect()
}

/// Whether dialling the address asks a name server first.
pub(crate) fn needs_resolving(address: &Multiaddr) -> bool {
    ip(address).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(seed: u8) -> NodeId {
        let key = lapwing_protocol::key::SigningKey::from_seed(&[seed; 32]);
        NodeId::from(&key.verifying_key())
    }

    fn dial(text: &str, same_machine: bool) -> Option<String> {
        let address: Multiaddr = text.parse().unwrap();
        dialable(&address, &node(1), same_machine).map(|a| a.to_string())
    }

    #[test]
    fn a_node_and_its_peer_id_name_each_other() {
        let seed = [7; 32];
        let keypair = libp2p::identity::Keypair::ed25519_from_bytes(seed).unwrap();
        let peer = keypair.public().to_peer_id();
        let key = lapwing_protocol::key::SigningKey::from_seed(&seed);
        let node = NodeId::from(&key.verifying_key());
        assert_eq!(node_id(&peer), Some(node));
        assert_eq!(peer_id(&node), Some(peer));
    }

    #[test]
    fn a_peer_id_of_another_key_kind_is_no_node() {
        assert_eq!(node_id(&PeerId::random()), None);
    }

    #[test]
    fn addresses_that_lead_nowhere_are_dropped() {
        let other = peer_id(&node(2)).unwrap();
        let own = peer_id(&node(1)).unwrap();
        for (text, local, want) in [
            (
                "/ip4/198.51.100.7/tcp/4001",
                false,
                Some("/ip4/198.51.100.7/tcp/4001"),
            ),
            (
                "/dns4/node.example/tcp/4001",
                false,
                Some("/dns4/node.example/tcp/4001"),
            ),
            ("/ip4/198.51.100.7/tcp/0", false, None),
            ("/ip4/0.0.0.0/tcp/4001", true, None),
            ("/ip4/224.0.0.1/tcp/4001", true, None),
            ("/ip4/127.0.0.1/tcp/4001", false, None),
            (
                "/ip4/127.0.0.1/tcp/4001",
                true,
                Some("/ip4/127.0.0.1/tcp/4001"),
            ),
            (
                "/ip4/198.51.100.7/udp/4001/quic-v1",
                false,
                Some("/ip4/198.51.100.7/udp/4001/quic-v1"),
            ),
            ("/ip4/198.51.100.7/udp/0/quic-v1", false, None),
            ("/ip4/198.51.100.7/udp/4001", false, None),
            ("/ip4/198.51.100.7/udp/4001/quic", false, None),
            (
                "/ip4/198.51.100.7/udp/4001/quic-v1/webtransport",
                false,
                None,
            ),
            ("/ip4/127.0.0.1/udp/4001/quic-v1", false, None),
            ("/ip4/198.51.100.7/tcp/4001/ws", false, None),
        ] {
            assert_eq!(dial(text, local).as_deref(), want, "{text}");
        }
        let with = |p| format!("/ip4/198.51.100.7/tcp/4001/p2p/{p}");
        assert!(dial(&with(own), false).is_some());
        assert!(dial(&with(other), false).is_none());
    }

    #[tokio::test]
    async fn names_are_resolved_to_their_kind_of_address() {
        let found = resolve("/dns4/localhost/tcp/4001".parse().unwrap()).await;
        assert_eq!(found, vec!["/ip4/127.0.0.1/tcp/4001".parse().unwrap()]);
        let found = resolve("/dns4/localhost/udp/4001/quic-v1".parse().unwrap()).await;
        assert_eq!(
            found,
            vec!["/ip4/127.0.0.1/udp/4001/quic-v1".parse().unwrap()]
        );
        let plain: Multiaddr = "/ip4/198.51.100.7/tcp/4001".parse().unwrap();
        assert_eq!(resolve(plain.clone()).await, vec![plain]);
    }
}
