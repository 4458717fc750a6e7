//! The marks of slots: set, and read again where holders know something newer.
//!
//! A mark that another device of the practice set is never covered by a higher version: of two bookings
//! of one slot at most one gets a receipt for its state (`docs/spec/mailboxes.md`), and the other is
//! turned down.

use rand_core::CryptoRng;

use super::kept_deal::Step;
use super::state::{Slot, SlotId, SlotUse};
use super::{Provider, ProviderEvent, Task};
use crate::booking::Rejection;
use crate::bounded::List;
use crate::client::{Call, CallKind, MarkOrder, Marks};
use crate::codec::to_bytes;
use crate::cose::{parse, sign};
use crate::id::TicketId;
use crate::item::ItemKind;
use crate::mailbox::{MarkState, MarkValue, NO_BOOKING, Receipt};
use crate::problem::Problem;
use crate::role::talk::{check_receipt, transient};
use crate::time::Time;

/// How often a booking reads a mark again that it could not set. Where holders took the states of two
/// bookings before they compared, neither can be set any more.
const MAX_CLASHES: u8 = 5;

impl Provider {
    pub(super) fn mark_call(&self, id: SlotId) -> Option<Call> {
        let slot = self.state.slots.get(&id)?;
        let call = Call::new(CallKind::SetMark, slot.mark_state());
        // The booking was stored before its lock was asked for: it comes to this state again.
        let locked = match slot.used {
            SlotUse::Booked(ticket) => self.state.deals.get(&ticket).is_some_and(|d| {
                let taking = d.booking.as_ref().filter(|_| d.change.is_none());
                taking.is_some_and(|b| b.slot == id && b.locked && b.step == Step::Take)
            }),
            _ => false,
        };
        Some(if locked { call.ahead() } else { call })
    }

    pub(super) fn mark_set(
        &mut self,
        id: SlotId,
        receipt: &Receipt,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Problem> {
        let Some(slot) = self.state.slots.get_mut(&id) else {
            return Ok(());
        };
        if slot.want_version <= slot.version {
            return Ok(());
        }
        check_receipt(
            receipt,
            ItemKind::Mark,
            &slot.mark_state(),
            slot.mark.id().as_bytes(),
            &self.view,
        )?;
        let first = slot.version == 0;
        slot.version = slot.want_version;
        let (used, by) = (slot.used, slot.want_by);
        if first {
            self.events.push(ProviderEvent::SlotReady(id));
        }
        if let SlotUse::Booked(ticket) = used
            && let Some(target) = self.state.deals.get(&ticket).and_then(|d| d.target())
            && (target.slot, target.by, target.step) == (id, by, Step::Take)
        {
            if self.ended(now).is_some() {
                self.give_up(&ticket, Rejection::OfferClosed, now, rng);
            } else {
                self.confirm(ticket, rng);
            }
        }
        Ok(())
    }

    pub(super) fn mark_refused(
        &mut self,
        id: SlotId,
        problem: Problem,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        self.desk.failed(&Task::SetMark(id), now, rng);
        match problem {
            Problem::OldVersion => self.overtaken(id, now, rng),
            p if transient(p) || p == Problem::NotOpened => {}
            p => self.events.push(ProviderEvent::Refused(p)),
        }
    }

    /// Holders know another state: an older copy of this one was restored, or another device works too.
    fn overtaken(&mut self, id: SlotId, now: Time, rng: &mut dyn CryptoRng) {
        let used = self.state.slots.get(&id).map(|s| s.used);
        if let Some(SlotUse::Booked(ticket)) = used
            && let Some(deal) = self.state.deals.get_mut(&ticket)
            && deal
                .target()
                .is_some_and(|t| t.slot == id && t.step == Step::Take)
        {
            deal.clashes = deal.clashes.saturating_add(1);
            if deal.clashes > MAX_CLASHES {
                self.give_up(&ticket, Rejection::SlotTaken, now, rng);
            } else {
                deal.set_step(Step::Mark);
            }
        } else {
            self.behind.insert(id);
        }
    }

    /// Reads the mark of the slot that a deal is taking.
    pub(super) fn target_call(&self, ticket: &TicketId) -> Option<Call> {
        self.read_mark_call(self.state.deals.get(ticket)?.target()?.slot)
    }

    pub(super) fn read_mark_call(&self, id: SlotId) -> Option<Call> {
        let marks = List::try_from(vec![self.state.slots.get(&id)?.mark.id()]).ok()?;
        Some(Call::new(
            CallKind::ReadMarks,
            to_bytes(&MarkOrder { marks }),
        ))
    }

    /// The mark of the slot that a deal is taking, as the holders have it now.
    pub(super) fn target_read(
        &mut self,
        ticket: &TicketId,
        marks: &Marks,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Problem> {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return Ok(());
        };
        let Some(target) = deal.target().filter(|t| t.step == Step::Mark) else {
            return Ok(());
        };
        let Some(slot) = self.state.slots.get_mut(&target.slot) else {
            return Ok(());
        };
        match slot.read(marks)? {
            Some(state)
                if state.value == MarkValue::Taken
                    && state.by != target.by
                    && !slot.reopening(&state) =>
            {
                slot.used = SlotUse::Elsewhere(state.by);
                slot.adopt(&state);
                self.give_up(ticket, Rejection::SlotTaken, now, rng);
                return Ok(());
            }
            // Set in an earlier life of this state, or by another device for the same booking: the same
            // bytes again. A higher version could cover what holders took of somebody else's.
            Some(state) if state.by == target.by && state.value == MarkValue::Taken => {
                slot.adopt(&state);
                slot.version = state.version.saturating_sub(1);
            }
            Some(state) if slot.want_by == target.by && state.version >= slot.want_version => {
                slot.above(state.version);
            }
            Some(_) if slot.want_by == target.by => {}
            Some(state) => slot.version = slot.version.max(state.version),
            None => {}
        }
        let locked = deal.change.is_some() || deal.booking.as_ref().is_some_and(|b| b.locked);
        if locked {
            slot.set(MarkValue::Taken, target.by);
            deal.set_step(Step::Take);
        } else {
            deal.set_step(Step::Lock);
        }
        Ok(())
    }

    /// A mark that could not be set, as the holders have it now.
    pub(super) fn slot_read(&mut self, id: SlotId, marks: &Marks) -> Result<(), Problem> {
        let Some(slot) = self.state.slots.get_mut(&id) else {
            return Ok(());
        };
        let state = slot.read(marks)?;
        self.behind.remove(&id);
        let Some(state) = state.filter(|s| s.version >= slot.want_version) else {
            return Ok(());
        };
        match (slot.want, state.value) {
            (MarkValue::Open, MarkValue::Taken) => {
                if slot.reopening(&state) {
                    slot.above(state.version);
                } else {
                    slot.used = SlotUse::Elsewhere(state.by);
                    slot.adopt(&state);
                }
            }
            (MarkValue::Open, MarkValue::Open) => {
                let first = slot.version == 0;
                slot.adopt(&state);
                if first {
                    self.events.push(ProviderEvent::SlotReady(id));
                }
            }
            // Taken back here: it may as well be taken.
            (MarkValue::Taken, MarkValue::Taken) => slot.adopt(&state),
            (MarkValue::Taken, MarkValue::Open) => slot.above(state.version),
        }
        Ok(())
    }

    /// A slot that a deal had is free again, unless it is taken elsewhere.
    pub(super) fn free_slot(&mut self, id: SlotId) {
        if let Some(slot) = self.state.slots.get_mut(&id)
            && matches!(slot.used, SlotUse::Booked(_))
        {
            slot.used = SlotUse::Free;
            slot.set(MarkValue::Open, NO_BOOKING);
        }
    }
}

impl Slot {
    /// Whether a state is that of the booking which had the slot here before.
    fn reopening(&self, state: &MarkState) -> bool {
        self.want == MarkValue::Open && self.was_by != NO_BOOKING && state.by == self.was_by
    }

    fn mark_state(&self) -> Vec<u8> {
        sign(
            &MarkState {
                mark: self.mark.clone(),
                version: self.want_version,
                value: self.want,
                by: self.want_by,
            },
            &self.key,
        )
    }

    /// The state of its mark among those that a node returned.
    fn read(&self, marks: &Marks) -> Result<Option<MarkState>, Problem> {
        let mut best: Option<MarkState> = None;
        for bytes in &marks.states {
            let state = parse::<MarkState>(bytes)?
                .verify(&self.mark.key)?
                .into_value();
            if state.mark != self.mark || state.validate().is_err() {
                return Err(Problem::Malformed);
            }
            if best.as_ref().is_none_or(|b| b.order() < state.order()) {
                best = Some(state);
            }
        }
        Ok(best)
    }
}
