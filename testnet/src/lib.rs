//! What the testnet is made of: region data for its federations, and real nodes on this machine.
//!
//! It knows `lapwing-protocol` and the HTTP API alone, as every other app does.

pub mod regions;
