//! Which slots go to which of the requests that were claimed.

use std::collections::BTreeMap;

use super::Provider;
use super::kept_deal::{Channel, Deal};
use super::state::SlotId;
use crate::booking::Wish;
use crate::id::{Priority, RegionId, TicketId};
use crate::item::{CheckedEntry, CheckedTicket, request_id};
use crate::mailbox::{Life, SlotClass};
use crate::role::kept::{Many, Seed};
use crate::role::talk::{Outbox, Seen, mailbox, only};
use crate::role::user::Wishes;
use crate::size::SizeClass;
use crate::time::Time;
use rand_core::CryptoRng;

impl Provider {
    /// How many deals, but for one, hold each slot in open offers or offers about to be made.
    pub(super) fn holds(&self, now: Time, but: Option<&TicketId>) -> BTreeMap<SlotId, u8> {
        let mut holds = BTreeMap::new();
        for (ticket, deal) in self.state.deals.iter() {
            if Some(ticket) != but {
                for id in deal.held(now) {
                    let n = holds.entry(id).or_insert(0u8);
                    *n = n.saturating_add(1);
                }
            }
        }
        holds
    }

    /// How many open offers may hold a slot at once.
    fn per_slot(&self) -> u8 {
        self.state.policy.per_slot.clamp(1, 8)
    }

    /// How many slots an offer has at most.
    fn per_offer(&self) -> usize {
        usize::from(self.state.policy.slots.clamp(1, 8))
    }

    /// To how many users more the slots can be offered, each user one.
    pub(super) fn room(&self, now: Time) -> usize {
        let offerable = self.state.slots.iter().filter(|(_, s)| s.offerable(now));
        let mut offerable = offerable.peekable();
        if offerable.peek().is_none() {
            return 0;
        }
        let (holds, most) = (self.holds(now, None), self.per_slot());
        offerable
            .map(|(id, _)| most.saturating_sub(holds.get(id).copied().unwrap_or(0)))
            .map(usize::from)
            .sum()
    }

    /// Shares the free slots out: first one to each request in priority order, then a second, a third;
    /// of those that fit the one that the fewest users are offered, then the earliest.
    pub(super) fn plan(&self, candidates: &[Candidate], now: Time) -> Vec<Vec<SlotId>> {
        let (mut holds, most) = (self.holds(now, None), self.per_slot());
        let fitting: Vec<Vec<(Time, SlotId)>> = candidates
            .iter()
            .map(|c| self.fitting(&c.wish.wishes, now))
            .collect();
        let mut plan = vec![Vec::new(); candidates.len()];
        for _ in 0..self.per_offer() {
            for (fitting, slots) in fitting.iter().zip(plan.iter_mut()) {
                let found = fitting
                    .iter()
                    .map(|(start, id)| (holds.get(id).copied().unwrap_or(0), *start, *id))
                    .filter(|(n, _, id)| *n < most && !slots.contains(id))
                    .min();
                if let Some((n, _, id)) = found {
                    holds.insert(id, n.saturating_add(1));
                    slots.push(id);
                }
            }
        }
        plan
    }

    /// The slots that can be offered for some wishes.
    fn fitting(&self, wishes: &Wishes, now: Time) -> Vec<(Time, SlotId)> {
        let mut known: BTreeMap<&str, bool> = BTreeMap::new();
        let offerable = self.state.slots.iter().filter(|(_, s)| s.offerable(now));
        offerable
            .filter(|(_, s)| {
                let what = s.what.as_str();
                *known.entry(what).or_insert_with(|| fits(what, wishes))
            })
            .map(|(id, s)| (s.start, *id))
            .collect()
    }

    /// The slots to offer to a user more: those that he has not been offered, as far as there are any;
    /// else, unless `new` is wanted, those of his own open offers again, and last `not`.
    pub(super) fn choices(
        &self,
        ticket: &TicketId,
        not: Option<SlotId>,
        new: bool,
        now: Time,
    ) -> Vec<SlotId> {
        let Some(deal) = self.state.deals.get(ticket) else {
            return Vec::new();
        };
        let (holds, own) = (self.holds(now, Some(ticket)), deal.held(now));
        let rank = |id: &SlotId| match (Some(*id) == not, own.contains(id)) {
            (true, _) => 2u8,
            (_, true) => 1,
            _ => 0,
        };
        let mut found: Vec<_> = self
            .fitting(&deal.wishes, now)
            .into_iter()
            .map(|(start, id)| (rank(&id), holds.get(&id).copied().unwrap_or(0), start, id))
            .filter(|(rank, n, ..)| *n < self.per_slot() && (!new || *rank == 0))
            .collect();
        found.sort_unstable();
        let best = found.first().map(|f| f.0);
        found.retain(|f| Some(f.0) == best);
        found.truncate(self.per_offer());
        found.into_iter().map(|(.., id)| id).collect()
    }

    /// Whether any slot to come fits, free or not.
    pub(super) fn fits_any(&self, wish: &Wish, now: Time) -> bool {
        self.state
            .slots
            .values()
            .any(|s| s.start > now && fits(s.what.as_str(), &wish.wishes))
    }
}

/// Whether what a slot says of itself fits some wishes. A slot says `key=value` pairs, separated by `;`; a
/// value alone is a vaccine's. Of several wishes with one key one must fit; of different keys, all that the
/// slot says something about.
pub(super) fn fits(what: &str, wishes: &Wishes) -> bool {
    let said = || {
        what.split(';').filter_map(|part| {
            let (key, value) = part.split_once('=').unwrap_or(("vaccine", part));
            let (key, value) = (key.trim(), value.trim());
            (!value.is_empty()).then_some((key, value))
        })
    };
    wishes.iter().all(|(key, _)| {
        let key = key.as_str().trim();
        let mut values = said().filter(|(k, _)| *k == key).peekable();
        let wished = |value: &str| {
            let mut same = wishes.iter().filter(|(k, _)| k.as_str().trim() == key);
            same.any(|(_, v)| v.as_str().trim() == value)
        };
        values.peek().is_none() || values.any(|(_, value)| wished(value))
    })
}

pub(super) struct Candidate {
    pub(super) entry: CheckedEntry,
    pub(super) ticket: CheckedTicket,
    pub(super) wish: Wish,
}

impl Candidate {
    /// When its ticket lapses, by the first of its holders.
    pub(super) fn lapses(&self) -> Time {
        let lapses = self.ticket.grants().iter().map(|g| g.lapses);
        lapses.min().unwrap_or(Time::ZERO)
    }

    /// Its place in the queue: lottery epoch and P, smaller first.
    pub(super) fn rank(&self) -> (u32, Priority) {
        let token = self.entry.token();
        (token.epoch, token.priority)
    }

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
        let lapses = self.lapses();
        let deal = Deal {
            region,
            request: request_id(request),
            rank: self.rank(),
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
                id: to_provider.id(),
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
            change: None,
            leaving: None,
            clashes: 0,
            changes: 0,
            asks: 0,
            owed: None,
            declined: None,
            answered: Many::default(),
            releases: Many::default(),
        };
        (self.ticket.id(), deal)
    }
}

#[cfg(test)]
mod tests {
    use super::fits;
    use crate::testing::{list, text};

    /// What a slot offers, what is wished for, whether it fits.
    type Row = (&'static str, &'static [(&'static str, &'static str)], bool);

    #[test]
    fn values_of_one_key_are_alternatives_and_keys_add_up() {
        let table: &[Row] = &[
            ("A", &[], true),
            ("A", &[("vaccine", "A")], true),
            ("A", &[("vaccine", "B")], false),
            ("A", &[("vaccine", "B"), ("vaccine", "A")], true),
            // Of what a slot does not speak, it excludes nobody.
            ("", &[("vaccine", "B")], true),
            ("A", &[("language", "tr")], true),
            (
                "vaccine=A; language=tr",
                &[("vaccine", "A"), ("language", "tr")],
                true,
            ),
            (
                "vaccine=A; language=tr",
                &[("vaccine", "A"), ("language", "de")],
                false,
            ),
            (
                "vaccine=A; language=tr; language=de",
                &[("language", "de")],
                true,
            ),
            ("A;B", &[("vaccine", "B")], true),
            (" A ; dose = 2 ", &[("vaccine", "A"), ("dose", "2")], true),
            ("A", &[("vaccine", "a")], false),
            (";=;", &[("vaccine", "A")], true),
        ];
        for (what, wishes, expected) in table {
            let wishes = wishes.iter().map(|(k, v)| (text(k), text(v)));
            assert_eq!(fits(what, &list(wishes.collect())), *expected, "{what}");
        }
    }
}
