//! What a node answers.

use super::{CallKind, Challenges, Claims, Locks, Marks, Openings};
use crate::codec::{from_bytes, to_bytes};
use crate::id::RecordId;
use crate::mailbox::{Page, Receipt};
use crate::problem::Problem;

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The COSE token.
    Token(Vec<u8>),
    /// The COSE admission.
    Admission(Vec<u8>),
    /// The openings.
    Openings(Openings),
    /// The receipt.
    Receipt(Receipt),
    /// A page of a mailbox.
    Page(Page),
    /// The states of marks.
    Marks(Marks),
    /// Challenges.
    Challenges(Challenges),
    /// Claimed requests.
    Claims(Claims),
    /// Lock grants.
    Locks(Locks),
    /// The id of the published record.
    Published(RecordId),
}

impl Answer {
    /// The media type of the answer's body.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Token(_) | Self::Admission(_) => "application/cose",
            _ => "application/cbor",
        }
    }

    /// The answer's body.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Token(b) | Self::Admission(b) => b.clone(),
            Self::Openings(v) => to_bytes(v),
            Self::Receipt(v) => to_bytes(v),
            Self::Page(v) => to_bytes(v),
            Self::Marks(v) => to_bytes(v),
            Self::Challenges(v) => to_bytes(v),
            Self::Claims(v) => to_bytes(v),
            Self::Locks(v) => to_bytes(v),
            Self::Published(v) => to_bytes(v),
        }
    }

    /// Decodes the body of a successful answer. Signatures in it are checked by who uses it.
    ///
    /// # Errors
    /// [`Problem::Malformed`] or [`Problem::TooLarge`].
    pub fn parse(kind: CallKind, body: &[u8]) -> Result<Self, Problem> {
        let max = kind.max_answer();
        if body.len() > max {
            return Err(Problem::TooLarge);
        }
        Ok(match kind {
            CallKind::Token => Self::Token(body.to_vec()),
            CallKind::Request => Self::Admission(body.to_vec()),
            CallKind::Open => Self::Openings(from_bytes(body, max)?),
            CallKind::Write
            | CallKind::Delete
            | CallKind::SetMark
            | CallKind::Release
            | CallKind::Relist => Self::Receipt(from_bytes(body, max)?),
            CallKind::Read => Self::Page(from_bytes(body, max)?),
            CallKind::ReadMarks => Self::Marks(from_bytes(body, max)?),
            CallKind::Challenge => Self::Challenges(from_bytes(body, max)?),
            CallKind::Claim => Self::Claims(from_bytes(body, max)?),
            CallKind::Lock => Self::Locks(from_bytes(body, max)?),
            CallKind::Publish => Self::Published(from_bytes(body, max)?),
        })
    }
}
