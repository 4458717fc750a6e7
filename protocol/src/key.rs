//! Keys: Ed25519 to sign (RFC 8032), X25519 to seal (RFC 7748).
//!
//! Public keys are canonical bytes of large order wherever they are parsed; those that the chain of
//! trust registers are also in the prime-order subgroup ([`VerifyingKey::check`]). Signatures are
//! checked strictly and in one way only, because verifiers that disagree can split a network. Secrets
//! are wiped on drop and print as redacted.

use std::fmt;

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
        VerifyingKey(self.0.verifying_key().to_bytes())
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

/// An Ed25519 public key.
///
/// Its bytes are what is compared, hashed and sent. Reading one from the wire costs nothing but a look
/// at the bytes (canonical, not of small order); that it is a point shows when it verifies. Keys that
/// the chain of trust registers go through [`VerifyingKey::check`] as well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyingKey([u8; 32]);

/// The y-coordinates of the eight points of small order; the sign bit is looked at apart.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [
        1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
];

impl VerifyingKey {
    /// Reads a key and checks all that can be checked of one.
    ///
    /// # Errors
    /// [`BadKey`]: no point or not its canonical encoding, small order, not torsion-free.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        let key = Self::from_wire(*bytes)?;
        key.check()?;
        Ok(key)
    }

    /// Reads a key by its bytes alone: canonical and not of small order.
    fn from_wire(bytes: [u8; 32]) -> Result<Self, BadKey> {
        let mut y = bytes;
        y[31] &= 0x7f;
        // RFC 8032 §5.1.3: y below 2^255 - 19.
        if y[31] == 0x7f && y[1..31].iter().all(|b| *b == 0xff) && y[0] >= 0xed {
            return Err(BadKey::NotAPoint);
        }
        if SMALL_ORDER.contains(&y) {
            // Where x is zero there is no other sign.
            let no_sign = y == SMALL_ORDER[1] || y == SMALL_ORDER[2];
            return Err(if no_sign && y != bytes {
                BadKey::NotAPoint
            } else {
                BadKey::SmallOrder
            });
        }
        Ok(Self(bytes))
    }

    /// Checks that this is a point without a part of small order, as keys that are registered must be.
    /// Costs a scalar multiplication.
    ///
    /// # Errors
    /// [`BadKey`]: no point, or not torsion-free.
    pub fn check(&self) -> Result<(), BadKey> {
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| BadKey::NotAPoint)?;
        if key.to_edwards().is_torsion_free() {
            Ok(())
        } else {
            Err(BadKey::Torsion)
        }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks a signature, strictly.
    ///
    /// # Errors
    /// [`BadSignature`] when it is not this key's over `message`, or not canonical, or the key is no
    /// point.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature)
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", crate::id::to_hex(self.as_bytes()))
    }
}

impl Wire for VerifyingKey {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(self.as_bytes());
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self::from_wire(d.byte_array()?)?)
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
