//! Offers that do not hold any more, and what a person is shown over time.

use super::maker::{Maker, Scene};
use crate::problem::Problem;
use crate::role::Role;
use crate::role::user::{
    BookError, BookingStatus, InvalidOffer, NextStep, UserEvent, UserStatus, WaitsFor,
};
use crate::time::{Seconds, Time};

const REVOKED: InvalidOffer = InvalidOffer::Certificate(Problem::Revoked);

#[test]
fn offers_of_a_revoked_provider_vanish() {
    for restart in [false, true] {
        let mut s = Scene::new(700, restart);
        let mut maker = Maker::new(&mut s.paper);
        let mut other = Maker::new(&mut s.paper);
        let offer = maker.send_offer(&mut s.paper, 2);
        let good = other.send_offer(&mut s.paper, 2);
        s.go(2);
        assert_eq!(s.user.offers().len(), 2);
        s.paper.fixture.revoke(maker.certified.serial);
        s.learn();
        // At once, before anything else is done.
        assert_eq!(s.user.offers().len(), 1);
        s.go(3);
        let told = UserEvent::OfferWithdrawn {
            offer,
            why: REVOKED,
        };
        assert_eq!(s.count(|e| *e == told), 1);
        let now = s.paper.now;
        assert_eq!(
            s.user.book(&offer, 0, now, &mut s.paper.rng),
            Err(BookError::Invalid(REVOKED))
        );
        // What it sends from now on is not shown either.
        let before = s.events.len();
        maker.offer_again(&mut s.paper, 1);
        s.paper.pass(60);
        s.go(2);
        assert!(s.events[before..].contains(&UserEvent::InvalidOffer(REVOKED)));
        assert!(
            !s.events[before..]
                .iter()
                .any(|e| matches!(e, UserEvent::OfferReceived(_)))
        );
        s.booked(&mut other, &good, 0);
        assert!(s.paper.relisted.is_empty());
    }
}

#[test]
fn when_only_revoked_providers_offered_the_user_is_listed_again() {
    let mut s = Scene::new(701, true);
    let mut maker = Maker::new(&mut s.paper);
    maker.send_offer(&mut s.paper, 2);
    s.go(2);
    s.paper.fixture.revoke(maker.certified.serial);
    s.learn();
    s.go(4);
    assert_eq!(s.paper.relisted[0].tickets.to_vec(), [maker.ticket]);
}

#[test]
fn a_booking_with_a_revoked_provider_stays_until_it_is_cancelled() {
    let mut s = Scene::new(702, true);
    let mut maker = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 2);
    s.go(2);
    s.booked(&mut maker, &offer, 1);
    s.paper.fixture.revoke(maker.certified.serial);
    s.learn();
    s.go(5);
    let told = UserEvent::ProviderRevoked { offer, slot: 1 };
    assert_eq!(s.count(|e| *e == told), 1);
    let overview = s.user.overview();
    assert_eq!(
        (overview.status, overview.next),
        (
            UserStatus::Booking(BookingStatus::Confirmed),
            NextStep::Cancel
        )
    );
    assert!(overview.booking.is_some_and(|b| b.revoked));
    assert!(overview.offers.is_empty());
    s.user.cancel(false, &mut s.paper.rng).expect("cancelled");
    s.go(2);
    assert_eq!(maker.letters(&s.paper).len(), 2);
}

#[test]
fn under_an_expired_status_nothing_is_shown_until_it_is_dated_anew() {
    let mut s = Scene::new(703, false);
    // Both certified now, so that no later status is signed; one offers late in its life.
    let mut early = Maker::new(&mut s.paper);
    let mut maker = Maker::new(&mut s.paper);
    let offer = early.send_offer(&mut s.paper, 2);
    s.go(2);
    let status = s
        .paper
        .view
        .mediator(&s.paper.fixture.mediator.id)
        .and_then(|m| m.status())
        .expect("a status")
        .expires;
    let before = status.minus(Seconds::hours(6));
    s.paper.pass(before.since(s.paper.now).get());
    maker.send_offer(&mut s.paper, 2);
    s.go(2);
    let shown = s.user.offers();
    assert_eq!(shown.len(), 1);
    let late = shown[0].id;
    assert_ne!(late, offer);
    assert!(s.user.wake() <= Some(status.plus(Seconds::new(1))));
    s.paper
        .pass(status.plus(Seconds::new(2)).since(s.paper.now).get());
    s.go(1);
    let expired = InvalidOffer::Certificate(Problem::StatusExpired);
    assert_eq!(
        s.count(|e| matches!(e, UserEvent::OfferWithdrawn { offer, why } if *offer == late && *why == expired)),
        1
    );
    assert!(s.user.offers().is_empty());
    assert_eq!(s.user.overview().suspended, 1);
    let now = s.paper.now;
    assert_eq!(
        s.user.book(&late, 0, now, &mut s.paper.rng),
        Err(BookError::Invalid(expired))
    );
    s.go(4);
    assert!(s.paper.relisted.is_empty(), "nobody is given up for that");
    s.paper.fixture.mediator.sign_status(s.paper.now);
    s.learn();
    s.go(1);
    assert_eq!(
        s.count(|e| *e == UserEvent::OfferReturned { offer: late }),
        1
    );
    s.booked(&mut maker, &late, 0);
}

#[test]
fn the_overview_tells_what_is_waited_for_and_since_when() {
    let mut s = Scene::new(704, false);
    let overview = s.user.overview();
    assert_eq!(
        (overview.waits_for, overview.next, overview.drawn),
        (WaitsFor::Offers, NextStep::Wait, 1)
    );
    assert!(overview.since > Time::ZERO && overview.since <= s.paper.now);
    let mut maker = Maker::new(&mut s.paper);
    let offer = maker.send_offer(&mut s.paper, 2);
    s.go(2);
    assert_eq!(s.user.overview().next, NextStep::Book);
    let since = s.user.overview().since;
    s.book(&offer, 0);
    assert_eq!(s.user.overview().waits_for, WaitsFor::Delivery);
    s.go(1);
    let overview = s.user.overview();
    assert_eq!(overview.waits_for, WaitsFor::Provider);
    assert!(overview.since > since);
    let kept = s.paper.restarted(&s.user).overview();
    assert_eq!(kept.since, overview.since, "stored");
    s.user.abandon();
    let overview = s.user.overview();
    assert_eq!(
        (overview.waits_for, overview.next),
        (WaitsFor::Nothing, NextStep::Request)
    );
    assert_eq!(overview.past.len(), 1, "what was is remembered");
}
