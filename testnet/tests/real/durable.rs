//! One node is killed again and again while clients write: what was acknowledged is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapwing_client::driver::{Options, Place, make, now};
use lapwing_client::file::StateFile;
use lapwing_protocol::bounded::Bytes;
use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::hash::work_bits;
use lapwing_protocol::mailbox::{
    BlobWrite, Mailbox, WriteAuth, Writers, write_message, write_work,
};
use lapwing_protocol::role::Role;
use lapwing_testnet::audit;
use lapwing_testnet::clients::{FEED, numbered, quick_pace};
use lapwing_testnet::ledger::Ledger;
use lapwing_testnet::net::Net;
use lapwing_testnet::node::Node;
use lapwing_testnet::play::desk::Desk;
use lapwing_testnet::play::land;
use lapwing_testnet::play::wait::learns;
use lapwing_testnet::report::Say;
use lapwing_testnet::scenario::{DAY, Scenario};
use lapwing_testnet::seeds::Seeds;
use rand_core::Rng;
use tokio::time::sleep;

use crate::machine;
use crate::stage::PATIENCE;
use crate::start::options;

/// How often the node is killed.
const KILLS: usize = 6;
/// Clients that write at the same time.
const WRITERS: u16 = 4;

/// A letter to a box that anybody may write to, with its work done.
fn letter(mailbox: &Mailbox, rng: &mut impl Rng) -> Call {
    let Writers::Work(bits) = mailbox.writers else {
        panic!("not a box that anybody may write to")
    };
    let mut blob = vec![0; mailbox.size.bytes()];
    rng.fill_bytes(&mut blob);
    // Suite 1: what it holds is nobody's business here.
    blob[0] = 1;
    let slot = rng.next_u32();
    let message = write_message(&mailbox.id(), slot, &blob);
    let nonce = (0..)
        .find(|n| work_bits(&write_work(&message, *n)) >= u32::from(bits))
        .unwrap();
    let blob = Bytes::try_from(blob).unwrap();
    Call::new(
        CallKind::Write,
        to_bytes(&BlobWrite {
            mailbox: mailbox.clone(),
            slot,
            blob,
            auth: WriteAuth::Work(nonce),
        }),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_while_a_node_is_killed_again_and_again() {
    let _turn = machine::shared();
    let dir = tempfile::tempdir().unwrap();
    let seeds = Seeds::new(5);
    let mut net = Net::start(&options(dir.path(), 3, 5), now()).await.unwrap();
    let places: Vec<Place> = net
        .nodes()
        .iter()
        .map(|n| Place {
            id: n.id(),
            api: n.api().into(),
        })
        .collect();
    let ledger = Arc::new(Ledger::default());
    let role = Options {
        client: numbered(1),
        places: places.clone(),
        pace: quick_pace(),
        rng: seeds.stream("mediator", 0),
        feed: FEED,
        file: StateFile::plain(net.path().join("mediator.state")),
        trust: None,
        ledger: ledger.clone(),
    };
    let plan = Scenario::parse(DAY).unwrap().mediators.remove(0);
    let area = land::areas().unwrap().remove(0);
    let regions = vec![land::plan(&area).unwrap()];
    let who = ("mediator".to_owned(), String::new());
    let say = Arc::new(Say::default());
    let desk = Desk::open(role, net.founders(), &plan, regions, say, who)
        .await
        .unwrap();
    let id = desk.id();
    let handle = desk.into_handle();
    let inbox = learns(&handle, "the certificate", move |view| {
        view.mediator(&id)
            .and_then(|m| m.certificate())
            .map(|c| c.inbox.clone())
    });
    let inbox = inbox.await.unwrap();
    while !handle.with(|m, _, _| m.ready()).await.unwrap() {
        sleep(Duration::from_millis(50)).await;
    }
    // It would empty its inbox of what is no application.
    let mediator = handle.stop().await.unwrap().role;
    assert!(mediator.watching().iter().any(|m| m.id() == inbox.id()));

    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (over, ledger, places, inbox) =
                (over.clone(), ledger.clone(), places.clone(), inbox.clone());
            let mut rng = seeds.stream("writer", u64::from(n));
            tokio::spawn(async move {
                let client = numbered(100 + n);
                let (mut answered, mut refused) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    let call = letter(&inbox, &mut rng);
                    let place = &places[rng.next_u32() as usize % places.len()];
                    match make(&client, &place.api, &call, &*ledger).await {
                        Ok(_) => answered += 1,
                        Err(_) => refused += 1,
                    }
                }
                (answered, refused)
            })
        })
        .collect();
    for _ in 0..KILLS {
        sleep(Duration::from_millis(500)).await;
        net.kill(2).await.unwrap();
        sleep(Duration::from_millis(200)).await;
        net.restart(2).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for writer in writers {
        answered += writer.await.unwrap().0;
    }
    assert!(answered > 20, "only {answered} writes were acknowledged");

    net.wait_met().await.unwrap();
    let entries = Arc::new(ledger.read());
    let letters: BTreeSet<_> = entries
        .blobs
        .iter()
        .filter(|(id, _, _)| *id == inbox.id())
        .collect();
    assert!(letters.len() >= answered, "{} of {answered}", letters.len());
    let mut readers = vec![audit::mediator(&mediator).unwrap()];
    let found = audit::read_back(
        &[numbered(200), numbered(201)],
        &places,
        &entries,
        &mut readers,
    )
    .await
    .unwrap();
    assert_eq!(found.lost, 0, "{:?}", found.missing);
    let probes: Vec<_> = net.nodes().iter().map(Node::probe).collect();
    assert_eq!(audit::settle(&probes, PATIENCE).await, 0, "holders differ");
    net.stop().await.unwrap();
}
