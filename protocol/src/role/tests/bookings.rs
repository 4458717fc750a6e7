//! What a provider makes of bookings that are not what they should be.

use super::hand::Hand;
use super::world::World;
use crate::booking::{Booking, Cancellation, Decision, Offer, Rejection, ToProvider};
use crate::bounded::Bytes;
use crate::cose::sign;
use crate::id::{RecordId, TicketId};
use crate::key::{SealingSecret, SigningKey};
use crate::queue::{Accept, Release};
use crate::role::provider::SlotUsage;
use crate::seal::Purpose;
use crate::testing::text;

/// A provider that has sent one offer of three slots to a user by hand.
fn offered(seed: u64) -> (World, Hand, RecordId, Offer) {
    let mut w = World::new(seed, false, false);
    let hand = Hand::new(&mut w.paper, w.region);
    w.slots(3);
    w.go(4);
    let (id, offer) = hand.offer(&w.paper).expect("an offer");
    assert_eq!(offer.slots.len(), 3);
    (w, hand, id, offer)
}

type Bend = fn(&mut World, &Hand, &Offer, &mut Booking);

#[test]
fn bent_bookings_are_turned_down() {
    let table: [(&str, Bend, Rejection); 9] = [
        (
            "other data",
            |_, _, _, b| b.data.name = text("Somebody else"),
            Rejection::DataMismatch,
        ),
        (
            "other nonce",
            |_, _, _, b| b.nonce[0] ^= 1,
            Rejection::DataMismatch,
        ),
        (
            "other user key",
            |w, _, _, b| b.user = SealingSecret::generate(&mut w.paper.rng).public(),
            Rejection::DataMismatch,
        ),
        (
            "another token of the same user",
            |w, h, _, b| {
                let token = Hand::draw(&mut w.paper, &h.data, &h.nonce, &h.user, &h.key);
                b.token = Bytes::try_from(token).expect("short");
            },
            Rejection::DataMismatch,
        ),
        (
            "a token that is none",
            |_, _, _, b| b.token = Bytes::try_from(vec![0]).expect("short"),
            Rejection::DataMismatch,
        ),
        (
            "an acceptance for another ticket",
            |_, h, o, b| {
                let accept = Accept {
                    ticket: TicketId::from_bytes([1; 32]),
                    ..h.accept(o)
                };
                b.accept = Bytes::try_from(sign(&accept, &h.key)).expect("short");
            },
            Rejection::DataMismatch,
        ),
        (
            "an acceptance by somebody else",
            |w, h, o, b| {
                let key = SigningKey::generate(&mut w.paper.rng);
                b.accept = Bytes::try_from(sign(&h.accept(o), &key)).expect("short");
            },
            Rejection::DataMismatch,
        ),
        (
            "a slot that is not in the offer",
            |_, _, _, b| b.slot = 3,
            Rejection::DataMismatch,
        ),
        (
            "an offer that was not made",
            |_, _, _, b| b.offer = RecordId::from_bytes([1; 32]),
            Rejection::OfferClosed,
        ),
    ];
    for (i, (name, bend, expected)) in table.into_iter().enumerate() {
        let (mut w, mut hand, id, offer) = offered(100 + i as u64);
        let mut booking = hand.booking(id, &offer, 0);
        bend(&mut w, &hand, &offer, &mut booking);
        let key = hand.key.clone();
        hand.send_booking(&mut w.paper, &offer, &booking, &key);
        w.go(4);
        let decisions = hand.decisions(&w.paper, &offer);
        assert_eq!(decisions.len(), 1, "{name}");
        assert_eq!(
            decisions[0].decision,
            Decision::Rejected(expected),
            "{name}"
        );
        assert!(w.provider.bookings().is_empty(), "{name}");
        assert_eq!(w.paper.locked(), 0, "{name}: no lock is asked for");
        // The user may still book properly.
        let good = hand.booking(id, &offer, 0);
        hand.send_booking(&mut w.paper, &offer, &good, &key);
        w.go(6);
        assert_eq!(
            hand.decisions(&w.paper, &offer)[1].decision,
            Decision::Confirmed,
            "{name}"
        );
    }
}

#[test]
fn a_booking_that_the_token_key_did_not_sign_is_not_answered() {
    let (mut w, mut hand, id, offer) = offered(120);
    let booking = hand.booking(id, &offer, 0);
    let other = SigningKey::generate(&mut w.paper.rng);
    hand.send_booking(&mut w.paper, &offer, &booking, &other);
    w.go(4);
    assert!(hand.decisions(&w.paper, &offer).is_empty());
    assert!(w.provider.bookings().is_empty());
}

#[test]
fn bookings_that_arrive_together_take_one_slot() {
    let (mut w, mut hand, id, offer) = offered(121);
    let key = hand.key.clone();
    for slot in [1, 0, 2, 1] {
        let booking = hand.booking(id, &offer, slot);
        hand.send_booking(&mut w.paper, &offer, &booking, &key);
    }
    w.go(8);
    let decisions = hand.decisions(&w.paper, &offer);
    let confirmed: Vec<_> = decisions
        .iter()
        .filter(|d| d.decision == Decision::Confirmed)
        .map(|d| d.slot)
        .collect();
    assert_eq!(confirmed, [1], "the first that came");
    assert_eq!(
        decisions
            .iter()
            .filter(|d| d.decision == Decision::Rejected(Rejection::TokenLocked))
            .count(),
        2
    );
    assert_eq!(
        decisions.len(),
        3,
        "the replay of the first is not answered again"
    );
    assert_eq!(w.provider.bookings().len(), 1);
    assert_eq!(
        w.provider
            .slots()
            .iter()
            .filter(|s| s.usage == SlotUsage::Booked)
            .count(),
        1
    );
    assert_eq!(w.paper.locked(), 1);
}

#[test]
fn a_replayed_booking_after_its_cancellation_is_not_taken_again() {
    let (mut w, mut hand, id, offer) = offered(122);
    let key = hand.key.clone();
    let booking = hand.booking(id, &offer, 0);
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    w.go(6);
    let (record, _) = w.provider.bookings()[0].clone();
    let release = Release {
        region: w.region,
        request: hand.request,
        lock: hand.accept(&offer).lock(),
        expires: hand.expires,
    };
    // By somebody else, or for another lock, it cancels nothing.
    let other = SigningKey::generate(&mut w.paper.rng);
    let wrong = Release {
        lock: crate::id::LockId::from_bytes([3; 32]),
        ..release.clone()
    };
    for (release, releaser, canceller) in [
        (&release, &other, &key),
        (&release, &key, &other),
        (&wrong, &key, &key),
    ] {
        let release = Bytes::try_from(sign(release, releaser)).expect("short");
        let cancellation = Cancellation {
            booking: record,
            again: false,
            release,
        };
        let letter = ToProvider::Cancellation(
            Bytes::try_from(sign(&cancellation, canceller)).expect("short"),
        );
        hand.send(&mut w.paper, &offer, Purpose::Message, &letter);
    }
    w.go(4);
    assert_eq!(w.paper.locked(), 1);
    assert!(
        w.provider
            .slots()
            .iter()
            .any(|s| s.usage == SlotUsage::Booked)
    );
    let release = Bytes::try_from(sign(&release, &key)).expect("short");
    let cancellation = Cancellation {
        booking: record,
        again: true,
        release,
    };
    let letter =
        ToProvider::Cancellation(Bytes::try_from(sign(&cancellation, &key)).expect("short"));
    hand.send(&mut w.paper, &offer, Purpose::Message, &letter);
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    w.go(8);
    assert_eq!(w.paper.locked(), 0);
    assert!(
        w.provider
            .slots()
            .iter()
            .all(|s| s.usage != SlotUsage::Booked)
    );
    assert_eq!(hand.decisions(&w.paper, &offer).len(), 1);
}

#[test]
fn letters_under_the_wrong_purpose_are_not_read() {
    let (mut w, mut hand, id, offer) = offered(123);
    let booking = hand.booking(id, &offer, 0);
    let letter = ToProvider::Booking(Bytes::try_from(sign(&booking, &hand.key)).expect("short"));
    hand.send(&mut w.paper, &offer, Purpose::Message, &letter);
    w.go(4);
    assert!(hand.decisions(&w.paper, &offer).is_empty());
}
