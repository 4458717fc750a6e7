//! Which slots go to which of the requests that were claimed.

use super::Provider;
use super::state::{Channel, Deal, SlotId};
use crate::booking::Wish;
use crate::id::{RegionId, TicketId};
use crate::item::{CheckedEntry, CheckedTicket, request_id};
use crate::mailbox::{Life, SlotClass};
use crate::role::kept::{Many, Seed};
use crate::role::talk::{Outbox, Seen, mailbox, only};
use crate::size::SizeClass;
use crate::time::Time;
use rand_core::CryptoRng;

impl Provider {
    /// Shares the free slots out: first one to each request in priority order, then a second, a third.
    pub(super) fn plan(&self, candidates: &[Candidate], now: Time) -> Vec<Vec<SlotId>> {
        let mut free = self.free(now);
        let mut plan = vec![Vec::new(); candidates.len()];
        for _ in 0..self.state.policy.slots.clamp(1, 8) {
            for (candidate, slots) in candidates.iter().zip(plan.iter_mut()) {
                let found = free
                    .iter()
                    .position(|id| self.slot_fits(*id, &candidate.wish.wishes));
                if let Some(at) = found {
                    slots.push(free.remove(at));
                }
            }
        }
        plan
    }

    pub(super) fn fits_any(&self, wish: &Wish, now: Time) -> bool {
        self.state
            .slots
            .iter()
            .any(|(id, s)| s.start > now && self.slot_fits(*id, &wish.wishes))
    }

    /// Whether a slot offers what was wished for, where anything was.
    pub(super) fn slot_fits(&self, id: SlotId, wishes: &crate::role::user::Wishes) -> bool {
        let Some(slot) = self.state.slots.get(&id) else {
            return false;
        };
        wishes
            .iter()
            .filter(|(key, _)| key.as_str() == "vaccine")
            .all(|(_, value)| value.as_str() == slot.what.as_str())
    }
}

pub(super) struct Candidate {
    pub(super) entry: CheckedEntry,
    pub(super) ticket: CheckedTicket,
    pub(super) wish: Wish,
}

impl Candidate {
    pub(super) fn into_deal<R: CryptoRng + ?Sized>(
        self,
        region: RegionId,
        key: &Seed,
        slots: Vec<SlotId>,
        now: Time,
        rng: &mut R,
    ) -> (TicketId, Deal) {
        let (request, token) = (self.entry.request(), self.entry.token());
        let (read, write) = (Seed::generate(rng), Seed::generate(rng));
        let class = (SizeClass::Small, SlotClass::Sixteen, Life::Days42);
        let to_provider = mailbox(&read.verifying_key(), only(&token.key), class, now, rng);
        let to_user = mailbox(&token.key, only(&write.verifying_key()), class, now, rng);
        let lapses = self
            .ticket
            .grants()
            .iter()
            .map(|g| g.lapses)
            .min()
            .unwrap_or(now);
        let deal = Deal {
            region,
            request: request_id(request),
            expires: self.ticket.grant().expires,
            token: request.token.as_slice().into(),
            token_id: token.token_id(),
            token_key: token.key,
            hash: token.hash,
            user: self.wish.user,
            wishes: self.wish.wishes.clone(),
            inbox: request.inbox.clone(),
            grants: Many::from(
                self.ticket
                    .grants()
                    .iter()
                    .map(|g| (&**g.bytes()).into())
                    .collect::<Vec<_>>(),
            ),
            ticket_key: key.clone(),
            lapses,
            channel: Channel {
                to_provider,
                read,
                out: Outbox::new(to_user),
                write,
                opened: false,
                seen: Seen::new(),
            },
            planned: Many::from(slots),
            first: None,
            retried: false,
            sent: false,
            offers: Many::default(),
            booking: None,
            releases: Many::default(),
        };
        (self.ticket.id(), deal)
    }
}
