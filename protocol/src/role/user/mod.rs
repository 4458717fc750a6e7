//! A user: draws a token, places a request, checks the offers that come, books one slot, changes or
//! cancels it, is listed again when nothing is left, reports a provider.
//!
//! One request at a time: who looks for an appointment in several regions, or for several, keeps one
//! machine for each, with a key of its own, so that nobody can tell that they belong together. What a
//! node withholds does not come; whatever comes is checked to the federation's roots before a person
//! sees it, as long as it is shown, and again before the person's data leaves.

mod book;
mod cancel;
mod change;
mod check;
mod decline;
mod draw;
mod event;
mod inbox;
mod kept_offer;
mod letters;
mod offers;
mod overview;
mod readable;
mod relist;
mod report;
mod run;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rand_core::CryptoRng;

pub use book::BookError;
pub use cancel::CancelError;
pub use change::ChangeError;
pub use check::{InvalidOffer, OfferContext, check_offer};
pub use event::{AskError, OfferView, SlotState, SlotView, UserEvent, UserStatus};
pub use overview::{BookingView, ChangeView, NextStep, Overview, WaitsFor};
pub use relist::RelistError;
pub use report::ReportError;
pub use state::{BookingStatus, MAX_PAST, MAX_REDRAWS, PastBooking, Redraw, Wishes};

use self::state::{Asked, State};
use super::Pace;
use super::desk::{Desk, Reads};
use super::kept::Many;
use crate::id::{ItemId, LockId, NodeId, RecordId, RegionId, TicketId};
use crate::time::{Seconds, Time};
use crate::token::UserData;
use crate::trust::TrustView;

/// How long a token's issuer may be away before another token is drawn, unless set otherwise.
const PATIENCE: Seconds = Seconds::minutes(10);
/// How long nothing is open before a user asks to be listed again, unless set otherwise.
const RELIST_PAUSE: Seconds = Seconds::new(30);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Token,
    Request,
    Inbox,
    Channel(TicketId),
    Marks,
    Write(TicketId),
    Release(LockId),
    Relist,
    Report(RecordId),
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
    /// Kept offers that do not hold by the present view.
    hidden: BTreeMap<RecordId, InvalidOffer>,
    /// Marks are to be read.
    refresh: bool,
    /// When they are read by themselves.
    marks_due: Time,
    /// How long it may be so.
    relist_pause: Seconds,
    /// The status of which the person knows since when it is.
    stage: UserStatus,
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
                automatic: true,
                patience: Some(PATIENCE),
                since: Time::ZERO,
                past: Many::default(),
                reports: Many::default(),
            },
            view,
        )
    }

    fn with(state: State, view: TrustView) -> Self {
        let mut user = User {
            state,
            view,
            desk: Desk::new(),
            reads: Reads::default(),
            pace: Pace::default(),
            events: Vec::new(),
            waiting: BTreeMap::new(),
            hidden: BTreeMap::new(),
            refresh: false,
            marks_due: Time::ZERO,
            relist_pause: RELIST_PAUSE,
            stage: UserStatus::Idle,
            now: Time::ZERO,
        };
        user.stage = user.status();
        user
    }

    /// Asks for an appointment in a region. The rest goes by itself up to the offers.
    ///
    /// Wishes are pairs of a key and a value. A key that occurs several times lists alternatives
    /// (either vaccine will do); different keys must all be met; no wishes at all take any slot.
    ///
    /// For several regions, or several appointments at once, make a user for each: a token is good for
    /// one booking, and separate machines have nothing in common that could be linked.
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
    /// booking should be cancelled first. Reports that are on their way still go out.
    pub fn abandon(&mut self) {
        self.bury();
        self.state.asked = None;
        self.waiting.clear();
        self.hidden.clear();
        self.state.reports.retain(|r| !r.written);
        self.desk.reset();
        self.reads.reset();
    }

    /// Whether to ask to be listed again by itself once nothing acceptable is open; so it is unless set
    /// otherwise. Stored.
    pub fn set_automatic(&mut self, automatic: bool) {
        self.state.automatic = automatic;
    }

    /// How long nothing must have been open before the user is listed again by itself (30 seconds unless
    /// set otherwise; ten times that while a provider owes an answer). Not stored.
    pub fn set_relist_pause(&mut self, pause: Seconds) {
        self.relist_pause = pause;
    }

    /// How long the issuer of a token that is not admitted may be away, while another node is talked to,
    /// before a new token is drawn there by itself (ten minutes unless set otherwise); nothing for never.
    /// Stored.
    pub fn set_patience(&mut self, patience: Option<Seconds>) {
        self.state.patience = patience;
    }

    /// How far it is; [`User::overview`] tells more.
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

    /// Reads the marks of all open offers at the next poll.
    pub fn refresh_marks(&mut self) {
        self.refresh = true;
    }

    /// Ends what is over at `now`.
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

    /// Notes when the status changed.
    fn note(&mut self, now: Time) {
        let status = self.status();
        if status != self.stage {
            self.stage = status;
            self.state.since = now;
        }
    }
}
