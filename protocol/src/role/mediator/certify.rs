//! Verdicts: certificates, rejections, revocations, and the region keys that go with them.

use rand_core::CryptoRng;

use super::press::Press;
use super::publish::PublishError;
use super::state::ProviderKept;
use super::{Mediator, MediatorEvent};
use crate::booking::{Application, Approval, RegionSecret, Verdict};
use crate::bounded::{Bytes, List, Text};
use crate::cose::sign;
use crate::hash::record_hash;
use crate::id::{MailboxId, RecordId, RegionId};
use crate::key::SealingKey;
use crate::mediation::{MAX_PROVIDER_REGIONS, ProviderCertificate};
use crate::seal::Purpose;
use crate::time::{Seconds, Time};

impl Mediator {
    /// The applications that wait for a decision.
    pub fn applications(&self) -> impl Iterator<Item = (RecordId, &Application)> {
        self.state
            .applications
            .iter()
            .filter(|(_, a)| !a.decided)
            .map(|(id, a)| (*id, &a.application))
    }

    /// The certified providers: serial and expiry.
    pub fn providers(&self) -> impl Iterator<Item = (u64, Time)> {
        self.state
            .providers
            .iter()
            .map(|(serial, p)| (*serial, p.expires))
    }

    /// A certified provider's application as it came, sealed to this mediator: for later control.
    #[must_use]
    pub fn sealed_application(&self, serial: u64) -> Option<&[u8]> {
        self.state.providers.get(&serial).map(|p| &*p.sealed)
    }

    /// Approves an application: for these regions, or those asked for, for so many days. Publishes
    /// certificate, directory and status, then answers with certificate and region secrets.
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
        if !(1..=90).contains(&days) {
            return Err(PublishError::Life);
        }
        let kept = self
            .state
            .applications
            .get(id)
            .filter(|a| !a.decided)
            .ok_or(PublishError::Unknown)?;
        let asked = kept.application.clone();
        let mut regions = regions.unwrap_or_else(|| asked.regions.clone()).into_vec();
        regions.sort();
        regions.dedup();
        if regions.is_empty() || regions.iter().any(|r| !self.state.regions.contains_key(r)) {
            return Err(PublishError::Unknown);
        }
        let regions = List::try_from(regions).map_err(|_| PublishError::TooMany)?;
        let serial = self.state.next_serial;
        let certificate = ProviderCertificate {
            mediator: self.id(),
            serial,
            signing: asked.signing,
            sealing: asked.sealing,
            regions: regions.clone(),
            practice: asked.practice.hash(),
            issued: now,
            expires: now.plus(Seconds::days(u32::from(days))),
        };
        let bytes = sign(&certificate, &self.state.signing);
        let provider = ProviderKept {
            certificate: bytes.clone().into(),
            id: record_hash(&bytes),
            sealing: asked.sealing,
            regions: regions.clone(),
            answer: asked.answer.id(),
            expires: certificate.expires,
            sealed: kept.sealed.clone(),
        };
        self.absorb();
        let mut press = Press::new(&self.state, &self.view);
        press.put(bytes, now)?;
        // The directory names it: it is in the state while the lists are made, and out again on error.
        self.state.providers.insert(serial, provider);
        let lists = match press.lists(&self.state, &self.state.regions, now) {
            Ok(lists) => lists,
            Err(error) => {
                self.state.providers.remove(&serial);
                return Err(error);
            }
        };
        let done = press.done();
        self.commit(done, lists);
        self.absorbed = false;
        self.state.next_serial = serial.saturating_add(1);
        self.decide(id);
        self.send_secrets(serial, &regions, rng);
        Ok(serial)
    }

    /// Rejects an application, with a reason that the provider will read.
    ///
    /// # Errors
    /// [`PublishError::Unknown`], or the answer cannot be written.
    pub fn reject<R: CryptoRng + ?Sized>(
        &mut self,
        id: &RecordId,
        reason: Text<400>,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        let kept = self
            .state
            .applications
            .get(id)
            .filter(|a| !a.decided)
            .ok_or(PublishError::Unknown)?;
        let (answer, sealing) = (kept.application.answer.id(), kept.application.sealing);
        self.send(&answer, &sealing, &Verdict::Rejected(reason), rng)?;
        self.decide(id);
        Ok(())
    }

    fn decide(&mut self, id: &RecordId) {
        if let Some(kept) = self.state.applications.get_mut(id) {
            kept.decided = true;
        }
    }

    /// Revokes a certificate: publishes it as revoked, gives its regions new keys, and sends those to
    /// the providers that remain.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn revoke<R: CryptoRng + ?Sized>(
        &mut self,
        serial: u64,
        now: Time,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        self.absorb();
        let provider = self
            .state
            .providers
            .remove(&serial)
            .ok_or(PublishError::Unknown)?;
        let regions = provider.regions.clone();
        self.state.revoked.insert(serial, provider.expires);
        let outcome = self
            .rotated(&regions, rng)
            .and_then(|kept| self.republish_with(kept, now));
        if let Err(error) = outcome {
            self.state.revoked.remove(&serial);
            self.state.providers.insert(serial, provider);
            return Err(error);
        }
        self.absorbed = false;
        self.reseal(&regions, rng);
        Ok(())
    }

    /// Sends the current secrets of some regions to all their providers.
    pub(super) fn reseal<R: CryptoRng + ?Sized>(&mut self, regions: &[RegionId], rng: &mut R) {
        let serials: Vec<u64> = self.state.providers.keys().copied().collect();
        for serial in serials {
            let Some(provider) = self.state.providers.get(&serial) else {
                continue;
            };
            let some: Vec<RegionId> = provider
                .regions
                .iter()
                .filter(|r| regions.contains(r))
                .copied()
                .collect();
            if !some.is_empty() {
                self.send_secrets(serial, &some, rng);
            }
        }
    }

    fn send_secrets<R: CryptoRng + ?Sized>(
        &mut self,
        serial: u64,
        regions: &[RegionId],
        rng: &mut R,
    ) {
        let Some(provider) = self.state.providers.get(&serial) else {
            return;
        };
        let secrets: Vec<RegionSecret> = regions
            .iter()
            .filter_map(|region| {
                let kept = self.state.regions.get(region)?;
                let secret = kept.secrets.get(&kept.version)?;
                Some(RegionSecret {
                    region: *region,
                    version: kept.version,
                    secret: *secret.to_secret_bytes(),
                })
            })
            .collect();
        let (answer, sealing) = (provider.answer, provider.sealing);
        let made = Bytes::try_from(&*provider.certificate)
            .and_then(|certificate| {
                Ok(Approval {
                    certificate,
                    secrets: List::try_from(secrets)?,
                })
            })
            .map_err(|_| PublishError::TooMany)
            .and_then(|approval| self.send(&answer, &sealing, &Verdict::Approved(approval), rng));
        if made.is_err() {
            // Its mailbox is full or gone: the provider must apply anew.
            self.events.push(MediatorEvent::Unanswerable { serial });
        }
    }

    fn send<R: CryptoRng + ?Sized>(
        &mut self,
        answer: &MailboxId,
        to: &SealingKey,
        verdict: &Verdict,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        let kept = self
            .state
            .answers
            .get_mut(answer)
            .ok_or(PublishError::Unknown)?;
        let signed = zeroize::Zeroizing::new(sign(verdict, &self.state.signing));
        Ok(kept
            .out
            .push(&self.state.signing, to, Purpose::Approval, &signed, rng)?)
    }
}
