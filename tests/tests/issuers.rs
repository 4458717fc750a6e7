//! Nodes as issuers: a cap on what they issue and admit, proof against who admits a token twice, and no
//! word given twice by one whose store is gone.
// Helpers of tests: what is refused in calm must stop the test.
#![allow(clippy::unwrap_used)]

use lapwing_core::Alarm;
use lapwing_protocol::cose::{parse, sign, sign_verified};
use lapwing_protocol::item::{CheckedEntry, CheckedItem, check_request, request_id};
use lapwing_protocol::peer::{PeerCall, PeerReply, PushResult};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::Admission;
use lapwing_protocol::testing::{Fixture, list};
use lapwing_protocol::token::{PriorityToken, token_expires};
use lapwing_store::MemoryStore;
use lapwing_tests::sim::{Drawn, Placed, World, each_seed};

/// The entry of a request as its issuer would admit it, whether it has admitted another or not.
fn entry(
    w: &World,
    placed: &Placed,
    serial: u64,
    edit: impl FnOnce(&mut Admission),
) -> CheckedItem {
    let view = w.view(0);
    let request = check_request(placed.call.body(), &view).unwrap();
    let (token, said) = (request.token(), request.request());
    let params = &w.fixture.params;
    let mut admission = Admission {
        issuer: token.issuer,
        token: token.token_id(),
        request: request_id(said),
        region: said.region,
        inbox: said.inbox.id(),
        serial,
        expires: token_expires(token.epoch, params.epoch, params.token_life),
        epoch: token.epoch,
        token_serial: token.serial,
    };
    edit(&mut admission);
    let signing = &w.fixture.node(&token.issuer).signing;
    let entry = CheckedEntry::fit(sign_verified(&admission, signing), request.clone()).unwrap();
    CheckedItem::entry(entry, w.now().hour()).unwrap()
}

/// Pushes an item to every holder of its placement but `by`; says what each said.
fn push(w: &mut World, by: usize, item: &CheckedItem) -> Vec<PeerReply> {
    let (from, placement) = (w.id(by), item.placement());
    let holders = w.view(0).holders(&placement);
    let to: Vec<usize> = (0..w.len())
        .filter(|n| *n != by && w.up(*n) && holders.contains(&w.id(*n)))
        .collect();
    to.into_iter()
        .map(|n| w.peer_call(from, n, PeerCall::Push(list(vec![item.to_wire()]))))
        .collect()
}

fn refused(problem: Problem) -> PeerReply {
    PeerReply::Push(list(vec![PushResult::Refused(problem)]))
}

#[test]
fn an_issuer_has_a_cap_that_others_check() {
    let fixture = Fixture::with(1, 3, 1, |p| p.tokens_per_epoch = 2);
    let mut w = World::with(fixture, 1);
    let first = w.draw(0).unwrap();
    w.draw(0).unwrap();
    assert_eq!(w.draw(0).map(|_| ()), Err(Problem::CapReached));
    w.draw(1).unwrap();
    let placed = w.request(&first, 0);
    w.call(2, &placed.call).unwrap();
    // The issuer signs one more than it may: whoever sees it refuses it.
    let key = w.key();
    let mut token = parse::<PriorityToken>(&first.token)
        .unwrap()
        .unverified()
        .clone();
    token.serial = 2;
    token.key = key.verifying_key();
    let signing = w.fixture.node(&w.id(0)).signing.clone();
    let forged = Drawn {
        token: sign(&token, &signing),
        key,
    };
    let request = w.request(&forged, 0);
    assert_eq!(w.call(1, &request.call), Err(Problem::CapReached));
    let admission = Admission {
        issuer: w.id(0),
        token: token.token_id(),
        request: request.id,
        region: w.fixture.region(0),
        inbox: request.inbox.id(),
        serial: 9,
        expires: token_expires(
            token.epoch,
            w.fixture.params.epoch,
            w.fixture.params.token_life,
        ),
        epoch: token.epoch,
        token_serial: token.serial,
    };
    let item = CheckedItem::admission(sign_verified(&admission, &signing), w.now().hour());
    for reply in push(&mut w, 0, &item) {
        assert_eq!(reply, refused(Problem::CapReached));
    }
}

#[test]
fn an_admission_is_of_its_token_and_lasts_as_long() {
    let mut w = World::new(2, 3);
    let drawn = w.draw(2).unwrap();
    let placed = w.request(&drawn, 0);
    let day = lapwing_protocol::time::Seconds::DAY;
    let longer = entry(&w, &placed, 0, |a| a.expires = a.expires.plus(day));
    for reply in push(&mut w, 2, &longer) {
        assert_eq!(reply, refused(Problem::OutOfBounds));
    }
    let other = entry(&w, &placed, 0, |a| a.token_serial += 1);
    for reply in push(&mut w, 2, &other) {
        assert_eq!(reply, refused(Problem::BrokenChain));
    }
}

#[test]
fn who_admits_a_token_twice_is_caught_by_every_node() {
    each_seed(1, |seed| {
        let mut w = World::new(seed, 7);
        let liar = w.below(7);
        let drawn = w.draw(liar).unwrap();
        // Two requests in two regions, whose holders are others: nobody holds both.
        let entries: Vec<CheckedItem> = (0..2u64)
            .map(|n| {
                let placed = w.request(&drawn, usize::try_from(n).unwrap());
                entry(&w, &placed, n, |_| ())
            })
            .collect();
        for item in &entries {
            for reply in push(&mut w, liar, item) {
                let PeerReply::Push(results) = reply else {
                    panic!("{reply:?}")
                };
                assert!(matches!(results[0], PushResult::Stored(_)), "{results:?}");
            }
        }
        w.run(30_000);
        let honest: Vec<usize> = (0..7).filter(|n| *n != liar).collect();
        let proof = w.core(honest[0]).double_admissions();
        assert_eq!(proof.len(), 1);
        for node in &honest {
            assert_eq!(w.core(*node).double_admissions(), proof, "node {node}");
            let told = w.alarms.iter().filter(|(n, a)| {
                n == node
                    && matches!(a, Alarm::DoubleAdmission { issuer, .. } if *issuer == w.id(liar))
            });
            assert_eq!(told.count(), 1, "node {node} tells its operator once");
        }
        // From then on nothing new of that issuer's is taken, also not after a restart.
        w.crash(honest[0]);
        w.restart(honest[0]);
        w.run(3_000);
        assert_eq!(w.core(honest[0]).double_admissions(), proof);
        let placed = w.request(&drawn, 0);
        assert_eq!(
            w.call(honest[0], &placed.call),
            Err(Problem::EpochClosed),
            "a user draws anew elsewhere"
        );
        let third = entry(&w, &placed, 2, |_| ());
        for reply in push(&mut w, liar, &third) {
            assert_eq!(reply, refused(Problem::WrongSigner));
        }
        w.place(honest[1], 0).unwrap();
        w.converge(60_000);
    });
}

#[test]
fn an_honest_issuer_is_never_caught() {
    each_seed(1, |seed| {
        let mut w = World::new(seed, 5);
        w.net.loss = 80;
        for _ in 0..6 {
            let issuer = w.some_node();
            let Ok(drawn) = w.draw(issuer) else { continue };
            let asks: Vec<_> = (0..4)
                .map(|n| {
                    let placed = w.request(&drawn, n % 2);
                    let node = w.some_node();
                    w.ask(node, &placed.call)
                })
                .collect();
            let pause = w.below(60) as u64;
            w.run(pause);
            w.crash(issuer);
            w.run(200);
            w.restart(issuer);
            let _ = w.answers(&asks);
            w.run(5_000);
        }
        w.net.loss = 0;
        w.converge(60_000);
        w.run(10_000);
        for node in 0..5 {
            assert!(w.core(node).double_admissions().is_empty());
        }
        assert!(w.alarms.is_empty(), "{:?}", w.alarms);
    });
}

#[test]
fn a_node_without_its_store_first_asks_what_it_has_signed() {
    each_seed(1, |seed| {
        let mut w = World::new(seed, 9);
        let drawn = w.draw(0).unwrap();
        let placed = w.request(&drawn, 0);
        w.call(1, &placed.call).unwrap();
        w.run(10_000);
        w.crash(0);
        w.replace_store(0, MemoryStore::new());
        // Alone, or with few, it neither issues nor admits.
        w.partition(&[0, 1, 2]);
        w.restart(0);
        w.run(20_000);
        let said = w.draw(0).map(|_| ());
        assert!(
            matches!(said, Err(Problem::NotReady | Problem::EpochClosed)),
            "{said:?}"
        );
        let other = w.request(&drawn, 1);
        let said = w.call(0, &other.call).map(|_| ());
        assert!(
            matches!(
                said,
                Err(Problem::NotReady | Problem::EpochClosed | Problem::TokenUsed)
            ),
            "{said:?}"
        );
        w.heal();
        w.run(20_000);
        assert_eq!(w.draw(0).map(|_| ()), Err(Problem::EpochClosed));
        let lost = |(n, a): &(usize, Alarm)| *n == 0 && matches!(a, Alarm::LostContinuity);
        assert!(w.alarms.iter().any(lost));
        let again = w.call(0, &other.call).map(|_| ());
        assert!(
            matches!(again, Err(Problem::EpochClosed | Problem::TokenUsed)),
            "{again:?}"
        );
        // One that never admitted anything opens as soon as a majority has greeted it.
        w.crash(8);
        w.replace_store(8, MemoryStore::new());
        w.restart(8);
        w.run(20_000);
        w.draw(8).unwrap();
        w.sleep(86_400_000);
        w.draw(0).unwrap();
    });
}
