//! Records that t of n keys sign.
//!
//! ```text
//! multi = [payload, [+ 18([protected, {}, nil, signature])]]     detached (RFC 9052 §4.2)
//! ```
//!
//! Signatures stand in the strict order of their keys, 1 to 16 of them. Every one must hold and be
//! by an allowed key: else anyone could add a signature and give the same statement another id.

use std::sync::Arc;

use super::{
    CoseError, MAX_PAYLOAD, OVERHEAD, Record, Signers, Verified,
    envelope::{Sign1, sig_structure, sign_payload},
    payload_of, payload_type, read_payload,
};
use crate::{
    codec::{DecodeError, Decoder, Encoder},
    hash::record_hash,
    id::RecordId,
    key::{Signature, SigningKey, VerifyingKey},
};

/// The most signatures under one record.
pub const MAX_SIGNERS: usize = 16;

/// A record with several signatures that was read, and is not yet verified.
#[derive(Clone, Debug)]
pub struct MultiSigned<T> {
    value: T,
    bytes: Arc<[u8]>,
    payload: Vec<u8>,
    id: RecordId,
    signatures: Vec<([u8; 32], Signature)>,
}

fn encode(payload: &[u8], signatures: &[([u8; 32], Signature)]) -> Vec<u8> {
    let mut out = Encoder::with_capacity(payload.len() + OVERHEAD * (signatures.len() + 1));
    out.array(2);
    out.bytes(payload);
    out.array(signatures.len());
    for (kid, signature) in signatures {
        Sign1 {
            kid: *kid,
            payload: None,
            signature: *signature,
        }
        .encode(&mut out);
    }
    out.into_vec()
}

type Parts<'a> = (&'a [u8], Vec<([u8; 32], Signature)>);

fn strict(bytes: &[u8], max: usize) -> Result<Parts<'_>, CoseError> {
    if bytes.len() > max.saturating_add(OVERHEAD * (MAX_SIGNERS + 1)) {
        return Err(DecodeError::TooLong { max }.into());
    }
    let mut d = Decoder::new(bytes);
    d.array(2)?;
    let payload = d.bytes(max)?;
    let n = d.array_len(MAX_SIGNERS)?;
    let mut signatures: Vec<([u8; 32], Signature)> = Vec::new();
    for _ in 0..n {
        let one = Sign1::decode(&mut d, 0, true)?;
        if signatures.last().is_some_and(|(kid, _)| *kid >= one.kid) {
            return Err(CoseError::Order);
        }
        signatures.push((one.kid, one.signature));
    }
    d.end()?;
    if signatures.is_empty() {
        return Err(CoseError::Threshold {
            needed: 1,
            found: 0,
        });
    }
    if encode(payload, &signatures) != bytes {
        return Err(DecodeError::NotCanonical.into());
    }
    Ok((payload, signatures))
}

/// Signs a record with several keys; a key given twice signs once.
///
/// Give 1 to [`MAX_SIGNERS`] distinct keys: [`parse_multi`] refuses the result otherwise.
#[must_use]
pub fn sign_multi<T: Record>(record: &T, keys: &[&SigningKey]) -> Vec<u8> {
    let payload = payload_of(record);
    let mut signatures: Vec<_> = keys
        .iter()
        .map(|key| sign_payload(T::DOMAIN, &payload, key))
        .collect();
    signatures.sort();
    signatures.dedup_by_key(|(kid, _)| *kid);
    encode(&payload, &signatures)
}

/// The type of a record with several signatures, without believing any of it.
///
/// # Errors
/// [`CoseError`] when the envelope is not the one encoding of such a record.
pub fn record_type_multi(bytes: &[u8]) -> Result<u64, CoseError> {
    let (payload, _) = strict(bytes, MAX_PAYLOAD)?;
    Ok(payload_type(payload)?)
}

/// Reads a record with several signatures without checking them.
///
/// # Errors
/// [`CoseError::Decode`], [`CoseError::Algorithm`], [`CoseError::Type`], [`CoseError::Order`], and
/// [`CoseError::Threshold`] when there is no signature at all.
pub fn parse_multi<T: Record>(bytes: &[u8]) -> Result<MultiSigned<T>, CoseError> {
    let (payload, signatures) = strict(bytes, T::MAX.min(MAX_PAYLOAD))?;
    Ok(MultiSigned {
        value: read_payload(payload)?,
        payload: payload.to_vec(),
        id: record_hash(bytes),
        bytes: bytes.into(),
        signatures,
    })
}

/// One record from two over the same payload, with the signatures of both. Every signature is
/// checked by its own key, so that a bad one cannot take the place of a good one.
///
/// # Errors
/// [`CoseError::OtherPayload`], [`CoseError::Signer`], [`CoseError::Signature`],
/// [`CoseError::Decode`] with [`DecodeError::TooLong`] beyond [`MAX_SIGNERS`], and what
/// [`parse_multi`] refuses in either.
pub fn combine<T: Record>(a: &[u8], b: &[u8]) -> Result<Vec<u8>, CoseError> {
    let a = parse_multi::<T>(a)?;
    let b = parse_multi::<T>(b)?;
    if a.payload != b.payload {
        return Err(CoseError::OtherPayload);
    }
    let mut signatures = a.signatures;
    signatures.extend(b.signatures);
    for (kid, signature) in &signatures {
        let key = VerifyingKey::from_bytes(kid).map_err(CoseError::Signer)?;
        key.verify(&sig_structure(kid, T::DOMAIN, &a.payload), signature)?;
    }
    signatures.sort();
    signatures.dedup_by_key(|(kid, _)| *kid);
    if signatures.len() > MAX_SIGNERS {
        return Err(DecodeError::TooLong { max: MAX_SIGNERS }.into());
    }
    Ok(encode(&a.payload, &signatures))
}

impl<T: Record> MultiSigned<T> {
    /// The bytes of the keys that are said to have signed, in order.
    pub fn signers(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.signatures.iter().map(|(kid, _)| kid)
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

    /// What the record says, if it is genuine: only good for finding the keys to check it with.
    #[must_use]
    pub fn unverified(&self) -> &T {
        &self.value
    }

    /// Checks that `threshold` (at least one) of the `allowed` keys signed, and nobody else did.
    ///
    /// # Errors
    /// [`CoseError::Threshold`], [`CoseError::OtherSigner`], [`CoseError::Signature`].
    pub fn verify(
        self,
        allowed: &[VerifyingKey],
        threshold: usize,
    ) -> Result<Verified<T>, CoseError> {
        let needed = threshold.max(1);
        let found = self.signatures.len();
        let mut keys = Vec::with_capacity(found);
        // Cheap refusals first: signatures cost far more than comparing keys.
        for (kid, _) in &self.signatures {
            let key = allowed.iter().find(|k| k.as_bytes() == kid);
            keys.push(*key.ok_or(CoseError::OtherSigner)?);
        }
        if found < needed {
            return Err(CoseError::Threshold { needed, found });
        }
        for (key, (kid, signature)) in keys.iter().zip(&self.signatures) {
            key.verify(&sig_structure(kid, T::DOMAIN, &self.payload), signature)?;
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(CoseError::Threshold { needed, found })?;
        Ok(Verified {
            value: self.value,
            bytes: self.bytes,
            id: self.id,
            payload_hash: blake3::hash(&self.payload).into(),
            signers: Signers {
                first,
                others: keys.collect(),
            },
        })
    }
}
