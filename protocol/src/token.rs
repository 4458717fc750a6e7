//! Priority tokens: a lottery that can be checked. See `docs/spec/tokens.md`.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::bounded::Text;
use crate::cose::Record;
use crate::hash::{hash, work_bits};
use crate::id::{FederationId, NodeId, Priority, TokenHash, TokenId};
use crate::key::{SealingKey, VerifyingKey};
use crate::time::{Seconds, Time};
use crate::wire_struct;

wire_struct! {
    /// The data by which a user is known to the provider that is booked, and to nobody else.
    #[derive(Clone, PartialEq, Eq)]
    pub struct UserData {
        /// Full name.
        pub name: Text<120>,
        /// Postal address.
        pub address: Text<240>,
        /// How to reach the user, if given: e-mail.
        pub email: Text<120>,
        /// How to reach the user, if given: telephone.
        pub telephone: Text<40>,
    }
}

impl core::fmt::Debug for UserData {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("UserData(redacted)")
    }
}

/// H: binds a token to the user's data and key without showing them.
pub fn token_hash(data: &UserData, nonce: &[u8; 32], user: &SealingKey) -> TokenHash {
    TokenHash::from_bytes(hash("lapwing/v1/user-hash", &(data.clone(), *nonce, *user)))
}

wire_struct! {
    /// Asks a node for a token.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TokenOrder {
        /// H.
        pub hash: TokenHash,
        /// The proof: [`TokenWork::hash`] of it has enough leading zero bits.
        pub proof: u64,
        /// The fresh key that will sign the request.
        pub key: VerifyingKey,
    }
}

/// Longest encoding of a [`TokenOrder`].
pub const MAX_TOKEN_ORDER: usize = 128;

/// What the work over H is done for. It names federation, issuer and lottery epoch, so that one proof
/// draws once, at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenWork {
    /// The federation.
    pub federation: FederationId,
    /// The node that is asked for the token.
    pub issuer: NodeId,
    /// The lottery epoch at that node's clock.
    pub epoch: u32,
}

impl TokenWork {
    /// The hash on which the work is done.
    pub fn hash(&self, h: &TokenHash, proof: u64) -> [u8; 32] {
        let parts = (self.federation, self.issuer, self.epoch, *h, proof);
        hash("lapwing/v1/token-work", &parts)
    }

    /// Whether a proof over H has at least `bits` leading zero bits.
    pub fn holds(&self, h: &TokenHash, proof: u64, bits: u8) -> bool {
        work_bits(&self.hash(h, proof)) >= u32::from(bits)
    }

    /// Tries proofs from `from` on, at most `tries` of them; a caller that shows progress calls it in
    /// pieces.
    pub fn search(&self, h: &TokenHash, bits: u8, from: u64, tries: u64) -> Option<u64> {
        (from..from.saturating_add(tries)).find(|proof| self.holds(h, *proof, bits))
    }
}

wire_struct! {
    /// A priority token, signed by the node that issued it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PriorityToken {
        /// The node that issued it, and alone may admit it.
        pub issuer: NodeId,
        /// The lottery epoch.
        pub epoch: u32,
        /// Counts the issuer's tokens of the epoch from zero.
        pub serial: u64,
        /// H.
        pub hash: TokenHash,
        /// P: smaller is earlier within the epoch.
        pub priority: Priority,
        /// The key that signs the request.
        pub key: VerifyingKey,
    }
}

impl Record for PriorityToken {
    const TYPE: u64 = 16;
    const DOMAIN: &'static str = "lapwing/v1/priority-token";
    const MAX: usize = 384;
}

impl PriorityToken {
    /// The token's id: a hash of issuer, epoch and serial.
    pub fn token_id(&self) -> TokenId {
        token_id(&self.issuer, self.epoch, self.serial)
    }

    /// When it can no longer be admitted and its request expires: the end of its epoch plus `life`,
    /// rounded up to a full day.
    pub fn expires(&self, epoch: Seconds, life: Seconds) -> Time {
        token_expires(self.epoch, epoch, life)
    }
}

/// When a token of an epoch can no longer be admitted, and its request expires: see
/// [`PriorityToken::expires`].
pub fn token_expires(of: u32, epoch: Seconds, life: Seconds) -> Time {
    epoch_start(of.saturating_add(1), epoch)
        .plus(life)
        .day()
        .plus(1)
        .start()
}

/// The id of a token: a hash of issuer, epoch and serial.
pub fn token_id(issuer: &NodeId, epoch: u32, serial: u64) -> TokenId {
    TokenId::from_bytes(hash("lapwing/v1/token", &(*issuer, epoch, serial)))
}

/// The lottery epoch that a time lies in.
pub fn epoch_at(time: Time, length: Seconds) -> u32 {
    u32::try_from(time.get() / u64::from(length.get().max(1))).unwrap_or(u32::MAX)
}

/// When a lottery epoch begins.
pub fn epoch_start(epoch: u32, length: Seconds) -> Time {
    Time::new(u64::from(epoch) * u64::from(length.get()))
}

/// P = HKDF-SHA256 (RFC 5869) with the epoch's secret as input key, over [H, proof].
pub fn draw(secret: &Zeroizing<[u8; 32]>, h: &TokenHash, proof: u64) -> Priority {
    let mut out = [0u8; 32];
    let info = hash("lapwing/v1/priority", &(*h, proof));
    // 32 bytes are far below HKDF's limit of 255 blocks, so expansion cannot fail.
    let _ = Hkdf::<Sha256>::new(None, secret.as_slice()).expand(&info, &mut out);
    Priority::from_bytes(out)
}
