//! The shape of each record: what holds of it alone, without clock, signer or view.

use std::collections::BTreeSet;

use super::MAX_STATUS_LIFE;
use crate::federation::{Federation, MediatorRegistration, Roster};
use crate::key::VerifyingKey;
use crate::mediation::{
    Directory, MAX_CERTIFICATE_LIFE, MediatorCertificate, ProviderCertificate, RegionList,
    Revocations, Status, region_id,
};
use crate::problem::Problem;
use crate::time::{Seconds, Time};

fn hold(condition: bool) -> Result<(), Problem> {
    if condition {
        Ok(())
    } else {
        Err(Problem::OutOfBounds)
    }
}

/// Strictly ascending: sorted and distinct.
fn ascending<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
    let mut items = items.into_iter();
    let Some(mut last) = items.next() else {
        return true;
    };
    items.all(|i| {
        let up = last < i;
        last = i;
        up
    })
}

fn lives(issued: Time, expires: Time) -> Result<(), Problem> {
    hold(issued < expires)
}

fn lives_at_most(issued: Time, expires: Time, seconds: u32) -> Result<(), Problem> {
    lives(issued, expires)?;
    hold(expires <= issued.plus(Seconds::new(seconds)))
}

/// Keys that are registered are in the prime-order subgroup.
fn registered<'a>(keys: impl IntoIterator<Item = &'a VerifyingKey>) -> Result<(), Problem> {
    keys.into_iter().try_for_each(|k| hold(k.check().is_ok()))
}

pub(super) fn federation(f: &Federation) -> Result<(), Problem> {
    hold(ascending(f.roots.iter().map(VerifyingKey::as_bytes)))?;
    registered(&f.roots)?;
    hold(f.threshold >= 1 && usize::from(f.threshold) <= f.roots.len())
}

pub(super) fn roster(r: &Roster) -> Result<(), Problem> {
    lives(r.issued, r.expires)?;
    hold(r.params.valid())?;
    let mut ids = BTreeSet::new();
    // One set for all: a key with two uses would let a signature made for one serve the other.
    let mut keys = BTreeSet::new();
    for o in &r.operators {
        hold(ids.insert(o.id) && keys.insert(*o.key.as_bytes()))?;
        registered([&o.key])?;
        for n in &o.nodes {
            hold(keys.insert(*n.id.as_bytes()) && keys.insert(*n.signing.as_bytes()))?;
            hold(VerifyingKey::from_bytes(n.id.as_bytes()).is_ok())?;
            registered([&n.signing])?;
        }
    }
    Ok(())
}

pub(super) fn registration(r: &MediatorRegistration) -> Result<(), Problem> {
    lives(r.issued, r.expires)?;
    hold(VerifyingKey::from_bytes(r.mediator.as_bytes()).is_ok())
}

pub(super) fn certificate(c: &MediatorCertificate) -> Result<(), Problem> {
    lives(c.issued, c.expires)?;
    registered([&c.signing, &c.status])?;
    let (root, signing, status) = (
        c.mediator.as_bytes(),
        c.signing.as_bytes(),
        c.status.as_bytes(),
    );
    hold(signing != status && signing != root && status != root)
}

pub(super) fn regions(l: &RegionList) -> Result<(), Problem> {
    hold(ascending(l.regions.iter().map(|r| &r.id)))?;
    for r in &l.regions {
        hold(r.id == region_id(&l.mediator, &r.name, &r.salt))?;
        hold(r.key_version >= 1)?;
        hold(ascending(r.criteria.iter().map(|(k, _)| k)))?;
        hold(ascending(r.postal_codes.iter()))?;
    }
    Ok(())
}

/// Every postal code lies in an area of the registration.
pub(super) fn served(l: &RegionList, registration: &MediatorRegistration) -> Result<(), Problem> {
    // Looked up by every prefix of a code: a thousand areas times all codes would be far more.
    let areas: BTreeSet<&str> = registration.areas.iter().map(|a| a.as_str()).collect();
    let in_area = |code: &str| {
        (0..=code.len())
            .filter_map(|n| code.get(..n))
            .any(|prefix| areas.contains(prefix))
    };
    let all = l
        .regions
        .iter()
        .all(|r| r.postal_codes.iter().all(|c| in_area(c.as_str())));
    if all && !areas.is_empty() {
        Ok(())
    } else {
        Err(Problem::WrongRegion)
    }
}

/// No region's key version goes down from one list to the next.
pub(super) fn versions_grow(old: &RegionList, new: &RegionList) -> Result<(), Problem> {
    let mut old = old.regions.iter().peekable();
    for r in &new.regions {
        while old.next_if(|o| o.id < r.id).is_some() {}
        if let Some(o) = old.next_if(|o| o.id == r.id)
            && r.key_version < o.key_version
        {
            return Err(Problem::Rollback);
        }
    }
    Ok(())
}

pub(super) fn provider(c: &ProviderCertificate) -> Result<(), Problem> {
    registered([&c.signing])?;
    lives_at_most(c.issued, c.expires, MAX_CERTIFICATE_LIFE)?;
    hold(ascending(c.regions.iter()))
}

pub(super) fn directory(d: &Directory) -> Result<(), Problem> {
    hold(ascending(d.certificates.iter()))
}

pub(super) fn revocations(r: &Revocations) -> Result<(), Problem> {
    hold(ascending(r.serials.iter()))
}

pub(super) fn status(s: &Status) -> Result<(), Problem> {
    lives_at_most(s.issued, s.expires, MAX_STATUS_LIFE)
}
