//! What the testnet is made of: region data for its federations, real nodes on this machine, and the
//! roles that people play at them.
//!
//! It knows `lapwing-protocol`, `lapwing-client` and the HTTP API alone, as every other app does.

pub mod audit;
pub mod bookings;
pub mod cleanup;
pub mod clients;
pub mod control;
pub mod counts;
pub mod faults;
pub mod federation;
pub mod ledger;
pub mod net;
pub mod node;
pub mod people;
pub mod play;
pub mod regions;
pub mod relays;
pub mod report;
pub mod scenario;
pub mod seeds;
pub mod tally;
pub mod view;
