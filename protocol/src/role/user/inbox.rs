//! What comes to a user's inbox: offers, each by its ticket; and what the marks of their slots say.

use super::check::{InvalidOffer, OfferContext, check_offer};
use super::kept_offer::{KeptOffer, MarkSeen};
use super::state::{Asked, Channel};
use super::{Task, User, UserEvent};
use crate::booking::Offer;
use crate::bounded::List;
use crate::client::{Call, CallKind, MAX_MARKS, MarkOrder, Marks};
use crate::codec::to_bytes;
use crate::cose::{Verified, parse};
use crate::id::{MailboxId, RecordId, TicketId};
use crate::item::check_ticket;
use crate::key::VerifyingKey;
use crate::mailbox::{Entry, MarkState, Page, ticket_slot};
use crate::problem::Problem;
use crate::role::talk::{Outbox, Seen, open_from};
use crate::seal::Purpose;
use crate::time::Time;

/// Most tickets that brought nothing good which are remembered.
const MAX_SPOILED: usize = 16;
/// How many ordinary reads pass between two reads of the marks.
const MARKS_PACE: u32 = 4;

impl Asked {
    /// What an offer by this ticket must agree with.
    pub(super) fn context(&self, ticket: TicketId) -> Option<OfferContext> {
        Some(OfferContext {
            request: self.request.as_ref()?.id,
            region: self.region,
            ticket,
            user: self.draw.user.public(),
            token_key: self.draw.key.verifying_key(),
            channel: self
                .channels
                .get(&ticket)
                .map(|c| (c.out.mailbox.clone(), c.to_user.clone())),
        })
    }
}

impl User {
    /// Takes a page of the inbox.
    pub(super) fn take_inbox(&mut self, page: &Page, now: Time) {
        let Some(asked) = self.state.asked.as_ref() else {
            return;
        };
        for entry in asked.seen.fresh(&page.entries) {
            self.take_entry(entry, now);
        }
    }

    fn take_entry(&mut self, entry: &Entry, now: Time) {
        match self.read_offer(entry, now) {
            Ok((offer, key)) => self.keep_offer(offer, Some(key), now),
            // The view may learn more: the entry is looked at again, the person told once.
            Err((e, _)) if e.may_change() => {
                if self.waiting.insert(entry.item, e) != Some(e) {
                    self.events.push(UserEvent::InvalidOffer(e));
                }
                self.events
                    .push(UserEvent::ViewStale(Problem::UnknownCertificate));
                return;
            }
            Err((e, ticket)) => {
                self.events.push(UserEvent::InvalidOffer(e));
                if let (Some(ticket), Some(asked)) = (ticket, self.state.asked.as_mut())
                    && asked.spoiled.len() < MAX_SPOILED
                {
                    asked.spoiled.push(ticket);
                }
            }
        }
        self.waiting.remove(&entry.item);
        if let Some(asked) = &mut self.state.asked {
            asked.seen.add(entry.item);
        }
    }

    /// The offer in an entry and its ticket's key; else what is wrong, and the ticket if that is good.
    #[allow(clippy::type_complexity)]
    fn read_offer(
        &self,
        entry: &Entry,
        now: Time,
    ) -> Result<(Verified<Offer>, VerifyingKey), (InvalidOffer, Option<TicketId>)> {
        let (asked, placed) = self
            .state
            .asked
            .as_ref()
            .and_then(|a| Some((a, a.request.as_ref()?)))
            .ok_or((InvalidOffer::OtherRequest, None))?;
        let ticket = check_ticket(entry.grants.iter().map(|g| &**g), &self.view)
            .map_err(|p| (InvalidOffer::Ticket(p), None))?;
        let grant = ticket.grant();
        if grant.request != placed.id
            || grant.inbox != placed.inbox.id()
            || ticket_slot(&ticket.id()) != entry.slot
        {
            return Err((InvalidOffer::Ticket(Problem::WrongSlot), None));
        }
        let spoiled = |e| (e, Some(ticket.id()));
        let bytes = open_from(&placed.inbox, &asked.draw.user, Purpose::Offer, &entry.blob)
            .map_err(|_| spoiled(InvalidOffer::Sealed))?;
        let context = asked
            .context(ticket.id())
            .ok_or((InvalidOffer::OtherRequest, None))?;
        let offer = check_offer(&bytes, &context, &self.view, now).map_err(spoiled)?;
        Ok((offer, grant.key))
    }

    /// Keeps an offer that passed every check. The first of a ticket brings the ticket's `key`.
    pub(super) fn keep_offer(
        &mut self,
        offer: Verified<Offer>,
        key: Option<VerifyingKey>,
        now: Time,
    ) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let (id, signer) = (offer.id(), *offer.signer());
        if asked.offers.contains_key(&id) || !asked.room(now) {
            return;
        }
        let bytes = offer.bytes().to_vec();
        let offer = offer.into_value();
        let ticket = offer.ticket;
        if let (None, Some(key)) = (asked.channels.get(&ticket), key) {
            let channel = Channel {
                out: Outbox::new(offer.to_provider.clone()),
                to_user: offer.to_user.clone(),
                signer,
                key,
                seen: Seen::new(),
                until: offer.expires,
                given_up: false,
                asks: None,
                owed: false,
            };
            let id = channel.to_user.id();
            self.reads.made(id, now, self.pace.read);
            asked.channels.insert(ticket, channel);
        }
        let (Some(channel), Ok(kept)) = (
            asked.channels.get_mut(&ticket),
            KeptOffer::new(&bytes, offer, signer),
        ) else {
            return;
        };
        // This is what was asked for, or owed.
        channel.asks = None;
        channel.owed = false;
        asked.spoiled.retain(|t| *t != ticket);
        asked.relist.bare = None;
        asked.offers.insert(id, kept);
        if asked.taken_elsewhere(&ticket) {
            // It is declined, not shown.
            return;
        }
        self.refresh = true;
        if let Some(view) = self.offer(&id) {
            self.events.push(UserEvent::OfferReceived(view));
        }
    }

    /// The ids of marks worth asking for: of the offers that may be shown.
    pub(super) fn marks(&self) -> Vec<MailboxId> {
        let Some(asked) = &self.state.asked else {
            return Vec::new();
        };
        self.shown_offers(asked)
            .flat_map(|(_, o)| o.offer.slots.iter().map(|s| s.mark.id()))
            .take(MAX_MARKS)
            .collect()
    }

    /// When the marks are to be read next: at once if somebody wants to know, else now and then while
    /// there is something to choose.
    pub(super) fn marks_wanted(&self) -> Option<Time> {
        let asked = self.state.asked.as_ref()?;
        self.shown_offers(asked).next()?;
        if self.refresh {
            Some(Time::ZERO)
        } else {
            (self.state.automatic && !asked.busy()).then_some(self.marks_due)
        }
    }

    pub(super) fn marks_call(&mut self, now: Time) -> Option<Call> {
        self.refresh = false;
        let pause = self.pace.read.get().saturating_mul(MARKS_PACE);
        self.marks_due = now.plus(crate::time::Seconds::new(pause));
        let marks = List::try_from(self.marks()).ok()?;
        Some(Call::new(
            CallKind::ReadMarks,
            to_bytes(&MarkOrder { marks }),
        ))
    }

    /// Takes the states of marks: those that the mark's key signed and that are not older than known.
    pub(super) fn take_marks(&mut self, marks: &Marks, now: Time) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let mut changed = Vec::new();
        for bytes in &marks.states {
            let Ok(signed) = parse::<MarkState>(bytes) else {
                continue;
            };
            let key = signed.unverified().mark.key;
            let Ok(state) = signed.verify(&key) else {
                continue;
            };
            let seen = MarkSeen {
                version: state.version,
                value: state.value,
            };
            for (id, kept) in asked.offers.iter_mut() {
                for (slot, known) in kept.offer.slots.iter().zip(kept.marks.iter_mut()) {
                    let newer =
                        known.is_none_or(|k| (k.version, k.value) < (seen.version, seen.value));
                    if slot.mark == state.mark && newer {
                        *known = Some(seen);
                        changed.push(*id);
                    }
                }
            }
        }
        changed.dedup();
        let Some(asked) = self.state.asked.as_ref() else {
            return;
        };
        let shown = |id: &RecordId| self.offer(id).is_some();
        let told: Vec<_> = changed
            .iter()
            .filter(|id| shown(id))
            .map(|offer| UserEvent::SlotsChanged { offer: *offer })
            .collect();
        let none = !changed.is_empty()
            && self.shown_offers(asked).next().is_some()
            && self.outlook(asked, now).open == 0
            && !asked.busy();
        self.events.extend(told);
        if none {
            self.events.push(UserEvent::AllTaken);
        }
        self.desk.done(&Task::Marks);
    }
}

/// What the tests of hostile letters need to know.
#[cfg(test)]
impl User {
    pub(in crate::role) fn sealing_key(&self) -> Option<crate::key::SealingKey> {
        Some(self.state.asked.as_ref()?.draw.user.public())
    }

    pub(in crate::role) fn answer_mailbox(&self) -> Option<crate::mailbox::Mailbox> {
        Some(
            self.state
                .asked
                .as_ref()?
                .channels
                .values()
                .next()?
                .to_user
                .clone(),
        )
    }

    /// Every offer that is kept, shown or not.
    pub(in crate::role) fn kept_offers(&self) -> Vec<RecordId> {
        let asked = self.state.asked.iter();
        asked.flat_map(|a| a.offers.keys().copied()).collect()
    }

    pub(in crate::role) fn booking_id(&self) -> Option<RecordId> {
        Some(self.state.asked.as_ref()?.booking.as_ref()?.id)
    }
}
