//! What the people of the demo do, each with a role of its own that runs at a node of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::id::{MediatorId, RecordId, RegionId};
use lapwing_protocol::mediation::MAX_PROVIDER_REGIONS;
use lapwing_protocol::role::mediator::{Mediator, MediatorEvent, RegionPlan};
use lapwing_protocol::role::provider::{Provider, ProviderEvent};
use lapwing_protocol::role::user::{BookError, BookingStatus, SlotState, UserStatus};
use lapwing_protocol::role::{Role, User, UserEvent};
use lapwing_protocol::time::{Seconds, Time};
use lapwing_protocol::token::UserData;
use lapwing_protocol::trust::TrustView;
use tokio::time::{sleep, timeout};

use crate::driver::{Handle, Names, Options};
use crate::federation::Founders;
use crate::report::Say;

/// How long anybody waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// How long a look at a user lasts before it is taken anew.
const GLANCE: Duration = Duration::from_millis(500);
/// Slots of each provider.
pub const SLOTS: u32 = 20;
/// What every provider offers and every user wishes for.
const VACCINE: &str = "mRNA";

/// Waits until a role's view knows enough.
///
/// # Errors
/// When it does not in time, or the role has ended.
pub async fn learns<R, T>(
    handle: &Handle<R>,
    what: &str,
    find: impl Fn(&TrustView) -> Option<T> + Clone + Send + 'static,
) -> anyhow::Result<T>
where
    R: Role + Send + 'static,
    R::Event: Send + 'static,
    T: Send + 'static,
{
    let look = async {
        loop {
            let find = find.clone();
            if let Some(found) = handle.with(move |role, _, _| find(role.view())).await? {
                return anyhow::Ok(found);
            }
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, look)
        .await
        .with_context(|| format!("no node tells of {what} in time"))?
}

async fn wait<R, T>(
    handle: &mut Handle<R>,
    what: &str,
    mut see: impl FnMut(R::Event) -> Option<T>,
) -> anyhow::Result<T>
where
    R: Role + Send + 'static,
    R::Event: Send + 'static,
{
    let events = async {
        loop {
            if let Some(seen) = see(handle.event().await?) {
                return anyhow::Ok(seen);
            }
        }
    };
    timeout(PATIENCE, events)
        .await
        .with_context(|| format!("{what}: not in time"))?
}

/// The mediator at its desk.
#[derive(Debug)]
pub struct Desk {
    handle: Handle<Mediator>,
    id: MediatorId,
}

impl Desk {
    /// A mediator that the founders register and that publishes these regions.
    ///
    /// # Errors
    /// What a role, the founders or a node refuse.
    pub async fn open(
        mut options: Options,
        founders: &Founders,
        plans: Vec<RegionPlan>,
        say: &Say,
        place: &str,
    ) -> anyhow::Result<Self> {
        let view = TrustView::new(founders.federation().clone())?;
        let node = options.places.first().context("no node")?.id;
        let mediator = Mediator::create(
            Text::try_from("Vermittlung Nord")?,
            view,
            node,
            &mut options.rng,
        );
        let id = mediator.id();
        let mut handle = Handle::start(mediator, options);
        learns(&handle, "the roster", |view| view.roster().map(drop)).await?;
        let everywhere = List::try_from(vec![Text::try_from("")?])?;
        let order = handle
            .with(|m, now, _| m.registration_order(everywhere, Seconds::days(365), now))
            .await?;
        let registration = founders.sign_registration(&order);
        let signers: Vec<&str> = founders.registrars().collect();
        say.line(
            "operators",
            "",
            format!("{} signs the mediator's registration", signers.join(", ")),
        );
        let count = plans.len();
        handle
            .with(move |m, now, rng| m.registered(&registration, &plans, now, rng))
            .await??;
        wait(&mut handle, "publishing the regions", |event| match event {
            MediatorEvent::Published => Some(()),
            event => {
                trouble(say, "mediator", place, mediator_trouble(&event));
                None
            }
        })
        .await?;
        say.good(
            "mediator",
            place,
            format!("publishes certificate, {count} regions, directory, status"),
        );
        Ok(Desk { handle, id })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> MediatorId {
        self.id
    }

    /// Verifies so many applications as they come.
    ///
    /// # Errors
    /// When they do not come in time, or cannot be approved.
    pub async fn verify(&mut self, count: usize, say: &Say, place: &str) -> anyhow::Result<()> {
        let mut approved: BTreeSet<RecordId> = BTreeSet::new();
        while approved.len() < count {
            let (id, name) = wait(&mut self.handle, "applications", |event| match event {
                MediatorEvent::Applied { id, application } => {
                    Some((id, application.practice.name.clone()))
                }
                event => {
                    trouble(say, "mediator", place, mediator_trouble(&event));
                    None
                }
            })
            .await?;
            if approved.insert(id) {
                self.handle
                    .with(move |m, now, rng| m.approve(&id, None, 90, now, rng))
                    .await??;
                say.good("mediator", place, format!("verifies {}", name.as_str()));
            }
        }
        Ok(())
    }

    /// The role's side.
    #[must_use]
    pub fn into_handle(self) -> Handle<Mediator> {
        self.handle
    }
}

fn mediator_trouble(event: &MediatorEvent) -> Option<String> {
    match event {
        MediatorEvent::PublishRefused(p)
        | MediatorEvent::Refused(p)
        | MediatorEvent::BadAnswer(p) => Some(format!("trouble: {}", p.text())),
        _ => None,
    }
}

fn trouble(say: &Say, who: &str, place: &str, what: Option<String>) {
    if let Some(what) = what {
        say.bad(who, place, what);
    }
}

/// A provider's certificate and region keys, from the application on.
///
/// # Errors
/// When they do not come in time.
pub async fn certify(
    handle: &mut Handle<Provider>,
    mediator: MediatorId,
    regions: Vec<RegionId>,
    say: &Say,
    (who, place): (&str, &str),
) -> anyhow::Result<()> {
    let wanted: BTreeSet<RegionId> = regions.iter().copied().collect();
    let list: List<RegionId, MAX_PROVIDER_REGIONS> = List::try_from(regions)?;
    handle.with(move |p, _, _| p.apply(mediator, list)).await?;
    let (mut certified, mut keys) = (false, BTreeSet::new());
    wait(handle, "the certificate", |event| {
        match event {
            ProviderEvent::Applied => say.line(who, place, "applies to the mediator"),
            ProviderEvent::Certified { serial, .. } => {
                certified = true;
                say.good(who, place, format!("is certified, serial {serial}"));
            }
            ProviderEvent::RegionKey { region, .. } => {
                keys.insert(region);
            }
            event => trouble(say, who, place, provider_trouble(&event)),
        }
        (certified && keys == wanted).then_some(())
    })
    .await?;
    say.line(
        who,
        place,
        format!("has the keys of {} regions", wanted.len()),
    );
    Ok(())
}

/// Adds the slots of a day, and waits until their marks are set.
///
/// # Errors
/// When they are not in time.
pub async fn open_slots(
    handle: &mut Handle<Provider>,
    say: &Say,
    (who, place): (&str, &str),
) -> anyhow::Result<()> {
    let what: Text<80> = Text::try_from(VACCINE)?;
    let added = handle.with(move |p, now, rng| {
        let morning = now.day().plus(1).start().plus(Seconds::hours(8));
        let start = |n: u32| morning.plus(Seconds::minutes(15 * n));
        (0..SLOTS)
            .map(|n| p.add_slot(start(n), 15, what.clone(), now, rng))
            .collect::<Result<BTreeSet<_>, _>>()
    });
    let mut missing = added.await??;
    wait(handle, "the slots' marks", |event| {
        match event {
            ProviderEvent::SlotReady(id) => {
                missing.remove(&id);
            }
            event => trouble(say, who, place, provider_trouble(&event)),
        }
        missing.is_empty().then_some(())
    })
    .await?;
    say.line(who, place, format!("opens {SLOTS} slots"));
    Ok(())
}

/// Tells what a provider's role does, until it has ended.
pub async fn tell_provider(handle: &mut Handle<Provider>, say: &Say, (who, place): (&str, &str)) {
    while let Ok(event) = handle.event().await {
        match event {
            ProviderEvent::Claimed {
                listed, offering, ..
            } if offering > 0 => {
                say.line(
                    who,
                    place,
                    format!("claims {listed} requests, makes {offering} offers"),
                );
            }
            ProviderEvent::Booked { start, .. } => {
                say.line(
                    who,
                    place,
                    format!("checks H, P and signature, confirms {}", clock(start)),
                );
            }
            ProviderEvent::Rejected { reason, .. } => {
                say.line(who, place, format!("turns a booking down: {reason:?}"))
            }
            ProviderEvent::Cancelled { again, .. } => {
                let more = if again { ", makes a new offer" } else { "" };
                say.line(who, place, format!("hears of a cancellation{more}"));
            }
            event => trouble(say, who, place, provider_trouble(&event)),
        }
    }
}

fn provider_trouble(event: &ProviderEvent) -> Option<String> {
    match event {
        ProviderEvent::Refused(p)
        | ProviderEvent::BadAnswer(p)
        | ProviderEvent::BadEntry(p)
        | ProviderEvent::InvalidApproval(p)
        | ProviderEvent::OfferRefused { problem: p, .. }
        | ProviderEvent::LockRefused { problem: p, .. } => Some(format!("trouble: {}", p.text())),
        _ => None,
    }
}

/// A time of day, UTC.
fn clock(time: Time) -> String {
    let minutes = time.get() / 60 % (24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A user with its role.
#[derive(Debug)]
pub struct Person {
    /// Its data, as it is booked under.
    pub data: UserData,
    /// The role's side.
    pub handle: Handle<User>,
    /// What people call it.
    pub who: String,
    /// The name of the node that it talks to, as of the last step.
    pub place: String,
    /// What nodes are called.
    pub names: Arc<Names>,
    /// The newest offer.
    pub newest: Option<RecordId>,
}

impl Person {
    /// Looks at which node it is now.
    async fn look_round(&mut self) -> anyhow::Result<()> {
        let node = self.handle.with(|u, _, _| u.node()).await?;
        self.place = self.names.get(&node).cloned().unwrap_or_default();
        Ok(())
    }

    /// Draws a token and places a request, and waits until it is admitted.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn request(&mut self, region: RegionId, say: &Say) -> anyhow::Result<()> {
        learns(&self.handle, "the region", move |view| {
            view.region(&region).map(drop)
        })
        .await?;
        let wishes = List::try_from(vec![(Text::try_from("vaccine")?, Text::try_from(VACCINE)?)])?;
        self.handle
            .with(move |u, _, rng| u.request(region, wishes, rng))
            .await??;
        let (who, place) = (self.who.clone(), self.place.clone());
        let begun = say.seconds();
        wait(&mut self.handle, "the admission", |event| match event {
            UserEvent::Admitted { .. } => Some(()),
            event => {
                trouble(say, &who, &place, user_trouble(&event));
                None
            }
        })
        .await?;
        let took = (say.seconds() - begun) * 1000.0;
        say.line(
            &who,
            &place,
            format!("draws a token, places a request ({took:.0} ms)"),
        );
        Ok(())
    }

    /// Waits for an offer that passes every check.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn offered(&mut self, say: &Say) -> anyhow::Result<()> {
        let (who, place) = (self.who.clone(), self.place.clone());
        let offer = wait(&mut self.handle, "an offer", |event| match event {
            UserEvent::OfferReceived(offer) => Some(offer),
            event => {
                trouble(say, &who, &place, user_trouble(&event));
                None
            }
        })
        .await?;
        let slots = offer.slots.len();
        self.newest = Some(offer.id);
        self.look_round().await?;
        let place = &self.place;
        say.line(
            &who,
            place,
            format!(
                "has a good offer by {}, {slots} slots",
                offer.practice.name.as_str()
            ),
        );
        Ok(())
    }

    /// Books until a booking is confirmed: an open slot of the newest offer first, then of the others.
    ///
    /// # Errors
    /// When none is confirmed in time.
    pub async fn book(&mut self, say: &Say) -> anyhow::Result<()> {
        let begun = say.seconds();
        let newest = self.newest;
        let book = async {
            loop {
                if self
                    .handle
                    .with(move |u, now, rng| choose(u, newest, now, rng))
                    .await?
                {
                    return anyhow::Ok(());
                }
                let (who, place) = (&self.who, &self.place);
                match timeout(GLANCE, self.handle.event()).await {
                    Ok(Ok(UserEvent::Rejected { reason, .. })) => {
                        say.line(
                            who,
                            place,
                            format!("is turned down ({reason:?}), tries another slot"),
                        );
                    }
                    Ok(Ok(event)) => trouble(say, who, place, user_trouble(&event)),
                    Ok(Err(gone)) => bail!(gone),
                    Err(_) => {}
                }
            }
        };
        timeout(PATIENCE, book)
            .await
            .with_context(|| format!("{}: no confirmation in time", self.who))??;
        let took = (say.seconds() - begun) * 1000.0;
        self.look_round().await?;
        say.good(
            &self.who,
            &self.place,
            format!("has its confirmation ({took:.0} ms)"),
        );
        Ok(())
    }

    /// Cancels, and waits for another offer.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn cancel(&mut self, say: &Say) -> anyhow::Result<()> {
        // Offers seen so far are not the new one.
        while timeout(Duration::from_millis(1), self.handle.event())
            .await
            .is_ok_and(|e| e.is_ok())
        {}
        self.handle.with(|u, _, rng| u.cancel(true, rng)).await??;
        say.line(
            &self.who,
            &self.place,
            "cancels, and asks for another offer",
        );
        self.offered(say).await
    }
}

/// Takes the next step to a booking; true when one is confirmed.
fn choose(
    user: &mut User,
    newest: Option<RecordId>,
    now: Time,
    rng: &mut rand_chacha::ChaCha20Rng,
) -> bool {
    match user.status() {
        UserStatus::Booking(BookingStatus::Confirmed) => return true,
        UserStatus::Booking(BookingStatus::Sending | BookingStatus::Sent) => return false,
        _ => {}
    }
    let mut offers = user.offers();
    offers.sort_by_key(|offer| Some(offer.id) != newest);
    for offer in offers {
        // What is not known to be taken may be tried: the provider has the last word.
        for slot in offer.slots.iter().filter(|s| s.state != SlotState::Taken) {
            match user.book(&offer.id, slot.index, now, rng) {
                Ok(()) | Err(BookError::Busy) => return false,
                Err(_) => {}
            }
        }
    }
    user.refresh_marks();
    false
}

fn user_trouble(event: &UserEvent) -> Option<String> {
    match event {
        UserEvent::Refused(p) | UserEvent::BadAnswer(p) | UserEvent::Redrawn(p) => {
            Some(format!("trouble: {}", p.text()))
        }
        // The offer may be ahead of what the view knows: it is looked at again.
        UserEvent::InvalidOffer(why) if why.may_change() => None,
        UserEvent::InvalidOffer(why) | UserEvent::BookingWithdrawn(why) => {
            Some(format!("trouble: {why}"))
        }
        UserEvent::InvalidConfirmation => Some("trouble: not a confirmation".to_owned()),
        _ => None,
    }
}
