//! The envelope of a signed record: COSE_Sign1 to bytes and back, in its one encoding, and the
//! bytes that a signature covers. Nothing here is believed or checked against a key.

use super::{CoseError, OVERHEAD};
use crate::{
    codec::{DecodeError, Decoder, Encoder, Wire},
    key::{Signature, SigningKey},
};

const TAG_SIGN1: u64 = 18;
const HEADER_ALG: u64 = 1;
const HEADER_KID: u64 = 4;
const ALG_EDDSA: i64 = -8;
pub(super) const PROTECTED_LEN: usize = 38;

fn protected_header(kid: &[u8; 32]) -> Vec<u8> {
    let mut out = Encoder::with_capacity(PROTECTED_LEN);
    out.map(2);
    out.uint(HEADER_ALG);
    out.int(ALG_EDDSA);
    out.uint(HEADER_KID);
    out.bytes(kid);
    out.into_vec()
}

fn read_protected(bytes: &[u8]) -> Result<[u8; 32], CoseError> {
    let mut d = Decoder::new(bytes);
    d.map(2)?;
    expect_key(&mut d, HEADER_ALG)?;
    let alg = d.int()?;
    if alg != ALG_EDDSA {
        return Err(CoseError::Algorithm(alg));
    }
    expect_key(&mut d, HEADER_KID)?;
    let kid = d.byte_array()?;
    d.end()?;
    Ok(kid)
}

fn expect_key(d: &mut Decoder<'_>, key: u64) -> Result<(), DecodeError> {
    if d.uint()? == key {
        Ok(())
    } else {
        Err(DecodeError::Unexpected)
    }
}

/// RFC 9052 §4.4: what is really signed.
pub(super) fn sig_structure(kid: &[u8; 32], domain: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Encoder::with_capacity(payload.len() + domain.len() + OVERHEAD);
    out.array(4);
    out.text("Signature1");
    out.bytes(&protected_header(kid));
    out.bytes(domain.as_bytes());
    out.bytes(payload);
    out.into_vec()
}

pub(super) fn sign_payload(
    domain: &str,
    payload: &[u8],
    key: &SigningKey,
) -> ([u8; 32], Signature) {
    let kid = *key.verifying_key().as_bytes();
    (kid, key.sign(&sig_structure(&kid, domain, payload)))
}

/// The parts of one COSE_Sign1; no payload if it is detached.
pub(super) struct Sign1<'a> {
    pub(super) kid: [u8; 32],
    pub(super) payload: Option<&'a [u8]>,
    pub(super) signature: Signature,
}

impl<'a> Sign1<'a> {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.tag(TAG_SIGN1);
        out.array(4);
        out.bytes(&protected_header(&self.kid));
        out.map(0);
        match self.payload {
            Some(p) => out.bytes(p),
            None => out.null(),
        }
        self.signature.encode(out);
    }

    pub(super) fn decode(
        d: &mut Decoder<'a>,
        max: usize,
        detached: bool,
    ) -> Result<Self, CoseError> {
        d.tag(TAG_SIGN1)?;
        d.array(4)?;
        let kid = read_protected(d.bytes(PROTECTED_LEN)?)?;
        d.map(0)?;
        let payload = if detached {
            d.null()?;
            None
        } else {
            Some(d.bytes(max)?)
        };
        let signature = Signature::decode(d)?;
        Ok(Self {
            kid,
            payload,
            signature,
        })
    }

    /// The parts of `bytes`, which must be their one encoding.
    pub(super) fn strict(bytes: &'a [u8], max: usize) -> Result<(Self, &'a [u8]), CoseError> {
        if bytes.len() > max.saturating_add(OVERHEAD) {
            return Err(DecodeError::TooLong { max }.into());
        }
        let mut d = Decoder::new(bytes);
        let parts = Self::decode(&mut d, max, false)?;
        d.end()?;
        let mut again = Encoder::with_capacity(bytes.len());
        parts.encode(&mut again);
        if again.as_slice() != bytes {
            return Err(DecodeError::NotCanonical.into());
        }
        let payload = parts.payload.unwrap_or_default();
        Ok((parts, payload))
    }
}
