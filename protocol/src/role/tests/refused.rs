//! Changes that are refused: what follows, and that every one is answered, whatever gets lost.

use super::hand::Hand;
use super::world::World;
use crate::booking::{Choice, Decision, Rejection, ToProvider};
use crate::client::{Call, CallKind};
use crate::hash::record_hash;
use crate::id::RecordId;
use crate::problem::Problem;
use crate::role::provider::{OfferPolicy, ProviderEvent, SlotUsage};
use crate::role::user::{BookingStatus, ChangeError, SlotState, User, UserEvent, UserStatus};
use crate::role::{CallId, Failure, Role};
use crate::seal::Purpose;
use crate::testing::text;
use crate::time::Seconds;
use rand_core::Rng;

const CONFIRMED: UserStatus = UserStatus::Booking(BookingStatus::Confirmed);

/// A user that has booked the first slot of its offer.
fn booked(seed: u64, slots: u32, restart: bool) -> (World, usize) {
    let mut w = World::new(seed, restart, false);
    w.slots(slots);
    let a = w.user("Ada", None);
    w.go(12);
    w.book(a, 0).expect("booked");
    w.go(8);
    assert_eq!(w.status(a), CONFIRMED);
    w.provider.set_automatic(false);
    (w, a)
}

/// Takes back free slots, all but so many of the last.
fn take_back(w: &mut World, but: usize) {
    let lines = w.provider.slots();
    let free: Vec<_> = lines
        .iter()
        .filter(|l| l.usage != SlotUsage::Booked)
        .collect();
    for line in free.iter().rev().skip(but) {
        w.provider.remove_slot(line.id).expect("free");
    }
}

fn change(w: &mut World, user: usize, offer: &RecordId, slot: u8) -> Result<(), ChangeError> {
    let now = w.paper.now;
    w.users[user].change(offer, slot, now, &mut w.paper.rng)
}

fn refusals(w: &World, of: Rejection) -> usize {
    let told = w
        .to_users
        .iter()
        .filter(|(_, e)| matches!(e, UserEvent::ChangeRejected { reason, .. } if *reason == of));
    told.count()
}

#[test]
fn who_asks_for_a_slot_that_is_gone_is_offered_others() {
    for restart in [false, true] {
        let (mut w, a) = booked(500, 6, restart);
        let first = w.users[a].booking().expect("one").offer;
        take_back(&mut w, 2);
        // Marks are not read by themselves while a booking stands.
        change(&mut w, a, &first, 1).expect("asked");
        w.go(6);
        assert_eq!(refusals(&w, Rejection::SlotTaken), 1);
        let more: Vec<_> = w.users[a]
            .offers()
            .into_iter()
            .filter(|o| o.id != first)
            .collect();
        assert_eq!(more.len(), 1, "another offer follows");
        assert_eq!(more[0].slots.len(), 2);
        // The offer was there when the refusal was told.
        let at = |what: &dyn Fn(&UserEvent) -> bool| w.to_users.iter().position(|(_, e)| what(e));
        let offered = at(&|e| matches!(e, UserEvent::OfferReceived(o) if o.id == more[0].id));
        let refused = at(&|e| matches!(e, UserEvent::ChangeRejected { .. }));
        assert!(offered.expect("told") < refused.expect("told"));
        change(&mut w, a, &more[0].id, 0).expect("asked");
        w.go(6);
        let now = w.users[a].booking().expect("one");
        assert_eq!((now.start, now.change), (more[0].slots[0].start, None));
        assert_eq!((w.booked(), w.paper.locked()), (1, 1));
    }
}

#[test]
fn who_asks_for_a_slot_that_is_gone_hears_that_nothing_is_free_and_is_served_later() {
    let (mut w, a) = booked(501, 3, true);
    let first = w.users[a].booking().expect("one").offer;
    take_back(&mut w, 0);
    change(&mut w, a, &first, 1).expect("asked");
    w.go(6);
    assert_eq!(refusals(&w, Rejection::NothingFree), 1);
    let nothing = |e: &&(usize, UserEvent)| matches!(e.1, UserEvent::NothingFree { .. });
    assert_eq!(w.to_users.iter().filter(nothing).count(), 1);
    assert_eq!(w.status(a), CONFIRMED, "the booking stands");
    let now = w.paper.now;
    let asked = w.users[a].ask_other_slots(now, &mut w.paper.rng);
    assert_eq!(asked, Err(ChangeError::Pending), "an offer is owed");
    w.slots(1);
    w.go(4);
    let more: Vec<_> = w.users[a]
        .offers()
        .into_iter()
        .filter(|o| o.id != first)
        .collect();
    assert_eq!(more.len(), 1, "what is owed comes");
    change(&mut w, a, &more[0].id, 0).expect("asked");
    w.go(6);
    assert_eq!(
        w.users[a].booking().expect("one").start,
        more[0].slots[0].start
    );
}

#[test]
fn while_another_slot_of_the_offer_is_free_none_is_added() {
    let (mut w, a) = booked(502, 6, false);
    let first = w.users[a].booking().expect("one").offer;
    let taken = w.users[a].offer(&first).expect("shown").slots[1].start;
    let lines = w.provider.slots();
    let gone = lines.iter().find(|l| l.start == taken).expect("offered").id;
    w.provider.remove_slot(gone).expect("free");
    change(&mut w, a, &first, 1).expect("asked");
    w.go(6);
    assert_eq!(refusals(&w, Rejection::SlotTaken), 1);
    assert_eq!(w.users[a].offers().len(), 1);
    change(&mut w, a, &first, 2).expect("asked");
    w.go(6);
    assert_eq!(w.users[a].booking().expect("one").slot, 2);
}

#[test]
fn what_follows_a_refusal_is_bounded_and_a_cancellation_always_fits() {
    let mut w = World::new(503, false, false);
    let mut hand = Hand::new(&mut w.paper, w.region);
    w.slots(3);
    w.go(4);
    let (id, offer) = hand.offer(&w.paper).expect("an offer");
    let booking = hand.booking(id, &offer, 0);
    let key = hand.key.clone();
    hand.send_booking(&mut w.paper, &offer, &booking, &key);
    w.go(4);
    let root = w.provider.bookings()[0].0;
    w.provider.set_automatic(false);
    w.provider.set_policy(OfferPolicy {
        slots: 1,
        ..OfferPolicy::default()
    });
    let most = usize::from(w.paper.fixture.params.reoffers);
    let (mut offers, mut answers) = (0, 0);
    let mut asked = id;
    for nonce in 0..14u8 {
        // Whatever was offered last is gone, and one new slot is free.
        take_back(&mut w, 0);
        w.slots(1);
        let slot = u8::from(asked == id);
        let said = hand.change(root, Some(Choice { offer: asked, slot }), nonce);
        let letter = hand.send_change(&mut w, &offer, &said);
        w.go(3);
        let decisions = hand.decisions(&w.paper, &offer);
        if decisions.len() > answers + 1 {
            assert_eq!(decisions.last().expect("one").booking, letter);
            let no = Decision::Rejected(Rejection::SlotTaken);
            assert_eq!(decisions.last().expect("one").decision, no);
        }
        answers = decisions.len() - 1;
        let more = hand.letters(&w, &offer, Purpose::Offer);
        offers = more.len();
        if let Some(crate::booking::ToUser::Offer(bytes)) = more.last() {
            asked = record_hash(bytes);
        }
    }
    assert_eq!(offers, most, "as many as wishes for other slots");
    // Sixteen letters: the confirmation, the offers, the answers, and one that is left.
    assert_eq!(answers, 16 - 1 - most - 1);
    let (now, mut rng) = (w.paper.now, w.paper.rng.clone());
    let done = w
        .provider
        .cancel(&root, false, false, text(""), now, &mut rng);
    assert_eq!(done, Ok(()));
}

#[test]
fn letters_on_later_pages_wait_for_the_one_that_waits() {
    let mut w = World::new(504, false, false);
    let mut hands = [0, 1].map(|_| Hand::new(&mut w.paper, w.region));
    w.slots(1);
    w.go(4);
    w.provider.set_automatic(false);
    // The first has the slot as good as taken, and the lock does not come.
    w.paper.refuse.insert(CallKind::Lock, Problem::Busy);
    for (n, hand) in hands.iter_mut().enumerate() {
        let (id, offer) = hand.offer(&w.paper).expect("an offer");
        let booking = hand.booking(id, &offer, 0);
        let key = hand.key.clone();
        hand.send_booking(&mut w.paper, &offer, &booking, &key);
        w.go(1);
        for said in ["one", "two", "three"].into_iter().filter(|_| n == 1) {
            let letter = ToProvider::Message(text(said));
            hand.send(&mut w.paper, &offer, Purpose::Message, &letter);
        }
        w.go(2);
    }
    w.paper.refuse.clear();
    w.go(6);
    assert_eq!(w.booked(), 1);
    let told: Vec<String> = w
        .to_provider
        .iter()
        .filter_map(|e| match e {
            ProviderEvent::Rejected { .. } => Some("no".into()),
            ProviderEvent::Message { text, .. } => Some(text.as_str().into()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["no", "one", "two", "three"]);
}

/// A role whose calls are answered late, in any order, or not at all, and which is restarted or sent to
/// another node in between.
struct Side<R: Role> {
    role: R,
    open: Vec<(CallId, Call)>,
    told: Vec<R::Event>,
}

impl<R: Role> Side<R> {
    fn new(role: R) -> Self {
        Side {
            role,
            open: Vec::new(),
            told: Vec::new(),
        }
    }

    fn step(&mut self, w: &mut World, calm: bool) {
        let chance = w.paper.rng.next_u32() % 24;
        match chance {
            0 if !calm => {
                self.role = w.paper.restarted(&self.role);
                // Some of what was on its way arrives all the same.
                for (_, call) in std::mem::take(&mut self.open) {
                    if w.paper.rng.next_u32().is_multiple_of(2) {
                        let _unheard = w.paper.serve(&call);
                    }
                }
            }
            1 if !calm => self.role.set_node(w.paper.node()),
            _ => {}
        }
        let calls = self.role.poll(w.paper.now, &mut w.paper.rng);
        self.open.extend(calls);
        self.told.extend(self.role.events());
        if self.open.is_empty() {
            return;
        }
        let at = w.paper.rng.next_u32() as usize % self.open.len();
        let (id, call) = self.open.swap_remove(at);
        let outcome = match w.paper.rng.next_u32() % 5 {
            0 if !calm => Err(Failure::Unreachable),
            1 if !calm => {
                let _unheard = w.paper.serve(&call);
                Err(Failure::Unreachable)
            }
            _ => w.paper.serve(&call),
        };
        let now = w.paper.now;
        self.told
            .extend(self.role.answer(id, outcome, now, &mut w.paper.rng));
    }
}

/// Asks for any other slot that is not known to be taken.
fn any_change(user: &mut User, w: &mut World) {
    let now = w.paper.now;
    for offer in user.offers() {
        for slot in offer.slots.iter().filter(|s| s.state != SlotState::Taken) {
            if user
                .change(&offer.id, slot.index, now, &mut w.paper.rng)
                .is_ok()
            {
                return;
            }
        }
    }
    let _pending = user.ask_other_slots(now, &mut w.paper.rng);
}

#[test]
fn every_change_is_answered_whatever_is_lost() {
    for seed in 510..518 {
        let mut w = World::new(seed, false, false);
        w.slots(7);
        let people: Vec<usize> = ["Ada", "Bob", "Eve"]
            .iter()
            .map(|n| w.user(n, None))
            .collect();
        w.go(8);
        for user in people {
            // Who came too late books what is offered next, or nothing.
            let _late = w.book(user, 0);
            w.go(6);
        }
        let mut users: Vec<Side<User>> = std::mem::take(&mut w.users)
            .into_iter()
            .map(Side::new)
            .collect();
        let mut provider = Side::new(w.paper.restarted(&w.provider));
        provider
            .role
            .set_view(w.paper.view.clone())
            .expect("one federation");
        for round in 0..3000 {
            provider.step(&mut w, false);
            let n = w.paper.rng.next_u32() as usize % users.len();
            users[n].step(&mut w, false);
            if round % 40 == 0 && users[n].role.status() == CONFIRMED {
                any_change(&mut users[n].role, &mut w);
            }
            if round % 4 == 0 {
                w.paper.pass(3);
            }
        }
        for round in 0..600 {
            provider.step(&mut w, true);
            users.iter_mut().for_each(|u| u.step(&mut w, true));
            if round % 2 == 0 {
                w.paper.pass(Seconds::MINUTE.get());
            }
        }
        let mut asked = 0;
        for (n, user) in users.iter().enumerate() {
            asked += user
                .told
                .iter()
                .filter(|e| {
                    matches!(
                        e,
                        UserEvent::Changed { .. } | UserEvent::ChangeRejected { .. }
                    )
                })
                .count();
            let booking = user.role.booking();
            let open = booking.as_ref().and_then(|b| b.change);
            assert_eq!(open, None, "SEED={seed}: user {n} has no answer");
            // Both hold the same for booked.
            if let Some(b) = booking.filter(|b| b.status == BookingStatus::Confirmed) {
                let book = provider.role.bookings();
                let line = book.iter().find(|(_, e)| {
                    e.start == b.start && e.state == crate::role::provider::BookState::Confirmed
                });
                assert!(
                    line.is_some(),
                    "SEED={seed}: user {n} holds what the book lacks"
                );
            }
        }
        assert!(asked > 0, "SEED={seed}: nothing was changed");
    }
}
