//! What a mediator publishes, in the order in which each record needs the one before.

use rand_core::CryptoRng;

use super::press::{Press, Pressed, publish_call};
use super::state::{Lists, RegionKept, Working};
use super::{Mediator, MediatorEvent, Task};
use crate::bounded::{List, Text};
use crate::client::Call;
use crate::cose::sign;
use crate::federation::MediatorRegistration;
use crate::hash::record_hash;
use crate::id::{RecordId, RegionId};
use crate::mailbox::{Life, SlotClass, Writers};
use crate::mediation::{MediatorCertificate, region_id};
use crate::problem::Problem;
use crate::role::kept::{Blob, Many, Table};
use crate::role::talk::{mailbox, transient};
use crate::size::SizeClass;
use crate::time::{Seconds, Time};
use crate::trust::{TrustKind, waits};

/// Life of a mediator's certificate: as long as the inbox that it names.
const CERTIFICATE_LIFE: Seconds = Seconds::days(120);
/// How often a record is offered before everything it may need is offered again.
const TRIES: u32 = 4;

/// A region to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionPlan {
    /// A readable name.
    pub name: Text<120>,
    /// What else narrows it: key and value.
    pub criteria: Vec<(Text<40>, Text<80>)>,
    /// Its postal codes.
    pub postal_codes: Vec<Text<10>>,
}

/// Why nothing was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The view refused a record: what is wrong with it, or what the view does not know yet.
    #[error("refused: {0}")]
    Refused(Problem),
    /// Not a registration of this mediator.
    #[error("not a registration of this mediator")]
    OtherMediator,
    /// There is no certificate yet: the registration comes first.
    #[error("not registered yet")]
    NotRegistered,
    /// More regions, postal codes or providers than a list holds.
    #[error("more than a list holds")]
    TooMany,
    /// No such region or serial.
    #[error("there is no such region or serial")]
    Unknown,
    /// A certificate lasts one to ninety days.
    #[error("a certificate lasts one to ninety days")]
    Life,
}

impl From<Problem> for PublishError {
    fn from(problem: Problem) -> Self {
        PublishError::Refused(problem)
    }
}

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

    /// Takes the signed registration, and publishes it with certificate, regions, and first lists.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then. The view must hold the roster.
    pub fn registered<R: CryptoRng + ?Sized>(
        &mut self,
        registration: &[u8],
        regions: &[RegionPlan],
        now: Time,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        let mut kept = Table::default();
        for plan in regions {
            let region = RegionKept::new(plan, rng).ok_or(PublishError::TooMany)?;
            kept.insert(region_id(&self.id(), &region.name, &region.salt), region);
        }
        let mut press = Press::new(&self.state, &self.view);
        if press.put(registration.to_vec(), now)? != TrustKind::Registration
            || press
                .view
                .mediator(&self.id())
                .is_none_or(|m| m.registration().id() != record_hash(registration))
        {
            return Err(PublishError::OtherMediator);
        }
        let bits = self.view.params().ok_or(Problem::NotReady)?.box_work;
        let class = (SizeClass::Small, SlotClass::Free, Life::Days120);
        let inbox = mailbox(
            &self.state.inbox_read.verifying_key(),
            Writers::Work(bits),
            class,
            now,
            rng,
        );
        let sequence = self
            .state
            .certificate
            .as_ref()
            .map_or(1, |c| c.sequence.saturating_add(1));
        let certificate = MediatorCertificate {
            mediator: self.id(),
            sequence,
            signing: self.state.signing.verifying_key(),
            sealing: self.state.sealing.public(),
            status: self.state.status.verifying_key(),
            inbox: inbox.clone(),
            issued: now,
            expires: now.plus(CERTIFICATE_LIFE),
        };
        let bytes = sign(&certificate, &self.state.root);
        let id = record_hash(&bytes);
        press.put(bytes, now)?;
        // A later registration leaves the regions that there are as they are.
        let fresh = self.state.regions.is_empty();
        let lists = press.lists(
            &self.state,
            if fresh { &kept } else { &self.state.regions },
            now,
        )?;
        let done = press.done();
        self.commit(done, lists);
        if fresh {
            self.state.regions = kept;
        }
        self.state.certificate = Some(Working {
            id,
            sequence,
            inbox,
            opened: false,
            expires: certificate.expires,
        });
        Ok(())
    }

    /// Adds regions to the list.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn add_regions<R: CryptoRng + ?Sized>(
        &mut self,
        regions: &[RegionPlan],
        now: Time,
        rng: &mut R,
    ) -> Result<Vec<RegionId>, PublishError> {
        let mut kept = self.state.regions.clone();
        let mut ids = Vec::new();
        for plan in regions {
            let region = RegionKept::new(plan, rng).ok_or(PublishError::TooMany)?;
            let id = region_id(&self.id(), &region.name, &region.salt);
            kept.insert(id, region);
            ids.push(id);
        }
        self.republish_with(kept, now)?;
        Ok(ids)
    }

    /// Gives regions new keys, and sends the secrets to their providers.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn rotate<R: CryptoRng + ?Sized>(
        &mut self,
        regions: &[RegionId],
        now: Time,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        let kept = self.rotated(regions, rng)?;
        self.republish_with(kept, now)?;
        self.reseal(regions, rng);
        Ok(())
    }

    pub(super) fn rotated<R: CryptoRng + ?Sized>(
        &self,
        regions: &[RegionId],
        rng: &mut R,
    ) -> Result<Table<RegionId, RegionKept>, PublishError> {
        let mut kept = self.state.regions.clone();
        for id in regions {
            kept.get_mut(id).ok_or(PublishError::Unknown)?.rotate(rng);
        }
        Ok(kept)
    }

    pub(super) fn republish_with(
        &mut self,
        regions: Table<RegionId, RegionKept>,
        now: Time,
    ) -> Result<(), PublishError> {
        if self.state.certificate.is_none() {
            return Err(PublishError::NotRegistered);
        }
        let mut press = Press::new(&self.state, &self.view);
        let lists = press.lists(&self.state, &regions, now)?;
        let done = press.done();
        self.commit(done, lists);
        self.state.regions = regions;
        Ok(())
    }

    /// Publishes lists and status anew: with a fresh date, without what has expired.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn refresh_status(&mut self, now: Time) -> Result<(), PublishError> {
        if self.state.certificate.is_none() {
            return Err(PublishError::NotRegistered);
        }
        self.absorb();
        // Kept until the lists were made without them.
        self.absorbed |= self.state.providers.values().any(|p| now > p.expires);
        self.state.providers.retain(|_, p| now <= p.expires);
        self.state.revoked.retain(|_, expires| now <= *expires);
        let mut press = Press::new(&self.state, &self.view);
        let lists = match self.state.lists {
            Some(lists) if !self.absorbed => press.status(&self.state, lists, now)?,
            _ => press.lists(&self.state, &self.state.regions, now)?,
        };
        let done = press.done();
        self.commit(done, lists);
        self.absorbed = false;
        Ok(())
    }

    /// Takes over the serials that the status key has revoked.
    pub(super) fn absorb(&mut self) {
        let id = self.id();
        let Some(list) = self.view.mediator(&id).and_then(|m| m.revocations()) else {
            return;
        };
        for serial in &list.serials {
            if let Some(provider) = self.state.providers.remove(serial) {
                self.state.revoked.insert(*serial, provider.expires);
                self.absorbed = true;
            }
        }
    }

    /// When the status should be dated anew: after half its life.
    pub(super) fn refresh_due(&self) -> Option<Time> {
        let lists = self.state.lists.as_ref()?;
        Some(
            lists
                .issued
                .plus(Seconds::new(self.state.status_life.get() / 2)),
        )
    }

    pub(super) fn commit(&mut self, done: Pressed, lists: Lists) {
        self.view = done.view;
        self.state.sequence = done.sequence;
        self.state.outgoing.extend(done.records);
        self.state.lists = Some(lists);
    }

    pub(super) fn publish_call(&self) -> Option<Call> {
        publish_call(&self.state.outgoing)
    }

    pub(super) fn published(&mut self, id: RecordId) -> Result<(), Problem> {
        let Some(head) = self.state.outgoing.first() else {
            return Ok(());
        };
        if record_hash(head) != id {
            return Err(Problem::Malformed);
        }
        self.state.outgoing.remove(0);
        if self.state.outgoing.is_empty() {
            self.events.push(MediatorEvent::Published);
        }
        Ok(())
    }

    pub(super) fn publish_refused<R: CryptoRng + ?Sized>(
        &mut self,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        let failures = self.desk.failed(&Task::Publish, now, rng);
        if waits(problem) {
            // The node may have missed what this one needs.
            if failures.is_multiple_of(TRIES) {
                self.republish();
                self.events.push(MediatorEvent::ViewStale(problem));
            }
        } else if !transient(problem) {
            // It is never accepted: what is behind it in the queue may be.
            if !self.state.outgoing.is_empty() {
                self.state.outgoing.remove(0);
            }
            self.events.push(MediatorEvent::PublishRefused(problem));
        }
    }

    /// Offers everything that is in force to the node again, before what waits.
    pub fn republish(&mut self) {
        let id = self.id();
        let latest = |kind| self.view.latest(kind, Some(&id)).map(|b| Blob::from(&*b));
        let first = [
            TrustKind::Registration,
            TrustKind::Certificate,
            TrustKind::Regions,
        ];
        let last = [
            TrustKind::Directory,
            TrustKind::Revocations,
            TrustKind::Status,
        ];
        let mut all: Vec<Blob> = first.into_iter().filter_map(latest).collect();
        all.extend(self.state.providers.values().map(|p| p.certificate.clone()));
        all.extend(last.into_iter().filter_map(latest));
        all.extend(self.state.outgoing.iter().cloned());
        // Each once, where it is needed first.
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|b| seen.insert(record_hash(b)));
        self.state.outgoing = Many::from(all);
    }
}
