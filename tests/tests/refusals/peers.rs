//! What peers ask and push.

use lapwing_protocol::item::{ItemBytes, ItemKind};
use lapwing_protocol::mailbox::SlotClass;
use lapwing_protocol::peer::{IdOrder, PeerCall, PeerReply, PushResult, Shard};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::testing::list;
use lapwing_protocol::time::Hour;
use lapwing_tests::sim::World;

use crate::rows;

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
