//! What the node tells its operator: one account of its state, from which `lapwing status`, its JSON and
//! the metrics are all made.
//!
//! Sums and public names only. No mailbox, token, key or client appears in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod clock;
mod collect;
mod findings;
mod watch;

pub(crate) use collect::{Source, collect};
pub(crate) use watch::Watcher;

/// How the node is. Times are Unix seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) node_id: String,
    /// As the roster names its operator.
    pub(crate) operator: Option<String>,
    pub(crate) version: String,
    pub(crate) now: u64,
    /// Seconds.
    pub(crate) uptime: u64,
    pub(crate) ready: bool,
    /// Why it is not.
    pub(crate) why: Option<String>,
    pub(crate) federation: String,
    /// The sequence of the roster in force.
    pub(crate) roster: Option<u64>,
    pub(crate) roster_expires: Option<u64>,
    pub(crate) listening: Vec<String>,
    pub(crate) peers_connected: usize,
    /// Other nodes of the roster.
    pub(crate) peers_expected: usize,
    pub(crate) peers: Vec<Peer>,
    pub(crate) clock: Clock,
    pub(crate) trust: Vec<TrustList>,
    /// Alarms since the process began, by what they are about.
    pub(crate) alarms: BTreeMap<String, u64>,
    pub(crate) store: Store,
    pub(crate) queues: Queues,
    pub(crate) numbers: Numbers,
    /// For each other node the shards that both hold: number, items, sum of their ids.
    pub(crate) digests: BTreeMap<String, Vec<(u16, u64, String)>>,
    /// What somebody should look at, the worst first.
    pub(crate) findings: Vec<Finding>,
}

/// Another node of the roster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) node_id: String,
    pub(crate) operator: String,
    pub(crate) connected: bool,
    pub(crate) address: Option<String>,
    /// `tcp` or `quic`.
    pub(crate) transport: Option<String>,
    pub(crate) dialled: Option<bool>,
    pub(crate) throttled: bool,
    /// Since when it is connected.
    pub(crate) since: Option<u64>,
    /// When it was connected last, as far as this process saw it.
    pub(crate) last_seen: Option<u64>,
    /// Calls under way in both directions.
    pub(crate) pending: usize,
    /// Its clock less this node's, in seconds.
    pub(crate) clock_offset: Option<i64>,
    /// When all that both hold was last compared to the end.
    pub(crate) compared: Option<u64>,
    /// Items that it has and this node lacks, of those being fetched.
    pub(crate) missing: u64,
}

/// This node's clock, held against those of its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// The median of the peers' clocks less this node's, in seconds; nothing without peers.
    pub(crate) offset: Option<i64>,
    /// How many peers' clocks are known.
    pub(crate) peers: usize,
    /// What the federation tolerates on a signed time, in seconds.
    pub(crate) tolerated: Option<u32>,
}

/// A list of the chain of trust.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TrustList {
    /// `roster`, `registration`, `certificate`, `status`, `regions`, `directory` or `revocations`.
    pub(crate) kind: String,
    pub(crate) mediator: Option<String>,
    /// The mediator's name.
    pub(crate) name: Option<String>,
    pub(crate) sequence: u64,
    pub(crate) issued: u64,
    /// Nothing for lists that hold as long as the status that names them.
    pub(crate) expires: Option<u64>,
    /// Entries, where it has any.
    pub(crate) entries: Option<usize>,
    pub(crate) half_life_passed: bool,
    pub(crate) expired: bool,
}

/// The disk.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Store {
    /// Of the store's files.
    pub(crate) bytes: Option<u64>,
    pub(crate) disk_free: Option<u64>,
    pub(crate) disk_total: Option<u64>,
    pub(crate) failed: bool,
    pub(crate) commits: u64,
    /// Groups that commits were synced in.
    pub(crate) syncs: u64,
    pub(crate) written_bytes: u64,
    pub(crate) pending_bytes: usize,
    pub(crate) pending_commits: usize,
    /// From submission until durable, of the last sync, in microseconds.
    pub(crate) last_commit_micros: u64,
    pub(crate) last_sync_micros: u64,
}

/// The queues of the regions that this node holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Queues {
    /// With requests.
    pub(crate) regions: usize,
    pub(crate) requests: u64,
    /// That can be claimed.
    pub(crate) open: u64,
    /// That have as many offers open as a request may have.
    pub(crate) waiting: u64,
    /// Booked, or booked once and not listed again.
    pub(crate) booked: u64,
    /// The longest, at most ten.
    pub(crate) longest: Vec<Region>,
}

/// One region's queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Region {
    pub(crate) region: String,
    pub(crate) name: Option<String>,
    pub(crate) requests: u64,
    pub(crate) open: u64,
    pub(crate) waiting: u64,
}

/// Counted by the core; what came and went, since the process began.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Numbers {
    pub(crate) items: u64,
    pub(crate) requests: u64,
    pub(crate) flows: usize,
    /// The same by what they do.
    pub(crate) flow_kinds: BTreeMap<String, usize>,
    pub(crate) pending_commits: usize,
    pub(crate) tokens: u64,
    pub(crate) admissions: u64,
    pub(crate) claims: u64,
    pub(crate) tickets: u64,
    pub(crate) locks: u64,
    pub(crate) releases: u64,
    pub(crate) relists: u64,
    pub(crate) written: u64,
    pub(crate) healed: u64,
    pub(crate) peers: usize,
    /// By kind of item.
    pub(crate) kinds: BTreeMap<String, Taken>,
}

/// Items of one kind.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) written: u64,
    pub(crate) healed: u64,
    pub(crate) expired: u64,
}

/// How soon somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Within days.
    Warning,
    /// Now.
    Error,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// Stable: see `docs/operator.md`.
    pub(crate) code: String,
    /// What is wrong, and what to do.
    pub(crate) text: String,
}
