//! What peers did wrong, and what follows: minor faults are counted, major ones throttle, bad intent
//! keeps a node away. Faults are forgiven with time.

use std::collections::BTreeMap;
use std::time::Duration;

use lapwing_core::Severity;
use lapwing_protocol::id::NodeId;
use tokio::time::Instant;

const MINOR: f64 = 1.0;
const MAJOR: f64 = 10.0;
/// From here on a peer is throttled: two major faults, or twenty minor ones.
const THROTTLE: f64 = 20.0;
/// From here on a peer is kept away: a flood of faults is intent.
const BAN: f64 = 200.0;
/// A sum halves in this time.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// A sum below this is forgotten.
const FORGET: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
struct Sum {
    value: f64,
    at: Instant,
}

impl Sum {
    fn at(&self, now: Instant) -> f64 {
        let halves = now.saturating_duration_since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.value * 0.5_f64.powf(halves)
    }
}

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// It was counted.
    Counted,
    /// The peer's bounds are tightened, and its gossip scored down.
    Throttled,
    /// The peer is to be disconnected and kept away.
    Banned,
}

/// The faults of peers.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    sums: BTreeMap<NodeId, Sum>,
}

impl Faults {
    /// Counts a fault.
    pub(crate) fn add(&mut self, node: NodeId, severity: Severity, now: Instant) -> Consequence {
        let sum = self.sum(&node, now);
        let value = match severity {
            // What can happen to an honest peer throttles it at worst.
            Severity::Minor => (sum + MINOR).min(THROTTLE).max(sum),
            Severity::Major => sum + MAJOR,
            Severity::Fatal => BAN,
        };
        self.sums.insert(node, Sum { value, at: now });
        if value >= BAN {
            // The ban is the consequence; after it the peer starts anew.
            self.sums.remove(&node);
            Consequence::Banned
        } else if value >= THROTTLE {
            Consequence::Throttled
        } else {
            Consequence::Counted
        }
    }

    /// Whether a peer is throttled.
    pub(crate) fn throttled(&self, node: &NodeId, now: Instant) -> bool {
        self.sum(node, now) >= THROTTLE
    }

    /// How many peers are throttled.
    pub(crate) fn count_throttled(&self, now: Instant) -> usize {
        let over = |s: &&Sum| s.at(now) >= THROTTLE;
        self.sums.values().filter(over).count()
    }

    /// What a peer's faults take from its gossip score.
    pub(crate) fn penalty(&self, node: &NodeId, now: Instant) -> f64 {
        self.sum(node, now)
    }

    /// The peers with faults that count, after those that are forgiven were dropped.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<NodeId> {
        self.sums.retain(|_, s| s.at(now) >= FORGET);
        self.sums.keys().copied().collect()
    }

    fn sum(&self, node: &NodeId, now: Instant) -> f64 {
        self.sums.get(node).map_or(0.0, |s| s.at(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_decides() {
        let now = Instant::now();
        let node = NodeId::from_bytes([1; 32]);
        let mut faults = Faults::default();
        for _ in 0..9 {
            assert_eq!(faults.add(node, Severity::Minor, now), Consequence::Counted);
        }
        assert_eq!(faults.add(node, Severity::Major, now), Consequence::Counted);
        assert_eq!(
            faults.add(node, Severity::Major, now),
            Consequence::Throttled
        );
        assert!(faults.throttled(&node, now));
        assert_eq!(faults.add(node, Severity::Fatal, now), Consequence::Banned);
        assert!(!faults.throttled(&node, now));
    }

    #[test]
    fn minor_faults_never_ban_and_a_flood_of_major_ones_does() {
        let now = Instant::now();
        let node = NodeId::from_bytes([1; 32]);
        let mut faults = Faults::default();
        for _ in 0..1000 {
            assert_ne!(faults.add(node, Severity::Minor, now), Consequence::Banned);
        }
        assert!(faults.throttled(&node, now));
        let mut banned = |_: &i32| faults.add(node, Severity::Major, now) == Consequence::Banned;
        assert_eq!((1..=20).find(&mut banned), Some(18));
    }

    #[test]
    fn faults_are_forgiven() {
        let now = Instant::now();
        let node = NodeId::from_bytes([1; 32]);
        let mut faults = Faults::default();
        faults.add(node, Severity::Major, now);
        faults.add(node, Severity::Major, now);
        assert!(faults.throttled(&node, now));
        assert!(!faults.throttled(&node, now + HALF_LIFE));
        assert_eq!(faults.tick(now + HALF_LIFE), [node]);
        assert!(faults.tick(now + HALF_LIFE * 12).is_empty());
    }
}
