//! What expires goes, everywhere, and nothing else does.

use lapwing_protocol::cose::sign_verified;
use lapwing_protocol::item::CheckedItem;
use lapwing_protocol::mailbox::{MarkValue, SlotClass};
use lapwing_protocol::peer::{PeerCall, PeerReply, PushResult};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{Admission, TicketGrant};
use lapwing_protocol::testing::{bytes32, list};
use lapwing_protocol::time::Seconds;
use lapwing_tests::sim::{World, each_seed};

const DAY: u64 = 86_400_000;

#[test]
fn what_has_expired_is_gone_from_every_store() {
    each_seed(1, |seed| {
        let mut w = World::new(seed, 5);
        for n in 0..3u8 {
            let own = w.mailbox(SlotClass::Sixteen);
            w.open_mailbox(0, &own).unwrap();
            for slot in 0..4 {
                w.call(1, &own.write(slot, n)).unwrap();
            }
            w.call(2, &own.delete(1)).unwrap();
            let mark = w.mark();
            w.open_mark(3, &mark).unwrap();
            w.call(0, &mark.set(1, MarkValue::Taken)).unwrap();
        }
        let mut users = Vec::new();
        for node in 0..4 {
            users.push(w.place(node, 0).unwrap());
        }
        let tickets = w.claim(0, 0, 10).unwrap();
        let until = w.now().plus(Seconds::HOUR);
        for ticket in &tickets {
            w.call(2, &ticket.offer(5, until)).unwrap();
        }
        let ticket = &tickets[0];
        let (user, _) = users
            .iter()
            .find(|(_, p)| p.id == ticket.grant.request)
            .unwrap();
        let (call, held) = ticket.lock(&user.key, 1);
        w.call(0, &call).unwrap();
        w.call(1, &ticket.release(&held, &user.key)).unwrap();
        w.converge(30_000);
        let full: usize = (0..5)
            .map(|n| w.spaces(n).get(&'d').copied().unwrap_or(0))
            .sum();
        assert!(full > 60, "{full} items");
        // Day by day, so that replicas compare while things expire.
        for _ in 0..20 {
            w.sleep(DAY);
            w.run(70_000);
            assert_eq!(w.differing(), vec![], "replicas agree as things expire");
        }
        w.run(120_000);
        for node in 0..5 {
            let spaces = w.spaces(node);
            for space in ['d', 'e', 'a', 's', 'l'] {
                assert_eq!(spaces.get(&space), None, "node {node} has {spaces:?}");
            }
            assert_eq!(w.core(node).numbers().requests, 0);
            assert_eq!(w.core(node).numbers().flows, 0, "every flow ends");
            w.crash(node);
            w.restart(node);
        }
        w.run(10_000);
        assert_eq!(w.differing(), vec![]);
    });
}

#[test]
fn no_node_can_end_what_is_anothers_early() {
    let mut w = World::new(3, 3);
    let (_, placed) = w.place(0, 0).unwrap();
    let ticket = w.claim(0, 0, 1).unwrap().remove(0);
    let until = w.now().plus(Seconds::days(3));
    w.call(0, &ticket.offer(1, until)).unwrap();
    // Node 2 lies: an admission of the same inbox, and a grant for the same request, that end tomorrow.
    // Of a token of an epoch two weeks ago, by a serial that node 2 has not used.
    let params = &w.fixture.params;
    let epoch = lapwing_protocol::token::epoch_at(w.now(), params.epoch) - 15;
    let soon = lapwing_protocol::token::token_expires(epoch, params.epoch, params.token_life);
    let signing = w.fixture.node(&w.id(2)).signing.clone();
    let token = lapwing_protocol::token::token_id(&w.id(2), epoch, 7);
    let request = lapwing_protocol::id::RequestId::from_bytes(bytes32(&mut w.rng));
    let admission = Admission {
        issuer: w.id(2),
        token,
        request,
        region: w.fixture.region(0),
        inbox: placed.inbox.id(),
        serial: 7,
        expires: soon,
        epoch,
        token_serial: 7,
    };
    let grant = TicketGrant {
        holder: w.id(2),
        expires: soon,
        ..ticket.grant.clone()
    };
    let hour = w.now().hour();
    let items = vec![
        CheckedItem::admission(sign_verified(&admission, &signing), hour).to_wire(),
        CheckedItem::ticket(sign_verified(&grant, &signing), hour).to_wire(),
    ];
    let liar = w.id(2);
    for node in 0..2 {
        let reply = w.peer_call(liar, node, PeerCall::Push(list(items.clone())));
        let PeerReply::Push(results) = reply else {
            panic!("{reply:?}")
        };
        assert!(
            results.iter().all(|r| matches!(r, PushResult::Stored(_))),
            "{results:?}"
        );
    }
    w.crash(2);
    w.sleep(2 * DAY);
    w.run(70_000);
    let found = w.read_all(0, &placed.inbox, &placed.reading).unwrap();
    assert_eq!(found.len(), 1, "the offer is still there");
    assert_eq!(w.core(0).numbers().requests, 1, "and the request");
    assert_eq!(
        w.call(1, &ticket.offer(1, until)).map(|_| ()),
        Ok(()),
        "written before"
    );
    assert_ne!(
        w.call(1, &ticket.offer(2, until)).map(|_| ()),
        Err(Problem::NotOpened)
    );
}
