//! What the node is compared with: processes that do the bare minimum of the same work.

pub(crate) mod gossip;
pub(crate) mod http;
pub(crate) mod idle;
mod puts;
pub(crate) mod writers;
