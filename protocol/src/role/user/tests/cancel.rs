//! Cancellations by the provider, and what a user's own do to offers and locks.

use super::maker::{Maker, Scene};
use crate::booking::{Decision, ProviderCancellation};
use crate::bounded::Bytes;
use crate::client::CallKind;
use crate::cose::{parse, sign};
use crate::id::{LockId, RecordId};
use crate::key::SigningKey;
use crate::queue::Release;
use crate::role::user::{BookingStatus, NextStep, UserEvent, UserStatus, WaitsFor};
use crate::testing::text;

const CONFIRMED: UserStatus = UserStatus::Booking(BookingStatus::Confirmed);
const BY_PROVIDER: UserStatus = UserStatus::Booking(BookingStatus::CancelledByProvider);

fn booked(seed: u64, restart: bool) -> (Scene, Maker, RecordId, RecordId) {
    let mut s = Scene::new(seed, restart);
    let mut maker = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 2);
    s.go(2);
    let id = s.booked(&mut maker, &offer, 0);
    assert_eq!(s.user.status(), CONFIRMED);
    (s, maker, id, offer)
}

#[test]
fn a_provider_cancels_and_offers_anew() {
    for restart in [false, true] {
        let (mut s, mut maker, id, offer) = booked(500, restart);
        let said = maker.cancellation(id, &maker.accept(&s.paper), true);
        let key = maker.certified.signing.clone();
        maker.cancel(&mut s.paper, &said, &key);
        // Twice, as a replay would be.
        maker.cancel(&mut s.paper, &said, &key);
        s.go(2);
        assert_eq!(s.user.status(), BY_PROVIDER);
        let told = UserEvent::CancelledByProvider {
            offer,
            slot: 0,
            text: text("The doctor is ill."),
            again: true,
        };
        assert_eq!(s.count(|e| *e == told), 1);
        assert_eq!(s.count(|e| *e == UserEvent::InvalidCancellation), 0);
        let booking = s.user.booking().expect("the last one");
        assert_eq!(booking.text, Some(text("The doctor is ill.")));
        assert_eq!(s.paper.locked(), 0);
        assert!(
            s.paper.calls.contains(&CallKind::Release),
            "the user hands the release in too"
        );
        // The cancelled slot is not offered any more; the other one still is.
        let now = s.paper.now;
        assert!(s.user.book(&offer, 0, now, &mut s.paper.rng).is_err());
        let again = maker.offer_again(&mut s.paper, 2);
        s.go(2);
        let second = s.booked(&mut maker, &again, 1);
        assert_ne!(second, id);
        assert_eq!(s.user.status(), CONFIRMED);
        let past = s.user.past_bookings();
        assert_eq!(past.len(), 1);
        assert_eq!(past[0].status, BookingStatus::CancelledByProvider);
    }
}

type Bend = fn(&mut ProviderCancellation, &Maker, &mut Scene);

fn release(said: &ProviderCancellation) -> Release {
    parse::<Release>(&said.release)
        .expect("one")
        .unverified()
        .clone()
}

#[test]
fn bent_cancellations_cancel_nothing() {
    let table: [(&str, Bend); 6] = [
        ("of another booking", |c, _, _| {
            c.booking = RecordId::from_bytes([1; 32]);
        }),
        ("without a release", |c, _, _| {
            c.release = Bytes::try_from(vec![0]).expect("short");
        }),
        ("with the release of another lock", |c, m, _| {
            let wrong = Release {
                lock: LockId::from_bytes([1; 32]),
                ..release(c)
            };
            c.release = Bytes::try_from(sign(&wrong, &m.ticket_key)).expect("short");
        }),
        ("with the release of another request", |c, m, _| {
            let wrong = Release {
                request: crate::id::RequestId::from_bytes([1; 32]),
                ..release(c)
            };
            c.release = Bytes::try_from(sign(&wrong, &m.ticket_key)).expect("short");
        }),
        ("with the release of another region", |c, m, s| {
            let wrong = Release {
                region: s.paper.fixture.region(1),
                ..release(c)
            };
            c.release = Bytes::try_from(sign(&wrong, &m.ticket_key)).expect("short");
        }),
        ("with a release by somebody else", |c, _, s| {
            let other = SigningKey::generate(&mut s.paper.rng);
            c.release = Bytes::try_from(sign(&release(c), &other)).expect("short");
        }),
    ];
    for (i, (name, bend)) in table.into_iter().enumerate() {
        let (mut s, mut maker, id, _) = booked(510 + i as u64, false);
        let good = maker.cancellation(id, &maker.accept(&s.paper), true);
        let mut bent = good.clone();
        bend(&mut bent, &maker, &mut s);
        let key = maker.certified.signing.clone();
        maker.cancel(&mut s.paper, &bent, &key);
        // By another provider that is certified too.
        let other = s.paper.fixture.certify(&[0]);
        maker.cancel(&mut s.paper, &good, &other.signing);
        s.go(2);
        assert_eq!(s.user.status(), CONFIRMED, "{name}");
        assert_eq!(
            s.count(|e| *e == UserEvent::InvalidCancellation),
            2,
            "{name}"
        );
        assert_eq!(
            s.paper
                .calls
                .iter()
                .filter(|k| **k == CallKind::Release)
                .count(),
            0
        );
    }
}

#[test]
fn a_cancellation_waits_for_the_confirmation_it_follows() {
    let mut s = Scene::new(520, true);
    let mut maker = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 2);
    s.go(2);
    // Before there is any booking it is nothing.
    let key = maker.certified.signing.clone();
    s.book(&offer, 0);
    s.go(1);
    let id = maker.letters(&s.paper)[0].0;
    let said = maker.cancellation(id, &maker.accept(&s.paper), false);
    maker.cancel(&mut s.paper, &said, &key);
    s.go(2);
    assert_eq!(s.user.status(), UserStatus::Booking(BookingStatus::Sent));
    assert_eq!(s.count(|e| *e == UserEvent::InvalidCancellation), 0);
    maker.decide(&mut s.paper, id, &offer, 0, Decision::Confirmed);
    s.go(3);
    assert_eq!(s.user.status(), BY_PROVIDER);
}

#[test]
fn letters_before_any_booking_are_nothing() {
    let mut s = Scene::new(521, false);
    let mut maker = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 2);
    s.go(2);
    let id = RecordId::from_bytes([7; 32]);
    maker.decide(&mut s.paper, id, &offer, 0, Decision::Confirmed);
    let release = Release {
        region: maker.region,
        request: maker.request,
        lock: LockId::from_bytes([7; 32]),
        expires: s.paper.now,
    };
    let said = ProviderCancellation {
        booking: id,
        release: Bytes::try_from(sign(&release, &maker.ticket_key)).expect("short"),
        again: true,
        text: text(""),
    };
    let key = maker.certified.signing.clone();
    maker.cancel(&mut s.paper, &said, &key);
    s.go(2);
    assert_eq!(s.user.status(), UserStatus::Waiting);
    assert_eq!(s.count(|e| *e == UserEvent::InvalidCancellation), 1);
    assert_eq!(s.user.overview().next, NextStep::Book);
    // The offer is as good as before.
    s.booked(&mut maker, &offer, 1);
    assert_eq!(s.user.status(), CONFIRMED);
    assert_eq!(s.user.overview().waits_for, WaitsFor::Appointment);
}

#[test]
fn a_release_outlives_the_next_booking() {
    let mut s = Scene::new(522, true);
    let mut maker = Maker::new(&mut s.paper);
    let mut other = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 2);
    s.go(2);
    s.booked(&mut maker, &offer, 0);
    // The holders are away while the user cancels and books elsewhere.
    s.paper
        .refuse
        .insert(CallKind::Release, crate::problem::Problem::HoldersAway);
    s.user.cancel(false, &mut s.paper.rng).expect("cancelled");
    let second = other.send_offer(&mut s.paper, 2);
    s.go(2);
    s.book(&second, 0);
    s.go(1);
    let before = s.paper.calls.len();
    s.paper.refuse.clear();
    s.go(3);
    let released = s.paper.calls[before..]
        .iter()
        .filter(|k| **k == CallKind::Release)
        .count();
    assert_eq!(released, 1, "it is handed in all the same");
}
