//! From a good booking to its confirmation, and back by a cancellation: mark, lock, mark, letter.

use super::state::{BookEntry, BookState, SlotUse, Step};
use super::{Provider, ProviderEvent, Task};
use crate::booking::{Cancellation, Confirmation, Decision, Rejection, ToUser};
use crate::bounded::{Bytes, List};
use crate::client::{Call, CallKind, Locks, MarkOrder, Marks};
use crate::codec::to_bytes;
use crate::cose::parse;
use crate::id::{NodeId, TicketId};
use crate::mailbox::{MarkState, MarkValue, NO_BOOKING, mark_by};
use crate::problem::Problem;
use crate::queue::{LockGrant, LockOrder, Release};
use crate::role::talk::{signed, transient};
use crate::seal::Purpose;
use crate::time::Time;
use rand_core::CryptoRng;

impl Provider {
    pub(super) fn reread_call(&self, ticket: &TicketId) -> Option<Call> {
        let slot = self.state.deals.get(ticket)?.booking.as_ref()?.slot;
        let marks = List::try_from(vec![self.state.slots.get(&slot)?.mark.id()]).ok()?;
        Some(Call::new(
            CallKind::ReadMarks,
            to_bytes(&MarkOrder { marks }),
        ))
    }

    /// The mark as the holders have it now.
    pub(super) fn reread(
        &mut self,
        ticket: &TicketId,
        marks: &Marks,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Problem> {
        let taking = self
            .state
            .deals
            .get_mut(ticket)
            .and_then(|d| d.booking.as_mut())
            .filter(|b| b.step == Step::Mark);
        let Some(taking) = taking else { return Ok(()) };
        let Some(slot) = self.state.slots.get_mut(&taking.slot) else {
            return Ok(());
        };
        let mut taken = false;
        for bytes in &marks.states {
            let state = parse::<MarkState>(bytes)?.verify(&slot.mark.key)?;
            if state.mark != slot.mark {
                return Err(Problem::Malformed);
            }
            slot.version = slot.version.max(state.version);
            taken = state.value == MarkValue::Taken;
        }
        if taken {
            slot.want = MarkValue::Taken;
            slot.want_version = slot.version;
            self.give_up(ticket, Rejection::SlotTaken, now, rng);
        } else {
            taking.step = Step::Lock;
        }
        Ok(())
    }

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
    pub(super) fn locked(&mut self, ticket: &TicketId, locks: &Locks) -> Result<(), Problem> {
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
        if let Some(slot) = self.state.slots.get_mut(&taking.slot) {
            slot.set(MarkValue::Taken, mark_by(&taking.id));
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
        // Some holders may have granted it all the same: what they hold is given back.
        if let Some(deal) = self.state.deals.get_mut(ticket)
            && let Some(taking) = &deal.booking
        {
            let release = Release {
                region: deal.region,
                request: deal.request,
                lock: taking.lock,
                expires: deal.expires,
            };
            deal.releases
                .push(crate::cose::sign(&release, &deal.ticket_key).into());
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

    /// The lock is held and the mark is set: the booking stands, and the user is told.
    pub(super) fn confirm(&mut self, ticket: TicketId, now: Time, rng: &mut dyn CryptoRng) {
        let Some(deal) = self.state.deals.get_mut(&ticket) else {
            return;
        };
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
            made.close(now);
        }
        self.events.push(ProviderEvent::Booked {
            booking: id,
            slot,
            start: entry.start,
            data: entry.data.clone(),
        });
        self.state.book.insert(id, entry);
        if let Ok(bytes) = signed(&said, &self.state.signing) {
            self.push_letter(
                &ticket,
                &ToUser::Confirmation(bytes),
                Purpose::Confirmation,
                rng,
            );
        }
    }

    pub(super) fn take_cancellation(
        &mut self,
        ticket: &TicketId,
        bytes: &[u8],
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> bool {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return true;
        };
        let Ok(said) = parse::<Cancellation>(bytes).and_then(|s| s.verify(&deal.token_key)) else {
            self.events
                .push(ProviderEvent::BadEntry(Problem::BadSignature));
            return true;
        };
        let Some(taking) = deal.booking.as_ref().filter(|b| b.id == said.booking) else {
            return true;
        };
        if taking.step != Step::Confirmed {
            // The lock is being taken: first the one, then the other.
            return false;
        }
        let lock = taking.lock;
        let good = parse::<Release>(&said.release)
            .and_then(|r| r.verify(&deal.token_key))
            .is_ok_and(|r| {
                r.region == deal.region
                    && r.request == deal.request
                    && r.lock == lock
                    && r.expires == deal.expires
            });
        if !good {
            self.events
                .push(ProviderEvent::BadEntry(Problem::BadSignature));
            return true;
        }
        let (id, slot) = (taking.id, taking.slot);
        deal.releases.push(said.release.as_slice().into());
        deal.booking = None;
        if let Some(s) = self.state.slots.get_mut(&slot) {
            s.used = SlotUse::Free;
            s.set(MarkValue::Open, NO_BOOKING);
        }
        if let Some(entry) = self.state.book.get_mut(&id) {
            entry.state = BookState::Cancelled;
        }
        self.events.push(ProviderEvent::Cancelled {
            booking: id,
            slot,
            again: said.again,
        });
        if said.again {
            self.offer_more(ticket, Some(slot), now, rng);
        }
        true
    }
}
