//! Another slot in place of the booked one: the booking stands, with its lock, until the provider
//! confirms the change.

use rand_core::CryptoRng;

use super::book::BookError;
use super::check::InvalidOffer;
use super::state::{Asked, BookingStatus, KeptBooking, KeptChange};
use super::{User, UserEvent};
use crate::booking::{Change, Choice, Confirmation, Decision, Rejection, ToProvider};
use crate::bounded::Bytes;
use crate::codec::to_bytes;
use crate::hash::record_hash;
use crate::id::RecordId;
use crate::problem::Problem;
use crate::role::talk::{nonce, signed};
use crate::seal::Purpose;
use crate::time::Time;

/// Why no change was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no confirmed booking to come.
    #[error("there is no confirmed booking to change")]
    None,
    /// An earlier change, or wish for other slots, is not answered yet.
    #[error("an earlier change is not answered yet")]
    Pending,
    /// No such offer or slot.
    #[error("there is no such offer or slot")]
    Unknown,
    /// The offer came by another ticket. Such offers are declined once a booking is confirmed.
    #[error("the offer is not part of the same conversation: ask for other slots, or cancel")]
    OtherProvider,
    /// It is the slot that is booked.
    #[error("this slot is the one that is booked")]
    Same,
    /// The slot is taken or over.
    #[error("the slot is taken or over")]
    Taken,
    /// The offer does not hold, or not any more.
    #[error("the offer no longer holds: {0}")]
    Invalid(InvalidOffer),
    /// The provider answers no more wishes for other slots of this booking.
    #[error("the provider offers no other slots for this booking any more")]
    TooOften,
    /// It cannot be written, or not be answered: the channel is full but for a cancellation.
    #[error("it cannot be written: {0}")]
    Write(Problem),
}

impl User {
    /// Asks for another slot, of an offer by the same ticket, in place of the booked one. The booking
    /// stands as it is until the change is confirmed.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changed then.
    pub fn change<R: CryptoRng + ?Sized>(
        &mut self,
        offer: &RecordId,
        slot: u8,
        now: Time,
        rng: &mut R,
    ) -> Result<(), ChangeError> {
        let asked = self.state.asked.as_ref().ok_or(ChangeError::None)?;
        let booking = asked.changeable(now)?;
        if booking.change.is_some() {
            return Err(ChangeError::Pending);
        }
        let kept = asked.offers.get(offer).ok_or(ChangeError::Unknown)?;
        let place = kept
            .offer
            .slots
            .get(usize::from(slot))
            .ok_or(ChangeError::Unknown)?;
        if kept.offer.ticket != booking.ticket {
            return Err(ChangeError::OtherProvider);
        }
        if (booking.offer, booking.slot) == (*offer, slot) {
            return Err(ChangeError::Same);
        }
        self.recheck(offer, now).map_err(|e| match e {
            BookError::Invalid(e) => ChangeError::Invalid(e),
            BookError::Closed => ChangeError::Invalid(InvalidOffer::Expired),
            _ => ChangeError::Unknown,
        })?;
        if place.start <= now || kept.taken(slot.into()) {
            return Err(ChangeError::Taken);
        }
        let choice = Choice {
            offer: *offer,
            slot,
        };
        let start = place.start;
        let id = self.write_change(*offer, Some(choice), rng)?;
        if let Some(b) = self.state.asked.as_mut().and_then(|a| a.booking.as_mut()) {
            b.change = Some(KeptChange { id, choice, start });
        }
        Ok(())
    }

    /// Asks the provider of the confirmed booking for another offer, to choose from with
    /// [`User::change`]. The answer is an offer, or [`UserEvent::NothingFree`]; or
    /// [`UserEvent::ChangeRejected`] where it was asked too often, and it cannot be asked again then.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changed then.
    pub fn ask_other_slots<R: CryptoRng + ?Sized>(
        &mut self,
        now: Time,
        rng: &mut R,
    ) -> Result<(), ChangeError> {
        let asked = self.state.asked.as_ref().ok_or(ChangeError::None)?;
        let booking = asked.changeable(now)?;
        let (offer, ticket) = (booking.offer, booking.ticket);
        if booking.change.is_some()
            || asked
                .channels
                .get(&ticket)
                .is_none_or(|c| c.asks.is_some() || c.owed)
        {
            return Err(ChangeError::Pending);
        }
        if booking.asked_out {
            return Err(ChangeError::TooOften);
        }
        let id = self.write_change(offer, None, rng)?;
        if let Some(channel) = self
            .state
            .asked
            .as_mut()
            .and_then(|a| a.channels.get_mut(&ticket))
        {
            channel.asks = Some(id);
        }
        Ok(())
    }

    /// Lines up a change, sealed to an offer's key; returns its record id.
    fn write_change<R: CryptoRng + ?Sized>(
        &mut self,
        sealed_to: RecordId,
        choice: Option<Choice>,
        rng: &mut R,
    ) -> Result<RecordId, ChangeError> {
        let asked = self.state.asked.as_mut().ok_or(ChangeError::None)?;
        let booking = asked.booking.as_ref().ok_or(ChangeError::None)?;
        let kept = asked.offers.get(&sealed_to).ok_or(ChangeError::Unknown)?;
        let change = Change {
            booking: booking.latest,
            choice,
            nonce: nonce(rng),
        };
        let bytes: Bytes<768> = signed(&change, &asked.draw.key).map_err(ChangeError::Write)?;
        let id = record_hash(&bytes);
        let letter = to_bytes(&ToProvider::Change(bytes));
        let channel = asked
            .channels
            .get_mut(&booking.ticket)
            .ok_or(ChangeError::Unknown)?;
        if !channel.has_room() {
            return Err(ChangeError::Write(Problem::WrongSlot));
        }
        channel
            .out
            .push(
                &asked.draw.key,
                &kept.offer.sealing,
                Purpose::Message,
                &letter,
                rng,
            )
            .map_err(ChangeError::Write)?;
        Ok(id)
    }

    /// The answer to the change under way.
    pub(super) fn take_change(&mut self, said: &Confirmation, now: Time, rng: &mut dyn CryptoRng) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let Some(booking) = asked.booking.as_mut() else {
            return;
        };
        let Some(change) = booking.change.clone() else {
            return;
        };
        let right = said.offer == change.choice.offer
            && said.slot == change.choice.slot
            && said.start == change.start;
        if said.decision == Decision::Confirmed && !right {
            self.events.push(UserEvent::InvalidConfirmation);
            return;
        }
        booking.change = None;
        let (offer, slot) = (change.choice.offer, change.choice.slot);
        match said.decision {
            Decision::Confirmed if booking.status == BookingStatus::Confirmed => {
                booking.latest = change.id;
                booking.offer = offer;
                booking.slot = slot;
                booking.start = change.start;
                booking.since = now;
                self.events.push(UserEvent::Changed {
                    offer,
                    slot,
                    start: change.start,
                });
            }
            // It was cancelled meanwhile under its old name: again under the new one.
            Decision::Confirmed if booking.status == BookingStatus::Cancelled => {
                let (ticket, lock) = (booking.ticket, booking.lock);
                let again = asked
                    .channels
                    .get(&ticket)
                    .is_some_and(|c| c.asks.is_some());
                if let Err(p) = asked.call_off(ticket, &offer, change.id, lock, again, rng) {
                    self.events.push(UserEvent::Refused(p));
                }
            }
            Decision::Confirmed => {}
            Decision::Rejected(reason) => {
                let ticket = booking.ticket;
                asked.turn_down(&offer, slot, reason);
                self.refresh = true;
                self.events.push(UserEvent::ChangeRejected {
                    offer,
                    slot,
                    reason,
                });
                if reason == Rejection::NothingFree {
                    self.events.push(UserEvent::NothingFree { ticket });
                }
            }
        }
    }
}

impl Asked {
    /// The booking, if it is confirmed and to come.
    fn changeable(&self, now: Time) -> Result<&KeptBooking, ChangeError> {
        let booking = self.booking.as_ref();
        booking
            .filter(|b| b.status == BookingStatus::Confirmed && now < b.start)
            .ok_or(ChangeError::None)
    }
}
