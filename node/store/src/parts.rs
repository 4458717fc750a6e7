//! How keys and values lie in the one sled tree.
//!
//! ```text
//! 0x00 ‖ name                                       the store's own: format, state
//! 0x01 ‖ key                      -> 0x00 ‖ value   a short value
//!                                 -> 0x01 ‖ commit (8) ‖ ordinal (4) ‖ length (4) ‖ check (16)
//! 0x02 ‖ commit ‖ ordinal ‖ n (4) -> part n of a long value
//! ```
//!
//! Long values are cut because of what sled does with large pages. A leaf has up
//! to 16 entries, a few more in passing; one of more than a quarter of a segment
//! (128 KiB) goes to a file of its own, which sled never syncs, and removes
//! before the page that replaces it is certain to survive. With entries this
//! short a leaf never grows so large, and no such file is ever made.
//!
//! Parts are named after the commit that wrote them and never change, so a reader
//! cannot mix the parts of two values.

use lapwing_core::store::MAX_KEY_BYTES;

use crate::WriteError;
use crate::error::Engine;

/// The longest value that lies in one entry, and the length of a part, in bytes.
/// The smallest blob, 4 KiB, fits with what is kept about it.
pub(crate) const PART_BYTES: usize = 5 * 1024;

/// The longest value, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = 16 << 20;

/// The key of the format version: four bytes, big endian.
pub(crate) const FORMAT_KEY: &[u8] = b"\x00format";
/// The key of the [`crate::state::State`].
pub(crate) const STATE_KEY: &[u8] = b"\x00state";

const HEAD: u8 = 1;
const PART: u8 = 2;
const SHORT: u8 = 0;
const LONG: u8 = 1;

/// What an entry of the tree is.
pub(crate) enum Kind {
    Own,
    Head,
    Part,
}

pub(crate) fn kind(tree_key: &[u8]) -> Result<Kind, Engine> {
    match tree_key.first() {
        Some(0) => Ok(Kind::Own),
        Some(&HEAD) => Ok(Kind::Head),
        Some(&PART) => Ok(Kind::Part),
        _ => Err(Engine::Corrupt),
    }
}

/// Where the value of `key` lies, or the place that tells of its parts.
pub(crate) fn head_key(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + key.len());
    out.push(HEAD);
    out.extend_from_slice(key);
    out
}

/// The key that `head_key` was made from.
pub(crate) fn key_of(head_key: &[u8]) -> &[u8] {
    head_key.get(1..).unwrap_or_default()
}

/// A value as its head tells of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head<'a> {
    Short(&'a [u8]),
    Long(Long),
}

/// A value that lies in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Long {
    commit: u64,
    ordinal: u32,
    len: u32,
    check: [u8; 16],
}

impl Long {
    /// `value`, of at most [`MAX_VALUE_BYTES`], as the `ordinal`th long one of its
    /// commit.
    pub(crate) fn new(commit: u64, ordinal: u32, value: &[u8]) -> Self {
        Self {
            commit,
            ordinal,
            len: u32::try_from(value.len()).unwrap_or(u32::MAX),
            check: check_of(value),
        }
    }

    /// Whether the parts, put together, are the value that was written.
    pub(crate) fn is_whole(self, value: &[u8]) -> bool {
        value.len() == self.bytes() && check_of(value) == self.check
    }

    pub(crate) fn bytes(self) -> usize {
        self.len as usize
    }

    pub(crate) fn parts(self) -> usize {
        self.bytes().div_ceil(PART_BYTES)
    }

    /// The keys of the parts, in order.
    pub(crate) fn keys(self) -> impl Iterator<Item = [u8; 17]> {
        (0u32..).take(self.parts()).map(move |n| {
            let mut key = [PART; 17];
            key[1..9].copy_from_slice(&self.commit.to_be_bytes());
            key[9..13].copy_from_slice(&self.ordinal.to_be_bytes());
            key[13..].copy_from_slice(&n.to_be_bytes());
            key
        })
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = vec![LONG];
        out.extend_from_slice(&self.commit.to_be_bytes());
        out.extend_from_slice(&self.ordinal.to_be_bytes());
        out.extend_from_slice(&self.len.to_be_bytes());
        out.extend_from_slice(&self.check);
        out
    }
}

pub(crate) fn encode_short(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + value.len());
    out.push(SHORT);
    out.extend_from_slice(value);
    out
}

pub(crate) fn decode_head(stored: &[u8]) -> Result<Head<'_>, Engine> {
    match stored.split_first() {
        Some((&SHORT, value)) if value.len() <= PART_BYTES => Ok(Head::Short(value)),
        Some((&LONG, rest)) => decode_long(rest).map(Head::Long).ok_or(Engine::Corrupt),
        _ => Err(Engine::Corrupt),
    }
}

fn decode_long(rest: &[u8]) -> Option<Long> {
    let (commit, rest) = rest.split_at_checked(8)?;
    let (ordinal, rest) = rest.split_at_checked(4)?;
    let (len, check) = rest.split_at_checked(4)?;
    let long = Long {
        commit: u64::from_be_bytes(commit.try_into().ok()?),
        ordinal: u32::from_be_bytes(ordinal.try_into().ok()?),
        len: u32::from_be_bytes(len.try_into().ok()?),
        check: check.try_into().ok()?,
    };
    let sound = long.bytes() > PART_BYTES && long.bytes() <= MAX_VALUE_BYTES;
    sound.then_some(long)
}

fn check_of(value: &[u8]) -> [u8; 16] {
    let mut check = [0; 16];
    blake3::Hasher::new()
        .update(value)
        .finalize_xof()
        .fill(&mut check);
    check
}

/// Checks a write against the greatest lengths.
pub(crate) fn check(key: &[u8], value: Option<&[u8]>) -> Result<(), WriteError> {
    let too_long = |what, bytes, max| Err(WriteError::TooLong { what, bytes, max });
    if key.len() > MAX_KEY_BYTES {
        return too_long("key", key.len(), MAX_KEY_BYTES);
    }
    match value {
        Some(value) if value.len() > MAX_VALUE_BYTES => {
            too_long("value", value.len(), MAX_VALUE_BYTES)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_round_trip() {
        for len in [0, 1, PART_BYTES] {
            let value = vec![7; len];
            let stored = encode_short(&value);
            assert!(matches!(decode_head(&stored), Ok(Head::Short(v)) if v == value));
        }
        for (len, parts) in [(PART_BYTES + 1, 2), (65536, 13), (MAX_VALUE_BYTES, 3277)] {
            let long = Long::new(3, 2, &vec![1; len]);
            let stored = long.encode();
            assert!(matches!(decode_head(&stored), Ok(Head::Long(l)) if l == long));
            assert_eq!(long.parts(), parts);
            assert_eq!(long.keys().count(), parts);
            assert!(long.keys().is_sorted());
        }
    }

    #[test]
    fn unsound_heads_are_refused() {
        let short = Long::new(1, 1, &[1; PART_BYTES]).encode();
        let huge = Long::new(1, 1, &vec![1; MAX_VALUE_BYTES + 1]).encode();
        let cut = Long::new(1, 1, &[1; 65536]).encode()[..32].to_vec();
        let fat = vec![SHORT; PART_BYTES + 2];
        for stored in [vec![], vec![2, 0], short, huge, cut, fat] {
            assert!(decode_head(&stored).is_err());
        }
    }
}
