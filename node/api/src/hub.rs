//! Who waits for which mailbox. The node says that a mailbox changed; whoever watches it is woken.
//!
//! A watch holds one bit per mailbox, so that any number of changes costs nothing: what changed twice
//! before it was looked at is reported once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lapwing_protocol::client::MAX_WATCHED;
use lapwing_protocol::id::MailboxId;
use lapwing_protocol::problem::Problem;
use tokio::sync::Notify;

use crate::rate::lock;

/// All watches of a node. Cheap to clone: clones are the same hub.
#[derive(Clone)]
pub struct WatchHub(Arc<Hub>);

struct Hub {
    watched: Mutex<Watched>,
    max: usize,
}

#[derive(Default)]
struct Watched {
    /// For each mailbox who watches it, and its place in that watch.
    by_id: BTreeMap<MailboxId, Vec<(Arc<Bits>, u8)>>,
    entries: usize,
}

struct Bits {
    changed: AtomicU64,
    wake: Notify,
}

// A place of every mailbox in a watch is a bit of a u64.
const _: () = assert!(MAX_WATCHED <= 64);

impl WatchHub {
    /// A hub that bears `max` watched mailboxes, each counted as often as it is watched.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Hub {
            watched: Mutex::default(),
            max,
        }))
    }

    /// Wakes who watches this mailbox. Never blocks for long, and nothing queues up.
    pub fn notify(&self, id: &MailboxId) {
        let watched = lock(&self.0.watched);
        for (bits, place) in watched.by_id.get(id).into_iter().flatten() {
            bits.changed.fetch_or(1 << place, Ordering::AcqRel);
            bits.wake.notify_one();
        }
    }

    /// Watches up to [`MAX_WATCHED`] mailboxes until the watch is dropped.
    ///
    /// # Errors
    /// [`Problem::Busy`] when the hub is full, [`Problem::OutOfBounds`] for no id or too many.
    pub fn watch(&self, ids: &[MailboxId]) -> Result<Watch, Problem> {
        if ids.is_empty() || ids.len() > MAX_WATCHED {
            return Err(Problem::OutOfBounds);
        }
        let bits = Arc::new(Bits {
            changed: AtomicU64::new(0),
            wake: Notify::new(),
        });
        let mut watched = lock(&self.0.watched);
        if watched.entries + ids.len() > self.0.max {
            return Err(Problem::Busy);
        }
        watched.entries += ids.len();
        for (place, id) in (0_u8..).zip(ids) {
            watched
                .by_id
                .entry(*id)
                .or_default()
                .push((bits.clone(), place));
        }
        drop(watched);
        Ok(Watch {
            hub: self.0.clone(),
            ids: ids.into(),
            bits,
        })
    }

    /// How many mailboxes are watched, each counted as often as it is.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.0.watched).entries
    }

    /// Whether nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for WatchHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatchHub({} watched)", self.len())
    }
}

/// A watch on mailboxes; ends when dropped.
pub struct Watch {
    hub: Arc<Hub>,
    ids: Box<[MailboxId]>,
    bits: Arc<Bits>,
}

impl Watch {
    /// Waits until a mailbox changed, and gives its place in the list that was asked for. Of several
    /// the first. Safe to drop while it waits: nothing is lost.
    pub async fn changed(&self) -> usize {
        loop {
            let changed = self.bits.changed.load(Ordering::Acquire);
            if changed != 0 {
                let place = changed.trailing_zeros();
                self.bits.changed.fetch_and(!(1 << place), Ordering::AcqRel);
                return place as usize;
            }
            self.bits.wake.notified().await;
        }
    }

    /// Marks a place as changed again, because it is not known whether what was told arrived. Places
    /// beyond the watch are ignored.
    pub(crate) fn again(&self, place: usize) {
        if place < self.ids.len() {
            self.bits.changed.fetch_or(1 << place, Ordering::AcqRel);
            self.bits.wake.notify_one();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = lock(&self.hub.watched);
        watched.entries = watched.entries.saturating_sub(self.ids.len());
        for id in &self.ids {
            if let Some(list) = watched.by_id.get_mut(id) {
                list.retain(|(bits, _)| !Arc::ptr_eq(bits, &self.bits));
                if list.is_empty() {
                    watched.by_id.remove(id);
                }
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({} mailboxes)", self.ids.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MailboxId {
        MailboxId::from_bytes([n; 32])
    }

    #[tokio::test]
    async fn changes_are_told_once_each_and_only_to_who_watches() {
        let hub = WatchHub::new(8);
        let watch = hub.watch(&[id(1), id(2), id(2)]).unwrap();
        let other = hub.watch(&[id(3)]).unwrap();
        for _ in 0..1000 {
            hub.notify(&id(2));
        }
        hub.notify(&id(1));
        assert_eq!(watch.changed().await, 0);
        assert_eq!(watch.changed().await, 1);
        assert_eq!(watch.changed().await, 2);
        let waiting = std::time::Duration::from_millis(20);
        assert!(
            tokio::time::timeout(waiting, watch.changed())
                .await
                .is_err()
        );
        assert!(
            tokio::time::timeout(waiting, other.changed())
                .await
                .is_err()
        );
        hub.notify(&id(3));
        assert_eq!(other.changed().await, 0);
    }

    #[tokio::test]
    async fn a_waiter_wakes() {
        let hub = WatchHub::new(8);
        let watch = hub.watch(&[id(7)]).unwrap();
        let waiter = tokio::spawn(async move { watch.changed().await });
        tokio::task::yield_now().await;
        hub.notify(&id(7));
        assert_eq!(waiter.await.unwrap(), 0);
        assert!(hub.is_empty());
    }

    #[test]
    fn the_hub_is_bounded_and_forgets_what_is_dropped() {
        let hub = WatchHub::new(3);
        assert_eq!(hub.watch(&[]).unwrap_err(), Problem::OutOfBounds);
        assert_eq!(
            hub.watch(&[id(0); MAX_WATCHED + 1]).unwrap_err(),
            Problem::OutOfBounds
        );
        let a = hub.watch(&[id(1), id(2)]).unwrap();
        assert_eq!(hub.watch(&[id(1), id(2)]).unwrap_err(), Problem::Busy);
        let b = hub.watch(&[id(1)]).unwrap();
        drop(a);
        assert_eq!(hub.len(), 1);
        drop(b);
        assert!(lock(&hub.0.watched).by_id.is_empty());
        assert_eq!(format!("{hub:?}"), "WatchHub(0 watched)");
    }
}
