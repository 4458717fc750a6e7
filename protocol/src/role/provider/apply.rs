//! From the application to the certificate, and the region keys that come later.

use rand_core::CryptoRng;

use super::state::{AnswerBox, Applied, Certified};
use super::{Provider, ProviderEvent, Task};
use crate::booking::{Application, Approval, RegionSecret, Verdict};
use crate::bounded::List;
use crate::client::Call;
use crate::cose::{parse, sign};
use crate::id::{MailboxId, MediatorId, RegionId};
use crate::key::SealingSecret;
use crate::mailbox::{Entry, Life, Page, Receipt, SlotClass, Writers};
use crate::mediation::MAX_PROVIDER_REGIONS;
use crate::problem::Problem;
use crate::role::kept::Seed;
use crate::role::letterbox::Letter;
use crate::role::talk::{Seen, mailbox, only, open_from, stale, transient};
use crate::seal::Purpose;
use crate::size::SizeClass;
use crate::time::Time;

/// How many versions of a region's key are kept: requests sealed to older ones have expired.
const KEPT_VERSIONS: usize = 8;

/// The last part of a certificate's life in which another is applied for: a third.
const RENEWAL: u64 = 3;

/// What became of a letter from the mediator.
enum Taken {
    Done,
    /// The view must learn more first.
    Later(Problem),
}

impl Provider {
    /// Applies to a mediator for regions, or anew with the same keys: for a renewal, or other regions.
    /// Work is done over the next polls; the answer comes as an event.
    pub fn apply(&mut self, mediator: MediatorId, regions: List<RegionId, MAX_PROVIDER_REGIONS>) {
        self.state.applied = Some(Applied {
            mediator,
            regions,
            answer: None,
            letter: None,
            written: false,
        });
    }

    /// Makes the application once the mediator's keys are known, and does its work by and by.
    pub(super) fn prepare_application<R: CryptoRng + ?Sized>(&mut self, now: Time, rng: &mut R) {
        self.renew(now);
        self.reapply(now);
        let Some(applied) = self.state.applied.as_mut().filter(|a| !a.written) else {
            return;
        };
        if applied.letter.is_none() {
            let Some(certificate) = self
                .view
                .mediator(&applied.mediator)
                .and_then(|m| m.certificate())
            else {
                return;
            };
            let read = Seed::generate(rng);
            let class = (SizeClass::Medium, SlotClass::Sixteen, Life::Days120);
            let answer = mailbox(
                &read.verifying_key(),
                only(&certificate.signing),
                class,
                now,
                rng,
            );
            let application = Application {
                mediator: applied.mediator,
                signing: self.state.signing.verifying_key(),
                sealing: self.state.sealing.public(),
                practice: self.state.practice.clone(),
                evidence: self.state.evidence.clone(),
                regions: applied.regions.clone(),
                answer: answer.clone(),
            };
            let bytes = sign(&application, &self.state.signing);
            let Ok(letter) = Letter::new(
                &certificate.inbox,
                &certificate.sealing,
                Purpose::Application,
                &bytes,
                rng,
            ) else {
                self.events.push(ProviderEvent::Refused(Problem::TooLarge));
                self.state.applied = None;
                return;
            };
            let id = answer.id();
            applied.answer = Some(id);
            applied.letter = Some(letter);
            let mediator = applied.mediator;
            let answer = AnswerBox {
                mediator,
                mailbox: answer,
                read,
                seen: Seen::new(),
                opened: false,
            };
            self.state.answers.insert(id, answer);
        }
        if let Some(letter) = &mut applied.letter {
            letter.work(self.pace.work);
        }
    }

    /// Applies anew for the same regions, once, when a certificate nears its end. What the mediator revoked
    /// is not asked for again.
    fn renew(&mut self, now: Time) {
        let due = self.renewal_due().is_some_and(|at| at <= now);
        if !due || self.ended(now) == Some(Problem::Revoked) {
            return;
        }
        let Some(certificate) = self.state.certificate.as_mut() else {
            return;
        };
        certificate.renewing = true;
        let (mediator, regions) = (certificate.mediator, certificate.regions.clone());
        self.apply(mediator, regions);
    }

    /// When another certificate is to be applied for: with a third of this one's life left, unless that
    /// was done, or another application is under way.
    fn renewal_due(&self) -> Option<Time> {
        let certificate = self.state.certificate.as_ref()?;
        let wanted = !certificate.renewing && self.state.applied.is_none();
        let life = certificate
            .expires
            .get()
            .saturating_sub(certificate.issued.get());
        wanted.then(|| Time::new(certificate.expires.get().saturating_sub(life / RENEWAL)))
    }

    /// A mailbox can be opened only within a day of its date: an application that the mediator did not
    /// look at in time is made anew.
    fn reapply(&mut self, now: Time) {
        let Some(applied) = self.state.applied.as_mut() else {
            return;
        };
        let Some(id) = applied.answer else { return };
        let missed = self
            .state
            .answers
            .get(&id)
            .is_none_or(|a| !a.opened && now.day() > a.mailbox.day.plus(1));
        if missed {
            self.state.answers.remove(&id);
            applied.answer = None;
            applied.letter = None;
            applied.written = false;
        }
    }

    /// Whether there is work to do on an application.
    pub(super) fn working(&self) -> bool {
        self.state
            .applied
            .as_ref()
            .is_some_and(|a| a.letter.as_ref().is_some_and(Letter::working))
    }

    pub(super) fn apply_call(&self) -> Option<Call> {
        self.state.applied.as_ref()?.letter.as_ref()?.call()
    }

    pub(super) fn applied(&mut self, receipt: &Receipt) -> Result<(), Problem> {
        let Some(applied) = self.state.applied.as_mut() else {
            return Ok(());
        };
        let Some(letter) = &applied.letter else {
            return Ok(());
        };
        letter.written(receipt, &self.view)?;
        applied.written = true;
        self.events.push(ProviderEvent::Applied);
        Ok(())
    }

    pub(super) fn apply_refused<R: CryptoRng + ?Sized>(
        &mut self,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Apply, now, rng);
        let Some(letter) = self.state.applied.as_mut().and_then(|a| a.letter.as_mut()) else {
            return;
        };
        match problem {
            Problem::SlotConflict | Problem::Deleted => letter.moved(rng),
            p if transient(p) || p == Problem::NotOpened => {}
            p => self.events.push(ProviderEvent::Refused(p)),
        }
    }

    /// Takes a page of an answer's mailbox.
    pub(super) fn take_answers(&mut self, id: MailboxId, page: &Page, now: Time) {
        let Some(answer) = self.state.answers.get_mut(&id) else {
            return;
        };
        answer.opened = true;
        for entry in answer
            .seen
            .fresh(&page.entries)
            .into_iter()
            .cloned()
            .collect::<Vec<_>>()
        {
            match self.take_verdict(id, &entry, now) {
                Ok(Taken::Done) => {}
                Ok(Taken::Later(problem)) => {
                    self.events.push(ProviderEvent::ViewStale(problem));
                    continue;
                }
                Err(problem) => self.events.push(ProviderEvent::InvalidApproval(problem)),
            }
            if let Some(answer) = self.state.answers.get_mut(&id) {
                answer.seen.add(entry.item);
            }
        }
    }

    fn take_verdict(&mut self, id: MailboxId, entry: &Entry, now: Time) -> Result<Taken, Problem> {
        let answer = self.state.answers.get(&id).ok_or(Problem::NotFound)?;
        let plain = open_from(
            &answer.mailbox,
            &self.state.sealing,
            Purpose::Approval,
            &entry.blob,
        )
        .map_err(|_| Problem::Malformed)?;
        // The key that may write there is the one that the mediator had when it was asked.
        let Writers::Keys(keys) = &answer.mailbox.writers else {
            return Err(Problem::WrongSigner);
        };
        let signer = *keys.first().ok_or(Problem::WrongSigner)?;
        let verdict = parse::<Verdict>(&plain)?.verify(&signer)?.into_value();
        match verdict {
            Verdict::Approved(approval) => self.approved(answer.mediator, &approval, now),
            Verdict::Rejected(reason) => {
                if self
                    .state
                    .applied
                    .as_ref()
                    .is_some_and(|a| a.answer == Some(id))
                {
                    self.state.applied = None;
                }
                self.events.push(ProviderEvent::ApplicationRejected(reason));
                Ok(Taken::Done)
            }
        }
    }

    fn approved(
        &mut self,
        mediator: MediatorId,
        approval: &Approval,
        now: Time,
    ) -> Result<Taken, Problem> {
        let certificate = match self.view.check_certificate(&approval.certificate, now) {
            Ok(c) => c,
            Err(p) if stale(p) => return Ok(Taken::Later(p)),
            Err(p) => return Err(p),
        };
        let ours = certificate.mediator == mediator
            && certificate.signing == self.state.signing.verifying_key()
            && certificate.sealing == self.state.sealing.public()
            && certificate.practice == self.state.practice.hash();
        if !ours {
            return Err(Problem::BrokenChain);
        }
        for secret in &approval.secrets {
            if !self.genuine(secret)? {
                return Ok(Taken::Later(Problem::WrongKeyVersion));
            }
        }
        for secret in &approval.secrets {
            self.keep_secret(secret);
        }
        let newer = self
            .state
            .certificate
            .as_ref()
            .is_none_or(|c| (c.expires, c.serial) < (certificate.expires, certificate.serial));
        if newer {
            self.state.certificate = Some(Certified {
                bytes: certificate.bytes().to_vec().into(),
                id: certificate.id(),
                mediator,
                serial: certificate.serial,
                regions: certificate.regions.clone(),
                issued: certificate.issued,
                expires: certificate.expires,
                renewing: false,
            });
            self.state.applied = None;
            self.events.push(ProviderEvent::Certified {
                serial: certificate.serial,
                regions: certificate.regions.to_vec(),
                expires: certificate.expires,
            });
        }
        Ok(Taken::Done)
    }

    /// Whether a region secret belongs to the published key; false while the view is behind it.
    fn genuine(&self, secret: &RegionSecret) -> Result<bool, Problem> {
        let Some((_, region)) = self.view.region(&secret.region) else {
            return Ok(false);
        };
        if region.key_version < secret.version {
            return Ok(false);
        }
        // Of an older version the public key is no longer published.
        let public = SealingSecret::from_bytes(&secret.secret).public();
        if region.key_version == secret.version && public != region.sealing {
            Err(Problem::BrokenChain)
        } else {
            Ok(true)
        }
    }

    fn keep_secret(&mut self, secret: &RegionSecret) {
        let versions = self.state.secrets.entry(secret.region).or_default();
        if versions.contains_key(&secret.version) {
            return;
        }
        versions.insert(
            secret.version,
            SealingSecret::from_bytes(&secret.secret).into(),
        );
        while versions.len() > KEPT_VERSIONS {
            versions.pop_first();
        }
        self.events.push(ProviderEvent::RegionKey {
            region: secret.region,
            version: secret.version,
        });
    }
}
