//! What the testnet is made of: region data for its federations, and real nodes on this machine.
//!
//! It knows `lapwing-protocol` and the HTTP API alone, as every other app does.

pub mod cleanup;
pub mod federation;
pub mod http;
pub mod net;
pub mod node;
pub mod regions;
pub mod seeds;
