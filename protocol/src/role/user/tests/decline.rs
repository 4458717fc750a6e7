//! What becomes of the offers that are not taken.

use super::maker::{Maker, Scene};
use crate::booking::{Decision, Decline, Rejection, ToProvider};
use crate::cose::parse;
use crate::id::{RecordId, TicketId};
use crate::mailbox::Writers;
use crate::role::user::{BookError, BookingStatus, SlotState, UserEvent, UserStatus};
use std::collections::BTreeSet;

/// The declines that a provider got: ticket and offers.
fn declines(maker: &Maker, s: &Scene) -> Vec<(TicketId, BTreeSet<RecordId>)> {
    let Writers::Keys(keys) = &maker.to_provider.writers else {
        panic!("a channel has a writer")
    };
    let letters = maker.letters(&s.paper).into_iter();
    letters
        .filter_map(|(_, letter)| match letter {
            ToProvider::Decline(bytes) => {
                let said = parse::<Decline>(&bytes)
                    .and_then(|d| d.verify(&keys[0]))
                    .expect("signed");
                Some((said.ticket, said.offers.iter().copied().collect()))
            }
            _ => None,
        })
        .collect()
}

fn set(offers: &[RecordId]) -> BTreeSet<RecordId> {
    offers.iter().copied().collect()
}

fn the_whole_way(seed: u64, restart: bool, lossy: bool) {
    let mut s = Scene::new(seed, restart);
    let mut makers = [0, 1, 2].map(|_| Maker::new(&mut s.paper));
    let [taken, second, third] = [0, 1, 2].map(|n| makers[n].send_offer(&mut s.paper, 2));
    s.go(2);
    let more = makers[1].offer_again(&mut s.paper, 3);
    s.go(2);
    s.book(&taken, 0);
    s.go(2);
    assert_eq!(s.user.offers().len(), 4);
    for maker in &makers[1..] {
        assert!(
            maker.letters(&s.paper).is_empty(),
            "they are alternatives until it is confirmed"
        );
    }
    let booking = makers[0].letters(&s.paper)[0].0;
    makers[0].decide(&mut s.paper, booking, &taken, 0, Decision::Confirmed);
    s.paper.lossy = lossy;
    s.go(if lossy { 30 } else { 3 });
    s.paper.lossy = false;
    assert!(declines(&makers[0], &s).is_empty());
    let expected = [
        vec![(makers[1].ticket, set(&[second, more]))],
        vec![(makers[2].ticket, set(&[third]))],
    ];
    for (maker, expected) in makers[1..].iter().zip(&expected) {
        assert_eq!(declines(maker, &s), *expected, "once");
        // It looks like any other letter.
        let blobs = |m: &Maker| s.paper.contents(&m.to_provider)[0].blob.len();
        assert_eq!(blobs(maker), blobs(&makers[0]));
    }
    let shown: Vec<_> = s.user.offers().iter().map(|o| o.id).collect();
    assert_eq!(shown, [taken]);
    let now = s.paper.now;
    s.user.cancel(true, &mut s.paper.rng).expect("cancelled");
    for offer in [second, more, third] {
        let booked = s.user.book(&offer, 0, now, &mut s.paper.rng);
        assert_eq!(booked, Err(BookError::Closed));
    }
}

#[test]
fn who_has_a_confirmation_declines_what_others_offered() {
    the_whole_way(900, false, false);
}

#[test]
fn declines_survive_restarts_and_lost_answers() {
    for seed in 901..904 {
        the_whole_way(seed, true, false);
        the_whole_way(seed, true, true);
    }
}

#[test]
fn an_offer_that_comes_too_late_is_declined_and_not_shown() {
    let mut s = Scene::new(910, true);
    let mut makers = [0, 1, 2].map(|_| Maker::new(&mut s.paper));
    let [taken, second] = [0, 1].map(|n| makers[n].send_offer(&mut s.paper, 2));
    s.go(2);
    s.booked(&mut makers[0], &taken, 0);
    s.go(1);
    assert_eq!(
        declines(&makers[1], &s),
        [(makers[1].ticket, set(&[second]))]
    );
    let received = |s: &Scene| s.count(|e| matches!(e, UserEvent::OfferReceived(_)));
    let before = received(&s);
    let crossed = makers[1].offer_again(&mut s.paper, 1);
    let late = makers[2].send_offer(&mut s.paper, 1);
    s.go(3);
    assert_eq!(received(&s), before);
    assert_eq!(
        declines(&makers[1], &s),
        [
            (makers[1].ticket, set(&[second])),
            (makers[1].ticket, set(&[crossed]))
        ]
    );
    assert_eq!(declines(&makers[2], &s), [(makers[2].ticket, set(&[late]))]);
    // The provider of the booking may offer more, to change to.
    let other = makers[0].offer_again(&mut s.paper, 1);
    s.go(2);
    assert_eq!(received(&s), before + 1);
    assert_eq!(
        s.user.offer(&other).expect("shown").slots[0].state,
        SlotState::Unknown
    );
    assert!(declines(&makers[0], &s).is_empty());
}

#[test]
fn who_owes_an_offer_hears_that_none_is_wanted() {
    let mut s = Scene::new(920, true);
    let mut makers = [0, 1].map(|_| Maker::new(&mut s.paper));
    let [first, second] = [0, 1].map(|n| makers[n].send_offer(&mut s.paper, 1));
    s.go(2);
    s.book(&first, 0);
    s.go(1);
    let id = makers[0].letters(&s.paper)[0].0;
    for reason in [Rejection::SlotTaken, Rejection::NothingFree] {
        makers[0].decide(&mut s.paper, id, &first, 0, Decision::Rejected(reason));
    }
    s.go(1);
    assert!(declines(&makers[0], &s).is_empty());
    s.booked(&mut makers[1], &second, 0);
    s.go(2);
    assert_eq!(
        declines(&makers[0], &s),
        [(makers[0].ticket, set(&[first]))]
    );
    // Who cancels and books elsewhere needs nothing more from the first, either.
    s.user.cancel(true, &mut s.paper.rng).expect("cancelled");
    s.go(1);
    let again = makers[0].offer_again(&mut s.paper, 1);
    s.go(1);
    s.booked(&mut makers[0], &again, 0);
    s.go(1);
    assert_eq!(
        s.user.status(),
        UserStatus::Booking(BookingStatus::Confirmed)
    );
    assert_eq!(
        declines(&makers[1], &s),
        [(makers[1].ticket, set(&[second]))]
    );
}
