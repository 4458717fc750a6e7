//! The role machines take no step before its time: neither is anything written, nor a node asked.

use std::time::Duration;

use lapwing_protocol::role::Role;
use lapwing_protocol::role::mediator::PublishError;
use lapwing_protocol::role::provider::CancelError;
use lapwing_protocol::role::user::{BookError, BookingStatus, ChangeError};
use lapwing_protocol::testing::text;
use tokio::time::{Instant, sleep};

use crate::people::{book, decided, offers};
use crate::stage::{PATIENCE, Stage, add_slots, settled, until};
use crate::wrong_order::calm;

/// Longer than a provider's round takes.
const ROUND: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn roles_take_no_step_before_its_time() {
    let mut stage = Stage::start(3, 28, |_| ()).await;
    let mut desk = stage.desk(1).await;
    let mut practice = stage.practice(&mut desk, 0, 0).await;
    let person = stage.people(0..1, practice.region).await.remove(0);
    add_slots(&mut practice.handle, 0, 2).await;
    until("an offer", async || !offers(&person).await.is_empty()).await;
    let offer = offers(&person).await[0].id;
    let desk = desk.handle;
    until("all published", async || {
        desk.with(|m, _, _| m.ready()).await.unwrap()
    })
    .await;
    // What a role still had to write, because the machine was slow, must not look like what follows.
    let still = async || {
        let begun = Instant::now();
        let mut last = None;
        loop {
            settled(&person.handle).await;
            settled(&desk).await;
            settled(&practice.handle).await;
            let now = calm(&stage).await;
            if last.as_ref() == Some(&now) {
                return now;
            }
            assert!(begun.elapsed() < PATIENCE, "the roles never rest");
            last = Some(now);
            sleep(ROUND).await;
        }
    };
    let before = still().await;

    // None of these leaves a trace in what a role keeps, nor asks a node for anything.
    let user = person.handle.with(move |u, now, rng| {
        let saved = u.save();
        assert_eq!(u.change(&offer, 1, now, rng), Err(ChangeError::None));
        assert_eq!(u.ask_other_slots(now, rng), Err(ChangeError::None));
        assert!(u.cancel(true, rng).is_err());
        assert_eq!(u.book(&offer, 9, now, rng), Err(BookError::Unknown));
        assert!(u.save() == saved);
    });
    user.await.unwrap();
    let mediator = desk.with(move |m, now, rng| {
        let saved = m.save();
        let revoked = m.revoke(999, text(""), now, rng);
        assert_eq!(revoked, Err(PublishError::UnknownSerial(999)));
        let approved = m.approve(&offer, None, 90, now, rng);
        assert_eq!(approved, Err(PublishError::UnknownApplication));
        assert!(m.save() == saved);
    });
    mediator.await.unwrap();
    let provider = practice.handle.with(move |p, now, rng| {
        let saved = p.save();
        let cancelled = p.cancel(&offer, true, true, text(""), now, rng);
        assert_eq!(cancelled, Err(CancelError::Unknown));
        assert!(p.save() == saved);
    });
    provider.await.unwrap();
    assert!(still().await == before, "nothing has changed");

    // In the right order they go on.
    book(&person).await.unwrap();
    assert_eq!(decided(&person).await, BookingStatus::Confirmed);
    assert_eq!(book(&person).await, Err(BookError::Busy));
    let moved = person
        .handle
        .with(move |u, now, rng| u.change(&offer, 1, now, rng));
    moved.await.unwrap().unwrap();
    stage.net.check_alive().unwrap();
    stage.net.stop().await.unwrap();
}
