//! A store without a disk, for tests and simulations.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use lapwing_core::store::{Batch, Entry, ReadError, Reader};

use crate::{WriteError, Writer};

/// An ordered map in memory. What is applied counts as durable, so a crash is
/// simulated by dropping the batches not yet applied and going on with a
/// [`MemoryStore::snapshot`].
#[derive(Default)]
pub struct MemoryStore {
    entries: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of what is durable now, on its own from here on.
    pub fn snapshot(&self) -> Self {
        Self {
            entries: RwLock::new(self.entries().clone()),
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    // No code that holds the lock can panic half way through a batch, so a
    // poisoned map is a whole one.
    fn entries(&self) -> RwLockReadGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows how much is stored, not what.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("entries", &self.len())
            .finish()
    }
}

impl Reader for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.entries().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, ReadError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let entries = self.entries();
        let found = entries.range::<[u8], _>(range).take(limit);
        Ok(found.map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

impl Writer for MemoryStore {
    fn apply(&self, batch: &Batch) -> Result<(), WriteError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch.iter() {
            match value {
                Some(value) => entries.insert(key.to_vec(), value.to_vec()),
                None => entries.remove(key),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_stands_alone() {
        let store = MemoryStore::new();
        let mut batch = Batch::new();
        batch.put(b"a", b"1");
        batch.put(b"b", b"2");
        store.apply(&batch).unwrap();
        let copy = store.snapshot();
        let mut batch = Batch::new();
        batch.delete(b"a");
        store.apply(&batch).unwrap();
        assert_eq!(store.get(b"a").unwrap(), None);
        assert_eq!(copy.get(b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(store.scan(b"a", b"z", 9).unwrap().len(), 1);
        assert_eq!(copy.scan(b"a", b"z", 1).unwrap().len(), 1);
        assert!(copy.scan(b"z", b"a", 1).unwrap().is_empty());
        assert_eq!(format!("{copy:?}"), "MemoryStore { entries: 2 }");
    }
}
