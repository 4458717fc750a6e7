//! A roster that drops a node: what it held with others is moved, and nothing acknowledged is lost,
//! whether it stays for the move or not.
// Helpers of tests: what is refused in calm must stop the test.
#![allow(clippy::unwrap_used)]

use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::mailbox::{MarkValue, SlotClass};
use lapwing_protocol::problem::Problem;
use lapwing_tests::sim::{World, each_seed};

#[test]
fn a_dropped_node_leaves_and_nothing_is_lost() {
    each_seed(2, |seed| {
        let mut w = World::new(seed, 6);
        // Not the operator that registered the mediator: with it, its registration goes.
        let gone = 1 + w.below(5);
        let stays: Vec<usize> = (0..6).filter(|n| *n != gone).collect();
        let mut boxes = Vec::new();
        for n in 0..16u8 {
            let own = w.mailbox(SlotClass::Sixteen);
            w.open_mailbox(usize::from(n) % 6, &own).unwrap();
            w.call(usize::from(n) % 6, &own.write(3, n)).unwrap();
            boxes.push(own);
        }
        let mut marks = Vec::new();
        for n in 0..6 {
            let own = w.mark();
            w.open_mark(n, &own).unwrap();
            w.call(n, &own.set(1, MarkValue::Open)).unwrap();
            w.call(n, &own.set(2, MarkValue::Taken)).unwrap();
            marks.push(own);
        }
        // In each region a request that is booked and one that waits.
        let mut bookings = Vec::new();
        let mut waiting = Vec::new();
        for region in 0..w.fixture.mediator.regions.len() {
            let node = stays[region % stays.len()];
            let (user, _) = w.place(node, region).unwrap();
            let first = w.claim(node, region, 1).unwrap().remove(0);
            w.next_provider();
            let second = w.claim(node, region, 1).unwrap().remove(0);
            let (call, _) = first.lock(&user.key, 1);
            w.call(node, &call).unwrap();
            bookings.push((user, second));
            let (_, placed) = w.place(node, region).unwrap();
            waiting.push(placed.id);
        }
        // The roster without it is published at one node; it leaves at once, or after the move.
        let leaves = w.fixture.operators.remove(gone);
        w.fixture.now = w.now();
        let roster = w.fixture.sign_roster();
        w.call(stays[0], &Call::new(CallKind::Publish, roster))
            .unwrap();
        if seed % 2 == 0 {
            w.crash(gone);
        }
        w.run(60_000);
        w.crash(gone);
        w.sleep(4_000_000);
        w.run(30_000);
        assert!(!w.view(stays[0]).in_roster(&leaves.nodes[0].id));
        assert!(w.differing().is_empty(), "replicas agree");
        for node in stays.iter().copied() {
            for (n, own) in boxes.iter().enumerate() {
                let found = w.read_all(node, &own.mailbox, &own.reading).unwrap();
                assert_eq!(found, vec![(3, vec![u8::try_from(n).unwrap(); 4096])]);
                // Each of its R holders by the new placement has it by itself.
                let id = *own.mailbox.id().as_bytes();
                if w.view(node).is_holder(&id, &w.id(node)) {
                    let held = w.rows(node);
                    let key = [b"d", &id[..]].concat();
                    assert!(held.iter().any(|(k, _)| k.starts_with(&key)), "node {node}");
                }
            }
            for own in &marks {
                assert_eq!(w.read_mark(node, own), Ok(Some((2, MarkValue::Taken))));
            }
        }
        for (region, (user, second)) in bookings.iter().enumerate() {
            for node in stays.iter().copied() {
                let (call, _) = second.lock(&user.key, 2);
                assert_eq!(w.call(node, &call).map(|_| ()), Err(Problem::Locked));
            }
            w.fixture.now = w.now();
            let claimed = w.claim(stays[1], region, 20).unwrap();
            let found: Vec<_> = claimed.iter().map(|t| t.grant.request).collect();
            assert_eq!(
                found,
                vec![waiting[region]],
                "what waits, and not what is booked"
            );
        }
    });
}
