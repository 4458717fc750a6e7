//! How records are made: on a view of its own, all or none.
//!
//! Lists and status share one counter. The signing key uses even numbers, the status key odd ones, so
//! that the two never sign different things under one number.

use super::PublishError;
use super::state::{Lists, RegionKept, State};
use crate::bounded::List;
use crate::client::{Call, CallKind};
use crate::cose::{Record, sign};
use crate::hash::record_hash;
use crate::id::{MediatorId, RecordId, RegionId};
use crate::key::SigningKey;
use crate::mediation::{Directory, ListRef, RegionList, Revocations, Status};
use crate::problem::Problem;
use crate::role::kept::{Blob, Table};
use crate::time::Time;
use crate::trust::{Accepted, TrustKind, TrustView};

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

/// What lists shall say.
pub(super) struct Content<'a> {
    pub(super) signing: &'a SigningKey,
    pub(super) regions: &'a Table<RegionId, RegionKept>,
    pub(super) certificates: Vec<RecordId>,
    pub(super) revoked: Vec<u64>,
}

impl<'a> Content<'a> {
    /// What the state says.
    pub(super) fn of(state: &'a State) -> Self {
        Content {
            signing: &state.keys.signing,
            regions: &state.regions,
            certificates: state.providers.values().map(|p| p.id).collect(),
            revoked: state.revoked.keys().copied().collect(),
        }
    }
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
        record: &T,
        signing: &SigningKey,
        now: Time,
    ) -> Result<ListRef, Problem> {
        let bytes = sign(record, signing);
        let id = record_hash(&bytes);
        self.put(bytes, now)?;
        Ok(ListRef {
            sequence: self.sequence,
            id,
        })
    }

    /// All lists and the status that names them.
    pub(super) fn lists(
        &mut self,
        state: &State,
        content: Content<'_>,
        now: Time,
    ) -> Result<Lists, PublishError> {
        let mediator = state.mediator;
        let sequence = next_sequence(self.sequence, &self.view, &mediator, false);
        self.sequence = sequence;
        let regions = content
            .regions
            .iter()
            .filter_map(|(id, r)| r.publish(*id))
            .collect::<Vec<_>>();
        let list = RegionList {
            mediator,
            sequence,
            issued: now,
            regions: List::try_from(regions).map_err(|_| PublishError::TooMany)?,
        };
        let regions = self.list(&list, content.signing, now)?;
        let mut certificates = content.certificates;
        certificates.sort();
        let list = Directory {
            mediator,
            sequence,
            issued: now,
            certificates: List::try_from(certificates).map_err(|_| PublishError::TooMany)?,
        };
        let directory = self.list(&list, content.signing, now)?;
        let mut serials = content.revoked;
        serials.sort_unstable();
        serials.dedup();
        let list = Revocations {
            mediator,
            sequence,
            issued: now,
            serials: List::try_from(serials).map_err(|_| PublishError::TooMany)?,
        };
        let revocations = self.list(&list, content.signing, now)?;
        let lists = Lists {
            regions,
            directory,
            revocations,
            issued: now,
        };
        self.status(state, content.signing, lists, now)
    }

    /// A status that names lists.
    pub(super) fn status(
        &mut self,
        state: &State,
        signing: &SigningKey,
        lists: Lists,
        now: Time,
    ) -> Result<Lists, PublishError> {
        let mediator = state.mediator;
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
        self.put(sign(&status, signing), now)?;
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
