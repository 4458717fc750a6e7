//! Why something was refused: one list of stable codes for peers and for HTTP clients.

use crate::codec::DecodeError;
use crate::cose::CoseError;
use crate::wire_code;

wire_code! {
    /// A refusal's stable code. `docs/spec/problems.md` lists them with what to do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Problem {
        /// Not one well-formed, canonical encoding.
        1 => Malformed,
        /// Larger than the call allows.
        2 => TooLarge,
        /// A signature or its key is wrong.
        3 => BadSignature,
        /// A signed time is too far from the node's clock.
        4 => StaleTime,
        /// It has expired.
        5 => Expired,
        /// It is addressed to another node.
        6 => WrongNode,
        /// It belongs to another federation.
        7 => WrongFederation,
        /// No such mailbox or mark was opened.
        8 => NotOpened,
        /// The slot holds something else.
        9 => SlotConflict,
        /// The slot is not in the mailbox, or not this writer's.
        10 => WrongSlot,
        /// The blob has not the mailbox's size.
        11 => WrongSize,
        /// The work is missing or too little.
        12 => WorkMissing,
        /// The region is not in a list in force.
        13 => UnknownRegion,
        /// The region-key version is not current.
        14 => WrongKeyVersion,
        /// The certificate is unknown or not listed in the directory.
        15 => UnknownCertificate,
        /// The certificate is revoked.
        16 => Revoked,
        /// The mediator's status has expired or is missing.
        17 => StatusExpired,
        /// The certificate does not cover the region.
        18 => WrongRegion,
        /// The signer has no right to sign this.
        19 => WrongSigner,
        /// The token was issued by another node that cannot be reached now.
        20 => IssuerAway,
        /// The token's epoch is closed; draw a new one.
        21 => EpochClosed,
        /// The token was admitted with another request.
        22 => TokenUsed,
        /// The challenge's answer is wrong or too old.
        23 => ChallengeFailed,
        /// The ticket is incomplete, void or for something else.
        24 => BadTicket,
        /// The ticket has lapsed.
        25 => TicketLapsed,
        /// The booking lock is held by another booking.
        26 => Locked,
        /// The token has been booked as often as it may.
        27 => ReoffersUsed,
        /// No such request.
        28 => UnknownRequest,
        /// A lower sequence than the one in force.
        29 => Rollback,
        /// The same sequence with other bytes: both are kept as proof.
        30 => Equivocation,
        /// The chain to the federation's roots does not hold.
        31 => BrokenChain,
        /// Deleted; the slot takes nothing more.
        32 => Deleted,
        /// A lower version than the one that is stored.
        33 => OldVersion,
        /// The node's cap for the day is reached.
        34 => CapReached,
        /// Too few holders answered; try again.
        35 => HoldersAway,
        /// The node is busy; try again.
        36 => Busy,
        /// The node has no roster yet, or is shutting down.
        37 => NotReady,
        /// The node is not a holder of this id.
        38 => NotHolder,
        /// Nothing there.
        39 => NotFound,
        /// The node failed.
        40 => Internal,
        /// The lower-level call is not known.
        41 => UnknownCall,
        /// A value is outside its bounds.
        42 => OutOfBounds,
        /// Too many calls from this network in a short time.
        43 => RateLimited,
        /// The provider has as many unspent tickets in the region as it may, or claims too often.
        44 => TooManyClaims,
    }
}

impl Problem {
    /// The stable text code, as in `application/problem+json`.
    pub fn text(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// A public message that says what is wrong and, where it helps, what to do.
    pub fn message(self) -> &'static str {
        self.row().2
    }

    /// Whether trying the same again later can succeed.
    pub fn retry(self) -> bool {
        matches!(
            self,
            Self::HoldersAway
                | Self::Busy
                | Self::NotReady
                | Self::IssuerAway
                | Self::StatusExpired
                | Self::RateLimited
                | Self::TooManyClaims
        )
    }

    /// From the text code.
    pub fn from_text(text: &str) -> Option<Self> {
        (1..=44)
            .filter_map(Self::from_code)
            .find(|p| p.text() == text)
    }

    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Malformed => (
                "malformed",
                400,
                "The body is not one well-formed, canonical encoding.",
            ),
            Self::TooLarge => (
                "too_large",
                413,
                "The body is larger than this call allows.",
            ),
            Self::BadSignature => ("bad_signature", 403, "A signature does not verify."),
            Self::StaleTime => (
                "stale_time",
                403,
                "The signed time is too far from the node's clock; check yours and sign anew.",
            ),
            Self::Expired => ("expired", 410, "It has expired."),
            Self::WrongNode => (
                "wrong_node",
                403,
                "It is addressed to another node; sign it for this one.",
            ),
            Self::WrongFederation => ("wrong_federation", 403, "It belongs to another federation."),
            Self::NotOpened => (
                "not_opened",
                404,
                "No mailbox or mark was opened under this id.",
            ),
            Self::SlotConflict => (
                "slot_conflict",
                409,
                "The slot holds another blob; use the next one.",
            ),
            Self::WrongSlot => (
                "wrong_slot",
                403,
                "The slot is not in the mailbox or not this writer's.",
            ),
            Self::WrongSize => (
                "wrong_size",
                400,
                "The blob does not have the mailbox's size.",
            ),
            Self::WorkMissing => (
                "work_missing",
                403,
                "The proof of work is missing or too little.",
            ),
            Self::UnknownRegion => (
                "unknown_region",
                404,
                "The region is not in a region list in force.",
            ),
            Self::WrongKeyVersion => (
                "wrong_key_version",
                409,
                "The region's key has another version; fetch the region list again.",
            ),
            Self::UnknownCertificate => (
                "unknown_certificate",
                403,
                "The certificate is not in the mediator's directory.",
            ),
            Self::Revoked => ("revoked", 403, "The certificate is revoked."),
            Self::StatusExpired => (
                "status_expired",
                503,
                "The mediator's status has expired; try again when it was refreshed.",
            ),
            Self::WrongRegion => (
                "wrong_region",
                403,
                "The certificate does not cover the region.",
            ),
            Self::WrongSigner => ("wrong_signer", 403, "The signer has no right to sign this."),
            Self::IssuerAway => (
                "issuer_away",
                503,
                "The node that issued the token cannot be reached; try again, or draw a new token here.",
            ),
            Self::EpochClosed => (
                "epoch_closed",
                410,
                "The token's epoch is closed; draw a new token.",
            ),
            Self::TokenUsed => (
                "token_used",
                409,
                "The token was admitted with another request.",
            ),
            Self::ChallengeFailed => (
                "challenge_failed",
                403,
                "The answer to the challenge is wrong or too old; ask for a new one.",
            ),
            Self::BadTicket => (
                "bad_ticket",
                403,
                "The ticket is incomplete, void, or for something else.",
            ),
            Self::TicketLapsed => ("ticket_lapsed", 410, "The ticket has lapsed; claim again."),
            Self::Locked => (
                "locked",
                409,
                "The token's booking lock is held by another booking.",
            ),
            Self::ReoffersUsed => (
                "reoffers_used",
                409,
                "The token has been booked as often as it may.",
            ),
            Self::UnknownRequest => (
                "unknown_request",
                404,
                "No such request is in the region's queue.",
            ),
            Self::Rollback => (
                "rollback",
                409,
                "A record with a higher sequence is in force.",
            ),
            Self::Equivocation => (
                "equivocation",
                409,
                "Another record with the same sequence is known; both are kept as proof.",
            ),
            Self::BrokenChain => (
                "broken_chain",
                403,
                "The chain of trust up to the federation's roots does not hold.",
            ),
            Self::Deleted => (
                "deleted",
                410,
                "The slot was deleted and takes nothing more.",
            ),
            Self::OldVersion => ("old_version", 409, "A higher version is stored."),
            Self::CapReached => (
                "cap_reached",
                429,
                "The node's cap for today is reached; use another node.",
            ),
            Self::HoldersAway => ("holders_away", 503, "Too few holders answered; try again."),
            Self::Busy => ("busy", 503, "The node is busy; try again."),
            Self::NotReady => (
                "not_ready",
                503,
                "The node is not ready; try again, or use another node.",
            ),
            Self::NotHolder => ("not_holder", 421, "The node is not a holder of this id."),
            Self::NotFound => ("not_found", 404, "There is nothing under this id."),
            Self::Internal => (
                "internal",
                500,
                "The node failed; its operator finds the cause in the log.",
            ),
            Self::UnknownCall => ("unknown_call", 404, "There is no such call."),
            Self::OutOfBounds => ("out_of_bounds", 400, "A value is outside its bounds."),
            Self::RateLimited => (
                "rate_limited",
                429,
                "Too many calls from this network; try again later.",
            ),
            Self::TooManyClaims => (
                "too_many_claims",
                429,
                "The provider has too many unspent tickets or claims too often; use them, or wait.",
            ),
        }
    }
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.text(), self.message())
    }
}

impl core::error::Error for Problem {}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLong { .. } => Self::TooLarge,
            _ => Self::Malformed,
        }
    }
}

impl From<CoseError> for Problem {
    fn from(error: CoseError) -> Self {
        match error {
            CoseError::Decode(inner) => inner.into(),
            _ => Self::BadSignature,
        }
    }
}
