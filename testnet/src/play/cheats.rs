//! People who try what must not work, and those whom a killed node keeps waiting.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lapwing_client::driver::{Handle, make, now, places_from};
use lapwing_protocol::client::{Answer, Call};
use lapwing_protocol::id::{NodeId, RecordId};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::user::{BookingStatus, SlotState, UserStatus};
use lapwing_protocol::role::{Failure, Outcome, Role, User};
use lapwing_protocol::time::Time;
use rand_chacha::ChaCha20Rng;
use tokio::time::{Instant, sleep};

use super::hand::ByHand;
use super::person::{Person, Who, settings, wishes};
use super::region_of;
use super::stage::Stage;
use crate::ledger::Witness;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one upload may take, tries included.
const UPLOAD: Duration = Duration::from_secs(60);
/// How long two offers may be missing before a person is listed again: what one provider had left may be
/// taken by others, and then nothing new comes by itself while the other's offer is open.
const RELIST: Duration = Duration::from_secs(5);
/// How long two bookings of one token may take until both are answered.
const ANSWERED: Duration = Duration::from_secs(60);

async fn by_hand(
    stage: &Stage,
    who: &Who,
    n: usize,
    witness: &Arc<Witness>,
) -> anyhow::Result<ByHand> {
    let place = stage.place(n).context("no node")?;
    let mut user = User::create(who.data.clone(), stage.view.clone(), place.id);
    settings(&mut user);
    let mut hand = ByHand {
        user,
        client: stage.client(),
        rng: stage.seeds.stream("by hand", who.number as u64),
        ledger: witness.clone(),
    };
    hand.learn(place, None).await?;
    let begun = Instant::now();
    let region = loop {
        match region_of(hand.user.view(), &who.area) {
            Some(region) => break region,
            None if begun.elapsed() > UPLOAD => bail!("no node tells of the region in time"),
            None => {
                sleep(PAUSE).await;
                hand.learn(place, None).await?;
            }
        }
    };
    hand.draw(place, region, wishes()?).await?;
    stage.tally.count(|p| p.drawn += 1);
    Ok(hand)
}

/// Draws a token at the node that is to be killed, and waits for that with its request unsent; then goes
/// on as every app does.
///
/// # Errors
/// When it is not in time.
pub(super) async fn at_killed(stage: Arc<Stage>, who: Who) -> anyhow::Result<Person> {
    let doomed = stage.scenario.doomed().context("no node is killed")?;
    let witness = Arc::new(Witness::new(stage.ledger.clone()));
    let hand = by_hand(&stage, &who, doomed, &witness).await?;
    stage.tally.count(|p| p.holding += 1);
    stage.tally.reaches(|p| p.kills > 0).await;
    Ok(Person::start(stage, who, hand.user, doomed, witness))
}

/// Uploads two different requests with one token, at two nodes at once, and the one that was refused a
/// second time. Goes on with the one that was admitted.
///
/// # Errors
/// When neither is admitted in time.
pub(super) async fn uploads_twice(stage: Arc<Stage>, who: Who, n: usize) -> anyhow::Result<Person> {
    let witness = Arc::new(Witness::new(stage.ledger.clone()));
    let mut one = by_hand(&stage, &who, n, &witness).await?;
    let mut two = ByHand {
        user: User::restore(&one.user.save())?,
        client: stage.client(),
        rng: stage.seeds.stream("second device", who.number as u64),
        ledger: witness.clone(),
    };
    two.user.set_view(one.user.view().clone())?;
    let (first, second) = (
        stage.place(n).context("no node")?,
        stage.place(n + 1).context("no node")?,
    );
    let (first_id, first_call) = one.placing(first)?;
    let (second_id, second_call) = two.placing(second)?;
    let (a, b) = tokio::join!(
        upload(&stage, &one, n, &first_call),
        upload(&stage, &two, n + 1, &second_call)
    );
    let (a, b) = (a?, b?);
    let (mut winner, id, outcome, loser, call) = match (a.is_ok(), b.is_ok()) {
        (true, true) => {
            stage.tally.count(|p| {
                p.reuse_attempts += 1;
                p.reuse_accepted += 1;
            });
            stage
                .say
                .bad("cheats", "", "one token was admitted for two requests");
            (one, first_id, a, two, second_call)
        }
        (true, false) => (one, first_id, a, two, second_call),
        (false, true) => (two, second_id, b, one, first_call),
        (false, false) => bail!("neither of two uploads was admitted: {a:?}, {b:?}"),
    };
    if !(winner.user.status() == UserStatus::Placing) {
        bail!("it does not wait for its admission");
    }
    let again = upload(&stage, &loser, n + 2, &call).await?;
    let refused = matches!(again, Err(Failure::Refused(Problem::TokenUsed)));
    stage.tally.count(|p| {
        p.reuse_attempts += 1;
        p.reuse_accepted += u64::from(again.is_ok());
    });
    if !refused {
        stage
            .say
            .bad("cheats", "", format!("a used token brought {again:?}"));
    }
    let _events = winner.user.answer(id, outcome, now(), &mut winner.rng);
    stage.tally.count(|p| p.admitted += 1);
    let name = format!("user {}", who.number + 1);
    stage
        .say
        .detail(&name, "", "uploads one token twice, and is refused once");
    Ok(Person::start(stage, who, winner.user, n, witness))
}

/// Uploads a request until a node decides on it. Nodes that do not answer are left for the next.
async fn upload(
    stage: &Stage,
    hand: &ByHand,
    mut n: usize,
    call: &Call,
) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    loop {
        let place = stage.place(n).context("no node")?;
        let outcome = make(&hand.client, &place.api, call, &*hand.ledger).await;
        match outcome {
            Ok(Answer::Admission(_)) => return Ok(outcome),
            Err(Failure::Refused(problem))
                if !problem.retry() && problem != Problem::IssuerAway =>
            {
                return Ok(outcome);
            }
            _ if begun.elapsed() > UPLOAD => return Ok(outcome),
            _ => {
                n += 1;
                sleep(PAUSE).await;
            }
        }
    }
}

/// An offer, and a slot of it.
type Choice = (RecordId, u8);

/// Two slots of two providers' offers that are not known to be taken.
fn two_choices(user: &User) -> Option<(Choice, Choice)> {
    let mut choices: Vec<(String, Choice)> = Vec::new();
    for offer in user.offers() {
        let name = offer.practice.name.as_str().to_owned();
        let open = offer.slots.iter().find(|s| s.state != SlotState::Taken);
        if let Some(slot) = open
            && choices.iter().all(|(other, _)| *other != name)
        {
            choices.push((name, (offer.id, slot.index)));
        }
    }
    match choices.as_slice() {
        [(_, a), (_, b), ..] => Some((*a, *b)),
        _ => None,
    }
}

/// Accepts two offers with one token at once, from two devices with the same state: exactly one may
/// stand. Goes on with the device that it stands on.
///
/// # Errors
/// When two offers do not come in time.
pub(super) async fn accepts_twice(person: &mut Person) -> anyhow::Result<()> {
    let stage = person.stage().clone();
    person.handle.with(|u, _, _| u.set_automatic(false)).await?;
    let mut since = Instant::now();
    let (state, view, one, two) = loop {
        person.look().await?;
        let found = person
            .handle
            .with(|u, _, _| two_choices(u).map(|(a, b)| (u.save(), u.view().clone(), a, b)))
            .await?;
        if let Some(found) = found {
            break found;
        }
        let again = since.elapsed() > RELIST;
        if again {
            since = Instant::now();
        }
        let ask = move |user: &mut User, now: Time, _: &mut ChaCha20Rng| {
            user.refresh_marks();
            // Refused while nothing was offered, or an earlier wish is on its way.
            again && user.relist(now).is_ok()
        };
        if person.handle.with(ask).await? {
            person
                .tell_where("is listed again, to have two offers")
                .await?;
        }
        person.next().await.context("two offers")?;
    };
    stage.keep(person.group, state.clone()).await;
    let mut copy = User::restore(&state)?;
    copy.set_view(view)?;
    let other = stage.place_number(&person.handle.with(|u, _, _| u.node()).await?) + 1;
    let mut options = stage.options(
        "second-device",
        person.number,
        other,
        person.witness.clone(),
    );
    options.places = places_from(&stage.places, other);
    let second = Handle::start(copy, options);
    let booked = tokio::join!(person.handle.with(book(one)), second.with(book(two)),);
    let (first_state, second_state) = (booked.0?, booked.1?);
    let begun = Instant::now();
    let (mine, its) = loop {
        person.catch_up();
        let mine = person.handle.with(|u, _, _| u.status()).await?;
        let its = second.with(|u, _, _| u.status()).await?;
        if (over(mine) && over(its)) || begun.elapsed() > ANSWERED {
            break (mine, its);
        }
        sleep(Duration::from_millis(50)).await;
    };
    let stands = |status| status == UserStatus::Booking(BookingStatus::Confirmed);
    if stands(mine) && stands(its) {
        stage.tally.count(|p| p.multi_bookings += 1);
        stage
            .say
            .bad(&person.name(), "", "has two bookings with one token");
    }
    if stands(its) && !stands(mine) {
        // It is the same person; the device on which nothing stands is put away.
        let former = std::mem::replace(&mut person.handle, second);
        former.stop().await?;
        person.asked = second_state;
        person.booked = Some(two);
        stage.tally.count(|p| p.confirmed += 1);
    } else {
        person.asked = first_state;
        second.stop().await?;
    }
    person
        .tell_where("accepts two offers at once; one stands")
        .await?;
    person.handle.with(|u, _, _| u.set_automatic(true)).await?;
    Ok(())
}

type Kept = Option<zeroize::Zeroizing<Vec<u8>>>;

fn book(
    (offer, slot): Choice,
) -> impl FnOnce(&mut User, Time, &mut ChaCha20Rng) -> Kept + Send + 'static {
    move |user, now, rng| {
        user.set_automatic(false);
        user.book(&offer, slot, now, rng).ok().map(|()| user.save())
    }
}

/// Whether nothing is under way any more.
fn over(status: UserStatus) -> bool {
    !matches!(
        status,
        UserStatus::Booking(BookingStatus::Sending | BookingStatus::Sent)
    )
}

impl Stage {
    /// The number of a node.
    #[must_use]
    pub(super) fn place_number(&self, id: &NodeId) -> usize {
        self.places.iter().position(|p| p.id == *id).unwrap_or(0)
    }
}
