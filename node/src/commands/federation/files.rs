//! Files that a federation is made of: new ones never take the place of others, and those that grow
//! (a record that is given one more signature) are replaced in one step.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a file was not read or written. One line each: which file, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{path}: cannot be read ({source}): check the path and its permissions", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}: is larger than {max} bytes, as no such file is: check the path", path = path.display())]
    TooLarge { path: PathBuf, max: u64 },
    #[error("{path}: exists already and is not overwritten: choose another name, or remove it first", path = path.display())]
    Exists { path: PathBuf },
    #[error("{path}: cannot be written ({source}): check the directory and its permissions", path = path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Its owner alone: mode 0600.
    Owner,
    /// Whoever the process' file mode mask lets.
    All,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Readers::Owner => 0o600,
            Readers::All => 0o666,
        }
    }
}

/// Writes a file that was not there, and waits until it is on disk.
///
/// # Errors
/// [`FileError::Exists`], [`FileError::Unwritable`].
pub(super) fn write_new(path: &Path, readers: Readers, bytes: &[u8]) -> Result<(), FileError> {
    let failed = |source: io::Error| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists { path },
            _ => FileError::Unwritable { path, source },
        }
    };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(readers.mode())
        .open(path)
        .map_err(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// Replaces a public file, or makes it, in one step: after a crash it is the old one or the new one.
///
/// # Errors
/// [`FileError::Unwritable`].
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let failed = |source: io::Error| FileError::Unwritable {
        path: path.to_owned(),
        source,
    };
    let name = path
        .file_name()
        .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let beside = path.with_file_name(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = write_new(&beside, Readers::All, bytes).map_err(|e| match e {
        FileError::Unwritable { source, .. } => failed(source),
        other => other,
    });
    let done = written.and_then(|()| fs::rename(&beside, path).map_err(failed));
    if done.is_err() {
        let _nothing_to_tidy = fs::remove_file(&beside);
    }
    done
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// [`FileError::Unreadable`], [`FileError::TooLarge`].
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > max {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            max,
        });
    }
    fs::read(path).map_err(failed)
}

/// As [`read`], where the file may be missing.
///
/// # Errors
/// As [`read`].
pub(super) fn read_if_there(path: &Path, max: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read(path, max) {
        Err(FileError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn new_files_replace_nothing_and_secrets_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        write_new(&path, Readers::Owner, b"one").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(
            write_new(&path, Readers::Owner, b"two"),
            Err(FileError::Exists { .. })
        ));
        assert_eq!(read(&path, 3).unwrap(), b"one");
        assert!(matches!(read(&path, 2), Err(FileError::TooLarge { .. })));
    }

    #[test]
    fn replacing_leaves_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roster.cbor");
        assert!(read_if_there(&path, 9).unwrap().is_none());
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read_if_there(&path, 9).unwrap().unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let away = dir.path().join("no").join("roster.cbor");
        assert!(matches!(
            replace(&away, b"x"),
            Err(FileError::Unwritable { .. })
        ));
    }
}
