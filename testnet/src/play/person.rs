//! A user: asks, looks at its offers, books, and sometimes cancels or changes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lapwing_client::driver::{Handle, feed, now};
use lapwing_client::http::Client;
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::id::{NodeId, RecordId, RegionId};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::user::{BookError, BookingStatus, SlotState, UserStatus, Wishes};
use lapwing_protocol::role::{Role, User, UserEvent};
use lapwing_protocol::time::{Seconds, Time};
use lapwing_protocol::token::UserData;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::VACCINE;
use super::stage::Stage;
use super::wait::learns;
use crate::ledger::Witness;

/// How long a look at a user lasts before it is taken anew.
const GLANCE: Duration = Duration::from_millis(500);
/// How long an issuer may be away before a new token is drawn elsewhere.
const ISSUER_PATIENCE: Seconds = Seconds::new(2);
/// How long nothing must have been open before a user is listed again.
const RELIST: Seconds = Seconds::new(3);

/// What a person does besides booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Nothing.
    Books,
    /// Cancels.
    Cancels,
    /// Cancels, and takes another offer.
    CancelsAgain,
    /// Changes to another slot.
    Changes,
    /// Uploads two requests with one token.
    UploadsTwice,
    /// Accepts two offers with one token.
    AcceptsTwice,
    /// Holds a token of the node that is killed, and is not admitted yet.
    AtKilled,
    /// Waits for the revocation of a provider of its region.
    HoldsBack,
}

/// A user with its role.
#[derive(Debug)]
pub(super) struct Person {
    /// Its number.
    pub(super) number: usize,
    /// What it does.
    pub(super) behaviour: Behaviour,
    /// Its group of providers.
    pub(super) group: usize,
    /// Its area.
    pub(super) area: String,
    /// Its data, as it is booked under.
    pub(super) data: UserData,
    /// The role's side.
    pub(super) handle: Handle<User>,
    /// Its client, to look with.
    pub(super) client: Client,
    /// What nodes acknowledged to it.
    pub(super) witness: Arc<Witness>,
    /// When it was told of its first offer.
    pub(super) first_offer: Option<Instant>,
    /// Its token was drawn anew.
    pub(super) redrawn: bool,
    /// Its state as it asked for what stands now, before any answer.
    pub(super) asked: Option<Zeroizing<Vec<u8>>>,
    /// Offer and slot that stand.
    pub(super) booked: Option<(RecordId, u8)>,
    /// Cancelled bookings.
    pub(super) cancelled: u64,
    /// Whether it took another offer after it cancelled.
    pub(super) reoffered: bool,
    /// Changes.
    pub(super) changed: u64,
    /// Its choices.
    pub(super) rng: ChaCha20Rng,
    /// What went wrong, if anything did.
    pub(super) failed: Option<String>,
    tag: Option<String>,
    stage: Arc<Stage>,
    until: Instant,
}

/// What came of choosing.
enum Chosen {
    Confirmed,
    Busy,
    Asked(Zeroizing<Vec<u8>>),
    Nothing,
}

/// What everybody wishes for.
///
/// # Errors
/// When a text is longer than its field, which none is.
pub(super) fn wishes() -> anyhow::Result<Wishes> {
    let wish = (Text::try_from("vaccine")?, Text::try_from(VACCINE)?);
    Ok(List::try_from(vec![wish])?)
}

/// What every user's app is set to.
pub(super) fn settings(user: &mut User) {
    user.set_patience(Some(ISSUER_PATIENCE));
    user.set_relist_pause(RELIST);
}

/// Who a person is.
#[derive(Debug)]
pub(super) struct Who {
    /// Its number.
    pub(super) number: usize,
    /// What it does.
    pub(super) behaviour: Behaviour,
    /// Its group of providers.
    pub(super) group: usize,
    /// Its area.
    pub(super) area: String,
    /// Its data.
    pub(super) data: UserData,
}

impl Person {
    /// A person whose role runs at the `n`th node.
    #[must_use]
    pub(super) fn start(
        stage: Arc<Stage>,
        who: Who,
        user: User,
        n: usize,
        witness: Arc<Witness>,
    ) -> Self {
        let options = stage.options("user", who.number, n, witness.clone());
        let client = options.client.clone();
        Person {
            number: who.number,
            behaviour: who.behaviour,
            group: who.group,
            area: who.area,
            data: who.data,
            handle: Handle::start(user, options),
            client,
            witness,
            first_offer: None,
            redrawn: false,
            asked: None,
            booked: None,
            cancelled: 0,
            reoffered: false,
            changed: 0,
            rng: stage.seeds.stream("choice", who.number as u64),
            failed: None,
            tag: None,
            until: Instant::now() + stage.scenario.patience,
            stage,
        }
    }

    /// What people call it.
    #[must_use]
    pub(super) fn name(&self) -> String {
        format!("user {}", self.number + 1)
    }

    /// Where it is played.
    #[must_use]
    pub(super) fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    fn say(&self, node: &NodeId, what: impl std::fmt::Display) {
        self.stage
            .say
            .detail(&self.name(), self.stage.name(node), what);
    }

    async fn node(&self) -> anyhow::Result<NodeId> {
        Ok(self.handle.with(|u, _, _| u.node()).await?)
    }

    /// The next event, noted; nothing if none comes soon.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<UserEvent>> {
        if Instant::now() > self.until {
            bail!("not in time");
        }
        match timeout(GLANCE, self.handle.event()).await {
            Err(_) => Ok(None),
            Ok(event) => {
                let event = event?;
                self.note(&event);
                Ok(Some(event))
            }
        }
    }

    /// Notes the events that came already.
    pub(super) fn catch_up(&mut self) {
        while let Some(event) = self.handle.try_event() {
            self.note(&event);
        }
    }

    fn note(&mut self, event: &UserEvent) {
        let tally = self.stage.tally.clone();
        match event {
            UserEvent::Drawn { .. } => tally.count(|p| p.drawn += 1),
            UserEvent::Admitted { .. } => tally.count(|p| p.admitted += 1),
            UserEvent::Redrawn(Problem::IssuerAway) => {
                self.redrawn = true;
                tally.count(|p| p.redrawn += 1);
                self.tell("draws a new token: the issuer of its own is away");
            }
            UserEvent::OfferReceived(_) => {
                self.first_offer.get_or_insert_with(Instant::now);
            }
            UserEvent::Confirmed { offer, slot, .. } => {
                self.booked = Some((*offer, *slot));
                tally.count(|p| p.confirmed += 1);
                self.tell("has its confirmation");
            }
            UserEvent::Changed { offer, slot, .. } => {
                self.booked = Some((*offer, *slot));
                self.changed += 1;
                tally.count(|p| p.changed += 1);
                self.tell("has changed its slot");
            }
            UserEvent::Cancelled { .. } => {
                self.booked = None;
                self.cancelled += 1;
                tally.count(|p| p.cancelled += 1);
                self.tell("has cancelled");
            }
            UserEvent::Rejected { reason, .. } => {
                self.tell(format!("is turned down: {reason:?}"));
            }
            UserEvent::Refused(p) | UserEvent::BadAnswer(p) | UserEvent::Redrawn(p) => {
                self.tell(format!("trouble: {}", p.text()));
            }
            UserEvent::BookingWithdrawn(why) => self.tell(format!("trouble: {why}")),
            UserEvent::NoMoreOffers => self.tell("trouble: gets no more offers"),
            _ => {}
        }
    }

    /// Tells without a node: where it is now is asked for only where it matters.
    fn tell(&self, what: impl std::fmt::Display) {
        self.stage.say.detail(&self.name(), "", what);
    }

    /// Draws a token and places a request.
    ///
    /// # Errors
    /// When its view does not know the region in time.
    pub(super) async fn request(&mut self) -> anyhow::Result<()> {
        let area = self.area.clone();
        let region: RegionId = learns(&self.handle, "the region", move |view| {
            super::region_of(view, &area)
        })
        .await?;
        let wishes = wishes()?;
        self.handle
            .with(move |u, _, rng| {
                settings(u);
                u.request(region, wishes, rng)
            })
            .await??;
        Ok(())
    }

    /// Waits until its request is admitted.
    ///
    /// # Errors
    /// When it is not in time.
    pub(super) async fn admitted(&mut self) -> anyhow::Result<()> {
        loop {
            match self.next().await.context("the admission")? {
                Some(UserEvent::Admitted { .. }) => return Ok(()),
                _ => {
                    let status = self.handle.with(|u, _, _| u.status()).await?;
                    if matches!(status, UserStatus::Waiting | UserStatus::Booking(_)) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Looks at its offers as an app shows them: with what its node knows of the chain of trust now.
    /// Offers that are shown although the node knew before the look that their provider is revoked are
    /// counted.
    ///
    /// # Errors
    /// When the role has ended.
    pub(super) async fn look(&mut self) -> anyhow::Result<usize> {
        let begun = Instant::now();
        let node = self.node().await?;
        if let Some(place) = self.stage.place_of(&node) {
            let fetched = feed::all(&self.client, &place.api, self.tag.as_deref()).await;
            if let Ok(Some((records, tag))) = fetched {
                self.tag = tag;
                self.handle
                    .with(move |u, now, _| feed::learn(u.view_mut(), &records, now))
                    .await?;
            }
        }
        let shown = self.handle.with(|u, _, _| u.offers()).await?;
        if self.stage.reached.before(&node, begun) {
            let revoked = &self.stage.revoked_practice;
            let wrong = shown
                .iter()
                .filter(|o| o.practice.name.as_str() == revoked)
                .count();
            if wrong > 0 {
                self.stage.tally.count(|p| p.revoked_shown += wrong as u64);
                self.stage.say.bad(
                    &self.name(),
                    self.stage.name(&node),
                    "is shown an offer of a revoked provider",
                );
            }
        }
        Ok(shown.len())
    }

    /// Waits until its node knows of the revocation, looking at its offers meanwhile.
    ///
    /// # Errors
    /// When that is not in time.
    pub(super) async fn hold_back(&mut self) -> anyhow::Result<()> {
        loop {
            let node = self.node().await?;
            if self.stage.reached.before(&node, Instant::now()) {
                return Ok(());
            }
            self.next().await.context("the revocation")?;
            self.look().await?;
        }
    }

    /// Books until a booking is confirmed.
    ///
    /// # Errors
    /// When none is in time.
    pub(super) async fn book(&mut self) -> anyhow::Result<()> {
        loop {
            self.look().await?;
            let seed = self.rng.next_u32();
            let chosen = self
                .handle
                .with(move |u, now, rng| choose(u, seed, now, rng))
                .await?;
            match chosen {
                Chosen::Confirmed => {
                    self.catch_up();
                    return Ok(());
                }
                Chosen::Asked(state) => self.asked = Some(state),
                Chosen::Busy | Chosen::Nothing => {}
            }
            loop {
                match self.next().await.context("a confirmation")? {
                    // What happens to the booking under way, or something new to choose from.
                    Some(
                        UserEvent::Confirmed { .. }
                        | UserEvent::Rejected { .. }
                        | UserEvent::BookingWithdrawn(_)
                        | UserEvent::OfferReceived(_)
                        | UserEvent::OfferReturned { .. }
                        | UserEvent::SlotsChanged { .. },
                    )
                    | None => break,
                    Some(_) => {}
                }
            }
        }
    }

    /// Cancels; with `again`, takes another offer.
    ///
    /// # Errors
    /// When it is not in time.
    pub(super) async fn cancel(&mut self, again: bool) -> anyhow::Result<()> {
        // The provider's side must be known first: else what it tells later would look like new.
        while !self.stage.bookings.has(self.data.email.as_str()) {
            sleep(Duration::from_millis(20)).await;
        }
        let state = self.handle.with(|u, _, _| u.save()).await?;
        self.stage.keep(self.group, state).await;
        self.stage.bookings.given_up(self.data.email.as_str());
        self.handle
            .with(move |u, _, rng| u.cancel(again, rng))
            .await??;
        let before = self.cancelled;
        while self.cancelled == before {
            self.next().await.context("the cancellation")?;
        }
        if again {
            self.book().await?;
            self.reoffered = true;
            self.stage.tally.count(|p| p.reoffered += 1);
        }
        Ok(())
    }

    /// Changes to another slot of the same provider.
    ///
    /// # Errors
    /// When it is not in time.
    pub(super) async fn change(&mut self) -> anyhow::Result<()> {
        let before = self.changed;
        while self.changed == before {
            self.catch_up();
            let from = self.booked;
            let ask = move |user: &mut User, now: Time, rng: &mut ChaCha20Rng| {
                // A change that its event has not told of yet is the one that was wanted.
                let still = user.booking().map(|b| (b.offer, b.slot)) == from;
                still.then(|| change(user, now, rng)).flatten()
            };
            let asked = self.handle.with(ask).await?;
            if let Some(state) = asked {
                self.asked = Some(state);
            }
            loop {
                match self.next().await.context("the change")? {
                    Some(
                        UserEvent::Changed { .. }
                        | UserEvent::ChangeRejected { .. }
                        | UserEvent::OfferReceived(_)
                        | UserEvent::NothingFree { .. },
                    )
                    | None => break,
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Tells something with the node that it talks to now.
    ///
    /// # Errors
    /// When the role has ended.
    pub(super) async fn tell_where(&self, what: &str) -> anyhow::Result<()> {
        let node = self.node().await?;
        self.say(&node, what);
        Ok(())
    }
}

/// Takes the next step to a booking: of the slots that are not known to be taken, any.
fn choose(user: &mut User, seed: u32, now: Time, rng: &mut ChaCha20Rng) -> Chosen {
    match user.status() {
        UserStatus::Booking(BookingStatus::Confirmed) => return Chosen::Confirmed,
        UserStatus::Booking(BookingStatus::Sending | BookingStatus::Sent) => return Chosen::Busy,
        _ => {}
    }
    let mut open: Vec<(RecordId, u8)> = user
        .offers()
        .iter()
        .flat_map(|o| {
            let slots = o.slots.iter().filter(|s| s.state != SlotState::Taken);
            slots.map(|s| (o.id, s.index)).collect::<Vec<_>>()
        })
        .collect();
    if !open.is_empty() {
        let from = seed as usize % open.len();
        open.rotate_left(from);
    }
    for (offer, slot) in open {
        match user.book(&offer, slot, now, rng) {
            Ok(()) => return Chosen::Asked(user.save()),
            Err(BookError::Busy) => return Chosen::Busy,
            Err(_) => {}
        }
    }
    user.refresh_marks();
    Chosen::Nothing
}

/// Asks for another slot, or for other slots where none is left in the offers at hand; gives the state
/// if a slot was asked for.
fn change(user: &mut User, now: Time, rng: &mut ChaCha20Rng) -> Option<Zeroizing<Vec<u8>>> {
    for offer in user.offers() {
        for slot in offer.slots.iter().filter(|s| s.state != SlotState::Taken) {
            if user.change(&offer.id, slot.index, now, rng).is_ok() {
                return Some(user.save());
            }
        }
    }
    // Refused while an earlier wish is on its way.
    let _asked = user.ask_other_slots(now, rng);
    None
}

/// The time, for who compares with a role.
#[must_use]
pub(super) fn time() -> Time {
    now()
}
