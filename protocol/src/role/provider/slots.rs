//! The provider's own slots and their marks.

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use super::state::{Slot, SlotId, SlotUse, Step};
use super::{Provider, ProviderEvent, Task};
use crate::bounded::{List, Text};
use crate::client::{Call, CallKind, Openings, check_opening};
use crate::cose::sign;
use crate::item::ItemKind;
use crate::mailbox::{
    Life, MAX_OPEN, MarkState, MarkValue, NO_BOOKING, OpenOrder, Payment, Place, Receipt,
};
use crate::problem::Problem;
use crate::role::kept::Seed;
use crate::role::talk::{check_receipt, mark, transient};
use crate::time::{Seconds, Time};

/// Why a slot was not added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// It starts in the past, or later than any mark lives.
    #[error("it must start in the future, and within 120 days")]
    Start,
    /// No such slot.
    #[error("there is no such slot")]
    Unknown,
    /// It is booked.
    #[error("it is booked")]
    Booked,
}

/// How a slot is used, to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotUsage {
    /// Its mark is being made.
    Preparing,
    /// Free.
    Free,
    /// In an open offer.
    Offered,
    /// Booked, or being booked.
    Booked,
    /// Removed.
    Removed,
}

/// A slot, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotLine {
    /// Its name.
    pub id: SlotId,
    /// When it starts.
    pub start: Time,
    /// How long it takes, in minutes.
    pub minutes: u16,
    /// What is offered.
    pub what: Text<80>,
    /// How it is used.
    pub usage: SlotUsage,
}

impl Provider {
    /// Adds a slot. It is offered by itself as soon as its mark is set and there is a certificate.
    ///
    /// # Errors
    /// [`SlotError::Start`].
    pub fn add_slot<R: CryptoRng + ?Sized>(
        &mut self,
        start: Time,
        minutes: u16,
        what: Text<80>,
        now: Time,
        rng: &mut R,
    ) -> Result<SlotId, SlotError> {
        let life = Life::ALL
            .iter()
            .copied()
            .find(|l| now.day().plus(l.days()).start() > start.plus(Seconds::DAY))
            .filter(|_| start > now)
            .ok_or(SlotError::Start)?;
        let key = Seed::generate(rng);
        let mark = mark(&key.verifying_key(), life, now, rng);
        let id = SlotId(self.state.next_slot);
        self.state.next_slot = self.state.next_slot.saturating_add(1);
        let slot = Slot {
            start,
            minutes,
            what,
            key,
            mark,
            opened: false,
            version: 0,
            want: MarkValue::Open,
            want_version: 1,
            want_by: NO_BOOKING,
            used: SlotUse::Free,
        };
        self.state.slots.insert(id, slot);
        Ok(id)
    }

    /// Takes a slot back. Offers that hold it are answered with "taken".
    ///
    /// # Errors
    /// [`SlotError::Unknown`], [`SlotError::Booked`].
    pub fn remove_slot(&mut self, id: SlotId) -> Result<(), SlotError> {
        let slot = self.state.slots.get_mut(&id).ok_or(SlotError::Unknown)?;
        if matches!(slot.used, SlotUse::Booked(_)) {
            return Err(SlotError::Booked);
        }
        slot.used = SlotUse::Removed;
        slot.set(MarkValue::Taken, NO_BOOKING);
        Ok(())
    }

    /// All slots, by name.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotLine> {
        let held = self.held(self.now);
        self.state
            .slots
            .iter()
            .map(|(id, s)| SlotLine {
                id: *id,
                start: s.start,
                minutes: s.minutes,
                what: s.what.clone(),
                usage: match s.used {
                    SlotUse::Booked(_) => SlotUsage::Booked,
                    SlotUse::Removed => SlotUsage::Removed,
                    SlotUse::Free if s.version == 0 => SlotUsage::Preparing,
                    SlotUse::Free if held.contains(id) => SlotUsage::Offered,
                    SlotUse::Free => SlotUsage::Free,
                },
            })
            .collect()
    }

    /// The slots that open offers, or offers about to be made, hold.
    pub(super) fn held(&self, now: Time) -> BTreeSet<SlotId> {
        let deals = self.state.deals.values();
        deals
            .flat_map(|d| {
                let planned = d.planned.iter().filter(|_| d.first.is_none());
                planned.chain(
                    d.offers
                        .iter()
                        .filter(|o| o.open(now))
                        .flat_map(|o| o.slots.iter()),
                )
            })
            .copied()
            .collect()
    }

    /// The slots that can be offered and that no offer holds, the earliest first.
    pub(super) fn free(&self, now: Time) -> Vec<SlotId> {
        let held = self.held(now);
        let mut free: Vec<_> = self
            .state
            .slots
            .iter()
            .filter(|(id, s)| s.offerable(now) && !held.contains(id))
            .map(|(id, s)| (s.start, *id))
            .collect();
        free.sort();
        free.into_iter().map(|(_, id)| id).collect()
    }

    fn unopened(&self) -> Vec<SlotId> {
        self.state
            .slots
            .iter()
            .filter(|(_, s)| !s.opened && s.used == SlotUse::Free)
            .map(|(id, _)| *id)
            .take(MAX_OPEN)
            .collect()
    }

    pub(super) fn slot_tasks(&self) -> Vec<Task> {
        let set = |(id, s): (&SlotId, &Slot)| {
            (s.opened && s.want_version > s.version).then_some(Task::SetMark(*id))
        };
        let mut tasks: Vec<_> = self.state.slots.iter().filter_map(set).collect();
        if !self.unopened().is_empty() {
            tasks.push(Task::OpenMarks);
        }
        tasks
    }

    /// An order to open places, paid for by the certificate.
    pub(super) fn open_order(&self, places: Vec<Place>, now: Time) -> Option<Call> {
        let certificate = self.state.certificate.as_ref()?;
        let places = List::try_from(places).ok()?;
        let order = OpenOrder {
            node: self.state.node,
            payment: Payment::Provider(certificate.id),
            places,
            time: now,
        };
        Some(Call::new(CallKind::Open, sign(&order, &self.state.signing)))
    }

    pub(super) fn marks_open_call(&mut self, now: Time) -> Option<Call> {
        let ids = self.unopened();
        // A mark can be opened only within a day of its date.
        for id in &ids {
            if let Some(slot) = self.state.slots.get_mut(id) {
                slot.mark.day = now.day();
            }
        }
        let places = ids
            .iter()
            .filter_map(|id| self.state.slots.get(id))
            .map(|s| Place::Mark(s.mark.clone()))
            .collect();
        self.open_order(places, now)
    }

    pub(super) fn marks_opened(&mut self, openings: &Openings, now: Time) -> Result<(), Problem> {
        for bytes in &openings.openings {
            let opening = check_opening(bytes, &self.view, now)?;
            let Place::Mark(mark) = &opening.place else {
                return Err(Problem::Malformed);
            };
            if let Some((_, slot)) = self.state.slots.iter_mut().find(|(_, s)| s.mark == *mark) {
                slot.opened = true;
            }
        }
        if openings.openings.is_empty() {
            Err(Problem::Malformed)
        } else {
            Ok(())
        }
    }

    pub(super) fn mark_call(&self, id: SlotId) -> Option<Call> {
        Some(Call::new(
            CallKind::SetMark,
            self.state.slots.get(&id)?.mark_state(),
        ))
    }

    pub(super) fn mark_set(
        &mut self,
        id: SlotId,
        receipt: &Receipt,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Problem> {
        let Some(slot) = self.state.slots.get_mut(&id) else {
            return Ok(());
        };
        if slot.want_version <= slot.version {
            return Ok(());
        }
        check_receipt(
            receipt,
            ItemKind::Mark,
            &slot.mark_state(),
            slot.mark.id().as_bytes(),
            &self.view,
        )?;
        let first = slot.version == 0;
        slot.version = slot.want_version;
        if first {
            self.events.push(ProviderEvent::SlotReady(id));
        }
        if let SlotUse::Booked(ticket) = slot.used
            && slot.want == MarkValue::Taken
            && self
                .state
                .deals
                .get(&ticket)
                .and_then(|d| d.booking.as_ref())
                .is_some_and(|b| b.step == Step::Take)
        {
            self.confirm(ticket, now, rng);
        }
        Ok(())
    }

    pub(super) fn mark_refused<R: CryptoRng + ?Sized>(
        &mut self,
        id: SlotId,
        problem: Problem,
        now: Time,
        rng: &mut R,
    ) {
        self.desk.failed(&Task::SetMark(id), now, rng);
        let Some(slot) = self.state.slots.get_mut(&id) else {
            return;
        };
        match problem {
            // An older copy of this state was restored; what it wants now is newer all the same.
            Problem::OldVersion => slot.want_version = slot.want_version.saturating_add(1),
            p if transient(p) || p == Problem::NotOpened => {}
            p => self.events.push(ProviderEvent::Refused(p)),
        }
    }

    /// Forgets slots that are over.
    pub(super) fn prune_slots(&mut self, now: Time) {
        self.state.slots.retain(|_, s| match s.used {
            SlotUse::Booked(_) => now <= s.start.plus(Seconds::DAY),
            SlotUse::Removed => now <= s.start && s.want_version > s.version && s.opened,
            SlotUse::Free => now <= s.start,
        });
    }
}

/// What another device of the practice could do, for tests.
#[cfg(test)]
impl Provider {
    pub(in crate::role) fn signing_key(&self) -> crate::key::SigningKey {
        (*self.state.signing).clone()
    }

    pub(in crate::role) fn mark_of(&self, id: SlotId) -> Option<crate::mailbox::Mark> {
        self.state.slots.get(&id).map(|s| s.mark.clone())
    }

    pub(in crate::role) fn sign_mark(
        &self,
        id: SlotId,
        version: u64,
        value: MarkValue,
    ) -> Option<Vec<u8>> {
        let slot = self.state.slots.get(&id)?;
        Some(sign(
            &MarkState {
                mark: slot.mark.clone(),
                version,
                value,
                by: NO_BOOKING,
            },
            &slot.key,
        ))
    }
}

impl Slot {
    fn mark_state(&self) -> Vec<u8> {
        sign(
            &MarkState {
                mark: self.mark.clone(),
                version: self.want_version,
                value: self.want,
                by: self.want_by,
            },
            &self.key,
        )
    }
}
