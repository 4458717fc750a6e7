//! The provider's side of bookings that stand: changes, cancellations by the provider, offers that are
//! owed; with letters made by hand, in every order and with a restart after every step.

use super::hand::Hand;
use super::world::World;
use crate::booking::{
    Cancellation, Change, Choice, Decision, Offer, ProviderCancellation, Rejection, ToProvider,
    ToUser, binding,
};
use crate::bounded::Bytes;
use crate::codec::from_bytes;
use crate::cose::{parse, sign};
use crate::id::RecordId;
use crate::key::SigningKey;
use crate::mailbox::MarkValue;
use crate::problem::Problem;
use crate::queue::Release;
use crate::role::provider::{BookState, CancelError, OfferPolicy, ProviderEvent, SlotUsage};
use crate::seal::{Purpose, open};
use crate::testing::text;

impl Hand {
    pub(super) fn change(&self, booking: RecordId, choice: Option<Choice>, nonce: u8) -> Change {
        Change {
            booking,
            choice,
            nonce: [nonce; 16],
        }
    }

    /// Signs and sends a change; its record id.
    pub(super) fn send_change(
        &mut self,
        w: &mut World,
        offer: &Offer,
        change: &Change,
    ) -> RecordId {
        let key = self.key.clone();
        self.send_change_by(w, offer, change, &key)
    }

    fn send_change_by(
        &mut self,
        w: &mut World,
        offer: &Offer,
        change: &Change,
        key: &SigningKey,
    ) -> RecordId {
        let bytes = sign(change, key);
        let id = crate::hash::record_hash(&bytes);
        let letter = ToProvider::Change(Bytes::try_from(bytes).expect("short"));
        self.send(&mut w.paper, offer, Purpose::Message, &letter);
        id
    }

    fn send_cancellation(&mut self, w: &mut World, offer: &Offer, booking: RecordId, again: bool) {
        let release = Release {
            region: w.region,
            request: self.request,
            lock: self.accept(offer).lock(),
            expires: self.expires,
        };
        let cancellation = Cancellation {
            booking,
            again,
            release: Bytes::try_from(sign(&release, &self.key)).expect("short"),
        };
        let letter = ToProvider::Cancellation(
            Bytes::try_from(sign(&cancellation, &self.key)).expect("short"),
        );
        self.send(&mut w.paper, offer, Purpose::Message, &letter);
    }

    /// What is in the channel from the provider, under a purpose.
    pub(super) fn letters(&self, w: &World, offer: &Offer, purpose: Purpose) -> Vec<ToUser> {
        let id = binding(&offer.to_user.id());
        let open = |e: crate::mailbox::Entry| {
            let plain = open(&self.user, purpose, &id, 0, &[], &e.blob).ok()?;
            from_bytes::<ToUser>(&plain, 4096).ok()
        };
        let contents = w.paper.contents(&offer.to_user);
        contents.into_iter().filter_map(open).collect()
    }

    fn more_offers(&self, w: &World, offer: &Offer) -> Vec<Offer> {
        let letters = self.letters(w, offer, Purpose::Offer).into_iter();
        letters
            .filter_map(|l| match l {
                ToUser::Offer(bytes) => {
                    Some(parse::<Offer>(&bytes).expect("one").unverified().clone())
                }
                _ => None,
            })
            .collect()
    }
}

/// A user by hand with an offer of three slots, who has booked the first.
fn booked(seed: u64, slots: u32) -> (World, Hand, RecordId, Offer, RecordId) {
    let mut w = World::new(seed, false, false);
    let mut hand = Hand::new(&mut w.paper, w.region);
    w.slots(slots);
    w.go(4);
    let (id, offer) = hand.offer(&w.paper).expect("an offer");
    let booking = hand.booking(id, &offer, 0);
    let key = hand.key.clone();
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    w.go(4);
    let root = w.provider.bookings()[0].0;
    assert_eq!(w.booked(), 1);
    (w, hand, id, offer, root)
}

fn usages(w: &World, usage: SlotUsage) -> usize {
    w.provider
        .slots()
        .iter()
        .filter(|s| s.usage == usage)
        .count()
}

fn standing(w: &World) -> Vec<crate::role::provider::BookEntry> {
    let book = w.provider.bookings().into_iter().map(|(_, b)| b);
    book.filter(|b| b.state == BookState::Confirmed).collect()
}

fn last(hand: &Hand, w: &World, offer: &Offer) -> (RecordId, Decision) {
    let decision = hand.decisions(&w.paper, offer).pop().expect("an answer");
    (decision.booking, decision.decision)
}

#[test]
fn a_booking_moves_to_another_slot_and_the_lock_stays() {
    for restart in [false, true] {
        let (mut w, mut hand, id, offer, root) = booked(300, 3);
        w.restart = restart;
        let choice = Choice { offer: id, slot: 2 };
        let change = hand.change(root, Some(choice), 1);
        let named = hand.send_change(&mut w, &offer, &change);
        w.go(6);
        assert_eq!(last(&hand, &w, &offer), (named, Decision::Confirmed));
        let lines = standing(&w);
        assert_eq!(lines.len(), 1, "one line per booking");
        assert_eq!(lines[0].start, offer.slots[2].start);
        assert_eq!(w.paper.locked(), 1);
        assert_eq!(usages(&w, SlotUsage::Booked), 1);
        let says = |w: &World, n: usize| w.paper.mark(&offer.slots[n].mark.id()).map(|m| m.value);
        assert_eq!(says(&w, 0), Some(MarkValue::Open));
        assert_eq!(says(&w, 2), Some(MarkValue::Taken));
        // A replay changes nothing and is not answered; the old name is no longer the booking's.
        hand.send_change(&mut w, &offer, &change);
        w.go(3);
        assert_eq!(hand.decisions(&w.paper, &offer).len(), 2);
        let back = Choice { offer: id, slot: 0 };
        let stale = hand.change(root, Some(back), 2);
        let stale = hand.send_change(&mut w, &offer, &stale);
        w.go(3);
        let closed = Decision::Rejected(Rejection::OfferClosed);
        assert_eq!(last(&hand, &w, &offer), (stale, closed));
        // By its new name it moves again; a cancellation may still use the first one.
        let again = hand.change(named, Some(back), 3);
        let again = hand.send_change(&mut w, &offer, &again);
        w.go(4);
        assert_eq!(last(&hand, &w, &offer), (again, Decision::Confirmed));
        hand.send_cancellation(&mut w, &offer, root, false);
        w.go(4);
        assert_eq!((w.booked(), w.paper.locked()), (0, 0));
        assert_eq!(usages(&w, SlotUsage::Booked), 0);
    }
}

#[test]
fn changes_that_cannot_be_leave_the_booking_as_it_is() {
    let (mut w, mut hand, id, offer, root) = booked(301, 3);
    let start = standing(&w)[0].start;
    // The third slot is taken by another device meanwhile.
    let line = w
        .provider
        .slots()
        .into_iter()
        .find(|s| s.start == offer.slots[2].start);
    let line = line.expect("a slot");
    let mark = w.provider.mark_of(line.id).expect("a mark");
    let taken = w
        .provider
        .sign_mark(line.id, 9, MarkValue::Taken)
        .expect("signed");
    w.paper.overwrite_mark(mark.id(), 9, taken);
    let other = RecordId::from_bytes([7; 32]);
    let table = [
        (
            root,
            Some(Choice { offer: id, slot: 2 }),
            Rejection::SlotTaken,
        ),
        (
            root,
            Some(Choice { offer: id, slot: 0 }),
            Rejection::SlotTaken,
        ),
        (
            root,
            Some(Choice { offer: id, slot: 3 }),
            Rejection::DataMismatch,
        ),
        (
            root,
            Some(Choice {
                offer: other,
                slot: 0,
            }),
            Rejection::OfferClosed,
        ),
        (
            other,
            Some(Choice { offer: id, slot: 1 }),
            Rejection::OfferClosed,
        ),
        (other, None, Rejection::OfferClosed),
    ];
    for (n, (booking, choice, reason)) in table.into_iter().enumerate() {
        let change = hand.change(booking, choice, n as u8);
        let named = hand.send_change(&mut w, &offer, &change);
        w.go(4);
        let expected = (named, Decision::Rejected(reason));
        assert_eq!(last(&hand, &w, &offer), expected, "case {n}");
        assert_eq!(standing(&w)[0].start, start);
        assert_eq!((w.booked(), w.paper.locked()), (1, 1));
    }
    // By somebody else's key it is not answered at all.
    let answers = hand.decisions(&w.paper, &offer).len();
    let key = SigningKey::generate(&mut w.paper.rng);
    let change = hand.change(root, Some(Choice { offer: id, slot: 1 }), 9);
    hand.send_change_by(&mut w, &offer, &change, &key);
    w.go(3);
    assert_eq!(hand.decisions(&w.paper, &offer).len(), answers);
    assert_eq!(
        usages(&w, SlotUsage::Elsewhere),
        1,
        "{:?}",
        w.provider.slots()
    );
}

#[test]
fn letters_before_the_booking_they_are_about_change_nothing() {
    let mut w = World::new(302, false, false);
    let mut hand = Hand::new(&mut w.paper, w.region);
    w.slots(3);
    w.go(4);
    let (id, offer) = hand.offer(&w.paper).expect("an offer");
    let booking = hand.booking(id, &offer, 0);
    let key = hand.key.clone();
    let root = crate::hash::record_hash(&sign(&booking, &key));
    let change = hand.change(root, Some(Choice { offer: id, slot: 1 }), 1);
    let change = hand.send_change(&mut w, &offer, &change);
    hand.send_cancellation(&mut w, &offer, root, true);
    w.go(3);
    let closed = Decision::Rejected(Rejection::OfferClosed);
    assert_eq!(last(&hand, &w, &offer), (change, closed));
    // Twice the same booking, sealed anew: it is confirmed once.
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    w.go(5);
    assert_eq!(last(&hand, &w, &offer), (root, Decision::Confirmed));
    assert_eq!(hand.decisions(&w.paper, &offer).len(), 2);
    assert_eq!(w.booked(), 1);
}

#[test]
fn a_cancellation_that_overtakes_a_change_waits_for_it() {
    let (mut w, mut hand, id, offer, root) = booked(303, 3);
    // Whose lock is freed is listed again here; a new offer is not what is looked at.
    w.provider.set_automatic(false);
    let change = hand.change(root, Some(Choice { offer: id, slot: 1 }), 1);
    hand.send_change(&mut w, &offer, &change);
    hand.send_cancellation(&mut w, &offer, root, false);
    w.go(6);
    assert_eq!((w.booked(), w.paper.locked()), (0, 0));
    assert_eq!(usages(&w, SlotUsage::Free), 3, "{:?}", w.provider.slots());
}

#[test]
fn a_booking_changes_so_often_and_no_more() {
    let (mut w, mut hand, id, offer, root) = booked(304, 3);
    let most = w.paper.fixture.params.reoffers;
    let mut name = root;
    for n in 0..=most {
        let slot = 1 + n % 2;
        let change = hand.change(name, Some(Choice { offer: id, slot }), n);
        name = hand.send_change(&mut w, &offer, &change);
        w.go(4);
        let expected = if n < most {
            Decision::Confirmed
        } else {
            Decision::Rejected(Rejection::OfferClosed)
        };
        assert_eq!(last(&hand, &w, &offer), (name, expected));
    }
    assert_eq!(standing(&w).len(), 1);
}

#[test]
fn who_asks_for_other_slots_gets_new_ones_or_is_told_and_served_first_later() {
    let (mut w, mut hand, _, offer, root) = booked(305, 4);
    w.provider.set_automatic(false);
    let ask = hand.change(root, None, 1);
    hand.send_change(&mut w, &offer, &ask);
    w.go(4);
    let more = hand.more_offers(&w, &offer);
    assert_eq!(more.len(), 1);
    assert!(
        more[0]
            .slots
            .iter()
            .all(|s| s.start != offer.slots[0].start)
    );
    // A change to a slot of that offer is confirmed, whichever offer it is sealed to.
    let id = {
        let letters = hand.letters(&w, &offer, Purpose::Offer);
        let Some(ToUser::Offer(bytes)) = letters.into_iter().next() else {
            panic!("an offer")
        };
        crate::hash::record_hash(&bytes)
    };
    let change = hand.change(root, Some(Choice { offer: id, slot: 0 }), 2);
    let moved = hand.send_change(&mut w, &offer, &change);
    w.go(4);
    assert_eq!(last(&hand, &w, &offer), (moved, Decision::Confirmed));
    // With nothing left, it is said so, and remembered over a restart.
    for line in w.provider.slots() {
        if line.usage != SlotUsage::Booked {
            w.provider.remove_slot(line.id).expect("free");
        }
    }
    let ask = hand.change(moved, None, 3);
    let ask = hand.send_change(&mut w, &offer, &ask);
    w.go(4);
    let nothing = Decision::Rejected(Rejection::NothingFree);
    assert_eq!(last(&hand, &w, &offer), (ask, nothing));
    let told = |e: &ProviderEvent| matches!(e, ProviderEvent::NothingToOffer { .. });
    assert!(w.to_provider.iter().any(told));
    w.provider = w.paper.restarted(&w.provider);
    w.slots(1);
    w.go(2);
    assert_eq!(hand.more_offers(&w, &offer).len(), 2);
    assert_eq!(standing(&w).len(), 1);
}

#[test]
fn a_user_who_cancels_while_every_slot_is_held_is_told_and_served_first() {
    let mut w = World::new(306, false, false);
    w.provider.set_policy(OfferPolicy {
        per_slot: 1,
        ..OfferPolicy::default()
    });
    let mut hand = Hand::new(&mut w.paper, w.region);
    w.slots(1);
    w.go(4);
    let (id, offer) = hand.offer(&w.paper).expect("an offer");
    let booking = hand.booking(id, &offer, 0);
    let key = hand.key.clone();
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    w.go(4);
    // Every other slot is held by the offers to somebody else.
    let ada = w.user("Ada", None);
    w.slots(2);
    w.go(5);
    assert_eq!(w.users[ada].offers().len(), 1);
    assert_eq!(
        usages(&w, SlotUsage::Offered),
        2,
        "{:?}",
        w.provider.slots()
    );
    let root = w.provider.bookings()[0].0;
    for line in w.provider.slots() {
        if line.usage == SlotUsage::Booked {
            // The provider takes the slot back with the booking: nothing is free.
            let (now, mut rng) = (w.paper.now, w.paper.rng.clone());
            let done = w
                .provider
                .cancel(&root, false, true, text("ill"), now, &mut rng);
            assert_eq!(done, Ok(()));
        }
    }
    w.go(3);
    assert!(hand.more_offers(&w, &offer).is_empty());
    let told = |e: &&ProviderEvent| matches!(e, ProviderEvent::NothingToOffer { .. });
    assert_eq!(w.to_provider.iter().filter(told).count(), 1);
    // Eve asks too; who is owed an offer comes first.
    let eve = w.user("Eve", None);
    w.provider = w.paper.restarted(&w.provider);
    w.go(2);
    w.slots(1);
    w.go(3);
    assert_eq!(hand.more_offers(&w, &offer).len(), 1);
    assert!(w.users[eve].offers().is_empty());
}

#[test]
fn the_provider_cancels_and_the_lock_is_free() {
    for (keep, again) in [(true, true), (false, false)] {
        let (mut w, hand, _, offer, root) = booked(307, 3);
        let (now, mut rng) = (w.paper.now, w.paper.rng.clone());
        let unknown = RecordId::from_bytes([1; 32]);
        let done = w
            .provider
            .cancel(&unknown, keep, again, text(""), now, &mut rng);
        assert_eq!(done, Err(CancelError::Unknown));
        let done = w
            .provider
            .cancel(&root, keep, again, text("ill"), now, &mut rng);
        assert_eq!(done, Ok(()));
        let done = w
            .provider
            .cancel(&root, keep, again, text("ill"), now, &mut rng);
        assert_eq!(done, Err(CancelError::Unknown), "once");
        w.provider = w.paper.restarted(&w.provider);
        w.go(4);
        assert_eq!(w.paper.locked(), 0);
        let entry = &w.provider.bookings()[0].1;
        assert_eq!(entry.state, BookState::CancelledByProvider);
        let letters = hand.letters(&w, &offer, Purpose::Message);
        let [ToUser::Cancellation(bytes)] = &letters[..] else {
            panic!("one cancellation: {letters:?}")
        };
        let said = parse::<ProviderCancellation>(bytes).expect("one");
        let said = said
            .verify(&w.provider.key())
            .expect("signed by the provider");
        assert_eq!((said.booking, said.again), (root, again));
        let release = parse::<Release>(&said.release).expect("one");
        assert_eq!(release.unverified().lock, hand.accept(&offer).lock());
        assert_eq!(hand.more_offers(&w, &offer).len(), usize::from(again));
        assert_eq!(w.provider.slots().len(), if keep { 3 } else { 2 });
        assert_eq!(usages(&w, SlotUsage::Booked), 0);
    }
}

#[test]
fn a_revoked_provider_confirms_nothing_but_hears_cancellations() {
    let (mut w, mut hand, _, offer, root) = booked(308, 3);
    let mut other = Hand::new(&mut w.paper, w.region);
    w.go(4);
    let (id, second) = other.offer(&w.paper).expect("an offer");
    let (serial, _) = w.provider.certificate().expect("certified");
    w.mediator
        .revoke(serial, text("gone"), w.paper.now, &mut w.paper.rng)
        .expect("revoked");
    w.go(3);
    let ended = ProviderEvent::CertificateEnded(Problem::Revoked);
    assert_eq!(w.to_provider.iter().filter(|e| **e == ended).count(), 1);
    let late = Hand::new(&mut w.paper, w.region);
    let booking = other.booking(id, &second, 1);
    let key = other.key.clone();
    other.send_booking(&mut w.paper, &second, &booking, &key);
    hand.send_cancellation(&mut w, &offer, root, true);
    w.go(5);
    let closed = Decision::Rejected(Rejection::OfferClosed);
    assert_eq!(last(&other, &w, &second).1, closed);
    assert_eq!((w.booked(), w.paper.locked()), (0, 0));
    assert!(late.offer(&w.paper).is_none());
    assert!(hand.more_offers(&w, &offer).is_empty());
}
