//! Another slot for a booking that stands.

use rand_core::CryptoRng;

use super::kept_deal::{Moving, Step, TurnDown};
use super::more::More;
use super::state::{SlotId, SlotUse};
use super::{Provider, ProviderEvent};
use crate::booking::{Change, Choice, Confirmation, Decision, Rejection};
use crate::hash::record_hash;
use crate::id::TicketId;
use crate::problem::Problem;
use crate::time::Time;

impl Provider {
    /// Takes a wish for another slot; false where it is to be looked at again.
    pub(super) fn take_change(
        &mut self,
        ticket: &TicketId,
        bytes: &[u8],
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> bool {
        let Some(said) = self.said::<Change>(ticket, bytes) else {
            return true;
        };
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return true;
        };
        let id = record_hash(bytes);
        if deal.answered.contains(&id) {
            return true;
        }
        if deal.target().is_some() || deal.leaving.is_some() {
            // First the one, then the other.
            return false;
        }
        if !deal.has_room(2) {
            // The last letter is left for the cancellation. A user who counts does not come here.
            self.events.push(ProviderEvent::Refused(Problem::WrongSlot));
            return true;
        }
        deal.answered.push(id);
        let standing = deal.booking.as_ref().filter(|b| b.latest == said.booking);
        let of = |choice: Option<Choice>| match (choice, standing) {
            (Some(c), _) => (c.offer, c.slot),
            (None, Some(b)) => (b.offer, b.index),
            (None, None) => (said.booking, 0),
        };
        let (offer, index) = of(said.choice);
        let down = |reason, start| TurnDown {
            booking: id,
            offer,
            index,
            start,
            reason,
        };
        let most = self.view.params().map_or(0, |p| p.reoffers);
        let allowed = standing.is_some()
            && match said.choice {
                Some(_) => deal.changes < most,
                None => deal.asks < most,
            };
        let start = |slots: &super::state::State, slot: &SlotId| {
            slots.slots.get(slot).map_or(Time::ZERO, |s| s.start)
        };
        let booked = standing.map(|b| b.slot);
        if !allowed || self.ended(now).is_some() {
            let no = down(Rejection::OfferClosed, Time::ZERO);
            self.refuse_change(ticket, no, None, now, rng);
            return true;
        }
        match said.choice {
            Some(choice) => match self.judge_change(ticket, choice, now) {
                Ok(slot) => {
                    if let Some(s) = self.state.slots.get_mut(&slot) {
                        s.used = SlotUse::Booked(*ticket);
                    }
                    if let Some(deal) = self.state.deals.get_mut(ticket) {
                        deal.clashes = 0;
                        deal.change = Some(Moving {
                            id,
                            offer,
                            index,
                            slot,
                            step: Step::Mark,
                        });
                    }
                }
                Err((reason, start)) => {
                    self.refuse_change(ticket, down(reason, start), None, now, rng);
                }
            },
            None => {
                let start = booked.map_or(Time::ZERO, |slot| start(&self.state, &slot));
                if let Some(deal) = self.state.deals.get_mut(ticket) {
                    deal.asks = deal.asks.saturating_add(1);
                }
                let more = More {
                    letter: Some(down(Rejection::NothingFree, start)),
                    not: None,
                    new: true,
                    behind: 1,
                };
                self.offer_more(ticket, more, now, rng);
            }
        }
        true
    }

    /// Answers a change that is not to be. Where its slot is gone, and so is every other slot that was
    /// offered, another offer goes out before the answer, or the answer says that nothing is free: so who
    /// hears it knows what there is to choose from. That counts as a wish for other slots.
    pub(super) fn refuse_change(
        &mut self,
        ticket: &TicketId,
        mut down: TurnDown,
        freed: Option<SlotId>,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        let most = self.view.params().map_or(0, |p| p.reoffers);
        let gone = down.reason == Rejection::SlotTaken && !self.left_to_change(ticket, now);
        if gone
            && self.ended(now).is_none()
            && let Some(deal) = self.state.deals.get_mut(ticket)
            && deal.asks < most
            && deal.has_room(3)
        {
            deal.asks = deal.asks.saturating_add(1);
            let more = More {
                letter: None,
                not: freed,
                new: true,
                behind: 2,
            };
            if !self.offer_more(ticket, more, now, rng) {
                down.reason = Rejection::NothingFree;
            }
        }
        self.say_no(ticket, &down, rng);
        self.events.push(ProviderEvent::Rejected {
            ticket: *ticket,
            reason: down.reason,
        });
    }

    /// Whether a booking could still be changed to a slot that was offered.
    fn left_to_change(&self, ticket: &TicketId, now: Time) -> bool {
        let offers = self.state.deals.get(ticket).map(|d| d.offers.iter());
        offers
            .into_iter()
            .flatten()
            .filter(|o| o.current(now))
            .flat_map(|o| o.slots.iter())
            .any(|id| self.state.slots.get(id).is_some_and(|s| s.offerable(now)))
    }

    /// The slot of a choice, if it is in an offer of this channel whose time is not over, and free. That
    /// the offer was closed by the booking does not matter.
    fn judge_change(
        &self,
        ticket: &TicketId,
        choice: Choice,
        now: Time,
    ) -> Result<SlotId, (Rejection, Time)> {
        let closed = (Rejection::OfferClosed, Time::ZERO);
        let deal = self.state.deals.get(ticket).ok_or(closed)?;
        let made = deal.offers.iter().find(|o| o.id == choice.offer);
        let made = made.ok_or(closed)?;
        let id = made.slots.get(usize::from(choice.slot));
        let id = *id.ok_or((Rejection::DataMismatch, Time::ZERO))?;
        let slot = self.state.slots.get(&id);
        let slot = slot.ok_or((Rejection::SlotTaken, Time::ZERO))?;
        if !made.current(now) || slot.start <= now {
            return Err((Rejection::OfferClosed, slot.start));
        }
        if !slot.offerable(now) {
            return Err((Rejection::SlotTaken, slot.start));
        }
        Ok(id)
    }

    /// The mark of the new slot is set: the booking has moved. The slot that it leaves is free when the
    /// user has been written to.
    pub(super) fn confirm_change(&mut self, ticket: TicketId, rng: &mut dyn CryptoRng) {
        let Some(deal) = self.state.deals.get_mut(&ticket) else {
            return;
        };
        let (Some(change), Some(booking)) = (deal.change.take(), deal.booking.as_mut()) else {
            return;
        };
        let from = booking.slot;
        booking.before.push(booking.latest);
        booking.latest = change.id;
        booking.offer = change.offer;
        booking.index = change.index;
        booking.slot = change.slot;
        let root = booking.id;
        deal.changes = deal.changes.saturating_add(1);
        deal.leaving = Some(from);
        deal.owed = None;
        for made in deal.offers.iter_mut() {
            made.closed = true;
        }
        let channel = deal.channel.id;
        let mut start = Time::ZERO;
        if let Some(slot) = self.state.slots.get(&change.slot) {
            start = slot.start;
            if let Some(entry) = self.state.book.get_mut(&root) {
                entry.slot = change.slot;
                entry.start = slot.start;
                entry.minutes = slot.minutes;
                entry.what = slot.what.clone();
            }
        }
        self.events.push(ProviderEvent::Changed {
            booking: root,
            from,
            to: change.slot,
            start,
        });
        let said = Confirmation {
            booking: change.id,
            offer: change.offer,
            slot: change.index,
            start,
            decision: Decision::Confirmed,
        };
        self.say_yes(&ticket, &said, rng);
        self.leave(&ticket);
        self.reads.resume(channel);
    }

    /// Frees the slot that a confirmed change left, once nothing waits to be written to the user.
    pub(super) fn leave(&mut self, ticket: &TicketId) {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return;
        };
        if deal.channel.out.waiting.is_empty()
            && let Some(slot) = deal.leaving.take()
        {
            let channel = deal.channel.id;
            self.free_slot(slot);
            self.reads.resume(channel);
        }
    }
}
