//! Booking, and what is written in a channel.

use rand_core::CryptoRng;

use super::check::InvalidOffer;
use super::kept_offer::Gone;
use super::state::{Asked, BookingStatus, Held, KeptBooking, Lock, MAX_PAST, PastBooking};
use super::{Task, User, UserEvent};
use crate::booking::{Booking, ToProvider};
use crate::bounded::{Bytes, Text};
use crate::client::Call;
use crate::codec::to_bytes;
use crate::cose::sign;
use crate::hash::record_hash;
use crate::id::{RecordId, TicketId};
use crate::mailbox::Receipt;
use crate::problem::Problem;
use crate::queue::Accept;
use crate::role::kept::Many;
use crate::role::talk::{signed, transient};
use crate::seal::Purpose;
use crate::time::Time;

/// Why a booking was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// No such offer or slot.
    #[error("there is no such offer or slot")]
    Unknown,
    /// Another booking is under way or confirmed: a token is good for one.
    #[error("another booking is under way")]
    Busy,
    /// The offer was given up to be listed again, declined for another booking, or closed by its provider.
    #[error("the offer is closed")]
    Closed,
    /// The slot is taken or over.
    #[error("the slot is taken or over")]
    Taken,
    /// The offer no longer passes its check.
    #[error("the offer no longer holds: {0}")]
    Invalid(InvalidOffer),
    /// It cannot be said in the space there is, or the channel is full.
    #[error("it cannot be written: {0}")]
    Write(Problem),
}

impl User {
    /// Books a slot of an offer, after checking the offer's whole chain again.
    ///
    /// # Errors
    /// [`BookError`]; nothing changed then.
    pub fn book<R: CryptoRng + ?Sized>(
        &mut self,
        offer: &RecordId,
        slot: u8,
        now: Time,
        rng: &mut R,
    ) -> Result<(), BookError> {
        self.recheck(offer, now)?;
        let data = self.state.data.clone();
        let asked = self.state.asked.as_mut().ok_or(BookError::Unknown)?;
        if asked.busy() {
            return Err(BookError::Busy);
        }
        let kept = asked.offers.get(offer).ok_or(BookError::Unknown)?;
        let place = kept
            .offer
            .slots
            .get(usize::from(slot))
            .ok_or(BookError::Unknown)?;
        if place.start <= now || kept.taken(slot.into()) {
            return Err(BookError::Taken);
        }
        let (request, token, admitted) = match (&asked.request, &asked.token, &asked.admitted) {
            (Some(r), Some(t), Some(a)) => (r, t, a),
            _ => return Err(BookError::Unknown),
        };
        let accept = Accept {
            request: request.id,
            ticket: kept.offer.ticket,
            attempt: asked.attempts.saturating_add(1),
            expires: admitted.expires,
        };
        let booking = Booking {
            offer: *offer,
            slot,
            token: Bytes::try_from(&*token.bytes)
                .map_err(|_| BookError::Write(Problem::TooLarge))?,
            data,
            nonce: asked.draw.nonce,
            user: asked.draw.user.public(),
            accept: signed(&accept, &asked.draw.key).map_err(BookError::Write)?,
        };
        let bytes = sign(&booking, &asked.draw.key);
        let id = record_hash(&bytes);
        let next = KeptBooking {
            id,
            latest: id,
            offer: *offer,
            ticket: kept.offer.ticket,
            slot,
            start: place.start,
            lock: accept.lock(),
            status: BookingStatus::Sending,
            since: now,
            sent: false,
            reason: None,
            text: None,
            change: None,
            revoked: false,
            asked_out: false,
        };
        let letter = ToProvider::Booking(
            Bytes::try_from(bytes).map_err(|_| BookError::Write(Problem::TooLarge))?,
        );
        let (ticket, sealing) = (next.ticket, kept.offer.sealing);
        let channel = asked.channels.get_mut(&ticket).ok_or(BookError::Unknown)?;
        if !channel.has_room() {
            return Err(BookError::Write(Problem::WrongSlot));
        }
        channel
            .out
            .push(
                &asked.draw.key,
                &sealing,
                Purpose::Booking,
                &to_bytes(&letter),
                rng,
            )
            .map_err(BookError::Write)?;
        asked.attempts = accept.attempt;
        asked.relist.content = false;
        let lock = Lock {
            ticket,
            booking: id,
            offer: *offer,
            held: Held::Maybe,
            withdrawn: false,
            relisted: false,
        };
        asked.locks.insert(next.lock, lock);
        asked.take_back();
        self.bury();
        if let Some(asked) = &mut self.state.asked {
            asked.booking = Some(next);
        }
        Ok(())
    }

    /// Checks whether a kept offer may be accepted now.
    pub(super) fn recheck(&self, offer: &RecordId, now: Time) -> Result<(), BookError> {
        self.recheck_chain(offer, now)?;
        let gone = self
            .state
            .asked
            .as_ref()
            .and_then(|a| a.offers.get(offer)?.gone);
        match gone {
            None | Some(Gone::Withdrawn) => Ok(()),
            Some(Gone::GivenUp | Gone::Closed | Gone::Declined) => Err(BookError::Closed),
        }
    }

    /// Checks a kept offer against what the view knows now.
    fn recheck_chain(&self, offer: &RecordId, now: Time) -> Result<(), BookError> {
        let asked = self.state.asked.as_ref().ok_or(BookError::Unknown)?;
        let kept = asked.offers.get(offer).ok_or(BookError::Unknown)?;
        let certificate = self
            .view
            .check_certificate(&kept.offer.certificate, now)
            .map_err(|p| BookError::Invalid(InvalidOffer::Certificate(p)))?;
        if certificate.signing != kept.signer {
            return Err(BookError::Invalid(InvalidOffer::Signature));
        }
        if !certificate.regions.contains(&asked.region) {
            return Err(BookError::Invalid(InvalidOffer::Region));
        }
        if now > kept.offer.expires {
            return Err(BookError::Invalid(InvalidOffer::Expired));
        }
        Ok(())
    }

    /// The write that is next in a channel. A booking goes out only while its offer still holds.
    pub(super) fn write_call(&mut self, ticket: TicketId, now: Time) -> Option<Call> {
        let asked = self.state.asked.as_ref()?;
        let pending = asked
            .booking
            .as_ref()
            .filter(|b| b.ticket == ticket && !b.sent && b.status != BookingStatus::Withdrawn)
            .map(|b| b.offer);
        if let Some(offer) = pending
            && let Err(error) = self.recheck_chain(&offer, now)
        {
            match error {
                BookError::Invalid(e) if e.may_change() => {
                    self.events
                        .push(UserEvent::ViewStale(Problem::StatusExpired));
                }
                BookError::Invalid(e) => self.withdraw(e, now),
                _ => {}
            }
            return None;
        }
        self.state.asked.as_ref()?.channels.get(&ticket)?.out.call()
    }

    /// The booking is not sent after all. It may have reached the provider by an earlier try whose
    /// answer was lost, so an answer to it is still listened for.
    fn withdraw(&mut self, reason: InvalidOffer, now: Time) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let Some(booking) = asked.booking.as_mut() else {
            return;
        };
        let (ticket, cancelled) = (booking.ticket, !booking.status.stands());
        // Nothing of it waits any more.
        booking.sent = cancelled;
        if let Some(channel) = asked.channels.get_mut(&ticket) {
            channel.out.waiting = Many::default();
        }
        if !cancelled {
            asked.becomes(BookingStatus::Withdrawn, now);
            self.events.push(UserEvent::BookingWithdrawn(reason));
        }
    }

    pub(super) fn written(&mut self, ticket: TicketId, receipt: &Receipt) -> Result<(), Problem> {
        let Some(asked) = self.state.asked.as_mut() else {
            return Ok(());
        };
        let Some(channel) = asked.channels.get_mut(&ticket) else {
            return Ok(());
        };
        channel.out.written(receipt, &self.view)?;
        let all_written = channel.out.waiting.is_empty();
        let now = self.now;
        if let Some(b) = asked.booking.as_mut()
            && b.ticket == ticket
            && !b.sent
            && all_written
        {
            b.sent = true;
            if b.status == BookingStatus::Sending {
                let (offer, slot) = (b.offer, b.slot);
                asked.becomes(BookingStatus::Sent, now);
                self.events.push(UserEvent::BookingSent { offer, slot });
            }
        }
        Ok(())
    }

    pub(super) fn write_refused<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: TicketId,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Write(ticket), now, rng);
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let Some(channel) = asked.channels.get_mut(&ticket) else {
            return;
        };
        let moved = matches!(problem, Problem::SlotConflict | Problem::Deleted)
            && channel.out.conflict(&asked.draw.key).is_ok();
        if moved || transient(problem) || problem == Problem::NotOpened {
            return;
        }
        // The mailbox takes nothing more: whatever waits cannot be said there.
        channel.out.waiting = Many::default();
        channel.asks = None;
        if asked
            .booking
            .as_ref()
            .is_some_and(|b| b.ticket == ticket && b.status == BookingStatus::Sending)
        {
            asked.becomes(BookingStatus::Withdrawn, now);
        }
        // A change that nobody reads changes nothing.
        if let Some(b) = asked.booking.as_mut().filter(|b| b.ticket == ticket) {
            b.change = None;
        }
        self.events.push(UserEvent::Refused(problem));
    }

    /// Writes a message to the provider of an offer. The last letter of a channel is left for a
    /// cancellation.
    ///
    /// # Errors
    /// [`BookError::Unknown`], [`BookError::Write`].
    pub fn message<R: CryptoRng + ?Sized>(
        &mut self,
        offer: &RecordId,
        text: Text<1500>,
        rng: &mut R,
    ) -> Result<(), BookError> {
        let asked = self.state.asked.as_mut().ok_or(BookError::Unknown)?;
        let kept = asked.offers.get(offer).ok_or(BookError::Unknown)?;
        let channel = asked
            .channels
            .get_mut(&kept.offer.ticket)
            .ok_or(BookError::Unknown)?;
        if !channel.out.has_room(2) {
            return Err(BookError::Write(Problem::WrongSlot));
        }
        let letter = to_bytes(&ToProvider::Message(text));
        channel
            .out
            .push(
                &asked.draw.key,
                &kept.offer.sealing,
                Purpose::Message,
                &letter,
                rng,
            )
            .map_err(BookError::Write)
    }

    /// The booking there was goes to those of the past.
    pub(super) fn bury(&mut self) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let Some(booking) = asked.booking.take() else {
            return;
        };
        let Some(kept) = asked.offers.get(&booking.offer) else {
            return;
        };
        let Some(slot) = kept.offer.slots.get(usize::from(booking.slot)) else {
            return;
        };
        let past = PastBooking {
            offer: booking.offer,
            practice: kept.offer.practice.clone(),
            start: booking.start,
            minutes: slot.minutes,
            what: slot.what.clone(),
            status: booking.status,
            reason: booking.reason,
            since: booking.since,
        };
        if self.state.past.len() >= MAX_PAST {
            self.state.past.remove(0);
        }
        self.state.past.push(past);
    }
}

impl Asked {
    /// Of a withdrawn booking nobody knows whether it arrived: its lock is freed before another is
    /// asked for, and should it be confirmed after all, it is cancelled.
    pub(super) fn take_back(&mut self) {
        let Some(old) = self
            .booking
            .as_ref()
            .filter(|b| b.status == BookingStatus::Withdrawn)
        else {
            return;
        };
        let (lock, ticket) = (old.lock, old.ticket);
        if let Some(l) = self.locks.get_mut(&lock) {
            l.withdrawn = true;
        }
        if let Ok(release) = self.release_of(lock) {
            self.release(lock, ticket, release.into_vec());
        }
    }
}
