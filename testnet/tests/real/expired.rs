//! A mediator's status that runs out in the middle of the day: nothing new is claimed, offered or booked,
//! what is booked stays, and a fresh date heals everything by itself.

use lapwing_client::driver::{Handle, Unheard, make};
use lapwing_protocol::client::{Call, CallKind};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::queue::ChallengeOrder;
use lapwing_protocol::role::user::{BookError, BookingStatus};
use lapwing_protocol::role::{Failure, Role};
use lapwing_protocol::time::{Seconds, Time};
use lapwing_testnet::clients::numbered;

use crate::people::{book, confirmed, decided, is_confirmed, offers};
use crate::stage::{Stage, add_slots, stopped, until};

/// How long a status lasts in the middle of the day.
const SHORT: Seconds = Seconds::new(8);

/// Until when the status lasts that a role has.
async fn lasts<R>(handle: &Handle<R>, mediator: lapwing_protocol::id::MediatorId) -> Time
where
    R: Role + Send + 'static,
    R::Event: Send + 'static,
{
    let expires = handle.with(move |role, _, _| {
        let status = role.view().mediator(&mediator).and_then(|m| m.status());
        status.map_or(Time::ZERO, |s| s.expires)
    });
    expires.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_runs_out_stops_what_is_new_and_leaves_what_stands() {
    let mut stage = Stage::start(5, 26, |_| ()).await;
    let mut desk = stage.desk(1).await;
    let mut practice = stage.practice(&mut desk, 0, 0).await;
    let people = stage.people(0..2, practice.region).await;
    let [booked, offered] = people.try_into().unwrap_or_else(|_| panic!("two"));
    add_slots(&mut practice.handle, 0, 6).await;
    for person in [&booked, &offered] {
        until("an offer", async || !offers(person).await.is_empty()).await;
    }
    book(&booked).await.unwrap();
    assert_eq!(decided(&booked).await, BookingStatus::Confirmed);

    // Everybody has heard of a short status; then the mediator's machine is gone.
    let mediator = desk.id;
    let desk = desk.handle;
    let long = lasts(&desk, mediator).await;
    let shorten = desk.with(|m, now, _| {
        m.set_status_life(SHORT);
        m.refresh_status(now)
    });
    shorten.await.unwrap().unwrap();
    until("a short status", async || {
        let [a, b, c] = [
            lasts(&booked.handle, mediator).await,
            lasts(&offered.handle, mediator).await,
            lasts(&practice.handle, mediator).await,
        ];
        a < long && b < long && c < long
    })
    .await;
    let mediator_role = stopped(desk).await;

    until("the offer withdrawn", async || {
        offers(&offered).await.is_empty()
    })
    .await;
    assert!(is_confirmed(&booked).await, "what is booked stays");
    let refused = book(&offered).await;
    assert_eq!(refused, Err(BookError::Unknown), "nothing is on offer");
    // A request is admitted as ever; nobody claims it.
    let late = stage.people(2..3, practice.region).await.remove(0);
    let certificate = practice.handle.with(|p, _, _| p.certificate_id());
    let order = ChallengeOrder {
        region: practice.region,
        certificate: certificate.await.unwrap().unwrap(),
    };
    let call = Call::new(CallKind::Challenge, to_bytes(&order));
    for place in &stage.places {
        let answer = make(&numbered(903), &place.api, &call, &Unheard).await;
        let expired = Failure::Refused(Problem::StatusExpired);
        assert_eq!(answer, Err(expired), "a claim while the status is over");
    }
    // Some rounds of the provider's long.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(offers(&late).await.is_empty());
    assert!(is_confirmed(&booked).await);

    // The mediator is back, from what it has on disk.
    let saved = mediator_role.save();
    let mut back = lapwing_protocol::role::Mediator::restore(&saved).unwrap();
    back.set_view(mediator_role.view().clone()).unwrap();
    let options = stage.options("mediator", 1, 1);
    let desk = Handle::start(back, options);
    let lengthen = desk.with(|m, now, _| {
        m.set_status_life(Seconds::DAY);
        m.refresh_status(now)
    });
    lengthen.await.unwrap().unwrap();
    until("the offer again", async || {
        !offers(&offered).await.is_empty()
    })
    .await;
    until("an offer", async || !offers(&late).await.is_empty()).await;
    for person in [&offered, &late] {
        book(person).await.unwrap();
        assert_eq!(decided(person).await, BookingStatus::Confirmed);
    }
    assert!(is_confirmed(&booked).await);
    let provider = stopped(practice.handle).await;
    let book = confirmed(&provider);
    for person in [&booked, &offered, &late] {
        assert!(book.iter().any(|e| e.data == person.data), "in the book");
    }
    assert_eq!(book.len(), 3);
    stopped(desk).await;
    stage.net.stop().await.unwrap();
}
