//! Signed records: COSE_Sign1 (RFC 9052 §4.2) over deterministic CBOR (`docs/spec/records-envelope.md`).
//!
//! ```text
//! record    = 18([protected, {}, payload, signature])
//! protected = bstr .cbor {1: -8, 4: kid}         EdDSA; kid is the signer's public key, 32 bytes
//! payload   = bstr .cbor [type, fields]
//! ```
//!
//! The signature covers the bytes received, and the record type's domain as `external_aad`.
//! [`parse`] gives a [`Signed`], which shows its contents only under a name that says so; checking
//! the signature turns it into a [`Verified`], which nothing else can make.

mod envelope;
mod multi;

use std::{ops::Deref, sync::Arc};

use envelope::{Sign1, sig_structure, sign_payload};
pub use multi::{MAX_SIGNERS, MultiSigned, combine, parse_multi, record_type_multi, sign_multi};

use crate::{
    codec::{self, DecodeError, Decoder, Encoder, Wire},
    hash::record_hash,
    id::RecordId,
    key::{BadKey, BadSignature, Signature, SigningKey, VerifyingKey},
};

/// A statement that is signed.
pub trait Record: Wire {
    /// The number of the record type, first in the payload. One per type, never used again.
    const TYPE: u64;
    /// `"lapwing/v1/<name>"`: signed with the payload, so that no signature serves two purposes.
    const DOMAIN: &'static str;
    /// The most bytes its payload may take, [`MAX_PAYLOAD`] at most.
    const MAX: usize;
}

/// No payload of any record type is larger (1 MiB).
pub const MAX_PAYLOAD: usize = 1 << 20;

/// What a signature adds to a payload, at most, in bytes.
pub const OVERHEAD: usize = 128;

/// Why bytes are not a signed record that may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoseError {
    /// Not the one encoding of such a record.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A signature algorithm other than EdDSA.
    #[error("signature algorithm {0} is not accepted")]
    Algorithm(i64),
    /// A record of another type.
    #[error("record type {found} where {expected} is expected")]
    Type {
        /// The type asked for.
        expected: u64,
        /// The type in the payload.
        found: u64,
    },
    /// The signer named in the record is no good key.
    #[error("the signer: {0}")]
    Signer(BadKey),
    /// Signed by another key than the one it should be checked with, or by one not allowed.
    #[error("not signed by the key expected")]
    OtherSigner,
    /// A signature does not hold.
    #[error("bad signature")]
    Signature,
    /// The signatures are not in the order of their keys, or one key signed twice.
    #[error("signatures not in strict order of their keys")]
    Order,
    /// Fewer signatures than the threshold.
    #[error("{found} signatures where {needed} are needed")]
    Threshold {
        /// How many are needed.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// Signatures over different payloads cannot be combined.
    #[error("signatures over different payloads")]
    OtherPayload,
}

impl From<BadSignature> for CoseError {
    fn from(_: BadSignature) -> Self {
        Self::Signature
    }
}

/// The payload: `[TYPE, record]`.
fn payload_of<T: Record>(record: &T) -> Vec<u8> {
    let mut out = Encoder::new();
    out.array(2);
    out.uint(T::TYPE);
    record.encode(&mut out);
    out.into_vec()
}

/// Decodes a payload, accepting its one encoding alone.
fn read_payload<T: Record>(payload: &[u8]) -> Result<T, CoseError> {
    let max = T::MAX.min(MAX_PAYLOAD);
    if payload.len() > max {
        return Err(DecodeError::TooLong { max }.into());
    }
    let found = payload_type(payload)?;
    if found != T::TYPE {
        return Err(CoseError::Type {
            expected: T::TYPE,
            found,
        });
    }
    let (_, Body(record)) = codec::from_bytes::<(u64, Body<T>)>(payload, max)?;
    Ok(record)
}

struct Body<T>(T);

impl<T: Record> Wire for Body<T> {
    fn encode(&self, out: &mut Encoder) {
        self.0.encode(out);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        T::decode(d).map(Self)
    }
}

/// The record type that a payload begins with.
fn payload_type(payload: &[u8]) -> Result<u64, DecodeError> {
    let mut d = Decoder::new(payload);
    d.array(2)?;
    let found = d.uint()?;
    let mut head = Encoder::new();
    head.array(2);
    head.uint(found);
    if !payload.starts_with(head.as_slice()) {
        return Err(DecodeError::NotCanonical);
    }
    Ok(found)
}

/// Signs a record. The result is the record: these bytes are sent, stored and hashed.
#[must_use]
pub fn sign<T: Record>(record: &T, key: &SigningKey) -> Vec<u8> {
    let payload = payload_of(record);
    let (kid, signature) = sign_payload(T::DOMAIN, &payload, key);
    let mut out = Encoder::with_capacity(payload.len() + OVERHEAD);
    Sign1 {
        kid,
        payload: Some(&payload),
        signature,
    }
    .encode(&mut out);
    out.into_vec()
}

/// The type of a record, without believing any of it.
///
/// # Errors
/// [`CoseError::Decode`] or [`CoseError::Algorithm`] when the envelope is not the one encoding of a
/// COSE_Sign1 as above. What follows the type in the payload is not looked at.
pub fn record_type(bytes: &[u8]) -> Result<u64, CoseError> {
    let (_, payload) = Sign1::strict(bytes, MAX_PAYLOAD)?;
    Ok(payload_type(payload)?)
}

/// Reads a record without checking its signature.
///
/// # Errors
/// [`CoseError::Decode`], [`CoseError::Algorithm`], [`CoseError::Type`].
pub fn parse<T: Record>(bytes: &[u8]) -> Result<Signed<T>, CoseError> {
    let (parts, payload) = Sign1::strict(bytes, T::MAX.min(MAX_PAYLOAD))?;
    Ok(Signed {
        value: read_payload(payload)?,
        kid: parts.kid,
        message: sig_structure(&parts.kid, T::DOMAIN, payload),
        payload_hash: blake3::hash(payload).into(),
        signature: parts.signature,
        id: record_hash(bytes),
        bytes: bytes.into(),
    })
}

/// A record that was read, and is not yet verified.
#[derive(Clone, Debug)]
pub struct Signed<T> {
    value: T,
    bytes: Arc<[u8]>,
    id: RecordId,
    kid: [u8; 32],
    message: Vec<u8>,
    payload_hash: [u8; 32],
    signature: Signature,
}

impl<T: Record> Signed<T> {
    /// The bytes of the key that is said to have signed.
    #[must_use]
    pub fn signer(&self) -> &[u8; 32] {
        &self.kid
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The record's id.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// What the record says, if it is genuine: only good for finding the key to check it with.
    #[must_use]
    pub fn unverified(&self) -> &T {
        &self.value
    }

    /// Checks the signature by `by`.
    ///
    /// # Errors
    /// [`CoseError::OtherSigner`] when the record names another key, [`CoseError::Signature`].
    pub fn verify(self, by: &VerifyingKey) -> Result<Verified<T>, CoseError> {
        if self.kid != *by.as_bytes() {
            return Err(CoseError::OtherSigner);
        }
        by.verify(&self.message, &self.signature)?;
        Ok(Verified {
            value: self.value,
            bytes: self.bytes,
            id: self.id,
            payload_hash: self.payload_hash,
            signers: Signers {
                first: *by,
                others: Vec::new(),
            },
        })
    }

    /// Checks the signature by the key that the record names. Whether that key may say this is for
    /// the caller to decide.
    ///
    /// # Errors
    /// [`CoseError::Signer`], [`CoseError::Signature`].
    pub fn verify_self(self) -> Result<Verified<T>, CoseError> {
        let by = VerifyingKey::from_bytes(&self.kid).map_err(CoseError::Signer)?;
        self.verify(&by)
    }
}

/// Signs a record and keeps it as one whose signature holds.
#[must_use]
pub fn sign_verified<T: Record + Clone>(record: &T, key: &SigningKey) -> Verified<T> {
    let bytes = sign(record, key);
    let payload = payload_of(record);
    Verified {
        value: record.clone(),
        id: record_hash(&bytes),
        payload_hash: *blake3::hash(&payload).as_bytes(),
        bytes: Arc::from(bytes),
        signers: Signers {
            first: key.verifying_key(),
            others: Vec::new(),
        },
    }
}

/// A record whose signature was checked. Only this module makes one.
#[derive(Clone, Debug)]
pub struct Verified<T> {
    value: T,
    bytes: Arc<[u8]>,
    id: RecordId,
    payload_hash: [u8; 32],
    signers: Signers,
}

#[derive(Clone, Debug)]
struct Signers {
    first: VerifyingKey,
    others: Vec<VerifyingKey>,
}

impl<T> Verified<T> {
    /// The record's bytes, as signed: what is stored and sent on.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The record's id.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// BLAKE3 of the payload: equal where the same was said, whoever signed it and how often. Two
    /// records with one sequence number are equivocation only if this differs.
    #[must_use]
    pub fn payload_hash(&self) -> &[u8; 32] {
        &self.payload_hash
    }

    /// The signer; of several, the one whose key is smallest.
    #[must_use]
    pub fn signer(&self) -> &VerifyingKey {
        &self.signers.first
    }

    /// All signers, in the order of their keys.
    pub fn signers(&self) -> impl Iterator<Item = &VerifyingKey> {
        std::iter::once(&self.signers.first).chain(&self.signers.others)
    }

    /// What was said.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests;
