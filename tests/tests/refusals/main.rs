//! Bad input, as a table: what is malformed, oversized, not canonical, replayed, expired, wrongly signed or
//! addressed is refused with the right problem, and leaves every store as it was.

#[cfg(test)]
mod mailboxes;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod queue;

use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::mailbox::{Place, SlotClass};
use lapwing_protocol::problem::Problem;
use lapwing_tests::sim::{World, read_call};

pub(crate) type Rows = Vec<Vec<(Vec<u8>, Vec<u8>)>>;

pub(crate) fn rows(w: &World) -> Rows {
    (0..w.len()).map(|n| w.rows(n)).collect()
}

/// Asks, and compares all stores before and after.
pub(crate) fn refused(w: &mut World, name: &str, node: usize, call: &Call, problem: Problem) {
    let before = rows(w);
    assert_eq!(w.call(node, call), Err(problem), "{name}");
    w.run(200);
    assert!(rows(w) == before, "{name}: stores are as they were");
}

pub(crate) fn altered(call: &Call, edit: impl FnOnce(&mut Vec<u8>)) -> Call {
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
