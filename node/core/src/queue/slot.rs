//! One request as a holder knows it, and the decisions that follow.

use lapwing_protocol::id::{LockId, MailboxId, Priority, TicketId, TokenId};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Relist;
use lapwing_protocol::time::Time;

use super::history::{History, Holders, LockRow};
use super::{Decision, Entry, Limits};

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
        let known = self.known.as_ref()?;
        Some((known.epoch, known.priority))
    }

    pub(super) fn free_from(&self) -> Time {
        self.free_from
    }

    pub(super) fn booked(&self) -> bool {
        self.booked
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

    pub(super) fn history_mut(&mut self) -> &mut History {
        self.history.get_or_insert_default()
    }

    /// Computes anew what is kept of the history; after every change, and when limits change.
    pub(super) fn refresh(&mut self, limits: Limits) {
        let history = self.history();
        let most = limits.open_offers();
        let mut ends: Vec<Time> = history.ticket_ends().map(|(_, end)| end).collect();
        // Fewer than `most` are open from the end of the `most`-th last on.
        let free_from = if ends.len() < most {
            Time::ZERO
        } else {
            *ends.select_nth_unstable_by(most - 1, |a, b| b.cmp(a)).1
        };
        let booked = history.locks().iter().any(|row| {
            row.holders.hold(limits)
                && !(self.released(row, limits) && history.is_relisted(&row.lock))
        });
        self.free_from = free_from;
        self.booked = booked;
    }

    /// Whether a certificate has an open ticket or offer here that this node granted.
    pub(super) fn open_for(&self, certificate: u32, now: Time) -> bool {
        self.history().open_for(certificate, now)
    }

    pub(super) fn locked(&self, limits: Limits) -> Option<LockId> {
        let mut rows = self.history().locks().iter();
        rows.find(|row| row.holders.hold(limits) && !self.released(row, limits))
            .map(|row| row.lock)
    }

    pub(super) fn may_grant(
        &self,
        ticket: &TicketId,
        now: Time,
        limits: Limits,
    ) -> Result<Decision, Problem> {
        self.unexpired(now)?;
        let history = self.history();
        let mut same = history.tickets().iter().filter(|row| row.ticket == *ticket);
        if same.any(|row| row.holders.mine()) {
            return Ok(Decision::Already);
        }
        if self.booked {
            return Err(Problem::Locked);
        }
        let others = history
            .ticket_ends()
            .filter(|(id, end)| *id != *ticket && now < *end);
        if others.count() >= limits.open_offers() {
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
        (limits, forgotten): (Limits, Option<u32>),
    ) -> Result<Decision, Problem> {
        self.unexpired(now)?;
        if self.token_key() != Some(token_key) {
            return Err(Problem::WrongSigner);
        }
        let history = self.history();
        if !history.tickets().iter().any(|row| row.ticket == *ticket) {
            return Err(Problem::BadTicket);
        }
        // Never again, not even where this node granted it: its holder would believe to be booked.
        if history.released(*lock, *ticket, Some(token_key), limits) {
            return Err(Problem::BadTicket);
        }
        let mut same = history.locks().iter().filter(|row| row.lock == *lock);
        if same.any(|row| row.ticket == *ticket && row.holders.mine()) {
            return Ok(Decision::Already);
        }
        // One holder alone can neither block a token nor use it up by grants that it makes up.
        // A holder that has forgotten what it granted may be one of them.
        let forgot = forgotten.is_some_and(|f| self.rank().is_some_and(|(epoch, _)| epoch <= f));
        let stands = |holders: &Holders| {
            holders.mine() || holders.hold(limits) || (forgot && holders.hold_with_one(limits))
        };
        let others = history
            .locks()
            .iter()
            .filter(|row| row.lock != *lock && stands(&row.holders));
        if others.clone().any(|row| !self.released(row, limits)) {
            return Err(Problem::Locked);
        }
        let mut last = None;
        let distinct = others.filter(|row| last.replace(row.lock) != Some(row.lock));
        if distinct.count() >= limits.locks() {
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
        let history = self.history();
        let releases = history.releases();
        if releases.binary_search(&(*lock, *signer)).is_ok() {
            return Ok(());
        }
        let known = |id: &LockId| history.locks().iter().any(|row| row.lock == *id);
        if self.token_key() == Some(signer) {
            // The lock may not have come here yet; but a token has only so many.
            let unknown = releases
                .iter()
                .filter(|(id, by)| by == signer && !known(id));
            if !known(lock) && unknown.count() >= limits.locks() {
                return Err(Problem::CapReached);
            }
            return Ok(());
        }
        let mut rows = history.locks().iter().filter(|row| row.lock == *lock);
        if rows.any(|row| history.names_key(&row.ticket, signer, limits)) {
            Ok(())
        } else {
            Err(Problem::WrongSigner)
        }
    }

    pub(super) fn may_relist(
        &self,
        relist: &Relist,
        signer: &[u8; 32],
        now: Time,
        limits: Limits,
    ) -> Result<(), Problem> {
        self.unexpired(now)?;
        if self.token_key() != Some(signer) {
            return Err(Problem::WrongSigner);
        }
        let history = self.history();
        let tickets = relist.tickets.iter().filter(|t| !history.is_given_up(t));
        let locks = relist.locks.iter().filter(|l| !history.is_relisted(l));
        let (more_tickets, more_locks) = (tickets.count(), locks.count());
        if more_tickets + more_locks == 0 {
            return Err(Problem::OldVersion);
        }
        let (tickets, locks) = history.relists();
        if tickets + more_tickets > limits.open_offers() * limits.locks()
            || locks + more_locks > limits.locks()
        {
            return Err(Problem::ReoffersUsed);
        }
        Ok(())
    }

    fn unexpired(&self, now: Time) -> Result<(), Problem> {
        if now < self.expires {
            Ok(())
        } else {
            Err(Problem::Expired)
        }
    }

    fn history(&self) -> &History {
        self.history.as_deref().unwrap_or(History::NOTHING)
    }

    fn token_key(&self) -> Option<&[u8; 32]> {
        self.known.as_ref().map(|known| &known.token_key)
    }

    fn released(&self, row: &LockRow, limits: Limits) -> bool {
        self.history()
            .released(row.lock, row.ticket, self.token_key(), limits)
    }
}
