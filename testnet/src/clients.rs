//! How the clients of a run ask: each from a loopback address of its own (`127.x.y.z`), so that a node
//! sees clients of many networks and its limits per network can stay on, and oftener than people's apps
//! do, because everything is on one machine and somebody is watching.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lapwing_client::http::{Client, Timeouts};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::role::Pace;
use lapwing_protocol::time::Seconds;

/// Between two looks of a role at its node's chain of trust.
pub const FEED: Duration = Duration::from_secs(1);

/// Names of nodes by their ids, for lines that people read.
pub type Names = BTreeMap<NodeId, String>;

/// A client that comes from this loopback address.
#[must_use]
pub fn from(source: Ipv4Addr) -> Client {
    Client::from_source(IpAddr::V4(source)).with_timeouts(Timeouts {
        connect: Duration::from_secs(2),
        exchange: Duration::from_secs(20),
    })
}

/// The `n`th client of a run, from a network (/24) of its own.
#[must_use]
pub fn numbered(n: u16) -> Client {
    let [high, low] = n.to_be_bytes();
    // 127.0.x.y is left to the nodes and to whatever else runs here.
    from(Ipv4Addr::new(127, high.saturating_add(1), low, 1))
}

/// How often roles ask here.
#[must_use]
pub fn quick_pace() -> Pace {
    Pace {
        read: Seconds::new(10),
        round: Seconds::new(2),
        work: 4096,
    }
}
