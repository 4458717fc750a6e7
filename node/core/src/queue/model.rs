//! The index as it would be without any index: every answer is computed from the whole set of what
//! is known. Slow, and plain enough to be believed.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_protocol::id::{LockId, NodeId, RecordId, RegionId, RequestId, TicketId};
use lapwing_protocol::key::VerifyingKey;
use lapwing_protocol::mailbox::Spend;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{LockGrant, Release, Relist, TicketGrant};
use lapwing_protocol::time::Time;

use super::{Decision, Entry, Limits, QueueIndex};

/// One thing that a holder comes to know.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Entry(RegionId, RequestId, Entry),
    Ticket(TicketGrant),
    Spend(TicketGrant, Spend),
    Lock(LockGrant),
    Release(Release, VerifyingKey),
    Relist(Relist),
}

impl Fact {
    pub(super) fn feed(&self, index: &mut QueueIndex) {
        match self {
            Self::Entry(region, request, entry) => index.insert_entry(*region, *request, *entry),
            Self::Ticket(grant) => index.add_ticket(grant),
            Self::Spend(grant, spend) => index.add_spend(grant, spend),
            Self::Lock(grant) => index.add_lock(grant),
            Self::Release(release, signer) => index.add_release(release, signer),
            Self::Relist(relist) => index.add_relist(relist),
        }
    }
}

/// One ticket under one key.
#[derive(Default)]
struct Ticket {
    holders: BTreeSet<NodeId>,
    /// With the certificates that each holder says it granted it to.
    certificates: BTreeSet<(NodeId, RecordId)>,
    lapses: Option<Time>,
    offer: Option<Time>,
}

/// All that is known of one request.
struct About {
    entry: Entry,
    tickets: BTreeMap<(TicketId, [u8; 32]), Ticket>,
    locks: BTreeMap<(LockId, TicketId), BTreeSet<NodeId>>,
    releases: BTreeSet<(LockId, [u8; 32])>,
    relisted: BTreeSet<LockId>,
    given_up: BTreeSet<TicketId>,
}

pub(super) struct Model<'a> {
    pub(super) facts: &'a [Fact],
    pub(super) limits: Limits,
    pub(super) me: NodeId,
}

impl Model<'_> {
    pub(super) fn entry(&self, region: &RegionId, request: &RequestId) -> Option<Entry> {
        let entries = self.facts.iter().filter_map(|fact| match fact {
            Fact::Entry(r, q, entry) if r == region && q == request => Some(*entry),
            _ => None,
        });
        entries.max_by_key(|entry| entry.expires)
    }

    pub(super) fn requests(&self, region: &RegionId) -> BTreeSet<RequestId> {
        let requests = self.facts.iter().filter_map(|fact| match fact {
            Fact::Entry(r, request, _) if r == region => Some(*request),
            _ => None,
        });
        requests.collect()
    }

    fn about(&self, region: &RegionId, request: &RequestId) -> Option<About> {
        let mut about = About {
            entry: self.entry(region, request)?,
            tickets: BTreeMap::new(),
            locks: BTreeMap::new(),
            releases: BTreeSet::new(),
            relisted: BTreeSet::new(),
            given_up: BTreeSet::new(),
        };
        for fact in self.facts {
            match fact {
                Fact::Ticket(grant) if (grant.region, grant.request) == (*region, *request) => {
                    about.ticket(grant);
                }
                Fact::Spend(grant, spend)
                    if (grant.region, grant.request) == (*region, *request) =>
                {
                    let ticket = about.ticket(grant);
                    ticket.offer = ticket.offer.max(Some(spend.offer_expires));
                }
                Fact::Lock(grant) if (grant.region, grant.request) == (*region, *request) => {
                    let holders = about.locks.entry((grant.lock, grant.ticket)).or_default();
                    holders.insert(grant.holder);
                }
                Fact::Release(release, by)
                    if (release.region, release.request) == (*region, *request) =>
                {
                    about.releases.insert((release.lock, *by.as_bytes()));
                }
                Fact::Relist(relist) if (relist.region, relist.request) == (*region, *request) => {
                    about.relisted.extend(relist.locks.iter().copied());
                    about.given_up.extend(relist.tickets.iter().copied());
                }
                _ => {}
            }
        }
        Some(about)
    }

    fn quorum(&self, holders: &BTreeSet<NodeId>) -> bool {
        holders.len() >= usize::from(self.limits.quorum)
    }

    fn names_key(&self, about: &About, ticket: &TicketId, key: &[u8; 32]) -> bool {
        let row = about.tickets.get(&(*ticket, *key));
        row.is_some_and(|row| self.quorum(&row.holders))
    }

    fn released(&self, about: &About, lock: &LockId, ticket: &TicketId) -> bool {
        about.releases.iter().any(|(id, by)| {
            id == lock && (*by == about.entry.token_key || self.names_key(about, ticket, by))
        })
    }

    fn open(&self, about: &About, now: Time) -> BTreeSet<TicketId> {
        let rows = about.tickets.iter().filter(|(_, row)| row.open(now));
        let open = rows.map(|((ticket, _), _)| *ticket);
        open.filter(|t| !about.given_up.contains(t)).collect()
    }

    fn booked(&self, about: &About) -> bool {
        about.locks.iter().any(|((lock, ticket), holders)| {
            self.quorum(holders)
                && (!self.released(about, lock, ticket) || !about.relisted.contains(lock))
        })
    }

    pub(super) fn locked(&self, region: &RegionId, request: &RequestId) -> Option<LockId> {
        let about = self.about(region, request)?;
        let mut locks = about.locks.iter().filter(|((lock, ticket), holders)| {
            self.quorum(holders) && !self.released(&about, lock, ticket)
        });
        locks.next().map(|((lock, _), _)| *lock)
    }

    pub(super) fn pick(
        &self,
        region: &RegionId,
        count: usize,
        now: Time,
        without: Option<&RecordId>,
    ) -> Vec<RequestId> {
        let mut listed = Vec::new();
        for request in self.requests(region) {
            let Some(about) = self.about(region, &request) else {
                continue;
            };
            let left_out = about.tickets.iter().any(|((ticket, _), row)| {
                without.is_some_and(|c| row.certificates.contains(&(self.me, *c)))
                    && row.open(now)
                    && !about.given_up.contains(ticket)
            });
            let open = self.open(&about, now).len();
            if now < about.entry.expires
                && open < usize::from(self.limits.open_offers)
                && !self.booked(&about)
                && !left_out
            {
                listed.push((about.entry.epoch, about.entry.priority, request));
            }
        }
        listed.sort();
        listed
            .into_iter()
            .take(count)
            .map(|(_, _, request)| request)
            .collect()
    }

    fn living(&self, region: &RegionId, request: &RequestId, now: Time) -> Result<About, Problem> {
        let about = self.about(region, request).ok_or(Problem::UnknownRequest)?;
        if now < about.entry.expires {
            Ok(about)
        } else {
            Err(Problem::Expired)
        }
    }

    pub(super) fn may_grant(
        &self,
        region: &RegionId,
        request: &RequestId,
        ticket: &TicketId,
        now: Time,
    ) -> Result<Decision, Problem> {
        let about = self.living(region, request, now)?;
        let mut rows = about.tickets.iter();
        if rows.any(|((id, _), row)| id == ticket && row.holders.contains(&self.me)) {
            return Ok(Decision::Already);
        }
        if self.booked(&about) {
            return Err(Problem::Locked);
        }
        let mut open = self.open(&about, now);
        open.remove(ticket);
        if open.len() >= usize::from(self.limits.open_offers) {
            return Err(Problem::Busy);
        }
        Ok(Decision::Granted)
    }

    pub(super) fn may_lock(
        &self,
        region: &RegionId,
        request: &RequestId,
        lock: &LockId,
        ticket: &TicketId,
        token_key: &VerifyingKey,
        now: Time,
    ) -> Result<Decision, Problem> {
        let about = self.living(region, request, now)?;
        if about.entry.token_key != *token_key.as_bytes() {
            return Err(Problem::WrongSigner);
        }
        if !about.tickets.keys().any(|(id, _)| id == ticket) || self.released(&about, lock, ticket)
        {
            return Err(Problem::BadTicket);
        }
        let mine = |holders: &BTreeSet<NodeId>| holders.contains(&self.me);
        if about.locks.get(&(*lock, *ticket)).is_some_and(mine) {
            return Ok(Decision::Already);
        }
        let others: Vec<_> = about
            .locks
            .iter()
            .filter(|((id, _), holders)| id != lock && (mine(holders) || self.quorum(holders)))
            .map(|(row, _)| *row)
            .collect();
        if others.iter().any(|(id, by)| !self.released(&about, id, by)) {
            return Err(Problem::Locked);
        }
        let distinct: BTreeSet<_> = others.iter().map(|(id, _)| id).collect();
        if distinct.len() > usize::from(self.limits.reoffers) {
            return Err(Problem::ReoffersUsed);
        }
        Ok(Decision::Granted)
    }

    pub(super) fn may_release(
        &self,
        region: &RegionId,
        request: &RequestId,
        lock: &LockId,
        signer: &VerifyingKey,
        now: Time,
    ) -> Result<(), Problem> {
        let about = self.living(region, request, now)?;
        let by = *signer.as_bytes();
        if about.releases.contains(&(*lock, by)) {
            return Ok(());
        }
        let known = |id: &LockId| about.locks.keys().any(|(l, _)| l == id);
        if by == about.entry.token_key {
            let unknown = about
                .releases
                .iter()
                .filter(|(id, b)| *b == by && !known(id))
                .count();
            return if known(lock) || unknown <= usize::from(self.limits.reoffers) {
                Ok(())
            } else {
                Err(Problem::CapReached)
            };
        }
        let mut rows = about.locks.keys().filter(|(id, _)| id == lock);
        if rows.any(|(_, ticket)| self.names_key(&about, ticket, &by)) {
            Ok(())
        } else {
            Err(Problem::WrongSigner)
        }
    }

    pub(super) fn may_relist(
        &self,
        relist: &Relist,
        signer: &VerifyingKey,
        now: Time,
    ) -> Result<(), Problem> {
        let about = self.living(&relist.region, &relist.request, now)?;
        if about.entry.token_key != *signer.as_bytes() {
            return Err(Problem::WrongSigner);
        }
        let tickets: BTreeSet<_> = relist.tickets.iter().copied().collect();
        let locks: BTreeSet<_> = relist.locks.iter().copied().collect();
        if tickets.is_subset(&about.given_up) && locks.is_subset(&about.relisted) {
            return Err(Problem::OldVersion);
        }
        let most = usize::from(self.limits.reoffers) + 1;
        if about.given_up.union(&tickets).count() > most * usize::from(self.limits.open_offers)
            || about.relisted.union(&locks).count() > most
        {
            return Err(Problem::ReoffersUsed);
        }
        Ok(())
    }
}

impl About {
    fn ticket(&mut self, grant: &TicketGrant) -> &mut Ticket {
        let row = self
            .tickets
            .entry((grant.ticket(), *grant.key.as_bytes()))
            .or_default();
        row.holders.insert(grant.holder);
        row.certificates.insert((grant.holder, grant.certificate));
        row.lapses = row.lapses.max(Some(grant.lapses));
        row
    }
}

impl Ticket {
    fn open(&self, now: Time) -> bool {
        match self.offer {
            Some(offer) => now < offer,
            None => self.lapses.is_some_and(|lapses| now < lapses),
        }
    }
}
