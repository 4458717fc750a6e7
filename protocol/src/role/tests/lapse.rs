//! What a lapsed status and a revocation do to everybody.

use super::world::{World, practice};
use crate::client::CallKind;
use crate::mediation::{Revocations, Status};
use crate::problem::Problem;
use crate::role::Role;
use crate::role::mediator::{MediatorEvent, PublishError, Refresher};
use crate::role::provider::{Provider, ProviderEvent};
use crate::role::user::{BookError, BookingStatus, InvalidOffer, UserEvent, UserStatus};
use crate::testing::{list, text};
use crate::time::Seconds;

const CONFIRMED: UserStatus = UserStatus::Booking(BookingStatus::Confirmed);

fn refresher(w: &World) -> Refresher {
    let (id, view, node) = (w.mediator.id(), w.paper.view.clone(), w.paper.node());
    Refresher::create(id, w.mediator.status_key(), Seconds::DAY, view, node)
}

/// Lets provider and users act while the mediator sleeps.
fn without_mediator(w: &mut World, rounds: usize) {
    for _ in 0..rounds {
        let view = w.paper.view.clone();
        w.provider.set_view(view.clone()).expect("one federation");
        w.to_provider.extend(w.paper.turn(&mut w.provider, false));
        for (i, user) in w.users.iter_mut().enumerate() {
            user.set_view(view.clone()).expect("one federation");
            let events = w.paper.turn(user, false);
            w.to_users.extend(events.into_iter().map(|e| (i, e)));
        }
        w.paper.pass(31);
    }
}

#[test]
fn a_status_that_ends_in_the_middle_of_the_day_stops_what_is_new_and_nothing_else() {
    let mut w = World::new(380, false, false);
    w.slots(4);
    let (a, b) = (w.user("Ada", None), w.user("Bob", None));
    w.go(6);
    w.book(a, 0).expect("booked");
    w.go(8);
    assert_eq!(w.status(a), CONFIRMED);
    // The mediator sleeps from now on. The status ends while Bob looks at his offer.
    let offer = w.users[b].offers().last().expect("an offer").id;
    w.mediator.set_status_life(Seconds::hours(1));
    w.mediator.refresh_status(w.paper.now).expect("dated");
    w.go(1);
    let m = w.paper.view.mediator(&w.mediator.id()).expect("there");
    let end = m.status().expect("published").expires;
    let left = end.since(w.paper.now).get();
    w.paper.pass(left + 1);
    without_mediator(&mut w, 2);
    let over = InvalidOffer::Certificate(Problem::StatusExpired);
    let withdrawn = UserEvent::OfferWithdrawn { offer, why: over };
    assert!(w.to_users.contains(&(b, withdrawn)), "{:?}", w.to_users);
    assert!(
        w.users[b].offers().is_empty(),
        "not shown while the status is over"
    );
    let refused = w.users[b].book(&offer, 0, w.paper.now, &mut w.paper.rng);
    assert_eq!(refused, Err(BookError::Invalid(over)));
    // A booking that stands is not touched.
    assert_eq!(w.status(a), CONFIRMED);
    assert_eq!((w.booked(), w.paper.locked()), (1, 1));
    // Dated anew, by the status key alone: everything goes on.
    let mut refresher = refresher(&w);
    let events = w.paper.turn(&mut refresher, false);
    assert!(events.contains(&MediatorEvent::Published), "{events:?}");
    without_mediator(&mut w, 1);
    assert!(
        w.to_users
            .contains(&(b, UserEvent::OfferReturned { offer }))
    );
    let now = w.paper.now;
    w.users[b]
        .book(&offer, 0, now, &mut w.paper.rng)
        .expect("it holds again");
    without_mediator(&mut w, 8);
    assert_eq!(w.status(b), CONFIRMED);
    assert_eq!((w.booked(), w.paper.locked()), (2, 2));
}

#[test]
fn an_offer_that_comes_under_an_expired_status_is_shown_when_it_is_fresh_again() {
    let mut w = World::new(381, false, false);
    w.slots(2);
    let a = w.user("Ada", None);
    // The user's app is the only one that has not heard of the last status.
    w.mediator.set_status_life(Seconds::hours(1));
    w.mediator.refresh_status(w.paper.now).expect("dated");
    w.go(1);
    let old = w.paper.view.clone();
    w.paper.pass(3600);
    w.mediator.set_view(old.clone()).expect("one federation");
    w.paper.turn(&mut w.mediator, false);
    for _ in 0..4 {
        w.provider
            .set_view(w.paper.view.clone())
            .expect("one federation");
        w.paper.turn(&mut w.provider, false);
        w.users[a].set_view(old.clone()).expect("one federation");
        let events = w.paper.turn(&mut w.users[a], false);
        w.to_users.extend(events.into_iter().map(|e| (a, e)));
        w.paper.pass(31);
    }
    let over = UserEvent::InvalidOffer(InvalidOffer::Certificate(Problem::StatusExpired));
    assert!(w.to_users.contains(&(a, over)), "{:?}", w.to_users);
    assert!(w.users[a].offers().is_empty());
    w.go(2);
    assert_eq!(w.users[a].offers().len(), 1);
}

#[test]
fn a_refresher_adds_revocations_and_never_takes_one_back() {
    let mut w = World::new(382, false, false);
    let mut refresher = refresher(&w);
    assert_eq!(
        refresher.revoke(&[77], w.paper.now),
        Err(PublishError::UnknownSerial(77))
    );
    refresher.revoke(&[1], w.paper.now).expect("revoked");
    w.paper.turn(&mut refresher, false);
    w.paper.pass(13 * 3600);
    w.paper.turn(&mut refresher, false);
    let id = w.provider.certificate_id().expect("certified");
    assert_eq!(
        w.paper.view.provider(&id, w.paper.now).err(),
        Some(Problem::Revoked),
        "dated anew with it"
    );
    // With the status key in the wrong hands: no list without the serial passes.
    let m = w.paper.view.mediator(&w.mediator.id()).expect("there");
    let (status, list) = (m.status().expect("one"), m.revocations().expect("one"));
    let empty = Revocations {
        sequence: 1001,
        serials: crate::testing::list(vec![]),
        ..(**list).clone()
    };
    let bytes = crate::cose::sign(&empty, &w.mediator.status_key());
    let status = Status {
        sequence: 1003,
        revocations: crate::mediation::ListRef {
            sequence: 1001,
            id: crate::hash::record_hash(&bytes),
        },
        ..(**status).clone()
    };
    let mut view = w.paper.view.clone();
    let _kept = view.learn(&bytes, w.paper.now);
    let status = crate::cose::sign(&status, &w.mediator.status_key());
    let refused = view.learn(&status, w.paper.now).expect_err("refused");
    assert_eq!(refused.problem, Problem::WrongSigner);
    // It survives a restart.
    let again = w.paper.restarted(&refresher);
    assert_eq!(*again.save(), *refresher.save());
}

#[test]
fn what_the_status_key_revoked_the_mediator_takes_over_with_new_region_keys() {
    let mut w = World::new(383, false, false);
    let mut refresher = refresher(&w);
    refresher.revoke(&[1], w.paper.now).expect("revoked");
    w.paper.turn(&mut refresher, false);
    // By itself, long before the status is due; crashes on the way change nothing.
    w.restart = true;
    w.go(4);
    assert_eq!(w.mediator.providers().count(), 0);
    assert_eq!(
        w.mediator.revoked().map(|(s, _)| s).collect::<Vec<_>>(),
        [1]
    );
    let (_, region) = w.paper.view.region(&w.region).expect("there");
    assert_eq!(region.key_version, 2);
    let m = w.paper.view.mediator(&w.mediator.id()).expect("there");
    assert!(m.revocations().expect("one").serials.contains(&1));
    assert!(m.directory().expect("one").certificates.is_empty());
}

#[test]
fn a_revocation_reaches_everybody() {
    let mut w = World::new(384, false, false);
    w.slots(4);
    let a = w.user("Ada", None);
    w.go(6);
    let offer = w.users[a].offers().last().expect("an offer").id;
    // A second practice of the region.
    let (node, view) = (w.paper.node(), w.paper.view.clone());
    let mut other = Provider::create(practice(), text("licence 2"), view, node, &mut w.paper.rng);
    other.apply(w.mediator.id(), list(vec![w.region]));
    w.paper.turn(&mut other, false);
    w.go(1);
    let id = w.mediator.applications().next().expect("read").0;
    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    w.mediator
        .approve(&id, None, 90, now, rng)
        .expect("approved");
    w.go(2);
    other
        .set_view(w.paper.view.clone())
        .expect("one federation");
    w.paper.turn(&mut other, false);

    let (now, rng) = (w.paper.now, &mut w.paper.rng);
    assert_eq!(
        w.mediator.revoke(99, text("x"), now, rng),
        Err(PublishError::UnknownSerial(99))
    );
    w.mediator
        .revoke(1, text("sold data"), now, rng)
        .expect("revoked");
    assert_eq!(
        w.mediator.revoke(1, text("again"), now, rng),
        Err(PublishError::UnknownSerial(1))
    );
    let reasons: Vec<_> = w.mediator.revoked().map(|(s, r)| (s, r.as_str())).collect();
    assert_eq!(reasons, [(1, "sold data")]);
    w.to_provider.clear();
    w.go(4);
    // The user's app drops the offer, and books nothing of that provider.
    let why = InvalidOffer::Certificate(Problem::Revoked);
    let withdrawn = UserEvent::OfferWithdrawn { offer, why };
    assert!(w.to_users.contains(&(a, withdrawn)), "{:?}", w.to_users);
    assert!(w.users[a].offers().is_empty());
    let refused = w.users[a].book(&offer, 0, w.paper.now, &mut w.paper.rng);
    assert!(refused.is_err());
    // The practice that remains has the new key; the other none, and the reason.
    other
        .set_view(w.paper.view.clone())
        .expect("one federation");
    let events = w.paper.turn(&mut other, false);
    let new_key = |e: &ProviderEvent| matches!(e, ProviderEvent::RegionKey { version: 2, .. });
    assert!(events.iter().any(new_key), "{events:?}");
    assert!(!w.to_provider.iter().any(new_key));
    let why = ProviderEvent::ApplicationRejected(text("sold data"));
    assert!(w.to_provider.contains(&why), "{:?}", w.to_provider);
    // It claims nothing any more, whether it tries or not.
    w.paper.calls.clear();
    let b = w.user("Bob", None);
    w.go(8);
    assert!(w.users[b].offers().is_empty());
    assert!(!w.paper.calls.contains(&CallKind::Claim));
    // The one that remains serves the region.
    let start = w.paper.now.plus(Seconds::days(3));
    other
        .add_slot(start, 15, text("mRNA"), w.paper.now, &mut w.paper.rng)
        .expect("a slot");
    for _ in 0..4 {
        other
            .set_view(w.paper.view.clone())
            .expect("one federation");
        w.paper.turn(&mut other, false);
        w.go(1);
    }
    let offers = w.users[a].offers().len() + w.users[b].offers().len();
    assert!(offers >= 1, "somebody has an offer of the other practice");
}
