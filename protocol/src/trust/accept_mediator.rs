//! The cheap half of taking a record in, for what a mediator signs.

use std::sync::Arc;

use super::accept::{Outcome, equivocation};
use super::lists::Offer;
use super::mediator::includes;
use super::{MAX_MEDIATOR_CERTIFICATES, MAX_PROVIDERS, MediatorTrust, Refused, TrustView, rules};
use crate::cose::Verified;
use crate::id::{MediatorId, RecordId};
use crate::mediation::{
    Directory, ListRef, MediatorCertificate, ProviderCertificate, RegionList, Revocations, Status,
};
use crate::problem::Problem;

/// Whether a list should be inserted, or why not.
fn settle<T>(offer: Offer<T>, new: &Verified<T>) -> Result<bool, Refused> {
    match offer {
        Offer::Take => Ok(true),
        Offer::Known => Ok(false),
        Offer::Refuse(problem) => Err(problem.into()),
        Offer::Equivocation(held) => Err(equivocation(&held, new)),
    }
}

fn outcome(take: bool) -> Outcome {
    if take {
        Outcome::Changed
    } else {
        Outcome::Known
    }
}

/// A list named later must not have a lower sequence, nor the same one with other bytes.
fn advances(old: &ListRef, new: &ListRef) -> bool {
    new.sequence > old.sequence || new == old
}

/// What decides which provider certificates are kept.
fn grounds(m: &MediatorTrust) -> (Vec<RecordId>, Option<RecordId>, Vec<RecordId>) {
    (
        m.certificates.iter().map(|c| c.id()).collect(),
        m.directory().map(|d| d.id()),
        m.regions.ids(),
    )
}

impl TrustView {
    /// Changes a mediator and brings what depends on it into step: the provider certificates that are
    /// kept, and the index of regions.
    pub(super) fn change(&mut self, id: &MediatorId, f: impl FnOnce(&mut MediatorTrust)) {
        let inner = self.inner();
        let Some(kept) = inner.mediators.get_mut(id) else {
            return;
        };
        let indexed = |m: &MediatorTrust| {
            let at = m.status().map(|s| s.regions).filter(|_| m.registered())?;
            m.regions.get(&at).cloned()
        };
        let m = Arc::make_mut(kept);
        let (old, before) = (indexed(m), grounds(m));
        f(m);
        if grounds(m) != before {
            let gone: Vec<(RecordId, u64)> = m
                .providers()
                .filter(|c| m.keeps(c).is_err())
                .map(|c| (c.id(), c.serial))
                .collect();
            for (certificate, serial) in gone {
                m.drop_provider(&certificate, serial);
                inner.owners.remove(&certificate);
            }
        }
        let new = indexed(m);
        if old.as_ref().map(|l| l.id()) != new.as_ref().map(|l| l.id()) {
            for r in old.iter().flat_map(|l| l.regions.iter()) {
                inner.regions.remove(&r.id);
            }
            for r in new.iter().flat_map(|l| l.regions.iter()) {
                inner.regions.insert(r.id, *id);
            }
        }
    }

    pub(super) fn accept_certificate(
        &mut self,
        new: Arc<Verified<MediatorCertificate>>,
    ) -> Result<Outcome, Refused> {
        let m = self.standing(&new.mediator)?;
        let at = m
            .certificates
            .partition_point(|c| c.sequence > new.sequence);
        if let Some(held) = m
            .certificates
            .get(at)
            .filter(|c| c.sequence == new.sequence)
        {
            return if held.id() == new.id() {
                Ok(Outcome::Known)
            } else {
                Err(equivocation(held, &new))
            };
        }
        if at >= MAX_MEDIATOR_CERTIFICATES {
            return Err(Problem::Rollback.into());
        }
        let id = new.mediator;
        self.change(&id, |m| {
            m.certificates.insert(at, new);
            m.certificates.truncate(MAX_MEDIATOR_CERTIFICATES);
            // With other keys, what the former ones said is over until it is signed anew; the
            // provider certificates stay, for the directory names them by their hash.
            m.prune();
        });
        Ok(Outcome::Changed)
    }

    pub(super) fn accept_regions(
        &mut self,
        new: Arc<Verified<RegionList>>,
        registration: &RecordId,
    ) -> Result<Outcome, Refused> {
        let m = self.standing(&new.mediator)?;
        let key = *m.may_list(new.signer().as_bytes(), false)?;
        if m.registration.id() != *registration {
            // Its areas were measured by another registration.
            return Err(Problem::Busy.into());
        }
        let named = m.named_regions();
        let take = settle(m.regions.consider(&new, named, &key), &new)?;
        if take {
            let id = new.mediator;
            self.change(&id, |m| m.regions.insert(new, named));
        }
        Ok(outcome(take))
    }

    pub(super) fn accept_directory(
        &mut self,
        new: Arc<Verified<Directory>>,
    ) -> Result<Outcome, Refused> {
        let m = self.standing(&new.mediator)?;
        let key = *m.may_list(new.signer().as_bytes(), false)?;
        let named = m.named_directories();
        let take = settle(m.directories.consider(&new, named, &key), &new)?;
        if take {
            let id = new.mediator;
            self.change(&id, |m| m.directories.insert(new, named));
        }
        Ok(outcome(take))
    }

    pub(super) fn accept_revocations(
        &mut self,
        new: Arc<Verified<Revocations>>,
    ) -> Result<Outcome, Refused> {
        let m = self.standing(&new.mediator)?;
        m.may_list(new.signer().as_bytes(), true)?;
        let key = m.certificate().ok_or(Problem::BrokenChain)?.signing;
        let named = m.named_revocations();
        let take = settle(m.revocations.consider(&new, named, &key), &new)?;
        if take {
            let id = new.mediator;
            self.change(&id, |m| m.revocations.insert(new, named));
        }
        Ok(outcome(take))
    }

    pub(super) fn accept_status(&mut self, new: Arc<Verified<Status>>) -> Result<Outcome, Refused> {
        let m = self.standing(&new.mediator)?;
        let key = m.may_list(new.signer().as_bytes(), true)?;
        let by_delegate = m.certificate().is_some_and(|c| c.status == *key);
        let held = if by_delegate { &m.redated } else { &m.base };
        if let Some(held) = held {
            if held.id() == new.id() {
                return Ok(Outcome::Known);
            }
            if held.sequence == new.sequence {
                return Err(equivocation(held, &new));
            }
            if held.sequence > new.sequence {
                return Err(Problem::Rollback.into());
            }
        }
        if by_delegate {
            m.accepts_redated(&new)?
        } else {
            m.accepts_base(&new)?
        }
        let id = new.mediator;
        self.change(&id, |m| {
            if by_delegate {
                m.redated = Some(new);
            } else {
                m.base = Some(new);
            }
            m.prune();
        });
        Ok(Outcome::Changed)
    }

    pub(super) fn accept_provider(
        &mut self,
        new: Arc<Verified<ProviderCertificate>>,
    ) -> Result<Outcome, Refused> {
        let m = self.standing(&new.mediator)?;
        m.keeps(&new)?;
        let mut displaced = None;
        if let Some(held) = m
            .serials
            .get(&new.serial)
            .and_then(|id| m.providers.get(id))
        {
            if held.id() == new.id() {
                return Ok(Outcome::Known);
            }
            // The directory decides; else the first stays.
            if m.listed(&held.id()) || !m.listed(&new.id()) {
                return Err(equivocation(held, &new));
            }
            displaced = Some(held.id());
        } else if m.providers.len() >= MAX_PROVIDERS {
            return Err(Problem::CapReached.into());
        }
        let inner = self.inner();
        let Some(kept) = inner.mediators.get_mut(&new.mediator) else {
            return Err(Problem::BrokenChain.into());
        };
        let m = Arc::make_mut(kept);
        if let Some(id) = displaced {
            m.drop_provider(&id, new.serial);
            inner.owners.remove(&id);
        }
        inner.owners.insert(new.id(), new.mediator);
        m.serials.insert(new.serial, new.id());
        m.providers.insert(new.id(), new);
        Ok(Outcome::Changed)
    }
}

impl MediatorTrust {
    fn drop_provider(&mut self, id: &RecordId, serial: u64) {
        self.providers.remove(id);
        self.serials.remove(&serial);
    }

    /// Forgets all that rests on the registration.
    pub(super) fn clear(&mut self) {
        self.certificates.clear();
        self.regions.clear();
        self.directories.clear();
        self.revocations.clear();
        self.base = None;
        self.redated = None;
    }

    /// The rules for a status of the signing key: what it names is here and goes backwards nowhere.
    fn accepts_base(&self, new: &Status) -> Result<(), Problem> {
        let regions = self.regions.get(&new.regions).ok_or(Problem::NotFound)?;
        self.directories
            .get(&new.directory)
            .ok_or(Problem::NotFound)?;
        self.revocations
            .get(&new.revocations)
            .ok_or(Problem::NotFound)?;
        let Some(old) = &self.base else { return Ok(()) };
        let forward = advances(&old.regions, &new.regions)
            && advances(&old.directory, &new.directory)
            && advances(&old.revocations, &new.revocations);
        if !forward {
            return Err(Problem::Rollback);
        }
        match self.regions.get(&old.regions) {
            Some(old) => rules::versions_grow(old, regions),
            None => Ok(()),
        }
    }

    /// The rules for a status of the status key: as by [`Self::may_redate`], and no revocation that it
    /// has added before is missing.
    fn accepts_redated(&self, new: &Status) -> Result<(), Problem> {
        self.may_redate(new)?;
        let (Some(new), Some(old)) = (self.revocations.get(&new.revocations), self.revocations())
        else {
            return Ok(());
        };
        if includes(&new.serials, &old.serials) {
            Ok(())
        } else {
            Err(Problem::WrongSigner)
        }
    }
}
