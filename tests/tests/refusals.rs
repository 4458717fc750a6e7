//! Bad input, as a table: what is malformed, oversized, not canonical, replayed, expired, wrongly signed or
//! addressed is refused with the right problem, and leaves every store as it was.

use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::{sign, sign_verified};
use lapwing_protocol::id::{RecordId, RegionId, TokenHash};
use lapwing_protocol::item::{CheckedItem, ItemBytes, ItemKind};
use lapwing_protocol::mailbox::{
    Mailbox, OpenOrder, Opening, Payment, Place, SlotClass, WriteAuth, Writers,
};
use lapwing_protocol::peer::{IdOrder, PeerCall, PeerReply, PushResult, Shard};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{Claim, Release, Request};
use lapwing_protocol::testing::{Fixture, list};
use lapwing_protocol::time::{Hour, Seconds};
use lapwing_tests::sim::{World, read_call};

type Rows = Vec<Vec<(Vec<u8>, Vec<u8>)>>;

fn rows(w: &World) -> Rows {
    (0..w.len()).map(|n| w.rows(n)).collect()
}

/// Asks, and compares all stores before and after.
fn refused(w: &mut World, name: &str, node: usize, call: &Call, problem: Problem) {
    let before = rows(w);
    assert_eq!(w.call(node, call), Err(problem), "{name}");
    w.run(200);
    assert!(rows(w) == before, "{name}: stores are as they were");
}

fn altered(call: &Call, edit: impl FnOnce(&mut Vec<u8>)) -> Call {
    let mut body = call.body().to_vec();
    edit(&mut body);
    Call::new(call.kind(), body)
}

#[test]
fn every_call_refuses_what_is_not_one_canonical_encoding() {
    let mut w = World::new(1, 3);
    let own = w.mailbox(SlotClass::Sixteen);
    w.open_mailbox(0, &own).unwrap();
    let mark = w.mark();
    w.open_mark(0, &mark).unwrap();
    w.run(1_000);
    let (order, _) = w.token_order(0);
    let drawn = w.draw(0).unwrap();
    let placed = w.request(&drawn, 0);
    let challenges = w.challenges(0, 0).unwrap();
    let (claim, _) = w.claim_call(0, 2, &challenges);
    w.run(1_000);
    let good = [
        Call::new(CallKind::Token, to_bytes(&order)),
        placed.call.clone(),
        w.open_call(0, vec![Place::Mark(mark.mark.clone())]),
        own.write(0, 1),
        read_call(&own.mailbox, &own.reading, w.id(0), w.now(), None),
        own.delete(0),
        mark.set(1, lapwing_protocol::mailbox::MarkValue::Open),
        claim,
        Call::new(CallKind::Publish, w.fixture.roster.clone()),
    ];
    for call in &good {
        let kind = call.kind();
        let name = format!("{kind:?}");
        refused(
            &mut w,
            &name,
            0,
            &Call::new(kind, Vec::new()),
            Problem::Malformed,
        );
        refused(
            &mut w,
            &name,
            0,
            &altered(call, |b| b.push(0)),
            Problem::Malformed,
        );
        refused(
            &mut w,
            &name,
            0,
            &altered(call, |b| b.truncate(b.len() / 2)),
            Problem::Malformed,
        );
        let large = vec![0; kind.max_body() + 1];
        refused(&mut w, &name, 0, &Call::new(kind, large), Problem::TooLarge);
        // The last byte is of a signature, of work or of a number: whatever it is, it is not the same.
        let before = rows(&w);
        let changed = altered(call, |b| {
            if let Some(last) = b.last_mut() {
                *last ^= 0x55;
            }
        });
        if !matches!(kind, CallKind::Token | CallKind::Read) {
            assert!(w.call(0, &changed).is_err(), "{name}: altered");
            w.run(200);
            assert!(rows(&w) == before, "{name}: altered");
        }
        // An array head in a longer form than needed says the same to a lenient decoder.
        let longer = altered(call, |b| {
            let head = b[0];
            if (0x80..0x98).contains(&head) {
                b.splice(0..1, [0x98, head - 0x80]);
            } else {
                b.insert(0, 0xd9);
            }
        });
        refused(&mut w, &name, 0, &longer, Problem::Malformed);
    }
}

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

#[test]
fn requests_claims_and_releases_are_refused_by_what_is_wrong_with_them() {
    let mut w = World::new(5, 3);
    let (order, _) = w.token_order(0);
    let drawn = w.draw(0).unwrap();
    let (_, known) = w.place(0, 0).unwrap();
    let ticket = w.claim(0, 0, 1).unwrap().remove(0);
    w.converge(10_000);
    w.run(1_000);
    let mut idle = order.clone();
    idle.hash = TokenHash::from_bytes([1; 32]);
    let work = lapwing_protocol::token::TokenWork {
        federation: w.fixture.federation.id(),
        issuer: w.id(0),
        epoch: lapwing_protocol::token::epoch_at(w.now(), w.fixture.params.epoch),
    };
    let bits = w.fixture.params.token_work;
    let work = (0..).find(|p| !work.holds(&idle.hash, *p, bits));
    idle.proof = work.unwrap();
    let call = Call::new(CallKind::Token, to_bytes(&idle));
    refused(
        &mut w,
        "a token without work",
        0,
        &call,
        Problem::WorkMissing,
    );

    let placed = w.request(&drawn, 0);
    let said = lapwing_protocol::cose::parse::<Request>(placed.call.body()).unwrap();
    let said = said.unverified().clone();
    let stranger = w.key();
    let region1 = w.fixture.region(1);
    let with = |edit: &dyn Fn(&mut Request)| {
        let mut r = said.clone();
        edit(&mut r);
        Call::new(CallKind::Request, sign(&r, &drawn.key))
    };
    let short = lapwing_protocol::mailbox::Life::Days2;
    let day = w.now().day();
    let table = [
        (
            "another's key",
            Call::new(CallKind::Request, sign(&said, &stranger)),
            Problem::BadSignature,
        ),
        (
            "no region",
            with(&|r| r.region = RegionId::from_bytes([3; 32])),
            Problem::UnknownRegion,
        ),
        (
            "an old key",
            with(&|r| r.key_version = 0),
            Problem::WrongKeyVersion,
        ),
        (
            "a small envelope",
            with(&|r| r.envelope = vec![1; 100].try_into().unwrap()),
            Problem::WrongSize,
        ),
        (
            "an inbox for anybody",
            with(&|r| r.inbox.writers = Writers::Work(1)),
            Problem::OutOfBounds,
        ),
        (
            "a short-lived inbox",
            with(&|r| r.inbox.life = short),
            Problem::OutOfBounds,
        ),
        (
            "an inbox of the future",
            with(&|r| r.inbox.day = day.plus(9)),
            Problem::OutOfBounds,
        ),
    ];
    for (name, call, problem) in table {
        for node in 0..3 {
            refused(&mut w, name, node, &call, problem);
        }
    }
    let _ = region1;

    let challenges = w.challenges(0, 0).unwrap();
    w.run(1_000);
    let (good, _) = w.claim_call(0, 1, &challenges);
    let said = lapwing_protocol::cose::parse::<Claim>(good.body())
        .unwrap()
        .unverified()
        .clone();
    let signing = w.provider.signing.clone();
    let with = |edit: &dyn Fn(&mut Claim)| {
        let mut c = said.clone();
        edit(&mut c);
        Call::new(CallKind::Claim, sign(&c, &signing))
    };
    let wrong = |c: &mut Claim| {
        let answers = c.answers.iter().cloned().map(|mut a| {
            a.nonce[0] ^= 1;
            a
        });
        c.answers = list(answers.collect());
    };
    let table = [
        (
            "another's claim",
            Call::new(CallKind::Claim, sign(&said, &stranger)),
            Problem::BadSignature,
        ),
        (
            "an old claim",
            with(&|c| c.time = c.time.minus(Seconds::HOUR)),
            Problem::StaleTime,
        ),
        (
            "a claim of none",
            with(&|c| c.count = 0),
            Problem::OutOfBounds,
        ),
        (
            "a claim of too many",
            with(&|c| c.count = 255),
            Problem::OutOfBounds,
        ),
        (
            "a claim without answers",
            with(&|c| c.answers = list(vec![])),
            Problem::ChallengeFailed,
        ),
        ("wrong answers", with(&wrong), Problem::ChallengeFailed),
        (
            "another region's answers",
            with(&|c| c.region = region1),
            Problem::ChallengeFailed,
        ),
        (
            "an unknown certificate",
            with(&|c| c.certificate = RecordId::from_bytes([8; 32])),
            Problem::UnknownCertificate,
        ),
    ];
    for (name, call, problem) in table {
        refused(&mut w, name, 0, &call, problem);
    }

    let (_, held) = ticket.lock(&stranger, 1);
    let release = Release {
        region: w.fixture.region(0),
        request: known.id,
        lock: held.lock,
        expires: ticket.grant.expires,
    };
    let signed = Call::new(CallKind::Release, sign(&release, &stranger));
    refused(
        &mut w,
        "a stranger's release",
        0,
        &signed,
        Problem::WrongSigner,
    );
    let past = Release {
        expires: w.now().minus(Seconds::HOUR),
        ..release.clone()
    };
    let past = Call::new(CallKind::Release, sign(&past, &stranger));
    refused(&mut w, "a release of the past", 0, &past, Problem::Expired);
    let (forged, _) = ticket.lock(&stranger, 1);
    refused(
        &mut w,
        "a lock that the user did not sign",
        0,
        &forged,
        Problem::WrongSigner,
    );
    let mut alone = ticket.clone();
    alone.grants.truncate(1);
    let (few, _) = alone.lock(&stranger, 1);
    refused(&mut w, "a ticket of one grant", 0, &few, Problem::BadTicket);
    let mut twice = ticket.clone();
    twice.grants = vec![ticket.grants[0].clone(), ticket.grants[0].clone()];
    let (same, _) = twice.lock(&stranger, 1);
    refused(&mut w, "one grant twice", 0, &same, Problem::BadTicket);
    let until = w.now().plus(Seconds::HOUR);
    refused(
        &mut w,
        "an offer by one grant",
        0,
        &alone.offer(1, until),
        Problem::BadTicket,
    );
    let mut stolen = ticket.clone();
    stolen.key = stranger;
    refused(
        &mut w,
        "a stolen ticket",
        0,
        &stolen.offer(1, until),
        Problem::BadSignature,
    );
}

#[test]
fn peers_are_refused_like_clients() {
    let mut w = World::new(6, 3);
    let own = w.mailbox(SlotClass::Four);
    w.open_mailbox(0, &own).unwrap();
    w.converge(10_000);
    w.run(1_000);
    let before = rows(&w);
    let peer = w.id(1);
    let hour = w.now().hour();
    let blob = own.write(0, 1).body().to_vec();
    let item = |stamp: Hour, kind, body: &[u8]| ItemBytes {
        stamp,
        kind,
        body: body.to_vec().try_into().unwrap(),
    };
    let table = [
        (
            "stale",
            item(hour.minus(3), ItemKind::Blob, &blob),
            Problem::StaleTime,
        ),
        (
            "early",
            item(hour.plus(3), ItemKind::Blob, &blob),
            Problem::StaleTime,
        ),
        (
            "another kind",
            item(hour, ItemKind::Entry, &blob),
            Problem::Malformed,
        ),
        (
            "empty",
            item(hour, ItemKind::Opening, &[]),
            Problem::Malformed,
        ),
        (
            "cut",
            item(hour, ItemKind::Blob, &blob[..blob.len() - 1]),
            Problem::Malformed,
        ),
    ];
    for (name, item, problem) in table {
        let reply = w.peer_call(peer, 0, PeerCall::Push(list(vec![item])));
        assert_eq!(
            reply,
            PeerReply::Push(list(vec![PushResult::Refused(problem)])),
            "{name}"
        );
    }
    let order = IdOrder {
        shard: Shard {
            shard: 9_999,
            from: hour,
        },
        after: None,
    };
    assert_eq!(
        w.peer_call(peer, 0, PeerCall::Ids(order)),
        PeerReply::Refused(Problem::OutOfBounds)
    );
    assert!(rows(&w) == before);
}
