//! Booking and cancelling.

use rand_core::CryptoRng;

use super::check::InvalidOffer;
use super::state::{Asked, BookingStatus, KeptBooking};
use super::{Task, User, UserEvent};
use crate::booking::{Booking, Cancellation, ToProvider};
use crate::bounded::{Bytes, Text};
use crate::client::{Call, CallKind};
use crate::codec::to_bytes;
use crate::cose::sign;
use crate::hash::record_hash;
use crate::id::{RecordId, TicketId};
use crate::item::ItemKind;
use crate::mailbox::{MarkValue, Receipt};
use crate::problem::Problem;
use crate::queue::{Accept, Release};
use crate::role::kept::Many;
use crate::role::talk::{check_receipt, signed, transient};
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

/// Why nothing was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// There is no booking under way or confirmed.
    #[error("there is no booking to cancel")]
    None,
    /// It cannot be written: the channel is full.
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
        let mark = kept.marks.get(usize::from(slot)).copied().flatten();
        if place.start <= now || mark.is_some_and(|m| m.value == MarkValue::Taken) {
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
        let next = KeptBooking {
            id: record_hash(&bytes),
            offer: *offer,
            ticket: kept.offer.ticket,
            slot,
            start: place.start,
            lock: accept.lock(),
            status: BookingStatus::Sending,
            reason: None,
            release: None,
        };
        let letter = ToProvider::Booking(
            Bytes::try_from(bytes).map_err(|_| BookError::Write(Problem::TooLarge))?,
        );
        let (ticket, sealing) = (next.ticket, kept.offer.sealing);
        let channel = asked.channels.get_mut(&ticket).ok_or(BookError::Unknown)?;
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
        asked.booking = Some(next);
        Ok(())
    }

    /// Checks a kept offer against what the view knows now.
    fn recheck(&self, offer: &RecordId, now: Time) -> Result<(), BookError> {
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
            .filter(|b| b.ticket == ticket && b.status == BookingStatus::Sending)
            .map(|b| b.offer);
        if let Some(offer) = pending
            && let Err(error) = self.recheck(&offer, now)
        {
            match error {
                BookError::Invalid(e) if e.may_change() => {
                    self.events
                        .push(UserEvent::ViewStale(Problem::StatusExpired));
                }
                BookError::Invalid(e) => self.withdraw(e),
                _ => {}
            }
            return None;
        }
        self.state.asked.as_ref()?.channels.get(&ticket)?.out.call()
    }

    /// The booking is not sent after all. It may have reached the provider by an earlier try whose
    /// answer was lost, so an answer to it is still listened for.
    fn withdraw(&mut self, reason: InvalidOffer) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let Some(booking) = asked.booking.as_mut() else {
            return;
        };
        booking.status = BookingStatus::Withdrawn;
        let ticket = booking.ticket;
        if let Some(channel) = asked.channels.get_mut(&ticket) {
            channel.out.waiting = Many::default();
        }
        self.events.push(UserEvent::BookingWithdrawn(reason));
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
        if let Some(b) = asked.booking.as_mut()
            && b.ticket == ticket
            && b.status == BookingStatus::Sending
            && all_written
        {
            b.status = BookingStatus::Sent;
            self.events.push(UserEvent::BookingSent {
                offer: b.offer,
                slot: b.slot,
            });
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
        if let Some(b) = asked
            .booking
            .as_mut()
            .filter(|b| b.ticket == ticket && b.status == BookingStatus::Sending)
        {
            b.status = BookingStatus::Withdrawn;
        }
        self.events.push(UserEvent::Refused(problem));
    }

    /// Cancels the booking: tells the provider, and frees the booking lock. With `again`, asks for
    /// another offer.
    ///
    /// # Errors
    /// [`CancelError`]; nothing changed then.
    pub fn cancel<R: CryptoRng + ?Sized>(
        &mut self,
        again: bool,
        rng: &mut R,
    ) -> Result<(), CancelError> {
        let asked = self
            .state
            .asked
            .as_mut()
            .filter(|a| a.busy())
            .ok_or(CancelError::None)?;
        let (Some(request), Some(admitted), Some(booking)) =
            (&asked.request, &asked.admitted, asked.booking.as_mut())
        else {
            return Err(CancelError::None);
        };
        let channel = asked
            .channels
            .get_mut(&booking.ticket)
            .ok_or(CancelError::None)?;
        let sealing = asked
            .offers
            .get(&booking.offer)
            .map(|o| o.offer.sealing)
            .ok_or(CancelError::None)?;
        let release = Release {
            region: asked.region,
            request: request.id,
            lock: booking.lock,
            expires: admitted.expires,
        };
        let release: Bytes<512> = signed(&release, &asked.draw.key).map_err(CancelError::Write)?;
        let cancellation = Cancellation {
            booking: booking.id,
            again,
            release: release.clone(),
        };
        let letter = ToProvider::Cancellation(
            signed(&cancellation, &asked.draw.key).map_err(CancelError::Write)?,
        );
        channel
            .out
            .push(
                &asked.draw.key,
                &sealing,
                Purpose::Message,
                &to_bytes(&letter),
                rng,
            )
            .map_err(CancelError::Write)?;
        booking.status = BookingStatus::Cancelled;
        booking.release = Some(release.into_vec().into());
        self.events.push(UserEvent::Cancelled {
            offer: booking.offer,
            slot: booking.slot,
        });
        Ok(())
    }

    /// Writes a message to the provider of an offer.
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

    /// The release of a cancelled booking's lock, once the provider's copy is written.
    pub(super) fn release_call(&self) -> Option<Call> {
        let release = self
            .state
            .asked
            .as_ref()?
            .booking
            .as_ref()?
            .release
            .as_ref()?;
        Some(Call::new(CallKind::Release, release.to_vec()))
    }

    pub(super) fn released(&mut self, receipt: &Receipt) -> Result<(), Problem> {
        let Some(asked) = self.state.asked.as_mut() else {
            return Ok(());
        };
        let Some(booking) = asked.booking.as_mut() else {
            return Ok(());
        };
        if let Some(release) = &booking.release {
            check_receipt(
                receipt,
                ItemKind::Release,
                release,
                asked.region.as_bytes(),
                &self.view,
            )?;
            booking.release = None;
        }
        Ok(())
    }
}

impl Asked {
    /// Whether the release may go out: after the cancellation, so that the provider hears it first.
    pub(super) fn releases(&self) -> bool {
        self.booking.as_ref().is_some_and(|b| {
            b.release.is_some()
                && self
                    .channels
                    .get(&b.ticket)
                    .is_none_or(|c| c.out.waiting.is_empty())
        })
    }
}
