//! A user: draws a token, places a request, checks the offers that come, books one slot, cancels.
//!
//! One request at a time. What a node withholds does not come; whatever comes is checked to the
//! federation's roots before a person sees it, and again before the person's data leaves.

mod book;
mod check;
mod draw;
mod event;
mod inbox;
mod run;
mod state;

use std::collections::BTreeMap;

use rand_core::CryptoRng;

pub use book::{BookError, CancelError};
pub use check::{InvalidOffer, OfferContext, check_offer};
pub use event::{AskError, OfferView, SlotState, SlotView, UserEvent, UserStatus};
pub use state::{BookingStatus, Wishes};

use self::state::{Asked, State};
use super::Pace;
use super::desk::{Desk, Reads};
use crate::id::{ItemId, NodeId, RecordId, RegionId, TicketId};
use crate::mailbox::MarkValue;
use crate::time::Time;
use crate::token::UserData;
use crate::trust::TrustView;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Token,
    Request,
    Inbox,
    Channel(TicketId),
    Marks,
    Write(TicketId),
    Release,
}

/// A user's state machine.
pub struct User {
    state: State,
    view: TrustView,
    desk: Desk<Task>,
    reads: Reads,
    pace: Pace,
    events: Vec<UserEvent>,
    /// Offers that a view that knows more may see otherwise.
    waiting: BTreeMap<ItemId, InvalidOffer>,
    /// Marks are to be read.
    refresh: bool,
    /// The time it was last told.
    now: Time,
}

impl core::fmt::Debug for User {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("User(redacted)")
    }
}

impl User {
    /// A user of the federation that `view` pins, talking to `node`.
    #[must_use]
    pub fn create(data: UserData, view: TrustView, node: NodeId) -> Self {
        let federation = view.federation().clone();
        Self::with(
            State {
                federation,
                node,
                data,
                asked: None,
            },
            view,
        )
    }

    fn with(state: State, view: TrustView) -> Self {
        User {
            state,
            view,
            desk: Desk::new(),
            reads: Reads::default(),
            pace: Pace::default(),
            events: Vec::new(),
            waiting: BTreeMap::new(),
            refresh: false,
            now: Time::ZERO,
        }
    }

    /// Asks for an appointment in a region. The rest goes by itself up to the offers.
    ///
    /// # Errors
    /// [`AskError::Busy`].
    pub fn request<R: CryptoRng + ?Sized>(
        &mut self,
        region: RegionId,
        wishes: Wishes,
        rng: &mut R,
    ) -> Result<(), AskError> {
        if self.state.asked.is_some() {
            return Err(AskError::Busy);
        }
        self.state.asked = Some(Asked::new(region, wishes, rng));
        Ok(())
    }

    /// Forgets the request with its keys: offers and confirmations to it can no longer be read. A
    /// booking should be cancelled first.
    pub fn abandon(&mut self) {
        self.state.asked = None;
        self.waiting.clear();
        self.desk.reset();
        self.reads.reset();
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> UserStatus {
        match &self.state.asked {
            None => UserStatus::Idle,
            Some(a) => match (&a.booking, &a.token, &a.admitted) {
                (Some(b), _, _) => UserStatus::Booking(b.status),
                (None, _, Some(_)) => UserStatus::Waiting,
                (None, Some(_), None) => UserStatus::Placing,
                (None, None, None) => UserStatus::Drawing,
            },
        }
    }

    /// The good offers, by id, the expired ones among them.
    #[must_use]
    pub fn offers(&self) -> Vec<OfferView> {
        let ids = self.state.asked.iter().flat_map(|a| a.offers.keys());
        ids.filter_map(|id| self.offer(id)).collect()
    }

    /// One good offer.
    #[must_use]
    pub fn offer(&self, id: &RecordId) -> Option<OfferView> {
        let kept = self.state.asked.as_ref()?.offers.get(id)?;
        let slots = kept
            .offer
            .slots
            .iter()
            .zip(kept.marks.iter())
            .zip(0u8..)
            .map(|((slot, mark), index)| SlotView {
                index,
                start: slot.start,
                minutes: slot.minutes,
                what: slot.what.clone(),
                state: match mark.map(|m| m.value) {
                    None => SlotState::Unknown,
                    Some(MarkValue::Open) => SlotState::Open,
                    Some(MarkValue::Taken) => SlotState::Taken,
                },
            });
        Some(OfferView {
            id: *id,
            practice: kept.offer.practice.clone(),
            slots: slots.collect(),
            expires: kept.offer.expires,
        })
    }

    /// Reads the marks of all open offers at the next poll.
    pub fn refresh_marks(&mut self) {
        self.refresh = true;
    }

    fn expire(&mut self, now: Time) {
        let Some(asked) = &self.state.asked else {
            return;
        };
        let over = asked.admitted.as_ref().is_some_and(|a| now > a.expires);
        let confirmed = asked
            .booking
            .as_ref()
            .is_some_and(|b| b.status == BookingStatus::Confirmed && now <= b.start);
        if over && !confirmed {
            self.abandon();
            self.events.push(UserEvent::Expired);
        }
    }
}
