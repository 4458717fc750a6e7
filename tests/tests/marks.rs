//! Of two bookings that take one mark in one version, at most one is told that it did.

use lapwing_protocol::client::Answer;
use lapwing_protocol::mailbox::{MarkValue, NO_BOOKING};
use lapwing_protocol::problem::Problem;
use lapwing_tests::sim::{World, each_seed};

#[test]
fn two_bookings_never_both_get_a_receipt() {
    each_seed(6, |seed| {
        let nodes = 3 + seed as usize % 3;
        let mut w = World::new(seed, nodes);
        let mark = w.mark();
        w.open_mark(0, &mark).unwrap();
        w.call(0, &mark.set(1, MarkValue::Open)).unwrap();
        // Nodes compare all the while, so that each device's state reaches holders by the back door too.
        w.net.loss = 300;
        w.net.latency = (1, 700);
        let calls = [1u8, 2].map(|by| mark.set_by(2, MarkValue::Taken, [by; 16]));
        let mut receipts = [false; 2];
        for _ in 0..12 {
            let alone = w.some_node();
            w.partition(&[alone]);
            let asks = [0, 1].map(|device| {
                let node = w.some_node();
                w.ask(node, &calls[device])
            });
            for (got, answer) in receipts.iter_mut().zip(w.answers(&asks)) {
                *got |= matches!(answer, Ok(Answer::Receipt(_)));
            }
            w.heal();
            w.run(2_000);
        }
        assert_ne!(receipts, [true; 2], "both took it");
        (w.net.loss, w.net.latency) = (0, (1, 60));
        w.heal();
        w.converge(60_000);
        // Who did not get one then will not get one any more; and all nodes say the same.
        for device in [0, 1] {
            let answer = w.call(0, &calls[device]);
            receipts[device] |= answer.is_ok();
            assert!(answer.is_ok() || answer == Err(Problem::OldVersion));
        }
        assert_ne!(receipts, [true; 2], "both took it in the end");
        let states: Vec<_> = (0..nodes).map(|n| w.read_mark(n, &mark).unwrap()).collect();
        assert!(states.iter().all(|s| *s == Some((2, MarkValue::Taken))));
        // A higher version takes the place of whatever there was.
        w.call(0, &mark.set(3, MarkValue::Open)).unwrap();
        assert_eq!(
            w.read_mark(nodes - 1, &mark),
            Ok(Some((3, MarkValue::Open)))
        );
        w.converge(60_000);
    });
}

#[test]
fn another_state_of_the_same_version_is_refused() {
    let mut w = World::new(9, 3);
    let mark = w.mark();
    w.open_mark(0, &mark).unwrap();
    let taken = |by| mark.set_by(1, MarkValue::Taken, [by; 16]);
    w.call(0, &taken(1)).unwrap();
    w.call(1, &taken(1)).unwrap();
    for other in [taken(0), taken(2), mark.set(1, MarkValue::Open)] {
        assert_eq!(w.call(2, &other), Err(Problem::OldVersion));
    }
    // An open mark names no booking.
    let strange = mark.set_by(2, MarkValue::Open, [1; 16]);
    assert_eq!(w.call(0, &strange), Err(Problem::OutOfBounds));
    w.call(0, &mark.set_by(2, MarkValue::Taken, NO_BOOKING))
        .unwrap();
}
