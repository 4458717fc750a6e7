//! How fast a peer may ask: calls and bytes in a second, with some in advance. What goes beyond is
//! refused as busy, which an honest node takes as a reason to slow down. Who keeps sending many times
//! what it may is at fault.

use std::collections::BTreeMap;
use std::time::Duration;

use lapwing_protocol::id::NodeId;
use tokio::time::Instant;

/// A peer that has asked nothing for a while may ask at once what it may ask in so many seconds.
const ADVANCE: f64 = 10.0;
/// A throttled peer pays so many times the price.
const THROTTLED: f64 = 8.0;
/// A flood is one fault a second, however large.
const BLAME_EVERY: Duration = Duration::from_secs(1);

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Within what a peer may ask.
    Within,
    /// Beyond it: the call is to be refused, and nothing else follows.
    Over,
    /// So far beyond it, for so long, that it is a fault.
    Flood,
}

#[derive(Clone, Copy, Debug)]
struct Buckets {
    calls: f64,
    bytes: f64,
    /// How many refusals are still taken for an honest peer's. It fills at the full rate, throttled or
    /// not: who is throttled does not know it.
    patience: f64,
    at: Instant,
    blamed: Option<Instant>,
}

/// What each peer may still ask.
#[derive(Debug)]
pub(crate) struct Rates {
    calls: f64,
    bytes: f64,
    peers: BTreeMap<NodeId, Buckets>,
}

impl Rates {
    /// So many calls, and so many MiB of them, in a second.
    pub(crate) fn new(calls: u32, mib: u32) -> Self {
        Self {
            calls: f64::from(calls.max(1)),
            bytes: f64::from(mib.max(1)) * 1024.0 * 1024.0,
            peers: BTreeMap::new(),
        }
    }

    fn full(&self, now: Instant) -> Buckets {
        Buckets {
            calls: self.calls * ADVANCE,
            bytes: self.bytes * ADVANCE,
            patience: self.calls * ADVANCE,
            at: now,
            blamed: None,
        }
    }

    /// What the peer's buckets hold now.
    fn filled(&self, node: &NodeId, now: Instant) -> Buckets {
        let full = self.full(now);
        let Some(before) = self.peers.get(node) else {
            return full;
        };
        let seconds = now.saturating_duration_since(before.at).as_secs_f64();
        Buckets {
            calls: (before.calls + self.calls * seconds).min(full.calls),
            bytes: (before.bytes + self.bytes * seconds).min(full.bytes),
            patience: (before.patience + self.calls * seconds).min(full.patience),
            at: now,
            blamed: before.blamed,
        }
    }

    /// A call of so many bytes came.
    pub(crate) fn take(
        &mut self,
        node: NodeId,
        bytes: usize,
        throttled: bool,
        now: Instant,
    ) -> Pace {
        let price = if throttled { THROTTLED } else { 1.0 };
        let mut buckets = self.filled(&node, now);
        let pace = if buckets.calls >= price && buckets.bytes > 0.0 {
            buckets.calls -= price;
            // The bytes are here already; the next call waits until they are paid for.
            buckets.bytes -= bytes as f64 * price;
            Pace::Within
        } else if buckets.patience >= 1.0 {
            buckets.patience -= 1.0;
            Pace::Over
        } else if buckets.blamed.is_none_or(|at| now >= at + BLAME_EVERY) {
            buckets.blamed = Some(now);
            Pace::Flood
        } else {
            Pace::Over
        };
        self.peers.insert(node, buckets);
        pace
    }

    /// Forgets peers that have asked little for a while.
    pub(crate) fn tick(&mut self, now: Instant) {
        let full = self.full(now);
        let rested: Vec<NodeId> = self
            .peers
            .keys()
            .filter(|node| {
                let b = self.filled(node, now);
                b.calls >= full.calls && b.bytes >= full.bytes && b.patience >= full.patience
            })
            .copied()
            .collect();
        for node in rested {
            self.peers.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 32]);

    fn taken(rates: &mut Rates, calls: usize, throttled: bool, now: Instant) -> usize {
        (0..calls)
            .filter(|_| rates.take(NODE, 100, throttled, now) == Pace::Within)
            .count()
    }

    #[test]
    fn calls_pass_at_the_rate_with_some_in_advance() {
        let mut rates = Rates::new(100, 1);
        let now = Instant::now();
        assert_eq!(taken(&mut rates, 2000, false, now), 1000);
        let later = now + Duration::from_secs(1);
        assert_eq!(taken(&mut rates, 500, false, later), 100);
        // Others have their own.
        let other = NodeId::from_bytes([2; 32]);
        assert_eq!(rates.take(other, 100, false, now), Pace::Within);
    }

    #[test]
    fn bytes_pass_at_the_rate_and_are_paid_for_afterwards() {
        let mut rates = Rates::new(100, 1);
        let now = Instant::now();
        let mib = 1024 * 1024;
        for _ in 0..3 {
            assert_eq!(rates.take(NODE, 4 * mib, false, now), Pace::Within);
        }
        assert_eq!(rates.take(NODE, 1, false, now), Pace::Over);
        let later = now + Duration::from_millis(2100);
        assert_eq!(rates.take(NODE, 1, false, later), Pace::Within);
    }

    #[test]
    fn a_throttled_peer_pays_more_and_is_not_blamed_for_that() {
        let mut rates = Rates::new(100, 1);
        let mut now = Instant::now();
        assert_eq!(taken(&mut rates, 1000, true, now), 125);
        for _ in 0..100 {
            now += Duration::from_secs(1);
            for _ in 0..100 {
                assert_ne!(rates.take(NODE, 100, true, now), Pace::Flood);
            }
        }
    }

    #[test]
    fn a_flood_is_a_fault_once_a_second() {
        let mut rates = Rates::new(100, 1);
        let mut now = Instant::now();
        let mut floods = 0;
        for _ in 0..10 {
            now += Duration::from_secs(1);
            floods += (0..2000)
                .filter(|_| rates.take(NODE, 100, false, now) == Pace::Flood)
                .count();
        }
        assert!((8..=10).contains(&floods), "{floods}");
    }

    #[test]
    fn peers_at_rest_are_forgotten() {
        let mut rates = Rates::new(100, 1);
        let now = Instant::now();
        taken(&mut rates, 2000, false, now);
        rates.tick(now + Duration::from_secs(5));
        assert_eq!(rates.peers.len(), 1);
        rates.tick(now + Duration::from_secs(21));
        assert!(rates.peers.is_empty());
    }
}
