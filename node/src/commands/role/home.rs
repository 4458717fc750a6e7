//! The directory of one identity: which nodes it talks to, its state, the trust records it knows, and a
//! lock, so that two processes never act as the same identity at once.
//!
//! ```text
//! identity.toml   role and nodes; the last file that is made
//! state           everything that must survive, secrets included; perhaps under a passphrase
//! trust           the public trust records, so that a restart forgets no sequence number
//! lock            held while a process acts
//! control.sock    where a process that runs unattended takes commands
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use fs2::FileExt;
use lapwing_client::driver::{Place, feed};
use lapwing_client::file::{self, FileError, StateFile};
use lapwing_client::locked::{self, FileKey, LockError};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::role::{RestoreError, Role};
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::TrustView;
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::commands::passphrase::Passphrase;

const VERSION: u8 = 1;
/// Most bytes of an identity file.
const MAX_IDENTITY: u64 = 64 * 1024;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    version: u8,
    role: String,
    #[serde(default)]
    node: Vec<RawNode>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    id: String,
    url: String,
}

/// The directory of an identity.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    places: Vec<Place>,
}

/// Held while a process acts as the identity.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: fs::File,
}

/// Where identities of a role are by default.
///
/// # Errors
/// [`Failure::Usage`] where the environment names no home.
pub(crate) fn default_dir(role: &str) -> Result<PathBuf, Failure> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("lapwing").join(role))
        .ok_or_else(|| Failure::Usage(anyhow!("neither XDG_DATA_HOME nor HOME is set: give --dir")))
}

impl Home {
    /// Makes the directory of a new identity, private to its owner, with its first state.
    ///
    /// # Errors
    /// Where there is an identity already, or a file cannot be written.
    pub(crate) fn create<R: Role>(
        dir: &Path,
        role: &str,
        places: Vec<Place>,
        first: &R,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, Failure> {
        Self::prepare(dir)?;
        let home = Home {
            dir: dir.to_owned(),
            places,
        };
        let _lock = home.lock()?.ok_or_else(|| busy(dir))?;
        home.absent()?;
        let state = match passphrase {
            None => StateFile::plain(home.state()),
            Some(passphrase) => {
                let mut salt = [0; 32];
                getrandom::fill(&mut salt)
                    .map_err(|e| anyhow!("the operating system gives no randomness ({e})"))?;
                StateFile::locked(home.state(), FileKey::new(salt, passphrase.stretch(&salt)?))
            }
        };
        state.write(&first.save())?;
        file::write(&home.trust(), &feed::encode(first.view()))?;
        let node = |place: &Place| RawNode {
            id: place.id.to_hex(),
            url: place.api.to_string(),
        };
        let identity = RawIdentity {
            version: VERSION,
            role: role.to_owned(),
            node: home.places.iter().map(node).collect(),
        };
        let text = toml::to_string(&identity).context("the identity cannot be written")?;
        file::write(&dir.join("identity.toml"), text.as_bytes())?;
        Ok(home)
    }

    /// Makes a directory that is private to its owner, unless there is one.
    ///
    /// # Errors
    /// Where it cannot be made, or others may read it.
    pub(crate) fn prepare(dir: &Path) -> Result<(), Failure> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("{}: cannot be made", dir.display()))?;
        private(dir, 0o077, "700")?;
        Ok(())
    }

    fn absent(&self) -> Result<(), Failure> {
        if self.dir.join("identity.toml").exists() || self.state().exists() {
            return Err(anyhow!(
                "{}: holds an identity already: choose another directory",
                self.dir.display()
            )
            .into());
        }
        Ok(())
    }

    /// That a new identity can be made there.
    ///
    /// # Errors
    /// Where there is one already.
    pub(crate) fn vacant(dir: &Path) -> Result<(), Failure> {
        Home {
            dir: dir.to_owned(),
            places: Vec::new(),
        }
        .absent()
    }

    /// Opens the directory of an identity.
    ///
    /// # Errors
    /// Where there is none, or one of another role, or others may read it.
    pub(crate) fn open(dir: &Path, role: &str) -> Result<Self, Failure> {
        let path = dir.join("identity.toml");
        let text = match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let make = match role {
                    "refresher" => "mediator delegate".to_owned(),
                    role => format!("{role} new"),
                };
                return Err(anyhow!(
                    "{}: holds no identity: make one with `lapwing {make}`, or give --dir",
                    dir.display()
                )
                .into());
            }
            Ok(known) if known.len() > MAX_IDENTITY => return Err(damaged(&path).into()),
            _ => fs::read_to_string(&path)
                .with_context(|| format!("{}: cannot be read", path.display()))?,
        };
        private(dir, 0o077, "700")?;
        let raw: RawIdentity = toml::from_str(&text).map_err(|_| damaged(&path))?;
        if raw.version != VERSION {
            return Err(damaged(&path).into());
        }
        if raw.role != role {
            return Err(anyhow!(
                "{}: is the directory of a {}: use `lapwing {}`, or give another --dir",
                dir.display(),
                raw.role,
                raw.role
            )
            .into());
        }
        let place = |n: &RawNode| -> Option<Place> {
            Some(Place {
                id: n.id.parse::<NodeId>().ok()?,
                api: n.url.parse().ok()?,
            })
        };
        let places: Option<Vec<Place>> = raw.node.iter().map(place).collect();
        match places {
            Some(places) if !places.is_empty() => Ok(Home {
                dir: dir.to_owned(),
                places,
            }),
            _ => Err(damaged(&path).into()),
        }
    }

    /// The nodes, the first to talk to first.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The file of trust records.
    pub(crate) fn trust(&self) -> PathBuf {
        self.dir.join("trust")
    }

    /// Where a process that runs unattended takes commands.
    pub(crate) fn control(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Takes the lock; nothing where another process has it.
    ///
    /// # Errors
    /// Where the lock file cannot be made.
    pub(crate) fn lock(&self) -> Result<Option<Lock>, Failure> {
        let path = self.dir.join("lock");
        let made = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = made.with_context(|| format!("{}: cannot be opened", path.display()))?;
        match file.try_lock_exclusive() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(e) if e.kind() == fs2::lock_contended_error().kind() => Ok(None),
            Err(e) => Err(anyhow!("{}: cannot be locked: {e}", path.display()).into()),
        }
    }

    /// The state's file; asks for the passphrase where it is under one.
    ///
    /// # Errors
    /// Where it cannot be read, others may read it, or there is no passphrase.
    pub(crate) fn kept(&self) -> Result<StateFile, Failure> {
        let path = self.state();
        let file = StateFile::plain(path.clone());
        let Some(bytes) = file.read()? else {
            return Err(anyhow!("{}: is missing: put a copy of it back", path.display()).into());
        };
        private(&path, 0o077, "600")?;
        match locked::salt(&bytes) {
            None => Ok(file),
            Some(salt) => {
                let key = Passphrase::for_key(&path)?.stretch(&salt)?;
                Ok(StateFile::locked(path, FileKey::new(salt, key)))
            }
        }
    }

    /// The role as it was stored, with the trust records that it knew.
    ///
    /// # Errors
    /// Where a file is damaged, or the passphrase is wrong.
    pub(crate) fn restore<R: Role>(&self, kept: &StateFile, now: Time) -> Result<R, Failure> {
        let path = kept.path().display();
        let read = kept.read().map_err(|e| match e {
            FileError::Lock {
                source: LockError::WrongKey,
                ..
            } => anyhow!("{path}: the passphrase does not open it: try again"),
            other => other.into(),
        })?;
        let bytes = read.ok_or_else(|| anyhow!("{path}: is missing: put a copy of it back"))?;
        let mut role = R::restore(&bytes).map_err(|e| match e {
            RestoreError::Newer { .. } => anyhow!("{path}: {e}: use that version"),
            e => anyhow!("{path}: {e}: put a copy of it back"),
        })?;
        feed::recall(&self.trust(), role.view_mut(), now)?;
        Ok(role)
    }
}

/// Why nothing can be done while another process acts.
pub(super) fn busy(dir: &Path) -> anyhow::Error {
    anyhow!(
        "{}: another process acts as this identity: wait until it is done, or stop it",
        dir.display()
    )
}

fn damaged(path: &Path) -> anyhow::Error {
    anyhow!("{}: is damaged: put a copy of it back", path.display())
}

/// That nobody but the owner may do what `others` says.
fn private(path: &Path, others: u32, mode: &str) -> anyhow::Result<()> {
    let known =
        fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    if known.permissions().mode() & others != 0 {
        bail!(
            "{}: others may read it: run `chmod {mode}` on it",
            path.display()
        );
    }
    Ok(())
}

/// The view of a federation that knows these records.
///
/// # Errors
/// Where the federation is not valid.
pub(crate) fn view(
    federation: lapwing_protocol::federation::Federation,
    records: &[Vec<u8>],
    now: Time,
) -> anyhow::Result<TrustView> {
    let mut view =
        TrustView::new(federation).map_err(|p| anyhow!("the federation is not valid: {p}"))?;
    feed::learn(&mut view, records, now);
    Ok(view)
}
