//! What a hostile node can put into a user's mailboxes, and what the user makes of it.

use super::world::World;
use crate::booking::{Confirmation, Decision, ToUser};
use crate::bounded::Bytes;
use crate::codec::to_bytes;
use crate::cose::sign;
use crate::id::ItemId;
use crate::key::SigningKey;
use crate::mailbox::Entry;
use crate::problem::Problem;
use crate::role::Role;
use crate::role::talk::seal_for;
use crate::role::user::{BookingStatus, InvalidOffer, UserEvent, UserStatus};
use crate::seal::Purpose;
use crate::testing::list;

/// A user with an offer, and the entry by which it came.
fn offered(seed: u64) -> (World, usize, Entry) {
    let mut w = World::new(seed, false, false);
    w.slots(2);
    let a = w.user("Ada", None);
    w.go(6);
    assert_eq!(w.users[a].offers().len(), 1);
    let inbox = w.users[a].watching()[0].clone();
    let entry = w.paper.contents(&inbox)[0].clone();
    w.to_users.clear();
    (w, a, entry)
}

fn plant(w: &mut World, user: usize, entry: Entry) {
    let inbox = w.users[user].watching()[0].clone();
    w.paper.plant(&inbox, entry);
    w.go(2);
}

fn invalid(w: &World) -> Vec<InvalidOffer> {
    let found = w.to_users.iter().filter_map(|(_, e)| match e {
        UserEvent::InvalidOffer(reason) => Some(*reason),
        _ => None,
    });
    found.collect()
}

#[test]
fn entries_without_a_good_ticket_are_not_shown() {
    let item = ItemId::from_bytes([1; 32]);
    type Bend = fn(&mut Entry);
    let table: [(&str, Bend, InvalidOffer); 5] = [
        (
            "in another slot",
            |e| e.slot ^= 1,
            InvalidOffer::Ticket(Problem::WrongSlot),
        ),
        (
            "without grants",
            |e| e.grants = list(vec![]),
            InvalidOffer::Ticket(Problem::BadTicket),
        ),
        (
            "with too few",
            |e| e.grants = list(e.grants[..1].to_vec()),
            InvalidOffer::Ticket(Problem::BadTicket),
        ),
        (
            "with one twice",
            |e| e.grants = list(vec![e.grants[0].clone(), e.grants[0].clone()]),
            InvalidOffer::Ticket(Problem::BadTicket),
        ),
        (
            "with another blob",
            |e| e.blob = Bytes::try_from(vec![1; 4096]).expect("short"),
            InvalidOffer::Sealed,
        ),
    ];
    for (i, (name, bend, expected)) in table.into_iter().enumerate() {
        let (mut w, a, mut entry) = offered(200 + i as u64);
        entry.item = item;
        bend(&mut entry);
        plant(&mut w, a, entry);
        assert_eq!(invalid(&w), [expected], "an entry {name}");
        assert_eq!(w.users[a].offers().len(), 1, "an entry {name}");
    }
}

#[test]
fn an_offer_to_one_user_is_none_to_another() {
    let (mut w, _, entry) = offered(210);
    let b = w.user("Bob", None);
    w.go(2);
    let inbox = w.users[b].watching()[0].clone();
    w.paper.plant(&inbox, entry);
    w.go(2);
    assert!(invalid(&w).contains(&InvalidOffer::Ticket(Problem::WrongSlot)));
    assert!(
        w.users[b]
            .offers()
            .iter()
            .all(|o| w.users[0].offers().iter().all(|p| p.id != o.id))
    );
}

#[test]
fn forged_confirmations_confirm_nothing() {
    let (mut w, a, _) = offered(211);
    let offer = w.users[a].offers()[0].clone();
    // The provider sleeps, so that only the forger answers.
    w.book(a, 0).expect("booked");
    let view = w.paper.view.clone();
    w.users[a].set_view(view).expect("one federation");
    let events = w.paper.turn(&mut w.users[a], false);
    assert!(
        events
            .iter()
            .any(|e| matches!(e, UserEvent::BookingSent { .. }))
    );
    let mailbox = w.users[a].answer_mailbox().expect("a channel");
    let to = w.users[a].sealing_key().expect("a key");
    let forger = SigningKey::generate(&mut w.paper.rng);
    let said = Confirmation {
        booking: w.users[a].booking_id().expect("sent"),
        offer: offer.id,
        slot: 0,
        start: offer.slots[0].start,
        decision: Decision::Confirmed,
    };
    let letter = to_bytes(&ToUser::Confirmation(
        Bytes::try_from(sign(&said, &forger)).expect("short"),
    ));
    let blob = seal_for(
        &mailbox,
        &to,
        Purpose::Confirmation,
        &letter,
        &mut w.paper.rng,
    )
    .expect("sealed");
    let entry = Entry {
        slot: 0,
        item: ItemId::from_bytes([2; 32]),
        grants: list(vec![]),
        blob: Bytes::try_from(blob).expect("short"),
    };
    w.paper.plant(&mailbox, entry);
    w.users[a].touched(mailbox.id());
    let events = w.paper.turn(&mut w.users[a], false);
    assert!(
        events.contains(&UserEvent::InvalidConfirmation),
        "{events:?}"
    );
    assert_eq!(
        w.users[a].status(),
        UserStatus::Booking(BookingStatus::Sent)
    );
}
