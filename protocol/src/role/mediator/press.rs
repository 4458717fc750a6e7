//! How records are made: on a view of its own, all or none.
//!
//! Lists and status share one counter. The signing key uses even numbers, the status key odd ones, so
//! that the two never sign different things under one number.

use super::publish::{PublishError, RegionPlan};
use super::state::{Lists, RegionKept, State};
use crate::bounded::List;
use crate::client::{Call, CallKind};
use crate::cose::{Record, sign};
use crate::hash::record_hash;
use crate::id::{MediatorId, RegionId};
use crate::mediation::{
    Directory, ListRef, MAX_POSTAL_CODES, Region, RegionList, Revocations, Status,
};
use crate::problem::Problem;
use crate::role::kept::{Blob, Secret, Table};
use crate::role::talk::nonce;
use crate::time::Time;
use crate::trust::{Accepted, TrustKind, TrustView};
use rand_core::CryptoRng;

/// How many versions of a region's key are kept.
const KEPT_VERSIONS: usize = 8;

/// Takes a record into a view.
pub(super) fn feed(view: &mut TrustView, bytes: &[u8], now: Time) -> Result<TrustKind, Problem> {
    let checked = view.check(bytes, now)?;
    let kind = checked.kind();
    match view.accept(checked, now) {
        Ok(Accepted::New { .. } | Accepted::Known) => Ok(kind),
        Err(refused) => Err(refused.problem),
    }
}

/// The next sequence of a parity above everything that is known.
pub(super) fn next_sequence(last: u64, view: &TrustView, mediator: &MediatorId, odd: bool) -> u64 {
    let known = view
        .mediator(mediator)
        .and_then(|m| m.status())
        .map_or(0, |s| {
            s.sequence
                .max(s.regions.sequence)
                .max(s.directory.sequence)
                .max(s.revocations.sequence)
        });
    let next = last.max(known).saturating_add(1);
    if (next % 2 == 1) == odd {
        next
    } else {
        next.saturating_add(1)
    }
}

pub(super) fn publish_call(outgoing: &[Blob]) -> Option<Call> {
    outgoing
        .first()
        .map(|b| Call::new(CallKind::Publish, b.to_vec()))
}

/// Makes records on a view of its own, so that either all of them hold together or nothing happens.
pub(super) struct Press {
    pub(super) view: TrustView,
    pub(super) sequence: u64,
    pub(super) records: Vec<Blob>,
}

/// What a [`Press`] made.
pub(super) struct Pressed {
    pub(super) view: TrustView,
    pub(super) sequence: u64,
    pub(super) records: Vec<Blob>,
}

impl Press {
    pub(super) fn new(state: &State, view: &TrustView) -> Self {
        Press {
            view: view.clone(),
            sequence: state.sequence,
            records: Vec::new(),
        }
    }

    pub(super) fn put(&mut self, bytes: Vec<u8>, now: Time) -> Result<TrustKind, Problem> {
        let kind = feed(&mut self.view, &bytes, now)?;
        self.records.push(bytes.into());
        Ok(kind)
    }

    fn list<T: Record>(
        &mut self,
        state: &State,
        record: &T,
        now: Time,
    ) -> Result<ListRef, Problem> {
        let bytes = sign(record, &state.signing);
        let id = record_hash(&bytes);
        self.put(bytes, now)?;
        Ok(ListRef {
            sequence: self.sequence,
            id,
        })
    }

    /// All lists and the status, from the state with these regions.
    pub(super) fn lists(
        &mut self,
        state: &State,
        regions: &Table<RegionId, RegionKept>,
        now: Time,
    ) -> Result<Lists, PublishError> {
        let mediator = MediatorId::from_bytes(*state.root.verifying_key().as_bytes());
        let sequence = next_sequence(self.sequence, &self.view, &mediator, false);
        self.sequence = sequence;
        let entries = regions
            .iter()
            .map(|(id, r)| r.publish(*id))
            .collect::<Option<Vec<_>>>()
            .ok_or(PublishError::Unknown)?;
        let entries = List::try_from(entries).map_err(|_| PublishError::TooMany)?;
        let list = RegionList {
            mediator,
            sequence,
            issued: now,
            regions: entries,
        };
        let regions = self.list(state, &list, now)?;
        let mut certificates: Vec<_> = state.providers.values().map(|p| p.id).collect();
        certificates.sort();
        let certificates = List::try_from(certificates).map_err(|_| PublishError::TooMany)?;
        let directory = self.list(
            state,
            &Directory {
                mediator,
                sequence,
                issued: now,
                certificates,
            },
            now,
        )?;
        let serials = List::try_from(state.revoked.keys().copied().collect::<Vec<_>>())
            .map_err(|_| PublishError::TooMany)?;
        let revocations = self.list(
            state,
            &Revocations {
                mediator,
                sequence,
                issued: now,
                serials,
            },
            now,
        )?;
        self.status(
            state,
            Lists {
                regions,
                directory,
                revocations,
                issued: now,
            },
            now,
        )
    }

    /// A status that names lists.
    pub(super) fn status(
        &mut self,
        state: &State,
        lists: Lists,
        now: Time,
    ) -> Result<Lists, PublishError> {
        let mediator = MediatorId::from_bytes(*state.root.verifying_key().as_bytes());
        self.sequence = next_sequence(self.sequence, &self.view, &mediator, false);
        let status = Status {
            mediator,
            sequence: self.sequence,
            issued: now,
            expires: now.plus(state.status_life),
            regions: lists.regions,
            directory: lists.directory,
            revocations: lists.revocations,
        };
        self.put(sign(&status, &state.signing), now)?;
        Ok(Lists {
            issued: now,
            ..lists
        })
    }

    pub(super) fn done(self) -> Pressed {
        Pressed {
            view: self.view,
            sequence: self.sequence,
            records: self.records,
        }
    }
}

impl RegionKept {
    pub(super) fn new<R: CryptoRng + ?Sized>(plan: &RegionPlan, rng: &mut R) -> Option<Self> {
        let mut postal_codes = plan.postal_codes.clone();
        postal_codes.sort();
        postal_codes.dedup();
        let mut criteria = plan.criteria.clone();
        criteria.sort();
        criteria.dedup_by(|a, b| a.0 == b.0);
        let mut region = RegionKept {
            name: plan.name.clone(),
            criteria: List::try_from(criteria).ok()?,
            postal_codes: List::<_, MAX_POSTAL_CODES>::try_from(postal_codes).ok()?,
            salt: nonce(rng),
            version: 0,
            secrets: Table::default(),
        };
        region.rotate(rng);
        Some(region)
    }

    pub(super) fn rotate<R: CryptoRng + ?Sized>(&mut self, rng: &mut R) {
        self.version = self.version.saturating_add(1);
        self.secrets.insert(self.version, Secret::generate(rng));
        while self.secrets.len() > KEPT_VERSIONS {
            self.secrets.pop_first();
        }
    }

    fn publish(&self, id: RegionId) -> Option<Region> {
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
