//! User and provider against each other: a booking moves to another slot, the provider cancels it, and
//! the user ends with another appointment.

use super::world::World;
use crate::role::provider::BookState;
use crate::role::user::{BookingStatus, UserEvent, UserStatus};
use crate::testing::text;

const CONFIRMED: UserStatus = UserStatus::Booking(BookingStatus::Confirmed);

fn moved_and_cancelled(seed: u64, restart: bool, lossy: bool) {
    let mut w = World::new(seed, restart, lossy);
    w.slots(6);
    let a = w.user("Ada", None);
    w.go(12);
    w.book(a, 0).expect("booked");
    w.go(14);
    assert_eq!(w.status(a), CONFIRMED);
    let first = w.users[a].booking().expect("one");
    w.users[a]
        .ask_other_slots(w.paper.now, &mut w.paper.rng)
        .expect("asked");
    w.go(14);
    let offers = w.users[a].offers();
    let other = offers
        .iter()
        .find(|o| o.id != first.offer)
        .expect("another offer");
    let (id, start) = (other.id, other.slots[0].start);
    w.users[a]
        .change(&id, 0, w.paper.now, &mut w.paper.rng)
        .expect("asked");
    w.go(14);
    let moved = w.users[a].booking().expect("one");
    assert_eq!(
        (moved.start, moved.status, moved.change),
        (start, BookingStatus::Confirmed, None),
        "{:?}",
        w.to_provider
    );
    assert_eq!((w.booked(), w.paper.locked()), (1, 1));
    let (booking, line) = w
        .provider
        .bookings()
        .into_iter()
        .find(|(_, b)| b.state == BookState::Confirmed)
        .expect("a line");
    assert_eq!(line.start, start);
    w.provider
        .cancel(
            &booking,
            false,
            true,
            text("The doctor is ill."),
            w.paper.now,
            &mut w.paper.rng,
        )
        .expect("cancelled");
    w.go(14);
    assert_eq!(
        w.status(a),
        UserStatus::Booking(BookingStatus::CancelledByProvider)
    );
    assert_eq!((w.booked(), w.paper.locked()), (0, 0));
    // Another offer follows, and is booked.
    let offers = w.users[a].offers();
    let next = offers
        .iter()
        .find(|o| o.id != id && o.id != first.offer)
        .expect("another offer");
    let (id, now) = (next.id, w.paper.now);
    w.users[a]
        .book(&id, 0, now, &mut w.paper.rng)
        .expect("booked");
    w.go(14);
    assert_eq!(w.status(a), CONFIRMED);
    assert_eq!((w.booked(), w.paper.locked()), (1, 1));
    let changes = w
        .to_users
        .iter()
        .filter(|(_, e)| matches!(e, UserEvent::Changed { .. }));
    assert_eq!(changes.count(), 1);
}

#[test]
fn a_booking_moves_and_is_cancelled() {
    moved_and_cancelled(50, false, false);
}

#[test]
fn a_booking_moves_and_is_cancelled_with_crashes_and_lost_answers() {
    moved_and_cancelled(51, true, true);
}
