//! Many at once: never a token admitted twice, never a slot with two users, never a token with two
//! bookings, never a confirmation that is not stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lapwing_client::driver::Handle;
use lapwing_protocol::client::Answer;
use lapwing_protocol::id::{MailboxId, RecordId};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::provider::{BookState, OfferPolicy, Provider};
use lapwing_protocol::role::user::{BookingStatus, UserStatus};
use lapwing_protocol::role::{Role, User};
use lapwing_protocol::token::UserData;
use lapwing_testnet::audit;
use lapwing_testnet::clients::numbered;
use lapwing_testnet::ledger::{Entries, Ledger};
use tokio::task::JoinSet;

use crate::hand::Hand;
use crate::people::{Person, book, confirmed, decided, offers};
use crate::stage::{Practice, Stage, add_slots, insist, stopped, until};

/// How many there are at once.
const MANY: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_admitted_once_however_many_ask_at_once() {
    let stage = Stage::start(5, 21, |_| ()).await;
    let mut hand = Hand::open(&stage, 21).await;
    // Each at one of three nodes, as a client of its own.
    let at_once = async |calls: Vec<lapwing_protocol::client::Call>| {
        let mut asking = JoinSet::new();
        for (n, call) in calls.into_iter().enumerate() {
            let place = stage.places[n % 3].clone();
            let client = 2000 + u16::try_from(n).unwrap();
            asking.spawn(async move { (n, insist(client, &place, &call).await) });
        }
        let answers: BTreeMap<usize, Result<Answer, Problem>> =
            asking.join_all().await.into_iter().collect();
        answers.into_values().collect::<Vec<_>>()
    };
    let admission = |answer: &Answer| match answer {
        Answer::Admission(bytes) => bytes.clone(),
        other => panic!("an admission: {other:?}"),
    };

    let drawn = hand.draw(&stage, 1).await;
    let (same, first) = hand.request(&drawn);
    let answers = at_once(vec![same.clone(); MANY]).await;
    let said: BTreeSet<_> = answers
        .iter()
        .map(|a| admission(a.as_ref().unwrap()))
        .collect();
    assert_eq!(said.len(), 1, "one admission, byte for byte");

    let drawn = hand.draw(&stage, 2).await;
    let different: Vec<_> = (0..MANY).map(|_| hand.request(&drawn)).collect();
    let calls: Vec<_> = different.iter().map(|(call, _)| call.clone()).collect();
    let answers = at_once(calls.clone()).await;
    let won: Vec<usize> = (0..MANY).filter(|n| answers[*n].is_ok()).collect();
    assert_eq!(won.len(), 1, "one of them: {answers:?}");
    for (n, answer) in answers.iter().enumerate().filter(|(n, _)| *n != won[0]) {
        assert_eq!(answer.as_ref().err(), Some(&Problem::TokenUsed), "{n}");
    }
    // Every node says the same, also those that were not asked before.
    for node in 0..5 {
        for (call, before) in calls
            .iter()
            .zip(&answers)
            .chain([(&same, &answers[won[0]])])
        {
            let again = stage.insist(node, call).await;
            if *call == same {
                assert!(said.contains(&admission(&again.unwrap())), "node {node}");
            } else {
                assert_eq!(again, *before, "node {node}");
            }
        }
    }
    let listed = hand.claim(&stage, 3, 20).await;
    let listed: BTreeSet<_> = listed.iter().map(|t| t.grant.request).collect();
    assert_eq!(listed, BTreeSet::from([first, different[won[0]].1]));
    stage.net.stop().await.unwrap();
}

/// What must hold of a practice when all is over, whoever worked for it.
struct Outcome {
    people: Vec<(UserData, User)>,
    devices: Vec<Provider>,
    /// How many users think that they are booked.
    booked: usize,
    /// How many slots are marked as taken.
    taken: usize,
}

impl Outcome {
    /// Ends all roles, and checks books, users, marks, and what nodes have acknowledged.
    async fn of(
        stage: &Stage,
        people: Vec<Person>,
        devices: Vec<Handle<Provider>>,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let mut users = Vec::new();
        for person in people {
            users.push((person.data, stopped(person.handle).await));
        }
        let mut roles = Vec::new();
        for device in devices {
            roles.push(stopped(device).await);
        }
        let mut outcome = Outcome {
            people: users,
            devices: roles,
            booked: 0,
            taken: stage.taken(&ledger.read().marks).await,
        };
        outcome.one_each();
        outcome.booked = outcome.every_confirmation_is_in_the_book();
        outcome.nothing_acknowledged_is_lost(stage, ledger).await;
        assert!(outcome.taken >= outcome.booked, "a booked slot is open");
        outcome
    }

    /// No slot with two bookings, no token with two, over all devices.
    fn one_each(&self) {
        let (mut slots, mut tokens) = (BTreeMap::new(), BTreeMap::new());
        for device in &self.devices {
            for (id, entry) in device.bookings() {
                if entry.state != BookState::Confirmed {
                    continue;
                }
                let first: &mut RecordId = slots.entry(entry.start).or_insert(id);
                assert_eq!(*first, id, "a slot with two bookings");
                let first: &mut RecordId = tokens.entry(entry.token).or_insert(id);
                assert_eq!(*first, id, "a token with two bookings");
            }
        }
    }

    fn every_confirmation_is_in_the_book(&self) -> usize {
        let book: Vec<_> = self.devices.iter().flat_map(confirmed).collect();
        let mut booked = 0;
        for (data, user) in &self.people {
            if user.status() != UserStatus::Booking(BookingStatus::Confirmed) {
                continue;
            }
            let start = user.booking().unwrap().start;
            assert!(
                book.iter().any(|e| e.start == start && e.data == *data),
                "a confirmation that is in no book"
            );
            booked += 1;
        }
        booked
    }

    /// Every node shows everything that was acknowledged in what somebody still reads: so does a read
    /// quorum. The confirmations are among it.
    async fn nothing_acknowledged_is_lost(&self, stage: &Stage, ledger: &Arc<Ledger>) {
        let mut readers = Vec::new();
        let mut read: BTreeSet<MailboxId> = BTreeSet::new();
        for (_, user) in &self.people {
            readers.push(audit::user(user).unwrap());
            read.extend(user.watching().iter().map(|m| m.id()));
        }
        for device in &self.devices {
            readers.push(audit::provider(device).unwrap());
            read.extend(device.watching().iter().map(|m| m.id()));
        }
        for ledger in [&stage.ledger, ledger] {
            let mut entries: Entries = ledger.read();
            assert_eq!(entries.unread, 0);
            // Of conversations that are over nobody has the keys any more.
            entries
                .blobs
                .retain(|(mailbox, _, _)| read.contains(mailbox));
            entries
                .deletions
                .retain(|(mailbox, _)| read.contains(mailbox));
            entries.mailboxes.retain(|mailbox| read.contains(mailbox));
            let lanes = [numbered(990), numbered(991)];
            let found = audit::read_back(&lanes, &stage.places, &Arc::new(entries), &mut readers)
                .await
                .unwrap();
            assert_eq!(found.lost, 0, "{:?}", found.missing);
            for (_, user) in &self.people {
                if user.status() != UserStatus::Booking(BookingStatus::Confirmed) {
                    continue;
                }
                for place in &stage.places {
                    // The offer is in the inbox, the confirmation in the channel.
                    let full = |m: &lapwing_protocol::mailbox::Mailbox| {
                        let held = found.mailboxes.get(&(place.id, m.id()));
                        held.is_some_and(|h| !h.is_empty())
                    };
                    let held = user.watching().iter().filter(|m| full(m)).count();
                    assert!(held >= 2, "a confirmation that is not stored");
                }
            }
        }
    }
}

/// Waits until every user has an offer.
async fn all_offered(people: &[Person]) {
    for person in people {
        until("an offer", async || !offers(person).await.is_empty()).await;
    }
}

/// All book at once, what they can; then all are decided, or have been told that nothing is free.
async fn all_book_once(people: &[Person]) -> Vec<BookingStatus> {
    // First everybody begins, then everybody waits: their roles run by themselves.
    for person in people {
        book(person).await.unwrap();
    }
    let mut statuses = Vec::new();
    for person in people {
        statuses.push(decided(person).await);
    }
    statuses
}

/// The same practice at several devices: each goes on from the same stored state.
async fn devices(
    stage: &mut Stage,
    practice: Practice,
    count: usize,
    automatic: bool,
) -> (Vec<Handle<Provider>>, Arc<Ledger>) {
    let provider = stopped(practice.handle).await;
    let saved = provider.save();
    let mut devices = Vec::new();
    for n in 0..count {
        let mut role = Provider::restore(&saved).unwrap();
        role.set_view(provider.view().clone()).unwrap();
        role.set_automatic(automatic);
        let mut options = stage.options("device", 10 * devices.len() + n, n);
        options.ledger = practice.ledger.clone();
        devices.push(Handle::start(role, options));
    }
    (devices, practice.ledger)
}

fn policy(slots: u8, per_slot: u8) -> OfferPolicy {
    OfferPolicy {
        slots,
        per_slot,
        ..OfferPolicy::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_users_book_sixteen_slots_and_one_slot_at_once() {
    // One open offer a token: what one device has offered, the other does not.
    let mut stage = Stage::alone(5, 22, |p| p.open_offers = 1).await;
    let mut desk = stage.desk(2).await;
    let mut many = stage.practice(&mut desk, 0, 0).await;
    let mut one = stage.practice(&mut desk, 1, 1).await;

    let people = stage.people(0..MANY, many.region).await;
    add_slots(&mut many.handle, 0, 16).await;
    all_offered(&people).await;
    let mut booking = JoinSet::new();
    for person in people {
        booking.spawn(async move {
            // Who is turned down books again, until there is a confirmation.
            person.book().await;
            person
        });
    }
    let people = booking.join_all().await;
    let outcome = Outcome::of(&stage, people, vec![many.handle], &many.ledger).await;
    assert_eq!((outcome.booked, outcome.taken), (MANY, MANY));

    // A device offers a slot to eight users at most: two devices of one practice, for sixteen.
    let people = stage.people(MANY..2 * MANY, one.region).await;
    let prepared = one.handle.with(|p, _, _| {
        p.set_automatic(false);
        p.set_policy(policy(1, 8));
    });
    prepared.await.unwrap();
    add_slots(&mut one.handle, 0, 1).await;
    let (devices, ledger) = devices(&mut stage, one, 2, false).await;
    for (n, device) in devices.iter().enumerate() {
        device.with(|p, _, _| p.set_automatic(true)).await.unwrap();
        until("its offers", async || {
            let mut offered = 0;
            for person in &people {
                offered += usize::from(!offers(person).await.is_empty());
            }
            offered >= 8 * (n + 1)
        })
        .await;
    }
    let statuses = all_book_once(&people).await;
    let won = statuses.iter().filter(|s| **s == BookingStatus::Confirmed);
    let won = won.count();
    let outcome = Outcome::of(&stage, people, devices, &ledger).await;
    assert!(won <= 1 && outcome.booked == won, "{statuses:?}");
    assert_eq!(outcome.taken, 1);
    stage.net.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_that_confirm_at_once_never_book_a_slot_twice() {
    let mut stage = Stage::start(5, 23, |p| p.open_offers = 1).await;
    let mut desk = stage.desk(1).await;
    let mut practice = stage.practice(&mut desk, 0, 0).await;
    let people = stage.people(0..6, practice.region).await;
    // Three slots, each on offer to two users.
    let set = practice.handle.with(|p, _, _| p.set_policy(policy(1, 2)));
    set.await.unwrap();
    add_slots(&mut practice.handle, 0, 3).await;
    all_offered(&people).await;
    let (devices, ledger) = devices(&mut stage, practice, 2, false).await;
    let statuses = all_book_once(&people).await;
    // What one device says may come after what the other says: until all letters are read.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let outcome = Outcome::of(&stage, people, devices, &ledger).await;
    let books: Vec<_> = outcome.devices.iter().map(|d| confirmed(d).len()).collect();
    println!(
        "{statuses:?}, {} booked, books of {books:?}",
        outcome.booked
    );
    assert!(outcome.taken <= 3 && outcome.booked <= 3);
    assert!(books.iter().sum::<usize>() > 0, "nobody was booked");
    stage.net.stop().await.unwrap();
}
