//! What a user writes in the channel, and whether a booking can be taken. One booking a slot, ever: a
//! slot belongs to a booking from the moment it is found good, before anything is asked or said.

use super::kept_deal::{Deal, Step, Taking, TurnDown};
use super::more::More;
use super::state::{SlotId, SlotUse};
use super::{Provider, ProviderEvent};
use crate::booking::{Booking, Rejection, ToProvider};
use crate::codec::from_bytes;
use crate::cose::{Record, parse};
use crate::hash::record_hash;
use crate::id::{RecordId, TicketId};
use crate::mailbox::{Entry, Page, mark_by};
use crate::problem::Problem;
use crate::queue::Accept;
use crate::role::kept::Many;
use crate::role::talk::open_from;
use crate::seal::{Purpose, capacity};
use crate::size::SizeClass;
use crate::time::Time;
use crate::token::token_hash;
use rand_core::CryptoRng;

impl Provider {
    /// Takes a page of the mailbox in which a user answers. Returns whether all of it was dealt with: else
    /// what is on the next page must wait too.
    pub(super) fn take_page(
        &mut self,
        ticket: &TicketId,
        page: &Page,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> bool {
        let Some(deal) = self.state.deals.get(ticket) else {
            return true;
        };
        let entries: Vec<Entry> = deal
            .channel
            .seen
            .fresh(&page.entries)
            .into_iter()
            .cloned()
            .collect();
        for entry in entries {
            if !self.take_letter(ticket, &entry, now, rng) {
                // In their order: what comes behind waits too.
                return false;
            }
            if let Some(deal) = self.state.deals.get_mut(ticket) {
                deal.channel.seen.add(entry.item);
            }
        }
        true
    }

    /// Deals with one letter; false where it is to be looked at again.
    fn take_letter(
        &mut self,
        ticket: &TicketId,
        entry: &Entry,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> bool {
        match self.open_letter(ticket, entry) {
            Some((offer, ToProvider::Booking(bytes))) => {
                return self.take_booking(ticket, offer, &bytes, now, rng);
            }
            Some((_, ToProvider::Cancellation(bytes))) => {
                return self.take_cancellation(ticket, &bytes, now, rng);
            }
            Some((_, ToProvider::Message(text))) => {
                self.events.push(ProviderEvent::Message {
                    ticket: *ticket,
                    text,
                });
            }
            Some((_, ToProvider::Change(bytes))) => {
                return self.take_change(ticket, &bytes, now, rng);
            }
            Some((_, ToProvider::Decline(bytes))) => {
                return self.take_decline(ticket, &bytes, now);
            }
            None => {}
        }
        true
    }

    /// What the record in a letter says; nothing, which is told, where the token's key did not sign it.
    pub(super) fn said<T: Record>(&mut self, ticket: &TicketId, bytes: &[u8]) -> Option<T> {
        let deal = self.state.deals.get(ticket)?;
        match parse::<T>(bytes).and_then(|s| s.verify(&deal.token_key)) {
            Ok(said) => Some(said.into_value()),
            Err(_) => {
                self.events
                    .push(ProviderEvent::BadEntry(Problem::BadSignature));
                None
            }
        }
    }

    /// Opens a letter with the key of the offer that it answers: the latest first.
    fn open_letter(&self, ticket: &TicketId, entry: &Entry) -> Option<(RecordId, ToProvider)> {
        let deal = self.state.deals.get(ticket)?;
        let open = |purpose| {
            deal.offers.iter().rev().find_map(|made| {
                let plain = open_from(
                    &deal.channel.to_provider,
                    &made.sealing,
                    purpose,
                    &entry.blob,
                )
                .ok()?;
                let letter: ToProvider = from_bytes(&plain, capacity(SizeClass::Small)).ok()?;
                (matches!(letter, ToProvider::Booking(_)) == (purpose == Purpose::Booking))
                    .then_some((made.id, letter))
            })
        };
        open(Purpose::Booking).or_else(|| open(Purpose::Message))
    }

    fn take_booking(
        &mut self,
        ticket: &TicketId,
        sealed_to: RecordId,
        bytes: &[u8],
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> bool {
        let Some(deal) = self.state.deals.get(ticket) else {
            return true;
        };
        let id = record_hash(bytes);
        // A replay of the booking that stands, or stood, changes nothing.
        if deal.answered.contains(&id) || self.state.book.contains_key(&id) {
            return true;
        }
        let Some(said) = self.said::<Booking>(ticket, bytes) else {
            return true;
        };
        let deal = self.state.deals.get(ticket);
        if deal.is_none_or(|d| !d.has_room(2)) {
            // It could not be confirmed, nor cancelled from here.
            self.events.push(ProviderEvent::Refused(Problem::WrongSlot));
            return true;
        }
        if let Some(slot) = self
            .chosen(ticket, &said)
            .filter(|s| self.is_undecided(ticket, *s))
        {
            // This very booking may be the one that another device of the practice confirms: who has
            // the slot shows when the mark is read.
            self.undecided.insert(*ticket, slot);
            return false;
        }
        if let Some(deal) = self.state.deals.get_mut(ticket) {
            deal.answered.push(id);
        }
        if self.confirmed_elsewhere(ticket, &said, &id) {
            return true;
        }
        match self.judge(ticket, sealed_to, &said, now) {
            Ok((slot, accept)) => {
                if let Some(s) = self.state.slots.get_mut(&slot) {
                    s.used = SlotUse::Booked(*ticket);
                }
                if let Some(deal) = self.state.deals.get_mut(ticket) {
                    deal.clashes = 0;
                    deal.changes = 0;
                    deal.asks = 0;
                    deal.booking = Some(Taking {
                        id,
                        latest: id,
                        before: Many::default(),
                        locked: false,
                        offer: said.offer,
                        index: said.slot,
                        slot,
                        data: said.data.clone(),
                        accept: said.accept.as_slice().into(),
                        lock: accept.lock(),
                        step: Step::Mark,
                    });
                }
            }
            Err((reason, start)) => {
                let down = TurnDown {
                    booking: id,
                    offer: said.offer,
                    index: said.slot,
                    start,
                    reason,
                };
                self.turn_down(ticket, &down, None, now, rng);
            }
        }
        true
    }

    /// The slot of one of a deal's offers that a booking names.
    fn chosen(&self, ticket: &TicketId, said: &Booking) -> Option<SlotId> {
        let offers = &self.state.deals.get(ticket)?.offers;
        let made = offers.iter().find(|o| o.id == said.offer)?;
        made.slots.get(usize::from(said.slot)).copied()
    }

    /// Whether another deal is about to get a slot.
    fn is_undecided(&self, ticket: &TicketId, slot: SlotId) -> bool {
        let Some(SlotUse::Booked(other)) = self.state.slots.get(&slot).map(|s| s.used) else {
            return false;
        };
        let under_way = |d: &Deal| {
            d.change.is_some()
                || d.booking
                    .as_ref()
                    .is_some_and(|b| b.step != Step::Confirmed)
        };
        other != *ticket && self.state.deals.get(&other).is_some_and(under_way)
    }

    /// Looks again at the letters that waited for a slot that is decided now.
    pub(super) fn read_decided(&mut self) {
        for (ticket, slot) in std::mem::take(&mut self.undecided) {
            if self.is_undecided(&ticket, slot) {
                self.undecided.insert(ticket, slot);
            } else if let Some(deal) = self.state.deals.get(&ticket) {
                self.reads.touch(deal.channel.id);
            }
        }
    }

    /// Whether another device of the practice took the slot for this very booking: it has answered.
    fn confirmed_elsewhere(&self, ticket: &TicketId, said: &Booking, id: &RecordId) -> bool {
        self.chosen(ticket, said)
            .and_then(|slot| self.state.slots.get(&slot))
            .is_some_and(|s| s.used == SlotUse::Elsewhere(mark_by(id)))
    }

    /// Whether a booking can be taken: the offer is open, the data is what the token was drawn for, the
    /// slot is free. Else why not, and when the slot starts.
    fn judge(
        &self,
        ticket: &TicketId,
        sealed_to: RecordId,
        said: &Booking,
        now: Time,
    ) -> Result<(SlotId, Accept), (Rejection, Time)> {
        let closed = (Rejection::OfferClosed, Time::ZERO);
        let deal = self.state.deals.get(ticket).ok_or(closed)?;
        let made = deal
            .offers
            .iter()
            .find(|o| o.id == said.offer && o.id == sealed_to)
            .ok_or(closed)?;
        let id = *made
            .slots
            .get(usize::from(said.slot))
            .ok_or((Rejection::DataMismatch, Time::ZERO))?;
        let slot = self
            .state
            .slots
            .get(&id)
            .ok_or((Rejection::SlotTaken, Time::ZERO))?;
        let because = |reason| (reason, slot.start);
        let accept = parse::<Accept>(&said.accept)
            .and_then(|a| a.verify(&deal.token_key))
            .map_err(|_| because(Rejection::DataMismatch))?;
        let genuine = *said.token == *deal.token
            && said.user == deal.user
            && token_hash(&said.data, &said.nonce, &said.user) == deal.hash
            && accept.request == deal.request
            && accept.ticket == *ticket
            && accept.expires == deal.expires;
        if !genuine {
            return Err(because(Rejection::DataMismatch));
        }
        if deal.booking.is_some() {
            return Err(because(Rejection::TokenLocked));
        }
        if !made.open(now) || slot.start <= now || self.ended(now).is_some() {
            return Err(because(Rejection::OfferClosed));
        }
        if !slot.offerable(now) {
            return Err(because(Rejection::SlotTaken));
        }
        Ok((id, accept.into_value()))
    }

    /// Answers that a booking is not confirmed, and offers other slots if that helps and the offer has
    /// none left.
    pub(super) fn turn_down(
        &mut self,
        ticket: &TicketId,
        down: &TurnDown,
        freed: Option<SlotId>,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        self.say_no(ticket, down, rng);
        self.events.push(ProviderEvent::Rejected {
            ticket: *ticket,
            reason: down.reason,
        });
        let deal = self.state.deals.get(ticket);
        let helps = matches!(down.reason, Rejection::SlotTaken | Rejection::OfferClosed)
            && deal.is_some_and(|d| d.declined.is_none());
        let left = deal.is_some_and(|d| {
            d.offers
                .iter()
                .filter(|o| o.open(now))
                .flat_map(|o| o.slots.iter())
                .any(|id| self.state.slots.get(id).is_some_and(|s| s.offerable(now)))
        });
        if helps && !left && self.ended(now).is_none() {
            let more = More {
                letter: Some(*down),
                not: freed,
                ..More::default()
            };
            self.offer_more(ticket, more, now, rng);
        }
    }
}
