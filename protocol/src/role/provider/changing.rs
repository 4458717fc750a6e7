//! What becomes of a booking that stands: another slot for it, or its end by either side.

use rand_core::CryptoRng;

use super::more::More;
use super::state::{BookState, Moving, SlotId, SlotUse, Step, TurnDown};
use super::{Provider, ProviderEvent};
use crate::booking::{
    Cancellation, Change, Choice, Confirmation, Decision, ProviderCancellation, Rejection, ToUser,
};
use crate::bounded::{Bytes, Text};
use crate::cose::parse;
use crate::hash::record_hash;
use crate::id::{RecordId, TicketId};
use crate::problem::Problem;
use crate::queue::Release;
use crate::role::talk::signed;
use crate::seal::Purpose;
use crate::time::Time;

/// Why a provider's cancellation was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// No booking of that id stands.
    #[error("no such booking stands")]
    Unknown,
    /// The user is changing it right now: it is to be tried again in a moment.
    #[error("the user is changing it")]
    Busy,
    /// The channel to the user is full, or nobody listens to it any more.
    #[error("the user cannot be told: {0}")]
    Write(Problem),
}

impl Provider {
    /// Takes a wish for another slot; false where it is to be looked at again.
    pub(super) fn take_change(
        &mut self,
        ticket: &TicketId,
        bytes: &[u8],
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> bool {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return true;
        };
        let Ok(said) = parse::<Change>(bytes).and_then(|s| s.verify(&deal.token_key)) else {
            self.events
                .push(ProviderEvent::BadEntry(Problem::BadSignature));
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
            self.refuse_change(ticket, &no, rng);
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
                Err((reason, start)) => self.refuse_change(ticket, &down(reason, start), rng),
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
                };
                self.offer_more(ticket, more, now, rng);
            }
        }
        true
    }

    fn refuse_change(&mut self, ticket: &TicketId, down: &TurnDown, rng: &mut dyn CryptoRng) {
        self.say_no(ticket, down, rng);
        self.events.push(ProviderEvent::Rejected {
            ticket: *ticket,
            reason: down.reason,
        });
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
        self.reads.touch(channel);
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
            self.reads.touch(channel);
        }
    }

    /// Takes a cancellation; false where it is to be looked at again.
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
        let named = |id: &RecordId| *id == said.booking;
        let Some(taking) = deal
            .booking
            .as_ref()
            .filter(|b| named(&b.id) || named(&b.latest) || b.before.iter().any(named))
        else {
            return true;
        };
        if deal.target().is_some() {
            // The lock, or a changed slot's mark, is being taken: first the one, then the other.
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
        let letter = TurnDown {
            booking: record_hash(bytes),
            offer: taking.offer,
            index: taking.index,
            start: Time::ZERO,
            reason: Rejection::NothingFree,
        };
        deal.releases.push(said.release.as_slice().into());
        let Some((id, slot, start)) = self.end_booking(ticket, BookState::Cancelled) else {
            return true;
        };
        self.free_slot(slot);
        self.events.push(ProviderEvent::Cancelled {
            booking: id,
            slot,
            again: said.again,
        });
        if said.again && self.ended(now).is_none() {
            let more = More {
                letter: Some(TurnDown { start, ..letter }),
                not: Some(slot),
                new: false,
            };
            self.offer_more(ticket, more, now, rng);
        }
        true
    }

    /// Takes a standing booking off a deal: its id, slot and start.
    fn end_booking(
        &mut self,
        ticket: &TicketId,
        state: BookState,
    ) -> Option<(RecordId, SlotId, Time)> {
        let deal = self.state.deals.get_mut(ticket)?;
        let taking = deal.booking.take()?;
        deal.owed = None;
        for made in deal.offers.iter_mut() {
            made.closed = true;
        }
        if let Some(entry) = self.state.book.get_mut(&taking.id) {
            entry.state = state;
        }
        let start = self.state.slots.get(&taking.slot).map(|s| s.start);
        Some((taking.id, taking.slot, start.unwrap_or(Time::ZERO)))
    }

    /// Cancels a booking that stands: the user is told, with `text` to read, and the booking lock is
    /// freed. With `keep` the slot can be booked again, else it is taken back. With `again` the user is
    /// offered other slots, as soon as there are any. `booking` is the id by which the book has it.
    ///
    /// # Errors
    /// [`CancelError`]; nothing changed then.
    pub fn cancel<R: CryptoRng>(
        &mut self,
        booking: &RecordId,
        keep: bool,
        again: bool,
        text: Text<300>,
        now: Time,
        rng: &mut R,
    ) -> Result<(), CancelError> {
        let deals = self.state.deals.iter();
        let (ticket, deal, taking) = deals
            .filter_map(|(t, d)| Some((*t, d, d.booking.as_ref()?)))
            .find(|(_, _, b)| b.id == *booking && b.step == Step::Confirmed)
            .ok_or(CancelError::Unknown)?;
        if deal.change.is_some() {
            return Err(CancelError::Busy);
        }
        let release = deal.release(taking.lock);
        let said = ProviderCancellation {
            booking: taking.latest,
            release: Bytes::try_from(&*release)
                .map_err(|_| CancelError::Write(Problem::TooLarge))?,
            again,
            text,
        };
        let letter = signed(&said, &self.state.signing).map_err(CancelError::Write)?;
        if !self.push_letter(
            &ticket,
            &ToUser::Cancellation(letter),
            Purpose::Message,
            rng,
        ) {
            return Err(CancelError::Write(Problem::WrongSlot));
        }
        if let Some(deal) = self.state.deals.get_mut(&ticket) {
            deal.releases.push(release);
        }
        let Some((_, slot, _)) = self.end_booking(&ticket, BookState::CancelledByProvider) else {
            return Err(CancelError::Unknown);
        };
        if keep {
            self.free_slot(slot);
        } else if let Some(s) = self.state.slots.get_mut(&slot) {
            // Its mark says taken already.
            s.used = SlotUse::Removed;
        }
        if again {
            let more = More {
                not: Some(slot),
                ..More::default()
            };
            self.offer_more(&ticket, more, now, rng);
        }
        Ok(())
    }
}
