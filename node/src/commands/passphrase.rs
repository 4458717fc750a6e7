//! Passphrases: where they come from, and the key that is made of one (Argon2id, RFC 9106).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

/// The variable that names a file with the passphrase in its first line.
pub(crate) const FILE_VARIABLE: &str = "LAPWING_PASSPHRASE_FILE";
/// Fewest characters of a new passphrase.
const SHORTEST: usize = 8;
/// Most bytes of a passphrase file.
const MAX_FILE: u64 = 4096;
/// 64 MiB, in KiB.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// Why there is no passphrase. One line each.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassphraseError {
    #[error(
        "the passphrase cannot be asked for here ({0}): run this on a terminal, or name a file in LAPWING_PASSPHRASE_FILE"
    )]
    NoTerminal(io::Error),
    #[error("the two passphrases differ: try again")]
    Differ,
    #[error("the passphrase is shorter than {SHORTEST} characters: choose several words")]
    Short,
    #[error("{path}: cannot be read ({source}): correct LAPWING_PASSPHRASE_FILE", path = path.display())]
    FileUnreadable { path: PathBuf, source: io::Error },
    #[error("{path}: others may read it: run `chmod 600` on it", path = path.display())]
    FileExposed { path: PathBuf },
    #[error("{path}: its first line is no passphrase: put the passphrase there, in UTF-8", path = path.display())]
    FileEmpty { path: PathBuf },
    #[error("the memory to stretch the passphrase (64 MiB) cannot be had: free some and try again")]
    Stretch,
}

/// A passphrase; wiped when dropped.
pub(crate) struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// The one for a new key: from the file that the environment names, else from the terminal
    /// (twice) where `ask` says so, else none.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub(crate) fn for_new_key(ask: bool) -> Result<Option<Self>, PassphraseError> {
        let chosen = match from_environment()? {
            Some(given) => given,
            None if ask => {
                let first = prompt("New passphrase: ")?;
                if first.0 != prompt("Again: ")?.0 {
                    return Err(PassphraseError::Differ);
                }
                first
            }
            None => return Ok(None),
        };
        if chosen.0.chars().count() < SHORTEST {
            return Err(PassphraseError::Short);
        }
        Ok(Some(chosen))
    }

    /// The one that opens `key_file`: from the file that the environment names, else from the
    /// terminal.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub(crate) fn for_key(key_file: &Path) -> Result<Self, PassphraseError> {
        match from_environment()? {
            Some(given) => Ok(given),
            None => prompt(&format!("Passphrase of {}: ", key_file.display())),
        }
    }

    /// The key for a secret box: Argon2id with 64 MiB, 3 passes, 1 lane.
    ///
    /// # Errors
    /// [`PassphraseError::Stretch`].
    pub(crate) fn stretch(&self, salt: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, PassphraseError> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(32))
            .map_err(|_| PassphraseError::Stretch)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(self.0.as_bytes(), salt, key.as_mut_slice())
            .map_err(|_| PassphraseError::Stretch)?;
        Ok(key)
    }
}

fn prompt(what: &str) -> Result<Passphrase, PassphraseError> {
    rpassword::prompt_password(what)
        .map(|p| Passphrase(Zeroizing::new(p)))
        .map_err(PassphraseError::NoTerminal)
}

fn from_environment() -> Result<Option<Passphrase>, PassphraseError> {
    let path = match std::env::var_os(FILE_VARIABLE) {
        Some(name) if !name.is_empty() => PathBuf::from(name),
        _ => return Ok(None),
    };
    from_file(path).map(Some)
}

fn from_file(path: PathBuf) -> Result<Passphrase, PassphraseError> {
    let known = match fs::metadata(&path) {
        Ok(known) => known,
        Err(source) => return Err(PassphraseError::FileUnreadable { path, source }),
    };
    // A pipe that the shell made (`<(…)`) is not a file that lies about.
    if known.is_file() && known.permissions().mode() & 0o077 != 0 {
        return Err(PassphraseError::FileExposed { path });
    }
    if known.len() > MAX_FILE {
        return Err(PassphraseError::FileEmpty { path });
    }
    let text = match fs::read(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(source) => return Err(PassphraseError::FileUnreadable { path, source }),
    };
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(line) if !line.is_empty() => Ok(Passphrase(Zeroizing::new(line.to_owned()))),
        _ => Err(PassphraseError::FileEmpty { path }),
    }
}

#[cfg(test)]
impl Passphrase {
    pub(crate) fn of(text: &str) -> Self {
        Passphrase(Zeroizing::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_first_line_if_it_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        let write = |bytes: &[u8], mode| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            from_file(path.clone())
        };
        let read = |bytes: &[u8]| write(bytes, 0o600).map(|p| p.0.to_string());
        assert_eq!(
            read(b"four words in order\r\nmore").unwrap(),
            "four words in order"
        );
        for wrong in [&b""[..], b"\nsecond line", b"\xff\xfe"] {
            assert!(matches!(
                read(wrong),
                Err(PassphraseError::FileEmpty { .. })
            ));
        }
        assert!(matches!(
            write(b"four words", 0o640),
            Err(PassphraseError::FileExposed { .. })
        ));
        assert!(matches!(
            from_file(dir.path().join("none")),
            Err(PassphraseError::FileUnreadable { .. })
        ));
    }

    #[test]
    fn the_key_depends_on_passphrase_and_salt() {
        let key = |text: &str, salt| *Passphrase::of(text).stretch(&[salt; 32]).unwrap();
        assert_eq!(key("one passphrase", 1), key("one passphrase", 1));
        assert_ne!(key("one passphrase", 1), key("one passphrase", 2));
        assert_ne!(key("one passphrase", 1), key("other passphrase", 1));
    }
}
