//! From a good booking to its confirmation: mark, lock, mark, letter.

use super::kept_deal::{Deal, Step, TurnDown};
use super::state::{BookEntry, BookState, SlotUse};
use super::{Provider, ProviderEvent, Task};
use crate::booking::{Confirmation, Decision, Rejection, ToUser};
use crate::bounded::{Bytes, List};
use crate::client::{Call, CallKind, Locks};
use crate::codec::to_bytes;
use crate::cose::{parse, sign};
use crate::id::{LockId, NodeId, TicketId};
use crate::mailbox::{MarkValue, NO_BOOKING, mark_by};
use crate::problem::Problem;
use crate::queue::{LockGrant, LockOrder, Release};
use crate::role::kept::Blob;
use crate::role::talk::{signed, transient};
use crate::seal::Purpose;
use crate::time::Time;
use rand_core::CryptoRng;

impl Provider {
    pub(super) fn lock_call(&self, ticket: &TicketId) -> Option<Call> {
        let deal = self.state.deals.get(ticket)?;
        let accept = &deal.booking.as_ref()?.accept;
        let grants: Vec<_> = deal
            .grants
            .iter()
            .map(|g| Bytes::try_from(&**g))
            .collect::<Result<_, _>>()
            .ok()?;
        let order = LockOrder {
            grants: List::try_from(grants).ok()?,
            accept: Bytes::try_from(&**accept).ok()?,
            token_key: deal.token_key,
            signature: deal.ticket_key.sign(&LockOrder::message(accept)),
        };
        Some(Call::new(CallKind::Lock, to_bytes(&order)))
    }

    /// Checks the lock: grants of enough holders. The mark is set next.
    pub(super) fn locked(
        &mut self,
        ticket: &TicketId,
        locks: &Locks,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Problem> {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return Ok(());
        };
        let Some(taking) = deal.booking.as_mut().filter(|b| b.step == Step::Lock) else {
            return Ok(());
        };
        let mut holders: Vec<NodeId> = Vec::new();
        for bytes in &locks.grants {
            let grant = parse::<LockGrant>(bytes)?;
            let holder = grant.unverified().holder;
            let key = self.view.node_key(&holder).ok_or(Problem::WrongSigner)?;
            let grant = grant.verify(key)?;
            let fits = grant.region == deal.region
                && grant.request == deal.request
                && grant.ticket == *ticket
                && grant.lock == taking.lock
                && self.view.was_holder(deal.region.as_bytes(), &holder)
                && !holders.contains(&holder);
            if !fits {
                return Err(Problem::BadTicket);
            }
            holders.push(holder);
        }
        if holders.is_empty() || holders.len() < self.view.write_quorum() {
            return Err(Problem::HoldersAway);
        }
        taking.step = Step::Take;
        taking.locked = true;
        let mut set = false;
        if let Some(slot) = self.state.slots.get_mut(&taking.slot) {
            slot.set(MarkValue::Taken, mark_by(&taking.id));
            set = slot.want_version <= slot.version;
        }
        if set {
            self.confirm(*ticket, rng);
        }
        Ok(())
    }

    pub(super) fn lock_refused(
        &mut self,
        ticket: &TicketId,
        problem: Problem,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        self.desk.failed(&Task::Lock(*ticket), now, rng);
        if transient(problem) {
            return;
        }
        let reason = match problem {
            Problem::Locked | Problem::ReoffersUsed => Rejection::TokenLocked,
            _ => Rejection::OfferClosed,
        };
        self.events.push(ProviderEvent::LockRefused {
            ticket: *ticket,
            problem,
        });
        self.give_up(ticket, reason, now, rng);
    }

    /// The mark is set, and the lock is held: the booking, or its change, stands, and the user is told.
    pub(super) fn confirm(&mut self, ticket: TicketId, rng: &mut dyn CryptoRng) {
        let Some(deal) = self.state.deals.get_mut(&ticket) else {
            return;
        };
        if deal.change.is_some() {
            return self.confirm_change(ticket, rng);
        }
        let Some(taking) = deal.booking.as_mut().filter(|b| b.step == Step::Take) else {
            return;
        };
        let Some(slot) = self.state.slots.get(&taking.slot) else {
            return;
        };
        taking.step = Step::Confirmed;
        let entry = BookEntry {
            slot: taking.slot,
            start: slot.start,
            minutes: slot.minutes,
            what: slot.what.clone(),
            data: taking.data.clone(),
            token: deal.token_id,
            state: BookState::Confirmed,
        };
        let said = Confirmation {
            booking: taking.id,
            offer: taking.offer,
            slot: taking.index,
            start: slot.start,
            decision: Decision::Confirmed,
        };
        let (id, slot) = (taking.id, taking.slot);
        // The user has one of the slots: the others are free for somebody else.
        for made in deal.offers.iter_mut() {
            made.closed = true;
        }
        deal.owed = None;
        let channel = deal.channel.id;
        self.events.push(ProviderEvent::Booked {
            booking: id,
            slot,
            start: entry.start,
            data: entry.data.clone(),
        });
        self.state.book.insert(id, entry);
        self.say_yes(&ticket, &said, rng);
        self.reads.resume(channel);
    }

    /// Answers a letter with a confirmation.
    pub(super) fn say_yes(
        &mut self,
        ticket: &TicketId,
        said: &Confirmation,
        rng: &mut dyn CryptoRng,
    ) {
        if let Ok(bytes) = signed(said, &self.state.signing) {
            self.push_letter(
                ticket,
                &ToUser::Confirmation(bytes),
                Purpose::Confirmation,
                rng,
            );
        }
    }

    /// Lets go of the slot that is being taken for a booking or a change that is not to be, and answers.
    pub(super) fn give_up(
        &mut self,
        ticket: &TicketId,
        reason: Rejection,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return;
        };
        let Some(target) = deal.target() else {
            return;
        };
        let channel = deal.channel.id;
        let (change, id, offer, index) = match (deal.change.take(), deal.booking.as_ref()) {
            (Some(change), _) => (true, change.id, change.offer, change.index),
            (None, Some(booking)) => (false, booking.id, booking.offer, booking.index),
            (None, None) => return,
        };
        if !change && let Some(taking) = deal.booking.take() {
            // Some holders may have granted the lock: what they hold is given back.
            if taking.locked || taking.step != Step::Mark {
                let release = deal.release(taking.lock);
                deal.releases.push(release);
            }
        }
        let mut start = Time::ZERO;
        if let Some(slot) = self.state.slots.get_mut(&target.slot) {
            start = slot.start;
            match (reason, slot.used) {
                // It is another device's.
                (_, SlotUse::Elsewhere(_)) => {}
                // Holders took states of two bookings, and it cannot be told which: neither has it here.
                (Rejection::SlotTaken, _) => {
                    slot.used = SlotUse::Removed;
                    slot.want_version = slot.version;
                }
                _ => {
                    slot.used = SlotUse::Free;
                    slot.set(MarkValue::Open, NO_BOOKING);
                }
            }
        }
        let down = TurnDown {
            booking: id,
            offer,
            index,
            start,
            reason,
        };
        if change {
            self.refuse_change(ticket, down, Some(target.slot), now, rng);
        } else {
            self.turn_down(ticket, &down, Some(target.slot), now, rng);
        }
        self.reads.resume(channel);
    }
}

impl Deal {
    /// A release of a lock, by the ticket's key.
    pub(super) fn release(&self, lock: LockId) -> Blob {
        let release = Release {
            region: self.region,
            request: self.request,
            lock,
            expires: self.expires,
        };
        sign(&release, &self.ticket_key).into()
    }
}
