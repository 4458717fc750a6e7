//! What a region's holder knows of its queue, and what it may therefore grant.
//!
//! The index is fed with everything that the region's holders keep: entries, ticket grants, spends,
//! lock grants and releases. Replicas merge as sets, so the order of feeding changes nothing: a
//! decision depends on the set of what is known, on `now` and on [`Limits`] alone. What arrives
//! before its entry waits for it.
//!
//! The index signs nothing, stores nothing and checks no signature. It is rebuilt from the store at
//! start. See `docs/spec/queue.md`.

mod entry;
mod history;
mod region;
mod slot;
mod unspent;

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use lapwing_protocol::id::{LockId, NodeId, RecordId, RegionId, RequestId, TicketId};
use lapwing_protocol::key::VerifyingKey;
use lapwing_protocol::mailbox::Spend;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{LockGrant, Release, Relist, TicketGrant};
use lapwing_protocol::time::Time;

pub use entry::{Decision, Entry, Limits};
use history::Granter;
use region::RegionQueue;
use slot::Slot;
use unspent::Unspent;

/// How many entries [`QueueIndex::pick`] passes over, at most, because their tickets are with the provider
/// that claims: as many as it may have slots, so that it still finds others behind all its open offers.
pub const MAX_PASSED_OVER: usize = 4096;

/// Gives nodes, or certificates, small numbers, so that a grant costs four bytes and not thirty-two.
/// Numbers follow arrival and are never compared: only how many there are, and whether they are the same.
struct Numbers<K>(BTreeMap<K, u32>);

/// This node's own number.
const ME: u32 = 0;

impl<K: Ord> Numbers<K> {
    fn number(&mut self, of: K) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(of).or_insert(next)
    }

    fn known(&self, of: &K) -> Option<u32> {
        self.0.get(of).copied()
    }
}

/// The queues of all regions this node holds.
pub struct QueueIndex {
    limits: Limits,
    nodes: Numbers<NodeId>,
    /// Those on whose claims this node granted tickets.
    certificates: Numbers<RecordId>,
    regions: BTreeMap<RegionId, RegionQueue>,
    unspent: Unspent,
    /// Of requests up to this lottery epoch this node may have forgotten locks that it granted.
    forgotten: Option<u32>,
    /// What expired at or before this was removed, and is not taken again.
    expired: Time,
}

/// How the requests of a region stand. What is in neither list is booked, or was and is not listed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// All that are known.
    pub requests: u64,
    /// That can be claimed.
    pub open: u64,
    /// That have as many tickets and offers open as a request may have.
    pub waiting: u64,
}

/// Shows sizes only.
impl fmt::Debug for QueueIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueIndex")
            .field("limits", &self.limits)
            .field("regions", &self.regions.len())
            .finish_non_exhaustive()
    }
}

impl QueueIndex {
    /// An empty index of the node `me`.
    #[must_use]
    pub fn new(me: NodeId, limits: Limits) -> Self {
        Self {
            limits,
            nodes: Numbers(BTreeMap::from([(me, ME)])),
            certificates: Numbers(BTreeMap::new()),
            regions: BTreeMap::new(),
            unspent: Unspent::default(),
            forgotten: None,
            expired: Time::ZERO,
        }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Says that this node may have forgotten what it granted for requests up to a lottery epoch, or that
    /// it has not: then a lock that W holders granted, itself included, stands.
    pub fn forgot(&mut self, up_to: Option<u32>) {
        self.forgotten = up_to;
    }

    /// Takes new limits, as a new roster brings them. Costs a pass over everything if they differ.
    pub fn set_limits(&mut self, limits: Limits) {
        if limits == self.limits {
            return;
        }
        self.limits = limits;
        for region in self.regions.values_mut() {
            region.relimit(limits);
        }
    }

    /// Adds a request that was admitted. Of two admissions of one request the later expiry counts.
    pub fn insert_entry(&mut self, region: RegionId, request: RequestId, entry: Entry) {
        self.change(region, request, entry.expires, |slot| slot.insert(&entry));
    }

    /// Adds one holder's grant of a ticket. Feed it every grant that is known, also those that come
    /// with a spend or a lock order.
    pub fn add_ticket(&mut self, grant: &TicketGrant) {
        let granter = self.granter(grant);
        let (holder, ticket) = (granter.holder, grant.ticket());
        let mut spent = false;
        self.change(grant.region, grant.request, grant.expires, |slot| {
            let history = slot.history_mut();
            history.add_ticket(ticket, *grant.key.as_bytes(), grant.lapses, granter);
            spent = history.is_spent(&ticket);
        });
        if holder == ME && !spent && grant.lapses > self.expired {
            let of = (grant.region, grant.certificate);
            self.unspent.add(of, ticket, grant.lapses);
        }
    }

    /// Adds the spend of the ticket that `grant` is a grant of; [`QueueIndex::add_ticket`] included.
    pub fn add_spend(&mut self, grant: &TicketGrant, spend: &Spend) {
        let granter = self.granter(grant);
        self.change(grant.region, grant.request, grant.expires, |slot| {
            let key = *grant.key.as_bytes();
            slot.history_mut()
                .add_ticket(grant.ticket(), key, grant.lapses, granter);
            slot.history_mut()
                .add_spend(grant.ticket(), key, spend.offer_expires);
        });
        let of = (grant.region, grant.certificate);
        self.unspent.spent(&of, &grant.ticket());
    }

    /// Adds one holder's grant of a booking lock.
    pub fn add_lock(&mut self, grant: &LockGrant) {
        let holder = self.nodes.number(grant.holder);
        self.change(grant.region, grant.request, grant.expires, |slot| {
            slot.history_mut()
                .add_lock(grant.lock, grant.ticket, holder);
        });
    }

    /// Adds a release signed by `signer`. It frees the lock if `signer` is the entry's token key, or
    /// the key that grants of W holders name for the lock's ticket; until that is known it is only
    /// remembered.
    pub fn add_release(&mut self, release: &Release, signer: &VerifyingKey) {
        self.change(release.region, release.request, release.expires, |slot| {
            slot.history_mut()
                .add_release(release.lock, *signer.as_bytes());
        });
    }

    /// Lists a request again, as its user asks: the tickets it names no longer count as open, and the
    /// locks it names no longer keep it off the list once they are released. May come before what it
    /// names; a later booking takes the request off the list again. Signed by the entry's token key,
    /// which the caller has checked ([`QueueIndex::may_relist`]).
    pub fn add_relist(&mut self, relist: &Relist) {
        self.change(relist.region, relist.request, relist.expires, |slot| {
            let history = slot.history_mut();
            relist.tickets.iter().for_each(|t| history.give_up(*t));
            relist.locks.iter().for_each(|l| history.relist(*l));
        });
    }

    /// Whether a client's wish to be listed again may be taken.
    ///
    /// # Errors
    /// [`Problem::UnknownRequest`]; [`Problem::Expired`]; [`Problem::WrongSigner`] when `signer` is not
    /// the token's key; [`Problem::OldVersion`] when it names nothing that an earlier one did not;
    /// [`Problem::ReoffersUsed`] beyond as many tickets and locks as a token may give up.
    pub fn may_relist(
        &self,
        relist: &Relist,
        signer: &VerifyingKey,
        now: Time,
    ) -> Result<(), Problem> {
        self.entry_slot(&relist.region, &relist.request)?
            .may_relist(relist, signer.as_bytes(), now, self.limits)
    }

    /// The first requests of a region's list, at most `count`: in order of epoch, then priority.
    /// Not listed are requests with as many open offers as they may have, booked ones, and those on
    /// which the certificate `without` has an open offer or ticket that this node granted. (Grants of
    /// other holders do not count here: one that makes them up could else hide requests from a provider.)
    ///
    /// Looks at no more than `count` + [`MAX_PASSED_OVER`] entries, however long the queue is.
    /// Grants nothing; it is `&mut` because it brings the list up to `now`. A list does not go back:
    /// an earlier `now` than the latest one asked about counts as that.
    pub fn pick(
        &mut self,
        region: &RegionId,
        count: usize,
        now: Time,
        without: Option<&RecordId>,
    ) -> Vec<RequestId> {
        self.pick_counted(region, count, now, without).0
    }

    /// [`QueueIndex::pick`], and how many entries it looked at.
    fn pick_counted(
        &mut self,
        region: &RegionId,
        count: usize,
        now: Time,
        without: Option<&RecordId>,
    ) -> (Vec<RequestId>, usize) {
        let without = without.and_then(|certificate| self.certificates.known(certificate));
        match self.regions.get_mut(region) {
            Some(queue) => queue.pick(count, now, without),
            None => (Vec::new(), 0),
        }
    }

    /// How many tickets this node granted on a provider's claims in a region that neither were spent nor
    /// have lapsed.
    #[must_use]
    pub fn unspent(&self, region: &RegionId, certificate: &RecordId, now: Time) -> usize {
        self.unspent.count(&(*region, *certificate), now)
    }

    /// Whether this node may grant `ticket` for a request. Other holders' grants of the same ticket
    /// do not stand in its way.
    ///
    /// # Errors
    /// [`Problem::UnknownRequest`], [`Problem::Expired`], [`Problem::Locked`] for a booked request,
    /// [`Problem::Busy`] when it has as many other open offers and tickets as it may.
    pub fn may_grant(
        &self,
        region: &RegionId,
        request: &RequestId,
        ticket: &TicketId,
        now: Time,
    ) -> Result<Decision, Problem> {
        self.entry_slot(region, request)?
            .may_grant(ticket, now, self.limits)
    }

    /// Whether this node may grant the booking lock `lock` to the holder of `ticket`. The caller has
    /// fed the ticket's grants, and checked them and the user's acceptance; `token_key` signed it.
    ///
    /// # Errors
    /// [`Problem::UnknownRequest`]; [`Problem::Expired`]; [`Problem::WrongSigner`] when `token_key`
    /// is not the token's; [`Problem::BadTicket`] for an unknown ticket, or a lock that was released;
    /// [`Problem::Locked`] while this node's grant of another lock, or one that W holders granted,
    /// is not released; [`Problem::ReoffersUsed`].
    pub fn may_lock(
        &self,
        region: &RegionId,
        request: &RequestId,
        lock: &LockId,
        ticket: &TicketId,
        token_key: &VerifyingKey,
        now: Time,
    ) -> Result<Decision, Problem> {
        self.entry_slot(region, request)?.may_lock(
            lock,
            ticket,
            token_key.as_bytes(),
            now,
            (self.limits, self.forgotten),
        )
    }

    /// Whether a release that a client brings may be taken: without this anybody could make holders
    /// keep any number of them. Releases from replicas are fed unasked.
    ///
    /// # Errors
    /// [`Problem::UnknownRequest`]; [`Problem::Expired`]; [`Problem::WrongSigner`] when `signer` is
    /// neither the token's key nor that of the lock's ticket; [`Problem::CapReached`] when the
    /// token's key releases more locks that are not known here than it can ever have had.
    pub fn may_release(
        &self,
        release: &Release,
        signer: &VerifyingKey,
        now: Time,
    ) -> Result<(), Problem> {
        self.entry_slot(&release.region, &release.request)?
            .may_release(&release.lock, signer.as_bytes(), now, self.limits)
    }

    /// The booking lock that W holders granted and nobody released.
    #[must_use]
    pub fn locked(&self, region: &RegionId, request: &RequestId) -> Option<LockId> {
        self.slot(region, request)?.locked(self.limits)
    }

    /// A request of a region.
    #[must_use]
    pub fn entry(&self, region: &RegionId, request: &RequestId) -> Option<Entry> {
        self.slot(region, request)?.entry()
    }

    /// A region's requests, listed or not, ascending by id.
    pub fn entries<'a>(
        &'a self,
        region: &RegionId,
    ) -> impl Iterator<Item = (RequestId, Entry)> + use<'a> {
        self.regions
            .get(region)
            .into_iter()
            .flat_map(RegionQueue::entries)
    }

    /// How many requests a region has, listed or not.
    #[must_use]
    pub fn len(&self, region: &RegionId) -> usize {
        self.regions.get(region).map_or(0, RegionQueue::len)
    }

    /// Whether a region has no request.
    #[must_use]
    pub fn is_empty(&self, region: &RegionId) -> bool {
        self.len(region) == 0
    }

    /// How many requests all regions have together, listed or not.
    #[must_use]
    pub fn total(&self) -> usize {
        self.regions.values().map(RegionQueue::len).sum()
    }

    /// Each region's numbers, by id; of regions without a request that is known nothing.
    pub fn regions(&self) -> impl Iterator<Item = (RegionId, Listed)> {
        self.regions
            .iter()
            .map(|(id, region)| (*id, region.listed()))
            .filter(|(_, listed)| listed.requests > 0)
    }

    /// Forgets what has expired, and returns the requests among it.
    pub fn expire(&mut self, now: Time) -> Vec<(RegionId, RequestId)> {
        self.expired = self.expired.max(now);
        self.unspent.expire(now);
        let mut removed = Vec::new();
        self.regions.retain(|id, region| {
            removed.extend(region.expire(now).into_iter().map(|request| (*id, request)));
            !region.is_empty()
        });
        removed
    }

    /// Who granted a ticket, and if it was this node, to whom.
    fn granter(&mut self, grant: &TicketGrant) -> Granter {
        let holder = self.nodes.number(grant.holder);
        Granter {
            holder,
            certificate: (holder == ME).then(|| self.certificates.number(grant.certificate)),
        }
    }

    fn change(
        &mut self,
        region: RegionId,
        request: RequestId,
        expires: Time,
        edit: impl FnOnce(&mut Slot),
    ) {
        if expires > self.expired {
            self.regions
                .entry(region)
                .or_default()
                .change(request, expires, self.limits, edit);
        }
    }

    fn slot(&self, region: &RegionId, request: &RequestId) -> Option<&Slot> {
        self.regions.get(region)?.slot(request)
    }

    /// The slot of a request whose entry is known.
    fn entry_slot(&self, region: &RegionId, request: &RequestId) -> Result<&Slot, Problem> {
        self.slot(region, request)
            .filter(|slot| slot.entry().is_some())
            .ok_or(Problem::UnknownRequest)
    }
}
