//! Verdicts: applications approved or rejected, certificates renewed, and who is certified.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRng;

use super::keys::{open_copy, seal_copy};
use super::press::{Content, Press};
use super::state::{CopyKept, ProviderKept};
use super::{Mediator, MediatorEvent, PublishError};
use crate::booking::{Application, Verdict};
use crate::bounded::{List, Text};
use crate::cose::{parse, sign};
use crate::hash::record_hash;
use crate::id::{RecordId, RegionId};
use crate::mediation::{MAX_PROVIDER_REGIONS, ProviderCertificate};
use crate::problem::Problem;
use crate::time::{Seconds, Time};

/// How many decided applications are remembered, so that a copy of one is not shown again.
const MAX_DECIDED: usize = 4096;
/// How long before its end the mediator is told of a certificate.
const SOON: Seconds = Seconds::days(14);

/// A certified provider, as the mediator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedProvider {
    /// The certificate's serial.
    pub serial: u64,
    /// The practice's name.
    pub name: Text<120>,
    /// The regions of the certificate.
    pub regions: Vec<RegionId>,
    /// When the certificate ends.
    pub expires: Time,
    /// The same provider holds a later certificate: this one runs out beside it.
    pub superseded: bool,
}

impl Mediator {
    /// The applications that wait for a decision.
    pub fn applications(&self) -> impl Iterator<Item = (RecordId, &Application)> {
        self.state
            .applications
            .iter()
            .filter(|(_, a)| !a.decided)
            .map(|(id, a)| (*id, &a.application))
    }

    /// The certificates in force, by serial.
    pub fn providers(&self) -> impl Iterator<Item = CertifiedProvider> {
        let newest = self.newest();
        self.state
            .providers
            .iter()
            .map(move |(serial, p)| CertifiedProvider {
                serial: *serial,
                name: p.name.clone(),
                regions: p.regions.to_vec(),
                expires: p.expires,
                superseded: !newest.contains(serial),
            })
    }

    /// The certificates that end within so long and have no successor, the first to end first.
    #[must_use]
    pub fn expiring(&self, within: Seconds, now: Time) -> Vec<CertifiedProvider> {
        let mut soon: Vec<_> = self
            .providers()
            .filter(|p| !p.superseded && p.expires <= now.plus(within))
            .collect();
        soon.sort_by_key(|p| (p.expires, p.serial));
        soon
    }

    /// Of each provider, the serial of the certificate that lasts longest; of equals, the last.
    pub(super) fn newest(&self) -> BTreeSet<u64> {
        let mut newest: BTreeMap<&[u8; 32], (Time, u64)> = BTreeMap::new();
        for (serial, p) in self.state.providers.iter() {
            let best = newest.entry(p.signing.as_bytes()).or_default();
            *best = (*best).max((p.expires, *serial));
        }
        newest.into_values().map(|(_, serial)| serial).collect()
    }

    /// The copy for later control: the application by which a provider was certified, in force or
    /// over within the last year, as the provider signed it, sealed to this mediator.
    #[must_use]
    pub fn sealed_application(&self, serial: u64) -> Option<&[u8]> {
        self.copy(serial).map(|c| &*c.sealed)
    }

    /// Opens that copy.
    ///
    /// # Errors
    /// [`PublishError::UnknownSerial`] where there is none, [`PublishError::Refused`] where it does
    /// not open or is not what the provider signed.
    pub fn application(&self, serial: u64) -> Result<Application, PublishError> {
        let copy = self
            .copy(serial)
            .ok_or(PublishError::UnknownSerial(serial))?;
        let plain = open_copy(copy, &self.state.keys.sealing).ok_or(Problem::Malformed)?;
        let signed = parse::<Application>(&plain).map_err(Problem::from)?;
        if signed.id() != copy.application {
            return Err(Problem::Malformed.into());
        }
        let key = signed.unverified().signing;
        Ok(signed.verify(&key).map_err(Problem::from)?.into_value())
    }

    fn copy(&self, serial: u64) -> Option<&CopyKept> {
        let current = self.state.providers.get(&serial).map(|p| &p.copy);
        current.or_else(|| self.state.past.get(&serial).map(|p| &p.copy))
    }

    /// Approves an application: for all regions that it asks for, or for these of them, for so many
    /// days, but not longer than the mailbox lives through which region keys reach the provider.
    /// Publishes certificate, directory and status, then answers with certificate and region
    /// secrets. Gives the serial. An earlier certificate of the same provider runs out beside it.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn approve<R: CryptoRng + ?Sized>(
        &mut self,
        id: &RecordId,
        regions: Option<List<RegionId, MAX_PROVIDER_REGIONS>>,
        days: u16,
        now: Time,
        rng: &mut R,
    ) -> Result<u64, PublishError> {
        let expires = lasting(days, now)?;
        self.prepare(now)?;
        let asked = self.undecided(id)?;
        let expires = expires.min(asked.answer.expires());
        let regions = self.granted(asked, regions)?;
        let serial = self.state.next_serial;
        let certificate = ProviderCertificate {
            mediator: self.id(),
            serial,
            signing: asked.signing,
            sealing: asked.sealing,
            regions: regions.clone(),
            practice: asked.practice.hash(),
            issued: now,
            expires,
        };
        let bytes = sign(&certificate, &self.state.keys.signing);
        let signed = self
            .state
            .applications
            .get(id)
            .map(|a| a.signed.clone())
            .ok_or(PublishError::UnknownApplication)?;
        let sealed = seal_copy(id, &signed, &self.state.keys.sealing.public(), rng)
            .ok_or(Problem::TooLarge)?;
        let provider = ProviderKept {
            id: record_hash(&bytes),
            certificate: bytes.into(),
            name: asked.practice.name.clone(),
            signing: asked.signing,
            sealing: asked.sealing,
            regions,
            answer: asked.answer.id(),
            expires,
            noticed: false,
            copy: CopyKept {
                application: *id,
                sealed,
            },
        };
        self.enlist(provider, now, rng)?;
        self.decide(id);
        Ok(serial)
    }

    /// The regions to certify for: those that were chosen, in place of all that were asked for.
    fn granted(
        &self,
        asked: &Application,
        chosen: Option<List<RegionId, MAX_PROVIDER_REGIONS>>,
    ) -> Result<List<RegionId, MAX_PROVIDER_REGIONS>, PublishError> {
        let mut regions = chosen.unwrap_or_else(|| asked.regions.clone()).into_vec();
        regions.sort();
        regions.dedup();
        if regions.is_empty() {
            return Err(PublishError::NoRegion);
        }
        for id in &regions {
            if !asked.regions.contains(id) {
                return Err(PublishError::NotAsked(*id));
            }
            let region = self
                .state
                .regions
                .get(id)
                .ok_or(PublishError::UnknownRegion(*id))?;
            // The operators may have narrowed the areas since.
            self.within_areas(&region.postal_codes)?;
        }
        List::try_from(regions).map_err(|_| PublishError::TooMany)
    }

    /// Gives a provider a new certificate for the same keys, practice and regions, under a new serial,
    /// for so many days from now, but not longer than its mailbox lives; the one before runs out beside
    /// it. Who has moved or wants other regions applies anew instead.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then. [`PublishError::AnswerOver`] where it could not be sent.
    pub fn renew<R: CryptoRng + ?Sized>(
        &mut self,
        serial: u64,
        days: u16,
        now: Time,
        rng: &mut R,
    ) -> Result<u64, PublishError> {
        let expires = lasting(days, now)?;
        self.prepare(now)?;
        let provider = self
            .state
            .providers
            .get(&serial)
            .ok_or(PublishError::UnknownSerial(serial))?;
        let answer = self
            .state
            .answers
            .get(&provider.answer)
            .map(|a| &a.out)
            .filter(|out| out.mailbox.slots.contains(out.next))
            .ok_or(PublishError::AnswerOver)?;
        let expires = expires.min(answer.mailbox.expires());
        if expires <= provider.expires {
            return Err(PublishError::AnswerOver);
        }
        let next = self.state.next_serial;
        let again = self.issue(provider, next, provider.regions.clone(), expires, now)?;
        self.enlist(again, now, rng)?;
        Ok(next)
    }

    /// A new certificate for a provider that has one.
    pub(super) fn issue(
        &self,
        provider: &ProviderKept,
        serial: u64,
        regions: List<RegionId, MAX_PROVIDER_REGIONS>,
        expires: Time,
        now: Time,
    ) -> Result<ProviderKept, PublishError> {
        let last = parse::<ProviderCertificate>(&provider.certificate).map_err(Problem::from)?;
        let certificate = ProviderCertificate {
            serial,
            regions: regions.clone(),
            issued: now,
            expires,
            ..last.unverified().clone()
        };
        let bytes = sign(&certificate, &self.state.keys.signing);
        Ok(ProviderKept {
            id: record_hash(&bytes),
            certificate: bytes.into(),
            regions,
            expires,
            noticed: false,
            ..provider.clone()
        })
    }

    /// Publishes a certificate and the lists with it, keeps it under the next serial, and sends it.
    fn enlist<R: CryptoRng + ?Sized>(
        &mut self,
        provider: ProviderKept,
        now: Time,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        let mut press = Press::new(&self.state, &self.view);
        press.put(provider.certificate.to_vec(), now)?;
        let mut content = Content::of(&self.state);
        content.certificates.push(provider.id);
        let lists = press.lists(&self.state, content, now)?;
        self.commit(press.done(), Some(lists));
        let serial = self.state.next_serial;
        self.state.next_serial = serial.saturating_add(1);
        self.state.providers.insert(serial, provider);
        self.send_certificate(serial, rng);
        Ok(())
    }

    /// Rejects an application, with a reason that the provider will read.
    ///
    /// # Errors
    /// [`PublishError::UnknownApplication`], [`PublishError::Decided`], or the answer cannot be
    /// written; nothing changed then.
    pub fn reject<R: CryptoRng + ?Sized>(
        &mut self,
        id: &RecordId,
        reason: Text<400>,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        let asked = self.undecided(id)?;
        let (answer, sealing) = (asked.answer.id(), asked.sealing);
        self.send(&answer, &sealing, &Verdict::Rejected(reason), rng)?;
        self.decide(id);
        Ok(())
    }

    fn undecided(&self, id: &RecordId) -> Result<&Application, PublishError> {
        match self.state.applications.get(id) {
            Some(kept) if !kept.decided => Ok(&kept.application),
            None if !self.state.decided.contains(id) => Err(PublishError::UnknownApplication),
            _ => Err(PublishError::Decided),
        }
    }

    fn decide(&mut self, id: &RecordId) {
        if let Some(kept) = self.state.applications.get_mut(id) {
            kept.decided = true;
        }
        if self.state.decided.len() >= MAX_DECIDED {
            self.state.decided.remove(0);
        }
        self.state.decided.push(*id);
    }

    /// Says once of each certificate that it ends soon.
    pub(super) fn notice_expiry(&mut self, now: Time) {
        let soon = |p: &ProviderKept| !p.noticed && p.expires <= now.plus(SOON);
        if !self.state.providers.values().any(soon) {
            return;
        }
        for p in self.expiring(SOON, now) {
            if let Some(kept) = self.state.providers.get_mut(&p.serial)
                && !kept.noticed
            {
                kept.noticed = true;
                self.events.push(MediatorEvent::ExpiresSoon {
                    serial: p.serial,
                    expires: p.expires,
                });
            }
        }
    }
}

fn lasting(days: u16, now: Time) -> Result<Time, PublishError> {
    if (1..=90).contains(&days) {
        Ok(now.plus(Seconds::days(u32::from(days))))
    } else {
        Err(PublishError::Life)
    }
}
