//! Copies of a store's live data: to another place, or to its own in order to
//! give back the space that sled does not.

use std::fs;
use std::path::Path;

use crate::data::Data;
use crate::error::{Engine, OpenError};
use crate::layout::{StoreDir, sync_dir, tree_bytes};
use crate::quiet::quietly;
use crate::sled_store::{SledOptions, SledStore};
use crate::witness::Witness;

/// How much is copied in one batch, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// What a rewrite did to the size on disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

impl SledStore {
    /// Writes a complete, durable copy of the store to the directory `to`, which
    /// must not exist. Commits wait while it runs; reads do not.
    ///
    /// # Errors
    /// [`OpenError`]: about `to` where the copy could not be made, and
    /// [`OpenError::Damaged`] about this store where it could not be read. What
    /// was copied until then is left in `to`.
    pub fn export(&self, to: &Path) -> Result<(), OpenError> {
        let target = StoreDir::create(to)?;
        let _no_commits = self.writing();
        let cache_bytes = SledOptions::default().cache_bytes;
        let copy = Data::create(&target.new_data(1), cache_bytes).map_err(|e| e.at(to))?;
        copy_all(self.data(), &copy, self.path(), to)?;
        finish(copy, &target, 1)
    }

    /// Copies the live data of the store at `path` into fresh files and puts
    /// these in place of the old ones in one step: a crash leaves the one or the
    /// other. The store must not be open, and the disk must have room for both.
    ///
    /// # Errors
    /// As [`SledStore::open`]. The old files are kept.
    pub fn rewrite(path: &Path, options: &SledOptions) -> Result<Rewritten, OpenError> {
        let options = SledOptions {
            create: false,
            ..*options
        };
        let (old, dir) = SledStore::open(path, &options)?.into_parts();
        let failed = |e| dir.failed(e);
        let Some(live) = dir.live()? else {
            return Err(OpenError::Missing {
                path: path.to_path_buf(),
            });
        };
        let before = tree_bytes(&dir.data(live)).map_err(failed)?;
        let next = live + 1;
        let copy =
            Data::create(&dir.new_data(next), options.cache_bytes).map_err(|e| e.at(path))?;
        copy_all(&old, &copy, path, path)?;
        let same = quietly(|| Ok::<_, sled::Error>(old.tree.checksum()? == copy.tree.checksum()?));
        if !same.map_err(|e| e.at(path))? {
            return Err(Engine::Corrupt.at(path));
        }
        drop(old);
        finish(copy, &dir, next)?;
        fs::remove_dir_all(dir.data(live)).map_err(failed)?;
        sync_dir(path).map_err(failed)?;
        let after = tree_bytes(&dir.data(next)).map_err(failed)?;
        Ok(Rewritten { before, after })
    }
}

/// Copies everything from one tree to another, and has it on disk.
fn copy_all(from: &Data, to: &Data, from_path: &Path, to_path: &Path) -> Result<(), OpenError> {
    let mut entries = from.tree.iter();
    loop {
        let mut bytes = 0;
        let mut chunk = sled::Batch::default();
        while bytes < CHUNK_BYTES {
            let next = quietly(|| entries.next().transpose()).map_err(|e| e.at(from_path))?;
            let Some((key, value)) = next else { break };
            bytes += key.len() + value.len();
            chunk.insert(key, value);
        }
        if bytes == 0 {
            return to.sync().map_err(|e| e.at(to_path));
        }
        // Synced one by one: sled may reuse what a chunk freed, which is safe
        // only once that chunk is on disk.
        quietly(|| to.tree.apply_batch(chunk))
            .and_then(|()| to.sync())
            .map_err(|e| e.at(to_path))?;
    }
}

/// Closes a complete copy and makes it the live data of `dir`.
fn finish(copy: Data, dir: &StoreDir, number: u64) -> Result<(), OpenError> {
    let sequence = copy.state().map_err(|e| e.at(dir.path()))?.sequence;
    drop(copy);
    let failed = |e| dir.failed(e);
    crate::layout::sync_tree(&dir.new_data(number)).map_err(failed)?;
    dir.promote(number)?;
    let (mut witness, _) = Witness::open(&dir.witness()).map_err(failed)?;
    witness.record(sequence).map_err(failed)?;
    witness.sync().map_err(failed)?;
    sync_dir(dir.path()).map_err(failed)
}
