//! BLAKE3 over canonical CBOR, each use under a context of its own.
//!
//! Whatever is hashed over several fields is one value, hence one CBOR array: no two different
//! lists of fields ever run together into the same bytes.

use crate::{
    codec::{Encoder, Wire},
    id::RecordId,
};

/// BLAKE3 in key-derivation mode, under `context`, of the encoding of `v`.
///
/// `context` is a constant of the protocol, `"lapwing/v1/<name>"`: see the page of the value.
#[must_use]
pub fn hash<T: Wire>(context: &str, v: &T) -> [u8; 32] {
    hash_with(context, |out| v.encode(out))
}

/// As [`hash`], of whatever `write` encodes: for fields that are only borrowed. Write one item.
#[must_use]
pub fn hash_with(context: &str, write: impl FnOnce(&mut Encoder)) -> [u8; 32] {
    let mut out = Encoder::new();
    write(&mut out);
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(out.as_slice());
    hasher.finalize().into()
}

/// A record's id: plain BLAKE3 of its bytes as signed and sent.
#[must_use]
pub fn record_hash(bytes: &[u8]) -> RecordId {
    RecordId::from_bytes(blake3::hash(bytes).into())
}

/// How much work a hash shows: its leading zero bits, 0 to 256.
#[must_use]
pub fn work_bits(hash: &[u8; 32]) -> u32 {
    let mut bits = 0;
    for byte in hash {
        bits += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    bits
}
