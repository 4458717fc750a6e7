//! A user: asks, waits for a good offer, books, cancels.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::id::{RecordId, RegionId};
use lapwing_protocol::role::user::{BookError, BookingStatus, SlotState, UserStatus};
use lapwing_protocol::role::{Role, User, UserEvent};
use lapwing_protocol::time::Time;
use lapwing_protocol::token::UserData;
use tokio::time::timeout;

use super::{PATIENCE, VACCINE, learns, trouble, wait};
use crate::clients::Names;
use crate::report::Say;
use lapwing_client::driver::Handle;

/// How long a look at a user lasts before it is taken anew.
const GLANCE: Duration = Duration::from_millis(500);

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
