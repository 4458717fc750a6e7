//! Another slot in place of the booked one.

use super::maker::{Maker, Scene};
use crate::booking::{Change, Confirmation, Decision, Rejection, ToProvider};
use crate::cose::parse;
use crate::id::RecordId;
use crate::key::SigningKey;
use crate::role::user::{BookingStatus, ChangeError, NextStep, UserEvent, UserStatus, WaitsFor};

fn change_of(letter: &ToProvider) -> Change {
    let ToProvider::Change(bytes) = letter else {
        panic!("not a change: {letter:?}")
    };
    parse::<Change>(bytes).expect("one").unverified().clone()
}

/// A confirmed booking of the first offer's first slot: its id and the offer's.
fn booked(seed: u64, restart: bool) -> (Scene, Maker, RecordId, RecordId) {
    let mut s = Scene::new(seed, restart);
    let mut maker = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 3);
    s.go(2);
    let id = s.booked(&mut maker, &offer, 0);
    assert_eq!(
        s.user.status(),
        UserStatus::Booking(BookingStatus::Confirmed)
    );
    (s, maker, id, offer)
}

fn the_whole_way(seed: u64, restart: bool) {
    let (mut s, mut maker, booking, first) = booked(seed, restart);
    let now = s.paper.now;
    s.user
        .ask_other_slots(now, &mut s.paper.rng)
        .expect("asked");
    assert_eq!(
        s.user.ask_other_slots(now, &mut s.paper.rng),
        Err(ChangeError::Pending)
    );
    s.go(1);
    let asked = change_of(&maker.letters(&s.paper).last().expect("a letter").1);
    assert_eq!((asked.booking, asked.choice), (booking, None));
    let second = maker.offer_again(&mut s.paper, 3);
    s.go(2);
    let start = s.user.offer(&second).expect("shown").slots[1].start;
    let now = s.paper.now;
    s.user
        .change(&second, 1, now, &mut s.paper.rng)
        .expect("asked");
    s.go(1);
    assert_eq!(
        s.user.change(&second, 0, now, &mut s.paper.rng),
        Err(ChangeError::Pending)
    );
    let overview = s.user.overview();
    assert_eq!(
        (overview.waits_for, overview.next),
        (WaitsFor::Provider, NextStep::Wait)
    );
    let (change, letter) = maker.letters(&s.paper).last().expect("a letter").clone();
    let said = change_of(&letter);
    let choice = said.choice.expect("a choice");
    assert_eq!(
        (said.booking, choice.offer, choice.slot),
        (booking, second, 1)
    );
    // Until the answer, the old booking stands.
    assert_eq!(s.user.booking().expect("one").offer, first);
    maker.decide(&mut s.paper, change, &second, 1, Decision::Confirmed);
    s.go(2);
    assert_eq!(
        s.count(|e| *e
            == UserEvent::Changed {
                offer: second,
                slot: 1,
                start
            }),
        1
    );
    let now_booked = s.user.booking().expect("one");
    assert_eq!(
        (now_booked.offer, now_booked.slot, now_booked.start),
        (second, 1, start)
    );
    assert_eq!(now_booked.change, None);
    assert_eq!(now_booked.status, BookingStatus::Confirmed);
    // The next change is turned down: the booking stands as it is.
    let now = s.paper.now;
    s.user
        .change(&second, 2, now, &mut s.paper.rng)
        .expect("asked");
    s.go(1);
    let (next, letter) = maker.letters(&s.paper).last().expect("a letter").clone();
    assert_eq!(change_of(&letter).booking, change, "by its latest name");
    let no = Decision::Rejected(Rejection::SlotTaken);
    maker.decide(&mut s.paper, next, &second, 2, no);
    s.go(2);
    assert_eq!(
        s.count(|e| *e
            == UserEvent::ChangeRejected {
                offer: second,
                slot: 2,
                reason: Rejection::SlotTaken
            }),
        1
    );
    assert_eq!(s.user.booking().expect("one").slot, 1);
    let now = s.paper.now;
    assert_eq!(
        s.user.change(&second, 2, now, &mut s.paper.rng),
        Err(ChangeError::Taken)
    );
    // Later letters name it by the change.
    s.user.cancel(false, &mut s.paper.rng).expect("cancelled");
    s.go(1);
    let Some((_, ToProvider::Cancellation(bytes))) = maker.letters(&s.paper).pop() else {
        panic!("no cancellation")
    };
    let said = parse::<crate::booking::Cancellation>(&bytes).expect("one");
    assert_eq!(said.unverified().booking, change);
    assert_eq!(s.count(|e| matches!(e, UserEvent::Confirmed { .. })), 1);
}

#[test]
fn a_booking_is_changed_refused_and_cancelled() {
    the_whole_way(400, false);
}

#[test]
fn changes_survive_a_restart_at_every_step() {
    for seed in 401..404 {
        the_whole_way(seed, true);
    }
}

#[test]
fn what_cannot_be_changed() {
    let mut s = Scene::new(410, false);
    let mut maker = Maker::new(&mut s.paper);
    let mut other = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 3);
    let elsewhere = other.send_offer(&mut s.paper, 2);
    s.go(2);
    let now = s.paper.now;
    let change = |s: &mut Scene, offer: &RecordId, slot| {
        let now = s.paper.now;
        s.user.change(offer, slot, now, &mut s.paper.rng)
    };
    assert_eq!(change(&mut s, &offer, 1), Err(ChangeError::None));
    s.book(&offer, 0);
    // Not before it is confirmed.
    assert_eq!(change(&mut s, &offer, 1), Err(ChangeError::None));
    assert_eq!(
        s.user.ask_other_slots(now, &mut s.paper.rng),
        Err(ChangeError::None)
    );
    s.go(1);
    let id = maker.letters(&s.paper)[0].0;
    maker.decide(&mut s.paper, id, &offer, 0, Decision::Confirmed);
    s.go(1);
    let unknown = RecordId::from_bytes([1; 32]);
    let table = [
        (unknown, 0, ChangeError::Unknown),
        (offer, 3, ChangeError::Unknown),
        (offer, 0, ChangeError::Same),
        (elsewhere, 0, ChangeError::OtherProvider),
    ];
    for (offer, slot, expected) in table {
        assert_eq!(change(&mut s, &offer, slot), Err(expected));
    }
    assert_eq!(maker.letters(&s.paper).len(), 1, "nothing was written");
}

#[test]
fn bent_answers_change_nothing() {
    type Bend = fn(&mut Confirmation, &Scene);
    let table: [(&str, Bend, bool); 5] = [
        ("another start", |c, s| c.start = s.paper.now, true),
        ("another slot", |c, _| c.slot = 2, true),
        (
            "another offer",
            |c, _| c.offer = RecordId::from_bytes([1; 32]),
            true,
        ),
        (
            "another letter",
            |c, _| c.booking = RecordId::from_bytes([1; 32]),
            false,
        ),
        ("as it should be", |_, _| (), false),
    ];
    for (i, (name, bend, told)) in table.into_iter().enumerate() {
        let (mut s, mut maker, booking, offer) = booked(420 + i as u64, false);
        let now = s.paper.now;
        s.user
            .change(&offer, 1, now, &mut s.paper.rng)
            .expect("asked");
        s.go(1);
        let id = maker.letters(&s.paper).last().expect("a letter").0;
        let mut said = Confirmation {
            booking: id,
            offer,
            slot: 1,
            start: maker.offer(0).1.slots[1].start,
            decision: Decision::Confirmed,
        };
        bend(&mut said, &s);
        // By somebody else first: a token key, another provider.
        let forger = SigningKey::generate(&mut s.paper.rng);
        maker.confirm(&mut s.paper, &said, &forger);
        let key = maker.certified.signing.clone();
        maker.confirm(&mut s.paper, &said, &key);
        // A replay of the booking's own confirmation.
        maker.decide(&mut s.paper, booking, &offer, 0, Decision::Confirmed);
        s.go(2);
        let invalid = s.count(|e| *e == UserEvent::InvalidConfirmation);
        assert_eq!(invalid, 1 + usize::from(told), "{name}");
        let slot = s.user.booking().expect("one").slot;
        assert_eq!(slot, u8::from(name == "as it should be"), "{name}");
        assert_eq!(s.count(|e| matches!(e, UserEvent::Confirmed { .. })), 1);
    }
}

#[test]
fn a_change_that_is_confirmed_after_the_cancellation_is_cancelled_too() {
    let (mut s, mut maker, booking, offer) = booked(430, true);
    let now = s.paper.now;
    s.user
        .change(&offer, 2, now, &mut s.paper.rng)
        .expect("asked");
    s.user.cancel(true, &mut s.paper.rng).expect("cancelled");
    s.go(1);
    let letters = maker.letters(&s.paper);
    let change = letters[1].0;
    maker.decide(&mut s.paper, change, &offer, 2, Decision::Confirmed);
    s.go(2);
    let named: Vec<RecordId> = maker
        .letters(&s.paper)
        .iter()
        .filter_map(|(_, l)| match l {
            ToProvider::Cancellation(b) => Some(
                parse::<crate::booking::Cancellation>(b)
                    .expect("one")
                    .unverified()
                    .booking,
            ),
            _ => None,
        })
        .collect();
    assert_eq!(named, [booking, change]);
    assert_eq!(
        s.user.status(),
        UserStatus::Booking(BookingStatus::Cancelled)
    );
}

#[test]
fn a_provider_without_other_slots_says_so() {
    let (mut s, mut maker, _, offer) = booked(440, true);
    let now = s.paper.now;
    s.user
        .ask_other_slots(now, &mut s.paper.rng)
        .expect("asked");
    s.go(1);
    let id = maker.letters(&s.paper).last().expect("a letter").0;
    let no = Decision::Rejected(Rejection::NothingFree);
    maker.decide(&mut s.paper, id, &offer, 0, no);
    s.go(2);
    let ticket = maker.ticket;
    assert_eq!(s.count(|e| *e == UserEvent::NothingFree { ticket }), 1);
    assert_eq!(
        s.user.status(),
        UserStatus::Booking(BookingStatus::Confirmed),
        "the booking stands"
    );
    // What it owes comes later.
    let late = maker.offer_again(&mut s.paper, 1);
    s.paper.pass(3600);
    s.go(2);
    assert!(s.user.offer(&late).is_some());
}

#[test]
fn a_provider_that_is_asked_too_often_says_so() {
    let (mut s, mut maker, _, offer) = booked(450, true);
    let now = s.paper.now;
    s.user
        .ask_other_slots(now, &mut s.paper.rng)
        .expect("asked");
    s.go(1);
    let id = maker.letters(&s.paper).last().expect("a letter").0;
    let reason = Rejection::OfferClosed;
    maker.decide(&mut s.paper, id, &offer, 0, Decision::Rejected(reason));
    s.go(2);
    let told = UserEvent::ChangeRejected {
        offer,
        slot: 0,
        reason,
    };
    assert_eq!(s.count(|e| *e == told), 1);
    // Asking on would only fill the channel.
    let now = s.paper.now;
    let asked = s.user.ask_other_slots(now, &mut s.paper.rng);
    assert_eq!(asked, Err(ChangeError::TooOften));
}

#[test]
fn the_last_letters_of_a_channel_are_left_for_cancellations() {
    let (mut s, mut maker, _, offer) = booked(460, true);
    let refused = Decision::Rejected(Rejection::TokenLocked);
    let mut changes = 0;
    loop {
        let now = s.paper.now;
        match s.user.change(&offer, 1, now, &mut s.paper.rng) {
            Ok(()) => changes += 1,
            Err(ChangeError::Write(_)) => break,
            Err(e) => panic!("{e}"),
        }
        s.go(1);
        let id = maker.letters(&s.paper).last().expect("a letter").0;
        // Whatever it is refused for, the slot is as good as it was.
        maker.decide(&mut s.paper, id, &offer, 1, refused.clone());
        s.go(2);
    }
    // Of sixteen, the booking or its confirmation, and one that is left.
    assert_eq!(changes, 14);
    let text = crate::testing::text("late");
    assert!(s.user.message(&offer, text, &mut s.paper.rng).is_err());
    s.user.cancel(false, &mut s.paper.rng).expect("cancelled");
    s.go(1);
    let last = maker.letters(&s.paper).pop().expect("a letter").1;
    assert!(matches!(last, ToProvider::Cancellation(_)));
}

#[test]
fn who_was_turned_down_before_may_ask_for_other_slots_all_the_same() {
    for restart in [false, true] {
        let mut s = Scene::new(470, restart);
        let mut maker = Maker::new(&mut s.paper);
        let offer = maker.send_offer(&mut s.paper, 3);
        s.go(2);
        s.book(&offer, 0);
        s.go(1);
        let id = maker.letters(&s.paper).last().expect("a booking").0;
        // Others of the offer are free: no further offer follows.
        let no = Decision::Rejected(Rejection::SlotTaken);
        maker.decide(&mut s.paper, id, &offer, 0, no);
        s.go(1);
        s.booked(&mut maker, &offer, 1);
        let now = s.paper.now;
        let asked = s.user.ask_other_slots(now, &mut s.paper.rng);
        assert_eq!(asked, Ok(()));
        let again = s.user.ask_other_slots(now, &mut s.paper.rng);
        assert_eq!(again, Err(ChangeError::Pending), "that one waits");
    }
}
