//! Looks at the status every few seconds for what no single look can see: when a peer was last there,
//! and what is newly wrong, which goes to the log once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use lapwing_protocol::id::NodeId;
use tracing::{error, info, warn};

use super::{Finding, Level};

/// Codes that have a line of their own in the log when they happen.
const SAID_ELSEWHERE: [&str; 5] = [
    "not_ready",
    "disk_failed",
    "equivocation",
    "lost_continuity",
    "damaged_row",
];

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Watcher {
    seen: Mutex<BTreeMap<NodeId, u64>>,
    known: Mutex<BTreeSet<(Level, String)>>,
}

impl Watcher {
    /// When each peer was connected last, with those that are now. Nodes that left the roster are
    /// forgotten.
    pub(super) fn last_seen(
        &self,
        connected: &BTreeSet<NodeId>,
        roster: &BTreeSet<NodeId>,
        now: u64,
    ) -> BTreeMap<NodeId, u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|node, _| roster.contains(node));
        for node in connected.intersection(roster) {
            seen.insert(*node, now);
        }
        seen.clone()
    }

    /// Logs what is new, and what is over.
    pub(crate) fn note(&self, findings: &[Finding]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeSet::new();
        for finding in findings {
            if SAID_ELSEWHERE.contains(&finding.code.as_str()) {
                continue;
            }
            let key = (finding.level, finding.code.clone());
            // Once for all of a kind: the status has each.
            if !known.contains(&key) && !now.contains(&key) {
                match finding.level {
                    Level::Error => error!(code = finding.code, "{}", finding.text),
                    Level::Warning => warn!(code = finding.code, "{}", finding.text),
                }
            }
            now.insert(key);
        }
        for (_, code) in known.difference(&now) {
            if !now.iter().any(|(_, c)| c == code) {
                info!(code, "over");
            }
        }
        *known = now;
    }
}
