//! The versions of one list (regions, directory, revocations) that a mediator has published: those
//! that its status names, and newer ones that no status names yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::MAX_PENDING;
use crate::cose::Verified;
use crate::id::RecordId;
use crate::key::VerifyingKey;
use crate::mediation::{Directory, ListRef, RegionList, Revocations};
use crate::problem::Problem;

/// What the three lists have in common.
pub(super) trait Sequenced {
    fn sequence(&self) -> u64;
}

macro_rules! sequenced {
    ($($name:ident),*) => { $(
        impl Sequenced for $name {
            fn sequence(&self) -> u64 {
                self.sequence
            }
        }
    )* };
}

sequenced!(RegionList, Directory, Revocations);

/// Which versions are named, and how far each signer's numbering has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Named {
    /// By the last status of the signing key.
    pub(super) base: Option<ListRef>,
    /// By the last re-dated status.
    pub(super) redated: Option<ListRef>,
}

impl Named {
    fn names(&self, id: &RecordId) -> bool {
        [self.base, self.redated]
            .into_iter()
            .flatten()
            .any(|r| r.id == *id)
    }

    /// A list is of use if it is named, or newer than what binds its signer: the signing key is bound
    /// by its own status alone, so that a delegate cannot outrun it.
    fn of_use<T: Sequenced>(&self, list: &Verified<T>, signing: &VerifyingKey) -> bool {
        let floor = if list.signer() == signing {
            self.base
        } else {
            self.redated.or(self.base)
        };
        self.names(&list.id()) || floor.is_none_or(|f| list.sequence() > f.sequence)
    }
}

/// Ordered by sequence, then id.
#[derive(Clone, Debug)]
pub(super) struct Lists<T>(Vec<Arc<Verified<T>>>);

/// What to do with a list that was offered.
pub(super) enum Offer<T> {
    Take,
    Known,
    Refuse(Problem),
    Equivocation(Arc<Verified<T>>),
}

impl<T: Sequenced> Lists<T> {
    pub(super) fn new() -> Self {
        Lists(Vec::new())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Verified<T>>> {
        self.0.iter()
    }

    pub(super) fn ids(&self) -> Vec<RecordId> {
        self.0.iter().map(|l| l.id()).collect()
    }

    /// The version that a status names, if it is here and has the sequence it says.
    pub(super) fn get(&self, name: &ListRef) -> Option<&Arc<Verified<T>>> {
        self.0
            .iter()
            .find(|l| l.id() == name.id && l.sequence() == name.sequence)
    }

    pub(super) fn consider(
        &self,
        new: &Verified<T>,
        named: Named,
        signing: &VerifyingKey,
    ) -> Offer<T> {
        let mut pending = 0;
        let mut lowest = None;
        for held in &self.0 {
            if held.id() == new.id() {
                return Offer::Known;
            }
            if held.signer() != new.signer() {
                continue;
            }
            if held.sequence() == new.sequence() {
                return Offer::Equivocation(held.clone());
            }
            if !named.names(&held.id()) {
                pending += 1;
                lowest = lowest.or(Some(held.sequence()));
            }
        }
        let full = pending >= MAX_PENDING && lowest.is_some_and(|l| new.sequence() < l);
        if full || !named.of_use(new, signing) {
            Offer::Refuse(Problem::Rollback)
        } else {
            Offer::Take
        }
    }

    pub(super) fn insert(&mut self, new: Arc<Verified<T>>, named: Named) {
        let key = (new.sequence(), new.id());
        let at = self.0.partition_point(|l| (l.sequence(), l.id()) < key);
        self.0.insert(at, new);
        self.trim(named);
    }

    /// Drops what is of no more use, after a status or a certificate changed.
    pub(super) fn prune(&mut self, named: Named, signing: &VerifyingKey) {
        self.0.retain(|l| named.of_use(l, signing));
        self.trim(named);
    }

    /// Keeps the newest few of what no status of each signer's names yet.
    fn trim(&mut self, named: Named) {
        let mut pending: BTreeMap<VerifyingKey, usize> = BTreeMap::new();
        let mut kept: Vec<_> = core::mem::take(&mut self.0);
        kept.reverse();
        kept.retain(|l| {
            let count = pending.entry(*l.signer()).or_default();
            *count += usize::from(!named.names(&l.id()));
            named.names(&l.id()) || *count <= MAX_PENDING
        });
        kept.reverse();
        self.0 = kept;
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Verified<T>) -> bool) {
        self.0.retain(|l| keep(l));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
