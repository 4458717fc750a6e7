//! The whole way: registration, application, approval, request, offer, booking, cancellation,
//! revocation; once as it should go, once with crashes, once with every answer lost at first.

use super::world::{World, data, practice};
use crate::booking::Rejection;
use crate::mailbox::MarkValue;
use crate::problem::Problem;
use crate::role::Role;
use crate::role::mediator::{MediatorEvent, Refresher};
use crate::role::provider::{Provider, ProviderEvent, SlotUsage};
use crate::role::user::{BookError, BookingStatus, InvalidOffer, SlotState, UserEvent, UserStatus};
use crate::testing::{list, text};
use crate::time::Seconds;

const CONFIRMED: UserStatus = UserStatus::Booking(BookingStatus::Confirmed);

fn whole_way(seed: u64, restart: bool, lossy: bool) {
    let mut w = World::new(seed, restart, lossy);
    w.slots(6);
    let (a, b) = (w.user("Ada", None), w.user("Bob", Some("mRNA")));
    w.go(12);
    assert_eq!(w.status(a), UserStatus::Waiting);
    let offer = w.users[a].offers().pop().expect("an offer");
    assert_eq!(offer.practice, practice());
    assert_eq!(offer.slots.len(), 3);
    assert!(offer.slots.iter().all(|s| s.state == SlotState::Open));
    w.book(a, 1).expect("booked");
    w.book(b, 0).expect("booked");
    w.go(14);
    assert_eq!(
        (w.status(a), w.status(b)),
        (CONFIRMED, CONFIRMED),
        "{:?}",
        w.to_provider
    );
    assert_eq!(w.booked(), 2);
    assert_eq!(w.paper.locked(), 2);
    let book = w.provider.bookings();
    assert!(
        book.iter()
            .any(|(_, e)| e.data == data("Ada") && e.start == offer.slots[1].start)
    );
    // The mark of a booked slot says so.
    let taken = w
        .provider
        .slots()
        .iter()
        .filter(|s| s.usage == SlotUsage::Booked)
        .count();
    assert_eq!(taken, 2);
    w.users[a].refresh_marks();
    w.go(4);
    let view = w.users[a].offer(&offer.id).expect("kept");
    assert_eq!(view.slots[1].state, SlotState::Taken);
    let free = w
        .provider
        .slots()
        .iter()
        .filter(|s| s.usage == SlotUsage::Free)
        .count();
    assert_eq!(
        (free, w.provider.open_offers()),
        (4, 0),
        "what was not taken is free again"
    );
    // A second booking must wait for a cancellation.
    assert_eq!(w.book(a, 0), Err(BookError::Busy));
    w.users[a]
        .cancel(true, &mut w.paper.rng)
        .expect("cancelled");
    assert!(
        w.users[a].offers().is_empty(),
        "nobody answers to what was offered with the booking"
    );
    w.go(14);
    assert_eq!(w.booked(), 1);
    assert_eq!(w.paper.locked(), 1);
    let offers = w.users[a].offers();
    let again = offers
        .iter()
        .find(|o| o.id != offer.id)
        .expect("another offer on the channel");
    assert!(
        again.slots.iter().all(|s| s.start != offer.slots[1].start),
        "not the cancelled slot"
    );
    let (id, now) = (again.id, w.paper.now);
    w.users[a]
        .book(&id, 0, now, &mut w.paper.rng)
        .expect("booked again");
    w.go(14);
    assert_eq!(w.status(a), CONFIRMED);
    assert_eq!(w.booked(), 2);
    assert_eq!(w.paper.locked(), 2);
    let confirmations = w
        .to_users
        .iter()
        .filter(|(_, e)| matches!(e, UserEvent::Confirmed { .. }))
        .count();
    assert_eq!(confirmations, 3);
}

#[test]
fn the_whole_way() {
    whole_way(1, false, false);
}

#[test]
fn the_whole_way_with_crashes() {
    whole_way(1, true, false);
}

#[test]
fn the_whole_way_with_lost_answers() {
    whole_way(1, false, true);
}

#[test]
fn the_whole_way_with_crashes_and_lost_answers_seed_1() {
    whole_way(1, true, true);
}

#[test]
fn the_whole_way_with_crashes_and_lost_answers_seed_2() {
    whole_way(2, true, true);
}

#[test]
fn the_whole_way_with_crashes_and_lost_answers_seed_3() {
    whole_way(3, true, true);
}

#[test]
fn a_slot_is_booked_once_and_the_others_learn_it() {
    let mut w = World::new(2, false, false);
    w.slots(1);
    let a = w.user("Ada", None);
    w.go(6);
    assert_eq!(w.users[a].offers().len(), 1);
    // Two devices of the practice: the mark is set by the other while the booking is on its way.
    w.book(a, 0).expect("booked");
    let slot = w.provider.slots()[0].clone();
    let mark = w.provider.mark_of(slot.id).expect("a mark");
    let state = w.paper.mark(&mark.id()).expect("set");
    let taken = w
        .provider
        .sign_mark(slot.id, state.version + 1, MarkValue::Taken)
        .expect("signed");
    w.paper.overwrite_mark(mark.id(), state.version + 1, taken);
    w.go(8);
    assert_eq!(w.status(a), UserStatus::Booking(BookingStatus::Rejected));
    assert!(w.to_users.iter().any(|(_, e)| matches!(
        e,
        UserEvent::Rejected {
            reason: Rejection::SlotTaken,
            ..
        }
    )));
    assert_eq!(w.booked(), 0);
    assert_eq!(w.paper.locked(), 0, "no lock was taken for it");
}

#[test]
fn a_token_that_is_locked_elsewhere_is_turned_down() {
    let mut w = World::new(3, false, false);
    w.slots(2);
    let a = w.user("Ada", None);
    w.go(6);
    w.book(a, 0).expect("booked");
    w.paper.lock_all();
    w.go(8);
    assert_eq!(w.status(a), UserStatus::Booking(BookingStatus::Rejected));
    assert!(w.to_users.iter().any(|(_, e)| matches!(
        e,
        UserEvent::Rejected {
            reason: Rejection::TokenLocked,
            ..
        }
    )));
    assert!(
        w.provider
            .slots()
            .iter()
            .all(|s| s.usage != SlotUsage::Booked),
        "the slot is free again"
    );
}

#[test]
fn nobody_is_offered_what_they_did_not_wish_for() {
    let mut w = World::new(4, false, false);
    w.slots(2);
    let (a, b) = (w.user("Ada", Some("other")), w.user("Bob", Some("mRNA")));
    w.go(10);
    assert!(w.users[a].offers().is_empty());
    assert_eq!(w.users[b].offers().len(), 1);
}

#[test]
fn after_a_revocation_nothing_is_booked() {
    let mut w = World::new(5, false, false);
    w.slots(3);
    let a = w.user("Ada", None);
    w.go(6);
    let (serial, _) = w.provider.certificate().expect("certified");
    w.mediator
        .revoke(serial, text("left"), w.paper.now, &mut w.paper.rng)
        .expect("revoked");
    w.go(2);
    // The provider is told why, although the directory lists it no more.
    assert_eq!(w.provider.in_force(w.paper.now), Err(Problem::Revoked));
    // The offer is not shown any more, and passes no longer: the data does not leave.
    assert!(w.users[a].offers().is_empty());
    let offer = w.users[a].kept_offers()[0];
    let refused = w.users[a]
        .book(&offer, 0, w.paper.now, &mut w.paper.rng)
        .expect_err("revoked");
    assert_eq!(
        refused,
        BookError::Invalid(InvalidOffer::Certificate(Problem::Revoked))
    );
    w.go(2);
    assert_eq!(w.booked(), 0);
    // The region has a new key, so that the provider opens no later request.
    let version = w
        .paper
        .view
        .region(&w.region)
        .expect("published")
        .1
        .key_version;
    assert_eq!(version, 2);
}

#[test]
fn a_booking_under_way_is_withdrawn_when_the_certificate_is_revoked() {
    let mut w = World::new(6, false, false);
    w.slots(3);
    let a = w.user("Ada", None);
    w.go(6);
    w.book(a, 0).expect("booked");
    let (serial, _) = w.provider.certificate().expect("certified");
    w.mediator
        .revoke(serial, text("left"), w.paper.now, &mut w.paper.rng)
        .expect("revoked");
    w.go(3);
    assert_eq!(w.status(a), UserStatus::Booking(BookingStatus::Withdrawn));
    assert!(
        w.paper
            .calls
            .iter()
            .filter(|k| **k == crate::client::CallKind::Lock)
            .count()
            == 0
    );
}

#[test]
fn an_expired_status_stops_new_bookings_until_it_is_dated_anew() {
    let mut w = World::new(7, false, false);
    w.slots(3);
    let a = w.user("Ada", None);
    w.go(6);
    // The mediator sleeps past its status.
    w.paper.pass(25 * 3600);
    let expired = BookError::Invalid(InvalidOffer::Certificate(Problem::StatusExpired));
    let view = w.paper.view.clone();
    w.users[a].set_view(view).expect("one federation");
    let offer = w.users[a].kept_offers()[0];
    let outcome = w.users[a].book(&offer, 0, w.paper.now, &mut w.paper.rng);
    assert!(
        matches!(outcome, Err(e) if e == expired || e == BookError::Invalid(InvalidOffer::Expired))
    );
    // A refresher that has the status key alone wakes it up.
    let key = w.mediator.status_key();
    let node = w.paper.node();
    let mut refresher = Refresher::create(
        w.mediator.id(),
        key,
        Seconds::DAY,
        w.paper.view.clone(),
        node,
    );
    let events = w.paper.turn(&mut refresher, false);
    assert!(events.contains(&MediatorEvent::Published), "{events:?}");
    assert!(
        w.paper
            .view
            .provider(&w.provider.certificate_id().expect("one"), w.paper.now)
            .is_ok()
    );
    // It can revoke; the mediator takes that over and lists the certificate no more.
    let (serial, _) = w.provider.certificate().expect("certified");
    refresher.revoke(&[serial], w.paper.now).expect("revoked");
    w.paper.turn(&mut refresher, false);
    let id = w.provider.certificate_id().expect("one");
    assert_eq!(
        w.paper.view.provider(&id, w.paper.now).err(),
        Some(Problem::Revoked)
    );
    w.mediator
        .set_view(w.paper.view.clone())
        .expect("one federation");
    w.mediator.refresh_status(w.paper.now).expect("dated anew");
    w.go(2);
    assert!(w.paper.view.provider(&id, w.paper.now).is_err());
    assert_eq!(w.mediator.providers().count(), 0);
}

#[test]
fn what_was_offered_with_a_booking_ends_with_it() {
    let mut w = World::new(391, false, false);
    w.slots(3);
    let a = w.user("Ada", None);
    w.go(6);
    let former = w.users[a].kept_offers();
    assert!(w.book(a, 0).is_ok());
    w.go(8);
    assert_eq!(w.status(a), CONFIRMED);
    let root = w.provider.bookings()[0].0;
    let (now, mut rng) = (w.paper.now, w.paper.rng.clone());
    let done = w
        .provider
        .cancel(&root, true, false, text("ill"), now, &mut rng);
    assert_eq!(done, Ok(()));
    w.go(4);
    let told = |(_, e): &(usize, UserEvent)| matches!(e, UserEvent::CancelledByProvider { .. });
    assert!(w.to_users.iter().any(told));
    // What it is offered now, since it is listed again, is another offer.
    let shown = w.users[a].offers();
    assert!(
        shown.iter().all(|o| !former.contains(&o.id)),
        "nobody answers to it"
    );
}

#[test]
fn region_keys_are_renewed_and_old_requests_still_served() {
    let mut w = World::new(8, false, false);
    let a = w.user("Ada", None);
    w.go(2);
    assert_eq!(w.status(a), UserStatus::Waiting);
    w.mediator
        .rotate(&[w.region], w.paper.now, &mut w.paper.rng)
        .expect("rotated");
    w.go(3);
    assert!(
        w.to_provider
            .iter()
            .any(|e| matches!(e, ProviderEvent::RegionKey { version: 2, .. }))
    );
    let b = w.user("Bob", None);
    w.slots(4);
    w.go(6);
    assert_eq!(
        (w.users[a].offers().len(), w.users[b].offers().len()),
        (1, 1),
        "{:?}",
        w.to_provider
    );
}

#[test]
fn a_request_that_waits_too_long_is_drawn_anew() {
    let mut w = World::new(9, false, false);
    let a = w.user("Ada", None);
    w.paper
        .refuse
        .insert(crate::client::CallKind::Request, Problem::EpochClosed);
    w.go(1);
    w.paper.refuse.clear();
    w.go(2);
    assert!(
        w.to_users
            .iter()
            .any(|(_, e)| matches!(e, UserEvent::Redrawn(Problem::EpochClosed)))
    );
    assert_eq!(w.status(a), UserStatus::Waiting);
    // An issuer that is away is waited for, then the person is asked.
    let b = w.user("Bob", None);
    w.paper
        .refuse
        .insert(crate::client::CallKind::Request, Problem::IssuerAway);
    w.go(12);
    assert!(
        w.to_users
            .iter()
            .any(|(i, e)| *i == b && matches!(e, UserEvent::IssuerAway))
    );
    w.paper.refuse.clear();
    w.users[b].draw_anew(&mut w.paper.rng);
    w.go(2);
    assert_eq!(w.status(b), UserStatus::Waiting);
}

#[test]
fn offers_that_nobody_takes_free_their_slots() {
    let mut w = World::new(10, false, false);
    w.slots(3);
    w.user("Ada", None);
    w.go(6);
    assert_eq!(w.provider.open_offers(), 1);
    assert!(
        w.provider
            .slots()
            .iter()
            .all(|s| s.usage == SlotUsage::Offered)
    );
    w.users.clear();
    w.provider.set_automatic(false);
    w.paper.pass(13 * 3600);
    w.go(2);
    assert_eq!(w.provider.open_offers(), 0);
    assert!(
        w.provider
            .slots()
            .iter()
            .all(|s| s.usage == SlotUsage::Free),
        "{:?}",
        w.provider.slots()
    );
}

#[test]
fn rejected_providers_are_told_why_and_rubbish_is_cleared_away() {
    let mut w = World::new(11, false, false);
    let node = w.paper.node();
    let mut other = Provider::create(
        practice(),
        text(""),
        w.paper.view.clone(),
        node,
        &mut w.paper.rng,
    );
    other.apply(w.mediator.id(), list(vec![w.region]));
    w.paper.turn(&mut other, false);
    w.go(2);
    let id = w.mediator.applications().next().expect("an application").0;
    w.mediator
        .reject(&id, text("no licence"), &mut w.paper.rng)
        .expect("rejected");
    w.go(3);
    let events = w.paper.turn(&mut other, false);
    assert!(
        events.contains(&ProviderEvent::ApplicationRejected(text("no licence"))),
        "{events:?}"
    );
    let inbox = w.mediator.watching().pop().expect("open");
    assert!(
        w.paper.contents(&inbox).is_empty(),
        "answered applications leave the inbox"
    );
    assert_eq!(
        w.mediator.sealed_application(1).map(<[u8]>::len),
        Some(4096),
        "the copy for later control"
    );
}
