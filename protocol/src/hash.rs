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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_and_boundaries_separate() {
        let a = hash("lapwing/v1/a", &([1_u8; 2], [2_u8; 1]));
        assert_ne!(a, hash("lapwing/v1/b", &([1_u8; 2], [2_u8; 1])));
        let joined: [u8; 3] = [1, 1, 2];
        assert_ne!(a, hash("lapwing/v1/a", &joined));
        assert_eq!(
            a,
            blake3::derive_key("lapwing/v1/a", b"\x82\x42\x01\x01\x41\x02")
        );
    }

    #[test]
    fn a_record_is_hashed_plainly() {
        // The empty input of BLAKE3's own test vectors.
        assert_eq!(
            record_hash(b"").to_hex(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn work_is_leading_zero_bits() {
        let mut h = [0xff; 32];
        assert_eq!(work_bits(&h), 0);
        h[0] = 0;
        h[1] = 0x10;
        assert_eq!(work_bits(&h), 11);
        assert_eq!(work_bits(&[0; 32]), 256);
    }
}
