//! Who admits a token twice is caught: its holders keep what was admitted, and compare.
//!
//! Two admissions of one token may open inboxes and enter queues that no node holds both of. So each
//! node that takes an admission tells a holder of the token's id: the one that is as near to the token
//! as it is itself to what it took, which spreads the work over them. There the two meet. The pair is
//! proof to everybody who knows the roster; it is kept, alarmed and told to every node, and nothing
//! more that this issuer admits is taken as a fresh write. See `docs/spec/tokens.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use lapwing_protocol::codec::{from_bytes, to_bytes};
use lapwing_protocol::cose::Verified;
use lapwing_protocol::hash::hash;
use lapwing_protocol::id::{NodeId, RecordId};
use lapwing_protocol::item::{CheckedItem, ItemKey, ItemKind};
use lapwing_protocol::peer::{CheckedDouble, DoubleAdmission, MAX_PROOFS};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Admission;
use lapwing_protocol::token::{epoch_at, token_expires};

use crate::accept::Accepted;
use crate::core::Core;
use crate::effect::Alarm;
use crate::flow::list;
use crate::rows;
use crate::store::{Reader, prefix_end};

/// Most bytes of a stored double admission.
const MAX_DOUBLE: usize = 2 * 640 + 16;
/// Admissions of one token that are kept: two prove what there is to prove.
const KEPT: usize = 2;

/// What a node knows of others as issuers.
#[derive(Default)]
pub(crate) struct Issuers {
    /// Of each, the admission with the highest serial that was seen since the start or is stored.
    latest: BTreeMap<NodeId, (u64, Arc<[u8]>)>,
    /// Who admitted a token twice. Of several proofs the one with the lowest ids, so that all nodes
    /// end with the same.
    doubles: BTreeMap<NodeId, CheckedDouble>,
}

impl Issuers {
    /// The admission with the highest serial that was seen of an issuer.
    pub(crate) fn latest(&self, issuer: &NodeId) -> Option<&Arc<[u8]>> {
        self.latest.get(issuer).map(|(_, bytes)| bytes)
    }

    /// Notes an admission that this node holds.
    pub(crate) fn note(&mut self, admission: &Admission, bytes: &[u8]) {
        let known = self.latest.get(&admission.issuer);
        if known.is_none_or(|(serial, _)| *serial < admission.serial) {
            self.latest
                .insert(admission.issuer, (admission.serial, Arc::from(bytes)));
        }
    }

    /// The proofs, by issuer.
    pub(crate) fn doubles(&self) -> impl Iterator<Item = &CheckedDouble> {
        self.doubles.values()
    }

    /// The hash by which two nodes see whether they hold the same proofs.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let ids: Vec<(RecordId, RecordId)> =
            self.doubles.values().map(CheckedDouble::ids).collect();
        let ids: lapwing_protocol::bounded::List<_, MAX_PROOFS> = list(ids);
        hash("lapwing/v1/proofs", &ids)
    }
}

impl<R: Reader> Core<R> {
    /// Whether an admission may be taken as a fresh write: its issuer is not known to cheat, its token
    /// is of no epoch to come, and it lasts as long as the federation says.
    pub(crate) fn may_admit(&self, admission: &Admission) -> Result<(), Problem> {
        if self.cheats(&admission.issuer) {
            return Err(Problem::WrongSigner);
        }
        let now = self.time();
        let said = |r: &lapwing_protocol::federation::Roster| {
            let p = &r.params;
            admission.epoch <= epoch_at(now, p.epoch).saturating_add(1)
                && admission.expires == token_expires(admission.epoch, p.epoch, p.token_life)
        };
        if self.view.rosters().any(|r| said(r)) {
            Ok(())
        } else {
            Err(Problem::OutOfBounds)
        }
    }

    /// Whether an issuer is proven to have admitted a token twice.
    pub(crate) fn cheats(&self, issuer: &NodeId) -> bool {
        self.issuers.doubles.contains_key(issuer)
    }

    /// Tells a holder of the token of an admission that was taken under `placement`.
    pub(crate) fn bear_witness(&mut self, admission: &Verified<Admission>, placement: &[u8; 32]) {
        self.issuers.note(admission, admission.bytes());
        let me = self.me.id();
        let rank = self.view.holders(placement).iter().position(|n| *n == me);
        let holders = self.view.holders(admission.token.as_bytes());
        let Some(to) = rank.and_then(|rank| holders.get(rank % holders.len().max(1))) else {
            return;
        };
        let witness = CheckedItem::witness(admission.clone(), self.hour());
        if *to == me {
            // Nobody waits for it, and one that is refused says nothing about what brought it.
            let _ = self.accept(&witness, crate::accept::How::Fresh);
        } else {
            self.spread(*to, &witness);
        }
    }

    /// Whether one more admission of a token is kept: of more than two, those with the lowest ids, so
    /// that replicas end equal.
    pub(crate) fn take_witness(
        &mut self,
        admission: &Verified<Admission>,
        key: &ItemKey,
    ) -> Result<Accepted, Problem> {
        self.issuers.note(admission, admission.bytes());
        let mut prefix = rows::slot_prefix(&key.placement, 0);
        prefix.push(u8::try_from(ItemKind::Witness.code()).unwrap_or(u8::MAX));
        let mut kept = self.scan(&prefix, &prefix_end(&prefix), KEPT + 1)?;
        for (_, value) in &kept {
            let (_, body) = self.parse_row(value)?;
            let other = lapwing_protocol::item::check_admission(body, &self.view);
            if let Ok(double) = other.and_then(|o| CheckedDouble::new(o, admission.clone())) {
                self.convict(double);
            }
        }
        if kept.len() < KEPT {
            return Ok(Accepted::New);
        }
        // In the order of their ids.
        match kept
            .pop()
            .and_then(|(k, v)| Some((rows::parse_item_key(&k)?, k, v)))
        {
            Some((last, k, value)) if key.id < last.id => {
                let (head, _) = self.parse_row(&value)?;
                self.uncount(&last, head);
                self.delete(&k);
                Ok(Accepted::New)
            }
            _ => Ok(Accepted::Known),
        }
    }

    /// Keeps a proof and tells the operator; other nodes learn it by comparison.
    pub(crate) fn convict(&mut self, double: CheckedDouble) {
        let issuer = double.issuer();
        let known = self.issuers.doubles.get(&issuer);
        if known.is_some_and(|k| k.ids() <= double.ids())
            || (known.is_none() && self.issuers.doubles.len() >= MAX_PROOFS)
        {
            return;
        }
        if known.is_none() {
            let (first, second) = double.ids();
            self.alarm(Alarm::DoubleAdmission {
                issuer,
                first,
                second,
            });
        }
        self.put(
            rows::double_key(&issuer),
            rows::versioned(&to_bytes(&double.to_wire())),
        );
        self.issuers.doubles.insert(issuer, double);
        // Soon to the others.
        self.next_sync = self.now;
    }

    /// Reads the proofs back; what no longer holds is dropped: the roster may have given the issuer
    /// another key, which is how the federation's roots let it begin anew.
    pub(crate) fn load_doubles(&mut self) -> Result<(), Problem> {
        let space = [rows::DOUBLE];
        self.issuers.doubles.clear();
        for (key, value) in self.scan(&space, &prefix_end(&space), MAX_PROOFS)? {
            let double = rows::unversioned(&value)
                .and_then(|b| from_bytes::<DoubleAdmission>(b, MAX_DOUBLE).ok())
                .and_then(|d| CheckedDouble::check(&d, &self.view).ok());
            match double {
                Some(double) => {
                    self.issuers.doubles.insert(double.issuer(), double);
                }
                None => self.delete(&key),
            }
        }
        Ok(())
    }

    /// The double admissions that are kept as proof, for the operator and for other nodes.
    pub fn double_admissions(&self) -> Vec<DoubleAdmission> {
        self.issuers.doubles().map(CheckedDouble::to_wire).collect()
    }
}
