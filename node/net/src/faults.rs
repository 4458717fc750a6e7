//! What peers did wrong, and what follows. Faults add up to a sum that halves every ten minutes: from
//! a first bound on the peer is throttled, from a second on it is disconnected and kept away for a
//! minute, then again for every few faults more, and from a third on it is kept away for an hour. Minor
//! faults throttle at worst; proof of bad intent goes to the end at once. (`docs/spec/net.md`)

use std::collections::BTreeMap;
use std::time::Duration;

use lapwing_core::Severity;
use lapwing_protocol::id::NodeId;
use tokio::time::Instant;

const MINOR: f64 = 1.0;
const MAJOR: f64 = 10.0;
/// From here on a peer is throttled: two major faults within ten minutes, or fifteen minor ones.
const THROTTLE: f64 = 15.0;
/// From here on a peer is disconnected for a minute: eight major faults. Gossip does not listen to it
/// any more from here on, either.
pub(crate) const PART: f64 = 75.0;
/// So much more disconnects it again.
const PART_AGAIN: f64 = 40.0;
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
    /// The peer is to be disconnected and kept away for a minute; what it did is not forgotten.
    Parted,
    /// The peer is to be disconnected and kept away for long; after that it starts anew.
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
        } else if steps(value) > steps(sum) {
            Consequence::Parted
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

/// How many bounds a sum has passed at which a peer is disconnected.
fn steps(sum: f64) -> u32 {
    if sum < PART {
        return 0;
    }
    // At most (BAN - PART) / PART_AGAIN.
    ((sum - PART) / PART_AGAIN) as u32 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_decides() {
        let now = Instant::now();
        let node = NodeId::from_bytes([1; 32]);
        let mut faults = Faults::default();
        for _ in 0..4 {
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
        assert_eq!((1..=20).find(&mut banned), Some(19));
    }

    #[test]
    fn major_faults_throttle_then_disconnect_then_ban() {
        let now = Instant::now();
        let node = NodeId::from_bytes([1; 32]);
        let mut faults = Faults::default();
        let seen: Vec<_> = (1..=20)
            .map(|n| (n, faults.add(node, Severity::Major, now)))
            .collect();
        let first = |what| seen.iter().find(|(_, c)| *c == what).map(|(n, _)| *n);
        assert_eq!(first(Consequence::Throttled), Some(2));
        assert_eq!(first(Consequence::Parted), Some(8));
        assert_eq!(first(Consequence::Banned), Some(20));
        let parted = seen.iter().filter(|(_, c)| *c == Consequence::Parted);
        assert_eq!(parted.count(), 3);
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
