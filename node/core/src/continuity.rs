//! Continuity: a node whose store is older than its word (restored, refilled) must not give that word twice.
//!
//! *As an issuer.* What it signed under a number or for a token, other nodes have. Each greeting shows
//! the admission with the highest serial that the speaker holds of the other's. After a start, a node issues and
//! admits nothing new before so many nodes have greeted it that they are a majority with itself; when one
//! shows an admission that its store does not know, it closes every lottery epoch up to the present one:
//! nothing issued before is admitted, and no serial is given out twice.
//!
//! *As a holder.* A store that is new, or proven older than it was, has forgotten what was granted. Until
//! it was compared with so many other holders of a region that every lock and ticket of W holders is
//! among what they have, it grants neither there. Afterwards a lock counts as standing already when
//! W holders with itself granted it: its own grant may be the one that is lost.

use std::collections::BTreeSet;

use lapwing_protocol::cose::Verified;
use lapwing_protocol::id::NodeId;
use lapwing_protocol::placement::Placement;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Admission;
use lapwing_protocol::token::epoch_at;

use crate::accept::expiry_hour;
use crate::core::Core;
use crate::effect::Alarm;
use crate::rows::{self, Counter};
use crate::store::{Reader, prefix_end};

/// More lottery epochs than are ever kept.
const LOTTERIES: usize = 256;

/// What is not proven yet since the start.
#[derive(Default)]
pub(crate) struct Continuity {
    /// Nodes that said what they hold of this one's admissions.
    greeted: BTreeSet<NodeId>,
    /// Enough of them did.
    proven: bool,
    /// This store may lack grants that it gave.
    pub(crate) refilling: bool,
}

impl<R: Reader> Core<R> {
    /// Looks at an admission that another node may have brought.
    ///
    /// # Errors
    /// [`Problem::NotReady`] without a roster, [`Problem::Internal`] where the store cannot be read.
    pub(crate) fn prove_continuity(
        &mut self,
        admission: &Verified<Admission>,
    ) -> Result<(), Problem> {
        if admission.issuer != self.me.id() {
            return Ok(());
        }
        let row = rows::admitted_key(&admission.token);
        match self.get(&row)? {
            Some(known) if rows::unversioned(&known) == Some(&**admission.bytes()) => return Ok(()),
            Some(_) => {}
            None => {
                // From here on it is known again, and goes when it has long expired.
                let hour = expiry_hour(admission.expires).plus(1);
                self.put(&row, rows::versioned(admission.bytes()));
                self.put(rows::expiry_key(hour, &row), rows::versioned(&[]));
            }
        }
        self.lost_continuity(admission.serial)
    }

    /// Another node said what it holds of this node's admissions, and showed it.
    ///
    /// # Errors
    /// As [`Core::prove_continuity`].
    pub(crate) fn greeted(
        &mut self,
        by: NodeId,
        latest: Option<&Verified<Admission>>,
    ) -> Result<(), Problem> {
        if let Some(admission) = latest.filter(|a| a.expires > self.time()) {
            self.prove_continuity(admission)?;
        }
        if !self.continuity.proven && self.view.in_roster(&by) {
            self.continuity.greeted.insert(by);
            self.count_greetings();
        }
        Ok(())
    }

    /// Counts who greeted, this node included: a majority sees nearly every admission, for each is kept
    /// by the holders of its inbox, its region and its token.
    pub(crate) fn count_greetings(&mut self) {
        let Some(roster) = self.view.roster() else {
            return;
        };
        let me = self.me.id();
        let greeted = |n: &NodeId| *n == me || self.continuity.greeted.contains(n);
        let (all, with) = roster.nodes().fold((0, 0), |(all, with), (_, n)| {
            (all + 1, with + usize::from(greeted(&n.id)))
        });
        if with > all / 2 {
            self.continuity.proven = true;
            self.continuity.greeted.clear();
        }
    }

    /// Whether this node knows enough of its own past to issue and admit.
    ///
    /// # Errors
    /// [`Problem::NotReady`] where not.
    pub(crate) fn proven(&self) -> Result<(), Problem> {
        if self.continuity.proven {
            Ok(())
        } else {
            Err(Problem::NotReady)
        }
    }

    /// Somebody holds an admission of this node, with this serial, that its store does not know.
    fn lost_continuity(&mut self, serial: u64) -> Result<(), Problem> {
        if self.counter(Counter::Admissions)? <= serial {
            self.set_counter(Counter::Admissions, serial.saturating_add(1));
        }
        let length = self.view.params().ok_or(Problem::NotReady)?.epoch;
        let next = u64::from(epoch_at(self.time(), length)).saturating_add(1);
        if self.counter(Counter::OpenEpoch)? >= next {
            return Ok(());
        }
        self.set_counter(Counter::OpenEpoch, next);
        self.lottery = None;
        let space = [rows::LOTTERY];
        for (key, _) in self.scan(&space, &prefix_end(&space), LOTTERIES)? {
            self.delete(&key);
        }
        // What it lacks as an issuer it may lack as a holder.
        self.continuity.refilling = true;
        self.set_counter(Counter::Whole, 0);
        self.queue.forgot(Some(u32::MAX));
        self.alarm(Alarm::LostContinuity);
        Ok(())
    }

    /// Notes whether this store has been whole.
    pub(crate) fn load_continuity(&mut self) -> Result<(), Problem> {
        self.continuity.refilling = self.counter(Counter::Whole)? == 0;
        let forgotten = self.counter(Counter::Forgotten)?.checked_sub(1);
        self.queue.forgot(if self.continuity.refilling {
            Some(u32::MAX)
        } else {
            forgotten.and_then(|f| u32::try_from(f).ok())
        });
        self.count_greetings();
        Ok(())
    }

    /// Whether this node knows what was granted in a region.
    ///
    /// # Errors
    /// [`Problem::NotReady`] while it does not.
    pub(crate) fn knows_grants(&self, region: &[u8; 32]) -> Result<(), Problem> {
        let me = self.me.id();
        let handed = self
            .handing_over()
            .is_some_and(|b| !b.is_holder(region, &me));
        if (self.continuity.refilling || handed) && !self.compared_in(region) {
            return Err(Problem::NotReady);
        }
        Ok(())
    }

    /// Whether this node was compared with so many holders of an id since the start that what W of them
    /// and itself had, one of them has.
    fn compared_in(&self, id: &[u8; 32]) -> bool {
        let me = self.me.id();
        let sequence = self.view.roster().map(|r| r.sequence);
        let whole = |n: &NodeId| self.peers.get(n).is_some_and(|p| p.whole == sequence);
        let enough = |p: &Placement| {
            let others = p.holders(id).into_iter().filter(|n| *n != me);
            // Who left the roster cannot be asked.
            let others: Vec<_> = others.filter(|n| self.view.in_roster(n)).collect();
            let need = p.read_quorum().min(others.len());
            others.iter().filter(|n| whole(n)).count() >= need
        };
        let current = self.view.placement().is_some_and(|p| enough(p));
        current && self.handing_over().is_none_or(enough)
    }

    /// Ends the refilling once all that this node holds was compared.
    pub(crate) fn end_refilling(&mut self) {
        if !self.continuity.refilling
            || !(self.compared || self.view.placement().is_some_and(|p| p.holder_count() == 1))
        {
            return;
        }
        let me = self.me.id();
        let regions: Vec<_> = self.view.regions().map(|(_, r)| *r.id.as_bytes()).collect();
        if regions.is_empty() {
            return;
        }
        let whole = regions
            .iter()
            .filter(|r| self.view.is_holder(r, &me))
            .all(|r| self.compared_in(r));
        if whole {
            self.continuity.refilling = false;
            self.set_counter(Counter::Whole, 1);
            // Where there was nothing yet, nothing was forgotten.
            let length = self.view.params().map(|p| p.epoch);
            let forgotten = length
                .filter(|_| self.queue.total() > 0)
                .map(|l| epoch_at(self.time(), l));
            if let Some(epoch) = forgotten {
                self.set_counter(Counter::Forgotten, u64::from(epoch).saturating_add(1));
            }
            self.queue.forgot(forgotten);
        }
    }
}
