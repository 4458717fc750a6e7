//! The working keys: ordered from the offline root, certified, replaced; and the former ones, which
//! open what was sealed to them until their inbox is over.

use rand_core::CryptoRng;

use super::answers::late;
use super::press::{Content, Press};
use super::state::{CopyKept, Former, Keys, Ordered, Working};
use super::{Mediator, MediatorEvent, PublishError};
use crate::cose::{parse, sign};
use crate::hash::record_hash;
use crate::id::{MailboxId, RecordId};
use crate::key::{SealingKey, SealingSecret, SigningKey};
use crate::mailbox::{Life, Mailbox, SlotClass, Writers};
use crate::mediation::{CertificateOrder, MediatorCertificate};
use crate::problem::Problem;
use crate::role::kept::Blob;
use crate::role::talk::{mailbox, nonce, only};
use crate::seal::{Purpose, open, seal};
use crate::size::SizeClass;
use crate::time::{Day, Seconds, Time};
use crate::trust::{MAX_MEDIATOR_CERTIFICATES, TrustKind};

/// How long before the end of its certificate a mediator is told to order the next.
const ORDER_BEFORE: Seconds = Seconds::days(30);

/// Which keys a new certificate is to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkingKeys {
    /// The present ones, with a new inbox: the certificate ends soon, or the inbox is full.
    Same,
    /// New ones: as a habit, or because the present ones may have been seen by others.
    Fresh,
}

impl Mediator {
    /// What the root shall certify, as bytes to be carried to [`super::MediatorRoot::certify`]. `back`
    /// is the day on which the certificate is expected back: the new inbox is dated by it, and can be
    /// opened from one day before to one day after it. A later order takes an earlier one's place.
    ///
    /// # Errors
    /// [`PublishError::Refused`] with [`Problem::NotReady`] while the view has no roster.
    pub fn order<R: CryptoRng + ?Sized>(
        &mut self,
        keys: WorkingKeys,
        back: Day,
        now: Time,
        rng: &mut R,
    ) -> Result<Vec<u8>, PublishError> {
        let bits = self.view.params().ok_or(Problem::NotReady)?.box_work;
        let keys = match keys {
            WorkingKeys::Same => Keys {
                inbox_read: crate::role::kept::Seed::generate(rng),
                ..self.state.keys.clone()
            },
            WorkingKeys::Fresh => Keys::generate(rng),
        };
        let inbox = Mailbox {
            day: back.max(now.day()),
            nonce: nonce(rng),
            ..mailbox(
                &keys.inbox_read.verifying_key(),
                Writers::Work(bits),
                // Reports carry a whole offer: more than the smallest size holds.
                (SizeClass::Medium, SlotClass::Free, Life::Days120),
                now,
                rng,
            )
        };
        let known = self
            .view
            .mediator(&self.id())
            .and_then(|m| m.certificate())
            .map_or(0, |c| c.sequence);
        let sequence = self.state.orders.max(known).saturating_add(1);
        let order = CertificateOrder {
            mediator: self.id(),
            sequence,
            signing: keys.signing.verifying_key(),
            sealing: keys.sealing.public(),
            status: keys.status.verifying_key(),
            inbox: inbox.clone(),
            issued: now,
        };
        let bytes = sign(&order, &keys.signing);
        self.state.orders = sequence;
        self.state.ordered = Some(Ordered {
            bytes: bytes.clone().into(),
            sequence,
            keys,
            inbox,
            opened: false,
        });
        Ok(bytes)
    }

    /// The order that waits for the root, as [`Mediator::order`] gave it.
    #[must_use]
    pub fn pending_order(&self) -> Option<&[u8]> {
        self.state.ordered.as_ref().map(|o| &*o.bytes)
    }

    /// Takes the certificate that the root signed for the last order: from now on its keys work.
    /// Publishes it with all lists and a status. What comes to the former inbox is read until that
    /// is over. Give a [`super::Refresher`] the new status key, if it is new.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then. The view must hold the registration.
    pub fn certified<R: CryptoRng + ?Sized>(
        &mut self,
        certificate: &[u8],
        now: Time,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        let ordered = self.state.ordered.clone().ok_or(PublishError::OtherOrder)?;
        let said = parse::<MediatorCertificate>(certificate).map_err(Problem::from)?;
        let said = said.unverified().clone();
        let id = record_hash(certificate);
        let asked = said.mediator == self.id()
            && said.sequence == ordered.sequence
            && said.signing == ordered.keys.signing.verifying_key()
            && said.sealing == ordered.keys.sealing.public()
            && said.status == ordered.keys.status.verifying_key()
            && said.inbox == ordered.inbox;
        if !asked {
            return Err(PublishError::OtherOrder);
        }
        if !ordered.opened && late(ordered.inbox.day, now) {
            return Err(PublishError::OrderOver);
        }
        if self
            .view
            .mediator(&self.id())
            .is_none_or(|m| !m.registered())
        {
            return Err(PublishError::NotRegistered);
        }
        self.absorb(now);
        let mut press = Press::new(&self.state, &self.view);
        // A forged or foreign signature ends here.
        if press.put(certificate.to_vec(), now)? != TrustKind::Certificate {
            return Err(PublishError::OtherOrder);
        }
        let fresh = self.state.certificate.is_none()
            || self.state.keys.signing.verifying_key() != said.signing;
        let content = Content {
            signing: &ordered.keys.signing,
            ..Content::of(&self.state)
        };
        let lists = press.lists(&self.state, content, now)?;
        if fresh {
            // Views dropped them while no list of the new key named their regions.
            for provider in self.state.providers.values() {
                press.put(provider.certificate.to_vec(), now)?;
            }
        }
        self.commit(press.done(), Some(lists));
        self.reseal_copies(&ordered.keys, rng);
        let working = Working {
            id,
            sequence: said.sequence,
            inbox: ordered.inbox,
            opened: ordered.opened,
            expires: said.expires,
            noticed: false,
        };
        let keys = core::mem::replace(&mut self.state.keys, ordered.keys);
        if let Some(last) = self.state.certificate.replace(working) {
            self.state.former.push(Former {
                keys,
                inbox: last.inbox,
                opened: last.opened,
            });
            if self.state.former.len() > MAX_MEDIATOR_CERTIFICATES {
                self.state.former.remove(0);
            }
        }
        self.state.ordered = None;
        // The letters of the new inbox have not been counted yet; those that lie in the former one
        // are recognised by what they say.
        self.state.seen = crate::role::talk::Seen::new();
        Ok(())
    }

    /// When the root's certificate ends.
    #[must_use]
    pub fn certificate_expires(&self) -> Option<Time> {
        self.state.certificate.as_ref().map(|c| c.expires)
    }

    /// Former keys whose inbox is over are wiped, unless a provider's mailbox is written with them.
    pub(super) fn forget_keys(&mut self, now: Time) {
        let answers = &self.state.answers;
        self.state.former.retain(|f| {
            let writer = only(&f.keys.signing.verifying_key());
            now < f.inbox.expires() || answers.values().any(|a| a.out.mailbox.writers == writer)
        });
        let Some(certificate) = self.state.certificate.as_mut().filter(|c| !c.noticed) else {
            return;
        };
        let expires = certificate.expires;
        let event = if !certificate.opened && late(certificate.inbox.day, now) {
            MediatorEvent::InboxLost
        } else if now.plus(ORDER_BEFORE) > expires {
            MediatorEvent::CertificateEnds { expires }
        } else {
            return;
        };
        certificate.noticed = true;
        self.events.push(event);
    }

    /// The inboxes that are open, the newest first: with the keys to read and to open them.
    pub(super) fn inboxes(&self) -> impl Iterator<Item = (&Mailbox, &Keys)> {
        let current = self.state.certificate.iter().filter(|c| c.opened);
        let former = self.state.former.iter().rev().filter(|f| f.opened);
        current
            .map(|c| (&c.inbox, &self.state.keys))
            .chain(former.map(|f| (&f.inbox, &f.keys)))
    }

    pub(super) fn inbox(&self, id: &MailboxId) -> Option<(&Mailbox, &Keys)> {
        self.inboxes().find(|(mailbox, _)| mailbox.id() == *id)
    }

    /// The key that may write to a provider's mailbox: the one that was current when it applied.
    pub(super) fn writer(&self, answer: &Mailbox) -> Option<&SigningKey> {
        let former = self.state.former.iter().rev().map(|f| &f.keys);
        core::iter::once(&self.state.keys)
            .chain(former)
            .map(|k| &*k.signing)
            .find(|k| answer.writers == only(&k.verifying_key()))
    }

    /// Seals the copies of applications to a new key, so that the former one can be wiped.
    fn reseal_copies<R: CryptoRng + ?Sized>(&mut self, new: &Keys, rng: &mut R) {
        let (old, to) = (&self.state.keys.sealing, new.sealing.public());
        if old.public() == to {
            return;
        }
        let providers = self.state.providers.values_mut().map(|p| &mut p.copy);
        let past = self.state.past.values_mut().map(|p| &mut p.copy);
        for copy in providers.chain(past) {
            if let Some(plain) = open_copy(copy, old)
                && let Some(sealed) = seal_copy(&copy.application, &plain, &to, rng)
            {
                copy.sealed = sealed;
            }
        }
    }
}

/// Seals an application's signed bytes for later control.
pub(super) fn seal_copy<R: CryptoRng + ?Sized>(
    id: &RecordId,
    signed: &[u8],
    to: &SealingKey,
    rng: &mut R,
) -> Option<Blob> {
    seal(
        to,
        Purpose::Application,
        id.as_bytes(),
        0,
        &[],
        signed,
        SizeClass::Small,
        rng,
    )
    .ok()
    .map(Blob::from)
}

/// Opens a copy: the application's signed bytes.
pub(super) fn open_copy(
    copy: &CopyKept,
    secret: &SealingSecret,
) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    open(
        secret,
        Purpose::Application,
        copy.application.as_bytes(),
        0,
        &[],
        &copy.sealed,
    )
    .ok()
}

/// What the tests of dishonest mediators need.
#[cfg(test)]
impl Mediator {
    pub(in crate::role) fn signing_key(&self) -> &SigningKey {
        &self.state.keys.signing
    }
}
