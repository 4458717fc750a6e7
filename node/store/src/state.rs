//! What the tree says of itself: how many commits made it, and a digest of what
//! they left in it.
//!
//! When sled recovers, it passes over messages in its log that fail their check,
//! and shows older pages in their place without a word. So each commit also
//! stores a digest of all that is then in the tree, and opening compares. It is
//! the sum, modulo 2^128, of a hash of each entry, so that a commit updates it
//! by what it changes. It finds accidents; it does not stop whoever can write
//! the files.

/// The number of the last commit and the digest of all entries after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    pub(crate) sequence: u64,
    pub(crate) digest: Digest,
}

impl State {
    pub(crate) fn encode(self) -> [u8; 24] {
        let mut out = [0; 24];
        out[..8].copy_from_slice(&self.sequence.to_be_bytes());
        out[8..].copy_from_slice(&self.digest.0.to_be_bytes());
        out
    }

    pub(crate) fn decode(stored: [u8; 24]) -> Self {
        let (mut sequence, mut digest) = ([0; 8], [0; 16]);
        sequence.copy_from_slice(&stored[..8]);
        digest.copy_from_slice(&stored[8..]);
        Self {
            sequence: u64::from_be_bytes(sequence),
            digest: Digest(u128::from_be_bytes(digest)),
        }
    }
}

/// A digest of a set of entries, in no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Digest(u128);

impl Digest {
    pub(crate) fn add(&mut self, key: &[u8], stored: &[u8]) {
        self.0 = self.0.wrapping_add(hash(key, stored));
    }

    pub(crate) fn remove(&mut self, key: &[u8], stored: &[u8]) {
        self.0 = self.0.wrapping_sub(hash(key, stored));
    }
}

fn hash(key: &[u8], stored: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    // The length keeps the key and what is stored under it apart.
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key).update(stored);
    let mut out = [0; 16];
    hasher.finalize_xof().fill(&mut out);
    u128::from_be_bytes(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_of_the_set() {
        let (mut a, mut b) = (Digest::default(), Digest::default());
        a.add(b"k", b"1");
        a.add(b"l", b"2");
        b.add(b"l", b"2");
        b.add(b"k", b"0");
        assert_ne!(a, b);
        b.remove(b"k", b"0");
        b.add(b"k", b"1");
        assert_eq!(a, b);
        let (mut c, mut d) = (Digest::default(), Digest::default());
        c.add(b"ab", b"c");
        d.add(b"a", b"bc");
        assert_ne!(c, d);
    }

    #[test]
    fn state_round_trips() {
        let mut digest = Digest::default();
        digest.add(b"k", b"v");
        let state = State {
            sequence: 7,
            digest,
        };
        assert_eq!(State::decode(state.encode()), state);
    }
}
