//! Every booking as it comes and goes, so that two of one person or in one slot are seen at any time
//! and not only at the end.
//!
//! A booking stands from when a provider enters it in its book until its user cancels, or the provider
//! hears of it, whichever is first: from then on the user may book again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use lapwing_protocol::id::RecordId;
use lapwing_protocol::role::provider::SlotId;

#[derive(Debug)]
struct Standing {
    provider: usize,
    slot: SlotId,
    person: String,
}

#[derive(Debug, Default)]
struct State {
    standing: BTreeMap<RecordId, Standing>,
    twice_in_a_slot: u64,
    twice_a_person: u64,
}

/// The bookings of a run. People are told apart by the e-mail address that they book with, which no
/// two share.
#[derive(Debug, Default)]
pub struct Bookings(Mutex<State>);

impl Bookings {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A provider entered a booking. Gives how many now stand in its slot, and for its person.
    pub fn entered(
        &self,
        provider: usize,
        booking: RecordId,
        slot: SlotId,
        person: &str,
    ) -> (usize, usize) {
        self.with(|state| {
            state.standing.insert(
                booking,
                Standing {
                    provider,
                    slot,
                    person: person.to_owned(),
                },
            );
            let all = state.standing.values();
            let (mut slots, mut persons) = (0, 0);
            for one in all {
                slots += usize::from(one.provider == provider && one.slot == slot);
                persons += usize::from(one.person == person);
            }
            state.twice_in_a_slot += u64::from(slots > 1);
            state.twice_a_person += u64::from(persons > 1);
            (slots, persons)
        })
    }

    /// A booking has another slot now. Gives how many now stand in it.
    pub fn moved(&self, booking: &RecordId, to: SlotId) -> usize {
        self.with(|state| {
            let Some(moved) = state.standing.get_mut(booking) else {
                return 0;
            };
            moved.slot = to;
            let provider = moved.provider;
            let all = state.standing.values();
            let slots = all
                .filter(|b| b.provider == provider && b.slot == to)
                .count();
            state.twice_in_a_slot += u64::from(slots > 1);
            slots
        })
    }

    /// Whether a person has a booking.
    #[must_use]
    pub fn has(&self, person: &str) -> bool {
        self.with(|state| state.standing.values().any(|b| b.person == person))
    }

    /// A person is about to cancel.
    pub fn given_up(&self, person: &str) {
        self.with(|state| state.standing.retain(|_, b| b.person != person));
    }

    /// A provider heard of a cancellation, or cancelled.
    pub fn ended(&self, booking: &RecordId) {
        self.with(|state| state.standing.remove(booking));
    }

    /// How often a slot had two bookings, and how often a person had.
    #[must_use]
    pub fn twice(&self) -> (u64, u64) {
        self.with(|state| (state.twice_in_a_slot, state.twice_a_person))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_protocol::codec::{from_bytes, to_bytes};
    use lapwing_protocol::hash::record_hash;

    #[test]
    fn two_at_a_time_are_seen_and_one_after_the_other_is_none() {
        let bookings = Bookings::default();
        let id = |n: u8| record_hash(&[n]);
        let slot = |n: u64| from_bytes::<SlotId>(&to_bytes(&n), 16).unwrap();
        let (other, slot) = (slot(2), slot(1));
        assert_eq!(bookings.entered(0, id(1), slot, "a"), (1, 1));
        bookings.given_up("a");
        assert!(!bookings.has("a"));
        assert_eq!(bookings.entered(1, id(2), slot, "a"), (1, 1));
        // Another provider's slot of the same number is another slot.
        assert_eq!(bookings.entered(0, id(3), slot, "b"), (1, 1));
        assert_eq!(bookings.twice(), (0, 0));
        assert_eq!(bookings.entered(0, id(4), slot, "c"), (2, 1));
        assert_eq!(bookings.entered(2, id(5), slot, "a"), (1, 2));
        assert_eq!(bookings.twice(), (1, 1));
        bookings.ended(&id(4));
        assert_eq!(bookings.moved(&id(3), other), 1);
        assert_eq!(bookings.entered(0, id(6), other, "d"), (2, 1));
    }
}
