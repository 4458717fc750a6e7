//! The regions: planned, added, changed, removed, and given new keys.

use rand_core::CryptoRng;

use super::press::{Content, Press};
use super::state::RegionKept;
use super::{Mediator, PublishError};
use crate::bounded::{List, Text};
use crate::id::RegionId;
use crate::mediation::{MAX_POSTAL_CODES, Region, region_id};
use crate::role::kept::{Secret, Table};
use crate::role::talk::nonce;
use crate::time::{Seconds, Time};

/// How many versions of a region's key are kept.
const KEPT_VERSIONS: usize = 8;

/// A region to be published. Several may share an area and differ in their criteria (such as
/// `vaccine`, `age`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionPlan {
    /// A readable name.
    pub name: Text<120>,
    /// What else narrows it: key and value, each key once.
    pub criteria: Vec<(Text<40>, Text<80>)>,
    /// Its postal codes, at least one, all in the areas of the registration.
    pub postal_codes: Vec<Text<10>>,
}

/// A region of this mediator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionView {
    /// Its id.
    pub id: RegionId,
    /// What it says.
    pub plan: RegionPlan,
    /// The version of its current key.
    pub version: u32,
    /// When it got that key.
    pub renewed: Time,
}

impl RegionKept {
    fn publishable(plan: &RegionPlan) -> Result<(Criteria, Codes), PublishError> {
        let mut codes = plan.postal_codes.clone();
        codes.sort();
        codes.dedup();
        if codes.is_empty() {
            return Err(PublishError::NoPostalCodes);
        }
        let mut criteria = plan.criteria.clone();
        criteria.sort();
        let twice = criteria
            .iter()
            .zip(criteria.iter().skip(1))
            .find(|(a, b)| a.0 == b.0);
        if let Some((a, _)) = twice {
            return Err(PublishError::SameCriterion { key: a.0.clone() });
        }
        let criteria = List::try_from(criteria).map_err(|_| PublishError::TooMany)?;
        let codes = List::try_from(codes).map_err(|_| PublishError::TooMany)?;
        Ok((criteria, codes))
    }

    fn new<R: CryptoRng + ?Sized>(
        plan: &RegionPlan,
        now: Time,
        rng: &mut R,
    ) -> Result<Self, PublishError> {
        let (criteria, postal_codes) = Self::publishable(plan)?;
        let mut region = RegionKept {
            name: plan.name.clone(),
            criteria,
            postal_codes,
            salt: nonce(rng),
            version: 0,
            secrets: Table::default(),
            renewed: now,
        };
        region.rotate(now, rng);
        Ok(region)
    }

    fn rotate<R: CryptoRng + ?Sized>(&mut self, now: Time, rng: &mut R) {
        self.version = self.version.saturating_add(1);
        self.renewed = now;
        self.secrets.insert(self.version, Secret::generate(rng));
        while self.secrets.len() > KEPT_VERSIONS {
            self.secrets.pop_first();
        }
    }

    /// When it is due for a new key: at once where a certificate for it was revoked elsewhere
    /// ([`Mediator::absorb`]), else after `life`, never where that is zero.
    fn due(&self, life: Seconds) -> Option<Time> {
        match self.renewed {
            Time::ZERO => Some(Time::ZERO),
            _ if life == Seconds::ZERO => None,
            renewed => Some(renewed.plus(life)),
        }
    }

    pub(super) fn publish(&self, id: RegionId) -> Option<Region> {
        Some(Region {
            id,
            name: self.name.clone(),
            criteria: self.criteria.clone(),
            postal_codes: self.postal_codes.clone(),
            salt: self.salt,
            key_version: self.version,
            sealing: self.secrets.get(&self.version)?.public(),
        })
    }
}

type Criteria = List<(Text<40>, Text<80>), 8>;
type Codes = List<Text<10>, MAX_POSTAL_CODES>;

impl Mediator {
    /// Its regions, by id, with their names.
    pub fn regions(&self) -> impl Iterator<Item = (RegionId, &Text<120>)> {
        self.state.regions.iter().map(|(id, r)| (*id, &r.name))
    }

    /// One of its regions.
    #[must_use]
    pub fn region(&self, id: &RegionId) -> Option<RegionView> {
        let region = self.state.regions.get(id)?;
        Some(RegionView {
            id: *id,
            plan: RegionPlan {
                name: region.name.clone(),
                criteria: region.criteria.to_vec(),
                postal_codes: region.postal_codes.to_vec(),
            },
            version: region.version,
            renewed: region.renewed,
        })
    }

    /// Whether postal codes lie in the areas of the registration.
    ///
    /// # Errors
    /// [`PublishError::OutsideAreas`] with the first that does not, [`PublishError::NotRegistered`].
    pub(super) fn within_areas(&self, codes: &[Text<10>]) -> Result<(), PublishError> {
        let m = self
            .view
            .mediator(&self.id())
            .filter(|m| m.registered())
            .ok_or(PublishError::NotRegistered)?;
        match codes.iter().find(|c| !m.serves(c.as_str())) {
            Some(code) => Err(PublishError::OutsideAreas { code: code.clone() }),
            None => Ok(()),
        }
    }

    /// Adds regions to the list. Gives their ids, in the order of the plans.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn add_regions<R: CryptoRng + ?Sized>(
        &mut self,
        plans: &[RegionPlan],
        now: Time,
        rng: &mut R,
    ) -> Result<Vec<RegionId>, PublishError> {
        self.prepare(now)?;
        let mut kept = self.state.regions.clone();
        let mut ids = Vec::new();
        for plan in plans {
            self.within_areas(&plan.postal_codes)?;
            let region = RegionKept::new(plan, now, rng)?;
            let id = region_id(&self.id(), &region.name, &region.salt);
            kept.insert(id, region);
            ids.push(id);
        }
        self.republish_with(kept, now)?;
        Ok(ids)
    }

    /// Changes postal codes and criteria of a region. Its id, name and keys stay, and so do the
    /// certificates for it.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn change_region(
        &mut self,
        id: &RegionId,
        criteria: &[(Text<40>, Text<80>)],
        postal_codes: &[Text<10>],
        now: Time,
    ) -> Result<(), PublishError> {
        self.prepare(now)?;
        let mut kept = self.state.regions.clone();
        let region = kept.get_mut(id).ok_or(PublishError::UnknownRegion(*id))?;
        let plan = RegionPlan {
            name: region.name.clone(),
            criteria: criteria.to_vec(),
            postal_codes: postal_codes.to_vec(),
        };
        (region.criteria, region.postal_codes) = RegionKept::publishable(&plan)?;
        self.within_areas(postal_codes)?;
        self.republish_with(kept, now)
    }

    /// Takes regions out of the list. Providers that were certified for others too get certificates
    /// for those alone, as long as the ones before; the others are listed no more. Requests that wait
    /// in a region go unanswered from then on.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn remove_regions<R: CryptoRng + ?Sized>(
        &mut self,
        ids: &[RegionId],
        now: Time,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        self.prepare(now)?;
        let mut kept = self.state.regions.clone();
        for id in ids {
            kept.remove(id).ok_or(PublishError::UnknownRegion(*id))?;
        }
        let mut press = Press::new(&self.state, &self.view);
        let mut content = Content::of(&self.state);
        content.regions = &kept;
        let mut next = self.state.next_serial;
        let mut gone = Vec::new();
        let mut fresh = Vec::new();
        for (serial, provider) in self.state.providers.iter() {
            if !provider.regions.iter().any(|r| ids.contains(r)) {
                continue;
            }
            gone.push(*serial);
            content.certificates.retain(|c| *c != provider.id);
            let left: Vec<RegionId> = provider
                .regions
                .iter()
                .filter(|r| !ids.contains(r))
                .copied()
                .collect();
            if left.is_empty() || provider.expires <= now {
                continue;
            }
            let regions = List::try_from(left).map_err(|_| PublishError::TooMany)?;
            let again = self.issue(provider, next, regions, provider.expires, now)?;
            press.put(again.certificate.to_vec(), now)?;
            content.certificates.push(again.id);
            fresh.push((next, again));
            next = next.saturating_add(1);
        }
        let lists = press.lists(&self.state, content, now)?;
        self.commit(press.done(), Some(lists));
        self.state.regions = kept;
        for serial in gone {
            let again = fresh.iter().any(|(_, p)| {
                self.state
                    .providers
                    .get(&serial)
                    .is_some_and(|old| old.signing == p.signing)
            });
            let ended = self.state.providers.remove(&serial);
            if let Some(provider) = ended.filter(|_| !again) {
                self.remember(serial, provider, None, now);
            }
        }
        self.state.next_serial = next;
        let serials: Vec<u64> = fresh.iter().map(|(serial, _)| *serial).collect();
        self.state.providers.extend(fresh);
        let newest = self.newest();
        for serial in serials.into_iter().filter(|s| newest.contains(s)) {
            self.send_certificate(serial, rng);
        }
        Ok(())
    }

    /// Gives regions new keys now, and sends the secrets to their providers.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn rotate<R: CryptoRng + ?Sized>(
        &mut self,
        regions: &[RegionId],
        now: Time,
        rng: &mut R,
    ) -> Result<(), PublishError> {
        self.prepare(now)?;
        let kept = self.rotated(regions, now, rng)?;
        self.republish_with(kept, now)?;
        self.reseal(regions, rng);
        Ok(())
    }

    pub(super) fn rotated<R: CryptoRng + ?Sized>(
        &self,
        regions: &[RegionId],
        now: Time,
        rng: &mut R,
    ) -> Result<Table<RegionId, RegionKept>, PublishError> {
        let mut kept = self.state.regions.clone();
        for id in regions {
            kept.get_mut(id)
                .ok_or(PublishError::UnknownRegion(*id))?
                .rotate(now, rng);
        }
        Ok(kept)
    }

    /// After how long a region gets a new key by itself. Nothing is renewed after
    /// [`Seconds::ZERO`]. Each renewal is a letter to every provider of the region, of which the
    /// provider's mailbox takes sixteen in its 120 days.
    pub fn set_region_life(&mut self, life: Seconds) {
        self.state.region_life = life;
    }

    /// When the first region is due for a new key.
    pub(super) fn renewal_due(&self) -> Option<Time> {
        self.state.certificate.as_ref()?;
        let life = self.state.region_life;
        self.state
            .regions
            .values()
            .filter_map(|r| r.due(life))
            .min()
    }

    /// Gives every region that is due a new key: those whose key is as old as
    /// [`Mediator::set_region_life`] says, and those of a provider that the status key revoked.
    /// Gives how many were. [`crate::role::Role::poll`] does it by itself.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed then.
    pub fn renew_region_keys<R: CryptoRng + ?Sized>(
        &mut self,
        now: Time,
        rng: &mut R,
    ) -> Result<usize, PublishError> {
        let life = self.state.region_life;
        let due: Vec<RegionId> = self
            .state
            .regions
            .iter()
            .filter(|(_, r)| r.due(life).is_some_and(|due| due <= now))
            .map(|(id, _)| *id)
            .collect();
        if !due.is_empty() {
            self.rotate(&due, now, rng)?;
        }
        Ok(due.len())
    }
}
