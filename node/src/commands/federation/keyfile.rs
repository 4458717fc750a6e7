//! Key files of roots and operators: the public half in the clear, the secret half in hex or, under a
//! passphrase, in a box (Argon2id and `lapwing_protocol::secretbox`).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use lapwing_protocol::bounded::Text;
use lapwing_protocol::id::{OperatorId, from_hex, to_hex};
use lapwing_protocol::key::{SigningKey, VerifyingKey};
use lapwing_protocol::secretbox;
use rand_core::UnwrapErr;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::files::{FileError, Readers, write_new};
use crate::commands::passphrase::{Passphrase, PassphraseError};

const VERSION: u8 = 1;
/// Most bytes of a key file.
const MAX: u64 = 16 * 1024;

/// Why a key file was not made or cannot be used. One line each.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error("{path}: cannot be read ({source}): check the path and its permissions", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}: others may read it: run `chmod 600` on it", path = path.display())]
    Exposed { path: PathBuf },
    #[error("{path}: is no key file of version 1: restore it from a backup", path = path.display())]
    Damaged { path: PathBuf },
    #[error("{path}: is the key of {found}, and {wanted} is needed: give that one", path = path.display())]
    OtherUse {
        path: PathBuf,
        found: &'static str,
        wanted: &'static str,
    },
    #[error("{path}: the passphrase does not open it: try again, or restore the file from a backup", path = path.display())]
    WrongPassphrase { path: PathBuf },
    #[error("the operating system gives no randomness ({0}): try again later")]
    Randomness(getrandom::Error),
}

/// Whose key a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A root of a federation.
    Root,
    /// An operator.
    Operator {
        /// Its id, which stays when the key changes.
        id: OperatorId,
        /// Its name.
        name: Text<80>,
    },
}

impl Owner {
    fn text(&self) -> &'static str {
        match self {
            Owner::Root => ROOT,
            Owner::Operator { .. } => OPERATOR,
        }
    }
}

const ROOT: &str = "a federation's root";
const OPERATOR: &str = "an operator";

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum RawUse {
    Root,
    Operator,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
enum Stretching {
    /// 64 MiB, 3 passes, 1 lane, version 0x13.
    #[serde(rename = "argon2id-64MiB-3")]
    Argon2id,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawLocked {
    stretching: Stretching,
    salt: String,
    #[serde(rename = "box")]
    boxed: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    version: u8,
    r#use: RawUse,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    public_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<RawLocked>,
}

impl Drop for RawKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

enum Secret {
    Open(Zeroizing<[u8; 32]>),
    Locked { salt: [u8; 32], boxed: Vec<u8> },
}

/// A key file that was read, and perhaps not yet unlocked.
pub(super) struct KeyFile {
    path: PathBuf,
    owner: Owner,
    public: VerifyingKey,
    secret: Secret,
}

/// Makes a new key and its file, which only its owner can read. An existing file is never overwritten.
///
/// # Errors
/// [`KeyFileError::File`], [`KeyFileError::Passphrase`], [`KeyFileError::Randomness`].
pub(super) fn make(
    path: &Path,
    owner: &Owner,
    passphrase: Option<&Passphrase>,
) -> Result<VerifyingKey, KeyFileError> {
    let seed = Zeroizing::new(random()?);
    let public = SigningKey::from_seed(&seed).verifying_key();
    let locked = match passphrase {
        None => None,
        Some(passphrase) => {
            let salt = random()?;
            let key = passphrase.stretch(&salt)?;
            // Randomness was had a moment ago; where it fails now, the process may only end.
            let mut rng = UnwrapErr(getrandom::SysRng);
            let boxed = secretbox::lock(&key, &context(&public), seed.as_slice(), &mut rng)
                .map_err(|_| KeyFileError::Damaged {
                    path: path.to_owned(),
                })?;
            Some(RawLocked {
                stretching: Stretching::Argon2id,
                salt: to_hex(&salt),
                boxed: HEXLOWER.encode(&boxed),
            })
        }
    };
    let (r#use, id, name) = match owner {
        Owner::Root => (RawUse::Root, None, None),
        Owner::Operator { id, name } => (
            RawUse::Operator,
            Some(id.to_hex()),
            Some(name.as_str().to_owned()),
        ),
    };
    let raw = RawKey {
        version: VERSION,
        r#use,
        id,
        name,
        public_key: to_hex(public.as_bytes()),
        secret: locked.is_none().then(|| to_hex(&seed)),
        locked,
    };
    let unwritable = |e| FileError::Unwritable {
        path: path.to_owned(),
        source: io::Error::other(e),
    };
    let body = Zeroizing::new(toml::to_string(&raw).map_err(unwritable)?);
    let head = format!(
        "# The secret key of {}. Keep it offline, and a copy elsewhere; whoever has it can sign in its name.\n",
        owner.text()
    );
    let mut text = Zeroizing::new(Vec::with_capacity(head.len() + body.len()));
    text.extend_from_slice(head.as_bytes());
    text.extend_from_slice(body.as_bytes());
    write_new(path, Readers::Owner, &text)?;
    Ok(public)
}

/// 32 bytes from the operating system.
///
/// # Errors
/// [`KeyFileError::Randomness`].
pub(super) fn random() -> Result<[u8; 32], KeyFileError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(KeyFileError::Randomness)?;
    Ok(bytes)
}

/// What the box is bound to: this key, so that boxes cannot be swapped between files.
fn context(public: &VerifyingKey) -> String {
    format!("lapwing/v1/key-file {}", to_hex(public.as_bytes()))
}

impl KeyFile {
    /// Reads a file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyFileError::Unreadable`], [`KeyFileError::Exposed`], [`KeyFileError::Damaged`].
    pub(super) fn read(path: &Path) -> Result<Self, KeyFileError> {
        let path = path.to_owned();
        let known = match fs::metadata(&path) {
            Ok(known) => known,
            Err(source) => return Err(KeyFileError::Unreadable { path, source }),
        };
        if known.permissions().mode() & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path });
        }
        if known.len() > MAX {
            return Err(KeyFileError::Damaged { path });
        }
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(source) => return Err(KeyFileError::Unreadable { path, source }),
        };
        match decode(&text) {
            Some((owner, public, secret)) => Ok(KeyFile {
                path,
                owner,
                public,
                secret,
            }),
            None => Err(KeyFileError::Damaged { path }),
        }
    }

    /// The public half.
    pub(super) fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// That this is a root's key.
    ///
    /// # Errors
    /// [`KeyFileError::OtherUse`].
    pub(super) fn root(&self) -> Result<(), KeyFileError> {
        match &self.owner {
            Owner::Root => Ok(()),
            Owner::Operator { .. } => Err(self.other_use(ROOT)),
        }
    }

    /// The operator whose key this is: id and name.
    ///
    /// # Errors
    /// [`KeyFileError::OtherUse`].
    pub(super) fn operator(&self) -> Result<(&OperatorId, &Text<80>), KeyFileError> {
        match &self.owner {
            Owner::Operator { id, name } => Ok((id, name)),
            Owner::Root => Err(self.other_use(OPERATOR)),
        }
    }

    fn other_use(&self, wanted: &'static str) -> KeyFileError {
        KeyFileError::OtherUse {
            path: self.path.clone(),
            found: self.owner.text(),
            wanted,
        }
    }

    /// The secret half; asks for the passphrase where the file is under one.
    ///
    /// # Errors
    /// [`KeyFileError::Passphrase`], [`KeyFileError::WrongPassphrase`], [`KeyFileError::Damaged`].
    pub(super) fn unlock(self) -> Result<SigningKey, KeyFileError> {
        let passphrase = match &self.secret {
            Secret::Open(_) => None,
            Secret::Locked { .. } => Some(Passphrase::for_key(&self.path)?),
        };
        self.unlock_with(passphrase.as_ref())
    }

    fn unlock_with(self, passphrase: Option<&Passphrase>) -> Result<SigningKey, KeyFileError> {
        let KeyFile {
            path,
            public,
            secret,
            ..
        } = self;
        let seed = match (secret, passphrase) {
            (Secret::Open(seed), _) => seed,
            (Secret::Locked { salt, boxed }, Some(passphrase)) => {
                let key = passphrase.stretch(&salt)?;
                let Ok(seed) = secretbox::unlock(&key, &context(&public), &boxed) else {
                    return Err(KeyFileError::WrongPassphrase { path });
                };
                match <[u8; 32]>::try_from(seed.as_slice()) {
                    Ok(seed) => Zeroizing::new(seed),
                    Err(_) => return Err(KeyFileError::Damaged { path }),
                }
            }
            (Secret::Locked { .. }, None) => return Err(KeyFileError::WrongPassphrase { path }),
        };
        let key = SigningKey::from_seed(&seed);
        if key.verifying_key() != public {
            return Err(KeyFileError::Damaged { path });
        }
        Ok(key)
    }
}

fn decode(text: &str) -> Option<(Owner, VerifyingKey, Secret)> {
    let raw: RawKey = toml::from_str(text).ok()?;
    if raw.version != VERSION {
        return None;
    }
    let owner = match (raw.r#use, &raw.id, &raw.name) {
        (RawUse::Root, None, None) => Owner::Root,
        (RawUse::Operator, Some(id), Some(name)) => Owner::Operator {
            id: id.parse().ok()?,
            name: Text::try_from(name.as_str()).ok()?,
        },
        _ => return None,
    };
    let public = VerifyingKey::from_bytes(&from_hex(&raw.public_key).ok()?).ok()?;
    let secret = match (&raw.secret, &raw.locked) {
        (Some(seed), None) => Secret::Open(Zeroizing::new(from_hex(seed).ok()?)),
        (None, Some(locked)) => Secret::Locked {
            salt: from_hex(&locked.salt).ok()?,
            boxed: HEXLOWER.decode(locked.boxed.as_bytes()).ok()?,
        },
        _ => return None,
    };
    Some((owner, public, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_are_guarded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.key");
        let owner = Owner::Operator {
            id: OperatorId::from_bytes([7; 32]),
            name: Text::try_from("A \"quoted\" name").unwrap(),
        };
        let public = make(&path, &owner, None).unwrap();
        let file = KeyFile::read(&path).unwrap();
        assert_eq!((&file.owner, file.public), (&owner, public));
        assert!(matches!(file.root(), Err(KeyFileError::OtherUse { .. })));
        assert_eq!(file.unlock().unwrap().verifying_key(), public);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            KeyFile::read(&path),
            Err(KeyFileError::Exposed { .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let public_line = format!("public_key = \"{}\"", to_hex(public.as_bytes()));
        let other = SigningKey::from_seed(&[9; 32]).verifying_key();
        for damaged in [
            String::new(),
            text.replace("version = 1", "version = 2"),
            text.replace("name = ", "names = "),
            text.replace("use = \"operator\"", "use = \"root\""),
            text.replace("secret = \"", "secret = \"0"),
        ] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(
                KeyFile::read(&path),
                Err(KeyFileError::Damaged { .. })
            ));
        }
        let swapped = format!("public_key = \"{}\"", to_hex(other.as_bytes()));
        fs::write(&path, text.replace(&public_line, &swapped)).unwrap();
        assert!(matches!(
            KeyFile::read(&path).unwrap().unlock(),
            Err(KeyFileError::Damaged { .. })
        ));
    }

    #[test]
    fn a_passphrase_locks_the_secret_half() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        let right = Passphrase::of("four words in order");
        let public = make(&path, &Owner::Root, Some(&right)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("secret ="), "{text}");
        let opened = KeyFile::read(&path).unwrap().unlock_with(Some(&right));
        assert_eq!(opened.unwrap().verifying_key(), public);
        let wrong = Passphrase::of("four words in disorder");
        for with in [Some(&wrong), None] {
            assert!(matches!(
                KeyFile::read(&path).unwrap().unlock_with(with),
                Err(KeyFileError::WrongPassphrase { .. })
            ));
        }
    }
}
