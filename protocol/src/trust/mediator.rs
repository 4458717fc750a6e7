//! What a view holds of one mediator.

use std::sync::Arc;

use super::lists::{Lists, Named};
use super::shards::ShardMap;
use crate::cose::Verified;
use crate::federation::{MediatorRegistration, Roster};
use crate::id::{RecordId, RegionId};
use crate::key::VerifyingKey;
use crate::mediation::{
    Directory, ListRef, MediatorCertificate, ProviderCertificate, Region, RegionList, Revocations,
    Status,
};
use crate::problem::Problem;
use crate::time::Time;

/// One mediator: its registration and everything it has published that is still of use.
///
/// The getters give what is latest; whether it is unexpired, [`super::TrustView::provider`] asks.
#[derive(Clone, Debug)]
pub struct MediatorTrust {
    pub(super) registration: Arc<Verified<MediatorRegistration>>,
    /// Whether enough operators of the current roster signed the registration.
    pub(super) registered: bool,
    /// Newest first.
    pub(super) certificates: Vec<Arc<Verified<MediatorCertificate>>>,
    pub(super) regions: Lists<RegionList>,
    pub(super) directories: Lists<Directory>,
    pub(super) revocations: Lists<Revocations>,
    /// The last status of the signing key: what a re-dated one may change is measured by it.
    pub(super) base: Option<Arc<Verified<Status>>>,
    /// The last status of the status key, if newer.
    pub(super) redated: Option<Arc<Verified<Status>>>,
    pub(super) providers: ShardMap<RecordId, Arc<Verified<ProviderCertificate>>>,
    pub(super) serials: ShardMap<u64, RecordId>,
}

/// Whether enough operators of a roster signed a registration.
pub(super) fn qualifies(registration: &Verified<MediatorRegistration>, roster: &Roster) -> bool {
    let signed = roster
        .operators
        .iter()
        .filter(|o| registration.signers().any(|s| *s == o.key))
        .count();
    signed >= usize::from(roster.params.mediator_signatures)
}

impl MediatorTrust {
    pub(super) fn new(registration: Arc<Verified<MediatorRegistration>>, registered: bool) -> Self {
        MediatorTrust {
            registration,
            registered,
            certificates: Vec::new(),
            regions: Lists::new(),
            directories: Lists::new(),
            revocations: Lists::new(),
            base: None,
            redated: None,
            providers: ShardMap::new(),
            serials: ShardMap::new(),
        }
    }

    /// The latest registration.
    #[must_use]
    pub fn registration(&self) -> &Verified<MediatorRegistration> {
        &self.registration
    }

    /// Whether the registration is signed by enough operators of the current roster and names at
    /// least one area. It says nothing about expiry.
    #[must_use]
    pub fn registered(&self) -> bool {
        self.registered && !self.withdrawn()
    }

    pub(super) fn withdrawn(&self) -> bool {
        self.registration.areas.is_empty()
    }

    /// The certificate with the mediator's current keys.
    #[must_use]
    pub fn certificate(&self) -> Option<&Verified<MediatorCertificate>> {
        self.certificates.first().map(|c| &**c)
    }

    /// The certificates that are kept, newest first: with the keys of the earlier ones, provider
    /// certificates and letters of their time are checked.
    pub fn certificates(&self) -> impl Iterator<Item = &Verified<MediatorCertificate>> {
        self.certificates.iter().map(|c| &**c)
    }

    /// Whether a postal code lies in an area of the registration.
    #[must_use]
    pub fn serves(&self, postal_code: &str) -> bool {
        self.registration
            .areas
            .iter()
            .any(|area| postal_code.starts_with(area.as_str()))
    }

    /// The latest status.
    #[must_use]
    pub fn status(&self) -> Option<&Verified<Status>> {
        self.redated.as_ref().or(self.base.as_ref()).map(|s| &**s)
    }

    /// The region list that the latest status names.
    #[must_use]
    pub fn regions(&self) -> Option<&Verified<RegionList>> {
        self.regions.get(&self.status()?.regions).map(|l| &**l)
    }

    /// The directory that the latest status names.
    #[must_use]
    pub fn directory(&self) -> Option<&Verified<Directory>> {
        self.directories
            .get(&self.status()?.directory)
            .map(|l| &**l)
    }

    /// The revocations that the latest status names.
    #[must_use]
    pub fn revocations(&self) -> Option<&Verified<Revocations>> {
        self.revocations
            .get(&self.status()?.revocations)
            .map(|l| &**l)
    }

    /// The provider certificates that are held, in force or not.
    pub fn providers(&self) -> impl Iterator<Item = &Verified<ProviderCertificate>> {
        self.providers.iter().map(|(_, c)| &**c)
    }

    pub(super) fn listed(&self, id: &RecordId) -> bool {
        self.directory()
            .is_some_and(|d| d.certificates.binary_search(id).is_ok())
    }

    fn named(&self, of: impl Fn(&Status) -> ListRef) -> Named {
        Named {
            base: self.base.as_ref().map(|s| of(s)),
            redated: self.redated.as_ref().map(|s| of(s)),
        }
    }

    pub(super) fn named_regions(&self) -> Named {
        self.named(|s| s.regions)
    }

    pub(super) fn named_directories(&self) -> Named {
        self.named(|s| s.directory)
    }

    pub(super) fn named_revocations(&self) -> Named {
        self.named(|s| s.revocations)
    }

    /// Whether a signing key that the mediator has or had signed a provider certificate, in the life
    /// of the certificate that names the key.
    pub(super) fn may_certify(&self, signer: &[u8; 32], issued: Time) -> bool {
        self.certificates
            .iter()
            .any(|c| c.signing.as_bytes() == signer && issued <= c.expires)
    }

    /// Whether a key may sign a list or status now.
    pub(super) fn may_list(
        &self,
        signer: &[u8; 32],
        delegated: bool,
    ) -> Result<&VerifyingKey, Problem> {
        let current = self.certificates.first().ok_or(Problem::BrokenChain)?;
        if current.signing.as_bytes() == signer {
            return Ok(&current.signing);
        }
        if current.status.as_bytes() == signer {
            return if delegated {
                Ok(&current.status)
            } else {
                Err(Problem::WrongSigner)
            };
        }
        // A key of an earlier certificate is over; one never seen may be that of the next.
        let earlier = self.certificates.iter().any(|c| {
            [&c.signing, &c.status]
                .iter()
                .any(|k| k.as_bytes() == signer)
        });
        Err(if earlier {
            Problem::WrongSigner
        } else {
            Problem::BrokenChain
        })
    }

    pub(super) fn region(&self, id: &RegionId) -> Option<&Region> {
        find_region(self.regions()?, id)
    }

    /// Why a provider certificate is not worth keeping, if it is not.
    pub(super) fn keeps(&self, c: &Verified<ProviderCertificate>) -> Result<(), Problem> {
        if !self.may_certify(c.signer().as_bytes(), c.issued) {
            return Err(Problem::BrokenChain);
        }
        if !c
            .regions
            .iter()
            .all(|r| self.regions.iter().any(|l| find_region(l, r).is_some()))
        {
            return Err(Problem::UnknownRegion);
        }
        match self.directory() {
            Some(d) if c.issued < d.issued && !self.listed(&c.id()) => {
                Err(Problem::UnknownCertificate)
            }
            _ => Ok(()),
        }
    }

    /// Drops what the current keys did not sign and what no status needs.
    pub(super) fn prune(&mut self) {
        let Some(current) = self.certificates.first() else {
            return;
        };
        let (signing, status) = (current.signing, current.status);
        self.regions.retain(|l| *l.signer() == signing);
        self.directories.retain(|l| *l.signer() == signing);
        self.revocations
            .retain(|l| [signing, status].contains(l.signer()));
        let based = self.base.as_ref().is_some_and(|s| {
            *s.signer() == signing
                && self.regions.get(&s.regions).is_some()
                && self.directories.get(&s.directory).is_some()
                && self.revocations.get(&s.revocations).is_some()
        });
        if !based {
            self.base = None;
        }
        let redated = self
            .redated
            .as_ref()
            .is_some_and(|s| *s.signer() == status && self.may_redate(s).is_ok());
        if !redated {
            self.redated = None;
        }
        let (r, d, v) = (
            self.named_regions(),
            self.named_directories(),
            self.named_revocations(),
        );
        self.regions.prune(r, &signing);
        self.directories.prune(d, &signing);
        self.revocations.prune(v, &signing);
    }

    /// Whether a status by the status key changes nothing that it may not, measured by the last one
    /// of the signing key.
    pub(super) fn may_redate(&self, s: &Status) -> Result<(), Problem> {
        let base = self.base.as_ref().ok_or(Problem::NotFound)?;
        if s.sequence <= base.sequence {
            return Err(Problem::Rollback);
        }
        if (s.regions, s.directory) != (base.regions, base.directory) {
            // It may rest on a newer status of the signing key, or on an older one.
            let older = s.regions.sequence <= base.regions.sequence
                && s.directory.sequence <= base.directory.sequence;
            let same = s.regions.sequence == base.regions.sequence
                && s.directory.sequence == base.directory.sequence;
            return Err(match (same, older) {
                (true, _) => Problem::WrongSigner,
                (_, true) => Problem::Rollback,
                _ => Problem::NotFound,
            });
        }
        let list = self
            .revocations
            .get(&s.revocations)
            .ok_or(Problem::NotFound)?;
        let least = self
            .revocations
            .get(&base.revocations)
            .ok_or(Problem::NotFound)?;
        if includes(&list.serials, &least.serials) {
            Ok(())
        } else {
            Err(Problem::WrongSigner)
        }
    }

    /// The bytes of a record held, provider certificates aside.
    pub(super) fn statement(&self, id: &RecordId) -> Option<&Arc<[u8]>> {
        let statuses = [&self.base, &self.redated].into_iter().flatten();
        core::iter::once((self.registration.id(), self.registration.bytes()))
            .chain(self.certificates.iter().map(|c| (c.id(), c.bytes())))
            .chain(statuses.map(|s| (s.id(), s.bytes())))
            .chain(self.lists())
            .find_map(|(of, bytes)| (of == *id).then_some(bytes))
    }

    fn lists(&self) -> impl Iterator<Item = (RecordId, &Arc<[u8]>)> {
        let regions = self.regions.iter().map(|l| (l.id(), l.bytes()));
        let directories = self.directories.iter().map(|l| (l.id(), l.bytes()));
        regions
            .chain(directories)
            .chain(self.revocations.iter().map(|l| (l.id(), l.bytes())))
    }

    /// Every record held, each after those that its acceptance needs.
    pub(super) fn records(&self) -> impl Iterator<Item = (RecordId, &Arc<[u8]>)> {
        let mut out = vec![(self.registration.id(), self.registration.bytes())];
        out.extend(self.certificates.iter().map(|c| (c.id(), c.bytes())));
        // What the signing key's status names goes with it before anything newer, so that a view
        // that takes them in this order never has more pending than it keeps.
        let mut named = Vec::new();
        for status in [&self.base, &self.redated].into_iter().flatten() {
            named.extend(
                self.regions
                    .get(&status.regions)
                    .map(|l| (l.id(), l.bytes())),
            );
            named.extend(
                self.directories
                    .get(&status.directory)
                    .map(|l| (l.id(), l.bytes())),
            );
            named.extend(
                self.revocations
                    .get(&status.revocations)
                    .map(|l| (l.id(), l.bytes())),
            );
            named.push((status.id(), status.bytes()));
        }
        for record in named.into_iter().chain(self.lists()) {
            if !out.iter().any(|(id, _)| *id == record.0) {
                out.push(record);
            }
        }
        out.into_iter()
            .chain(self.providers.iter().map(|(id, c)| (*id, c.bytes())))
    }
}

fn find_region<'a>(list: &'a RegionList, id: &RegionId) -> Option<&'a Region> {
    let at = list.regions.binary_search_by(|r| r.id.cmp(id)).ok()?;
    list.regions.get(at)
}

/// Whether sorted `all` has every element of sorted `some`.
pub(super) fn includes(all: &[u64], some: &[u64]) -> bool {
    let mut all = all.iter();
    some.iter()
        .all(|s| all.by_ref().find(|a| *a >= s) == Some(s))
}
