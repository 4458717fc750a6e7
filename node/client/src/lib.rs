//! What an app on a computer needs besides the protocol: HTTP to a node, a place for secrets on disk,
//! and the driver that runs a role's state machine with both.
//!
//! It knows `lapwing-protocol` and the HTTP API alone, as every other app does.

pub mod driver;
pub mod file;
pub mod http;
pub mod locked;
