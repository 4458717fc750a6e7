//! Adding a signature to a record that several sign: the file grows by one signature at a time, and
//! only over the same contents.

use std::path::Path;

use anyhow::{anyhow, bail};
use lapwing_protocol::cose::{
    CoseError, MAX_SIGNERS, MultiSigned, OVERHEAD, Record, combine, parse_multi, sign_multi,
};
use lapwing_protocol::id::to_hex;
use lapwing_protocol::key::SigningKey;

use super::files;

/// Reads a record of several signatures; none where the file is missing.
///
/// # Errors
/// One line: the file and what to do.
pub(super) fn read_if_there<T: Record>(path: &Path) -> anyhow::Result<Option<MultiSigned<T>>> {
    let Some(bytes) = files::read_if_there(path, most::<T>())? else {
        return Ok(None);
    };
    parse(path, &bytes).map(Some)
}

/// Reads a record of several signatures.
///
/// # Errors
/// One line: the file and what to do.
pub(super) fn read<T: Record>(path: &Path) -> anyhow::Result<MultiSigned<T>> {
    parse(path, &files::read(path, most::<T>())?)
}

fn most<T: Record>() -> u64 {
    // Below 2^21.
    (T::MAX + OVERHEAD * (MAX_SIGNERS + 1)) as u64
}

fn parse<T: Record>(path: &Path, bytes: &[u8]) -> anyhow::Result<MultiSigned<T>> {
    parse_multi(bytes).map_err(|e| {
        let path = path.display();
        match e {
            CoseError::Type { .. } => anyhow!("{path}: is a record of another kind: {e}"),
            _ => anyhow!("{path}: is no such record ({e}): have it sent again, as a file"),
        }
    })
}

/// What became of a signature.
pub(super) struct Signed {
    /// The record, with all its signatures.
    pub(super) bytes: Vec<u8>,
    /// The bytes of the keys that signed.
    pub(super) signers: Vec<[u8; 32]>,
    /// Whether the key had signed before.
    pub(super) again: bool,
}

impl Signed {
    /// The signers in hex.
    pub(super) fn signers(&self) -> Vec<String> {
        self.signers.iter().map(to_hex).collect()
    }
}

/// Signs a record, adds the signatures of `before` (of the same contents), and checks them all.
///
/// # Errors
/// One line, where a signature of `before` does not hold or there are too many.
pub(super) fn sign<T: Record>(
    record: &T,
    before: Option<&MultiSigned<T>>,
    key: &SigningKey,
) -> anyhow::Result<Signed> {
    let public = *key.verifying_key().as_bytes();
    let mut bytes = sign_multi(record, &[key]);
    let mut again = false;
    if let Some(before) = before {
        again = before.signers().any(|s| *s == public);
        bytes = match combine::<T>(before.bytes(), &bytes) {
            Ok(bytes) => bytes,
            Err(CoseError::OtherPayload) => {
                bail!("the file that would grow has other contents: choose another one")
            }
            Err(e) => bail!("the signatures cannot be put together ({e}): start with a new file"),
        };
    }
    let signed = parse_multi::<T>(&bytes)
        .map_err(|e| anyhow!("the record cannot be used ({e}): shorten its lists"))?;
    let signers = signed.signers().copied().collect();
    Ok(Signed {
        bytes,
        signers,
        again,
    })
}
