//! The provider's own slots and their marks.

use rand_core::CryptoRng;

use super::kept_deal::Step;
use super::state::{Slot, SlotId, SlotUse};
use super::{Provider, Task};
use crate::bounded::{List, Text};
use crate::client::{Call, CallKind, Openings, check_opening};
use crate::cose::sign;
use crate::mailbox::{Life, MAX_OPEN, MarkValue, NO_BOOKING, OpenOrder, Payment, Place};
use crate::problem::Problem;
use crate::role::kept::Seed;
use crate::role::talk::mark;
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
    /// It takes no time, or more than a day.
    #[error("it must take between a minute and a day")]
    Length,
    /// A series must have from one to [`MAX_SERIES`] slots, and more than one need a pause between their
    /// starts.
    #[error("a series has up to {MAX_SERIES} slots, one after the other")]
    Series,
    /// There are [`MAX_SLOTS`] already, or would be.
    #[error("there are too many slots")]
    TooMany,
}

/// Most slots in one series.
pub const MAX_SERIES: u16 = 512;
/// Most slots that a provider has at once.
pub const MAX_SLOTS: usize = 4096;

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
    /// Taken by another device of the practice.
    Elsewhere,
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
    /// Adds a slot. It is offered by itself as soon as its mark is set and there is a certificate. `what`
    /// says what is offered: `key=value` pairs, separated by `;`, where a value alone is a vaccine's. There
    /// may be several slots at one time, as in a practice with two doctors.
    ///
    /// # Errors
    /// [`SlotError::Start`], [`SlotError::Length`], [`SlotError::TooMany`].
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
        if !(1..=24 * 60).contains(&minutes) {
            return Err(SlotError::Length);
        }
        if self.state.slots.len() >= MAX_SLOTS {
            return Err(SlotError::TooMany);
        }
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
            was_by: NO_BOOKING,
            used: SlotUse::Free,
        };
        self.state.slots.insert(id, slot);
        Ok(id)
    }

    /// Adds `count` slots of which the first starts at `first` and each next one `every` later: all of
    /// them, or none.
    ///
    /// # Errors
    /// [`SlotError::Series`]; and as [`Provider::add_slot`] for any of them.
    pub fn add_series<R: CryptoRng + ?Sized>(
        &mut self,
        (first, minutes): (Time, u16),
        every: Seconds,
        count: u16,
        what: &Text<80>,
        now: Time,
        rng: &mut R,
    ) -> Result<Vec<SlotId>, SlotError> {
        if !(1..=MAX_SERIES).contains(&count) || (count > 1 && every == Seconds::new(0)) {
            return Err(SlotError::Series);
        }
        let mut added = Vec::new();
        let mut start = first;
        for _ in 0..count {
            match self.add_slot(start, minutes, what.clone(), now, rng) {
                Ok(id) => added.push(id),
                Err(error) => {
                    // Nothing was said of them to anybody.
                    self.state.slots.retain(|id, _| !added.contains(id));
                    return Err(error);
                }
            }
            start = start.plus(every);
        }
        Ok(added)
    }

    /// Takes a slot back. Offers that hold it are answered with "taken".
    ///
    /// # Errors
    /// [`SlotError::Unknown`], [`SlotError::Booked`].
    pub fn remove_slot(&mut self, id: SlotId) -> Result<(), SlotError> {
        let slot = self.state.slots.get_mut(&id).ok_or(SlotError::Unknown)?;
        match slot.used {
            SlotUse::Booked(_) => return Err(SlotError::Booked),
            // Its mark is the other device's.
            SlotUse::Elsewhere(_) => return Ok(()),
            SlotUse::Free | SlotUse::Removed => {}
        }
        slot.used = SlotUse::Removed;
        slot.set(MarkValue::Taken, NO_BOOKING);
        Ok(())
    }

    /// All slots, by name.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotLine> {
        let holds = self.holds(self.now, None);
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
                    SlotUse::Elsewhere(_) => SlotUsage::Elsewhere,
                    SlotUse::Free if s.version == 0 => SlotUsage::Preparing,
                    SlotUse::Free if holds.contains_key(id) => SlotUsage::Offered,
                    SlotUse::Free => SlotUsage::Free,
                },
            })
            .collect()
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

    /// Whether a slot's mark may be set now: that of a booking under way waits for its turn.
    fn settable(&self, id: SlotId, slot: &Slot) -> bool {
        let SlotUse::Booked(ticket) = slot.used else {
            return true;
        };
        let target = self.state.deals.get(&ticket).and_then(|d| d.target());
        target.is_none_or(|t| t.slot != id || t.step == Step::Take)
    }

    pub(super) fn slot_tasks(&self) -> Vec<Task> {
        let set = |(id, s): (&SlotId, &Slot)| {
            let task = if self.behind.contains(id) {
                Task::Reread(*id)
            } else {
                Task::SetMark(*id)
            };
            (s.opened && s.want_version > s.version && self.settable(*id, s)).then_some(task)
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

    /// Forgets slots that are over.
    pub(super) fn prune_slots(&mut self, now: Time) {
        self.state.slots.retain(|_, s| match s.used {
            SlotUse::Booked(_) => now <= s.start.plus(Seconds::DAY),
            SlotUse::Elsewhere(_) => now <= s.start,
            SlotUse::Removed => now <= s.start && s.want_version > s.version && s.opened,
            SlotUse::Free => now <= s.start,
        });
        let slots = &self.state.slots;
        self.behind.retain(|id| slots.contains_key(id));
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
            &crate::mailbox::MarkState {
                mark: slot.mark.clone(),
                version,
                value,
                by: NO_BOOKING,
            },
            &slot.key,
        ))
    }
}
