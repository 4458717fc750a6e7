//! Priority tokens and their admission: one request a token, whatever is tried at once or breaks between.

use std::collections::BTreeSet;

use lapwing_core::Alarm;
use lapwing_protocol::client::{Answer, Call, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::parse;
use lapwing_protocol::item::ItemKind;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Admission;
use lapwing_protocol::testing::Fixture;
use lapwing_protocol::time::Seconds;
use lapwing_protocol::token::PriorityToken;
use lapwing_store::MemoryStore;
use lapwing_tests::sim::{Ask, World, each_seed};

fn token_of(answer: Result<Answer, Problem>) -> Vec<u8> {
    match answer {
        Ok(Answer::Token(bytes)) => bytes,
        other => unreachable!("a token: {other:?}"),
    }
}

fn admission_of(answer: &Result<Answer, Problem>) -> Option<Vec<u8>> {
    match answer {
        Ok(Answer::Admission(bytes)) => Some(bytes.clone()),
        _ => None,
    }
}

#[test]
fn the_same_order_gets_the_same_token_until_the_epoch_ends() {
    let mut w = World::new(1, 3);
    let (order, key) = w.token_order(0);
    let call = Call::new(CallKind::Token, to_bytes(&order));
    let first = token_of(w.call(0, &call));
    assert_eq!(token_of(w.call(0, &call)), first);
    w.crash(0);
    w.restart(0);
    assert_eq!(
        token_of(w.call(0, &call)),
        first,
        "a token survives its node's crash"
    );
    let stranger = w.key();
    let other = w.token_order_for(0, order.hash, &stranger);
    assert_eq!(
        w.call(0, &Call::new(CallKind::Token, to_bytes(&other))),
        Err(Problem::TokenUsed),
        "one H draws once"
    );
    assert_eq!(
        w.call(1, &call),
        Err(Problem::WorkMissing),
        "one proof draws at one node"
    );
    let order = w.token_order_for(1, order.hash, &key);
    let elsewhere = token_of(w.call(1, &Call::new(CallKind::Token, to_bytes(&order))));
    let (a, b) = (
        parse::<PriorityToken>(&first).unwrap(),
        parse::<PriorityToken>(&elsewhere).unwrap(),
    );
    assert_ne!(
        a.unverified().priority,
        b.unverified().priority,
        "every issuer has its own secret"
    );
    w.sleep(86_400_000);
    assert_eq!(
        w.call(0, &call),
        Err(Problem::WorkMissing),
        "one proof draws in one epoch"
    );
    let order = w.token_order_for(0, order.hash, &key);
    let next = token_of(w.call(0, &Call::new(CallKind::Token, to_bytes(&order))));
    let c = parse::<PriorityToken>(&next).unwrap();
    assert_eq!(c.unverified().epoch, a.unverified().epoch + 1);
    assert_eq!(c.unverified().serial, 0);
    assert_ne!(c.unverified().priority, a.unverified().priority);
}

#[test]
fn serials_are_never_given_twice() {
    each_seed(1, |seed| {
        let mut w = World::new(seed, 1);
        let mut seen = BTreeSet::new();
        for _ in 0..6 {
            let asks: Vec<Ask> = (0..4)
                .map(|_| {
                    let (order, _) = w.token_order(0);
                    w.ask(0, &Call::new(CallKind::Token, to_bytes(&order)))
                })
                .collect();
            let pause = w.below(40) as u64;
            w.run(pause);
            w.crash(0);
            w.restart(0);
            for token in w.answers(&asks).into_iter().flatten() {
                let token = token_of(Ok(token));
                let serial = parse::<PriorityToken>(&token).unwrap().unverified().serial;
                assert!(seen.insert(serial), "serial {serial} twice");
            }
        }
    });
}

#[test]
fn of_many_requests_with_one_token_one_is_admitted() {
    each_seed(4, |seed| {
        let mut w = World::new(seed, 5);
        w.net.loss = 50;
        let issuer = w.below(5);
        let drawn = w.draw(issuer).unwrap();
        let placed: Vec<_> = (0..16).map(|_| w.request(&drawn, 0)).collect();
        let asks: Vec<Ask> = placed
            .iter()
            .map(|p| {
                let node = w.below(5);
                w.ask(node, &p.call)
            })
            .collect();
        // In half of the cases the issuer falls over in the middle.
        if seed % 2 == 0 {
            let pause = w.below(100) as u64;
            w.run(pause);
            w.crash(issuer);
            w.run(500);
            w.restart(issuer);
        }
        let mut admitted = BTreeSet::new();
        for (answer, placed) in w.answers(&asks).iter().zip(&placed) {
            if let Some(bytes) = admission_of(answer) {
                assert_eq!(
                    parse::<Admission>(&bytes).unwrap().unverified().request,
                    placed.id
                );
                admitted.insert(bytes);
            } else {
                let problem = *answer.as_ref().unwrap_err();
                assert!(
                    problem == Problem::TokenUsed || problem.retry(),
                    "{problem:?}"
                );
            }
        }
        assert!(admitted.len() <= 1, "one token, one admission");
        // Asked again, in calm: the same one, with the same bytes.
        w.net.loss = 0;
        w.heal();
        w.run(2_000);
        let mut winners = 0;
        for placed in &placed {
            let again = w.call(issuer, &placed.call);
            if let Some(bytes) = admission_of(&again) {
                winners += 1;
                admitted.insert(bytes.clone());
                let node = w.below(5);
                assert_eq!(admission_of(&w.call(node, &placed.call)), Some(bytes));
            } else {
                assert_eq!(again, Err(Problem::TokenUsed));
            }
        }
        assert_eq!((winners, admitted.len()), (1, 1));
        w.converge(60_000);
        assert_eq!(
            w.bodies(ItemKind::Admission).len(),
            1,
            "the issuer never signs a second admission, also not one that nobody was told of"
        );
        let listed: usize = (0..5)
            .filter(|n| w.core(*n).numbers().requests == 1)
            .count();
        assert_eq!(listed, 3, "each of the region's holders lists it");
    });
}

#[test]
fn a_token_lives_at_its_issuer() {
    let mut w = World::new(3, 5);
    let drawn = w.draw(2).unwrap();
    let placed = w.request(&drawn, 1);
    w.crash(2);
    assert_eq!(w.call(0, &placed.call), Err(Problem::IssuerAway));
    w.restart(2);
    w.run(2_000);
    w.call(0, &placed.call).unwrap();
}

#[test]
fn what_a_closed_epoch_issued_is_not_admitted() {
    let fixture = Fixture::with(4, 3, 1, |p| {
        p.epoch = Seconds::new(3_600);
        p.token_life = Seconds::new(86_400);
    });
    let mut w = World::with(fixture, 4);
    let drawn = w.draw(0).unwrap();
    let late = w.request(&drawn, 0);
    w.sleep(3 * 86_400_000);
    // The mediator's lists have expired by then, but it is the token that is refused.
    assert_eq!(w.call(0, &late.call), Err(Problem::EpochClosed));
    // A token by a store that is gone is refused too.
    let mut w = World::new(5, 3);
    let drawn = w.draw(0).unwrap();
    let placed = w.request(&drawn, 0);
    w.crash(0);
    w.replace_store(0, MemoryStore::new());
    w.restart(0);
    w.run(20_000);
    assert_eq!(w.call(0, &placed.call), Err(Problem::EpochClosed));
}

#[test]
fn a_node_that_lost_admissions_closes_its_epochs() {
    each_seed(1, |seed| {
        let mut w = World::new(seed, 3);
        let before = w.draw(0).unwrap();
        w.run(1_000);
        let backup = w.store(0).snapshot();
        let (after, placed) = w.place(0, 0).unwrap();
        w.run(1_000);
        w.crash(0);
        w.replace_store(0, backup);
        w.restart(0);
        w.converge(60_000);
        assert!(
            w.alarms
                .iter()
                .any(|(n, a)| *n == 0 && matches!(a, Alarm::LostContinuity)),
            "the operator is told"
        );
        let other = w.request(&after, 0);
        assert_eq!(
            w.call(1, &other.call),
            Err(Problem::TokenUsed),
            "not admitted twice"
        );
        let request = w.request(&before, 0);
        assert_eq!(w.call(1, &request.call), Err(Problem::EpochClosed));
        assert_eq!(
            w.draw(0).map(|_| ()),
            Err(Problem::EpochClosed),
            "no serial twice"
        );
        w.crash(0);
        w.restart(0);
        w.run(2_000);
        assert_eq!(
            w.draw(0).map(|_| ()),
            Err(Problem::EpochClosed),
            "nor after a start"
        );
        let told = w.alarms.len();
        w.draw(1).unwrap();
        w.sleep(86_400_000);
        w.draw(0).unwrap();
        w.run(10_000);
        assert_eq!(w.alarms.len(), told, "told once");
        let _ = placed;
    });
}
