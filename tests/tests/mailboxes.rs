//! Mailboxes and marks across crashes, partitions and losses: nothing acknowledged is lost, and replicas
//! end equal.

use std::collections::BTreeMap;

use lapwing_protocol::cose::parse;
use lapwing_protocol::item::ItemKind;
use lapwing_protocol::mailbox::{MarkValue, Opening, Place, SlotClass};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::size::SizeClass;
use lapwing_store::MemoryStore;
use lapwing_tests::sim::{Ask, OwnMailbox, World, each_seed, read_call};

#[test]
fn one_node_is_its_own_quorum() {
    let mut w = World::new(1, 1);
    let own = w.mailbox(SlotClass::Sixteen);
    assert_eq!(w.call(0, &own.write(0, 1)), Err(Problem::NotOpened));
    w.open_mailbox(0, &own).unwrap();
    w.call(0, &own.write(0, 1)).unwrap();
    assert_eq!(w.call(0, &own.write(0, 2)), Err(Problem::SlotConflict));
    w.call(0, &own.write(0, 1)).unwrap();
    assert_eq!(
        w.read_all(0, &own.mailbox, &own.reading).unwrap(),
        vec![(0, vec![1; 4096])]
    );
    w.call(0, &own.delete(0)).unwrap();
    assert_eq!(w.call(0, &own.write(0, 1)), Err(Problem::Deleted));
    assert!(
        w.read_all(0, &own.mailbox, &own.reading)
            .unwrap()
            .is_empty()
    );
    w.crash(0);
    w.restart(0);
    assert_eq!(w.call(0, &own.write(0, 1)), Err(Problem::Deleted));
}

#[test]
fn who_waits_at_any_node_is_told_of_blobs_of_every_size() {
    each_seed(2, |seed| {
        let mut w = World::new(seed, 6);
        w.net.gossip_loss = 0;
        for size in SizeClass::ALL {
            let own = w.sized_mailbox(*size, SlotClass::Sixteen);
            w.open_mailbox(0, &own).unwrap();
            for slot in 0..2 {
                w.woken.clear();
                w.call(1, &own.write(slot, 7)).unwrap();
                w.run(3_000);
                let told = (0..6).filter(|n| w.woken.contains(&(*n, own.mailbox.id())));
                assert_eq!(told.count(), 6, "{size:?}");
            }
        }
    });
}

/// What a writer knows after the chaos.
struct Book {
    own: OwnMailbox,
    /// Slots with an acknowledged blob, and the blob's byte.
    written: BTreeMap<u32, u8>,
    /// Slots with an acknowledged deletion.
    deleted: Vec<u32>,
    /// Slots whose deletion failed for its caller: some holder may have taken it all the same.
    doubtful: Vec<u32>,
}

/// Breaks something or mends something.
fn mischief(w: &mut World) {
    let n = w.len();
    match w.below(6) {
        0 => {
            let node = w.below(n);
            w.crash(node);
        }
        1 => {
            let node = w.below(n);
            w.restart(node);
        }
        2 => {
            let side: Vec<usize> = (0..n).filter(|_| w.below(2) == 0).collect();
            w.partition(&side);
        }
        3 => w.heal(),
        4 => w.net.loss = 100,
        _ => w.net.loss = 0,
    }
    if !(0..n).any(|node| w.up(node)) {
        w.restart(0);
    }
}

#[test]
fn what_was_acknowledged_is_read_back_whatever_happens() {
    each_seed(2, |seed| {
        let nodes = [3, 5, 7][(seed % 3) as usize];
        let mut w = World::new(seed, nodes);
        let mut books: Vec<Book> = Vec::new();
        for _ in 0..4 {
            let own = w.mailbox(SlotClass::Sixteen);
            let node = w.some_node();
            w.open_mailbox(node, &own).unwrap();
            books.push(Book {
                own,
                written: BTreeMap::new(),
                deleted: Vec::new(),
                doubtful: Vec::new(),
            });
        }
        for round in 0..12u32 {
            mischief(&mut w);
            let mut asks: Vec<(Ask, usize, u32)> = Vec::new();
            for (at, book) in books.iter().enumerate() {
                let node = w.some_node();
                let slot = round % 16;
                asks.push((w.ask(node, &book.own.write(slot, at as u8 + 1)), at, slot));
            }
            let pause = w.below(1_500) as u64;
            w.run(pause);
            mischief(&mut w);
            let all: Vec<Ask> = asks.iter().map(|a| a.0).collect();
            for (answer, (_, at, slot)) in w.answers(&all).into_iter().zip(asks) {
                if answer.is_ok() {
                    books[at].written.insert(slot, at as u8 + 1);
                }
            }
            if round % 3 == 2 {
                for book in &mut books {
                    let node = w.some_node();
                    let Some(slot) = book.written.keys().next().copied() else {
                        continue;
                    };
                    match w.call(node, &book.own.delete(slot)) {
                        Ok(_) => book.deleted.push(slot),
                        Err(_) => book.doubtful.push(slot),
                    }
                }
            }
        }
        w.net.loss = 0;
        w.heal();
        w.run(1_000);
        // Before any comparison had much time, a read by quorum finds it all.
        for book in &books {
            for node in 0..nodes {
                let found: BTreeMap<u32, Vec<u8>> = w
                    .read_all(node, &book.own.mailbox, &book.own.reading)
                    .unwrap()
                    .into_iter()
                    .collect();
                for (slot, byte) in &book.written {
                    if book.deleted.contains(slot) {
                        assert!(!found.contains_key(slot), "a deletion was acknowledged");
                    } else if let Some(blob) = found.get(slot) {
                        assert_eq!(blob[0], *byte);
                    } else {
                        assert!(book.doubtful.contains(slot), "slot {slot} is lost");
                    }
                }
            }
        }
        w.converge(60_000);
    });
}

#[test]
fn marks_keep_the_highest_version_and_taken_wins_a_tie() {
    each_seed(2, |seed| {
        let mut w = World::new(seed, 5);
        let mark = w.mark();
        w.open_mark(0, &mark).unwrap();
        assert_eq!(w.read_mark(4, &mark).unwrap(), None);
        let mut best = None;
        for version in 1..8u64 {
            mischief(&mut w);
            // Two states of one version, at once, at different nodes.
            let (a, b) = (w.some_node(), w.some_node());
            let open = w.ask(a, &mark.set(version, MarkValue::Open));
            let taken = w.ask(b, &mark.set(version, MarkValue::Taken));
            let answers = w.answers(&[open, taken]);
            if answers[1].is_ok() {
                best = Some((version, MarkValue::Taken));
            } else if answers[0].is_ok() {
                best = Some((version, MarkValue::Open));
            }
        }
        w.net.loss = 0;
        w.heal();
        w.run(1_000);
        let seen = w.read_mark(1, &mark).unwrap();
        assert!(seen >= best, "{seen:?} was {best:?}");
        w.converge(60_000);
        let states: Vec<_> = (0..5).map(|n| w.read_mark(n, &mark).unwrap()).collect();
        assert!(
            states.iter().all(|s| *s == states[0] && *s >= seen),
            "{states:?}"
        );
        let next = states[0].map_or(1, |s| s.0);
        assert_eq!(
            w.call(2, &mark.set(next - 1, MarkValue::Taken)),
            Err(Problem::OldVersion)
        );
    });
}

#[test]
fn absence_wants_a_quorum_too() {
    let mut w = World::new(7, 3);
    let own = w.mailbox(SlotClass::Four);
    assert_eq!(
        w.read_all(0, &own.mailbox, &own.reading),
        Err(Problem::NotOpened)
    );
    w.crash(1);
    w.crash(2);
    assert_eq!(
        w.read_all(0, &own.mailbox, &own.reading),
        Err(Problem::HoldersAway)
    );
    assert_eq!(
        w.open_mailbox(0, &own),
        Err(Problem::HoldersAway),
        "one of three is no quorum"
    );
    w.heal();
    w.converge(30_000);
    let call = w.open_call(0, vec![Place::Mailbox(own.mailbox.clone())]);
    w.call(0, &call).unwrap();
    w.call(1, &own.write(1, 9)).unwrap();
    let proof = read_call(&own.mailbox, &own.reading, w.id(0), w.now(), None);
    assert_eq!(
        w.call(1, &proof),
        Err(Problem::WrongNode),
        "a proof is for one node"
    );
}

#[test]
fn what_lies_behind_many_deletions_is_read() {
    let mut w = World::new(11, 3);
    let own = w.mailbox(SlotClass::Free);
    w.open_mailbox(0, &own).unwrap();
    for slot in 0..150 {
        w.call(0, &own.write(slot, 1)).unwrap();
    }
    for slot in 0..140 {
        w.call(1, &own.delete(slot)).unwrap();
    }
    for node in 0..3 {
        let found = w.read_all(node, &own.mailbox, &own.reading).unwrap();
        let slots: Vec<u32> = found.into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(slots, (140..150).collect::<Vec<_>>());
    }
    // Page by page, and each blob once.
    let own = w.mailbox(SlotClass::Free);
    w.open_mailbox(0, &own).unwrap();
    for slot in 0..150 {
        w.call(0, &own.write(slot * 7, 1)).unwrap();
    }
    assert_eq!(
        w.read_all(2, &own.mailbox, &own.reading).unwrap().len(),
        150
    );
}

#[test]
fn what_was_acknowledged_survives_the_loss_of_a_store() {
    each_seed(1, |seed| {
        let mut w = World::new(seed, 5);
        // No comparing, no gossip: only the W copies that the acknowledgement speaks of.
        w.net.gossip_loss = 1000;
        let mut boxes = Vec::new();
        for n in 0..6u8 {
            let own = w.mailbox(SlotClass::Four);
            let node = w.below(5);
            w.open_mailbox(node, &own).unwrap();
            w.call(node, &own.write(0, n)).unwrap();
            boxes.push(own);
        }
        let lost = w.below(5);
        w.crash(lost);
        w.replace_store(lost, MemoryStore::new());
        w.restart(lost);
        w.run(1_500);
        for (n, own) in boxes.iter().enumerate() {
            let node = (0..5).find(|node| *node != lost).unwrap_or(0);
            let found = w.read_all(node, &own.mailbox, &own.reading);
            assert_eq!(found, Ok(vec![(0, vec![n as u8; 4096])]));
        }
        w.converge(60_000);
        // Fully replicated again: now another one may go, and another.
        for again in 1..3 {
            let next = (lost + again) % 5;
            w.crash(next);
            w.replace_store(next, MemoryStore::new());
            w.restart(next);
            // The chain of trust first, then what it places.
            w.run(12_000);
            w.converge(60_000);
        }
        for (n, own) in boxes.iter().enumerate() {
            for node in 0..5 {
                let found = w.read_all(node, &own.mailbox, &own.reading);
                assert_eq!(found, Ok(vec![(0, vec![n as u8; 4096])]));
            }
        }
    });
}

#[test]
fn no_serial_of_an_opening_is_signed_twice() {
    each_seed(2, |seed| {
        let mut w = World::new(seed, 3);
        for _ in 0..8 {
            let asks: Vec<Ask> = (0..3)
                .map(|_| {
                    let place = Place::Mailbox(w.mailbox(SlotClass::Four).mailbox);
                    let call = w.open_call(0, vec![place]);
                    w.ask(0, &call)
                })
                .collect();
            let pause = w.below(200) as u64;
            w.run(pause);
            w.crash(0);
            w.run(100);
            w.restart(0);
            w.answers(&asks);
        }
        w.converge(60_000);
        let mut serials = BTreeMap::new();
        for body in w.bodies(ItemKind::Opening) {
            let opening = parse::<Opening>(&body).unwrap().unverified().clone();
            let before = serials.insert((opening.node, opening.day, opening.serial), body);
            assert_eq!(before, None, "serial {} twice", opening.serial);
        }
        assert!(!serials.is_empty());
    });
}

#[test]
fn a_full_box_is_emptied_by_its_reader() {
    use lapwing_protocol::client::{Call, CallKind};
    use lapwing_protocol::codec::to_bytes;
    use lapwing_protocol::mailbox::{
        BlobWrite, OpenOrder, Payment, Place, SlotClass, WriteAuth, Writers, write_message,
        write_work,
    };
    use lapwing_protocol::testing::list;

    let mut w = World::new(9, 1);
    let mut own = w.mailbox(SlotClass::Free);
    let bits = w.fixture.params.box_work;
    own.mailbox.writers = Writers::Work(bits);
    let order = OpenOrder {
        node: w.id(0),
        payment: Payment::Mediator(lapwing_protocol::hash::record_hash(
            &w.fixture.mediator.certificate,
        )),
        places: list(vec![Place::Mailbox(own.mailbox.clone())]),
        time: w.now(),
    };
    let order = lapwing_protocol::cose::sign(&order, &w.fixture.mediator.signing);
    w.call(0, &Call::new(CallKind::Open, order)).unwrap();
    let letter = |slot: u32| {
        let blob = vec![7; own.mailbox.size.bytes()];
        let message = write_message(&own.mailbox.id(), slot, &blob);
        let works = |nonce: &u64| {
            lapwing_protocol::hash::work_bits(&write_work(&message, *nonce)) >= u32::from(bits)
        };
        let nonce = (0..).find(works).unwrap();
        let write = BlobWrite {
            mailbox: own.mailbox.clone(),
            slot,
            blob: blob.try_into().unwrap(),
            auth: WriteAuth::Work(nonce),
        };
        Call::new(CallKind::Write, to_bytes(&write))
    };
    for slot in 0..4_096 {
        w.call(0, &letter(slot)).unwrap();
    }
    assert_eq!(
        w.call(0, &letter(5_000)).map(|_| ()),
        Err(Problem::CapReached)
    );
    for slot in 0..10 {
        w.call(0, &own.delete(slot)).unwrap();
    }
    for slot in 5_000..5_010 {
        w.call(0, &letter(slot)).unwrap();
    }
    assert_eq!(
        w.call(0, &letter(6_000)).map(|_| ()),
        Err(Problem::CapReached)
    );
    // After a start the same holds: it is counted anew.
    w.crash(0);
    w.restart(0);
    w.run(2_000);
    assert_eq!(
        w.call(0, &letter(6_000)).map(|_| ()),
        Err(Problem::CapReached)
    );
    w.call(0, &own.delete(11)).unwrap();
    w.call(0, &letter(6_000)).unwrap();
    assert_eq!(
        w.call(0, &own.delete(5_000)).map(|_| ()),
        Ok(()),
        "what came later too"
    );
}
