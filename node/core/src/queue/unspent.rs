//! Tickets that this node granted and that neither were spent nor have lapsed, by provider and region.
//!
//! A provider that claims and does not offer keeps requests from others, so it may hold only so many. A
//! holder counts its own grants alone: another one's, made up, would else use up an honest provider's.

use std::collections::BTreeMap;

use lapwing_protocol::id::{RecordId, RegionId, TicketId};
use lapwing_protocol::time::Time;

/// Unspent tickets with the time at which they lapse.
#[derive(Default)]
pub(super) struct Unspent(BTreeMap<(RegionId, RecordId), BTreeMap<TicketId, Time>>);

impl Unspent {
    /// Adds a ticket that is not known to be spent.
    pub(super) fn add(&mut self, of: (RegionId, RecordId), ticket: TicketId, lapses: Time) {
        self.0.entry(of).or_default().insert(ticket, lapses);
    }

    /// A ticket was spent.
    pub(super) fn spent(&mut self, of: &(RegionId, RecordId), ticket: &TicketId) {
        if let Some(tickets) = self.0.get_mut(of) {
            tickets.remove(ticket);
            if tickets.is_empty() {
                self.0.remove(of);
            }
        }
    }

    /// How many there are of a provider in a region.
    pub(super) fn count(&self, of: &(RegionId, RecordId), now: Time) -> usize {
        let tickets = self.0.get(of).into_iter().flat_map(BTreeMap::values);
        tickets.filter(|lapses| now < **lapses).count()
    }

    /// Forgets what has lapsed.
    pub(super) fn expire(&mut self, now: Time) {
        self.0.retain(|_, tickets| {
            tickets.retain(|_, lapses| now < *lapses);
            !tickets.is_empty()
        });
    }
}
