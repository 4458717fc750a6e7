//! Envelopes: HPKE (RFC 9180) base mode to a recipient's key, in three sizes
//! (`docs/spec/sealing.md`).
//!
//! ```text
//! envelope  = suite (1 byte, 1) ‖ enc (32) ‖ ciphertext with tag
//! plaintext = length (u32, big end first) ‖ content ‖ zeros up to the size class
//! info      = CBOR ["lapwing/v1/seal", purpose, binding, key version]
//! ```
//!
//! Suite 1 is DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305. An envelope says nothing
//! of its sender: who must be known signs inside. The short form is for small values that travel
//! within other things, where their size is no secret.

use hpke::{
    Deserializable, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::X25519HkdfSha256, setup_receiver, setup_sender_with_rng,
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    codec::{Encoder, Wire},
    key::{SealingKey, SealingSecret},
    size::SizeClass,
};

type Kem = X25519HkdfSha256;

const SUITE_1: u8 = 1;
const ENC: usize = 32;
const TAG: usize = 16;
const LENGTH: usize = 4;
const HEAD: usize = 1 + ENC;

/// The most bytes of content in the short form.
pub const SHORT_MAX: usize = 512;
/// What the short form adds to its content, in bytes.
pub const SHORT_OVERHEAD: usize = HEAD + TAG;

const DOMAIN: &str = "lapwing/v1/seal";
const DOMAIN_SHORT: &str = "lapwing/v1/seal-short";

crate::wire_code! {
    /// What an envelope is for: one sealed for another purpose does not open.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Purpose {
        /// A user's request, to the region's providers.
        1 => Request,
        /// A provider's offer, to a user.
        2 => Offer,
        /// A user's booking, to a provider.
        3 => Booking,
        /// A provider's confirmation, to a user.
        4 => Confirmation,
        /// A provider's application, to a mediator.
        5 => Application,
        /// A mediator's approval, to a provider: also the region keys it brings.
        6 => Approval,
        /// A nonce that only a region's certified providers can read.
        7 => Challenge,
        /// A later message in a channel.
        8 => Message,
        /// A key backup.
        9 => Vault,
        /// A user's report, to a mediator.
        10 => Report,
    }
}

/// Why something was not sealed or not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The content does not fit.
    #[error("content longer than {max} bytes")]
    TooLong {
        /// The most content that fits, in bytes.
        max: usize,
    },
    /// HPKE refused the recipient's key.
    #[error("the recipient's key was refused")]
    Recipient,
    /// An envelope of none of the sizes there are.
    #[error("no envelope has this size")]
    Size,
    /// A suite that this version does not know.
    #[error("unknown suite {0}")]
    Suite(u8),
    /// Not sealed to this key for this purpose, binding, key version and associated data; or
    /// altered.
    #[error("does not open")]
    Open,
    /// Sealed by someone who did not pad as the format says.
    #[error("bad padding")]
    Padding,
}

/// How many bytes of content an envelope of this size carries.
#[must_use]
pub const fn capacity(size: SizeClass) -> usize {
    size.bytes() - HEAD - TAG - LENGTH
}

/// The smallest size whose envelope carries `len` bytes of content, if one does.
#[must_use]
pub fn size_for(len: usize) -> Option<SizeClass> {
    SizeClass::ALL.iter().copied().find(|c| len <= capacity(*c))
}

fn info(domain: &str, purpose: Purpose, binding: &[u8; 32], key_version: u32) -> Vec<u8> {
    let mut out = Encoder::new();
    out.array(4);
    out.text(domain);
    purpose.encode(&mut out);
    out.bytes(binding);
    out.uint(u64::from(key_version));
    out.into_vec()
}

fn raw_seal<R: CryptoRng + ?Sized>(
    to: &SealingKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    mut rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    let to = <Kem as hpke::Kem>::PublicKey::from_bytes(to.as_bytes())
        .map_err(|_| SealError::Recipient)?;
    let (enc, mut context) = setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &to,
        info,
        &mut rng,
    )
    .map_err(|_| SealError::Recipient)?;
    let ciphertext = context
        .seal(plaintext, aad)
        .map_err(|_| SealError::Recipient)?;
    let mut out = Vec::with_capacity(HEAD + ciphertext.len());
    out.push(SUITE_1);
    out.extend_from_slice(&enc.to_bytes());
    out.extend_from_slice(&ciphertext);
    Ok(out)
}

fn raw_open(
    secret: &SealingSecret,
    info: &[u8],
    aad: &[u8],
    envelope: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (suite, rest) = envelope.split_first().ok_or(SealError::Size)?;
    if *suite != SUITE_1 {
        return Err(SealError::Suite(*suite));
    }
    let (enc, ciphertext) = rest.split_at_checked(ENC).ok_or(SealError::Size)?;
    let secret = <Kem as hpke::Kem>::PrivateKey::from_bytes(secret.to_secret_bytes().as_slice())
        .map_err(|_| SealError::Open)?;
    let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(enc).map_err(|_| SealError::Open)?;
    let mut context =
        setup_receiver::<ChaCha20Poly1305, HkdfSha256, Kem>(&OpModeR::Base, &secret, &enc, info)
            .map_err(|_| SealError::Open)?;
    context
        .open(ciphertext, aad)
        .map(Zeroizing::new)
        .map_err(|_| SealError::Open)
}

/// Seals `plaintext` into an envelope of exactly the size asked for.
///
/// `binding` is the id of the region, or of what else the key belongs to; `key_version` the version
/// of the region key, 0 where there is none. Both, `purpose` and `aad` must be the same to open it.
///
/// # Errors
/// [`SealError::TooLong`] above [`capacity`], [`SealError::Recipient`].
#[expect(
    clippy::too_many_arguments,
    reason = "each is bound into the envelope, none has a default"
)]
pub fn seal<R: CryptoRng + ?Sized>(
    to: &SealingKey,
    purpose: Purpose,
    binding: &[u8; 32],
    key_version: u32,
    aad: &[u8],
    plaintext: &[u8],
    size: SizeClass,
    rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    let max = capacity(size);
    let too_long = SealError::TooLong { max };
    if plaintext.len() > max {
        return Err(too_long);
    }
    let length = u32::try_from(plaintext.len()).map_err(|_| too_long)?;
    let mut padded = Zeroizing::new(Vec::with_capacity(LENGTH + max));
    padded.extend_from_slice(&length.to_be_bytes());
    padded.extend_from_slice(plaintext);
    padded.resize(LENGTH + max, 0);
    raw_seal(
        to,
        &info(DOMAIN, purpose, binding, key_version),
        aad,
        &padded,
        rng,
    )
}

/// Opens an envelope.
///
/// # Errors
/// [`SealError::Size`], [`SealError::Suite`], [`SealError::Open`], [`SealError::Padding`].
pub fn open(
    secret: &SealingSecret,
    purpose: Purpose,
    binding: &[u8; 32],
    key_version: u32,
    aad: &[u8],
    envelope: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    SizeClass::exact(envelope.len()).ok_or(SealError::Size)?;
    let info = info(DOMAIN, purpose, binding, key_version);
    let mut padded = raw_open(secret, &info, aad, envelope)?;
    let length = content_length(&padded)?;
    // In place: no second copy of the content is left to wipe.
    padded.drain(..LENGTH);
    padded.truncate(length);
    Ok(padded)
}

fn content_length(padded: &[u8]) -> Result<usize, SealError> {
    let (length, rest) = padded
        .split_first_chunk::<LENGTH>()
        .ok_or(SealError::Padding)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SealError::Padding)?;
    let padding = rest.get(length..).ok_or(SealError::Padding)?;
    if padding.iter().any(|b| *b != 0) {
        return Err(SealError::Padding);
    }
    Ok(length)
}

/// Seals at most [`SHORT_MAX`] bytes without padding.
///
/// # Errors
/// [`SealError::TooLong`], [`SealError::Recipient`].
pub fn short_seal<R: CryptoRng + ?Sized>(
    to: &SealingKey,
    purpose: Purpose,
    binding: &[u8; 32],
    key_version: u32,
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    if plaintext.len() > SHORT_MAX {
        return Err(SealError::TooLong { max: SHORT_MAX });
    }
    raw_seal(
        to,
        &info(DOMAIN_SHORT, purpose, binding, key_version),
        aad,
        plaintext,
        rng,
    )
}

/// Opens what [`short_seal`] sealed.
///
/// # Errors
/// [`SealError::Size`], [`SealError::Suite`], [`SealError::Open`].
pub fn short_open(
    secret: &SealingSecret,
    purpose: Purpose,
    binding: &[u8; 32],
    key_version: u32,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    if sealed.len() < SHORT_OVERHEAD || sealed.len() > SHORT_OVERHEAD + SHORT_MAX {
        return Err(SealError::Size);
    }
    let info = info(DOMAIN_SHORT, purpose, binding, key_version);
    raw_open(secret, &info, aad, sealed)
}

#[cfg(test)]
mod tests;
