//! From a booking to its confirmation, and back by a cancellation. One booking a slot, ever: a slot
//! belongs to a booking from the moment the booking is found good, before anything is asked or said.

use rand_core::CryptoRng;

use super::state::{BookEntry, BookState, SlotId, SlotUse, Step, Taking, TurnDown};
use super::{Provider, ProviderEvent, Task};
use crate::booking::{
    Booking, Cancellation, Confirmation, Decision, Rejection, ToProvider, ToUser,
};
use crate::bounded::{Bytes, List};
use crate::client::{Call, CallKind, Locks, MarkOrder, Marks};
use crate::codec::{from_bytes, to_bytes};
use crate::cose::parse;
use crate::hash::record_hash;
use crate::id::{NodeId, RecordId, TicketId};
use crate::mailbox::{Entry, MarkState, MarkValue, Page};
use crate::problem::Problem;
use crate::queue::{Accept, LockGrant, LockOrder, Release};
use crate::role::talk::{open_from, signed, transient};
use crate::seal::{Purpose, capacity};
use crate::size::SizeClass;
use crate::time::Time;
use crate::token::token_hash;

impl Provider {
    /// Takes a page of the mailbox in which a user answers.
    pub(super) fn take_page(
        &mut self,
        ticket: &TicketId,
        page: &Page,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        let Some(deal) = self.state.deals.get(ticket) else {
            return;
        };
        let entries: Vec<Entry> = deal
            .channel
            .seen
            .fresh(&page.entries)
            .into_iter()
            .cloned()
            .collect();
        for entry in entries {
            let taken = self.take_letter(ticket, &entry, now, rng);
            if let (true, Some(deal)) = (taken, self.state.deals.get_mut(ticket)) {
                deal.channel.seen.add(entry.item);
            }
        }
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
                self.take_booking(ticket, offer, &bytes, now, rng)
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
            None => {}
        }
        true
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
    ) {
        let Some(deal) = self.state.deals.get(ticket) else {
            return;
        };
        let id = record_hash(bytes);
        // A replay of the booking that stands, or stood, changes nothing.
        if deal.booking.as_ref().is_some_and(|b| b.id == id) || self.state.book.contains_key(&id) {
            return;
        }
        let Ok(said) = parse::<Booking>(bytes).and_then(|s| s.verify(&deal.token_key)) else {
            self.events
                .push(ProviderEvent::BadEntry(Problem::BadSignature));
            return;
        };
        match self.judge(ticket, sealed_to, &said, now) {
            Ok((slot, accept)) => {
                if let Some(s) = self.state.slots.get_mut(&slot) {
                    s.used = SlotUse::Booked(*ticket);
                }
                if let Some(deal) = self.state.deals.get_mut(ticket) {
                    deal.booking = Some(Taking {
                        id,
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
        if !made.open(now) || slot.start <= now {
            return Err(because(Rejection::OfferClosed));
        }
        if deal.booking.is_some() {
            return Err(because(Rejection::TokenLocked));
        }
        if !slot.offerable(now) {
            return Err(because(Rejection::SlotTaken));
        }
        Ok((id, accept.into_value()))
    }

    /// Answers that a booking is not confirmed, and offers other slots if that helps and the offer has
    /// none left.
    fn turn_down(
        &mut self,
        ticket: &TicketId,
        down: &TurnDown,
        freed: Option<SlotId>,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        let said = Confirmation {
            booking: down.booking,
            offer: down.offer,
            slot: down.index,
            start: down.start,
            decision: Decision::Rejected(down.reason),
        };
        if let Ok(bytes) = signed(&said, &self.state.signing) {
            self.push_letter(
                ticket,
                &ToUser::Confirmation(bytes),
                Purpose::Confirmation,
                rng,
            );
        }
        self.events.push(ProviderEvent::Rejected {
            ticket: *ticket,
            reason: down.reason,
        });
        let helps = matches!(down.reason, Rejection::SlotTaken | Rejection::OfferClosed);
        let left = self.state.deals.get(ticket).is_some_and(|d| {
            d.offers
                .iter()
                .filter(|o| o.open(now))
                .flat_map(|o| o.slots.iter())
                .any(|id| self.state.slots.get(id).is_some_and(|s| s.offerable(now)))
        });
        if helps && !left {
            self.offer_more(ticket, freed, now, rng);
        }
    }

    /// Lets go of the slot of a booking that is not to be, and answers.
    fn give_up(
        &mut self,
        ticket: &TicketId,
        reason: Rejection,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return;
        };
        let Some(taking) = deal.booking.take() else {
            return;
        };
        let mut start = Time::ZERO;
        if let Some(slot) = self.state.slots.get_mut(&taking.slot) {
            start = slot.start;
            // Its mark says taken, by another device of the practice: it is not ours to offer.
            slot.used = if reason == Rejection::SlotTaken {
                SlotUse::Removed
            } else {
                SlotUse::Free
            };
        }
        let down = TurnDown {
            booking: taking.id,
            offer: taking.offer,
            index: taking.index,
            start,
            reason,
        };
        self.turn_down(ticket, &down, Some(taking.slot), now, rng);
    }

    pub(super) fn reread_call(&self, ticket: &TicketId) -> Option<Call> {
        let slot = self.state.deals.get(ticket)?.booking.as_ref()?.slot;
        let marks = List::try_from(vec![self.state.slots.get(&slot)?.mark.id()]).ok()?;
        Some(Call::new(
            CallKind::ReadMarks,
            to_bytes(&MarkOrder { marks }),
        ))
    }

    /// The mark as the holders have it now.
    pub(super) fn reread(
        &mut self,
        ticket: &TicketId,
        marks: &Marks,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Problem> {
        let taking = self
            .state
            .deals
            .get_mut(ticket)
            .and_then(|d| d.booking.as_mut())
            .filter(|b| b.step == Step::Mark);
        let Some(taking) = taking else { return Ok(()) };
        let Some(slot) = self.state.slots.get_mut(&taking.slot) else {
            return Ok(());
        };
        let mut taken = false;
        for bytes in &marks.states {
            let state = parse::<MarkState>(bytes)?.verify(&slot.mark.key)?;
            if state.mark != slot.mark {
                return Err(Problem::Malformed);
            }
            slot.version = slot.version.max(state.version);
            taken = state.value == MarkValue::Taken;
        }
        if taken {
            slot.want = MarkValue::Taken;
            slot.want_version = slot.version;
            self.give_up(ticket, Rejection::SlotTaken, now, rng);
        } else {
            taking.step = Step::Lock;
        }
        Ok(())
    }

    pub(super) fn lock_call(&self, ticket: &TicketId) -> Option<Call> {
        let deal = self.state.deals.get(ticket)?;
        let accept = &deal.booking.as_ref()?.accept;
        let grants: Vec<_> = deal
            .grants
            .iter()
            .map(|g| Bytes::try_from(&**g))
            .collect::<Result<_, _>>()
            .ok()?;
        let order = LockOrder {
            grants: List::try_from(grants).ok()?,
            accept: Bytes::try_from(&**accept).ok()?,
            token_key: deal.token_key,
            signature: deal.ticket_key.sign(&LockOrder::message(accept)),
        };
        Some(Call::new(CallKind::Lock, to_bytes(&order)))
    }

    /// Checks the lock: grants of enough holders. The mark is set next.
    pub(super) fn locked(&mut self, ticket: &TicketId, locks: &Locks) -> Result<(), Problem> {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return Ok(());
        };
        let Some(taking) = deal.booking.as_mut().filter(|b| b.step == Step::Lock) else {
            return Ok(());
        };
        let mut holders: Vec<NodeId> = Vec::new();
        for bytes in &locks.grants {
            let grant = parse::<LockGrant>(bytes)?;
            let holder = grant.unverified().holder;
            let key = self.view.node_key(&holder).ok_or(Problem::WrongSigner)?;
            let grant = grant.verify(key)?;
            let fits = grant.region == deal.region
                && grant.request == deal.request
                && grant.ticket == *ticket
                && grant.lock == taking.lock
                && self.view.was_holder(deal.region.as_bytes(), &holder)
                && !holders.contains(&holder);
            if !fits {
                return Err(Problem::BadTicket);
            }
            holders.push(holder);
        }
        if holders.is_empty() || holders.len() < self.view.write_quorum() {
            return Err(Problem::HoldersAway);
        }
        taking.step = Step::Take;
        if let Some(slot) = self.state.slots.get_mut(&taking.slot) {
            slot.set(MarkValue::Taken);
        }
        Ok(())
    }

    pub(super) fn lock_refused(
        &mut self,
        ticket: &TicketId,
        problem: Problem,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) {
        self.desk.failed(&Task::Lock(*ticket), now, rng);
        if transient(problem) {
            return;
        }
        // Some holders may have granted it all the same: what they hold is given back.
        if let Some(deal) = self.state.deals.get_mut(ticket)
            && let Some(taking) = &deal.booking
        {
            let release = Release {
                region: deal.region,
                request: deal.request,
                lock: taking.lock,
                expires: deal.expires,
            };
            deal.releases
                .push(crate::cose::sign(&release, &deal.ticket_key).into());
        }
        let reason = match problem {
            Problem::Locked | Problem::ReoffersUsed => Rejection::TokenLocked,
            _ => Rejection::OfferClosed,
        };
        self.events.push(ProviderEvent::LockRefused {
            ticket: *ticket,
            problem,
        });
        self.give_up(ticket, reason, now, rng);
    }

    /// The lock is held and the mark is set: the booking stands, and the user is told.
    pub(super) fn confirm(&mut self, ticket: TicketId, now: Time, rng: &mut dyn CryptoRng) {
        let Some(deal) = self.state.deals.get_mut(&ticket) else {
            return;
        };
        let Some(taking) = deal.booking.as_mut().filter(|b| b.step == Step::Take) else {
            return;
        };
        let Some(slot) = self.state.slots.get(&taking.slot) else {
            return;
        };
        taking.step = Step::Confirmed;
        let entry = BookEntry {
            slot: taking.slot,
            start: slot.start,
            minutes: slot.minutes,
            what: slot.what.clone(),
            data: taking.data.clone(),
            token: deal.token_id,
            state: BookState::Confirmed,
        };
        let said = Confirmation {
            booking: taking.id,
            offer: taking.offer,
            slot: taking.index,
            start: slot.start,
            decision: Decision::Confirmed,
        };
        let (id, slot) = (taking.id, taking.slot);
        // The user has one of the slots: the others are free for somebody else.
        for made in deal.offers.iter_mut() {
            made.expires = made.expires.min(now);
        }
        self.events.push(ProviderEvent::Booked {
            booking: id,
            slot,
            start: entry.start,
            data: entry.data.clone(),
        });
        self.state.book.insert(id, entry);
        if let Ok(bytes) = signed(&said, &self.state.signing) {
            self.push_letter(
                &ticket,
                &ToUser::Confirmation(bytes),
                Purpose::Confirmation,
                rng,
            );
        }
    }

    fn take_cancellation(
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
        let Some(taking) = deal.booking.as_ref().filter(|b| b.id == said.booking) else {
            return true;
        };
        if taking.step != Step::Confirmed {
            // The lock is being taken: first the one, then the other.
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
        let (id, slot) = (taking.id, taking.slot);
        deal.releases.push(said.release.as_slice().into());
        deal.booking = None;
        if let Some(s) = self.state.slots.get_mut(&slot) {
            s.used = SlotUse::Free;
            s.set(MarkValue::Open);
        }
        if let Some(entry) = self.state.book.get_mut(&id) {
            entry.state = BookState::Cancelled;
        }
        self.events.push(ProviderEvent::Cancelled {
            booking: id,
            slot,
            again: said.again,
        });
        if said.again {
            self.offer_more(ticket, Some(slot), now, rng);
        }
        true
    }
}
