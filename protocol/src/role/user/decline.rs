//! Offers that a user does not take: once a booking is confirmed, or they were given up to be listed again,
//! their providers are told, so that the slots are free for somebody else at once. Until then they stay
//! open as alternatives.

use rand_core::CryptoRng;

use super::kept_offer::Gone;
use super::state::{Asked, BookingStatus};
use super::{User, UserEvent};
use crate::booking::{Decline, MAX_DECLINED, ToProvider};
use crate::bounded::List;
use crate::codec::to_bytes;
use crate::id::{RecordId, TicketId};
use crate::problem::Problem;
use crate::role::talk::signed;
use crate::seal::Purpose;
use crate::time::Time;

impl User {
    /// Lines up a letter for every provider whose offers are not taken.
    pub(super) fn decline_others(&mut self, now: Time, rng: &mut dyn CryptoRng) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        for (ticket, offers) in asked.to_decline(now) {
            if let Err(problem) = asked.decline(ticket, offers, rng) {
                self.events.push(UserEvent::Refused(problem));
            }
        }
    }

    /// Whether there is anything to decline.
    pub(super) fn declines(&self) -> bool {
        let asked = self.state.asked.as_ref();
        asked.is_some_and(|a| !a.to_decline(self.now).is_empty())
    }
}

impl Asked {
    /// Whether offers of a ticket are out of the question, since another booking is confirmed.
    pub(super) fn taken_elsewhere(&self, ticket: &TicketId) -> bool {
        let booked = self.booking.as_ref();
        booked.is_some_and(|b| b.status == BookingStatus::Confirmed && b.ticket != *ticket)
    }

    /// The channels on which something is open that is not taken, with the offers to name. What a
    /// provider without a certificate offered is left to expire. Also what was given up when all of its
    /// slots were taken: one of them may be free again, and the provider would wait for this user.
    fn to_decline(&self, now: Time) -> Vec<(TicketId, Vec<RecordId>)> {
        self.channels
            .iter()
            .filter_map(|(ticket, channel)| {
                let elsewhere = self.taken_elsewhere(ticket);
                let open: Vec<RecordId> = self
                    .offers
                    .iter()
                    .filter(|(_, o)| o.offer.ticket == *ticket && now <= o.offer.expires)
                    .filter(|(_, o)| match o.gone {
                        Some(Gone::Declined | Gone::Withdrawn) => false,
                        Some(Gone::GivenUp) => true,
                        None | Some(Gone::Closed) => elsewhere,
                    })
                    .map(|(id, _)| *id)
                    .take(MAX_DECLINED)
                    .collect();
                let waited_for = elsewhere && (channel.owed || channel.asks.is_some());
                (!open.is_empty() || waited_for).then_some((*ticket, open))
            })
            .collect()
    }

    fn decline<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: TicketId,
        offers: Vec<RecordId>,
        rng: &mut R,
    ) -> Result<(), Problem> {
        for id in &offers {
            if let Some(kept) = self.offers.get_mut(id) {
                kept.gone = Some(Gone::Declined);
            }
        }
        let of_ticket = self.offers.values().find(|o| o.offer.ticket == ticket);
        let sealing = of_ticket.map(|o| o.offer.sealing);
        let channel = self.channels.get_mut(&ticket).ok_or(Problem::NotFound)?;
        channel.asks = None;
        channel.owed = false;
        // Without an offer there is no key to seal to, and nothing that is held.
        let Some(sealing) = sealing else {
            return Ok(());
        };
        let decline = Decline {
            ticket,
            offers: List::try_from(offers).map_err(|_| Problem::TooLarge)?,
        };
        let letter = to_bytes(&ToProvider::Decline(signed(&decline, &self.draw.key)?));
        channel
            .out
            .push(&self.draw.key, &sealing, Purpose::Message, &letter, rng)
    }
}
