//! What happened to one request: tickets, offers, booking locks and their releases, as sets.
//!
//! Nothing here is ever taken back or overwritten, and where two statements meet the later time or
//! the union counts, so that order does not matter.

use lapwing_protocol::id::{LockId, TicketId};
use lapwing_protocol::time::Time;

use super::{Limits, ME};

/// The distinct holders that granted one thing.
#[derive(Default)]
pub(super) struct Holders(Vec<u32>);

impl Holders {
    fn add(&mut self, holder: u32) {
        if !self.0.contains(&holder) {
            self.0.push(holder);
        }
    }

    /// Whether this node is among them.
    pub(super) fn mine(&self) -> bool {
        self.0.contains(&ME)
    }

    /// Whether there would be W of them with one more, of which this node may have forgotten that it is it.
    pub(super) fn hold_with_one(&self, limits: Limits) -> bool {
        self.0.len() + 1 >= limits.quorum()
    }

    /// Whether there are W of them.
    pub(super) fn hold(&self, limits: Limits) -> bool {
        self.0.len() >= limits.quorum()
    }
}

/// Who granted a ticket.
#[derive(Clone, Copy)]
pub(super) struct Granter {
    /// The holder's number.
    pub(super) holder: u32,
    /// The number of the certificate that claimed; of this node's own grants alone.
    pub(super) certificate: Option<u32>,
}

/// What is known of a ticket under one key. Honest holders name one key for a ticket; who names
/// another gets a row of its own, so that it cannot act for the rightful one.
pub(super) struct TicketRow {
    pub(super) ticket: TicketId,
    pub(super) key: [u8; 32],
    pub(super) holders: Holders,
    /// The number of the certificate that this node granted it to.
    certificate: Option<u32>,
    lapses: Time,
    /// When the offer that it was spent on expires; the latest of several.
    offer: Option<Time>,
}

impl TicketRow {
    /// Until when it counts as open.
    pub(super) fn open_until(&self) -> Time {
        self.offer.unwrap_or(self.lapses)
    }
}

/// The grants of a lock for one ticket.
pub(super) struct LockRow {
    pub(super) lock: LockId,
    pub(super) ticket: TicketId,
    pub(super) holders: Holders,
}

/// Rows are sorted and distinct by what they are looked up by.
#[derive(Default)]
pub(super) struct History {
    tickets: Vec<TicketRow>,
    locks: Vec<LockRow>,
    releases: Vec<(LockId, [u8; 32])>,
    relisted: Vec<LockId>,
    given_up: Vec<TicketId>,
}

impl History {
    /// That nothing happened yet.
    pub(super) const NOTHING: &'static Self = &Self {
        tickets: Vec::new(),
        locks: Vec::new(),
        releases: Vec::new(),
        relisted: Vec::new(),
        given_up: Vec::new(),
    };

    pub(super) fn add_ticket(
        &mut self,
        ticket: TicketId,
        key: [u8; 32],
        lapses: Time,
        by: Granter,
    ) {
        let row = self.ticket_row(ticket, key);
        row.lapses = row.lapses.max(lapses);
        row.holders.add(by.holder);
        row.certificate = row.certificate.or(by.certificate);
    }

    pub(super) fn add_spend(&mut self, ticket: TicketId, key: [u8; 32], offer_expires: Time) {
        let row = self.ticket_row(ticket, key);
        row.offer = row.offer.max(Some(offer_expires));
    }

    /// Whether an offer was paid for with a ticket.
    pub(super) fn is_spent(&self, ticket: &TicketId) -> bool {
        let first = self.tickets.partition_point(|row| row.ticket < *ticket);
        let rows = self.tickets.iter().skip(first);
        rows.take_while(|row| row.ticket == *ticket)
            .any(|row| row.offer.is_some())
    }

    pub(super) fn add_lock(&mut self, lock: LockId, ticket: TicketId, holder: u32) {
        let locks = &mut self.locks;
        match locks.binary_search_by(|row| (row.lock, row.ticket).cmp(&(lock, ticket))) {
            Ok(at) => locks[at].holders.add(holder),
            Err(at) => {
                let holders = Holders(vec![holder]);
                let row = LockRow {
                    lock,
                    ticket,
                    holders,
                };
                locks.insert(at, row);
            }
        }
    }

    pub(super) fn add_release(&mut self, lock: LockId, signer: [u8; 32]) {
        insert_sorted(&mut self.releases, (lock, signer));
    }

    pub(super) fn relist(&mut self, lock: LockId) {
        insert_sorted(&mut self.relisted, lock);
    }

    /// The offers of a ticket no longer count as open.
    pub(super) fn give_up(&mut self, ticket: TicketId) {
        insert_sorted(&mut self.given_up, ticket);
    }

    pub(super) fn is_given_up(&self, ticket: &TicketId) -> bool {
        self.given_up.binary_search(ticket).is_ok()
    }

    /// How many tickets were given up, and how many locks listed again.
    pub(super) fn relists(&self) -> (usize, usize) {
        (self.given_up.len(), self.relisted.len())
    }

    /// By ticket, then key.
    pub(super) fn tickets(&self) -> &[TicketRow] {
        &self.tickets
    }

    /// By lock, then ticket.
    pub(super) fn locks(&self) -> &[LockRow] {
        &self.locks
    }

    /// By lock, then signer.
    pub(super) fn releases(&self) -> &[(LockId, [u8; 32])] {
        &self.releases
    }

    pub(super) fn is_relisted(&self, lock: &LockId) -> bool {
        self.relisted.binary_search(lock).is_ok()
    }

    /// Whether a certificate has a ticket that this node granted, that counts as open, and that was not
    /// given up.
    pub(super) fn open_for(&self, certificate: u32, now: Time) -> bool {
        self.tickets.iter().any(|row| {
            row.certificate == Some(certificate)
                && now < row.open_until()
                && !self.is_given_up(&row.ticket)
        })
    }

    /// Each ticket that was not given up, with the time until which it counts as open.
    pub(super) fn ticket_ends(&self) -> impl Iterator<Item = (TicketId, Time)> {
        self.tickets
            .chunk_by(|a, b| a.ticket == b.ticket)
            .filter_map(|rows| {
                let end = rows.iter().map(TicketRow::open_until).max()?;
                Some((rows.first()?.ticket, end))
            })
            .filter(|(ticket, _)| !self.is_given_up(ticket))
    }

    /// Whether a lock taken with a ticket was released by one who may: the user, or who holds the
    /// ticket. The latter's key must stand in grants of W holders, or one false holder could free
    /// locks with a key of its own.
    pub(super) fn released(
        &self,
        lock: LockId,
        ticket: TicketId,
        token_key: Option<&[u8; 32]>,
        limits: Limits,
    ) -> bool {
        let first = self.releases.partition_point(|(id, _)| *id < lock);
        self.releases
            .iter()
            .skip(first)
            .take_while(|(id, _)| *id == lock)
            .any(|(_, by)| token_key == Some(by) || self.names_key(&ticket, by, limits))
    }

    /// Whether W holders name `key` for a ticket.
    pub(super) fn names_key(&self, ticket: &TicketId, key: &[u8; 32], limits: Limits) -> bool {
        self.tickets
            .binary_search_by(|row| (&row.ticket, &row.key).cmp(&(ticket, key)))
            .is_ok_and(|at| self.tickets[at].holders.hold(limits))
    }

    fn ticket_row(&mut self, ticket: TicketId, key: [u8; 32]) -> &mut TicketRow {
        let tickets = &mut self.tickets;
        let at = match tickets.binary_search_by(|row| (row.ticket, row.key).cmp(&(ticket, key))) {
            Ok(at) => at,
            Err(at) => {
                if tickets.len() < 4 {
                    // Room for four at once would double what a usual request takes.
                    tickets.reserve_exact(1);
                }
                let row = TicketRow {
                    ticket,
                    key,
                    holders: Holders::default(),
                    certificate: None,
                    lapses: Time::ZERO,
                    offer: None,
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
