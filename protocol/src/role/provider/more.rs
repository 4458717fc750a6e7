//! Further offers on the channel of a deal: after a cancellation, a booking that was turned down, or a wish
//! for other slots. Where nothing is free the user is told, and is owed an offer.

use rand_core::CryptoRng;

use super::kept_deal::TurnDown;
use super::state::SlotId;
use super::{Provider, ProviderEvent};
use crate::booking::{Confirmation, Decision, Rejection, ToUser};
use crate::bounded::Bytes;
use crate::id::TicketId;
use crate::role::talk::signed;
use crate::seal::Purpose;
use crate::time::Time;

/// What a further offer is made for.
#[derive(Clone, Copy)]
pub(super) struct More {
    /// The letter that it answers.
    pub(super) letter: Option<TurnDown>,
    /// The slot that is offered only if there is no other.
    pub(super) not: Option<SlotId>,
    /// Only slots that the user has not been offered.
    pub(super) new: bool,
    /// How many letters must fit into the channel behind the offer.
    pub(super) behind: u32,
}

impl Default for More {
    /// An offer that can be booked, and the booking cancelled.
    fn default() -> Self {
        More {
            letter: None,
            not: None,
            new: false,
            behind: 2,
        }
    }
}

impl Provider {
    /// Offers free slots on the channel of a deal; else says that there are none, and remembers that an
    /// offer is owed. Where an offer is of no use, since the channel is too full to accept it, the letter
    /// is answered by that. Returns whether there is an offer.
    pub(super) fn offer_more<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        more: More,
        now: Time,
        rng: &mut R,
    ) -> bool {
        if self.try_more(ticket, more, now, rng) {
            return true;
        }
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return false;
        };
        let reason = if deal.has_room(1 + more.behind) {
            deal.owed.get_or_insert(now);
            self.events
                .push(ProviderEvent::NothingToOffer { ticket: *ticket });
            Rejection::NothingFree
        } else {
            Rejection::OfferClosed
        };
        if let Some(letter) = more.letter {
            self.say_no(ticket, &TurnDown { reason, ..letter }, rng);
        }
        false
    }

    /// Serves those who are owed an offer, who waits longest first.
    pub(super) fn serve_owed<R: CryptoRng + ?Sized>(&mut self, now: Time, rng: &mut R) {
        let deals = self.state.deals.iter();
        let mut owed: Vec<(Time, TicketId)> = deals
            .filter_map(|(ticket, deal)| Some((deal.owed?, *ticket)))
            .collect();
        if owed.is_empty() || self.room(now) == 0 {
            return;
        }
        owed.sort_unstable();
        for (_, ticket) in owed {
            let more = More {
                new: true,
                ..More::default()
            };
            self.try_more(&ticket, more, now, rng);
        }
    }

    fn try_more<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        more: More,
        now: Time,
        rng: &mut R,
    ) -> bool {
        if self.in_force(now).is_err() {
            return false;
        }
        let slots = self.choices(ticket, more.not, more.new, now);
        let deal = self.state.deals.get_mut(ticket);
        if let Some(deal) = deal.filter(|d| !d.has_room(1 + more.behind)) {
            // Nobody can be told, now or later.
            deal.owed = None;
            return false;
        }
        let Some((made, bytes)) = self.make_offer(ticket, &slots, now, rng) else {
            return false;
        };
        let Ok(letter) = Bytes::try_from(bytes).map(ToUser::Offer) else {
            return false;
        };
        let offered = made.slots.to_vec();
        let written = self.push_letter(ticket, &letter, Purpose::Offer, rng);
        if let Some(deal) = self.state.deals.get_mut(ticket) {
            deal.owed = None;
            if written {
                deal.offers.push(made);
                self.events.push(ProviderEvent::OfferSent {
                    ticket: *ticket,
                    slots: offered,
                });
            }
        }
        true
    }

    /// Answers a letter with a refusal.
    pub(super) fn say_no<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        down: &TurnDown,
        rng: &mut R,
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
    }
}
