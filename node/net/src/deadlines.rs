//! What is due when.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

/// Keys with the time at which each is due.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Nothing is due.
    pub(crate) fn new() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_key: BTreeMap::new(),
        }
    }

    /// Sets when `key` is due, whatever was set before.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        self.remove(&key);
        self.by_key.insert(key, at);
        self.by_time.insert((at, key));
    }

    /// `key` is no longer due.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, *key));
        }
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// One that is due at `now`, taken out.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_due_comes_out_in_order_and_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut due = Deadlines::new();
        due.set(1, at(30));
        due.set(2, at(10));
        due.set(3, at(20));
        due.set(1, at(5));
        due.remove(&3);
        assert_eq!(due.next(), Some(at(5)));
        assert_eq!(due.pop(at(4)), None);
        assert_eq!(due.pop(at(40)), Some(1));
        assert_eq!(due.pop(at(40)), Some(2));
        assert_eq!(due.pop(at(40)), None);
        assert_eq!(due.next(), None);
    }
}
