//! Bytes of any length under a key, as they lie on a disk.
//!
//! ```text
//! file = CBOR ["lapwing/v1/locked-file", salt (32 bytes), generation (32 bytes, random), [box, …]]
//! box  = secretbox of at most 8 MiB, context "lapwing/v1/locked-file <generation in hex> <n> of <count>"
//! ```
//!
//! The salt says with what the owner's passphrase was stretched to the key. The context keeps parts of
//! one writing from being exchanged with those of another.

use std::fmt;

use lapwing_protocol::codec::{Decoder, Encoder};
use lapwing_protocol::id::to_hex;
use lapwing_protocol::secretbox::{self, OVERHEAD};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

const NAME: &str = "lapwing/v1/locked-file";
/// Most bytes in one box.
const PART: usize = 8 << 20;
/// Most boxes.
const MAX_PARTS: usize = 64;

/// What files are locked with, and the salt of its making.
#[derive(Clone)]
pub struct FileKey {
    salt: [u8; 32],
    key: Zeroizing<[u8; 32]>,
}

impl FileKey {
    /// A key that was stretched from a passphrase with this salt.
    #[must_use]
    pub fn new(salt: [u8; 32], key: Zeroizing<[u8; 32]>) -> Self {
        FileKey { salt, key }
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(redacted)")
    }
}

/// Why bytes were not locked or unlocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// They are no locked file, or damaged.
    #[error("not a locked file, or damaged")]
    Damaged,
    /// The key does not open them.
    #[error("the passphrase does not open it")]
    WrongKey,
    /// More than a locked file holds.
    #[error("more than a locked file holds")]
    TooLong,
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    Randomness,
}

/// The salt of a locked file; nothing for bytes that are none.
#[must_use]
pub fn salt(bytes: &[u8]) -> Option<[u8; 32]> {
    head(&mut Decoder::new(bytes)).map(|(salt, _)| salt)
}

fn head(d: &mut Decoder<'_>) -> Option<([u8; 32], [u8; 32])> {
    d.array(4).ok()?;
    (d.text(NAME.len()).ok()? == NAME).then_some(())?;
    Some((d.byte_array().ok()?, d.byte_array().ok()?))
}

fn context(generation: &[u8; 32], part: usize, parts: usize) -> String {
    format!("{NAME} {} {part} of {parts}", to_hex(generation))
}

/// Locks bytes.
///
/// # Errors
/// [`LockError::TooLong`], [`LockError::Randomness`].
pub fn lock(key: &FileKey, plain: &[u8]) -> Result<Vec<u8>, LockError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| LockError::Randomness)?;
    let mut rng = ChaCha20Rng::from_seed(*seed);
    let mut generation = [0; 32];
    rng.fill_bytes(&mut generation);
    let parts = plain.len().div_ceil(PART).max(1);
    if parts > MAX_PARTS {
        return Err(LockError::TooLong);
    }
    let mut e = Encoder::with_capacity(plain.len() + 256 + parts * (OVERHEAD + 8));
    e.array(4);
    e.text(NAME);
    e.bytes(&key.salt);
    e.bytes(&generation);
    e.array(parts);
    for part in 0..parts {
        let from = part * PART;
        let to = plain.len().min(from + PART);
        let plain = plain.get(from..to).unwrap_or_default();
        let context = context(&generation, part, parts);
        let boxed = secretbox::lock(&key.key, &context, plain, &mut rng);
        e.bytes(&boxed.map_err(|_| LockError::TooLong)?);
    }
    Ok(e.into_vec())
}

/// Unlocks what [`lock`] locked.
///
/// # Errors
/// [`LockError::Damaged`], [`LockError::WrongKey`].
pub fn unlock(key: &FileKey, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, LockError> {
    let mut d = Decoder::new(bytes);
    let (_, generation) = head(&mut d).ok_or(LockError::Damaged)?;
    let parts = d.array_len(MAX_PARTS).map_err(|_| LockError::Damaged)?;
    // Room for all of it from the start: a vector that grows leaves copies of secrets behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
    for part in 0..parts {
        let boxed = d.bytes(PART + OVERHEAD).map_err(|_| LockError::Damaged)?;
        let context = context(&generation, part, parts);
        let opened = secretbox::unlock(&key.key, &context, boxed);
        plain.extend_from_slice(&opened.map_err(|_| LockError::WrongKey)?);
    }
    d.end().map_err(|_| LockError::Damaged)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> FileKey {
        FileKey::new([9; 32], Zeroizing::new([n; 32]))
    }

    #[test]
    fn locked_bytes_open_with_their_key_alone() {
        for length in [0, 1, 100, PART, PART + 1] {
            let plain = vec![7; length];
            let locked = lock(&key(1), &plain).unwrap();
            assert_eq!(salt(&locked), Some([9; 32]));
            assert_eq!(*unlock(&key(1), &locked).unwrap(), plain);
            assert_eq!(unlock(&key(2), &locked), Err(LockError::WrongKey));
            let cut = &locked[..locked.len() - 1];
            assert_eq!(unlock(&key(1), cut), Err(LockError::Damaged));
        }
        assert_eq!(salt(b"\x83plain"), None);
        assert_eq!(unlock(&key(1), b""), Err(LockError::Damaged));
        assert_eq!(format!("{:?}", key(1)), "FileKey(redacted)");
    }

    #[test]
    fn parts_cannot_be_exchanged() {
        let plain = vec![7; PART + 1];
        let one = lock(&key(1), &plain).unwrap();
        let other = lock(&key(1), &plain).unwrap();
        let end = one.len() - 50;
        let mixed = [&one[..end], &other[end..]].concat();
        assert_eq!(unlock(&key(1), &mixed), Err(LockError::WrongKey));
    }
}
