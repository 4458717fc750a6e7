//! Everything known about one request, and the decisions that follow from it.

use lapwing_protocol::id::{LockId, MailboxId, Priority, TicketId, TokenId};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::Time;

use super::{Decision, Entry, Limits, ME};

/// Where the board has a request.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Seat {
    #[default]
    Off,
    Listed,
    Waiting,
}

/// [`Entry`] without its expiry, which the slot has also while the entry is not known.
struct Known {
    epoch: u32,
    priority: Priority,
    token: TokenId,
    token_key: [u8; 32],
    inbox: MailboxId,
}

/// The distinct holders that granted one thing.
#[derive(Default)]
struct Holders(Vec<u32>);

impl Holders {
    fn add(&mut self, holder: u32) {
        if !self.0.contains(&holder) {
            self.0.push(holder);
        }
    }

    fn mine(&self) -> bool {
        self.0.contains(&ME)
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

/// What is known of a ticket under one key. Honest holders name one key for a ticket; who names
/// another gets a row of its own, so that it cannot act for the rightful one.
struct TicketRow {
    ticket: TicketId,
    key: [u8; 32],
    lapses: Time,
    /// When the offer that it was spent on expires; the latest of several.
    offer: Option<Time>,
    holders: Holders,
}

impl TicketRow {
    /// Until when it counts as open.
    fn open_until(&self) -> Time {
        self.offer.unwrap_or(self.lapses)
    }
}

/// The grants of a lock for one ticket.
struct LockRow {
    lock: LockId,
    ticket: TicketId,
    holders: Holders,
}

/// What happened to a request. Rows are sorted and distinct by what they are looked up by.
#[derive(Default)]
struct History {
    tickets: Vec<TicketRow>,
    locks: Vec<LockRow>,
    releases: Vec<(LockId, [u8; 32])>,
    relisted: Vec<LockId>,
}

/// One request: its entry, once it is known, and what happened to it.
#[derive(Default)]
pub(super) struct Slot {
    known: Option<Known>,
    /// Most requests have none.
    history: Option<Box<History>>,
    expires: Time,
    /// From then on it has fewer open tickets than it may have.
    free_from: Time,
    /// Booked, or was booked and is not listed again.
    booked: bool,
    pub(super) seat: Seat,
}

impl Slot {
    pub(super) fn entry(&self) -> Option<Entry> {
        self.known.as_ref().map(|known| Entry {
            epoch: known.epoch,
            priority: known.priority,
            token: known.token,
            token_key: known.token_key,
            inbox: known.inbox,
            expires: self.expires,
        })
    }

    pub(super) fn expires(&self) -> Time {
        self.expires
    }

    pub(super) fn rank(&self) -> Option<(u32, Priority)> {
        self.known
            .as_ref()
            .map(|known| (known.epoch, known.priority))
    }

    pub(super) fn free_from(&self) -> Time {
        self.free_from
    }

    pub(super) fn listable(&self) -> bool {
        !self.booked
    }

    /// Whether it can be picked.
    pub(super) fn free(&self, now: Time) -> bool {
        !self.booked && self.free_from <= now && now < self.expires
    }

    /// While no entry says when the request expires, what arrived for it does.
    pub(super) fn expires_at_least(&mut self, expires: Time) {
        if self.known.is_none() {
            self.expires = self.expires.max(expires);
        }
    }

    pub(super) fn insert(&mut self, entry: &Entry) {
        self.expires = match self.known {
            Some(_) => self.expires.max(entry.expires),
            None => entry.expires,
        };
        self.known = Some(Known {
            epoch: entry.epoch,
            priority: entry.priority,
            token: entry.token,
            token_key: entry.token_key,
            inbox: entry.inbox,
        });
    }

    pub(super) fn add_ticket(
        &mut self,
        ticket: TicketId,
        key: [u8; 32],
        lapses: Time,
        holder: u32,
    ) {
        let row = self.ticket_row(ticket, key);
        row.lapses = row.lapses.max(lapses);
        row.holders.add(holder);
    }

    pub(super) fn add_spend(&mut self, ticket: TicketId, key: [u8; 32], offer_expires: Time) {
        let row = self.ticket_row(ticket, key);
        row.offer = row.offer.max(Some(offer_expires));
    }

    pub(super) fn add_lock(&mut self, lock: LockId, ticket: TicketId, holder: u32) {
        let locks = &mut self.history.get_or_insert_default().locks;
        match locks.binary_search_by(|row| (row.lock, row.ticket).cmp(&(lock, ticket))) {
            Ok(at) => locks[at].holders.add(holder),
            Err(at) => {
                let holders = Holders(vec![holder]);
                locks.insert(
                    at,
                    LockRow {
                        lock,
                        ticket,
                        holders,
                    },
                );
            }
        }
    }

    pub(super) fn add_release(&mut self, lock: LockId, signer: [u8; 32]) {
        insert_sorted(
            &mut self.history.get_or_insert_default().releases,
            (lock, signer),
        );
    }

    pub(super) fn relist(&mut self, lock: LockId) {
        insert_sorted(&mut self.history.get_or_insert_default().relisted, lock);
    }

    /// Computes anew what is kept of the history; after every change, and when limits change.
    pub(super) fn refresh(&mut self, limits: Limits) {
        let mut ends: Vec<Time> = self.ticket_ends().map(|(_, end)| end).collect();
        let most = limits.open_offers();
        // Fewer than `most` are open from the end of the `most`-th last on.
        self.free_from = if ends.len() < most {
            Time::ZERO
        } else {
            *ends.select_nth_unstable_by(most - 1, |a, b| b.cmp(a)).1
        };
        self.booked = self.locks().iter().any(|row| {
            row.holders.count() >= limits.quorum()
                && (!self.released(row.lock, row.ticket, limits) || !self.is_relisted(&row.lock))
        });
    }

    /// Whether `key` has an open ticket or offer here.
    pub(super) fn open_for(&self, key: &[u8; 32], now: Time) -> bool {
        self.tickets()
            .iter()
            .any(|row| row.key == *key && now < row.open_until())
    }

    pub(super) fn locked(&self, limits: Limits) -> Option<LockId> {
        self.locks()
            .iter()
            .find(|row| {
                row.holders.count() >= limits.quorum()
                    && !self.released(row.lock, row.ticket, limits)
            })
            .map(|row| row.lock)
    }

    pub(super) fn may_grant(
        &self,
        ticket: &TicketId,
        now: Time,
        limits: Limits,
    ) -> Result<Decision, Problem> {
        self.unexpired(now)?;
        if self
            .tickets()
            .iter()
            .any(|row| row.ticket == *ticket && row.holders.mine())
        {
            return Ok(Decision::Already);
        }
        if self.booked {
            return Err(Problem::Locked);
        }
        let others = self
            .ticket_ends()
            .filter(|(id, end)| *id != *ticket && now < *end)
            .count();
        if others >= limits.open_offers() {
            return Err(Problem::Busy);
        }
        Ok(Decision::Granted)
    }

    pub(super) fn may_lock(
        &self,
        lock: &LockId,
        ticket: &TicketId,
        token_key: &[u8; 32],
        now: Time,
        limits: Limits,
    ) -> Result<Decision, Problem> {
        self.unexpired(now)?;
        if self.token_key() != Some(token_key) {
            return Err(Problem::WrongSigner);
        }
        if !self.tickets().iter().any(|row| row.ticket == *ticket) {
            return Err(Problem::BadTicket);
        }
        // Never again, not even where this node granted it: its holder would believe to be booked.
        if self.released(*lock, *ticket, limits) {
            return Err(Problem::BadTicket);
        }
        let same = |row: &&LockRow| row.lock == *lock && row.ticket == *ticket;
        if self
            .locks()
            .iter()
            .any(|row| same(&row) && row.holders.mine())
        {
            return Ok(Decision::Already);
        }
        // One holder alone can neither block a token nor use it up by grants it makes up.
        let counts = |row: &&LockRow| row.holders.mine() || row.holders.count() >= limits.quorum();
        let mut others = self
            .locks()
            .iter()
            .filter(|row| row.lock != *lock)
            .filter(counts);
        if others
            .clone()
            .any(|row| !self.released(row.lock, row.ticket, limits))
        {
            return Err(Problem::Locked);
        }
        let mut last = None;
        let distinct = others
            .by_ref()
            .filter(|row| last.replace(row.lock) != Some(row.lock))
            .count();
        if distinct >= limits.locks() {
            return Err(Problem::ReoffersUsed);
        }
        Ok(Decision::Granted)
    }

    pub(super) fn may_release(
        &self,
        lock: &LockId,
        signer: &[u8; 32],
        now: Time,
        limits: Limits,
    ) -> Result<(), Problem> {
        self.unexpired(now)?;
        let releases = self.history.as_deref().map_or(&[][..], |h| &h.releases);
        if releases.binary_search(&(*lock, *signer)).is_ok() {
            return Ok(());
        }
        let mut rows = self.locks().iter().filter(|row| row.lock == *lock);
        if self.token_key() == Some(signer) {
            // The lock may not have come here yet; but a token has only so many.
            let unknown = releases
                .iter()
                .filter(|(id, by)| by == signer && !self.locks().iter().any(|row| row.lock == *id))
                .count();
            if rows.next().is_none() && unknown >= limits.locks() {
                return Err(Problem::CapReached);
            }
            return Ok(());
        }
        if rows.any(|row| self.names_key(&row.ticket, signer, limits)) {
            Ok(())
        } else {
            Err(Problem::WrongSigner)
        }
    }

    fn unexpired(&self, now: Time) -> Result<(), Problem> {
        if now < self.expires {
            Ok(())
        } else {
            Err(Problem::Expired)
        }
    }

    fn token_key(&self) -> Option<&[u8; 32]> {
        self.known.as_ref().map(|known| &known.token_key)
    }

    fn tickets(&self) -> &[TicketRow] {
        self.history.as_deref().map_or(&[], |h| &h.tickets)
    }

    fn locks(&self) -> &[LockRow] {
        self.history.as_deref().map_or(&[], |h| &h.locks)
    }

    /// Each ticket with the time until which it counts as open.
    fn ticket_ends(&self) -> impl Iterator<Item = (TicketId, Time)> {
        self.tickets()
            .chunk_by(|a, b| a.ticket == b.ticket)
            .filter_map(|rows| {
                let end = rows.iter().map(TicketRow::open_until).max()?;
                Some((rows.first()?.ticket, end))
            })
    }

    /// Whether a lock taken with a ticket was released by one who may: the user, or who holds the
    /// ticket. The latter's key must stand in grants of W holders, or one false holder could free
    /// locks with a key of its own.
    fn released(&self, lock: LockId, ticket: TicketId, limits: Limits) -> bool {
        let releases = self.history.as_deref().map_or(&[][..], |h| &h.releases);
        let first = releases.partition_point(|(id, _)| *id < lock);
        releases
            .iter()
            .skip(first)
            .take_while(|(id, _)| *id == lock)
            .any(|(_, signer)| {
                self.token_key() == Some(signer) || self.names_key(&ticket, signer, limits)
            })
    }

    /// Whether W holders name `key` for a ticket.
    fn names_key(&self, ticket: &TicketId, key: &[u8; 32], limits: Limits) -> bool {
        self.tickets().iter().any(|row| {
            row.ticket == *ticket && row.key == *key && row.holders.count() >= limits.quorum()
        })
    }

    fn is_relisted(&self, lock: &LockId) -> bool {
        self.history
            .as_deref()
            .is_some_and(|h| h.relisted.binary_search(lock).is_ok())
    }

    fn ticket_row(&mut self, ticket: TicketId, key: [u8; 32]) -> &mut TicketRow {
        let tickets = &mut self.history.get_or_insert_default().tickets;
        let at = match tickets.binary_search_by(|row| (row.ticket, row.key).cmp(&(ticket, key))) {
            Ok(at) => at,
            Err(at) => {
                let row = TicketRow {
                    ticket,
                    key,
                    lapses: Time::ZERO,
                    offer: None,
                    holders: Holders::default(),
                };
                tickets.insert(at, row);
                at
            }
        };
        &mut tickets[at]
    }
}

fn insert_sorted<T: Ord>(rows: &mut Vec<T>, row: T) {
    if let Err(at) = rows.binary_search(&row) {
        rows.insert(at, row);
    }
}
