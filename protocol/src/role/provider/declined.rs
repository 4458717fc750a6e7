//! Offers that their user does not take.

use super::{Provider, ProviderEvent};
use crate::booking::Decline;
use crate::hash::record_hash;
use crate::id::TicketId;
use crate::problem::Problem;
use crate::time::Time;

impl Provider {
    /// Takes a letter that declines offers: their slots are free for somebody else. False where it is to
    /// be looked at again.
    pub(super) fn take_decline(&mut self, ticket: &TicketId, bytes: &[u8], now: Time) -> bool {
        let Some(said) = self.said::<Decline>(ticket, bytes) else {
            return true;
        };
        if said.ticket != *ticket {
            self.events
                .push(ProviderEvent::BadEntry(Problem::BadTicket));
            return true;
        }
        let Some(deal) = self.state.deals.get_mut(ticket) else {
            return true;
        };
        let id = record_hash(bytes);
        if deal.answered.contains(&id) {
            return true;
        }
        if deal.target().is_some() {
            // A booking that is under way comes to its end first.
            return false;
        }
        deal.answered.push(id);
        if deal.booking.is_some() {
            // A booking ends by a cancellation alone, and its offers hold nothing.
            return true;
        }
        let mut news = deal.owed.take().is_some();
        for made in deal.offers.iter_mut() {
            if said.offers.contains(&made.id) && made.open(now) {
                made.closed = true;
                news = true;
            }
        }
        if news {
            deal.declined = Some(now);
            self.events
                .push(ProviderEvent::Declined { ticket: *ticket });
        }
        true
    }
}
