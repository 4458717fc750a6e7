//! Keys: Ed25519 to sign (RFC 8032), X25519 to seal (RFC 7748).
//!
//! Public keys are checked where they are parsed, so that a value of these types is a good key:
//! canonical bytes, of large order, in the prime-order subgroup. Signatures are checked strictly
//! and in one way only, because verifiers that disagree can split a network. Secrets are wiped on
//! drop and print as redacted.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::codec::{DecodeError, Decoder, Encoder, Wire};

/// Why bytes are not a public key that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKey {
    /// No point of the curve, or another encoding of one.
    #[error("not the encoding of a point")]
    NotAPoint,
    /// A point of small order: signatures by it would hold for many messages, secrets shared with
    /// it would be known to all.
    #[error("a point of small order")]
    SmallOrder,
    /// A point outside the prime-order subgroup, on which verifiers disagree.
    #[error("a point outside the prime-order subgroup")]
    Torsion,
}

/// The signature is not by this key over this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad signature")]
pub struct BadSignature;

/// An Ed25519 secret key.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// A fresh key.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(&seed)
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        // A key made from a seed is a multiple of the base point: none of the checks can fail.
        VerifyingKey(self.0.verifying_key())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        use ed25519_dalek::Signer;
        Signature(self.0.sign(message).to_bytes())
    }

    /// The seed, to be kept as a secret.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

impl ZeroizeOnDrop for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}

/// An Ed25519 public key that passed every check of [`VerifyingKey::from_bytes`].
#[derive(Clone, Copy)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`BadKey`]: no point or not its canonical encoding, small order, not torsion-free.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| BadKey::NotAPoint)?;
        let point = key.to_edwards();
        if point.compress().to_bytes() != *bytes {
            return Err(BadKey::NotAPoint);
        }
        if point.is_small_order() {
            return Err(BadKey::SmallOrder);
        }
        if !point.is_torsion_free() {
            return Err(BadKey::Torsion);
        }
        Ok(Self(key))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Checks a signature, strictly.
    ///
    /// # Errors
    /// [`BadSignature`] when it is not this key's over `message`, or not canonical.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0
            .verify_strict(message, &signature)
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", crate::id::to_hex(self.as_bytes()))
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for VerifyingKey {}

impl PartialOrd for VerifyingKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VerifyingKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for VerifyingKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Wire for VerifyingKey {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(self.as_bytes());
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self::from_bytes(&d.byte_array()?)?)
    }
}

/// An Ed25519 signature, not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The signature of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl Wire for Signature {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.byte_array().map(Self)
    }
}

/// An X25519 secret key.
#[derive(Clone)]
pub struct SealingSecret(StaticSecret);

impl SealingSecret {
    /// A fresh key.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *bytes);
        Self::from_bytes(&bytes)
    }

    /// The key of these 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(StaticSecret::from(*bytes))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> SealingKey {
        // A clamped multiple of the base point: canonical, and of large order.
        SealingKey(PublicKey::from(&self.0).to_bytes())
    }

    /// The shared secret with `their` key (RFC 7748 §6.1). Hash it before use.
    #[must_use]
    pub fn agree(&self, their: &SealingKey) -> Zeroizing<[u8; 32]> {
        let their = PublicKey::from(their.0);
        Zeroizing::new(self.0.diffie_hellman(&their).to_bytes())
    }

    /// The 32 bytes, to be kept as a secret.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

impl ZeroizeOnDrop for SealingSecret {}

impl fmt::Debug for SealingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingSecret(redacted)")
    }
}

/// An X25519 public key of large order, in its canonical encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealingKey([u8; 32]);

/// The canonical u-coordinates of small order on Curve25519 and its twist: 0, 1, −1 and the two of
/// order 8 (<https://cr.yp.to/ecdh.html#validate>).
const LOW_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
];

impl SealingKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`BadKey::NotAPoint`] for a number of 2^255 − 19 or more (X25519 would reduce it, and one
    /// key would have two names); [`BadKey::SmallOrder`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        // p is ed ff … ff 7f, little end first.
        let [lowest, middle @ .., highest] = bytes;
        let reduced = *highest < 0x7f
            || (*highest == 0x7f && (middle.iter().any(|b| *b != 0xff) || *lowest < 0xed));
        if !reduced {
            return Err(BadKey::NotAPoint);
        }
        if LOW_ORDER.contains(bytes) {
            return Err(BadKey::SmallOrder);
        }
        Ok(Self(*bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", crate::id::to_hex(&self.0))
    }
}

impl Wire for SealingKey {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self::from_bytes(&d.byte_array()?)?)
    }
}

#[cfg(test)]
mod tests;
