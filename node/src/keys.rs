//! A node's key file: three secrets of 32 bytes, readable by its owner alone.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lapwing_core::Identity;
use lapwing_protocol::id::{NodeId, from_hex, to_hex};
use lapwing_protocol::key::SigningKey;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("{path}: cannot be read ({source}): make one with `lapwing init`", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}: cannot be written ({source})", path = path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{path}: others may read it: run `chmod 600` on it", path = path.display())]
    Exposed { path: PathBuf },
    #[error("{path}: is no node key of version 1: restore it from a backup, or make a new node with `lapwing init`", path = path.display())]
    Damaged { path: PathBuf },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeys {
    version: u8,
    peer: String,
    signing: String,
    secret: String,
}

impl Drop for RawKeys {
    fn drop(&mut self) {
        self.peer.zeroize();
        self.signing.zeroize();
        self.secret.zeroize();
    }
}

/// A node's secrets.
pub(crate) struct NodeKeys {
    peer: Zeroizing<[u8; 32]>,
    signing: Zeroizing<[u8; 32]>,
    secret: Zeroizing<[u8; 32]>,
}

impl NodeKeys {
    /// New keys from the operating system's randomness.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let fresh = || {
            let mut bytes = Zeroizing::new([0; 32]);
            getrandom::fill(bytes.as_mut_slice())?;
            Ok(bytes)
        };
        Ok(NodeKeys {
            peer: fresh()?,
            signing: fresh()?,
            secret: fresh()?,
        })
    }

    /// The node's id: its peer key's public half.
    pub(crate) fn node_id(&self) -> NodeId {
        NodeId::from_bytes(*SigningKey::from_seed(&self.peer).verifying_key().as_bytes())
    }

    /// The seed of the peer key.
    pub(crate) fn peer_seed(&self) -> Zeroizing<[u8; 32]> {
        self.peer.clone()
    }

    /// The signing key.
    pub(crate) fn signing(&self) -> SigningKey {
        SigningKey::from_seed(&self.signing)
    }

    /// What the core needs.
    pub(crate) fn identity(&self) -> Identity {
        Identity::new(self.node_id(), self.signing(), &self.secret)
    }

    /// Writes a new file that only its owner can read; an existing one is never overwritten.
    pub(crate) fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        let raw = RawKeys {
            version: 1,
            peer: to_hex(&self.peer),
            signing: to_hex(&self.signing),
            secret: to_hex(&self.secret),
        };
        let failed = |source| KeyError::Unwritable {
            path: path.to_owned(),
            source,
        };
        let text = Zeroizing::new(toml::to_string(&raw).map_err(|e| failed(io::Error::other(e)))?);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.write_all(
            b"# The secrets of one node. Keep a copy offline; whoever has it is the node.\n",
        )
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .map_err(failed)
    }

    /// Reads a file that only its owner can read.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
            });
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        let damaged = || KeyError::Damaged {
            path: path.to_owned(),
        };
        let raw: RawKeys = toml::from_str(&text).map_err(|_| damaged())?;
        if raw.version != 1 {
            return Err(damaged());
        }
        let part = |hex: &str| from_hex(hex).map(Zeroizing::new).map_err(|_| damaged());
        Ok(NodeKeys {
            peer: part(&raw.peer)?,
            signing: part(&raw.signing)?,
            secret: part(&raw.secret)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_are_guarded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let keys = NodeKeys::generate().unwrap();
        keys.write_new(&path).unwrap();
        assert_eq!(NodeKeys::read(&path).unwrap().node_id(), keys.node_id());
        assert!(
            matches!(keys.write_new(&path), Err(KeyError::Unwritable { .. })),
            "never overwritten"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            NodeKeys::read(&path),
            Err(KeyError::Exposed { .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "version = 1\n").unwrap();
        assert!(matches!(
            NodeKeys::read(&path),
            Err(KeyError::Damaged { .. })
        ));
    }
}
