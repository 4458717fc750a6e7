//! Tickets: who holds one may use it while its certificate is in force, and may hold so many; a holder
//! that has forgotten what it granted grants nothing before it knows again.
// Helpers of tests: what is refused in calm must stop the test.
#![allow(clippy::unwrap_used)]

use lapwing_protocol::item::{self, ItemKind};
use lapwing_protocol::peer::{PeerCall, PeerReply, PushResult};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::testing::list;
use lapwing_protocol::time::Seconds;
use lapwing_store::MemoryStore;
use lapwing_tests::sim::{World, each_seed};

const OUT: [Problem; 2] = [Problem::Revoked, Problem::UnknownCertificate];

#[test]
fn a_revoked_provider_neither_offers_nor_books_with_what_it_holds() {
    let mut w = World::new(1, 3);
    let users: Vec<_> = (0..3).map(|_| w.place(0, 0).unwrap()).collect();
    let tickets = w.claim(0, 0, 3).unwrap();
    assert_eq!(tickets.len(), 3);
    let until = w.now().plus(Seconds::HOUR);
    // One offer is written before, while a holder is away: that one gets it later all the same.
    w.crash(2);
    w.call(0, &tickets[0].offer(1, until)).unwrap();
    w.revoke_provider(0).unwrap();
    w.restart(2);
    w.run(10_000);
    for node in 0..3 {
        let said = w.call(node, &tickets[1].offer(2, until)).map(|_| ());
        assert!(said.is_err_and(|p| OUT.contains(&p)), "an offer: {said:?}");
        let (_, placed) = &users[0];
        assert!(w.read_all(node, &placed.inbox, &placed.reading).is_ok());
    }
    let (user, _) = users
        .iter()
        .find(|(_, p)| p.id == tickets[0].grant.request)
        .unwrap();
    let (lock, _) = tickets[0].lock(&user.key, 1);
    let said = w.call(1, &lock).map(|_| ());
    assert!(said.is_err_and(|p| OUT.contains(&p)), "a lock: {said:?}");
    // A node that does not care whom it serves cannot bring it to honest holders either.
    let offer = tickets[2].offer(3, until);
    let blob = item::make(ItemKind::Blob, offer.body(), w.now().hour(), &w.view(0)).unwrap();
    let liar = w.id(2);
    for node in 0..2 {
        let reply = w.peer_call(liar, node, PeerCall::Push(list(vec![blob.to_wire()])));
        let PeerReply::Push(results) = reply else {
            panic!("{reply:?}")
        };
        assert!(
            matches!(results[0], PushResult::Refused(p) if OUT.contains(&p)),
            "{results:?}"
        );
    }
    w.converge(30_000);
}

#[test]
fn without_a_fresh_status_nothing_is_offered_but_what_was_offered_is_booked() {
    let mut w = World::new(2, 3);
    let (user, _) = w.place(0, 0).unwrap();
    // Claimed shortly before the status ends.
    w.sleep(6 * 86_400_000 + 86_000_000);
    let tickets = w.claim(0, 0, 1).unwrap();
    w.next_provider();
    let more = w.claim(0, 0, 1).unwrap();
    let until = w.now().plus(Seconds::DAY);
    w.call(0, &tickets[0].offer(1, until)).unwrap();
    let status = w
        .view(0)
        .mediators()
        .next()
        .unwrap()
        .1
        .status()
        .unwrap()
        .expires;
    while w.now() <= status {
        w.sleep(60_000);
    }
    let said = w.call(1, &more[0].offer(2, until)).map(|_| ());
    assert_eq!(said, Err(Problem::StatusExpired));
    let (lock, _) = tickets[0].lock(&user.key, 1);
    w.call(1, &lock).unwrap();
}

#[test]
fn a_provider_holds_and_claims_so_much_and_no_more() {
    let mut w = World::new(3, 3);
    for n in 0..150 {
        w.place(n % 3, 0).unwrap();
    }
    let other = w.certify_another(0).unwrap();
    w.run(10_000);
    let mut held = Vec::new();
    let refused = loop {
        match w.claim(held.len() % 3, 0, 20) {
            Ok(tickets) if tickets.is_empty() => panic!("the queue is long"),
            Ok(tickets) => held.extend(tickets),
            Err(problem) => break problem,
        }
    };
    assert_eq!(refused, Problem::TooManyClaims);
    assert!((120..=128).contains(&held.len()), "{} tickets", held.len());
    // Each holder counts for itself, and another provider is not touched.
    let first = std::mem::replace(&mut w.provider, other);
    assert_eq!(w.claim(1, 0, 20).unwrap().len(), 20);
    w.provider = first;
    // Who spends may claim again: an honest provider does so at once.
    let until = w.now().plus(Seconds::HOUR);
    for ticket in &held[..20] {
        w.call(0, &ticket.offer(1, until)).unwrap();
    }
    w.run(3_000);
    assert!(!w.claim(2, 0, 20).unwrap().is_empty());
    // What lapses frees its place too.
    w.sleep(400_000);
    assert_eq!(w.claim(2, 0, 20).unwrap().len(), 20);
    // And claims are counted, by each of the three holders.
    w.sleep(400_000);
    let mut claims = 0;
    let refused = loop {
        match w.claim(0, 1, 1) {
            Ok(_) => claims += 1,
            Err(problem) => break problem,
        }
        assert!(claims < 100);
    };
    assert_eq!((refused, claims), (Problem::TooManyClaims, 90));
    w.run(61_000);
    w.claim(0, 1, 1).unwrap();
}

#[test]
fn a_holder_that_lost_its_store_grants_nothing_before_it_knows_what_it_granted() {
    each_seed(2, |seed| {
        let mut w = World::new(seed, 3);
        let (user, _) = w.place(0, 0).unwrap();
        let first = w.claim(0, 0, 1).unwrap().remove(0);
        w.next_provider();
        let second = w.claim(0, 0, 1).unwrap().remove(0);
        w.converge(30_000);
        // Nodes 0 and 1 grant a lock that node 2 does not hear of; then 1 loses its store, 0 is away.
        w.crash(2);
        let (call, held) = first.lock(&user.key, 1);
        w.call(0, &call).unwrap();
        w.crash(0);
        w.crash(1);
        w.replace_store(1, MemoryStore::new());
        w.restart(1);
        w.restart(2);
        w.run(20_000);
        let (other, got) = second.lock(&user.key, 2);
        for node in [1, 2] {
            let said = w.call(node, &other).map(|_| ());
            assert!(said.is_err_and(|p| p.retry()), "{said:?}");
            let claimed = w.claim(node, 0, 1).map(|t| t.len());
            let none = claimed == Ok(0) || claimed.is_err_and(|p| p.retry());
            assert!(none, "{claimed:?}");
        }
        // As soon as it has compared with both others it answers, and knows.
        w.restart(0);
        w.run(20_000);
        for node in 0..3 {
            assert_eq!(w.call(node, &other).map(|_| ()), Err(Problem::Locked));
        }
        // Who got fewer grants than it needs gives them back; then all is as it was.
        w.call(0, &second.release(&got, &second.key)).unwrap();
        w.run(5_000);
        w.call(1, &call).unwrap();
        w.call(2, &first.release(&held, &user.key)).unwrap();
        w.run(5_000);
        let (next, _) = second.lock(&user.key, 3);
        w.call(1, &next).unwrap();
        w.converge(30_000);
    });
}
