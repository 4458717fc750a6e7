//! How the simulated network and disks behave.

use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

/// Latencies and losses; a test changes them as it goes.
#[derive(Clone, Debug)]
pub struct Net {
    /// Least and most milliseconds a message takes. Messages overtake each other within it.
    pub latency: (u64, u64),
    /// Of 1000 calls and replies, so many are lost.
    pub loss: u64,
    /// Of 1000 gossiped messages, so many do not reach a given node.
    pub gossip_loss: u64,
    /// Least and most milliseconds a commit takes to reach the disk.
    pub disk: (u64, u64),
    cut: BTreeSet<(usize, usize)>,
}

impl Default for Net {
    fn default() -> Self {
        Net {
            latency: (1, 60),
            loss: 0,
            gossip_loss: 100,
            disk: (1, 30),
            cut: BTreeSet::new(),
        }
    }
}

impl Net {
    /// Whether two nodes can reach each other.
    #[must_use]
    pub fn linked(&self, a: usize, b: usize) -> bool {
        !self.cut.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn set(&mut self, a: usize, b: usize, linked: bool) {
        let pair = (a.min(b), a.max(b));
        if linked {
            self.cut.remove(&pair);
        } else if a != b {
            self.cut.insert(pair);
        }
    }
}

/// A number from `range.0` to `range.1`.
pub(super) fn between(rng: &mut ChaCha20Rng, range: (u64, u64)) -> u64 {
    range.0 + rng.next_u64() % (range.1.saturating_sub(range.0) + 1)
}

/// True in `n` of 1000 cases.
pub(super) fn chance(rng: &mut ChaCha20Rng, n: u64) -> bool {
    rng.next_u64() % 1000 < n
}
