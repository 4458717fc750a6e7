//! To be listed again once nothing is left.

use super::maker::{Maker, Scene};
use crate::booking::{Decision, Rejection};
use crate::client::CallKind;
use crate::id::{LockId, TicketId};
use crate::problem::Problem;
use crate::role::Role;
use crate::role::user::{NextStep, RelistError, UserEvent, WaitsFor};
use crate::time::Seconds;

fn named(s: &Scene) -> (Vec<TicketId>, Vec<LockId>) {
    let all = &s.paper.relisted;
    let mut tickets: Vec<_> = all.iter().flat_map(|r| r.tickets.to_vec()).collect();
    let mut locks: Vec<_> = all.iter().flat_map(|r| r.locks.to_vec()).collect();
    tickets.dedup();
    locks.dedup();
    (tickets, locks)
}

fn relists(s: &Scene) -> usize {
    s.count(|e| *e == UserEvent::Relisted)
}

fn offered(seed: u64, restart: bool) -> (Scene, Maker) {
    let mut s = Scene::new(seed, restart);
    let mut maker = Maker::new(&mut s.paper);
    maker.send_offer(&mut s.paper, 2);
    s.go(2);
    (s, maker)
}

#[test]
fn who_has_nothing_left_is_listed_again() {
    for restart in [false, true] {
        let (mut s, mut maker) = offered(600, restart);
        s.go(6);
        assert!(s.paper.relisted.is_empty(), "there is something to choose");
        maker.take_slots(&mut s.paper, 0, 2);
        // The marks are read by themselves, now and then.
        s.go(8);
        if !restart {
            assert_eq!(s.count(|e| *e == UserEvent::AllTaken), 1);
        }
        assert_eq!(named(&s), (vec![maker.ticket], vec![]));
        assert_eq!(relists(&s), 1);
        assert!(s.user.offers().is_empty(), "given up");
        let overview = s.user.overview();
        assert_eq!(overview.relisted, 1);
        assert_eq!(
            (overview.waits_for, overview.next),
            (WaitsFor::Offers, NextStep::Wait)
        );
        // A provider that was given up may offer again all the same.
        let again = maker.offer_again(&mut s.paper, 1);
        s.go(3);
        s.booked(&mut maker, &again, 0);
        s.go(4);
        assert_eq!(s.paper.relisted.len(), 1, "never with a booking");
    }
}

#[test]
fn a_wish_is_kept_until_it_is_acknowledged() {
    let (mut s, maker) = offered(601, true);
    s.paper
        .refuse
        .insert(CallKind::Relist, Problem::HoldersAway);
    let now = s.paper.now;
    s.user.relist(now).expect("a ticket is open");
    assert_eq!(s.user.relist(now), Err(RelistError::Pending));
    s.go(3);
    assert_eq!(s.user.overview().waits_for, WaitsFor::Listing);
    assert_eq!(relists(&s), 0);
    s.paper.refuse.clear();
    s.paper.lossy = true;
    s.go(12);
    assert_eq!(relists(&s), 1);
    let first = s.paper.relisted[0].clone();
    assert!(
        s.paper.relisted.iter().all(|r| *r == first),
        "the same bytes"
    );
    assert_eq!(first.tickets.to_vec(), [maker.ticket]);
}

#[test]
fn what_stands_in_the_way() {
    let mut s = Scene::new(602, false);
    let now = s.paper.now;
    assert_eq!(s.user.relist(now), Err(RelistError::Listed));
    let mut maker = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 2);
    s.go(2);
    s.book(&offer, 0);
    let now = s.paper.now;
    assert_eq!(s.user.relist(now), Err(RelistError::Busy));
    s.user.abandon();
    assert_eq!(s.user.relist(now), Err(RelistError::NotAdmitted));
    assert!(s.paper.relisted.is_empty());
}

#[test]
fn a_cancelled_booking_names_its_lock() {
    let (mut s, mut maker) = offered(603, true);
    let offer = maker.offer(0).0;
    s.booked(&mut maker, &offer, 0);
    let lock = maker.accept(&s.paper).lock();
    // Who does not look for another is not listed by itself.
    s.user.cancel(false, &mut s.paper.rng).expect("cancelled");
    maker.take_slots(&mut s.paper, 0, 2);
    s.user.refresh_marks();
    s.go(14);
    assert!(s.paper.relisted.is_empty());
    assert_eq!(s.user.overview().next, NextStep::Relist);
    let now = s.paper.now;
    s.user.relist(now).expect("asked for");
    s.go(2);
    assert_eq!(named(&s), (vec![maker.ticket], vec![lock]));
    assert_eq!(s.user.relist(s.paper.now), Err(RelistError::Listed));
}

#[test]
fn a_provider_that_was_asked_has_time_to_answer() {
    let (mut s, mut maker) = offered(604, false);
    let offer = maker.offer(0).0;
    s.booked(&mut maker, &offer, 0);
    s.user.cancel(true, &mut s.paper.rng).expect("cancelled");
    maker.take_slots(&mut s.paper, 0, 2);
    s.user.refresh_marks();
    s.go(5);
    assert!(s.paper.relisted.is_empty(), "it may have others");
    assert_eq!(s.user.overview().waits_for, WaitsFor::Provider);
    let id = maker.letters(&s.paper).last().expect("a cancellation").0;
    let no = Decision::Rejected(Rejection::NothingFree);
    maker.decide(&mut s.paper, id, &offer, 0, no);
    s.go(4);
    let ticket = maker.ticket;
    assert_eq!(s.count(|e| *e == UserEvent::NothingFree { ticket }), 1);
    assert_eq!(relists(&s), 1);
}

#[test]
fn rejections_that_leave_nothing() {
    let (mut s, mut maker) = offered(605, true);
    let offer = maker.offer(0).0;
    for slot in [0, 1] {
        s.book(&offer, slot);
        s.go(1);
        let id = maker.letters(&s.paper).last().expect("a booking").0;
        let no = Decision::Rejected(Rejection::SlotTaken);
        maker.decide(&mut s.paper, id, &offer, slot, no);
        s.go(1);
    }
    assert_eq!(s.user.past_bookings().len(), 1, "and one is the last");
    let id = maker.letters(&s.paper).last().expect("a booking").0;
    let no = Decision::Rejected(Rejection::NothingFree);
    maker.decide(&mut s.paper, id, &offer, 1, no);
    s.go(5);
    assert_eq!(relists(&s), 1);
    let (tickets, locks) = named(&s);
    assert_eq!(tickets, [maker.ticket]);
    assert_eq!(locks.len(), 2, "either may have been held for a moment");
}

#[test]
fn the_federation_has_the_last_word() {
    let (mut s, maker) = offered(606, true);
    s.paper
        .refuse
        .insert(CallKind::Relist, Problem::ReoffersUsed);
    maker.take_slots(&mut s.paper, 0, 2);
    s.user.refresh_marks();
    s.go(8);
    assert_eq!(s.count(|e| *e == UserEvent::NoMoreOffers), 1);
    assert_eq!(s.user.overview().next, NextStep::StartOver);
    assert_eq!(s.user.relist(s.paper.now), Err(RelistError::UsedUp));
}

#[test]
fn many_tickets_take_several_wishes_and_no_more_than_allowed() {
    let mut s = Scene::new(607, false);
    let params = s.paper.fixture.params.clone();
    let most = usize::from(params.open_offers) * (usize::from(params.reoffers) + 1);
    let mut makers = Vec::new();
    for _ in 0..most + 2 {
        let mut maker = Maker::new(&mut s.paper);
        maker.send_offer(&mut s.paper, 1);
        makers.push(maker);
    }
    s.user.set_automatic(false);
    s.go(2);
    let now = s.paper.now;
    s.user.relist(now).expect("tickets are open");
    s.go(2);
    assert_eq!(s.paper.relisted.len(), most.div_ceil(8));
    assert_eq!(named(&s).0.len(), most);
    assert_eq!(s.user.offers().len(), 2, "the others stay");
    assert_eq!(s.user.relist(s.paper.now), Err(RelistError::UsedUp));
}

#[test]
fn expired_offers_need_no_wish() {
    let (mut s, _) = offered(608, false);
    s.paper.pass(13 * 3600);
    s.go(4);
    assert!(s.user.offers().is_empty());
    assert!(s.paper.relisted.is_empty(), "they count no longer");
    assert!(s.user.wake() > Some(s.paper.now.minus(Seconds::MINUTE)));
}
