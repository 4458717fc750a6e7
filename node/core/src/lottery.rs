//! The lottery of one epoch: the secret from which this node draws priorities, and the tokens it
//! issues. What a token costs and when an epoch ends is decided elsewhere. See `docs/spec/tokens.md`.
//!
//! ```text
//! row = CBOR [1, epoch, next serial, box]
//! box = secretbox of the 32-byte secret, context "lapwing/v1/lottery-secret/<epoch>"
//! ```

use std::fmt;

use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::codec::{DecodeError, from_bytes, to_bytes};
use lapwing_protocol::cose::sign;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::key::SigningKey;
use lapwing_protocol::secretbox::{self, BoxError};
use lapwing_protocol::token::{PriorityToken, TokenOrder, draw};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// The version of the row at rest.
const VERSION: u64 = 1;
/// Most bytes of a locked secret.
const MAX_BOX: usize = 32 + secretbox::OVERHEAD;
/// Most bytes of a row.
const MAX_ROW: usize = MAX_BOX + 32;

/// Why a lottery cannot be opened, restored or continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LotteryError {
    /// The row is not the encoding of one.
    #[error("the row of a lottery epoch: {0}")]
    Row(#[from] DecodeError),
    /// The row was written by a later version.
    #[error("the row of a lottery epoch has the unknown version {0}")]
    Version(u64),
    /// The secret does not unlock: another key, or altered.
    #[error("the secret of a lottery epoch: {0}")]
    Secret(#[from] BoxError),
    /// What unlocked is no secret of 32 bytes.
    #[error("the secret of a lottery epoch has another length than 32 bytes")]
    Length,
    /// The epoch has no serial left.
    #[error("the lottery epoch has no serial left")]
    Exhausted,
}

/// One epoch's lottery.
pub struct Lottery {
    epoch: u32,
    secret: Zeroizing<[u8; 32]>,
    next_serial: u64,
    /// The secret as it is kept: locked once, so that a new row for a new serial needs no key.
    locked: Bytes<MAX_BOX>,
}

impl fmt::Debug for Lottery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lottery({}, redacted)", self.epoch)
    }
}

fn context(epoch: u32) -> String {
    format!("lapwing/v1/lottery-secret/{epoch}")
}

impl Lottery {
    /// Opens the lottery of an epoch with a fresh secret, which `key` locks at rest.
    ///
    /// Write [`Lottery::row`] to disk before the first token leaves the node.
    ///
    /// # Errors
    /// [`LotteryError::Secret`], which does not happen for a secret of this length.
    pub fn open<R: CryptoRng + ?Sized>(
        epoch: u32,
        key: &[u8; 32],
        rng: &mut R,
    ) -> Result<Self, LotteryError> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let locked = secretbox::lock(key, &context(epoch), secret.as_slice(), rng)?;
        let locked = Bytes::try_from(locked).map_err(DecodeError::from)?;
        Ok(Self {
            epoch,
            secret,
            next_serial: 0,
            locked,
        })
    }

    /// Restores a lottery from [`Lottery::row`].
    ///
    /// # Errors
    /// [`LotteryError`], but not [`LotteryError::Exhausted`].
    pub fn from_row(row: &[u8], key: &[u8; 32]) -> Result<Self, LotteryError> {
        let (version, epoch, next_serial, locked) =
            from_bytes::<(u64, u32, u64, Bytes<MAX_BOX>)>(row, MAX_ROW)?;
        if version != VERSION {
            return Err(LotteryError::Version(version));
        }
        let opened = secretbox::unlock(key, &context(epoch), &locked)?;
        let mut secret = Zeroizing::new([0; 32]);
        if opened.len() != secret.len() {
            return Err(LotteryError::Length);
        }
        secret.copy_from_slice(&opened);
        Ok(Self {
            epoch,
            secret,
            next_serial,
            locked,
        })
    }

    /// The row as it is kept; changes with every token issued.
    #[must_use]
    pub fn row(&self) -> Vec<u8> {
        to_bytes(&(VERSION, self.epoch, self.next_serial, self.locked.clone()))
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The serial that the next token gets: how many were issued.
    #[must_use]
    pub fn next_serial(&self) -> u64 {
        self.next_serial
    }

    /// Issues the next token: draws P and signs. The work over H was checked by the caller, and the
    /// new [`Lottery::row`] is on disk before the token leaves the node, so that no serial is given
    /// out twice.
    ///
    /// # Errors
    /// [`LotteryError::Exhausted`].
    pub fn issue(
        &mut self,
        order: &TokenOrder,
        issuer: NodeId,
        key: &SigningKey,
    ) -> Result<Vec<u8>, LotteryError> {
        let next = self
            .next_serial
            .checked_add(1)
            .ok_or(LotteryError::Exhausted)?;
        let token = PriorityToken {
            issuer,
            epoch: self.epoch,
            serial: self.next_serial,
            hash: order.hash,
            priority: draw(&self.secret, &order.hash, order.proof),
            key: order.key,
        };
        self.next_serial = next;
        Ok(sign(&token, key))
    }
}

#[cfg(test)]
mod tests {
    use lapwing_protocol::cose::parse;
    use lapwing_protocol::id::TokenHash;
    use lapwing_protocol::key::VerifyingKey;
    use proptest::prelude::*;
    use rand_core::{TryCryptoRng, TryRng};

    use super::*;

    /// Counts up: distinct, and the same in every run.
    struct Counting(u8);

    impl TryRng for Counting {
        type Error = std::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            rand_core::utils::next_word_via_fill(self)
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            rand_core::utils::next_word_via_fill(self)
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            for byte in out {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
            Ok(())
        }
    }

    impl TryCryptoRng for Counting {}

    const KEY: [u8; 32] = [7; 32];

    fn lottery(epoch: u32) -> Lottery {
        Lottery::open(epoch, &KEY, &mut Counting(0)).expect("opens")
    }

    fn signing() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }

    fn issuer() -> NodeId {
        NodeId::from_bytes([9; 32])
    }

    fn order(hash: u8, proof: u64) -> TokenOrder {
        TokenOrder {
            hash: TokenHash::from_bytes([hash; 32]),
            proof,
            key: holder(),
        }
    }

    fn holder() -> VerifyingKey {
        SigningKey::from_seed(&[2; 32]).verifying_key()
    }

    fn issue(lottery: &mut Lottery, order: &TokenOrder) -> PriorityToken {
        let bytes = lottery.issue(order, issuer(), &signing()).expect("issues");
        let token = parse::<PriorityToken>(&bytes).expect("one encoding");
        let token = token.verify(&signing().verifying_key());
        token.expect("the node's signature").into_value()
    }

    #[test]
    fn a_token_says_what_was_ordered_and_drawn() {
        let mut lottery = lottery(20_000);
        for serial in 0..3 {
            let token = issue(&mut lottery, &order(3, serial));
            assert_eq!(
                (token.issuer, token.epoch, token.serial),
                (issuer(), 20_000, serial)
            );
            assert_eq!(
                (token.hash, token.key),
                (TokenHash::from_bytes([3; 32]), holder())
            );
            assert_eq!(token.priority, draw(&lottery.secret, &token.hash, serial));
        }
        assert_eq!(lottery.next_serial(), 3);
    }

    #[test]
    fn epochs_have_secrets_of_their_own() {
        let mut rng = Counting(0);
        let mut next = |epoch| Lottery::open(epoch, &KEY, &mut rng).expect("opens");
        let (mut a, mut b) = (next(1), next(2));
        assert_ne!(a.secret, b.secret);
        let order = order(3, 0);
        assert_ne!(
            issue(&mut a, &order).priority,
            issue(&mut b, &order).priority
        );
    }

    proptest! {
        #[test]
        fn a_restored_lottery_goes_on(epoch in any::<u32>(), before in 0..5u64, proof in any::<u64>()) {
            let mut kept = lottery(epoch);
            for n in 0..before {
                issue(&mut kept, &order(1, n));
            }
            let mut restored = Lottery::from_row(&kept.row(), &KEY).expect("restores");
            prop_assert_eq!(restored.row(), kept.row());
            prop_assert_eq!(restored.epoch(), epoch);
            let order = order(4, proof);
            prop_assert_eq!(issue(&mut restored, &order), issue(&mut kept, &order));
        }

        #[test]
        fn altered_rows_are_refused(at in 0..90usize, flip in 1..=255u8) {
            let mut row = lottery(3).row();
            let at = at % row.len();
            row[at] ^= flip;
            // Serial alone stands outside the box: what guards the store guards it.
            if let Ok(other) = Lottery::from_row(&row, &KEY) {
                prop_assert_eq!(other.epoch(), 3);
                prop_assert_ne!(other.next_serial(), 0);
            }
        }
    }

    #[test]
    fn foreign_rows_are_refused() {
        let lottery = lottery(3);
        let row = lottery.row();
        let other_epoch = to_bytes(&(VERSION, 4u32, 0u64, lottery.locked.clone()));
        let other_version = to_bytes(&(2u64, 3u32, 0u64, lottery.locked.clone()));
        let short = secretbox::lock(&KEY, &context(3), &[0; 31], &mut Counting(0)).expect("locks");
        let short = Bytes::<MAX_BOX>::try_from(short).expect("fits");
        let short = to_bytes(&(VERSION, 3u32, 0u64, short));
        let trailing = [&row[..], &[0]].concat();
        let unlock = LotteryError::Secret(BoxError::Unlock);
        for (row, key, why) in [
            (&row, [8; 32], unlock),
            (&other_epoch, KEY, unlock),
            (&other_version, KEY, LotteryError::Version(2)),
            (&short, KEY, LotteryError::Length),
            (&trailing, KEY, LotteryError::Row(DecodeError::Trailing)),
            (&Vec::new(), KEY, LotteryError::Row(DecodeError::Truncated)),
        ] {
            assert_eq!(Lottery::from_row(row, &key).err(), Some(why));
        }
    }

    #[test]
    fn the_last_serial_is_not_given_twice() {
        let mut lottery = lottery(3);
        lottery.next_serial = u64::MAX;
        let refused = lottery.issue(&order(1, 0), issuer(), &signing());
        assert_eq!(refused, Err(LotteryError::Exhausted));
        assert!(
            Lottery::from_row(&lottery.row(), &KEY).is_ok(),
            "the longest row"
        );
    }

    #[test]
    fn debug_output_has_no_secret() {
        assert_eq!(format!("{:?}", lottery(3)), "Lottery(3, redacted)");
    }
}
