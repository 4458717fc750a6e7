//! The chain of trust: from the federation's pinned roots to the lists that say what is in force.
//! See `docs/spec/trust.md`.
//!
//! A [`TrustView`] is what one node or app knows and believes. A record enters in two steps: a worker
//! runs [`TrustView::check`] on a snapshot (decoding, signatures, shape), the owner of the view runs
//! [`TrustView::accept`] (sequence rules; a few map operations). The rules are written so that two
//! views that were given the same records end equal, whatever the order, if what was refused for
//! want of a parent is offered again ([`Refused::waits`]).
//!
//! Fetching, storing, retrying and gossip are the node core's; nothing here knows of peers.

mod accept;
mod accept_mediator;
mod check;
mod lists;
mod mediator;
mod proof;
mod rules;
mod shards;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

pub use check::CheckedTrust;
pub use mediator::MediatorTrust;
pub use proof::Equivocation;
pub use view::TrustView;

use crate::id::{MediatorId, RecordId};
use crate::problem::Problem;
use crate::time::Time;
use crate::wire_code;

/// How many rosters a view keeps: the current one and those before it, so that what their nodes
/// signed still verifies.
pub const MAX_ROSTERS: usize = 8;
/// How many certificates of one mediator a view keeps: the current one and those before it, so that
/// the provider certificates they signed still verify.
pub const MAX_MEDIATOR_CERTIFICATES: usize = 8;
/// Most mediators of one federation.
pub const MAX_MEDIATORS: usize = 1024;
/// Most provider certificates kept of one mediator.
pub const MAX_PROVIDERS: usize = 32_768;
/// Most lists of one kind and signer that are kept before a status names them.
pub const MAX_PENDING: usize = 4;
/// Longest life of a status: 7 days, in seconds.
pub const MAX_STATUS_LIFE: u32 = 7 * 86_400;
/// Most bytes of a record of the chain of trust, with its envelope.
pub const MAX_RECORD: usize =
    crate::cose::MAX_PAYLOAD + crate::cose::OVERHEAD * (crate::cose::MAX_SIGNERS + 1);

wire_code! {
    /// The records that make up the chain; the number is the record's type.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum TrustKind {
        /// [`crate::federation::Roster`].
        1 => Roster,
        /// [`crate::federation::MediatorRegistration`].
        2 => Registration,
        /// [`crate::mediation::MediatorCertificate`].
        3 => Certificate,
        /// [`crate::mediation::RegionList`].
        4 => Regions,
        /// [`crate::mediation::ProviderCertificate`].
        5 => Provider,
        /// [`crate::mediation::Directory`].
        6 => Directory,
        /// [`crate::mediation::Revocations`].
        7 => Revocations,
        /// [`crate::mediation::Status`].
        8 => Status,
    }
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The view changed: store it, then pass it on.
    New {
        /// The record.
        id: RecordId,
        /// Its kind.
        kind: TrustKind,
    },
    /// The view held it, or the same statement with no fewer signatures.
    Known,
}

/// Why a record was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Refused {
    /// The reason.
    pub problem: Problem,
    /// With [`Problem::Equivocation`]: both records.
    pub proof: Option<EquivocationProof>,
}

impl Refused {
    /// Whether the record may be accepted later, when others have arrived: [`waits`] of the problem.
    #[must_use]
    pub fn waits(&self) -> bool {
        waits(self.problem)
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused {
            problem,
            proof: None,
        }
    }
}

/// Whether a refusal of [`TrustView::check`] or [`TrustView::accept`] only says that something else
/// must come first (a parent, the lists that a status names) or that the view moved on meanwhile.
#[must_use]
pub fn waits(problem: Problem) -> bool {
    matches!(
        problem,
        Problem::BrokenChain | Problem::NotFound | Problem::UnknownRegion | Problem::Busy
    )
}

/// Two records by one signer that say different things under one sequence or serial number. Anybody
/// who holds the chain above them can check both. The one held stays in force until a higher
/// sequence replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EquivocationProof {
    /// The record that is held.
    pub ours: Arc<[u8]>,
    /// The one that was refused.
    pub theirs: Arc<[u8]>,
}

/// How old a record in force is, for status pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListAge {
    /// Its kind.
    pub kind: TrustKind,
    /// Whose, if a mediator's.
    pub mediator: Option<MediatorId>,
    /// When it was signed.
    pub issued: Time,
    /// When it expires.
    pub expires: Time,
    /// More than half of its life is over: time to renew it.
    pub half: bool,
    /// All of it is.
    pub expired: bool,
}
