//! A user with its running role, and what is noted of it.

mod deeds;

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use lapwing_client::driver::{Handle, now};
use lapwing_client::http::Client;
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::id::{NodeId, RecordId};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::user::Wishes;
use lapwing_protocol::role::{Role, User, UserEvent};
use lapwing_protocol::time::{Seconds, Time};
use lapwing_protocol::token::UserData;
use rand_chacha::ChaCha20Rng;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::VACCINE;
use super::stage::Stage;
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
            bail!("not within {} s", self.stage.scenario.patience.as_secs());
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
            UserEvent::ChangeRejected { reason, .. } => {
                self.tell(format!("is refused its change: {reason:?}"));
            }
            UserEvent::NothingFree { .. } => self.tell("is told that nothing is free"),
            UserEvent::BookingWithdrawn(why) => self.tell(format!("trouble: {why}")),
            UserEvent::NoMoreOffers => self.tell("trouble: gets no more offers"),
            _ => {}
        }
    }

    /// Tells without a node: where it is now is asked for only where it matters.
    fn tell(&self, what: impl std::fmt::Display) {
        self.stage.say.detail(&self.name(), "", what);
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

/// The time, for who compares with a role.
#[must_use]
pub(super) fn time() -> Time {
    now()
}
