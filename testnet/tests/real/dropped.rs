//! A roster that drops a node which holds blobs, with real processes: every acknowledged write is read back
//! from those that stay, and requests that wait are served, those that the dropped node admitted too.

use std::sync::Arc;

use lapwing_client::driver::{Handle, Unheard, make, now};
use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::cose::parse;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::{Admission, Request};
use lapwing_protocol::role::provider::OfferPolicy;
use lapwing_protocol::role::{Failure, Role};
use lapwing_protocol::token::PriorityToken;
use lapwing_testnet::audit;
use lapwing_testnet::clients::numbered;
use tokio::time::sleep;

use crate::people::{Person, book, confirmed, is_confirmed};
use crate::stage::{PATIENCE, REPORTED, Stage, add_slots, stopped, until};

/// The node that is dropped: the last.
const GONE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_node_takes_nothing_along() {
    let mut stage = Stage::start(5, 27, |_| ()).await;
    let mut desk = stage.desk(1).await;
    let mut practice = stage.practice(&mut desk, 0, 0).await;
    // Two are booked, and four wait when the roster changes; the dropped node admitted three of the six.
    let set = practice.handle.with(|p, _, _| {
        p.set_policy(OfferPolicy {
            slots: 1,
            per_slot: 1,
            ..OfferPolicy::default()
        });
    });
    set.await.unwrap();
    let all = [0, 1, 2, GONE, GONE + 5, GONE + 10];
    let people = stage.people(all, practice.region).await;
    add_slots(&mut practice.handle, 0, 2).await;
    until("two bookings", async || {
        for person in &people {
            // Who has no offer, or has booked, is left as it is.
            let _asked = book(person).await;
        }
        let mut booked = 0;
        for person in &people {
            booked += usize::from(is_confirmed(person).await);
        }
        booked == 2
    })
    .await;
    stopped(desk.handle).await;
    let provider = stopped(practice.handle).await;
    sleep(REPORTED).await;
    assert_eq!(audit::settle(&stage.probes(), PATIENCE).await, 0);

    // The new roster is published at one node; the one that it drops stays until all is handed over.
    let nodes = stage.net.nodes();
    let gone = nodes[GONE].id();
    let stay: Vec<_> = nodes[..GONE]
        .iter()
        .map(|n| (n.id(), n.signing()))
        .collect();
    let roster = stage.net.founders().roster(&stay, 2, now()).unwrap();
    let publish = Call::new(CallKind::Publish, roster);
    stage.insist(0, &publish).await.unwrap();
    stage.places.truncate(GONE);
    for place in &stage.places {
        let empty = stage.view();
        until("the roster", async || {
            let view = audit::view_of(&numbered(904), place, &empty).await;
            view.is_ok_and(|v| v.roster().is_some_and(|r| r.sequence == 2))
        })
        .await;
    }
    sleep(REPORTED).await;
    until("the hand-over", async || {
        let mut statuses = audit::statuses(&stage.probes()).await;
        statuses.remove(&gone);
        audit::diverged(&statuses) == 0
    })
    .await;
    stage.net.stop_one(GONE).await.unwrap();

    // Who waits goes on at the nodes that are left, and is served; who is booked stays so.
    let mut again = Vec::new();
    for (n, person) in people.into_iter().enumerate() {
        let user = stopped(person.handle).await;
        let options = stage.options("user-again", n, n);
        again.push(Person {
            handle: Handle::start(user, options),
            ..person
        });
    }
    let mut options = stage.options("provider-again", 0, 1);
    options.ledger = practice.ledger.clone();
    let mut handle = Handle::start(provider, options);
    add_slots(&mut handle, 10, 8).await;
    let mut users = Vec::new();
    for person in again {
        person.book().await;
        users.push(stopped(person.handle).await);
    }
    let provider = stopped(handle).await;
    assert_eq!(confirmed(&provider).len(), all.len());

    let mut readers = vec![audit::provider(&provider).unwrap()];
    let mut read: Vec<_> = provider.watching().iter().map(|m| m.id()).collect();
    for user in &users {
        readers.push(audit::user(user).unwrap());
        read.extend(user.watching().iter().map(|m| m.id()));
    }
    let (mut writes, mut orphaned) = (0, 0);
    for ledger in [&stage.ledger, &practice.ledger] {
        let mut entries = ledger.read();
        assert_eq!(entries.unread, 0);
        entries
            .blobs
            .retain(|(mailbox, _, _)| read.contains(mailbox));
        entries
            .deletions
            .retain(|(mailbox, _)| read.contains(mailbox));
        entries.mailboxes.retain(|mailbox| read.contains(mailbox));
        // What the dropped node admitted it can repeat no more: that request was served above.
        let issuer = |request: &[u8]| {
            let request = parse::<Request>(request).unwrap();
            let token = parse::<PriorityToken>(&request.unverified().token).unwrap();
            token.unverified().issuer
        };
        let orphans: Vec<_> = entries
            .admissions
            .iter()
            .filter(|(request, _)| issuer(request) == gone)
            .map(|(request, admission)| (request.clone(), admission.clone()))
            .collect();
        orphaned += orphans.len();
        for (request, admission) in &orphans {
            assert_eq!(
                parse::<Admission>(admission).unwrap().unverified().issuer,
                gone
            );
            entries.admissions.remove(request);
            let call = Call::new(CallKind::Request, request.clone());
            for place in &stage.places {
                let answer = make(&numbered(905), &place.api, &call, &Unheard).await;
                assert_eq!(answer, Err(Failure::Refused(Problem::EpochClosed)));
            }
        }
        let found = audit::read_back(
            &[numbered(906), numbered(907)],
            &stage.places,
            &Arc::new(entries),
            &mut readers,
        )
        .await
        .unwrap();
        assert_eq!(found.lost, 0, "{:?}", found.missing);
        writes += found.writes;
    }
    println!("{writes} acknowledged writes read back at each of {GONE} nodes");
    assert!(writes > 40, "{writes}");
    assert_eq!(orphaned, 3);
}
