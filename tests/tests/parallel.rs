//! Many at once, over a network that loses messages: sixteen uploads of one token, sixteen bookings of
//! sixteen slots and of one, and users who ask to be listed again.
// Helpers of tests: what is refused in calm must stop the test.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use lapwing_protocol::client::{Answer, Call, CallKind};
use lapwing_protocol::cose::{parse, sign};
use lapwing_protocol::id::RequestId;
use lapwing_protocol::item::ItemKind;
use lapwing_protocol::mailbox::MarkValue;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Relist;
use lapwing_protocol::testing::Fixture;
use lapwing_protocol::time::{Seconds, Time};
use lapwing_tests::sim::{Ask, Drawn, Held, Ticket, World, each_seed};

/// Asks again at other nodes until the answer is not "try again".
fn insist(w: &mut World, call: &Call) -> Result<Answer, Problem> {
    for _ in 0..40 {
        let node = w.some_node();
        match w.call(node, call) {
            Err(problem) if problem.retry() => w.run(500),
            other => return other,
        }
    }
    unreachable!("some node answers in the end")
}

#[test]
fn one_request_at_three_nodes_is_admitted_once_with_the_same_bytes() {
    each_seed(2, |seed| {
        let mut w = World::new(seed, 5);
        w.net.loss = 60;
        let issuer = w.below(5);
        let drawn = w.draw(issuer).unwrap();
        let placed = w.request(&drawn, 0);
        let asks: Vec<Ask> = (0..16).map(|n| w.ask(n % 3, &placed.call)).collect();
        let mut answers: BTreeSet<Vec<u8>> = BTreeSet::new();
        for answer in w.answers(&asks) {
            match answer {
                Ok(Answer::Admission(bytes)) => {
                    answers.insert(bytes);
                }
                Ok(other) => panic!("{other:?}"),
                Err(problem) => assert!(problem.retry(), "{problem:?}"),
            }
        }
        if let Ok(Answer::Admission(bytes)) = insist(&mut w, &placed.call) {
            answers.insert(bytes);
        }
        assert_eq!(answers.len(), 1);
        w.net.loss = 0;
        w.converge(60_000);
        assert_eq!(w.bodies(ItemKind::Admission).len(), 1);
        assert_eq!(w.bodies(ItemKind::Entry).len(), 1);
        assert_eq!(w.bodies(ItemKind::Witness).len(), 1);
    });
}

/// Sixteen users in region 0 with a ticket for each.
fn sixteen(w: &mut World) -> Vec<(Drawn, Ticket)> {
    let users: BTreeMap<RequestId, Drawn> = (0..16)
        .map(|n| {
            let (drawn, placed) = w.place(n % w.len(), 0).unwrap();
            (placed.id, drawn)
        })
        .collect();
    let tickets = w.claim(0, 0, 16).unwrap();
    assert_eq!(tickets.len(), 16);
    tickets
        .into_iter()
        .map(|t| (users[&t.grant.request].clone(), t))
        .collect()
}

#[test]
fn sixteen_users_book_sixteen_slots_at_once() {
    each_seed(2, |seed| {
        let mut w = World::new(seed, 3 + 2 * usize::try_from(seed % 2).unwrap());
        let users = sixteen(&mut w);
        let marks: Vec<_> = (0..16).map(|_| w.mark()).collect();
        for mark in &marks {
            w.open_mark(0, mark).unwrap();
        }
        w.net.loss = 60;
        let calls: Vec<(Call, Held)> = users.iter().map(|(u, t)| t.lock(&u.key, 1)).collect();
        let asks: Vec<Ask> = calls
            .iter()
            .chain(&calls)
            .map(|(call, _)| {
                let node = w.some_node();
                w.ask(node, call)
            })
            .collect();
        let _ = w.answers(&asks);
        for (call, _) in &calls {
            assert!(matches!(insist(&mut w, call), Ok(Answer::Locks(_))));
        }
        for mark in &marks {
            insist(&mut w, &mark.set(2, MarkValue::Taken)).unwrap();
        }
        w.net.loss = 0;
        w.converge(60_000);
        // All sixteen are booked, each once, at every node that is asked.
        for (at, (user, ticket)) in users.iter().enumerate() {
            let (again, _) = ticket.lock(&user.key, 2);
            assert_eq!(w.call(at % 3, &again).map(|_| ()), Err(Problem::Locked));
            let said = w.read_mark(at % 3, &marks[at]).unwrap();
            assert_eq!(said, Some((2, MarkValue::Taken)));
        }
        assert!(w.claim(0, 0, 20).unwrap().is_empty(), "none is listed");
    });
}

#[test]
fn sixteen_at_one_slot_and_two_tickets_of_each_leave_one_lock_a_token() {
    each_seed(2, |seed| {
        let mut w = World::new(seed, 5);
        let users = sixteen(&mut w);
        w.next_provider();
        let second = w.claim(1, 0, 16).unwrap();
        assert_eq!(second.len(), 16);
        let mark = w.mark();
        w.open_mark(0, &mark).unwrap();
        w.call(0, &mark.set(1, MarkValue::Open)).unwrap();
        w.net.loss = 60;
        let mut asks = Vec::new();
        for (user, ticket) in &users {
            let other = second
                .iter()
                .find(|t| t.grant.request == ticket.grant.request)
                .unwrap();
            for (attempt, t) in [(1, ticket), (2, other)] {
                let (call, held) = t.lock(&user.key, attempt);
                let node = w.some_node();
                asks.push((w.ask(node, &call), ticket.grant.request, held));
            }
            let node = w.some_node();
            w.ask(node, &mark.set(2, MarkValue::Taken));
        }
        let all: Vec<Ask> = asks.iter().map(|a| a.0).collect();
        let mut won: BTreeMap<RequestId, BTreeSet<Held>> = BTreeMap::new();
        for (answer, (_, request, held)) in w.answers(&all).iter().zip(&asks) {
            match answer {
                Ok(_) => {
                    won.entry(*request).or_default().insert(*held);
                }
                Err(p) => assert!(*p == Problem::Locked || p.retry(), "{p:?}"),
            }
        }
        assert!(won.values().all(|held| held.len() == 1), "one lock a token");
        w.net.loss = 0;
        w.converge(60_000);
        for node in 0..5 {
            let said = w.read_mark(node, &mark).unwrap();
            assert_eq!(said, Some((2, MarkValue::Taken)), "the slot is taken once");
        }
    });
}

#[test]
fn who_asks_to_be_listed_again_is_listed_at_every_holder() {
    each_seed(1, |seed| {
        let fixture = Fixture::with(seed, 5, 1, |p| {
            p.open_offers = 2;
            p.reoffers = 1;
        });
        let mut w = World::with(fixture, seed);
        let (user, _) = w.place(0, 0).unwrap();
        let until = w.now().plus(Seconds::DAY);
        let mut given_up = 0;
        // Two open offers at a time, and so many bookings: each ticket can be given up once.
        loop {
            let mut tickets = Vec::new();
            while let Some(ticket) = w.claim(0, 0, 1).unwrap().pop() {
                w.call(1, &ticket.offer(1, until)).unwrap();
                tickets.push(ticket);
                w.next_provider();
            }
            assert_eq!(tickets.len(), 2, "as many open offers as it may have");
            let ids: Vec<_> = tickets.iter().map(Ticket::id).collect();
            let stranger = w.key();
            let forged = tickets[0].relist(ids.clone(), vec![], &stranger);
            assert_eq!(w.call(2, &forged).map(|_| ()), Err(Problem::WrongSigner));
            let relist = tickets[0].relist(ids.clone(), vec![], &user.key);
            // A holder is away when it comes; it learns of it by comparison.
            let away = w.below(5);
            w.crash(away);
            let said = insist(&mut w, &relist).map(|_| ());
            w.restart(away);
            w.run(5_000);
            if said == Err(Problem::ReoffersUsed) {
                break;
            }
            assert_eq!(said, Ok(()));
            insist(&mut w, &relist).unwrap();
            w.converge(60_000);
            let nothing_new = tickets[0].relist(ids[..1].to_vec(), vec![], &user.key);
            let said = w.call(3, &nothing_new).map(|_| ());
            assert_eq!(said, Err(Problem::OldVersion));
            // A start rebuilds the same list.
            let node = w.below(5);
            w.crash(node);
            w.restart(node);
            w.run(5_000);
            given_up += ids.len();
            assert!(given_up <= 8);
        }
        assert_eq!(given_up, 4, "open offers times bookings");
        // What has expired, by the clock that is most behind, is not listed again.
        let expired = Relist {
            region: w.fixture.region(0),
            request: RequestId::from_bytes([7; 32]),
            tickets: Default::default(),
            locks: Default::default(),
            expires: Time::new(w.now().get() - 2),
        };
        let call = Call::new(CallKind::Relist, sign(&expired, &user.key));
        assert_eq!(w.call(0, &call).map(|_| ()), Err(Problem::Expired));
        let unknown = Relist {
            expires: until,
            ..expired
        };
        let bytes = sign(&unknown, &user.key);
        assert!(parse::<Relist>(&bytes).is_ok());
        let said = w.call(0, &Call::new(CallKind::Relist, bytes)).map(|_| ());
        assert_eq!(said, Err(Problem::UnknownRequest));
        w.converge(60_000);
    });
}

#[test]
fn a_booking_that_was_freed_is_listed_again_when_its_user_asks() {
    let mut w = World::new(5, 3);
    let (user, _) = w.place(0, 0).unwrap();
    let ticket = w.claim(0, 0, 1).unwrap().remove(0);
    let (lock, held) = ticket.lock(&user.key, 1);
    w.call(0, &lock).unwrap();
    w.call(1, &ticket.release(&held, &user.key)).unwrap();
    w.run(3_000);
    assert!(w.claim(2, 0, 1).unwrap().is_empty(), "off the list");
    let relist = ticket.relist(vec![ticket.id()], vec![held.lock], &user.key);
    w.call(2, &relist).unwrap();
    w.run(3_000);
    let next = w.claim(2, 0, 1).unwrap().remove(0);
    let (lock, _) = next.lock(&user.key, 2);
    w.call(0, &lock).unwrap();
    w.run(3_000);
    assert!(w.claim(1, 0, 1).unwrap().is_empty(), "booked again");
    for node in 0..3 {
        w.crash(node);
        w.restart(node);
        w.run(10_000);
    }
    assert!(w.claim(1, 0, 1).unwrap().is_empty(), "also after a start");
    w.converge(30_000);
}
