//! The store on disk: sled, made durable and fail-stop.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lapwing_core::store::{Batch, Entry, ReadError, Reader};

use crate::Writer;
use crate::data::{Data, FORMAT};
use crate::error::{Damage, Engine, OpenError, WriteError};
use crate::layout::{StoreDir, tree_bytes};
use crate::parts::{self, Head, Long, PART_BYTES, STATE_KEY};
use crate::quiet::quietly;
use crate::state::State;
use crate::witness::Witness;

/// How to open a [`SledStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SledOptions {
    /// Memory for sled's page cache, in bytes. Default 64 MiB.
    pub cache_bytes: u64,
    /// Whether to make the store if there is none. Default true.
    pub create: bool,
    /// Whether to read and check everything on opening, so that damage is found
    /// then and not by a read weeks later. Costs one reading of the live data.
    /// Default true.
    pub verify: bool,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            create: true,
            verify: true,
        }
    }
}

/// What a store held when it was opened and read through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// How many keys.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub live_bytes: u64,
}

/// A store on disk, this process's alone until it is dropped.
pub struct SledStore {
    // Dropped in this order: the lock goes last.
    data: Data,
    writing: Mutex<Writing>,
    /// Held while a batch enters the tree, which readers can see happen.
    applying: Mutex<()>,
    contents: Option<Contents>,
    data_dir: PathBuf,
    dir: StoreDir,
}

/// What only one commit at a time may touch.
pub(crate) struct Writing {
    witness: Witness,
    /// As of the last durable commit.
    state: State,
    stopped: bool,
}

impl SledStore {
    /// Opens the store in the directory `path`.
    ///
    /// # Errors
    /// [`OpenError`], which tells the operator what to do.
    pub fn open(path: &Path, options: &SledOptions) -> Result<Self, OpenError> {
        let dir = StoreDir::open(path, options.create)?;
        let live = match dir.live()? {
            Some(live) => live,
            None if options.create => Self::first(&dir, options)?,
            None => {
                return Err(OpenError::Missing {
                    path: path.to_path_buf(),
                });
            }
        };
        Self::open_data(dir, live, options)
    }

    /// Makes the first data of a store and gives its number.
    fn first(dir: &StoreDir, options: &SledOptions) -> Result<u64, OpenError> {
        let (_, seen) = Witness::open(&dir.witness()).map_err(|e| dir.failed(e))?;
        if seen.is_some_and(|seen| seen > 0) {
            // There was data here once, and this is not a new store.
            return Err(damaged(dir.path(), Damage::CommitsMissing));
        }
        let data = Data::create(&dir.new_data(1), options.cache_bytes);
        drop(data.map_err(|e| e.at(dir.path()))?);
        dir.promote(1)?;
        Ok(1)
    }

    /// Opens and checks data number `live`.
    pub(crate) fn open_data(
        dir: StoreDir,
        live: u64,
        options: &SledOptions,
    ) -> Result<Self, OpenError> {
        let data_dir = dir.data(live);
        let at = |e: Engine| e.at(dir.path());
        // An empty directory would otherwise be taken for a new tree.
        if !data_dir.join("db").exists() {
            return Err(damaged(dir.path(), Damage::Unreadable));
        }
        let data = Data::open(&data_dir, options.cache_bytes).map_err(at)?;
        match data.format().map_err(at)? {
            Some(found) if found > FORMAT => {
                return Err(OpenError::Newer {
                    path: dir.path().to_path_buf(),
                    found,
                    known: FORMAT,
                });
            }
            Some(FORMAT) => {}
            _ => return Err(damaged(dir.path(), Damage::Unreadable)),
        }
        let state = data.state().map_err(at)?;
        let (mut witness, seen) = Witness::open(&dir.witness()).map_err(|e| dir.failed(e))?;
        if seen.is_some_and(|seen| seen > state.sequence) {
            return Err(damaged(dir.path(), Damage::CommitsMissing));
        }
        let contents = match options.verify {
            true => Some(data.verify(state).map_err(at)?),
            false => None,
        };
        // What was recovered may have been reported by nobody; it is from now on.
        data.sync().map_err(at)?;
        witness
            .record(state.sequence)
            .and_then(|()| witness.sync())
            .and_then(|()| crate::layout::sync_dir(dir.path()))
            .map_err(|e| dir.failed(e))?;
        Ok(Self {
            data,
            writing: Mutex::new(Writing {
                witness,
                state,
                stopped: false,
            }),
            applying: Mutex::new(()),
            contents: contents.map(|tally| Contents {
                entries: tally.entries,
                live_bytes: tally.bytes,
            }),
            data_dir,
            dir,
        })
    }

    /// What the store held on opening; `None` if [`SledOptions::verify`] was off.
    /// With [`SledStore::size_on_disk`] it tells whether a rewrite is worth it.
    pub fn contents_at_open(&self) -> Option<Contents> {
        self.contents
    }

    /// Bytes that the store's files take on disk now.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] when the file system does not tell.
    pub fn size_on_disk(&self) -> Result<u64, ReadError> {
        tree_bytes(&self.data_dir).map_err(|_| ReadError::Unavailable)
    }

    /// The number of the last durable commit since the store was made.
    pub fn sequence(&self) -> u64 {
        self.writing().state.sequence
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    pub(crate) fn into_parts(self) -> (Data, StoreDir) {
        (self.data, self.dir)
    }

    /// Keeps commits out while it is held.
    pub(crate) fn writing(&self) -> MutexGuard<'_, Writing> {
        // A commit that panicked left `stopped` set.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `batch` to the tree in state `old`, has it on disk, and gives the
    /// state after it.
    fn commit(&self, batch: &Batch, old: State) -> Result<State, Engine> {
        let tree = &self.data.tree;
        let mut new = State {
            sequence: old.sequence + 1,
            ..old
        };
        quietly(|| {
            let mut writes = sled::Batch::default();
            let mut ordinal = 0;
            for (key, value) in batch.iter() {
                let head = parts::head_key(key);
                let replaced = tree.get(&head)?;
                if let Some(replaced) = &replaced {
                    new.digest.remove(&head, replaced);
                    if let Head::Long(long) = parts::decode_head(replaced)? {
                        long.keys().for_each(|key| writes.remove(&key));
                    }
                }
                let stored = match value {
                    None => {
                        if replaced.is_some() {
                            writes.remove(head);
                        }
                        continue;
                    }
                    Some(value) if value.len() <= PART_BYTES => parts::encode_short(value),
                    Some(value) => {
                        let long = Long::new(new.sequence, ordinal, value);
                        ordinal += 1;
                        for (key, part) in long.keys().zip(value.chunks(PART_BYTES)) {
                            writes.insert(&key, part);
                        }
                        long.encode()
                    }
                };
                new.digest.add(&head, &stored);
                writes.insert(head, stored);
            }
            writes.insert(STATE_KEY, &new.encode());
            let _applying = self.applying();
            tree.apply_batch(writes).map_err(Engine::from)
        })?;
        self.data.sync()?;
        Ok(new)
    }

    fn applying(&self) -> MutexGuard<'_, ()> {
        self.applying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value that `stored`, the head at `head_key`, tells of.
    fn resolve(&self, head_key: &[u8], stored: &[u8]) -> Result<Option<Vec<u8>>, Engine> {
        let long = match parts::decode_head(stored)? {
            Head::Short(value) => return Ok(Some(value.to_vec())),
            Head::Long(long) => long,
        };
        if let Some(value) = self.data.join(long)? {
            return Ok(Some(value));
        }
        // A commit was replacing the value. Between commits, head and parts agree.
        let _applying = self.applying();
        let Some(stored) = self.data.tree.get(head_key)? else {
            return Ok(None);
        };
        match parts::decode_head(&stored)? {
            Head::Short(value) => Ok(Some(value.to_vec())),
            Head::Long(long) => self.data.join(long)?.ok_or(Engine::Corrupt).map(Some),
        }
    }
}

/// Shows where it is, not what is in it.
impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore")
            .field("path", &self.dir.path())
            .finish_non_exhaustive()
    }
}

impl Reader for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let head = parts::head_key(key);
        let found = quietly(|| match self.data.tree.get(&head)? {
            Some(stored) => self.resolve(&head, &stored),
            None => Ok(None),
        });
        Ok(found?)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, ReadError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let found = quietly(|| {
            let mut out = Vec::new();
            let mut entries = self
                .data
                .tree
                .range(parts::head_key(from)..parts::head_key(to));
            while out.len() < limit {
                let Some(entry) = entries.next() else { break };
                let (head, stored) = entry?;
                if let Some(value) = self.resolve(&head, &stored)? {
                    out.push((parts::key_of(&head).to_vec(), value));
                }
            }
            Ok::<_, Engine>(out)
        });
        Ok(found?)
    }
}

impl Writer for SledStore {
    fn apply(&self, batch: &Batch) -> Result<(), WriteError> {
        let mut writing = self.writing();
        if writing.stopped {
            return Err(WriteError::Stopped);
        }
        if batch.is_empty() {
            return Ok(());
        }
        // Unset only once everything went well: what the engine holds in memory
        // after a failure is not what is on disk.
        writing.stopped = true;
        for (key, value) in batch.iter() {
            parts::check(key, value)?;
        }
        let state = self.commit(batch, writing.state)?;
        let recorded = writing.witness.record(state.sequence);
        recorded.map_err(Engine::from)?;
        writing.state = state;
        writing.stopped = false;
        Ok(())
    }
}

fn damaged(path: &Path, damage: Damage) -> OpenError {
    OpenError::Damaged {
        path: path.to_path_buf(),
        damage,
    }
}
