//! The store's directory: what lies in it, who may use it, and how its contents
//! are replaced in one step.
//!
//! ```text
//! <path>/lock      held by the process that has the store open
//! <path>/witness   the number of the last durable commit (see `witness`)
//! <path>/data-<n>  the live data; the highest n counts
//! <path>/new-<n>   data being prepared; never read, removed on opening
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use fs2::FileExt;

use crate::error::{OpenError, open_io};

const LOCK: &str = "lock";
const WITNESS: &str = "witness";
const DATA: &str = "data-";
const NEW: &str = "new-";

/// A store's directory, locked for this process until dropped.
pub(crate) struct StoreDir {
    path: PathBuf,
    lock: File,
}

impl StoreDir {
    /// Locks the directory at `path`, and makes it first if `create` is set.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self, OpenError> {
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => {
                return Err(OpenError::NotADirectory {
                    path: path.to_path_buf(),
                });
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound && create => {
                make_dir(path).map_err(|e| open_io(path, e))?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Missing {
                    path: path.to_path_buf(),
                });
            }
            Err(e) => return Err(open_io(path, e)),
        }
        let lock = OpenOptions::new()
            .create(create || path.join(WITNESS).exists())
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => OpenError::Missing {
                    path: path.to_path_buf(),
                },
                _ => open_io(path, e),
            })?;
        match FileExt::try_lock_exclusive(&lock) {
            Ok(()) => Ok(Self {
                path: path.to_path_buf(),
                lock,
            }),
            Err(e) if e.kind() == fs2::lock_contended_error().kind() => Err(OpenError::InUse {
                path: path.to_path_buf(),
            }),
            Err(e) => Err(open_io(path, e)),
        }
    }

    /// Makes and locks a directory where there was nothing.
    pub(crate) fn create(path: &Path) -> Result<Self, OpenError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(OpenError::Exists {
                path: path.to_path_buf(),
            });
        }
        Self::open(path, true)
    }

    /// Removes what an interrupted step left behind, and gives the number of the
    /// live data. `None` when there is none yet.
    pub(crate) fn live(&self) -> Result<Option<u64>, OpenError> {
        let (mut data, mut leftovers, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.path).map_err(|e| self.failed(e))? {
            let name = entry.map_err(|e| self.failed(e))?.file_name();
            let name = name.to_string_lossy().into_owned();
            if let Some(n) = number(&name, DATA) {
                data.push(n);
            } else if number(&name, NEW).is_some() {
                leftovers.push(self.path.join(name));
            } else if name != LOCK && name != WITNESS {
                foreign.push(name);
            }
        }
        data.sort_unstable();
        let live = data.pop();
        if let (None, Some(found)) = (live, foreign.into_iter().min()) {
            return Err(OpenError::Foreign {
                path: self.path.clone(),
                found,
            });
        }
        leftovers.extend(data.into_iter().map(|n| self.data(n)));
        for leftover in leftovers {
            fs::remove_dir_all(&leftover).map_err(|e| self.failed(e))?;
        }
        Ok(live)
    }

    /// Where data number `n` lies.
    pub(crate) fn data(&self, n: u64) -> PathBuf {
        self.path.join(format!("{DATA}{n}"))
    }

    /// Where data number `n` is prepared.
    pub(crate) fn new_data(&self, n: u64) -> PathBuf {
        self.path.join(format!("{NEW}{n}"))
    }

    /// Makes prepared data, closed and synced, the live data: in one step, and
    /// durably.
    pub(crate) fn promote(&self, n: u64) -> Result<(), OpenError> {
        fs::rename(self.new_data(n), self.data(n))
            .and_then(|()| sync_dir(&self.path))
            .map_err(|e| self.failed(e))
    }

    pub(crate) fn witness(&self) -> PathBuf {
        self.path.join(WITNESS)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn failed(&self, error: io::Error) -> OpenError {
        open_io(&self.path, error)
    }
}

impl Drop for StoreDir {
    fn drop(&mut self) {
        // Closing the file unlocks it as well; a child process that inherited it
        // would otherwise keep the lock.
        let _ = FileExt::unlock(&self.lock);
    }
}

/// Renames the store at `path` to `<path>.damaged-<n>`, with the first number
/// that is free, and gives the new path. A new store can then be made at `path`.
///
/// # Errors
/// [`OpenError::InUse`] while a process has it open; otherwise what the file
/// system says.
pub fn set_aside(path: &Path) -> Result<PathBuf, OpenError> {
    if !path.exists() {
        return Err(OpenError::Missing {
            path: path.to_path_buf(),
        });
    }
    let _locked = StoreDir::open(path, true)?;
    // A path such as "store/" or "." names no entry to put a suffix on.
    let path = fs::canonicalize(path).map_err(|e| open_io(path, e))?;
    let mut n = 1u64;
    let aside = loop {
        let mut name = path.as_os_str().to_os_string();
        name.push(format!(".damaged-{n}"));
        let candidate = PathBuf::from(name);
        if fs::symlink_metadata(&candidate).is_err() {
            break candidate;
        }
        n += 1;
    };
    fs::rename(&path, &aside)
        .and_then(|()| sync_parent(&path))
        .map_err(|e| open_io(&path, e))?;
    Ok(aside)
}

/// Waits until the entries of `dir` are on disk, so that files made or renamed
/// in it are found after a loss of power.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened, and need not be.
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Waits until all files in `dir`, and in the directories in it, are on disk.
pub(crate) fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(dir)
}

/// Bytes of all files in `dir` and in the directories in it.
pub(crate) fn tree_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() => tree_bytes(&entry.path())?,
            Ok(found) => found.len(),
            // The engine removed a file of its own in between.
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e),
        };
    }
    Ok(bytes)
}

/// Makes `path` and its missing parents, readable by their owner alone, durably.
fn make_dir(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.exists()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    for made in missing.into_iter().rev() {
        sync_parent(made)?;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

fn number(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.parse().ok()
}
