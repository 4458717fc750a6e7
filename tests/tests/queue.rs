//! A region's queue: claims, open offers, booking locks, under concurrency and faults.
// Helpers of tests: what is refused in calm must stop the test.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use lapwing_protocol::cose::sign_verified;
use lapwing_protocol::id::{LockId, RequestId};
use lapwing_protocol::item::{CheckedItem, ItemKind};
use lapwing_protocol::peer::{PeerCall, PeerReply, PushResult};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::LockGrant;
use lapwing_protocol::testing::{Fixture, list};
use lapwing_tests::sim::{Ask, Drawn, Held, Placed, Ticket, World, each_seed, tickets};

/// Requests in region 0, placed in calm.
fn place(w: &mut World, count: usize) -> Vec<(Drawn, Placed)> {
    (0..count)
        .map(|_| {
            let node = w.some_node();
            w.place(node, 0).unwrap()
        })
        .collect()
}

fn claim_once(w: &mut World, node: usize, count: u8) -> Vec<Ticket> {
    w.claim(node, 0, count).unwrap()
}

#[test]
fn a_claim_yields_tickets_in_order_and_an_offer_reaches_the_inbox() {
    let mut w = World::new(1, 5);
    let placed = place(&mut w, 4);
    let all = claim_once(&mut w, 1, 20);
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|t| t.grants.len() >= 2), "W grants");
    w.run(3_000);
    let own = claim_once(&mut w, 3, 2);
    assert!(own.is_empty(), "all have a ticket of this provider");
    w.next_provider();
    let again = claim_once(&mut w, 3, 2);
    let first: Vec<RequestId> = again.iter().map(|t| t.grant.request).collect();
    assert_eq!(
        first,
        all[..2].iter().map(|t| t.grant.request).collect::<Vec<_>>(),
        "priority order"
    );
    let until = w.now().plus(lapwing_protocol::time::Seconds::HOUR);
    let ticket = &all[2];
    w.call(4, &ticket.offer(9, until)).unwrap();
    w.call(0, &ticket.offer(9, until)).unwrap();
    let (_, user) = placed
        .iter()
        .find(|(_, p)| p.id == ticket.grant.request)
        .unwrap();
    let found = w.read_all(2, &user.inbox, &user.reading).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        w.call(0, &ticket.offer(8, until)),
        Err(Problem::SlotConflict),
        "a ticket pays once"
    );
    w.converge(30_000);
}

#[test]
fn open_offers_are_bounded_and_lapsed_tickets_come_back() {
    each_seed(1, |seed| {
        let fixture = Fixture::with(seed, 5, 1, |p| p.open_offers = 2);
        let mut w = World::with(fixture, seed);
        let placed = place(&mut w, 3);
        // Many claims at once at all nodes.
        let mut asks: Vec<Ask> = Vec::new();
        let mut keys = Vec::new();
        for node in 0..5 {
            let challenges = w.challenges(node, 0).unwrap();
            let (call, key) = w.claim_call(0, 3, &challenges);
            asks.push(w.ask(node, &call));
            keys.push(key);
            w.next_provider();
        }
        let answers = w.answers(&asks);
        let mut held: BTreeMap<RequestId, Vec<Ticket>> = BTreeMap::new();
        for (answer, key) in answers.iter().zip(&keys) {
            for ticket in answer.as_ref().map(|a| tickets(key, a)).unwrap_or_default() {
                held.entry(ticket.grant.request).or_default().push(ticket);
            }
        }
        // R·max/W = 3·2/2
        assert!(held.values().all(|t| t.len() <= 3), "overshoot is bounded");
        assert_eq!(held.len(), 3, "each was claimed by somebody");
        w.converge(30_000);
        assert!(
            claim_once(&mut w, 0, 20).is_empty(),
            "all have as many open tickets as they may"
        );
        // One ticket of each is spent on an offer of an hour, the others lapse.
        let until = w.now().plus(lapwing_protocol::time::Seconds::HOUR);
        for tickets in held.values() {
            w.call(1, &tickets[0].offer(1, until)).unwrap();
        }
        w.sleep(400_000);
        assert_eq!(
            w.call(2, &held[&placed[0].1.id][1].offer(1, until)),
            Err(Problem::TicketLapsed)
        );
        let back = claim_once(&mut w, 2, 20);
        assert_eq!(back.len(), 3, "one offer is open, one place is free");
        for ticket in &back {
            w.call(3, &ticket.offer(2, until)).unwrap();
        }
        w.sleep(400_000);
        w.next_provider();
        assert!(
            claim_once(&mut w, 4, 20).is_empty(),
            "spent tickets do not lapse"
        );
        w.sleep(3_700_000);
        let mut w2 = w;
        w2.fixture.now = w2.now();
        assert_eq!(claim_once(&mut w2, 4, 20).len(), 3, "offers end");
        w2.converge(30_000);
    });
}

#[test]
fn never_are_two_locks_of_one_token_held() {
    each_seed(3, |seed| {
        let nodes = [3, 5][(seed % 2) as usize];
        let mut w = World::new(seed, nodes);
        let (user, placed) = place(&mut w, 1).remove(0);
        let mut tickets = Vec::new();
        for _ in 0..3 {
            tickets.extend(claim_once(&mut w, 0, 1));
            w.next_provider();
        }
        assert_eq!(tickets.len(), 3);
        assert!(tickets.iter().all(|t| t.grant.request == placed.id));
        let mut attempt = 0;
        let mut booked = 0;
        for _round in 0..8 {
            w.net.loss = if w.below(3) == 0 { 150 } else { 0 };
            let mut asks: Vec<(Ask, Held, usize)> = Vec::new();
            for (at, ticket) in tickets.iter().enumerate() {
                for _ in 0..2 {
                    attempt += 1;
                    let (call, held) = ticket.lock(&user.key, attempt);
                    let node = w.some_node();
                    asks.push((w.ask(node, &call), held, at));
                }
            }
            if w.below(3) == 0 {
                let pause = w.below(80) as u64;
                w.run(pause);
                let node = w.below(nodes);
                w.crash(node);
                w.run(3_000);
                w.heal();
            }
            let all: Vec<Ask> = asks.iter().map(|a| a.0).collect();
            let answers = w.answers(&all);
            let mut won = BTreeSet::new();
            for (answer, (_, held, at)) in answers.iter().zip(&asks) {
                match answer {
                    Ok(_) => {
                        won.insert((held.lock, *at));
                    }
                    Err(p) => assert!(
                        matches!(
                            p,
                            Problem::Locked | Problem::ReoffersUsed | Problem::BadTicket
                        ) || p.retry(),
                        "{p:?}"
                    ),
                }
            }
            assert!(won.len() <= 1, "{} locks held at once", won.len());
            booked += won.len();
            // Who failed frees what it may have got in part; who won cancels.
            w.net.loss = 0;
            w.heal();
            w.run(1_000);
            for (_, held, at) in &asks {
                let by = if attempt % 2 == 0 {
                    &tickets[*at].key
                } else {
                    &user.key
                };
                let call = tickets[*at].release(held, by);
                // A lock that nobody granted is not known, so there is nothing to free.
                let node = w.some_node();
                let freed = w.call(node, &call);
                assert!(
                    freed.is_ok() || !won.iter().any(|(l, _)| *l == held.lock),
                    "{freed:?}"
                );
            }
        }
        // The first booking and three re-offers, at most; and holders that granted in part count too.
        assert!(booked <= 4, "{booked} bookings");
        w.converge(60_000);
    });
}

#[test]
fn a_lock_is_freed_by_release_and_reoffers_are_bounded() {
    let mut w = World::new(2, 3);
    let (user, _) = place(&mut w, 1).remove(0);
    let ticket = claim_once(&mut w, 0, 1).remove(0);
    let other = w.key();
    for attempt in 1..=4 {
        let (call, held) = ticket.lock(&user.key, attempt);
        w.call(1, &call).unwrap();
        w.call(2, &call).unwrap();
        let (second, _) = ticket.lock(&user.key, attempt + 100);
        assert_eq!(w.call(0, &second), Err(Problem::Locked));
        assert_eq!(
            w.call(0, &ticket.release(&held, &other)),
            Err(Problem::WrongSigner)
        );
        let by = if attempt % 2 == 0 {
            &ticket.key
        } else {
            &user.key
        };
        w.call(0, &ticket.release(&held, by)).unwrap();
        assert_eq!(
            w.call(1, &call),
            Err(Problem::BadTicket),
            "a lock that was freed stays free"
        );
    }
    let (call, _) = ticket.lock(&user.key, 5);
    assert_eq!(w.call(1, &call), Err(Problem::ReoffersUsed));
    let (forged, _) = ticket.lock(&other, 6);
    assert_eq!(w.call(1, &forged), Err(Problem::WrongSigner));
    w.converge(30_000);
}

#[test]
fn claims_hold_only_with_a_quorum() {
    let mut w = World::new(6, 3);
    place(&mut w, 2);
    let challenges = w.challenges(0, 0).unwrap();
    w.partition(&[0]);
    let (call, _) = w.claim_call(0, 2, &challenges);
    assert!(w.call(0, &call).is_err() || w.claim(0, 0, 2).is_err());
    assert_eq!(w.challenges(0, 0).map(|_| ()), Err(Problem::HoldersAway));
    let (short, _) = w.claim_call(0, 2, &challenges[..1]);
    w.heal();
    w.run(1_000);
    assert_eq!(w.call(0, &short).map(|_| ()), Err(Problem::ChallengeFailed));
    w.sleep(400_000);
    let (stale, _) = w.claim_call(0, 2, &challenges);
    assert_eq!(
        w.call(0, &stale).map(|_| ()),
        Err(Problem::ChallengeFailed),
        "answers go stale"
    );
    assert_eq!(claim_once(&mut w, 1, 2).len(), 2);
    w.converge(30_000);
}

#[test]
fn a_holder_that_lies_neither_blocks_a_booking_nor_forges_one() {
    let mut w = World::new(8, 3);
    let (user, placed) = place(&mut w, 1).remove(0);
    let ticket = claim_once(&mut w, 0, 1).remove(0);
    w.converge(30_000);
    // Node 2 grants locks that nobody asked for, and tells everybody.
    let liar = w.id(2);
    let signing = w.fixture.node(&liar).signing.clone();
    for n in 0..8u8 {
        let grant = LockGrant {
            holder: liar,
            region: ticket.grant.region,
            request: placed.id,
            ticket: ticket.id(),
            lock: LockId::from_bytes([n; 32]),
            expires: ticket.grant.expires,
        };
        let item = CheckedItem::lock(sign_verified(&grant, &signing), w.now().hour());
        for node in 0..2 {
            w.peer_call(liar, node, PeerCall::Push(list(vec![item.to_wire()])));
        }
    }
    let (call, held) = ticket.lock(&user.key, 1);
    w.call(0, &call).unwrap();
    let (second, _) = ticket.lock(&user.key, 2);
    assert_eq!(w.call(1, &second), Err(Problem::Locked));
    // Nor does it free one: its own release is no release.
    let forged = ticket.release(&held, &signing);
    for node in 0..2 {
        let item = lapwing_protocol::item::make(
            ItemKind::Release,
            forged.body(),
            w.now().hour(),
            &w.view(0),
        )
        .unwrap();
        let reply = w.peer_call(liar, node, PeerCall::Push(list(vec![item.to_wire()])));
        assert_eq!(
            reply,
            PeerReply::Push(list(vec![PushResult::Refused(Problem::WrongSigner)]))
        );
    }
    assert_eq!(w.call(1, &second), Err(Problem::Locked));
}

#[test]
fn a_write_costs_the_same_however_much_there_is() {
    // Nothing is timed: what is counted is calls between nodes and rows written.
    let mut w = World::new(9, 3);
    let mut costs = Vec::new();
    for _ in 0..3 {
        let own = w.mailbox(lapwing_protocol::mailbox::SlotClass::Free);
        w.open_mailbox(0, &own).unwrap();
        w.converge(30_000);
        for slot in 0..40 {
            let before = (w.calls, w.rows(0).len());
            w.call(0, &own.write(slot, 1)).unwrap();
            costs.push(w.rows(0).len().saturating_sub(before.1));
            assert!(
                w.calls - before.0 <= 20,
                "a few calls, comparisons included"
            );
        }
    }
    assert!(costs.iter().all(|c| *c <= 2), "{costs:?}");
}
