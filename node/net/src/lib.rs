//! A Lapwing node's peer-to-peer side: libp2p events to and from the core.
//!
//! [`start`] opens the listeners and runs the event loop. [`Command`]s say what the core wants done;
//! what happens goes to it as [`lapwing_core::Input`]s, checked by workers first. Nothing is decided
//! here but who may be connected, how much a peer may cost, and when to connect anew.
//!
//! Left out: what calls and gossip mean (the core), storage, and Kademlia's records, which are
//! neither kept nor served.

mod admission;
mod behaviour;
mod calls;
mod codec;
mod config;
mod connections;
mod deadlines;
mod discovery;
mod error;
mod events;
mod faults;
mod gossip;
mod handle;
mod inbound;
mod local;
mod meter;
mod outbound;
mod peer;
mod policy;
mod rates;
mod report;
mod status;
mod swarm;
mod transport;
mod work;

pub use config::{Limits, Mesh, NetConfig, Tuning, check_announce, check_bootstrap, check_listen};
pub use error::NetError;
pub use handle::{Clock, Command, Handle, Inputs, start};
pub use libp2p::Multiaddr;
pub use peer::peer_id;
pub use status::{CallCounters, Counters, NetStatus, PeerStatus, Traffic, Transport};
