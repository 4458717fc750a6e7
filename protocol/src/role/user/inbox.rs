//! What comes to a user: offers in the inbox; confirmations, new offers and messages in a channel.

use super::check::{InvalidOffer, OfferContext, check_offer};
use super::state::{Asked, BookingStatus, Channel, KeptOffer, MarkSeen};
use super::{Task, User, UserEvent};
use crate::booking::{Confirmation, Decision, Offer, ToUser};
use crate::bounded::List;
use crate::client::{Call, CallKind, MAX_MARKS, MarkOrder, Marks};
use crate::codec::{from_bytes, to_bytes};
use crate::cose::{Verified, parse};
use crate::id::{MailboxId, RecordId, TicketId};
use crate::item::check_ticket;
use crate::mailbox::{Entry, MarkState, MarkValue, Page, ticket_slot};
use crate::problem::Problem;
use crate::role::kept::Many;
use crate::role::talk::{Outbox, Seen, open_from};
use crate::seal::{Purpose, capacity};
use crate::size::SizeClass;
use crate::time::Time;

impl Asked {
    fn context(&self, ticket: TicketId) -> Option<OfferContext> {
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

    /// The ids of marks worth asking for: of open offers, those that are not known to be taken first.
    pub(super) fn marks(&self, now: Time) -> Vec<MailboxId> {
        let open = self.offers.values().filter(|o| now <= o.offer.expires);
        open.flat_map(|o| o.offer.slots.iter().map(|s| s.mark.id()))
            .take(MAX_MARKS)
            .collect()
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
        let found = self.read_offer(entry, now);
        match found {
            Ok(offer) => self.keep_offer(offer),
            // The view may learn more: the entry is looked at again, the person told once.
            Err(e) if e.may_change() => {
                if self.waiting.insert(entry.item, e) != Some(e) {
                    self.events.push(UserEvent::InvalidOffer(e));
                    self.events
                        .push(UserEvent::ViewStale(Problem::UnknownCertificate));
                }
                return;
            }
            Err(e) => self.events.push(UserEvent::InvalidOffer(e)),
        }
        self.waiting.remove(&entry.item);
        if let Some(asked) = &mut self.state.asked {
            asked.seen.add(entry.item);
        }
    }

    fn read_offer(&self, entry: &Entry, now: Time) -> Result<Verified<Offer>, InvalidOffer> {
        let (asked, placed) = self
            .state
            .asked
            .as_ref()
            .and_then(|a| Some((a, a.request.as_ref()?)))
            .ok_or(InvalidOffer::OtherRequest)?;
        let ticket = check_ticket(entry.grants.iter().map(|g| &**g), &self.view)
            .map_err(InvalidOffer::Ticket)?;
        let grant = ticket.grant();
        if grant.request != placed.id
            || grant.inbox != placed.inbox.id()
            || ticket_slot(&ticket.id()) != entry.slot
        {
            return Err(InvalidOffer::Ticket(Problem::WrongSlot));
        }
        let bytes = open_from(&placed.inbox, &asked.draw.user, Purpose::Offer, &entry.blob)
            .map_err(|_| InvalidOffer::Sealed)?;
        let context = asked
            .context(ticket.id())
            .ok_or(InvalidOffer::OtherRequest)?;
        check_offer(&bytes, &context, &self.view, now)
    }

    fn keep_offer(&mut self, offer: Verified<Offer>) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let (id, signer) = (offer.id(), *offer.signer());
        if asked.offers.contains_key(&id) {
            return;
        }
        let offer = offer.into_value();
        asked
            .channels
            .entry(offer.ticket)
            .or_insert_with(|| Channel {
                out: Outbox::new(offer.to_provider.clone()),
                to_user: offer.to_user.clone(),
                signer,
                seen: Seen::new(),
            });
        let marks = Many::from(vec![None; offer.slots.len()]);
        asked.offers.insert(
            id,
            KeptOffer {
                offer,
                signer,
                marks,
            },
        );
        self.refresh = true;
        if let Some(view) = self.offer(&id) {
            self.events.push(UserEvent::OfferReceived(view));
        }
    }

    /// Takes a page of the mailbox in which a provider answers.
    pub(super) fn take_channel(&mut self, ticket: TicketId, page: &Page, now: Time) {
        let Some(channel) = self
            .state
            .asked
            .as_ref()
            .and_then(|a| a.channels.get(&ticket))
        else {
            return;
        };
        for entry in channel.seen.fresh(&page.entries) {
            let taken = self.take_letter(ticket, entry, now);
            let channel = self
                .state
                .asked
                .as_mut()
                .and_then(|a| a.channels.get_mut(&ticket));
            if let (true, Some(channel)) = (taken, channel) {
                channel.seen.add(entry.item);
            }
        }
    }

    /// Deals with one letter; false where it is to be looked at again.
    fn take_letter(&mut self, ticket: TicketId, entry: &Entry, now: Time) -> bool {
        let Some(letter) = self.open_letter(ticket, entry) else {
            return true;
        };
        match letter {
            ToUser::Confirmation(bytes) => self.take_confirmation(ticket, &bytes),
            ToUser::Message(text) => self.events.push(UserEvent::Message { ticket, text }),
            ToUser::Cancellation(_) => {}
            ToUser::Offer(bytes) => {
                let context = self.state.asked.as_ref().and_then(|a| a.context(ticket));
                let checked = context
                    .ok_or(InvalidOffer::OtherRequest)
                    .and_then(|c| check_offer(&bytes, &c, &self.view, now));
                match checked {
                    Ok(offer) => self.keep_offer(offer),
                    Err(e) => {
                        if self.waiting.insert(entry.item, e) != Some(e) {
                            self.events.push(UserEvent::InvalidOffer(e));
                        }
                        return !e.may_change();
                    }
                }
            }
        }
        true
    }

    fn open_letter(&self, ticket: TicketId, entry: &Entry) -> Option<ToUser> {
        let asked = self.state.asked.as_ref()?;
        let channel = asked.channels.get(&ticket)?;
        [Purpose::Confirmation, Purpose::Offer, Purpose::Message]
            .into_iter()
            .find_map(|purpose| {
                let plain =
                    open_from(&channel.to_user, &asked.draw.user, purpose, &entry.blob).ok()?;
                let letter: ToUser = from_bytes(&plain, capacity(SizeClass::Small)).ok()?;
                let fits = matches!(
                    (&letter, purpose),
                    (ToUser::Confirmation(_), Purpose::Confirmation)
                        | (ToUser::Offer(_), Purpose::Offer)
                        | (ToUser::Message(_), Purpose::Message)
                );
                fits.then_some(letter)
            })
    }

    /// A decision counts if the provider of the offer signed it for the booking under way.
    fn take_confirmation(&mut self, ticket: TicketId, bytes: &[u8]) {
        let Some(asked) = self.state.asked.as_mut() else {
            return;
        };
        let (Some(channel), Some(booking)) = (asked.channels.get(&ticket), asked.booking.as_mut())
        else {
            return;
        };
        let Ok(said) = parse::<Confirmation>(bytes).and_then(|s| s.verify(&channel.signer)) else {
            self.events.push(UserEvent::InvalidConfirmation);
            return;
        };
        if said.booking != booking.id {
            // An answer to an earlier attempt, which is over.
            return;
        }
        if said.offer != booking.offer || said.slot != booking.slot || said.start != booking.start {
            self.events.push(UserEvent::InvalidConfirmation);
            return;
        }
        let open = matches!(
            booking.status,
            BookingStatus::Sending | BookingStatus::Sent | BookingStatus::Withdrawn
        );
        match said.decision {
            Decision::Confirmed if open => {
                booking.status = BookingStatus::Confirmed;
                self.events.push(UserEvent::Confirmed {
                    offer: booking.offer,
                    slot: booking.slot,
                    start: booking.start,
                });
            }
            Decision::Rejected(reason) if open => {
                booking.status = BookingStatus::Rejected;
                booking.reason = Some(reason);
                self.refresh = true;
                self.events.push(UserEvent::Rejected {
                    offer: booking.offer,
                    slot: booking.slot,
                    reason,
                });
            }
            // The first answer stands; what was cancelled stays so.
            Decision::Confirmed | Decision::Rejected(_) => {}
        }
    }

    pub(super) fn marks_call(&self, now: Time) -> Option<Call> {
        let marks = List::try_from(self.state.asked.as_ref()?.marks(now)).ok()?;
        Some(Call::new(
            CallKind::ReadMarks,
            to_bytes(&MarkOrder { marks }),
        ))
    }

    /// Takes the states of marks: those that the mark's key signed and that are not older than known.
    pub(super) fn take_marks(&mut self, marks: &Marks) {
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
        let all_taken = !asked.offers.is_empty()
            && asked.offers.values().all(|o| {
                o.marks
                    .iter()
                    .all(|m| m.is_some_and(|m| m.value == MarkValue::Taken))
            });
        self.events.extend(
            changed
                .into_iter()
                .map(|offer: RecordId| UserEvent::SlotsChanged { offer }),
        );
        if all_taken && !asked.busy() {
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

    pub(in crate::role) fn booking_id(&self) -> Option<RecordId> {
        Some(self.state.asked.as_ref()?.booking.as_ref()?.id)
    }
}
