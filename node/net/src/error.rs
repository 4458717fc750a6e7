//! Why the network side did not start.

use std::io;

use libp2p::Multiaddr;

/// Why the network side did not start; each names what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// Nothing to listen on.
    #[error("no listen address is configured; give at least one, such as /ip4/0.0.0.0/tcp/4001")]
    NothingToListenOn,
    /// Another process has the port.
    #[error(
        "{address} is in use by another process; stop it, or configure another port to listen on"
    )]
    AddressInUse {
        /// The address.
        address: Multiaddr,
    },
    /// The machine has no such address.
    #[error(
        "{address} is not an address of this machine; listen on one that is, and announce the other"
    )]
    AddressNotHere {
        /// The address.
        address: Multiaddr,
    },
    /// The process may not take this port.
    #[error(
        "{address} needs rights this process does not have; configure a port of 1024 or higher"
    )]
    AddressForbidden {
        /// The address.
        address: Multiaddr,
    },
    /// Not an address of a kind that is spoken here.
    #[error(
        "{address} is not supported; write /ip4/<address>/tcp/<port> or /ip4/<address>/udp/<port>/quic-v1 (or ip6), to announce or dial also with /dns/<name>"
    )]
    AddressNotSupported {
        /// The address.
        address: Multiaddr,
    },
    /// A bootstrap address does not say whose it is.
    #[error(
        "bootstrap address {address} does not end in /p2p/<peer id of a node>; its operator can tell the full address"
    )]
    BootstrapWithoutNode {
        /// The address.
        address: Multiaddr,
    },
    /// The listener could not be opened for another reason.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The view is of another federation than the configuration.
    #[error(
        "the chain of trust is of another federation than the configuration; use the federation file that the node was set up with"
    )]
    WrongFederation,
    /// The seed is not usable as an Ed25519 key.
    #[error("the node key cannot be used; restore it from its backup or set the node up anew")]
    BadKey,
    /// The local network cannot be asked for nodes.
    #[error(
        "nodes cannot be looked for on the local network ({source}); set `mdns` to false, or see why multicast is forbidden"
    )]
    Mdns {
        /// What the operating system said.
        source: io::Error,
    },
    /// A setting of the gossip or transport layer is contradictory.
    #[error("the network settings contradict each other: {what}")]
    BadSettings {
        /// Which.
        what: &'static str,
    },
}

impl NetError {
    /// The case for what the operating system said of `address`.
    pub(crate) fn listen(address: &Multiaddr, source: io::Error) -> Self {
        let address = address.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { address },
            io::ErrorKind::AddrNotAvailable => Self::AddressNotHere { address },
            io::ErrorKind::PermissionDenied => Self::AddressForbidden { address },
            _ => Self::Listen { address, source },
        }
    }
}
