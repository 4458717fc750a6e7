//! Revocations, and the letters that bring certificates and region keys to the providers that remain.

use rand_core::CryptoRng;

use super::press::{Content, Press};
use super::state::{PastKept, ProviderKept, RevokedKept};
use super::{Mediator, MediatorEvent, PublishError};
use crate::booking::{Approval, RegionSecret, Verdict};
use crate::bounded::{Bytes, List, Text};
use crate::cose::sign;
use crate::id::{MailboxId, RegionId};
use crate::key::SealingKey;
use crate::seal::Purpose;
use crate::time::{Seconds, Time};

/// How long the copy of an application is kept after its certificate is over.
const KEPT_AFTER: Seconds = Seconds::days(365);
/// How many such copies are kept at most; the oldest go first.
const MAX_PAST: usize = 16 * 1024;

impl Mediator {
    /// Revokes a provider: this certificate and every other of the same provider. Publishes them as
    /// revoked, gives their regions new keys, and sends those to the providers that remain. The reason
    /// is kept here and told the provider.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn revoke<R: CryptoRng + ?Sized>(
        &mut self,
        serial: u64,
        reason: Text<400>,
        now: Time,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        self.prepare(now)?;
        let signing = self
            .state
            .providers
            .get(&serial)
            .ok_or(PublishError::UnknownSerial(serial))?
            .signing;
        let theirs = |p: &ProviderKept| p.signing == signing;
        let serials: Vec<u64> = self
            .state
            .providers
            .iter()
            .filter(|(_, p)| theirs(p))
            .map(|(s, _)| *s)
            .collect();
        let mut regions: Vec<RegionId> = self
            .state
            .providers
            .values()
            .filter(|p| theirs(p))
            .flat_map(|p| p.regions.to_vec())
            .filter(|r| self.state.regions.contains_key(r))
            .collect();
        regions.sort();
        regions.dedup();
        let kept = self.rotated(&regions, now, rng)?;
        let mut press = Press::new(&self.state, &self.view);
        let mut content = Content::of(&self.state);
        content.regions = &kept;
        content.revoked.extend(&serials);
        content.certificates = self
            .state
            .providers
            .values()
            .filter(|p| !theirs(p))
            .map(|p| p.id)
            .collect();
        let lists = press.lists(&self.state, content, now)?;
        self.commit(press.done(), Some(lists));
        self.state.regions = kept;
        // The newest mailbox is the one that the provider reads.
        if let Some(p) = serials.last().and_then(|s| self.state.providers.get(s)) {
            let (answer, sealing) = (p.answer, p.sealing);
            // That it cannot be told does not keep the revocation from standing.
            let _told = self.send(&answer, &sealing, &Verdict::Rejected(reason.clone()), rng);
        }
        for serial in serials {
            if let Some(provider) = self.state.providers.remove(&serial) {
                self.strike(serial, provider, reason.clone(), now);
            }
        }
        self.reseal(&regions, rng);
        Ok(())
    }

    /// The revoked certificates whose serials are still listed, with the reasons.
    pub fn revoked(&self) -> impl Iterator<Item = (u64, &Text<400>)> {
        self.state.revoked.iter().map(|(s, r)| (*s, &r.reason))
    }

    /// Takes over the serials that the status key has revoked. Their regions are due for new keys.
    pub(super) fn absorb(&mut self, now: Time) {
        for serial in self.struck() {
            let Some(provider) = self.state.providers.remove(&serial) else {
                continue;
            };
            for region in &provider.regions {
                if let Some(region) = self.state.regions.get_mut(region) {
                    region.renewed = Time::ZERO;
                }
            }
            let reason = Text::default();
            self.strike(serial, provider, reason, now);
        }
    }

    /// The serials that the status key has revoked, and that have not been taken over.
    pub(super) fn struck(&self) -> Vec<u64> {
        let list = self.view.mediator(&self.id()).and_then(|m| m.revocations());
        let serials = list.iter().flat_map(|list| list.serials.iter());
        serials
            .filter(|s| self.state.providers.contains_key(s))
            .copied()
            .collect()
    }

    /// Moves a provider to the revoked.
    fn strike(&mut self, serial: u64, provider: ProviderKept, reason: Text<400>, now: Time) {
        let revoked = RevokedKept {
            expires: provider.expires,
            reason: reason.clone(),
        };
        self.state.revoked.insert(serial, revoked);
        self.remember(serial, provider, Some(reason), now);
    }

    /// Keeps the copy of a provider's application after its certificate is over.
    pub(super) fn remember(
        &mut self,
        serial: u64,
        provider: ProviderKept,
        reason: Option<Text<400>>,
        now: Time,
    ) {
        let past = PastKept {
            name: provider.name,
            ended: now,
            reason,
            copy: provider.copy,
        };
        self.state.past.insert(serial, past);
        while self.state.past.len() > MAX_PAST {
            self.state.past.pop_first();
        }
    }

    /// Moves what has expired out of the lists' content. Says whether anything did.
    pub(super) fn retire(&mut self, now: Time) -> bool {
        let over: Vec<u64> = self
            .state
            .providers
            .iter()
            .filter(|(_, p)| now > p.expires)
            .map(|(s, _)| *s)
            .collect();
        let some = !over.is_empty();
        for serial in over {
            if let Some(provider) = self.state.providers.remove(&serial) {
                self.remember(serial, provider, None, now);
            }
        }
        self.state.revoked.retain(|_, r| now <= r.expires);
        self.state
            .past
            .retain(|_, p| now <= p.ended.plus(KEPT_AFTER));
        some
    }

    /// Providers whose certificate ended within the last year: serial, name, when, and why if revoked.
    pub fn past(&self) -> impl Iterator<Item = (u64, &Text<120>, Time, Option<&Text<400>>)> {
        self.state
            .past
            .iter()
            .map(|(s, p)| (*s, &p.name, p.ended, p.reason.as_ref()))
    }

    /// Sends the current secrets of some regions to all their providers, each once.
    pub(super) fn reseal<R: CryptoRng + ?Sized>(&mut self, regions: &[RegionId], rng: &mut R) {
        for serial in self.newest() {
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

    /// Sends a certificate with the secrets of all its regions.
    pub(super) fn send_certificate<R: CryptoRng + ?Sized>(&mut self, serial: u64, rng: &mut R) {
        if let Some(provider) = self.state.providers.get(&serial) {
            let regions = provider.regions.to_vec();
            self.send_secrets(serial, &regions, rng);
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
            // Its mailbox is full or over: the provider must apply anew.
            self.events.push(MediatorEvent::Unanswerable { serial });
        }
    }

    pub(super) fn send<R: CryptoRng + ?Sized>(
        &mut self,
        answer: &MailboxId,
        to: &SealingKey,
        verdict: &Verdict,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        let mailbox = self
            .state
            .answers
            .get(answer)
            .map(|a| &a.out.mailbox)
            .ok_or(PublishError::AnswerOver)?;
        let key = self
            .writer(mailbox)
            .cloned()
            .ok_or(PublishError::AnswerOver)?;
        let signed = zeroize::Zeroizing::new(sign(verdict, &key));
        self.state
            .answers
            .get_mut(answer)
            .ok_or(PublishError::AnswerOver)?
            .out
            .push(&key, to, Purpose::Approval, &signed, rng)
            .map_err(|_| PublishError::AnswerOver)
    }
}
