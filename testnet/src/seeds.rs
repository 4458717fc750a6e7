//! One seed for a whole run: every part draws from a stream of its own, so that what one part draws
//! does not depend on when another did.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use lapwing_protocol::hash::{hash, record_hash};

/// Where all randomness of a run comes from (that of the nodes' processes excepted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds(u64);

impl Seeds {
    /// Those of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Seeds(seed)
    }

    /// A new seed, from the operating system.
    ///
    /// # Errors
    /// When that has no randomness.
    pub fn fresh() -> Result<Self, getrandom::Error> {
        // Short enough to be typed again.
        Ok(Seeds(getrandom::u64()? >> 32))
    }

    /// The seed.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The stream of a part, by what it is and its number.
    #[must_use]
    pub fn stream(self, part: &str, number: u64) -> ChaCha20Rng {
        let part = *record_hash(part.as_bytes()).as_bytes();
        ChaCha20Rng::from_seed(hash("lapwing/testnet/seed", &(self.0, part, number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng;

    #[test]
    fn streams_repeat_and_differ() {
        let draw =
            |seed: u64, part: &str, number: u64| Seeds::new(seed).stream(part, number).next_u64();
        assert_eq!(draw(1, "user", 2), draw(1, "user", 2));
        let all = [
            draw(1, "user", 2),
            draw(2, "user", 2),
            draw(1, "node", 2),
            draw(1, "user", 3),
        ];
        assert!(
            all.iter()
                .enumerate()
                .all(|(i, a)| all.iter().skip(i + 1).all(|b| a != b))
        );
    }
}
