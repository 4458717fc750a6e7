//! Proofs of equivocation that came from elsewhere: two records by one signer that say different
//! things under one number. A view looks at them by itself, without believing who sent them.

use super::{EquivocationProof, TrustKind, TrustView};
use crate::cose::{Record, parse, parse_multi};
use crate::federation::{MediatorRegistration, Roster};
use crate::id::MediatorId;
use crate::mediation::{
    Directory, MediatorCertificate, ProviderCertificate, RegionList, Revocations, Status,
};
use crate::problem::Problem;

/// What a proof shows: who said two different things under one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Equivocation {
    /// What both records are.
    pub kind: TrustKind,
    /// The mediator; none where the federation's roots signed two rosters.
    pub mediator: Option<MediatorId>,
    /// The number of both: sequence, or serial of a provider certificate.
    pub number: u64,
}

/// Whether two records of one signer say different things under one number.
fn differ<T: Record + PartialEq>(
    (ours, theirs): (&[u8], &[u8]),
    one_key: bool,
    of: impl Fn(&T) -> (MediatorId, u64),
) -> Result<(MediatorId, u64), Problem> {
    let (ours, theirs) = (parse::<T>(ours)?, parse::<T>(theirs)?);
    if one_key && ours.signer() != theirs.signer() {
        return Err(Problem::OutOfBounds);
    }
    two(ours.unverified(), theirs.unverified(), of)
}

fn two<T: PartialEq, N: PartialEq>(a: &T, b: &T, of: impl Fn(&T) -> N) -> Result<N, Problem> {
    if a != b && of(a) == of(b) {
        Ok(of(a))
    } else {
        Err(Problem::OutOfBounds)
    }
}

impl TrustView {
    /// Checks a proof of equivocation from anywhere: both records are well-formed and genuine by this
    /// view, and say different things under one number. It changes nothing: which of the two is in
    /// force stays as it is.
    ///
    /// # Errors
    /// [`Problem::OutOfBounds`] where the two prove nothing; as [`TrustView::check_stored`] where one of
    /// them does not hold, or cannot be judged yet ([`super::waits`]).
    pub fn check_proof(&self, proof: &EquivocationProof) -> Result<Equivocation, Problem> {
        let (ours, theirs) = (&*proof.ours, &*proof.theirs);
        let kind = self.check_stored(ours)?.kind();
        if self.check_stored(theirs)?.kind() != kind {
            return Err(Problem::OutOfBounds);
        }
        let pair = (ours, theirs);
        let shown = |(mediator, number)| Equivocation {
            kind,
            mediator: Some(mediator),
            number,
        };
        match kind {
            TrustKind::Roster => {
                let (a, b) = (parse_multi::<Roster>(ours)?, parse_multi::<Roster>(theirs)?);
                let number = two(a.unverified(), b.unverified(), |r| r.sequence)?;
                Ok(Equivocation {
                    kind,
                    mediator: None,
                    number,
                })
            }
            TrustKind::Registration => {
                let a = parse_multi::<MediatorRegistration>(ours)?;
                let b = parse_multi::<MediatorRegistration>(theirs)?;
                let of = |r: &MediatorRegistration| (r.mediator, r.sequence);
                two(a.unverified(), b.unverified(), of).map(shown)
            }
            TrustKind::Certificate => {
                differ::<MediatorCertificate>(pair, true, |r| (r.mediator, r.sequence)).map(shown)
            }
            TrustKind::Regions => {
                differ::<RegionList>(pair, true, |r| (r.mediator, r.sequence)).map(shown)
            }
            // Serials are the mediator's, whichever of its keys signed.
            TrustKind::Provider => {
                differ::<ProviderCertificate>(pair, false, |r| (r.mediator, r.serial)).map(shown)
            }
            TrustKind::Directory => {
                differ::<Directory>(pair, true, |r| (r.mediator, r.sequence)).map(shown)
            }
            TrustKind::Revocations => {
                differ::<Revocations>(pair, true, |r| (r.mediator, r.sequence)).map(shown)
            }
            // The signing key and the status key may each use a number.
            TrustKind::Status => {
                differ::<Status>(pair, true, |r| (r.mediator, r.sequence)).map(shown)
            }
        }
    }
}
