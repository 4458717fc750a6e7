//! The end of a booking that stands, by either side.

use rand_core::CryptoRng;

use super::kept_deal::{Step, TurnDown};
use super::more::More;
use super::state::{BookState, SlotId, SlotUse};
use super::{Provider, ProviderEvent};
use crate::booking::{Cancellation, ProviderCancellation, Rejection, ToUser};
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
    /// Takes a cancellation; false where it is to be looked at again.
    pub(super) fn take_cancellation(
        &mut self,
        ticket: &TicketId,
        bytes: &[u8],
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> bool {
        let Some(said) = self.said::<Cancellation>(ticket, bytes) else {
            return true;
        };
        let Some(deal) = self.state.deals.get_mut(ticket) else {
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
                ..More::default()
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
