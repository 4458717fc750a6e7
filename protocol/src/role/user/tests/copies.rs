//! A cheat: one stored state in two devices, each books another offer.

use super::maker::{Maker, Scene};
use crate::booking::{Decision, Rejection};
use crate::role::user::{BookingStatus, UserEvent, UserStatus};

const REJECTED: UserStatus = UserStatus::Booking(BookingStatus::Rejected);

#[test]
fn two_copies_of_one_user_end_with_one_booking() {
    let mut s = Scene::new(800, true);
    let mut a = Maker::new(&mut s.paper);
    let mut b = Maker::new(&mut s.paper);
    let (first, second) = (a.send_offer(&mut s.paper, 2), b.send_offer(&mut s.paper, 2));
    s.go(2);
    let mut copy = s.paper.restarted(&s.user);
    s.book(&first, 0);
    let now = s.paper.now;
    copy.book(&second, 1, now, &mut s.paper.rng)
        .expect("booked");
    s.go(1);
    s.paper.turn(&mut copy, true);
    let (one, two) = (a.letters(&s.paper)[0].0, b.letters(&s.paper)[0].0);
    assert_ne!(a.accept(&s.paper).lock(), b.accept(&s.paper).lock());
    // The holders grant one of the two locks.
    a.decide(&mut s.paper, one, &first, 0, Decision::Confirmed);
    let no = Decision::Rejected(Rejection::TokenLocked);
    b.decide(&mut s.paper, two, &second, 1, no);
    s.go(2);
    let events = s.paper.turn(&mut copy, true);
    assert_eq!(
        s.user.status(),
        UserStatus::Booking(BookingStatus::Confirmed)
    );
    assert_eq!(copy.status(), REJECTED);
    assert!(events.contains(&UserEvent::Rejected {
        offer: second,
        slot: 1,
        reason: Rejection::TokenLocked
    }));
    // The slot is as good as it was, and its lock was never held: nothing is to be freed.
    assert!(copy.offer(&second).is_some());
    assert!(copy.relist(s.paper.now).is_ok());
    s.paper.turn(&mut copy, true);
    assert!(s.paper.relisted.iter().all(|r| r.locks.is_empty()));
}

#[test]
fn two_copies_that_write_to_one_provider_do_not_lose_a_letter() {
    let mut s = Scene::new(801, true);
    let mut a = Maker::new(&mut s.paper);
    let offer = a.send_offer(&mut s.paper, 2);
    s.go(2);
    let mut copy = s.paper.restarted(&s.user);
    s.book(&offer, 0);
    let now = s.paper.now;
    copy.book(&offer, 1, now, &mut s.paper.rng).expect("booked");
    s.go(1);
    for _ in 0..3 {
        s.paper.turn(&mut copy, true);
        s.paper.pass(31);
    }
    let letters = a.letters(&s.paper);
    assert_eq!(letters.len(), 2, "the second moved on to the next slot");
    let (one, two) = (letters[0].0, letters[1].0);
    a.decide(&mut s.paper, one, &offer, 0, Decision::Confirmed);
    let no = Decision::Rejected(Rejection::TokenLocked);
    a.decide(&mut s.paper, two, &offer, 1, no);
    s.go(2);
    s.paper.turn(&mut copy, true);
    assert_eq!(
        s.user.status(),
        UserStatus::Booking(BookingStatus::Confirmed)
    );
    assert_eq!(copy.status(), REJECTED);
    assert_eq!(s.count(|e| *e == UserEvent::InvalidConfirmation), 0);
}
