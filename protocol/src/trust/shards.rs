//! An ordered map in 256 shared pieces: a view is cloned for every snapshot, and a change then
//! copies one piece instead of tens of thousands of entries.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{RecordId, RegionId};

const SHARDS: usize = 256;

/// A key that spreads over the pieces.
pub(super) trait Spread: Ord + Copy {
    fn shard(&self) -> u8;
}

impl Spread for RecordId {
    fn shard(&self) -> u8 {
        self.as_bytes()[0]
    }
}

impl Spread for RegionId {
    fn shard(&self) -> u8 {
        self.as_bytes()[0]
    }
}

impl Spread for u64 {
    fn shard(&self) -> u8 {
        self.to_le_bytes()[0]
    }
}

#[derive(Clone, Debug)]
pub(super) struct ShardMap<K, V> {
    shards: Vec<Arc<BTreeMap<K, V>>>,
    len: usize,
}

impl<K: Spread, V: Clone> ShardMap<K, V> {
    pub(super) fn new() -> Self {
        // One empty piece shared by all: an unused map costs a page of pointers.
        let empty = Arc::new(BTreeMap::new());
        ShardMap {
            shards: vec![empty; SHARDS],
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.shards.get(usize::from(key.shard()))?.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if let Some(shard) = self.shards.get_mut(usize::from(key.shard()))
            && Arc::make_mut(shard).insert(key, value).is_none()
        {
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(shard) = self.shards.get_mut(usize::from(key.shard()))
            && shard.contains_key(key)
            && Arc::make_mut(shard).remove(key).is_some()
        {
            self.len -= 1;
        }
    }

    /// Not in the order of the keys where [`Spread::shard`] does not follow it; always in the same.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|s| s.iter())
    }
}
