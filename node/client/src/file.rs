//! Files that must outlive a crash: always the old content or the new one, on disk before anybody acts on
//! it, and read by their owner alone.

mod twin;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::locked::{FileKey, LockError, lock, unlock};

/// Most bytes of a file that is read here: a mediator with a hundred thousand certificates stays far
/// below.
const MAX_FILE: u64 = 256 << 20;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is locked, and its key does not open it, or it cannot be locked.
    #[error("{}: {source}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LockError,
    },
    /// It is longer than any that is written here.
    #[error("{} is too long to be one of ours", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// What is in it is not what should be.
    #[error("{} is damaged: put a copy of it back", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Where a role's state is kept.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    key: Option<FileKey>,
    sync: bool,
    /// What clones of it wrote last.
    last: Arc<Mutex<Option<twin::Last>>>,
}

impl StateFile {
    /// State that is kept as it is, readable by its owner.
    #[must_use]
    pub fn plain(path: PathBuf) -> Self {
        StateFile {
            path,
            key: None,
            sync: true,
            last: Arc::default(),
        }
    }

    /// The same without waiting for the disk: outlives the program and not the machine. For test
    /// networks, in which hundreds of roles share one disk.
    #[must_use]
    pub fn unsynced(path: PathBuf) -> Self {
        StateFile {
            sync: false,
            ..Self::plain(path)
        }
    }

    /// State that is locked with a key.
    #[must_use]
    pub fn locked(path: PathBuf, key: FileKey) -> Self {
        StateFile {
            key: Some(key),
            ..Self::plain(path)
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state; nothing if none was written yet.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
        let Some(bytes) = twin::read(&self.path)? else {
            return Ok(None);
        };
        match &self.key {
            None => Ok(Some(bytes)),
            Some(key) => unlock(key, &bytes).map(Some).map_err(|e| self.failed(e)),
        }
    }

    /// Replaces the state. When this returns, it is on disk ([`StateFile::unsynced`] excepted).
    ///
    /// # Errors
    /// [`FileError::Write`], [`FileError::Lock`]: then the old state is there, whole.
    pub fn write(&self, state: &[u8]) -> Result<(), FileError> {
        match &self.key {
            None => self.replace(state),
            Some(key) => self.replace(&lock(key, state).map_err(|e| self.failed(e))?),
        }
    }

    fn replace(&self, bytes: &[u8]) -> Result<(), FileError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let written = twin::write(&self.path, bytes, last.take(), self.sync);
        *last = Some(written.map_err(|source| FileError::Write {
            path: self.path.clone(),
            source,
        })?);
        Ok(())
    }

    fn failed(&self, source: LockError) -> FileError {
        FileError::Lock {
            path: self.path.clone(),
            source,
        }
    }
}

/// A file's bytes; nothing if there is none.
///
/// # Errors
/// [`FileError::Read`], [`FileError::TooLong`].
pub fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let length = file.metadata().map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(FileError::TooLong {
            path: path.to_owned(),
        });
    }
    // Room for all of it from the start: a vector that grows leaves copies of secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(Some(bytes))
}

/// Replaces a file that only its owner reads: the old bytes or the new ones, never a part. When this
/// returns, the new ones are on disk.
///
/// # Errors
/// [`FileError::Write`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(path, bytes, true).map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

fn replace(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // Left by a crash, perhaps by another version with other permissions.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&new, path)?;
    if !sync {
        return Ok(());
    }
    // The new name is on disk only with the directory.
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => fs::File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn state_is_replaced_whole_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::plain(dir.path().join("role.state"));
        assert!(file.read().unwrap().is_none());
        file.write(b"one").unwrap();
        // What a crash may leave.
        fs::write(dir.path().join("role.state.new"), b"half").unwrap();
        let two = [2; 100_000];
        file.write(&two).unwrap();
        assert_eq!(file.read().unwrap().unwrap().as_slice(), two);
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_or_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("none").join("role.state");
        assert!(matches!(
            write(&none, b"x"),
            Err(FileError::Write { path, .. }) if path == none
        ));
        assert!(matches!(read(dir.path()), Err(FileError::Read { .. })));
    }
}
