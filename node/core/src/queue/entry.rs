//! What goes into the index and what limits its decisions.

use std::fmt;

use lapwing_protocol::id::{MailboxId, Priority, TokenId};
use lapwing_protocol::time::Time;

/// The limits by which decisions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many open offers a token may have; zero counts as one.
    pub open_offers: u8,
    /// How many times a token may be booked anew.
    pub reoffers: u8,
    /// W: how many holders' grants make a ticket or a lock hold; zero counts as one.
    pub quorum: u8,
}

impl Limits {
    pub(super) fn open_offers(self) -> usize {
        usize::from(self.open_offers.max(1))
    }

    pub(super) fn locks(self) -> usize {
        usize::from(self.reoffers) + 1
    }

    pub(super) fn quorum(self) -> usize {
        usize::from(self.quorum.max(1))
    }
}

/// Whether a grant that may be given was already given by this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be given now.
    Granted,
    /// This node gave it before: the stored bytes are the answer.
    Already,
}

/// One request in a queue. All but `expires` follows from the request's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The token's lottery epoch.
    pub epoch: u32,
    /// The token's P.
    pub priority: Priority,
    /// The token.
    pub token: TokenId,
    /// The bytes of the token's key, which signed the request.
    pub token_key: [u8; 32],
    /// The user's inbox.
    pub inbox: MailboxId,
    /// When the request expires.
    pub expires: Time,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry(redacted)")
    }
}
