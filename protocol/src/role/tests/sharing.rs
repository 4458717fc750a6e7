//! Slots that several users are offered, devices that share a practice, requests that a node lists twice.

use super::Paper;
use super::hand::Hand;
use super::world::World;
use crate::booking::{Decision, Rejection};
use crate::client::{Answer, Call};
use crate::role::provider::{
    BookState, OfferPolicy, Provider, ProviderEvent, SlotError, SlotUsage,
};
use crate::role::user::{BookingStatus, UserStatus};
use crate::role::{CallId, Failure, Role};
use crate::testing::text;
use crate::time::{Seconds, Time};
use proptest::prelude::*;
use rand_core::Rng;
use std::collections::BTreeSet;

/// No slot has two bookings, and the book agrees with the slots.
fn once(provider: &Provider) -> usize {
    let book = provider.bookings();
    let standing = book.iter().filter(|(_, b)| b.state == BookState::Confirmed);
    let slots: Vec<_> = standing.map(|(_, b)| b.slot).collect();
    let distinct: BTreeSet<_> = slots.iter().collect();
    assert_eq!(distinct.len(), slots.len(), "two bookings of one slot");
    slots.len()
}

fn share(seed: u64, users: usize, slots: u32, per_slot: u8, order: &[usize]) {
    let mut w = World::new(seed, false, false);
    w.provider.set_policy(OfferPolicy {
        per_slot,
        slots: 1,
        ..OfferPolicy::default()
    });
    let mut hands: Vec<Hand> = (0..users)
        .map(|_| Hand::new(&mut w.paper, w.region))
        .collect();
    w.slots(slots);
    w.go(4);
    let mut answers = 0;
    for n in order {
        let hand = &mut hands[n % users];
        let Some((id, offer)) = hand.offer(&w.paper) else {
            continue;
        };
        let booking = hand.booking(id, &offer, 0);
        let key = hand.key.clone();
        hand.send_booking(&mut w.paper, &offer, &booking, &key);
        if n % 3 == 0 {
            w.go(1);
        }
    }
    w.go(6);
    let booked = once(&w.provider);
    for hand in &hands {
        let Some((_, offer)) = hand.offer(&w.paper) else {
            continue;
        };
        let decisions = hand.decisions(&w.paper, &offer);
        answers += decisions.len();
        let confirmed = decisions.iter().any(|d| d.decision == Decision::Confirmed);
        let refused = decisions
            .iter()
            .any(|d| d.decision == Decision::Rejected(Rejection::SlotTaken));
        let nothing = decisions
            .iter()
            .any(|d| d.decision == Decision::Rejected(Rejection::NothingFree));
        let letters = w.paper.contents(&offer.to_user).len();
        if refused && !confirmed {
            assert!(
                nothing || letters > decisions.len(),
                "turned down without another offer"
            );
            let room = w
                .provider
                .slots()
                .iter()
                .any(|s| s.usage == SlotUsage::Free);
            assert!(letters > decisions.len() || !room, "a slot is free");
        }
    }
    assert!(answers == 0 || booked > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_order_a_slot_is_booked_once_and_others_get_another_offer(
        seed in 400u64..500,
        users in 2usize..6,
        slots in 1u32..5,
        per_slot in 1u8..=3,
        order in proptest::collection::vec(0usize..6, 4..10),
    ) {
        share(seed, users, slots, per_slot, &order);
    }
}

#[test]
fn two_users_are_offered_one_slot_and_one_has_it() {
    let mut w = World::new(320, false, false);
    let (a, b) = (w.user("Ada", None), w.user("Bob", None));
    w.slots(1);
    w.go(5);
    assert_eq!(
        (w.users[a].offers().len(), w.users[b].offers().len()),
        (1, 1)
    );
    w.book(a, 0).expect("booked");
    w.book(b, 0).expect("booked");
    w.go(6);
    assert_eq!(once(&w.provider), 1);
    // The other is owed an offer, and gets it with the next slot.
    let told = |e: &ProviderEvent| matches!(e, ProviderEvent::NothingToOffer { .. });
    assert!(w.to_provider.iter().any(told));
    w.slots(1);
    w.go(3);
    // The first offer, all taken, was given up when the user asked to be listed again.
    let booked = UserStatus::Booking(BookingStatus::Confirmed);
    let other = w.users.iter().find(|u| u.status() != booked);
    let offers = other.expect("one is not booked").offers();
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].slots[0].start, w.provider.slots()[1].start);
}

#[test]
fn a_series_is_added_whole_or_not_at_all() {
    let mut w = World::new(321, false, false);
    let (now, mut rng) = (w.paper.now, w.paper.rng.clone());
    let first = now.plus(Seconds::days(1));
    let quarter = Seconds::minutes(15);
    let mut add = |start: Time, minutes: u16, every: Seconds, count: u16| {
        w.provider
            .add_series((start, minutes), every, count, &text("A"), now, &mut rng)
            .map(|ids| ids.len())
    };
    assert_eq!(add(first, 15, quarter, 0), Err(SlotError::Series));
    assert_eq!(add(first, 15, quarter, 513), Err(SlotError::Series));
    assert_eq!(add(first, 15, Seconds::new(0), 2), Err(SlotError::Series));
    assert_eq!(add(first, 0, quarter, 2), Err(SlotError::Length));
    assert_eq!(add(now, 15, quarter, 2), Err(SlotError::Start));
    // The last one would be later than any mark lives.
    assert_eq!(add(first, 15, Seconds::days(30), 5), Err(SlotError::Start));
    assert_eq!(add(first, 15, quarter, 16), Ok(16));
    assert_eq!(add(first, 15, quarter, 1), Ok(1), "two doctors");
    let mut starts: Vec<Time> = w.provider.slots().iter().map(|s| s.start).collect();
    assert_eq!(starts.len(), 17);
    starts.sort();
    assert_eq!(starts[16], first.plus(Seconds::minutes(15 * 15)));
}

#[test]
fn a_request_that_is_listed_twice_is_dealt_once() {
    let mut w = World::new(322, false, false);
    w.paper.list_twice = true;
    let hand = Hand::new(&mut w.paper, w.region);
    w.slots(4);
    w.provider.offer_round(w.region);
    w.go(4);
    assert_eq!(w.paper.contents(&hand.inbox).len(), 1);
    assert_eq!(w.provider.open_offers(), 1);
    // When the offer is over, the same request may be dealt again.
    w.paper.pass(13 * 3600);
    w.go(4);
    assert_eq!(w.paper.contents(&hand.inbox).len(), 2);
}

/// A device of a practice whose calls are answered late, in any order, or twice.
struct Device {
    role: Provider,
    open: Vec<(CallId, Call)>,
    told: Vec<ProviderEvent>,
}

impl Device {
    fn step(&mut self, paper: &mut Paper) {
        let calls = self.role.poll(paper.now, &mut paper.rng);
        self.open.extend(calls);
        self.told.extend(self.role.events());
        if self.open.is_empty() {
            return;
        }
        let at = paper.rng.next_u32() as usize % self.open.len();
        let (id, call) = self.open.swap_remove(at);
        let outcome: Result<Answer, Failure> = paper.serve(&call);
        let events = self.role.answer(id, outcome, paper.now, &mut paper.rng);
        self.told.extend(events);
    }
}

#[test]
fn two_devices_of_a_practice_never_book_one_slot_twice() {
    for seed in 330..342 {
        let mut w = World::new(seed, false, seed % 2 == 0);
        // Users by hand ask once: what they say arrives.
        w.paper.lossy = false;
        let mut hands: Vec<Hand> = (0..4).map(|_| Hand::new(&mut w.paper, w.region)).collect();
        w.paper.lossy = seed % 2 == 0;
        w.provider.set_policy(OfferPolicy {
            slots: 2,
            ..OfferPolicy::default()
        });
        w.slots(3);
        w.go(5);
        let mut devices = [0, 1].map(|_| Device {
            role: w.paper.restarted(&w.provider),
            open: Vec::new(),
            told: Vec::new(),
        });
        for device in &mut devices {
            device.role.set_automatic(false);
        }
        for hand in &mut hands {
            let Some((id, offer)) = hand.offer(&w.paper) else {
                continue;
            };
            let booking = hand.booking(id, &offer, 0);
            let key = hand.key.clone();
            let bytes = crate::booking::ToProvider::Booking(
                crate::bounded::Bytes::try_from(crate::cose::sign(&booking, &key)).expect("short"),
            );
            w.paper.lossy = false;
            hand.send(&mut w.paper, &offer, crate::seal::Purpose::Booking, &bytes);
            w.paper.lossy = seed % 2 == 0;
        }
        for n in 0..1200 {
            let which = w.paper.rng.next_u32() as usize % 2;
            devices[which].step(&mut w.paper);
            if n % 6 == 0 {
                w.paper.pass(31);
            }
        }
        let mut by_slot = std::collections::BTreeMap::new();
        for device in &devices {
            once(&device.role);
            for (id, entry) in device.role.bookings() {
                let first = *by_slot.entry(entry.slot).or_insert(id);
                assert_eq!(first, id, "SEED={seed}: two bookings of one slot");
            }
        }
        assert!(!by_slot.is_empty(), "SEED={seed}: nobody was booked");
        let confirmed = hands.iter().filter(|hand| {
            hand.offer(&w.paper).is_some_and(|(_, offer)| {
                let decisions = hand.decisions(&w.paper, &offer);
                decisions.first().map(|d| &d.decision) == Some(&Decision::Confirmed)
            })
        });
        assert!(confirmed.count() <= by_slot.len(), "SEED={seed}");
    }
}
