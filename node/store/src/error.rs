//! What can go wrong with a store, each case with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_core::store::ReadError;

/// Why a store did not open. The message is one line for the operator: it names
/// the place and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the store open.
    #[error("store at {path} is in use: stop the other process, or choose another directory", path = path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// What is stored cannot be trusted or read back.
    #[error("store at {path} is damaged ({damage}): move it aside with `lapwing store set-aside`; the node then refills from the other holders", path = path.display())]
    Damaged {
        /// The store's directory.
        path: PathBuf,
        /// How it showed.
        damage: Damage,
    },
    /// A later release wrote the store.
    #[error("store at {path} has format {found}, this release knows up to {known}: install the release that wrote it", path = path.display())]
    Newer {
        /// The store's directory.
        path: PathBuf,
        /// The format version found.
        found: u32,
        /// The highest format version that this release reads.
        known: u32,
    },
    /// There is no store, and none was to be made.
    #[error("no store at {path}: check the path, or start the node once to create it", path = path.display())]
    Missing {
        /// Where the store was looked for.
        path: PathBuf,
    },
    /// The path leads to something that is not a directory.
    #[error("{path} is not a directory: give the store a directory of its own", path = path.display())]
    NotADirectory {
        /// The path given.
        path: PathBuf,
    },
    /// The directory holds files that are not a store's.
    #[error("{path} holds other files ({found}): give the store an empty directory", path = path.display())]
    Foreign {
        /// The directory given.
        path: PathBuf,
        /// The name of the first such file.
        found: String,
    },
    /// There is a file or directory where a new one was to be made.
    #[error("{path} exists already: choose a path that does not", path = path.display())]
    Exists {
        /// The path given.
        path: PathBuf,
    },
    /// The operating system refused access.
    #[error("no permission for the store at {path}: its user must own the directory and be able to write it", path = path.display())]
    Permission {
        /// The path refused.
        path: PathBuf,
    },
    /// The file system is full, or a quota is used up.
    #[error("no space for the store at {path}: free or add disk space, then start again", path = path.display())]
    NoSpace {
        /// The store's directory.
        path: PathBuf,
    },
    /// The disk or the file system failed otherwise.
    #[error("the disk refused the store at {path} ({source}): check the disk and the system's log", path = path.display())]
    Disk {
        /// The store's directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// How damage showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Stored bytes fail their checks.
    #[error("its files do not read back")]
    Unreadable,
    /// The storage engine gave up on what it found.
    #[error("the storage engine cannot make sense of its files")]
    EngineFailed,
    /// Commits that had been reported durable are gone.
    #[error("its last commits are missing")]
    CommitsMissing,
}

/// Why a batch was not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The file system is full, or a quota is used up.
    #[error("no space left for the store: free or add disk space, then start again")]
    NoSpace,
    /// The disk or the file system failed.
    #[error("the disk refused a write ({0}): check the disk and the system's log")]
    Disk(io::ErrorKind),
    /// What is stored cannot be read back.
    #[error("the store is damaged: restart, and follow what the node says on opening it")]
    Damaged,
    /// A key or a value is longer than the store takes. A fault of the caller.
    #[error("a {what} of {bytes} bytes is too long: at most {max}")]
    TooLong {
        /// "key" or "value".
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The greatest length, in bytes.
        max: usize,
    },
    /// An earlier write failed, and nothing is written since.
    #[error("the store stopped after an earlier failure: restart the node")]
    Stopped,
}

/// How the storage engine failed, without the text of its error: that may hold
/// keys.
pub(crate) enum Engine {
    Io(io::Error),
    Corrupt,
    Panicked,
}

impl From<sled::Error> for Engine {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(e) => Self::Io(e),
            _ => Self::Corrupt,
        }
    }
}

impl From<io::Error> for Engine {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Engine {
    pub(crate) fn at(self, path: &Path) -> OpenError {
        let path_buf = path.to_path_buf();
        match self {
            Self::Io(e) if reads_short(&e) => OpenError::Damaged {
                path: path_buf,
                damage: Damage::Unreadable,
            },
            Self::Io(e) => open_io(path, e),
            Self::Corrupt => OpenError::Damaged {
                path: path_buf,
                damage: Damage::Unreadable,
            },
            Self::Panicked => OpenError::Damaged {
                path: path_buf,
                damage: Damage::EngineFailed,
            },
        }
    }
}

impl From<Engine> for WriteError {
    fn from(error: Engine) -> Self {
        match error {
            Engine::Io(e) if reads_short(&e) => Self::Damaged,
            Engine::Io(e) => match e.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
                kind => Self::Disk(kind),
            },
            Engine::Corrupt | Engine::Panicked => Self::Damaged,
        }
    }
}

impl From<Engine> for ReadError {
    fn from(error: Engine) -> Self {
        match error {
            Engine::Io(e) if !reads_short(&e) => Self::Unavailable,
            _ => Self::Damaged,
        }
    }
}

/// Whether the disk worked, but what it gave is not what was written.
fn reads_short(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
    )
}

/// Names a failed file operation at `path` by what the operator can do about it.
pub(crate) fn open_io(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::Permission { path }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::NoSpace { path },
        io::ErrorKind::NotADirectory => OpenError::NotADirectory { path },
        _ => OpenError::Disk { path, source },
    }
}
