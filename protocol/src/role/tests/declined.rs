//! Offers that are declined: their slots are free at once, whoever else is served, and whatever is lost.

use super::hand::Hand;
use super::world::{World, practice};
use crate::booking::{Decision, Decline, Offer, Rejection, ToProvider};
use crate::bounded::Bytes;
use crate::client::{Call, CallKind};
use crate::cose::sign;
use crate::id::{RecordId, TicketId};
use crate::key::SigningKey;
use crate::problem::Problem;
use crate::queue::Relist;
use crate::role::Role;
use crate::role::provider::{OfferPolicy, Provider, ProviderEvent, SlotUsage};
use crate::role::user::{BookingStatus, UserStatus};
use crate::seal::Purpose;
use crate::testing::{list, text};
use crate::time::Seconds;

const CONFIRMED: UserStatus = UserStatus::Booking(BookingStatus::Confirmed);

impl Hand {
    fn relist(&self, w: &mut World, offer: &Offer, by: &SigningKey) {
        let wish = Relist {
            region: w.region,
            request: self.request,
            tickets: list(vec![offer.ticket]),
            locks: list(vec![]),
            expires: self.expires,
        };
        let call = Call::new(CallKind::Relist, sign(&wish, by));
        assert!(w.paper.serve(&call).is_ok());
    }

    fn decline(
        &mut self,
        w: &mut World,
        offer: &Offer,
        (ticket, offers): (TicketId, &[RecordId]),
        by: &SigningKey,
    ) {
        let said = Decline {
            ticket,
            offers: list(offers.to_vec()),
        };
        let letter = ToProvider::Decline(Bytes::try_from(sign(&said, by)).expect("short"));
        self.send(&mut w.paper, offer, Purpose::Message, &letter);
    }
}

fn held(w: &World) -> usize {
    let lines = w.provider.slots();
    lines
        .iter()
        .filter(|l| l.usage == SlotUsage::Offered)
        .count()
}

fn told(w: &World, what: impl Fn(&ProviderEvent) -> bool) -> usize {
    w.to_provider.iter().filter(|e| what(e)).count()
}

fn declined(w: &World) -> usize {
    told(w, |e| matches!(e, ProviderEvent::Declined { .. }))
}

/// A user by hand that has an offer of three slots, all that there are, each offered to one user.
fn offered(seed: u64) -> (World, Hand, RecordId, Offer) {
    let mut w = World::new(seed, false, false);
    w.provider.set_policy(OfferPolicy {
        per_slot: 1,
        ..OfferPolicy::default()
    });
    let hand = Hand::new(&mut w.paper, w.region);
    w.slots(3);
    w.go(3);
    let (id, offer) = hand.offer(&w.paper).expect("an offer");
    assert_eq!((offer.slots.len(), held(&w)), (3, 3));
    w.provider.set_automatic(false);
    (w, hand, id, offer)
}

#[test]
fn what_is_declined_is_free_at_once_and_offered_to_others() {
    let (mut w, mut hand, id, offer) = offered(600);
    let key = hand.key.clone();
    hand.decline(&mut w, &offer, (offer.ticket, &[id]), &key);
    w.provider = w.paper.restarted(&w.provider);
    w.provider.set_automatic(false);
    w.go(1);
    assert_eq!(
        (held(&w), declined(&w), w.provider.open_offers()),
        (0, 1, 0)
    );
    // Once more, in the same words, changes nothing, before and after the channel is left.
    for _ in 0..6 {
        hand.decline(&mut w, &offer, (offer.ticket, &[id]), &key);
        w.go(1);
    }
    assert_eq!(
        (declined(&w), hand.decisions(&w.paper, &offer).len()),
        (1, 0)
    );
    let ada = w.user("Ada", None);
    w.go(2);
    hand.relist(&mut w, &offer, &key);
    w.provider.set_automatic(true);
    w.go(4);
    // The one by hand is listed again, and comes first: each has a part.
    let fresh = w.users[ada].offers();
    assert_eq!(fresh.len(), 1);
    assert_eq!(w.paper.contents(&hand.inbox).len(), 2, "by another ticket");
    assert_eq!(held(&w), 3);
}

#[test]
fn only_the_user_declines_and_only_what_it_names() {
    let (mut w, mut hand, id, offer) = offered(601);
    let (key, stranger) = (hand.key.clone(), SigningKey::generate(&mut w.paper.rng));
    let elsewhere = TicketId::from_bytes([1; 32]);
    let nobody = RecordId::from_bytes([1; 32]);
    hand.decline(&mut w, &offer, (offer.ticket, &[id]), &stranger);
    hand.decline(&mut w, &offer, (elsewhere, &[id]), &key);
    hand.decline(&mut w, &offer, (offer.ticket, &[nobody]), &key);
    hand.decline(&mut w, &offer, (offer.ticket, &[]), &key);
    w.go(2);
    assert_eq!((held(&w), declined(&w)), (3, 0));
    for problem in [Problem::BadSignature, Problem::BadTicket] {
        let bad = ProviderEvent::BadEntry(problem);
        assert_eq!(told(&w, |e| *e == bad), 1);
    }
}

#[test]
fn a_booking_stands_whatever_is_declined_and_is_answered_first() {
    for under_way in [true, false] {
        let (mut w, mut hand, id, offer) = offered(602);
        let key = hand.key.clone();
        let booking = hand.booking(id, &offer, 0);
        hand.send_booking(&mut w.paper, &offer, &booking, &key);
        if under_way {
            w.paper.refuse.insert(CallKind::Lock, Problem::Busy);
        }
        w.go(3);
        hand.decline(&mut w, &offer, (offer.ticket, &[id]), &key);
        w.go(2);
        w.paper.refuse.clear();
        w.go(4);
        assert_eq!((w.booked(), declined(&w), held(&w)), (1, 0, 0));
        let root = w.provider.bookings()[0].0;
        // After its end an offer that came since is as good as any.
        let (now, mut rng) = (w.paper.now, w.paper.rng.clone());
        let done = w
            .provider
            .cancel(&root, true, true, text(""), now, &mut rng);
        assert_eq!(done, Ok(()));
        w.go(2);
        let open = held(&w);
        assert!(open > 0);
        hand.decline(&mut w, &offer, (offer.ticket, &[id, root]), &key);
        w.go(2);
        assert_eq!(
            (held(&w), declined(&w)),
            (open, 0),
            "a former offer's end is no news"
        );
    }
}

#[test]
fn a_booking_whose_lock_is_refused_leaves_what_was_declined_meanwhile() {
    let (mut w, mut hand, id, offer) = offered(603);
    let key = hand.key.clone();
    let booking = hand.booking(id, &offer, 0);
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    hand.decline(&mut w, &offer, (offer.ticket, &[id]), &key);
    // Another device of the user has the lock.
    w.paper.lock_all();
    w.go(4);
    let decisions = hand.decisions(&w.paper, &offer);
    let locked = Decision::Rejected(Rejection::TokenLocked);
    assert_eq!(
        decisions
            .iter()
            .map(|d| d.decision.clone())
            .collect::<Vec<_>>(),
        [locked]
    );
    assert_eq!((held(&w), declined(&w)), (0, 1));
}

#[test]
fn a_booking_that_crosses_a_decline_is_answered() {
    let (mut w, mut hand, id, offer) = offered(604);
    let key = hand.key.clone();
    hand.decline(&mut w, &offer, (offer.ticket, &[id]), &key);
    w.go(2);
    let booking = hand.booking(id, &offer, 0);
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    w.go(2);
    let decisions = hand.decisions(&w.paper, &offer);
    let closed = Decision::Rejected(Rejection::OfferClosed);
    assert_eq!(decisions.last().expect("an answer").decision, closed);
    assert_eq!(
        w.paper.contents(&offer.to_user).len(),
        1,
        "and no other offer follows"
    );
    assert_eq!((held(&w), w.booked()), (0, 0));
    // Two minutes later nobody listens.
    w.go(6);
    let booking = hand.booking(id, &offer, 1);
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    w.go(3);
    assert_eq!(w.paper.contents(&offer.to_user).len(), 1);
}

#[test]
fn what_is_given_up_to_be_listed_again_is_declined() {
    for restart in [false, true] {
        let mut w = World::new(605, restart, false);
        w.provider.set_policy(OfferPolicy {
            per_slot: 1,
            ..OfferPolicy::default()
        });
        w.slots(3);
        let ada = w.user("Ada", None);
        w.go(6);
        let [first] = w.users[ada].offers().try_into().expect("one offer");
        assert_eq!(held(&w), 3);
        let now = w.paper.now;
        w.users[ada].relist(now).expect("listed again");
        w.go(6);
        assert_eq!(declined(&w), 1, "once");
        // The same provider may offer anew, by another ticket.
        let mut offers = w.users[ada].offers();
        offers.retain(|o| o.id != first.id);
        let [next] = offers.try_into().expect("another offer");
        assert_eq!(held(&w), 3);
        let now = w.paper.now;
        w.users[ada]
            .book(&next.id, 0, now, &mut w.paper.rng)
            .expect("booked");
        w.go(6);
        assert_eq!((w.status(ada), declined(&w)), (CONFIRMED, 1));
    }
}

#[test]
fn who_was_left_with_nothing_is_offered_what_comes_later() {
    for (restart, cancelled) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut w = World::new(606, restart, false);
        w.provider.set_policy(OfferPolicy {
            per_slot: 2,
            ..OfferPolicy::default()
        });
        w.slots(1);
        let ada = w.user("Ada", None);
        let bert = w.user("Bert", None);
        w.go(6);
        let offered = |w: &World, user: usize| w.users[user].offers().len();
        assert_eq!((offered(&w, ada), offered(&w, bert)), (1, 1));
        w.book(bert, 0).expect("booked");
        w.go(4);
        assert_eq!(w.status(bert), CONFIRMED);
        // The former offer is in nobody's way, also when its slot is free again.
        w.users[ada].refresh_marks();
        w.go(4);
        assert_eq!((offered(&w, ada), declined(&w)), (0, 1));
        if cancelled {
            w.users[bert]
                .cancel(false, &mut w.paper.rng)
                .expect("cancelled");
            w.go(4);
        } else {
            w.slots(3);
        }
        w.go(6);
        assert_eq!(offered(&w, ada), 1);
        w.book(ada, 0).expect("booked");
        w.go(4);
        assert_eq!(w.status(ada), CONFIRMED);
    }
}

/// A second practice in the same region.
fn another(w: &mut World) -> Provider {
    let mut other = Provider::create(
        crate::mediation::Practice {
            name: text("Dr. Other"),
            ..practice()
        },
        text("licence 8"),
        w.paper.view.clone(),
        w.paper.node(),
        &mut w.paper.rng,
    );
    other.apply(w.mediator.id(), list(vec![w.region]));
    for _ in 0..if w.paper.lossy { 20 } else { 4 } {
        w.paper.turn(&mut other, false);
        w.go(1);
    }
    let application = w.mediator.applications().next().expect("an application").0;
    w.mediator
        .approve(&application, None, 90, w.paper.now, &mut w.paper.rng)
        .expect("approved");
    other
}

fn two_providers(seed: u64, restart: bool, lossy: bool) {
    let mut w = World::new(seed, restart, lossy);
    let mut other = another(&mut w);
    let one = OfferPolicy {
        per_slot: 1,
        ..OfferPolicy::default()
    };
    w.provider.set_policy(one);
    other.set_policy(one);
    let start = w.paper.now.plus(Seconds::days(4));
    for n in 0..3 {
        let at = start.plus(Seconds::minutes(15 * n));
        other
            .add_slot(at, 15, text("mRNA"), w.paper.now, &mut w.paper.rng)
            .expect("a slot");
    }
    let mut events = Vec::new();
    let mut go = |w: &mut World, other: &mut Provider, times: usize| {
        for _ in 0..times {
            w.go(1);
            other
                .set_view(w.paper.view.clone())
                .expect("one federation");
            events.extend(w.paper.turn(other, restart));
        }
        let declined = |e: &&ProviderEvent| matches!(e, ProviderEvent::Declined { .. });
        events.iter().filter(declined).count()
    };
    let held = |p: &Provider| {
        let lines = p.slots();
        lines
            .iter()
            .filter(|l| l.usage == SlotUsage::Offered)
            .count()
    };
    go(&mut w, &mut other, 6);
    w.slots(3);
    let ada = w.user("Ada", None);
    // A claim that is lost with a crash keeps its requests until its tickets lapse.
    assert_eq!(go(&mut w, &mut other, if lossy { 40 } else { 10 }), 0);
    let offers = w.users[ada].offers();
    assert_eq!(offers.len(), 2, "one of each");
    assert_eq!((held(&w.provider), held(&other)), (3, 3));
    let mine = offers
        .iter()
        .find(|o| o.practice == practice())
        .expect("one")
        .id;
    let now = w.paper.now;
    w.users[ada]
        .book(&mine, 0, now, &mut w.paper.rng)
        .expect("booked");
    assert_eq!(go(&mut w, &mut other, 10), 1, "told once");
    assert_eq!(w.status(ada), CONFIRMED);
    assert_eq!(
        (held(&w.provider), held(&other)),
        (0, 0),
        "all others are free"
    );
    // Who cancels and wants another finds one, of the provider that was declined too.
    w.users[ada]
        .cancel(true, &mut w.paper.rng)
        .expect("cancelled");
    go(&mut w, &mut other, 10);
    let mut shown = w.users[ada].offers();
    shown.retain(|o| o.id != mine);
    assert!(!shown.is_empty());
    for line in w.provider.slots() {
        w.provider.remove_slot(line.id).expect("free");
    }
    w.users[ada].refresh_marks();
    go(&mut w, &mut other, 30);
    let shown = w.users[ada].offers();
    let theirs = shown.iter().find(|o| o.practice.name == text("Dr. Other"));
    let theirs = theirs.expect("a new offer").id;
    let now = w.paper.now;
    w.users[ada]
        .book(&theirs, 0, now, &mut w.paper.rng)
        .expect("booked");
    go(&mut w, &mut other, 10);
    assert_eq!(w.status(ada), CONFIRMED);
    assert_eq!(
        (w.booked(), other.bookings().len(), w.paper.locked()),
        (0, 1, 1)
    );
}

#[test]
fn slots_of_the_provider_that_was_not_taken_are_free() {
    two_providers(610, false, false);
}

#[test]
fn slots_are_free_also_with_crashes_and_lost_answers() {
    for seed in 611..614 {
        two_providers(seed, true, true);
    }
}
