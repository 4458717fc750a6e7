//! What a mediator publishes, in the order in which each record needs the one before.

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use super::press::{Content, Press, Pressed};
use super::state::{Lists, RegionKept};
use super::{Mediator, MediatorEvent, PublishError, Task};
use crate::bounded::{List, Text};
use crate::cose::{Record, record_type};
use crate::federation::MediatorRegistration;
use crate::hash::record_hash;
use crate::id::{RecordId, RegionId};
use crate::mediation::{MediatorCertificate, ProviderCertificate};
use crate::problem::Problem;
use crate::role::kept::{Blob, Many, Table};
use crate::role::talk::transient;
use crate::time::{Seconds, Time};
use crate::trust::{TrustKind, waits};

/// How often a record is offered before everything it may need is offered again.
const TRIES: u32 = 4;

impl Mediator {
    /// The registration for operators to sign ([`crate::cose::sign_multi`]): of these areas (prefixes
    /// of postal codes), for so long.
    pub fn registration_order(
        &mut self,
        areas: List<Text<16>, 1024>,
        life: Seconds,
        now: Time,
    ) -> MediatorRegistration {
        self.state.registrations = self.state.registrations.saturating_add(1);
        MediatorRegistration {
            federation: self.view.federation_id(),
            mediator: self.id(),
            sequence: self.state.registrations,
            name: self.state.name.clone(),
            areas,
            issued: now,
            expires: now.plus(life),
        }
    }

    /// Takes the signed registration, and publishes it. The first certificate
    /// ([`Mediator::certified`]) comes after it.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then. The view must hold the roster. Where it narrows the
    /// areas, [`PublishError::OutsideAreas`] until the regions outside are changed or removed.
    pub fn registered(&mut self, registration: &[u8], now: Time) -> Result<(), PublishError> {
        let mut press = Press::new(&self.state, &self.view);
        if press.put(registration.to_vec(), now)? != TrustKind::Registration {
            return Err(PublishError::OtherMediator);
        }
        let m = press
            .view
            .mediator(&self.id())
            .filter(|m| m.registration().id() == record_hash(registration))
            .ok_or(PublishError::OtherMediator)?;
        let mut codes = self
            .state
            .regions
            .values()
            .flat_map(|r| r.postal_codes.iter());
        if let Some(code) = codes.find(|c| !m.serves(c.as_str())) {
            return Err(PublishError::OutsideAreas { code: code.clone() });
        }
        self.commit(press.done(), None);
        Ok(())
    }

    /// Before anything is published: it must be registered, certified, and not over. What the status
    /// key has revoked meanwhile is taken over.
    pub(super) fn prepare(&mut self, now: Time) -> Result<(), PublishError> {
        let m = self.view.mediator(&self.id());
        if m.is_none_or(|m| !m.registered()) {
            return Err(PublishError::NotRegistered);
        }
        match &self.state.certificate {
            None => return Err(PublishError::NotCertified),
            Some(c) if now > c.expires => return Err(PublishError::CertificateOver),
            Some(_) => {}
        }
        self.absorb(now);
        Ok(())
    }

    /// Publishes the lists with these regions.
    pub(super) fn republish_with(
        &mut self,
        regions: Table<RegionId, RegionKept>,
        now: Time,
    ) -> Result<(), PublishError> {
        let mut press = Press::new(&self.state, &self.view);
        let content = Content {
            regions: &regions,
            ..Content::of(&self.state)
        };
        let lists = press.lists(&self.state, content, now)?;
        self.commit(press.done(), Some(lists));
        self.state.regions = regions;
        Ok(())
    }

    /// Publishes a status with a fresh date; the lists too, where one has expired that they name, or
    /// the status key has revoked one.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn refresh_status(&mut self, now: Time) -> Result<(), PublishError> {
        self.prepare(now)?;
        self.dirty |= self.retire(now);
        let mut press = Press::new(&self.state, &self.view);
        // A list of the status key's must never be replaced by an older one of ours.
        let named = self
            .view
            .mediator(&self.id())
            .and_then(|m| m.revocations())
            .map(|r| r.id());
        let current = self
            .state
            .lists
            .filter(|l| !self.dirty && named == Some(l.revocations.id));
        let lists = match current {
            Some(lists) => press.status(&self.state, &self.state.keys.signing, lists, now)?,
            None => press.lists(&self.state, Content::of(&self.state), now)?,
        };
        self.commit(press.done(), Some(lists));
        Ok(())
    }

    /// When the status should be dated anew: after half its life, and at once where the status key has
    /// revoked a provider that the lists still name.
    pub(super) fn refresh_due(&self) -> Option<Time> {
        let issued = self.state.lists.as_ref()?.issued;
        if !self.struck().is_empty() {
            return Some(Time::ZERO);
        }
        let half = |life: u64| Seconds::new(u32::try_from(life / 2).unwrap_or(u32::MAX));
        let due = issued.plus(half(u64::from(self.state.status_life.get())));
        // A life that was made longer holds for the next status; the one in force ends when it says.
        let in_force = self.view.mediator(&self.id()).and_then(|m| m.status());
        Some(match in_force {
            Some(s) => due.min(issued.plus(half(s.expires.get().saturating_sub(issued.get())))),
            None => due,
        })
    }

    pub(super) fn commit(&mut self, done: Pressed, lists: Option<Lists>) {
        self.view = done.view;
        self.state.sequence = done.sequence;
        self.state.outgoing.extend(done.records);
        self.unsorted = true;
        if let Some(lists) = lists {
            self.state.lists = Some(lists);
            self.dirty = false;
        }
    }

    /// Puts what is to be published into the order in which a node can take it, without what has been
    /// superseded in the meantime: of several lists of a kind the last counts.
    pub(super) fn line_up(&mut self) {
        if !core::mem::take(&mut self.unsorted) {
            return;
        }
        // By the type of record. Those of several signatures are registrations.
        let kind = |b: &Blob| record_type(b).unwrap_or(MediatorRegistration::TYPE);
        let certificates: BTreeSet<RecordId> =
            self.state.providers.values().map(|p| p.id).collect();
        let mut seen = BTreeSet::new();
        let mut lists = BTreeSet::new();
        let mut line: Vec<(u64, Blob)> = Vec::new();
        for record in core::mem::take(&mut self.state.outgoing).iter().rev() {
            let (id, kind) = (record_hash(record), kind(record));
            let counts = match kind {
                ProviderCertificate::TYPE => certificates.contains(&id),
                MediatorRegistration::TYPE | MediatorCertificate::TYPE => true,
                list => lists.insert(list),
            };
            if counts && seen.insert(id) {
                line.push((kind, record.clone()));
            }
        }
        line.reverse();
        line.sort_by_key(|(kind, _)| *kind);
        self.state.outgoing = Many::from(line.into_iter().map(|(_, b)| b).collect::<Vec<_>>());
    }

    pub(super) fn published(&mut self, id: RecordId) {
        self.state.outgoing.retain(|b| record_hash(b) != id);
        if self.state.outgoing.is_empty() {
            self.events.push(MediatorEvent::Published);
        }
    }

    pub(super) fn publish_refused<R: CryptoRng + ?Sized>(
        &mut self,
        id: &RecordId,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        let failures = self.desk.failed(&Task::Publish(*id), now, rng);
        if waits(problem) {
            // The node may have missed what this one needs.
            if failures.is_multiple_of(TRIES) {
                self.republish();
                self.events.push(MediatorEvent::ViewStale(problem));
            }
        } else if !transient(problem) {
            // It is never accepted: what is behind it in the queue may be.
            self.state.outgoing.retain(|b| record_hash(b) != *id);
            self.events.push(MediatorEvent::PublishRefused(problem));
        }
    }

    /// Offers everything that is in force to the node again, with what waits.
    pub fn republish(&mut self) {
        let id = self.id();
        let latest = |kind| self.view.latest(kind, Some(&id)).map(|b| Blob::from(&*b));
        let last = [
            TrustKind::Directory,
            TrustKind::Revocations,
            TrustKind::Status,
        ];
        let mut all: Vec<Blob> = latest(TrustKind::Registration).into_iter().collect();
        // Earlier ones too: provider certificates by their keys are in force.
        let certificates = self.view.mediator(&id).into_iter();
        all.extend(
            certificates
                .flat_map(|m| m.certificates())
                .map(|c| Blob::from(&**c.bytes())),
        );
        all.extend(latest(TrustKind::Regions));
        all.extend(self.state.providers.values().map(|p| p.certificate.clone()));
        all.extend(last.into_iter().filter_map(latest));
        all.extend(self.state.outgoing.iter().cloned());
        self.state.outgoing = Many::from(all);
        self.unsorted = true;
    }
}
