//! What a provider writes in the channel: decisions, further offers, cancellations, messages. A letter
//! counts if the provider of the ticket's first offer signed it for what it says it is about.

use rand_core::CryptoRng;

use super::check::{InvalidOffer, check_offer};
use super::kept_offer::Gone;
use super::state::{BookingStatus, Held, KeptRelease};
use super::{User, UserEvent};
use crate::booking::{Confirmation, Decision, ProviderCancellation, Rejection, ToUser};
use crate::codec::from_bytes;
use crate::cose::parse;
use crate::id::{LockId, TicketId};
use crate::mailbox::{Entry, Page};
use crate::problem::Problem;
use crate::queue::Release;
use crate::role::talk::open_from;
use crate::seal::{Purpose, capacity};
use crate::size::SizeClass;
use crate::time::Time;

impl User {
    /// Takes a page of the mailbox in which a provider answers.
    pub(super) fn take_channel(
        &mut self,
        ticket: TicketId,
        page: &Page,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        let Some(channel) = self
            .state
            .asked
            .as_ref()
            .and_then(|a| a.channels.get(&ticket))
        else {
            return;
        };
        for entry in channel.seen.fresh(&page.entries) {
            let taken = self.take_letter(ticket, entry, now, rng);
            let channel = self
                .state
                .asked
                .as_mut()
                .and_then(|a| a.channels.get_mut(&ticket));
            if let (true, Some(channel)) = (taken, channel) {
                channel.seen.add(entry.item);
            }
        }
    }

    /// Deals with one letter; false where it is to be looked at again.
    fn take_letter(
        &mut self,
        ticket: TicketId,
        entry: &Entry,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> bool {
        let Some(letter) = self.open_letter(ticket, entry) else {
            return true;
        };
        match letter {
            ToUser::Confirmation(bytes) => self.take_decision(ticket, &bytes, now, rng),
            ToUser::Message(text) => self.events.push(UserEvent::Message { ticket, text }),
            ToUser::Cancellation(bytes) => return self.take_cancellation(ticket, &bytes, now),
            ToUser::Offer(bytes) => {
                let context = self.state.asked.as_ref().and_then(|a| a.context(ticket));
                let checked = context
                    .ok_or(InvalidOffer::OtherRequest)
                    .and_then(|c| check_offer(&bytes, &c, &self.view, now));
                match checked {
                    Ok(offer) => self.keep_offer(offer, None, now),
                    Err(e) => {
                        if self.waiting.insert(entry.item, e) != Some(e) {
                            self.events.push(UserEvent::InvalidOffer(e));
                        }
                        if e.may_change() {
                            self.events
                                .push(UserEvent::ViewStale(Problem::UnknownCertificate));
                        }
                        return !e.may_change();
                    }
                }
                self.waiting.remove(&entry.item);
            }
        }
        true
    }

    fn open_letter(&self, ticket: TicketId, entry: &Entry) -> Option<ToUser> {
        let asked = self.state.asked.as_ref()?;
        let channel = asked.channels.get(&ticket)?;
        [Purpose::Confirmation, Purpose::Offer, Purpose::Message]
            .into_iter()
            .find_map(|purpose| {
                let plain =
                    open_from(&channel.to_user, &asked.draw.user, purpose, &entry.blob).ok()?;
                let letter: ToUser = from_bytes(&plain, capacity(SizeClass::Small)).ok()?;
                let kind = match letter {
                    ToUser::Confirmation(_) => Purpose::Confirmation,
                    ToUser::Offer(_) => Purpose::Offer,
                    ToUser::Message(_) | ToUser::Cancellation(_) => Purpose::Message,
                };
                (kind == purpose).then_some(letter)
            })
    }

    /// A decision counts if the provider of the offer signed it for a letter that waits for one.
    fn take_decision(
        &mut self,
        ticket: TicketId,
        bytes: &[u8],
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let booked = asked.booking.as_ref().map(|b| b.id);
        let Some(channel) = asked.channels.get_mut(&ticket) else {
            return;
        };
        let Ok(said) = parse::<Confirmation>(bytes).and_then(|s| s.verify(&channel.signer)) else {
            self.events.push(UserEvent::InvalidConfirmation);
            return;
        };
        let answered = channel.asks == Some(said.booking);
        if let (true, Decision::Rejected(reason)) = (answered, &said.decision)
            // The booking's own rejection, once more, is no answer to what it asked for.
            && (*reason == Rejection::NothingFree || booked != Some(said.booking))
        {
            channel.asks = None;
            channel.owed = *reason == Rejection::NothingFree;
            if let Some(b) = asked.booking.as_mut().filter(|b| b.ticket == ticket) {
                b.asked_out = *reason == Rejection::OfferClosed;
            }
            self.events.push(match reason {
                Rejection::NothingFree => UserEvent::NothingFree { ticket },
                // It was asked too often, or may not offer any more.
                reason => UserEvent::ChangeRejected {
                    offer: said.offer,
                    slot: said.slot,
                    reason: *reason,
                },
            });
        }
        let current = asked.booking.as_ref().filter(|b| b.ticket == ticket);
        let of_change =
            |b: &super::state::KeptBooking| b.change.as_ref().is_some_and(|c| c.id == said.booking);
        // A lock that was freed makes no booking any more.
        let taken_back =
            |b: &super::state::KeptBooking| asked.locks.get(&b.lock).is_some_and(|l| l.withdrawn);
        match current {
            Some(b) if b.id == said.booking && !taken_back(b) => self.take_answer(&said, now),
            Some(b) if of_change(b) => self.take_change(&said, now, rng),
            // An answer to an earlier attempt, which is over.
            _ => self.take_late(ticket, &said, rng),
        }
    }

    /// The answer to the booking under way.
    fn take_answer(&mut self, said: &Confirmation, now: Time) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let Some(booking) = asked.booking.as_ref() else {
            return;
        };
        let open = matches!(
            booking.status,
            BookingStatus::Sending | BookingStatus::Sent | BookingStatus::Withdrawn
        );
        if !open {
            // The first answer stands; what was cancelled stays so.
            return;
        }
        // Of a slot that is gone a provider may not know when it started.
        let right = said.offer == booking.offer
            && said.slot == booking.slot
            && (said.start == booking.start || said.decision != Decision::Confirmed);
        if !right {
            self.events.push(UserEvent::InvalidConfirmation);
            return;
        }
        let (offer, slot, start) = (booking.offer, booking.slot, booking.start);
        let (lock, ticket) = (booking.lock, booking.ticket);
        match said.decision {
            Decision::Confirmed => {
                asked.becomes(BookingStatus::Confirmed, now);
                asked.held(&lock, Held::Yes);
                // What was expected after an earlier booking was turned down is owed no more.
                if let Some(channel) = asked.channels.get_mut(&ticket) {
                    channel.asks = None;
                    channel.owed = false;
                }
                self.events
                    .push(UserEvent::Confirmed { offer, slot, start });
            }
            Decision::Rejected(reason) => {
                asked.becomes(BookingStatus::Rejected, now);
                let id = said.booking;
                if let Some(b) = &mut asked.booking {
                    b.reason = Some(reason);
                }
                let more = asked.turn_down(&offer, slot, reason);
                // It may have been taken before the slot turned out to be gone.
                let lost = matches!(reason, Rejection::SlotTaken | Rejection::NothingFree);
                asked.held(&lock, if lost { Held::Maybe } else { Held::Never });
                if let (true, Some(channel)) = (more, asked.channels.get_mut(&ticket)) {
                    channel.asks = Some(id);
                }
                self.refresh = true;
                self.events.push(UserEvent::Rejected {
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

    /// A booking that was taken back without an answer is confirmed after all: it is cancelled.
    fn take_late(&mut self, ticket: TicketId, said: &Confirmation, rng: &mut dyn CryptoRng) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let late = asked
            .locks
            .iter()
            .find(|(_, l)| l.withdrawn && l.booking == said.booking && l.ticket == ticket)
            .map(|(id, _)| *id);
        let (Some(lock), Decision::Confirmed) = (late, &said.decision) else {
            return;
        };
        if let Some(l) = asked.locks.get_mut(&lock) {
            l.withdrawn = false;
            l.held = Held::Yes;
        }
        if let Err(problem) = asked.call_off(ticket, &said.offer, said.booking, lock, false, rng) {
            self.events.push(UserEvent::Refused(problem));
        }
    }

    /// The provider cancels the booking; false where the letter is to be looked at again.
    fn take_cancellation(&mut self, ticket: TicketId, bytes: &[u8], now: Time) -> bool {
        let Some(asked) = self.state.asked.as_mut() else {
            return true;
        };
        let (Some(channel), Some(placed)) = (asked.channels.get(&ticket), &asked.request) else {
            return true;
        };
        let key = channel.key;
        let said = parse::<ProviderCancellation>(bytes).and_then(|s| s.verify(&channel.signer));
        let (Ok(said), Some(booking)) = (said, asked.booking.as_mut()) else {
            self.events.push(UserEvent::InvalidCancellation);
            return true;
        };
        let open_change = booking
            .change
            .as_ref()
            .is_some_and(|c| c.id == said.booking);
        let ours = booking.ticket == ticket && (booking.latest == said.booking || open_change);
        if !ours {
            self.events.push(UserEvent::InvalidCancellation);
            return true;
        }
        match booking.status {
            BookingStatus::Confirmed if !open_change => {}
            // The confirmation comes first: holders may be behind.
            BookingStatus::Sending | BookingStatus::Sent | BookingStatus::Confirmed => {
                return false;
            }
            _ => return true,
        }
        let released = parse::<Release>(&said.release)
            .and_then(|r| r.verify(&key))
            .is_ok_and(|r| {
                r.region == asked.region && r.request == placed.id && r.lock == booking.lock
            });
        if !released {
            self.events.push(UserEvent::InvalidCancellation);
            return true;
        }
        booking.text = Some(said.text.clone());
        booking.change = None;
        let (lock, offer, slot) = (booking.lock, booking.offer, booking.slot);
        asked.becomes(BookingStatus::CancelledByProvider, now);
        asked.release(lock, ticket, said.release.to_vec());
        let (again, id) = (said.again, said.booking);
        asked.close(&ticket);
        if let Some(channel) = asked.channels.get_mut(&ticket) {
            channel.asks = again.then_some(id);
        }
        self.refresh = true;
        self.events.push(UserEvent::CancelledByProvider {
            offer,
            slot,
            text: said.text.clone(),
            again,
        });
        true
    }
}

impl super::state::Asked {
    /// What is known of a lock.
    pub(super) fn held(&mut self, lock: &LockId, held: Held) {
        if let Some(l) = self.locks.get_mut(lock) {
            l.held = held;
        }
    }

    /// A slot was refused. Returns whether the provider is expected to offer others, or to say that it
    /// has none.
    pub(super) fn turn_down(
        &mut self,
        offer: &crate::id::RecordId,
        slot: u8,
        reason: Rejection,
    ) -> bool {
        let Some(kept) = self.offers.get_mut(offer) else {
            return false;
        };
        match reason {
            Rejection::SlotTaken | Rejection::NothingFree => {
                if let Some(turned) = kept.turned.get_mut(usize::from(slot)) {
                    *turned = true;
                }
            }
            Rejection::OfferClosed | Rejection::DataMismatch => kept.gone = Some(Gone::Closed),
            // Another booking of this token stands: the slot is as good as it was.
            Rejection::TokenLocked => {}
        }
        let ticket = kept.offer.ticket;
        if reason == Rejection::NothingFree {
            if let Some(channel) = self.channels.get_mut(&ticket) {
                channel.owed = true;
            }
            return false;
        }
        matches!(reason, Rejection::SlotTaken | Rejection::OfferClosed)
    }

    /// Lines up a release for the holders.
    pub(super) fn release(&mut self, lock: LockId, ticket: TicketId, bytes: Vec<u8>) {
        let bytes = bytes.into();
        self.releases.insert(lock, KeptRelease { ticket, bytes });
    }
}
