//! A region's queue: requests, admissions, claims, tickets, the booking lock. See `docs/spec/queue.md`.

use crate::bounded::{Bytes, List};
use crate::cose::Record;
use crate::hash::hash;
use crate::id::{
    ClaimId, LockId, MailboxId, NodeId, RecordId, RegionId, RequestId, TicketId, TokenId,
};
use crate::key::VerifyingKey;
use crate::mailbox::{MAX_GRANTS, Mailbox};
use crate::time::Time;
use crate::wire_struct;

/// Most bytes of a COSE priority token.
pub const MAX_TOKEN: usize = 512;
/// Most bytes of the envelope in a request: one of the smallest size.
pub const MAX_REQUEST_ENVELOPE: usize = 4096;
/// Most requests in one claim.
pub const MAX_CLAIM: usize = 64;

wire_struct! {
    /// An anonymous request for an appointment; signed by the token's key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Request {
        /// The COSE [`crate::token::PriorityToken`].
        pub token: Bytes<MAX_TOKEN>,
        /// The region.
        pub region: RegionId,
        /// The region-key version that the envelope is sealed to.
        pub key_version: u32,
        /// The user's one inbox: written by ticket.
        pub inbox: Mailbox,
        /// [`crate::booking::Wish`], sealed to the region's key.
        pub envelope: Bytes<MAX_REQUEST_ENVELOPE>,
    }
}

impl Record for Request {
    const TYPE: u64 = 17;
    const DOMAIN: &'static str = "lapwing/v1/request";
    const MAX: usize = 6 * 1024;
}

wire_struct! {
    /// The issuer's statement that it admitted a token with one request, and no other.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Admission {
        /// The issuer, which signs.
        pub issuer: NodeId,
        /// The token.
        pub token: TokenId,
        /// The request.
        pub request: RequestId,
        /// Its region.
        pub region: RegionId,
        /// The inbox that it opens.
        pub inbox: MailboxId,
        /// Counts the issuer's admissions from zero.
        pub serial: u64,
        /// When request and inbox expire.
        pub expires: Time,
        /// The token's lottery epoch.
        pub epoch: u32,
        /// The token's serial in its epoch; below the federation's cap.
        pub token_serial: u64,
    }
}

impl Record for Admission {
    const TYPE: u64 = 18;
    const DOMAIN: &'static str = "lapwing/v1/admission";
    const MAX: usize = 512;
}

wire_struct! {
    /// A request with its admission, as the region's holders keep it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct QueueEntry {
        /// The COSE [`Admission`].
        pub admission: Bytes<640>,
        /// The COSE [`Request`].
        pub request: Bytes<6400>,
    }
}

wire_struct! {
    /// A provider asks holders of a region for a challenge.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ChallengeOrder {
        /// The region.
        pub region: RegionId,
        /// The provider's certificate.
        pub certificate: RecordId,
    }
}

wire_struct! {
    /// One holder's challenge: a nonce sealed to the region's current key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Challenge {
        /// The holder.
        pub holder: NodeId,
        /// The region-key version it is sealed to.
        pub key_version: u32,
        /// The sealed nonce of 32 bytes.
        pub sealed: Bytes<128>,
    }
}

wire_struct! {
    /// The answer to one holder's challenge.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ChallengeAnswer {
        /// The holder.
        pub holder: NodeId,
        /// The nonce that was sealed.
        pub nonce: [u8; 32],
    }
}

wire_struct! {
    /// A provider claims requests; signed by its certificate's key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Claim {
        /// The provider's certificate.
        pub certificate: RecordId,
        /// The region.
        pub region: RegionId,
        /// How many requests, at most.
        pub count: u8,
        /// A fresh key that will sign spends, locks and releases for its tickets.
        pub key: VerifyingKey,
        /// Answers to the holders' challenges.
        pub answers: List<ChallengeAnswer, MAX_GRANTS>,
        /// When it was signed; fresh within the federation's clock skew.
        pub time: Time,
    }
}

impl Record for Claim {
    const TYPE: u64 = 22;
    const DOMAIN: &'static str = "lapwing/v1/claim";
    const MAX: usize = 1024;
}

/// The id of a claim: a hash of the signed bytes.
pub fn claim_id(cose: &[u8]) -> ClaimId {
    ClaimId::from_bytes(hash("lapwing/v1/claim-id", blake3::hash(cose).as_bytes()))
}

/// The id of the ticket that a claim yields for a request.
pub fn ticket_id(claim: &ClaimId, request: &RequestId) -> TicketId {
    TicketId::from_bytes(hash("lapwing/v1/ticket", &(*claim, *request)))
}

wire_struct! {
    /// One holder's grant of a ticket, signed by it. A ticket holds with grants of W distinct holders
    /// that agree in everything but `holder` and `lapses`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct TicketGrant {
        /// The region's holder.
        pub holder: NodeId,
        /// The region.
        pub region: RegionId,
        /// The request.
        pub request: RequestId,
        /// The claim.
        pub claim: ClaimId,
        /// The claim's key.
        pub key: VerifyingKey,
        /// The request's inbox.
        pub inbox: MailboxId,
        /// Unspent after this, it is void.
        pub lapses: Time,
        /// When the request expires.
        pub expires: Time,
        /// The provider's certificate, as the claim names it.
        pub certificate: RecordId,
    }
}

impl Record for TicketGrant {
    const TYPE: u64 = 21;
    const DOMAIN: &'static str = "lapwing/v1/ticket-grant";
    const MAX: usize = 640;
}

impl TicketGrant {
    /// The ticket.
    pub fn ticket(&self) -> TicketId {
        ticket_id(&self.claim, &self.request)
    }
}

wire_struct! {
    /// A claimed request with its ticket.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Claimed {
        /// The request and its admission.
        pub entry: QueueEntry,
        /// W or more COSE [`TicketGrant`]s by distinct holders.
        pub grants: List<Bytes<768>, MAX_GRANTS>,
    }
}

wire_struct! {
    /// The user accepts an offer; signed by the token's key. Says nothing of slot or provider but the ticket.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Accept {
        /// The request.
        pub request: RequestId,
        /// The ticket by which the offer came.
        pub ticket: TicketId,
        /// Counts the user's acceptances from one.
        pub attempt: u32,
        /// When the request expires.
        pub expires: Time,
    }
}

impl Record for Accept {
    const TYPE: u64 = 24;
    const DOMAIN: &'static str = "lapwing/v1/accept";
    const MAX: usize = 384;
}

impl Accept {
    /// The id of the booking lock that it authorises.
    pub fn lock(&self) -> LockId {
        LockId::from_bytes(hash("lapwing/v1/lock", self))
    }
}

wire_struct! {
    /// A provider takes a token's booking lock.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LockOrder {
        /// The ticket: W or more COSE [`TicketGrant`]s.
        pub grants: List<Bytes<768>, MAX_GRANTS>,
        /// The user's COSE [`Accept`].
        pub accept: Bytes<512>,
        /// The token's key, as the request's token names it; holders compare.
        pub token_key: VerifyingKey,
        /// The ticket key's signature over [`LockOrder::message`].
        pub signature: crate::key::Signature,
    }
}

/// Longest encoding of a [`LockOrder`].
pub const MAX_LOCK_ORDER: usize = 8 * 1024;

impl LockOrder {
    /// The bytes that the ticket's key signs.
    pub fn message(accept: &[u8]) -> [u8; 32] {
        hash("lapwing/v1/lock-order", blake3::hash(accept).as_bytes())
    }
}

wire_struct! {
    /// One holder's grant of the booking lock, signed by it; the lock holds with W of them.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LockGrant {
        /// The region's holder.
        pub holder: NodeId,
        /// The region.
        pub region: RegionId,
        /// The request.
        pub request: RequestId,
        /// The ticket.
        pub ticket: TicketId,
        /// The lock.
        pub lock: LockId,
        /// When the request expires.
        pub expires: Time,
    }
}

impl Record for LockGrant {
    const TYPE: u64 = 25;
    const DOMAIN: &'static str = "lapwing/v1/lock-grant";
    const MAX: usize = 512;
}

wire_struct! {
    /// Frees a booking lock; signed by the token's key (the user cancels) or the ticket's (the provider does).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Release {
        /// The region.
        pub region: RegionId,
        /// The request.
        pub request: RequestId,
        /// The lock.
        pub lock: LockId,
        /// When the request expires.
        pub expires: Time,
    }
}

impl Record for Release {
    const TYPE: u64 = 26;
    const DOMAIN: &'static str = "lapwing/v1/release";
    const MAX: usize = 384;
}

/// Most tickets, and most locks, in one [`Relist`].
pub const MAX_RELIST: usize = 8;

wire_struct! {
    /// The user asks to be listed again: the offers of these tickets are given up and no longer count as
    /// open; after the release of these locks the region's providers may offer anew. Signed by the
    /// token's key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Relist {
        /// The region.
        pub region: RegionId,
        /// The request.
        pub request: RequestId,
        /// Tickets whose offers the user gives up.
        pub tickets: List<TicketId, MAX_RELIST>,
        /// Booking locks that were, or are being, released.
        pub locks: List<LockId, MAX_RELIST>,
        /// When the request expires.
        pub expires: Time,
    }
}

impl Record for Relist {
    const TYPE: u64 = 27;
    const DOMAIN: &'static str = "lapwing/v1/relist";
    const MAX: usize = 1024;
}
