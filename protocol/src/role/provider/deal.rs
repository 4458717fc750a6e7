//! A ticket's way to an offer: the channel is opened, the offer made and written to the inbox.

use rand_core::CryptoRng;

use super::kept_deal::{Deal, Made};
use super::state::SlotId;
use super::{Provider, ProviderEvent, Task};
use crate::booking::{MAX_OFFER_SLOTS, Offer, ToUser};
use crate::bounded::{Bytes, List};
use crate::client::{Call, CallKind, Openings, check_opening};
use crate::codec::to_bytes;
use crate::cose::sign;
use crate::hash::record_hash;
use crate::id::TicketId;
use crate::item::ItemKind;
use crate::mailbox::{BlobWrite, Place, Receipt, Spend, TicketAuth, WriteAuth, ticket_slot};
use crate::problem::Problem;
use crate::role::kept::{Many, Secret};
use crate::role::talk::{check_receipt, seal_for, signed, transient};
use crate::seal::Purpose;
use crate::time::Time;

/// Most bytes of an offer: what fits into a letter of the smallest size, in the inbox as in a channel.
const MAX_OFFER: usize = 3900;

impl Provider {
    pub(super) fn channel_call(&self, ticket: &TicketId, now: Time) -> Option<Call> {
        let channel = &self.state.deals.get(ticket)?.channel;
        let places = vec![
            Place::Mailbox(channel.to_provider.clone()),
            Place::Mailbox(channel.out.mailbox.clone()),
        ];
        // A deal that is lost before its offer was made lapses, as its channel does.
        self.open_order(places, now).map(Call::ahead)
    }

    pub(super) fn channel_opened(
        &mut self,
        ticket: &TicketId,
        openings: &Openings,
        now: Time,
    ) -> Result<(), Problem> {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return Ok(());
        };
        let wanted = [&deal.channel.to_provider, &deal.channel.out.mailbox];
        if openings.openings.len() != wanted.len() {
            return Err(Problem::Malformed);
        }
        for (bytes, mailbox) in openings.openings.iter().zip(wanted) {
            let opening = check_opening(bytes, &self.view, now)?;
            if opening.place != Place::Mailbox(mailbox.clone()) {
                return Err(Problem::Malformed);
            }
        }
        deal.channel.opened = true;
        self.reads.made(deal.channel.id, now, self.pace.read);
        Ok(())
    }

    /// Makes an offer of these slots, the first ones of them where not all fit into a letter.
    pub(super) fn make_offer<R: CryptoRng + ?Sized>(
        &self,
        ticket: &TicketId,
        slots: &[SlotId],
        now: Time,
        rng: &mut R,
    ) -> Option<(Made, Vec<u8>)> {
        let deal = self.state.deals.get(ticket)?;
        let certificate = self.state.certificate.as_ref()?;
        let sealing = Secret::generate(rng);
        let mut chosen: Vec<SlotId> = slots.iter().copied().take(MAX_OFFER_SLOTS).collect();
        while !chosen.is_empty() {
            let found: Vec<_> = chosen
                .iter()
                .filter_map(|id| self.state.slots.get(id))
                .collect();
            let last = found.iter().map(|s| s.start).max()?;
            let expires = now.plus(self.state.policy.life).min(last).min(deal.expires);
            let offer = Offer {
                request: deal.request,
                ticket: *ticket,
                user: deal.user,
                sealing: sealing.public(),
                certificate: Bytes::try_from(&*certificate.bytes).ok()?,
                practice: self.state.practice.clone(),
                to_provider: deal.channel.to_provider.clone(),
                to_user: deal.channel.out.mailbox.clone(),
                slots: List::try_from(found.iter().map(|s| s.to_offer()).collect::<Vec<_>>())
                    .ok()?,
                expires,
            };
            let bytes = sign(&offer, &self.state.signing);
            if bytes.len() <= MAX_OFFER {
                let made = Made {
                    id: record_hash(&bytes),
                    sealing,
                    slots: Many::from(chosen),
                    expires,
                    closed: false,
                };
                return Some((made, bytes));
            }
            chosen.pop();
        }
        None
    }

    /// Whether a first offer can be written now: what was planned for it, or anything else, is free.
    pub(super) fn can_offer(&self, ticket: &TicketId, deal: &Deal, now: Time) -> bool {
        let free = |id: &SlotId| self.state.slots.get(id).is_some_and(|s| s.offerable(now));
        deal.first.is_some()
            || deal.planned.iter().any(free)
            || !self.choices(ticket, None, false, now).is_empty()
    }

    /// The write of the first offer: made once, then always the same bytes.
    pub(super) fn offer_call<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        now: Time,
        rng: &mut R,
    ) -> Option<Call> {
        let deal = self.state.deals.get_mut(ticket)?;
        deal.retried = deal.first.is_some();
        let deal = self.state.deals.get(ticket)?;
        if deal.first.is_none() {
            let slots: Vec<_> = deal
                .planned
                .iter()
                .copied()
                .filter(|id| self.state.slots.get(id).is_some_and(|s| s.offerable(now)))
                .collect();
            // What was planned may have been booked by somebody else since.
            let slots = if slots.is_empty() {
                self.choices(ticket, None, false, now)
            } else {
                slots
            };
            if slots.is_empty() {
                // The ticket is good for what becomes free until it lapses; another would not be had.
                return None;
            }
            let made = self.make_offer(ticket, &slots, now, rng);
            let deal = self.state.deals.get_mut(ticket)?;
            let write = made
                .as_ref()
                .and_then(|(m, bytes)| deal.first_write(ticket, m, bytes, rng));
            match (made, write) {
                (Some((made, _)), Some(write)) => {
                    deal.offers.push(made);
                    deal.first = Some(write.into());
                }
                _ => {
                    // Its practice data is too long for a letter.
                    self.state.deals.remove(ticket);
                    self.events.push(ProviderEvent::Refused(Problem::TooLarge));
                    return None;
                }
            }
        }
        let first = self.state.deals.get(ticket)?.first.as_ref()?;
        Some(Call::new(CallKind::Write, first.to_vec()))
    }

    pub(super) fn offer_sent(
        &mut self,
        ticket: &TicketId,
        receipt: &Receipt,
    ) -> Result<(), Problem> {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return Ok(());
        };
        let Some(first) = &deal.first else {
            return Ok(());
        };
        check_receipt(
            receipt,
            ItemKind::Blob,
            first,
            deal.inbox.id().as_bytes(),
            &self.view,
        )?;
        deal.sent = true;
        // It will not be written again: what is kept says no more than that it was made.
        deal.first = Some(Vec::new().into());
        let slots = deal
            .offers
            .first()
            .map(|o| o.slots.to_vec())
            .unwrap_or_default();
        self.events.push(ProviderEvent::OfferSent {
            ticket: *ticket,
            slots,
        });
        Ok(())
    }

    pub(super) fn offer_refused<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Offer(*ticket), now, rng);
        if matches!(
            problem,
            Problem::UnknownCertificate | Problem::StatusExpired
        ) {
            // By this provider's own view it is in force: that node's is behind.
            self.events.push(ProviderEvent::ViewStale(problem));
            return;
        }
        if transient(problem) {
            return;
        }
        if let Some(deal) = self.state.deals.get_mut(ticket).filter(|d| d.retried) {
            // The user may have it: its slots are held until it expires.
            deal.sent = true;
            return;
        }
        // The ticket buys nothing: its slots are free again.
        self.state.deals.remove(ticket);
        self.events.push(ProviderEvent::OfferRefused {
            ticket: *ticket,
            problem,
        });
    }

    /// Lines a letter up for the user; false where the channel is full.
    pub(super) fn push_letter<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        letter: &ToUser,
        purpose: Purpose,
        rng: &mut R,
    ) -> bool {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return false;
        };
        let (channel, user) = (&mut deal.channel, deal.user);
        match channel
            .out
            .push(&channel.write, &user, purpose, &to_bytes(letter), rng)
        {
            Ok(()) => true,
            Err(problem) => {
                self.events.push(ProviderEvent::Refused(problem));
                false
            }
        }
    }

    pub(super) fn letter_written(
        &mut self,
        ticket: &TicketId,
        receipt: &Receipt,
    ) -> Result<(), Problem> {
        match self.state.deals.get_mut(ticket) {
            Some(deal) => deal.channel.out.written(receipt, &self.view)?,
            None => return Ok(()),
        }
        self.leave(ticket);
        Ok(())
    }

    pub(super) fn letter_refused<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Letter(*ticket), now, rng);
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return;
        };
        let channel = &mut deal.channel;
        let moved = matches!(problem, Problem::SlotConflict | Problem::Deleted)
            && channel.out.conflict(&channel.write).is_ok();
        if moved || transient(problem) || problem == Problem::NotOpened {
            return;
        }
        channel.out.waiting = Many::default();
        self.events.push(ProviderEvent::Refused(problem));
        self.leave(ticket);
    }

    /// The release of a booking lock that is to be handed to the holders next.
    pub(super) fn release_call(&self, ticket: &TicketId) -> Option<Call> {
        let release = self.state.deals.get(ticket)?.releases.first()?;
        Some(Call::new(CallKind::Release, release.to_vec()))
    }

    pub(super) fn released(&mut self, ticket: &TicketId, receipt: &Receipt) -> Result<(), Problem> {
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return Ok(());
        };
        if let Some(release) = deal.releases.first() {
            check_receipt(
                receipt,
                ItemKind::Release,
                release,
                deal.region.as_bytes(),
                &self.view,
            )?;
            deal.releases.remove(0);
        }
        Ok(())
    }

    pub(super) fn release_refused<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::Release(*ticket), now, rng);
        if transient(problem) {
            return;
        }
        // Expired, or its holders know nothing of it: there is nothing to free.
        if let Some(deal) = self
            .state
            .deals
            .get_mut(ticket)
            .filter(|d| !d.releases.is_empty())
        {
            deal.releases.remove(0);
        }
    }
}

impl Deal {
    /// The write of an offer to the inbox, paid for by the ticket.
    fn first_write<R: CryptoRng + ?Sized>(
        &self,
        ticket: &TicketId,
        made: &Made,
        offer: &[u8],
        rng: &mut R,
    ) -> Option<Vec<u8>> {
        let blob = seal_for(&self.inbox, &self.user, Purpose::Offer, offer, rng).ok()?;
        let spend = Spend {
            request: self.request,
            ticket: *ticket,
            mailbox: self.inbox.id(),
            blob: *blake3::hash(&blob).as_bytes(),
            offer_expires: made.expires,
            expires: self.expires,
        };
        let grants: Vec<_> = self
            .grants
            .iter()
            .map(|g| Bytes::try_from(&**g))
            .collect::<Result<_, _>>()
            .ok()?;
        let auth = TicketAuth {
            grants: List::try_from(grants).ok()?,
            spend: signed(&spend, &self.ticket_key).ok()?,
        };
        let write = BlobWrite {
            mailbox: self.inbox.clone(),
            slot: ticket_slot(ticket),
            blob: Bytes::try_from(blob).ok()?,
            auth: WriteAuth::Ticket(auth),
        };
        Some(to_bytes(&write))
    }
}
