//! Calls that a client makes at a node, and the answers. HTTP is one way to carry them: see
//! `docs/spec/http.md`. Role state machines make [`Call`]s; the node checks them with [`check_call`].

mod answer;
mod begun;
mod check;

pub use self::answer::Answer;
pub use self::check::{
    CheckedCall, CheckedLock, check_call, check_claim, check_lock, check_opening, check_proof,
};

use crate::bounded::{Bytes, List};
use crate::id::MailboxId;
use crate::mailbox::{MAX_BLOB_WRITE, MAX_GRANTS, MAX_OPEN};
use crate::queue::{Challenge, Claimed, MAX_CLAIM, MAX_LOCK_ORDER};
use crate::token::MAX_TOKEN_ORDER;
use crate::wire_struct;

/// Most marks read at once.
pub const MAX_MARKS: usize = 64;
/// Most mailboxes of one watch.
pub const MAX_WATCHED: usize = 64;
/// Longest encoding of a [`WatchOrder`].
pub const MAX_WATCH_ORDER: usize = MAX_WATCHED * 1284 + 8;

/// The calls of API v1 that carry protocol bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// Draw a token: [`crate::token::TokenOrder`] → COSE token.
    Token,
    /// Place a request: COSE [`crate::queue::Request`] → COSE admission.
    Request,
    /// Open mailboxes and marks: COSE [`crate::mailbox::OpenOrder`] → [`Openings`].
    Open,
    /// Write a blob: [`crate::mailbox::BlobWrite`] → [`crate::mailbox::Receipt`].
    Write,
    /// Read a mailbox: [`ReadOrder`] → [`crate::mailbox::Page`].
    Read,
    /// Delete what is in a slot: COSE deletion → [`crate::mailbox::Receipt`].
    Delete,
    /// Set a mark: COSE mark state → [`crate::mailbox::Receipt`].
    SetMark,
    /// Read marks: [`MarkOrder`] → [`Marks`].
    ReadMarks,
    /// Ask for challenges: [`crate::queue::ChallengeOrder`] → [`Challenges`].
    Challenge,
    /// Claim requests: COSE [`crate::queue::Claim`] → [`Claims`].
    Claim,
    /// Take a booking lock: [`crate::queue::LockOrder`] → [`Locks`].
    Lock,
    /// Free a booking lock: COSE [`crate::queue::Release`] → [`crate::mailbox::Receipt`].
    Release,
    /// Be listed again: COSE [`crate::queue::Relist`] → [`crate::mailbox::Receipt`].
    Relist,
    /// Publish a record of the chain of trust: COSE → its id, 32 bytes.
    Publish,
}

impl CallKind {
    /// All kinds.
    pub const ALL: [CallKind; 14] = [
        Self::Token,
        Self::Request,
        Self::Open,
        Self::Write,
        Self::Read,
        Self::Delete,
        Self::SetMark,
        Self::ReadMarks,
        Self::Challenge,
        Self::Claim,
        Self::Lock,
        Self::Release,
        Self::Relist,
        Self::Publish,
    ];

    /// Whether it only asks: nothing is different afterwards.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadMarks | Self::Challenge)
    }

    /// The path of the POST request that carries it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Token => "/v1/tokens",
            Self::Request => "/v1/requests",
            Self::Open => "/v1/mailboxes/open",
            Self::Write => "/v1/mailboxes/write",
            Self::Read => "/v1/mailboxes/read",
            Self::Delete => "/v1/mailboxes/delete",
            Self::SetMark => "/v1/marks/set",
            Self::ReadMarks => "/v1/marks/read",
            Self::Challenge => "/v1/challenges",
            Self::Claim => "/v1/claims",
            Self::Lock => "/v1/locks/take",
            Self::Release => "/v1/locks/release",
            Self::Relist => "/v1/requests/relist",
            Self::Publish => "/v1/trust",
        }
    }

    /// The media type of the request's body.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Request
            | Self::Open
            | Self::Delete
            | Self::SetMark
            | Self::Claim
            | Self::Release
            | Self::Relist
            | Self::Publish => "application/cose",
            _ => "application/cbor",
        }
    }

    /// Most bytes of the request's body.
    pub fn max_body(self) -> usize {
        match self {
            Self::Token => MAX_TOKEN_ORDER,
            Self::Request => 6400,
            Self::Open => 17 * 1024,
            Self::Write => MAX_BLOB_WRITE,
            Self::Read => 2048,
            Self::Delete | Self::SetMark | Self::Release | Self::Relist => 1280,
            Self::ReadMarks => 4096,
            Self::Challenge => 128,
            Self::Claim => 2048,
            Self::Lock => MAX_LOCK_ORDER,
            Self::Publish => 1024 * 1024 + 4096,
        }
    }

    /// Most bytes of an answer's body.
    pub fn max_answer(self) -> usize {
        match self {
            Self::Read => 64 * (crate::mailbox::MAX_BLOB + 8 * 1024),
            Self::Claim => MAX_CLAIM * 16 * 1024,
            Self::Open => MAX_OPEN * 1280,
            Self::ReadMarks => MAX_MARKS * 1024,
            _ => 8 * 1024,
        }
    }
}

/// A call, ready to be sent: its kind and body.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    kind: CallKind,
    body: Vec<u8>,
    ahead: bool,
}

impl core::fmt::Debug for Call {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Call({:?}, {} bytes)", self.kind, self.body.len())
    }
}

impl Call {
    /// A call of any kind with its body.
    pub fn new(kind: CallKind, body: Vec<u8>) -> Self {
        Call {
            kind,
            body,
            ahead: kind.reads(),
        }
    }
    /// The same, where all that it rests on was in the caller's state already when its last call went out
    /// that was not [`Call::is_ahead`], or may be lost: it need not wait until the state is stored.
    pub(crate) fn ahead(mut self) -> Self {
        self.ahead = true;
        self
    }
    /// Whether it may go out before the state of who makes it is stored: because it only reads, or because
    /// after a crash the state stored before makes it again in the same bytes.
    pub fn is_ahead(&self) -> bool {
        self.ahead
    }
    /// Its kind.
    pub fn kind(&self) -> CallKind {
        self.kind
    }
    /// Its body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

wire_struct! {
    /// Asks for a page of a mailbox.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ReadOrder {
        /// The COSE [`crate::mailbox::ReadProof`].
        pub proof: Bytes<1280>,
        /// Only slots above this one.
        pub after: Option<u32>,
    }
}

wire_struct! {
    /// Asks to be told when something is written to mailboxes; an event names one by its place here.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct WatchOrder {
        /// The COSE [`crate::mailbox::ReadProof`]s, at least one.
        pub proofs: List<Bytes<1280>, MAX_WATCHED>,
    }
}

wire_struct! {
    /// Asks for the states of marks.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MarkOrder {
        /// The marks' ids.
        pub marks: List<MailboxId, MAX_MARKS>,
    }
}

wire_struct! {
    /// COSE mark states; a mark that was never set is absent.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Marks {
        /// The states.
        pub states: List<Bytes<768>, MAX_MARKS>,
    }
}

wire_struct! {
    /// COSE openings, in the order asked for.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Openings {
        /// The openings.
        pub openings: List<Bytes<1280>, MAX_OPEN>,
    }
}

wire_struct! {
    /// The holders' challenges.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Challenges {
        /// One a holder that answered.
        pub challenges: List<Challenge, MAX_GRANTS>,
    }
}

wire_struct! {
    /// Claimed requests in priority order.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Claims {
        /// The requests with their tickets.
        pub claimed: List<Claimed, MAX_CLAIM>,
    }
}

wire_struct! {
    /// COSE lock grants of W or more holders.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Locks {
        /// The grants.
        pub grants: List<Bytes<640>, MAX_GRANTS>,
    }
}
