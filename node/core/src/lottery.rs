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
