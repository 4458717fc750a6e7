//! The cheap half of taking a record in, for rosters and registrations: sequence rules. The owner of
//! the view runs it; it checks no signature.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::Body;
use super::mediator::qualifies;
use super::view::{Inner, KeptRoster};
use super::{
    Accepted, CheckedTrust, EquivocationProof, MAX_MEDIATORS, MAX_ROSTERS, MediatorTrust, Refused,
    TrustView, rules,
};
use crate::cose::Verified;
use crate::federation::{MediatorRegistration, Roster};
use crate::id::MediatorId;
use crate::key::VerifyingKey;
use crate::placement::Placement;
use crate::problem::Problem;
use crate::time::Time;

/// What a rule decided: whether the view changed.
pub(super) enum Outcome {
    Changed,
    Known,
}

pub(super) fn equivocation<T>(ours: &Verified<T>, theirs: &Verified<T>) -> Refused {
    let proof = EquivocationProof {
        ours: ours.bytes().clone(),
        theirs: theirs.bytes().clone(),
    };
    Refused {
        problem: Problem::Equivocation,
        proof: Some(proof),
    }
}

/// Of two records that say the same by several signers, every view keeps the same one: the one with
/// more signatures, else the one with the smaller id.
fn better<T>(new: &Verified<T>, held: &Verified<T>) -> bool {
    let (n, h) = (new.signers().count(), held.signers().count());
    n > h || (n == h && new.id() < held.id())
}

impl TrustView {
    /// Takes in a record that was checked against this view or an earlier state of it.
    ///
    /// # Errors
    /// [`Refused`]: [`Problem::Rollback`] for a lower sequence, [`Problem::Equivocation`] with the
    /// proof for the same sequence and other contents, [`Problem::Expired`] where it expired since the
    /// check, [`Problem::Busy`] where what it was checked against has changed (check it again), and
    /// what [`super::waits`] names where something is missing.
    pub fn accept(&mut self, checked: CheckedTrust, now: Time) -> Result<Accepted, Refused> {
        if checked.expires.is_some_and(|e| now > e) {
            return Err(Problem::Expired.into());
        }
        self.accept_stored(checked)
    }

    /// As [`TrustView::accept`], without regard to time: see [`TrustView::check_stored`].
    ///
    /// # Errors
    /// As [`TrustView::accept`].
    pub fn accept_stored(&mut self, checked: CheckedTrust) -> Result<Accepted, Refused> {
        let CheckedTrust { id, kind, body, .. } = checked;
        let outcome = match body {
            // It may have been dropped since it was found here.
            Body::Held if self.record(&id).is_none() => return Err(Problem::Busy.into()),
            Body::Held => Outcome::Known,
            Body::Roster(v, placement) => self.accept_roster(v, placement)?,
            Body::Registration(v) => self.accept_registration(v)?,
            Body::Certificate(v) => self.accept_certificate(v)?,
            Body::Regions(v, registration) => self.accept_regions(v, &registration)?,
            Body::Provider(v) => self.accept_provider(v)?,
            Body::Directory(v) => self.accept_directory(v)?,
            Body::Revocations(v) => self.accept_revocations(v)?,
            Body::Status(v) => self.accept_status(v)?,
        };
        Ok(match outcome {
            Outcome::Changed => Accepted::New { id, kind },
            Outcome::Known => Accepted::Known,
        })
    }

    /// Checks and accepts in one step: for apps, and for a store that is loaded.
    ///
    /// # Errors
    /// As [`TrustView::check`] and [`TrustView::accept`].
    pub fn learn(&mut self, bytes: &[u8], now: Time) -> Result<Accepted, Refused> {
        let checked = self.check(bytes, now)?;
        self.accept(checked, now)
    }

    pub(super) fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    fn accept_roster(
        &mut self,
        new: Arc<Verified<Roster>>,
        placement: Arc<Placement>,
    ) -> Result<Outcome, Refused> {
        let rosters = &self.0.rosters;
        let at = rosters.partition_point(|r| r.roster.sequence > new.sequence);
        let same = rosters
            .get(at)
            .filter(|r| r.roster.sequence == new.sequence);
        if let Some(held) = same {
            if held.roster.payload_hash() != new.payload_hash() {
                return Err(equivocation(&held.roster, &new));
            }
            if !better(&new, &held.roster) {
                return Ok(Outcome::Known);
            }
        } else if at >= MAX_ROSTERS {
            return Err(Problem::Rollback.into());
        }
        let replace = usize::from(same.is_some());
        let inner = self.inner();
        inner.rosters.splice(
            at..at + replace,
            [KeptRoster {
                roster: new,
                placement,
            }],
        );
        inner.rosters.truncate(MAX_ROSTERS);
        // Oldest first, so that the newest roster that has a node decides.
        let nodes: BTreeMap<_, _> = inner
            .rosters
            .iter()
            .rev()
            .flat_map(|r| r.roster.nodes().map(|(_, n)| (n.id, n.signing)))
            .collect();
        inner.nodes = Arc::new(nodes);
        let mediators: Vec<MediatorId> = inner.mediators.keys().copied().collect();
        for m in mediators {
            self.requalify(&m);
        }
        Ok(Outcome::Changed)
    }

    fn in_force_now(&self, registration: &Verified<MediatorRegistration>) -> bool {
        self.roster().is_some_and(|r| qualifies(registration, r))
    }

    /// Whether enough operators of one roster that is kept signed, and only operators of such rosters.
    fn acceptable(&self, registration: &Verified<MediatorRegistration>) -> bool {
        let known = |key: &VerifyingKey| {
            self.rosters()
                .any(|r| r.operators.iter().any(|o| o.key == *key))
        };
        self.rosters().any(|r| qualifies(registration, r)) && registration.signers().all(known)
    }

    /// Measures a mediator's registration by the rosters as they are now.
    fn requalify(&mut self, id: &MediatorId) {
        let Some(m) = self.mediator(id) else { return };
        if !self.acceptable(&m.registration) {
            // A view that never had the roster it rests on could not take it in: nor keep it.
            self.change(id, MediatorTrust::clear);
            self.inner().mediators.remove(id);
            return;
        }
        let registered = self.in_force_now(&m.registration);
        if registered != m.registered {
            self.change(id, |m| m.registered = registered);
        }
    }

    fn accept_registration(
        &mut self,
        new: Arc<Verified<MediatorRegistration>>,
    ) -> Result<Outcome, Refused> {
        if !self.acceptable(&new) {
            return Err(Problem::WrongSigner.into());
        }
        let id = new.mediator;
        let registered = self.in_force_now(&new);
        let Some(held) = self.mediator(&id) else {
            if self.0.mediators.len() >= MAX_MEDIATORS {
                return Err(Problem::CapReached.into());
            }
            self.inner()
                .mediators
                .insert(id, Arc::new(MediatorTrust::new(new, registered)));
            return Ok(Outcome::Changed);
        };
        if held.registration.payload_hash() == new.payload_hash() {
            if !better(&new, &held.registration) {
                return Ok(Outcome::Known);
            }
        } else if held.registered != registered {
            // What the present operators say outranks what those of an earlier roster said.
            if held.registered {
                return Err(Problem::WrongSigner.into());
            }
        } else if held.registration.sequence == new.sequence {
            return Err(equivocation(&held.registration, &new));
        } else if held.registration.sequence > new.sequence {
            return Err(Problem::Rollback.into());
        }
        self.change(&id, |m| {
            m.registration = new;
            m.registered = registered;
            if m.withdrawn() {
                m.clear();
            } else {
                let registration = m.registration.clone();
                m.regions
                    .retain(|l| rules::served(l, &registration).is_ok());
                m.prune();
            }
        });
        Ok(Outcome::Changed)
    }
}
