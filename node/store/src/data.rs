//! One directory of sled files, opened with care and synced for real.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Engine;
use crate::layout::{sync_dir, sync_tree};
use crate::parts::{self, FORMAT_KEY, Head, Kind, Long, STATE_KEY};
use crate::quiet::quietly;
use crate::state::{Digest, State};

/// The format version that this release writes.
pub(crate) const FORMAT: u32 = 1;

/// How long sled's background threads may hold its file after a close.
const CLOSING: Duration = Duration::from_secs(10);

/// An open sled tree and a second handle on its log.
pub(crate) struct Data {
    pub(crate) tree: sled::Db,
    log: File,
}

/// What a full reading found.
pub(crate) struct Tally {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Data {
    /// Makes an empty tree in `dir`, which must not exist, and has it on disk.
    pub(crate) fn create(dir: &Path, cache_bytes: u64) -> Result<Self, Engine> {
        fs::create_dir(dir)?;
        let data = Self::open(dir, cache_bytes)?;
        quietly(|| {
            let mut batch = sled::Batch::default();
            batch.insert(FORMAT_KEY, FORMAT.to_be_bytes().as_slice());
            batch.insert(STATE_KEY, &State::default().encode());
            data.tree.apply_batch(batch)
        })?;
        data.sync()?;
        sync_tree(dir)?;
        Ok(data)
    }

    /// Opens the tree in `dir`.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Engine> {
        remove_torn_snapshots(dir)?;
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes);
        let give_up = Instant::now() + CLOSING;
        let tree = loop {
            match quietly(|| config.open()) {
                // The directory is locked, so it is sled itself, still closing.
                Err(Engine::Io(e)) if e.kind() == std::io::ErrorKind::Other => {
                    if Instant::now() > give_up {
                        return Err(Engine::Io(e));
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                opened => break opened?,
            }
        };
        // sled has renamed its snapshot, and may have made its files.
        sync_dir(dir)?;
        let log = OpenOptions::new().write(true).open(dir.join("db"))?;
        Ok(Self { tree, log })
    }

    /// The format version; `None` when there is none, as in a tree that lost its
    /// files.
    pub(crate) fn format(&self) -> Result<Option<u32>, Engine> {
        Ok(self.own(FORMAT_KEY)?.map(u32::from_be_bytes))
    }

    /// What the tree says of itself.
    pub(crate) fn state(&self) -> Result<State, Engine> {
        self.own(STATE_KEY)?
            .map(State::decode)
            .ok_or(Engine::Corrupt)
    }

    fn own<const N: usize>(&self, key: &[u8]) -> Result<Option<[u8; N]>, Engine> {
        let stored = quietly(|| self.tree.get(key))?;
        stored
            .map(|v| v.as_ref().try_into().map_err(|_| Engine::Corrupt))
            .transpose()
    }

    /// Waits until all that was applied is on disk.
    pub(crate) fn sync(&self) -> Result<(), Engine> {
        // On Linux sled's flush ends in sync_file_range, which neither writes the
        // file's size nor empties the disk's own cache. Only fdatasync does.
        quietly(|| self.tree.flush())?;
        Ok(self.log.sync_data()?)
    }

    /// The parts of a value put together; `None` when one is missing.
    pub(crate) fn join(&self, long: Long) -> Result<Option<Vec<u8>>, Engine> {
        let mut value = Vec::with_capacity(long.bytes());
        for key in long.keys() {
            match self.tree.get(key)? {
                Some(part) => value.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
        match long.is_whole(&value) {
            true => Ok(Some(value)),
            false => Err(Engine::Corrupt),
        }
    }

    /// Reads everything and checks it against `state`.
    pub(crate) fn verify(&self, state: State) -> Result<Tally, Engine> {
        quietly(|| {
            let mut tally = Tally {
                entries: 0,
                bytes: 0,
            };
            let mut digest = Digest::default();
            let (mut parts_named, mut parts_found) = (0, 0);
            for entry in self.tree.iter() {
                let (key, stored) = entry?;
                match parts::kind(&key)? {
                    Kind::Own => {}
                    Kind::Part => parts_found += 1,
                    Kind::Head => {
                        digest.add(&key, &stored);
                        let value = match parts::decode_head(&stored)? {
                            Head::Short(value) => value.len(),
                            Head::Long(long) => {
                                parts_named += long.parts();
                                self.join(long)?.ok_or(Engine::Corrupt)?.len()
                            }
                        };
                        tally.entries += 1;
                        tally.bytes += (parts::key_of(&key).len() + value) as u64;
                    }
                }
            }
            if digest == state.digest && parts_named == parts_found {
                Ok(tally)
            } else {
                Err(Engine::Corrupt)
            }
        })
    }
}

/// Removes snapshots that sled was writing when its process ended. It would take
/// such a file for its newest snapshot, and refuse to open.
fn remove_torn_snapshots(dir: &Path) -> Result<(), Engine> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
