//! What a person does with its app: asks, looks at its offers, books, cancels and changes.

use std::time::Duration;

use anyhow::Context;
use lapwing_client::driver::feed;
use lapwing_protocol::id::{RecordId, RegionId};
use lapwing_protocol::role::user::{BookError, BookingStatus, SlotState, UserStatus};
use lapwing_protocol::role::{Role, User, UserEvent};
use lapwing_protocol::time::Time;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::{Person, settings, wishes};
use crate::play::region_of;
use crate::play::wait::learns;

/// What came of choosing.
enum Chosen {
    Confirmed,
    Busy,
    Asked(Zeroizing<Vec<u8>>),
    Nothing,
}

impl Person {
    /// Draws a token and places a request.
    ///
    /// # Errors
    /// When its view does not know the region in time.
    pub(in crate::play) async fn request(&mut self) -> anyhow::Result<()> {
        let area = self.area.clone();
        let region: RegionId = learns(&self.handle, "the region", move |view| {
            region_of(view, &area)
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
    pub(in crate::play) async fn admitted(&mut self) -> anyhow::Result<()> {
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
    pub(in crate::play) async fn look(&mut self) -> anyhow::Result<usize> {
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
    pub(in crate::play) async fn hold_back(&mut self) -> anyhow::Result<()> {
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
    pub(in crate::play) async fn book(&mut self) -> anyhow::Result<()> {
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
    pub(in crate::play) async fn cancel(&mut self, again: bool) -> anyhow::Result<()> {
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
    pub(in crate::play) async fn change(&mut self) -> anyhow::Result<()> {
        let before = self.changed;
        // To ask again where an offer is owed would only use up the wishes that a booking has.
        let mut wish = true;
        while self.changed == before {
            self.catch_up();
            let from = self.booked;
            let ask = move |user: &mut User, now: Time, rng: &mut ChaCha20Rng| {
                // A change that its event has not told of yet is the one that was wanted.
                let still = user.booking().map(|b| (b.offer, b.slot)) == from;
                let asked = still.then(|| change(user, now, rng)).flatten();
                if asked.is_none() && still && wish {
                    // Refused while an earlier wish is on its way.
                    return (asked, user.ask_other_slots(now, rng).is_ok());
                }
                (asked, false)
            };
            let (asked, wished) = self.handle.with(ask).await?;
            if let Some(state) = asked {
                self.asked = Some(state);
            }
            wish &= !wished;
            loop {
                match self.next().await.context("the change")? {
                    Some(UserEvent::ChangeRejected { .. } | UserEvent::OfferReceived(_)) => {
                        wish = true;
                        break;
                    }
                    Some(UserEvent::Changed { .. }) | None => break,
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// How far its app is: for who reads that it gave up.
    pub(in crate::play) async fn stands(&self) -> String {
        let told = self.handle.with(|u, _, _| {
            let far = u.overview();
            let changing = far.booking.is_some_and(|b| b.change.is_some());
            format!(
                "its app says {:?}, waits for {:?}, has {} offers{}",
                far.status,
                far.waits_for,
                far.offers.len(),
                if changing {
                    ", and a change that is not answered"
                } else {
                    ""
                },
            )
        });
        told.await.unwrap_or_else(|error| error.to_string())
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

/// Asks for another slot, if one is left in the offers at hand; gives the state if so.
fn change(user: &mut User, now: Time, rng: &mut ChaCha20Rng) -> Option<Zeroizing<Vec<u8>>> {
    for offer in user.offers() {
        for slot in offer.slots.iter().filter(|s| s.state != SlotState::Taken) {
            if user.change(&offer.id, slot.index, now, rng).is_ok() {
                return Some(user.save());
            }
        }
    }
    None
}
