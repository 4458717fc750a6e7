//! Writes and openings.

use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::{sign, sign_verified};
use lapwing_protocol::id::RecordId;
use lapwing_protocol::item::CheckedItem;
use lapwing_protocol::mailbox::{
    Mailbox, OpenOrder, Opening, Payment, Place, SlotClass, WriteAuth, Writers,
};
use lapwing_protocol::peer::{PeerCall, PeerReply, PushResult};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::testing::{Fixture, list};
use lapwing_protocol::time::Seconds;
use lapwing_tests::sim::{World, read_call};

use crate::refused;

#[test]
fn writes_are_refused_by_what_is_wrong_with_them() {
    let mut w = World::new(2, 3);
    let own = w.mailbox(SlotClass::Four);
    w.open_mailbox(0, &own).unwrap();
    let other = w.mailbox(SlotClass::Four);
    w.call(1, &own.write(2, 9)).unwrap();
    w.converge(10_000);
    w.run(1_000);
    let mut forged = own.clone();
    forged.writing = other.writing.clone();
    let mut reader = own.clone();
    reader.reading = other.reading.clone();
    let short = own.write_blob(0, vec![1; 4095]);
    let table = [
        ("nobody's mailbox", other.write(0, 1), Problem::NotOpened),
        ("another's key", forged.write(0, 1), Problem::BadSignature),
        ("too short a blob", short, Problem::WrongSize),
        ("a slot too high", own.write(4, 1), Problem::WrongSlot),
        ("a taken slot", own.write(2, 1), Problem::SlotConflict),
        (
            "another's deletion",
            reader.delete(2),
            Problem::BadSignature,
        ),
        (
            "a deletion beyond the slots",
            own.delete(4),
            Problem::WrongSlot,
        ),
        (
            "a deletion of nobody's",
            other.delete(0),
            Problem::NotOpened,
        ),
        (
            "a mark of nobody's",
            w.mark().set(1, lapwing_protocol::mailbox::MarkValue::Open),
            Problem::NotOpened,
        ),
    ];
    for (name, call, problem) in table {
        for node in 0..3 {
            refused(&mut w, name, node, &call, problem);
        }
    }
    // A proof of work where a key is due.
    let write = own.write(0, 1);
    let mut parsed: lapwing_protocol::mailbox::BlobWrite =
        lapwing_protocol::codec::from_bytes(write.body(), 1 << 20).unwrap();
    parsed.auth = WriteAuth::Work(1);
    let call = Call::new(CallKind::Write, to_bytes(&parsed));
    refused(&mut w, "work for a key", 0, &call, Problem::WrongSigner);
    // Replays: the same read at another node, and later.
    let proof = read_call(&own.mailbox, &own.reading, w.id(0), w.now(), None);
    w.call(0, &proof).unwrap();
    refused(
        &mut w,
        "a proof for another node",
        1,
        &proof,
        Problem::WrongNode,
    );
    w.run(3_600_000);
    refused(&mut w, "an old proof", 0, &proof, Problem::StaleTime);
    w.set_skew(2, 3_600_000);
    let proof = read_call(&own.mailbox, &own.reading, w.id(2), w.now(), None);
    refused(
        &mut w,
        "a clock that is off by an hour",
        2,
        &proof,
        Problem::StaleTime,
    );
}

#[test]
fn openings_are_paid_for_by_who_may() {
    let mut w = World::new(3, 3);
    w.run(1_000);
    let own = w.mailbox(SlotClass::Four);
    let place = Place::Mailbox(own.mailbox.clone());
    let order = OpenOrder {
        node: w.id(0),
        payment: Payment::Provider(w.provider.id),
        places: list(vec![place.clone()]),
        time: w.now(),
    };
    let signing = w.provider.signing.clone();
    let stranger = w.key();
    let with = |edit: &dyn Fn(&mut OpenOrder)| {
        let mut order = order.clone();
        edit(&mut order);
        Call::new(CallKind::Open, sign(&order, &signing))
    };
    let mailbox = |edit: &dyn Fn(&mut Mailbox)| {
        let mut m = own.mailbox.clone();
        edit(&mut m);
        with(&|o| o.places = list(vec![Place::Mailbox(m.clone())]))
    };
    let (day, id1) = (w.now().day(), w.id(1));
    let hour = Seconds::HOUR;
    let table = [
        (
            "another's signature",
            Call::new(CallKind::Open, sign(&order, &stranger)),
            Problem::BadSignature,
        ),
        ("another node", with(&|o| o.node = id1), Problem::WrongNode),
        (
            "an hour ago",
            with(&|o| o.time = o.time.minus(hour)),
            Problem::StaleTime,
        ),
        (
            "in an hour",
            with(&|o| o.time = o.time.plus(hour)),
            Problem::StaleTime,
        ),
        (
            "nothing",
            with(&|o| o.places = list(vec![])),
            Problem::OutOfBounds,
        ),
        (
            "an unknown certificate",
            with(&|o| o.payment = Payment::Provider(RecordId::from_bytes([9; 32]))),
            Problem::UnknownCertificate,
        ),
        (
            "an unknown mediator",
            with(&|o| o.payment = Payment::Mediator(RecordId::from_bytes([9; 32]))),
            Problem::UnknownCertificate,
        ),
        (
            "days ahead",
            mailbox(&|m| m.day = day.plus(2)),
            Problem::StaleTime,
        ),
        (
            "days ago",
            mailbox(&|m| m.day = day.minus(2)),
            Problem::StaleTime,
        ),
        (
            "an inbox",
            mailbox(&|m| m.writers = Writers::Tickets),
            Problem::OutOfBounds,
        ),
        (
            "no writers",
            mailbox(&|m| m.writers = Writers::Keys(list(vec![]))),
            Problem::OutOfBounds,
        ),
        (
            "open to all",
            mailbox(&|m| m.writers = Writers::Work(30)),
            Problem::WrongSigner,
        ),
    ];
    for (name, call, problem) in table {
        refused(&mut w, name, 0, &call, problem);
    }
    // Revoked, or its mediator's status expired: no more.
    w.sleep(8 * 86_400_000);
    let mut fresh = order.clone();
    fresh.time = w.now();
    let call = Call::new(CallKind::Open, sign(&fresh, &signing));
    refused(
        &mut w,
        "an expired status",
        0,
        &call,
        Problem::StatusExpired,
    );
}

#[test]
fn the_cap_on_openings_binds_a_node_and_its_peers() {
    let fixture = Fixture::with(4, 3, 1, |p| p.openings_per_day = 3);
    let mut w = World::with(fixture, 4);
    for n in 0..3 {
        let own = w.mailbox(SlotClass::Four);
        w.open_mailbox(0, &own).unwrap();
        assert!(n < 3);
    }
    let own = w.mailbox(SlotClass::Four);
    assert_eq!(w.open_mailbox(0, &own), Err(Problem::CapReached));
    w.crash(0);
    w.restart(0);
    w.run(2_000);
    assert_eq!(
        w.open_mailbox(0, &own),
        Err(Problem::CapReached),
        "also after a crash"
    );
    w.open_mailbox(1, &own).unwrap();
    // A node that signs beyond its cap, or for another day.
    let signing = w.fixture.node(&w.id(0)).signing.clone();
    let liar = w.id(0);
    let day = w.now().day();
    for (serial, day, problem) in [
        (3, day, Problem::CapReached),
        (0, day.plus(5), Problem::OutOfBounds),
        (0, day.minus(5), Problem::OutOfBounds),
    ] {
        let place = Place::Mailbox(w.mailbox(SlotClass::Four).mailbox);
        let opening = Opening {
            node: liar,
            place,
            day,
            serial,
        };
        let item = CheckedItem::opening(sign_verified(&opening, &signing), w.now().hour());
        let reply = w.peer_call(liar, 1, PeerCall::Push(list(vec![item.to_wire()])));
        assert_eq!(
            reply,
            PeerReply::Push(list(vec![PushResult::Refused(problem)]))
        );
    }
}
