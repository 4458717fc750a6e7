//! The chain of trust among nodes: it reaches every node whatever the order, and only what may change it
//! changes it.

use std::collections::BTreeSet;

use lapwing_core::Alarm;
use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::id::RecordId;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::Seconds;
use lapwing_tests::sim::{World, each_seed};

fn publish(w: &mut World, node: usize, record: &[u8]) -> Result<(), Problem> {
    w.call(node, &Call::new(CallKind::Publish, record.to_vec()))
        .map(|_| ())
}

fn held(w: &World, node: usize) -> BTreeSet<RecordId> {
    w.core(node)
        .view()
        .records()
        .into_iter()
        .map(|(id, _)| id)
        .collect()
}

/// Runs until all nodes hold the same records.
fn agree(w: &mut World) {
    for _ in 0..120 {
        let first = held(w, 0);
        if (1..w.len()).all(|n| held(w, n) == first) {
            return;
        }
        w.run(1_000);
    }
    unreachable!("the nodes agree on the chain of trust");
}

#[test]
fn records_reach_every_node_in_any_order() {
    each_seed(1, |seed| {
        let mut w = World::untaught(seed, 5);
        w.net.gossip_loss = 400;
        w.net.loss = 50;
        let mut records = w.fixture.records();
        // Published at any node, children before parents too: who is early tries again.
        let mut rounds = 0;
        while !records.is_empty() {
            rounds += 1;
            assert!(rounds < 40, "the records fit in some order");
            let mut left = Vec::new();
            while !records.is_empty() {
                let at = w.below(records.len());
                let record = records.swap_remove(at);
                let node = w.some_node();
                if publish(&mut w, node, &record).is_err() {
                    left.push(record);
                }
            }
            records = left;
            if w.below(2) == 0 {
                let node = w.below(5);
                w.crash(node);
                w.run(1_000);
                w.restart(node);
            }
            w.run(3_000);
        }
        agree(&mut w);
        let expected: BTreeSet<_> = w
            .fixture
            .view()
            .records()
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        assert_eq!(held(&w, 0), expected);
        for node in 0..5 {
            let (now, provider) = (w.now(), w.provider.id);
            w.core(node).view().provider(&provider, now).unwrap();
        }
        // A revocation, published at one node while another is away.
        w.crash(4);
        let serial = w.provider.serial;
        w.fixture.now = w.now();
        w.fixture.revoke(serial);
        for record in w.fixture.records() {
            let _ = publish(&mut w, 1, &record);
        }
        w.restart(4);
        w.run(1_000);
        agree(&mut w);
        for node in 0..5 {
            let (now, provider) = (w.now(), w.provider.id);
            assert!(
                w.core(node).view().provider(&provider, now).is_err(),
                "revoked at {node}"
            );
        }
        // What was superseded is gone from the stores too, and a start brings the same chain back.
        w.run(3_000);
        for node in 0..5 {
            let before = held(&w, node);
            assert_eq!(w.spaces(node).get(&'t').copied().unwrap_or(0), before.len());
            w.crash(node);
            w.restart(node);
            assert_eq!(held(&w, node), before);
        }
        let faults: Vec<_> = w.faults.iter().map(|f| f.3).collect();
        assert!(faults.is_empty(), "honest nodes find no fault: {faults:?}");
    });
}

#[test]
fn equivocation_is_alarmed_and_kept_and_changes_nothing() {
    let mut w = World::new(2, 3);
    w.fixture.now = w.now();
    let before = w.fixture.mediator.clone();
    // Two directories under one sequence.
    let mut other = w.fixture.mediator.clone();
    w.fixture.mediator.listed.clear();
    let ours = {
        let now = w.fixture.now;
        w.fixture.mediator.sign_directory(now)
    };
    let theirs = {
        let now = w.fixture.now.plus(Seconds::new(1));
        other.sign_directory(now)
    };
    assert_eq!(publish(&mut w, 0, &ours), Ok(()));
    let kept = held(&w, 0);
    assert_eq!(publish(&mut w, 0, &theirs), Err(Problem::Equivocation));
    assert_eq!(held(&w, 0), kept, "nothing changes");
    assert!(
        w.alarms
            .iter()
            .any(|(n, a)| *n == 0 && matches!(a, Alarm::Equivocation { .. }))
    );
    w.run(1_000);
    assert_eq!(w.spaces(0).get(&'x'), Some(&2), "both are kept as proof");
    w.run(20_000);
    for node in 0..3 {
        let told = w
            .alarms
            .iter()
            .filter(|(n, a)| *n == node && matches!(a, Alarm::Equivocation { .. }));
        assert_eq!(told.count(), 1, "node {node} knows, and tells once");
        assert_eq!(w.core(node).equivocations().len(), 1);
    }
    assert_eq!(publish(&mut w, 0, &theirs), Err(Problem::Equivocation));
    w.run(10_000);
    assert_eq!(w.alarms.len(), 3, "one proof a number");
    w.crash(0);
    w.restart(0);
    assert_eq!(w.spaces(0).get(&'x'), Some(&2));
    assert_eq!(w.core(0).equivocations().len(), 1);
    // What is older is refused.
    assert!(matches!(
        publish(&mut w, 1, &before.directory),
        Ok(()) | Err(Problem::Rollback)
    ));
    let mut forged = ours.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(publish(&mut w, 2, &forged), Err(Problem::BadSignature));
}

#[test]
fn a_new_roster_moves_what_is_held_and_nothing_is_lost() {
    each_seed(1, |seed| {
        let fixture = lapwing_protocol::testing::Fixture::new(seed, 7);
        let mut w = World::with_absent(fixture, seed, 3);
        let mut boxes = Vec::new();
        for n in 0..12u8 {
            let own = w.mailbox(lapwing_protocol::mailbox::SlotClass::Sixteen);
            let node = w.below(4);
            w.open_mailbox(node, &own).unwrap();
            w.call(node, &own.write(3, n)).unwrap();
            boxes.push(own);
        }
        let (_, placed) = w.place(0, 0).unwrap();
        // Three more nodes join; the roster is published at one node.
        let roster = w.join_all();
        publish(&mut w, 0, &roster).unwrap();
        // During and after the move everything can be read at every node.
        for pause in [0, 200, 2_000, 60_000, 4_000_000] {
            if pause > 100_000 {
                w.sleep(pause);
            } else {
                w.run(pause);
            }
            let node = w.below(7);
            for (n, own) in boxes.iter().enumerate() {
                let found = w.read_all(node, &own.mailbox, &own.reading);
                match found {
                    Ok(found) => assert_eq!(found, vec![(3, vec![n as u8; 4096])], "after {pause}"),
                    // A node that has not heard of the roster or its place in it may refuse, not lie.
                    Err(problem) => {
                        assert!(
                            pause < 60_000 && problem.retry(),
                            "{problem:?} after {pause}"
                        );
                    }
                }
            }
        }
        agree(&mut w);
        w.converge(60_000);
        w.fixture.now = w.now();
        let claimed = w.claim(6, 0, 5).unwrap();
        assert!(claimed.iter().any(|t| t.grant.request == placed.id));
    });
}
