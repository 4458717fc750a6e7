//! Cancelling, and what frees booking locks.

use rand_core::CryptoRng;

use super::kept_offer::Gone;
use super::state::{Asked, BookingStatus};
use super::{Task, User, UserEvent};
use crate::booking::{Cancellation, ToProvider};
use crate::bounded::Bytes;
use crate::client::{Call, CallKind};
use crate::codec::to_bytes;
use crate::hash::record_hash;
use crate::id::{LockId, RecordId, TicketId};
use crate::item::ItemKind;
use crate::mailbox::Receipt;
use crate::problem::Problem;
use crate::queue::Release;
use crate::role::talk::{check_receipt, signed, stale, transient};
use crate::seal::Purpose;
use crate::time::Time;

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
    /// Cancels the booking: tells the provider, and frees the booking lock. With `again`, asks for
    /// another offer; without, the user is not listed again by itself.
    ///
    /// # Errors
    /// [`CancelError`]; nothing changed then.
    pub fn cancel<R: CryptoRng + ?Sized>(
        &mut self,
        again: bool,
        rng: &mut R,
    ) -> Result<(), CancelError> {
        let now = self.now;
        let asked = self
            .state
            .asked
            .as_mut()
            .filter(|a| a.busy())
            .ok_or(CancelError::None)?;
        let booking = asked.booking.as_ref().ok_or(CancelError::None)?;
        let (ticket, offer, slot) = (booking.ticket, booking.offer, booking.slot);
        let (latest, lock) = (booking.latest, booking.lock);
        asked
            .call_off(ticket, &offer, latest, lock, again, rng)
            .map_err(CancelError::Write)?;
        asked.becomes(BookingStatus::Cancelled, now);
        asked.relist.content = !again;
        self.events.push(UserEvent::Cancelled { offer, slot });
        Ok(())
    }

    /// The release of a lock, once the provider's copy of the cancellation is written.
    pub(super) fn release_call(&self, lock: &LockId) -> Option<Call> {
        let release = self.state.asked.as_ref()?.releases.get(lock)?;
        Some(Call::new(CallKind::Release, release.bytes.to_vec()))
    }

    pub(super) fn released(&mut self, lock: &LockId, receipt: &Receipt) -> Result<(), Problem> {
        let Some(asked) = self.state.asked.as_mut() else {
            return Ok(());
        };
        if let Some(release) = asked.releases.get(lock) {
            check_receipt(
                receipt,
                ItemKind::Release,
                &release.bytes,
                asked.region.as_bytes(),
                &self.view,
            )?;
            asked.releases.remove(lock);
        }
        Ok(())
    }

    pub(super) fn release_refused<R: CryptoRng + ?Sized>(
        &mut self,
        lock: LockId,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Release(lock), now, rng);
        if transient(problem) || stale(problem) {
            return;
        }
        // Expired, or its holders know nothing of it: there is nothing to free.
        if let Some(asked) = self.state.asked.as_mut() {
            asked.releases.remove(&lock);
        }
        self.events.push(UserEvent::Refused(problem));
    }
}

impl Asked {
    /// Writes a cancellation of a booking, named by its id or its latest change's, and lines up the
    /// release of its lock.
    pub(super) fn call_off<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: TicketId,
        offer: &RecordId,
        named: RecordId,
        lock: LockId,
        again: bool,
        rng: &mut R,
    ) -> Result<(), Problem> {
        let release = self.release_of(lock)?;
        let sealing = self
            .offers
            .get(offer)
            .map(|o| o.offer.sealing)
            .ok_or(Problem::NotFound)?;
        let channel = self.channels.get_mut(&ticket).ok_or(Problem::NotFound)?;
        let cancellation = Cancellation {
            booking: named,
            again,
            release: release.clone(),
        };
        let bytes: Bytes<1536> = signed(&cancellation, &self.draw.key)?;
        let id = record_hash(&bytes);
        let letter = to_bytes(&ToProvider::Cancellation(bytes));
        channel
            .out
            .push(&self.draw.key, &sealing, Purpose::Message, &letter, rng)?;
        channel.asks = again.then_some(id);
        self.release(lock, ticket, release.into_vec());
        self.close(&ticket);
        Ok(())
    }

    /// The booking of a ticket is over, and with it all that its provider offered until then: what the
    /// provider offers from now on is another offer.
    pub(super) fn close(&mut self, ticket: &TicketId) {
        let of_ticket = self.offers.values_mut();
        for kept in of_ticket.filter(|kept| kept.offer.ticket == *ticket) {
            kept.gone.get_or_insert(Gone::Closed);
        }
    }

    /// The signed release of a lock.
    pub(super) fn release_of(&self, lock: LockId) -> Result<Bytes<512>, Problem> {
        let (Some(request), Some(admitted)) = (&self.request, &self.admitted) else {
            return Err(Problem::NotFound);
        };
        let release = Release {
            region: self.region,
            request: request.id,
            lock,
            expires: admitted.expires,
        };
        signed(&release, &self.draw.key)
    }

    /// The releases that may go out: each after its cancellation, so that the provider hears it first.
    pub(super) fn due_releases(&self) -> impl Iterator<Item = &LockId> {
        self.releases.iter().filter_map(|(lock, release)| {
            let written = self
                .channels
                .get(&release.ticket)
                .is_none_or(|c| c.out.waiting.is_empty());
            written.then_some(lock)
        })
    }
}
