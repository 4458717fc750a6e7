//! How the core sees what is stored: it reads through [`Reader`], gathers
//! its writes in a [`Batch`], and reads its own writes that are not yet durable
//! through an [`Overlay`].
//!
//! There is no writing here. A batch leaves the core as an effect under a
//! [`CommitId`], and the shell reports when it is durable.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

/// The longest key that may be stored, in bytes. [`prefix_end`] counts on it.
pub const MAX_KEY_BYTES: usize = 256;

/// A key with its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Why a read gave no answer. Neither kind means "absent".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What is stored cannot be read back: the store must be set aside and
    /// refilled.
    #[error("the store is damaged")]
    Damaged,
    /// The store does not answer: it is closed, or the disk refused a read.
    #[error("the store is unavailable")]
    Unavailable,
}

/// Ordered reads of what is stored.
///
/// A read may see a commit that is still on its way to the disk, and a scan that
/// runs beside a commit may see part of it. Whoever hands over commits reads
/// through an [`Overlay`], which hides both.
pub trait Reader: Send + Sync {
    /// The value under `key`; `None` when there is none.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot tell.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// At most `limit` entries with keys from `from` (inclusive) to `to`
    /// (exclusive), ascending by key bytes. An empty or inverted range gives
    /// nothing.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot tell; never a partial answer.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, ReadError>;

    /// At most `limit` entries whose key begins with `prefix`, ascending.
    ///
    /// # Errors
    /// As [`Reader::scan`].
    fn scan_prefix(&self, prefix: &[u8], limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.scan(prefix, &prefix_end(prefix), limit)
    }
}

impl<T: Reader + ?Sized> Reader for &T {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        (**self).get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, ReadError> {
        (**self).scan(from, to, limit)
    }
}

impl<T: Reader + ?Sized> Reader for Arc<T> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        (**self).get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, ReadError> {
        (**self).scan(from, to, limit)
    }
}

/// The first key after all keys that begin with `prefix`, up to
/// [`MAX_KEY_BYTES`] long.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // No byte can be raised: only a longer run of the highest byte is greater.
    vec![u8::MAX; MAX_KEY_BYTES + 1]
}

/// Writes that become durable together, or not at all.
///
/// Each key holds its last write. A clone shares keys and values, so it is cheap
/// even when the values are large.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    writes: BTreeMap<Arc<[u8]>, Option<Arc<[u8]>>>,
    bytes: usize,
}

impl Batch {
    /// A batch without writes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`, whatever the batch did to `key` before.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.write(Arc::from(key.as_ref()), Some(Arc::from(value.as_ref())));
    }

    /// Removes `key`, whatever the batch did to `key` before.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.write(Arc::from(key.as_ref()), None);
    }

    /// Adds the writes of `later`; where both write a key, `later` wins.
    pub fn merge(&mut self, later: Batch) {
        for (key, value) in later.writes {
            self.write(key, value);
        }
    }

    /// How many keys are written.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The writes, ascending by key; `None` is a deletion.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes
            .iter()
            .map(|(key, value)| (&**key, value.as_deref()))
    }

    /// What the batch does to `key`: `None` nothing, `Some(None)` deletes it.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.writes.get(key).map(Option::as_deref)
    }

    fn write(&mut self, key: Arc<[u8]>, value: Option<Arc<[u8]>>) {
        let (key_bytes, new_bytes) = (key.len(), value.as_ref().map_or(0, |v| v.len()));
        match self.writes.insert(key, value) {
            Some(old) => self.bytes -= old.map_or(0, |v| v.len()),
            None => self.bytes += key_bytes,
        }
        self.bytes += new_bytes;
    }
}

/// Shows sizes only: keys hold mailbox ids.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("writes", &self.writes.len())
            .field("bytes", &self.bytes)
            .finish()
    }
}

/// Names a batch that was handed over to be made durable. Ids ascend in the
/// order in which the batches apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// The newest pending write of a key.
struct Pending {
    commit: CommitId,
    value: Option<Arc<[u8]>>,
}

/// Batches handed over but not yet durable, to be read over the stored state.
#[derive(Default)]
pub struct Overlay {
    newest: BTreeMap<Arc<[u8]>, Pending>,
    commits: VecDeque<(CommitId, Vec<Arc<[u8]>>)>,
}

impl Overlay {
    /// An overlay with nothing pending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the batch handed over as `commit`. It hides what was pushed before
    /// it; `commit` must be greater than every id pushed before.
    pub fn push(&mut self, commit: CommitId, batch: Batch) {
        let keys = batch.writes.keys().cloned().collect();
        self.commits.push_back((commit, keys));
        for (key, value) in batch.writes {
            self.newest.insert(key, Pending { commit, value });
        }
    }

    /// Drops `commit` and all before it: they are now read from the store.
    pub fn durable(&mut self, commit: CommitId) {
        while let Some((first, _)) = self.commits.front() {
            if *first > commit {
                return;
            }
            let Some((first, keys)) = self.commits.pop_front() else {
                return;
            };
            for key in keys {
                // A later commit that wrote the same key is still pending.
                if self.newest.get(&key).is_some_and(|p| p.commit == first) {
                    self.newest.remove(&key);
                }
            }
        }
    }

    /// How many commits are pending.
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// `stored` as it will be once everything pending is durable.
    pub fn over<'a, R: Reader + ?Sized>(&'a self, stored: &'a R) -> View<'a, R> {
        View {
            overlay: self,
            stored,
        }
    }

    /// The value of `key` once everything pending is durable.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn get<R>(&self, stored: &R, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>
    where
        R: Reader + ?Sized,
    {
        match self.newest.get(key) {
            Some(pending) => Ok(pending.value.as_ref().map(|v| v.to_vec())),
            None => stored.get(key),
        }
    }

    /// The entries of a range once everything pending is durable; arguments as
    /// in [`Reader::scan`].
    ///
    /// # Errors
    /// As [`Reader::scan`].
    pub fn scan<R>(
        &self,
        stored: &R,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, ReadError>
    where
        R: Reader + ?Sized,
    {
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let mut pending = self.newest.range::<[u8], _>(range).peekable();
        if pending.peek().is_none() {
            return stored.scan(from, to, limit);
        }
        let hidden = self.newest.range::<[u8], _>(range);
        let hidden = hidden.filter(|(_, p)| p.value.is_none()).take(64).count();
        let mut out = Vec::new();
        let mut start = from.to_vec();
        loop {
            // Ask for as many more as deletions may hide, so that one page is
            // nearly always enough.
            let want = (limit - out.len()).saturating_add(hidden);
            let page = stored.scan(&start, to, want)?;
            let last_page = page.len() < want;
            if let Some((key, _)) = page.last() {
                start.clone_from(key);
                start.push(0);
            }
            for entry in page {
                emit_before(&mut pending, Some(&entry.0), &mut out, limit);
                let replaced = pending.next_if(|(key, _)| ***key == *entry.0);
                if out.len() == limit {
                    return Ok(out);
                }
                match replaced {
                    Some((_, Pending { value: None, .. })) => {}
                    Some((_, Pending { value: Some(v), .. })) => out.push((entry.0, v.to_vec())),
                    None => out.push(entry),
                }
            }
            if last_page {
                emit_before(&mut pending, None, &mut out, limit);
                return Ok(out);
            }
            if out.len() == limit {
                return Ok(out);
            }
        }
    }
}

/// Shows how much is pending, not what.
impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay")
            .field("commits", &self.commits.len())
            .field("keys", &self.newest.len())
            .finish()
    }
}

/// Moves the pending values with keys below `end` to `out`, up to `limit`.
fn emit_before<'a, I>(
    pending: &mut Peekable<I>,
    end: Option<&[u8]>,
    out: &mut Vec<Entry>,
    limit: usize,
) where
    I: Iterator<Item = (&'a Arc<[u8]>, &'a Pending)>,
{
    while out.len() < limit {
        let Some((key, write)) = pending.next_if(|(key, _)| end.is_none_or(|end| ***key < *end))
        else {
            return;
        };
        if let Some(value) = &write.value {
            out.push((key.to_vec(), value.to_vec()));
        }
    }
}

/// Stored state seen through an [`Overlay`].
#[derive(Debug)]
pub struct View<'a, R: ?Sized> {
    overlay: &'a Overlay,
    stored: &'a R,
}

impl<R: Reader + ?Sized> Reader for View<'_, R> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.overlay.get(self.stored, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.overlay.scan(self.stored, from, to, limit)
    }
}
