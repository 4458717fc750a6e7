//! Secrets at rest: XChaCha20-Poly1305 under a key that the caller keeps elsewhere.
//!
//! ```text
//! box = version (1 byte, 1) ‖ nonce (24, random) ‖ ciphertext with tag
//! aad = CBOR ["lapwing/v1/secretbox", version, context]
//! ```

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::codec::Encoder;

const VERSION: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;

/// The most bytes that one box holds (16 MiB).
pub const MAX: usize = 1 << 24;
/// What a box adds to its content, in bytes.
pub const OVERHEAD: usize = 1 + NONCE + TAG;

/// Why a box was not locked or not unlocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoxError {
    /// More than [`MAX`] bytes of content.
    #[error("content longer than {MAX} bytes")]
    TooLong,
    /// Too short to be a box.
    #[error("too short to be a box")]
    Truncated,
    /// A version that this one does not know.
    #[error("unknown version {0}")]
    Version(u8),
    /// Another key or context, or altered.
    #[error("does not unlock")]
    Unlock,
}

fn associated(context: &str) -> Vec<u8> {
    let mut out = Encoder::new();
    out.array(3);
    out.text("lapwing/v1/secretbox");
    out.uint(u64::from(VERSION));
    out.text(context);
    out.into_vec()
}

/// Locks `plaintext`. `context` says what it is, and must be the same to unlock it.
///
/// # Errors
/// [`BoxError::TooLong`].
pub fn lock<R: CryptoRng + ?Sized>(
    key: &[u8; 32],
    context: &str,
    plaintext: &[u8],
    rng: &mut R,
) -> Result<Vec<u8>, BoxError> {
    if plaintext.len() > MAX {
        return Err(BoxError::TooLong);
    }
    let mut nonce = [0; NONCE];
    rng.fill_bytes(&mut nonce);
    let ciphertext = XChaCha20Poly1305::new(key.into())
        .encrypt(
            &nonce.into(),
            Payload {
                msg: plaintext,
                aad: &associated(context),
            },
        )
        .map_err(|_| BoxError::TooLong)?;
    let mut out = Vec::with_capacity(1 + NONCE + ciphertext.len());
    out.push(VERSION);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&ciphertext);
    Ok(out)
}

/// Unlocks what [`lock`] locked.
///
/// # Errors
/// [`BoxError`].
pub fn unlock(
    key: &[u8; 32],
    context: &str,
    locked: &[u8],
) -> Result<Zeroizing<Vec<u8>>, BoxError> {
    if locked.len() > MAX + OVERHEAD {
        return Err(BoxError::TooLong);
    }
    let (version, rest) = locked.split_first().ok_or(BoxError::Truncated)?;
    if *version != VERSION {
        return Err(BoxError::Version(*version));
    }
    let (nonce, ciphertext) = rest
        .split_first_chunk::<NONCE>()
        .ok_or(BoxError::Truncated)?;
    XChaCha20Poly1305::new(key.into())
        .decrypt(
            &(*nonce).into(),
            Payload {
                msg: ciphertext,
                aad: &associated(context),
            },
        )
        .map(Zeroizing::new)
        .map_err(|_| BoxError::Unlock)
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn unlocks_with_the_same_key_and_context_only() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let locked = lock(&[1; 32], "node key", b"secret", &mut rng).unwrap();
        assert_eq!(locked.len(), 6 + OVERHEAD);
        assert_eq!(*unlock(&[1; 32], "node key", &locked).unwrap(), b"secret");
        assert_eq!(unlock(&[2; 32], "node key", &locked), Err(BoxError::Unlock));
        assert_eq!(unlock(&[1; 32], "epoch", &locked), Err(BoxError::Unlock));
        for at in 1..locked.len() {
            let mut altered = locked.clone();
            altered[at] ^= 1;
            assert_eq!(
                unlock(&[1; 32], "node key", &altered),
                Err(BoxError::Unlock)
            );
        }
        let mut altered = locked.clone();
        altered[0] = 2;
        assert_eq!(
            unlock(&[1; 32], "node key", &altered),
            Err(BoxError::Version(2))
        );
        assert_eq!(unlock(&[1; 32], "node key", b""), Err(BoxError::Truncated));
        assert_eq!(
            unlock(&[1; 32], "node key", &locked[..20]),
            Err(BoxError::Truncated)
        );
        assert_eq!(
            unlock(&[1; 32], "node key", &locked[..30]),
            Err(BoxError::Unlock)
        );
        // Fresh nonce, other bytes.
        assert_ne!(
            lock(&[1; 32], "node key", b"secret", &mut rng).unwrap(),
            locked
        );
    }
}
