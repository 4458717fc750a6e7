//! What a user is told and shown.

use super::{BookingStatus, InvalidOffer};
use crate::booking::Rejection;
use crate::bounded::Text;
use crate::id::{NodeId, RecordId, TicketId};
use crate::mediation::Practice;
use crate::problem::Problem;
use crate::time::Time;

/// What a user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserEvent {
    /// Proof of work is being done; this many were tried so far.
    Working {
        /// Proofs tried.
        tried: u64,
    },
    /// A token was drawn.
    Drawn {
        /// The node that issued it.
        issuer: NodeId,
        /// The lottery epoch.
        epoch: u32,
    },
    /// The request is in its region's queue.
    Admitted {
        /// Until when.
        expires: Time,
    },
    /// The token's issuer has been away for some tries: wait, or [`super::User::draw_anew`].
    IssuerAway,
    /// The token was no longer good, for this reason, and a new one is being drawn:
    /// [`Problem::EpochClosed`], [`Problem::TokenUsed`], or [`Problem::IssuerAway`] where the issuer
    /// was away for longer than [`super::User::set_patience`] allows.
    Redrawn(Problem),
    /// A good offer came.
    OfferReceived(OfferView),
    /// An offer came that is not shown.
    InvalidOffer(InvalidOffer),
    /// An offer is not to be shown any more, or not for now: its provider's certificate is not in force
    /// by what is known of the chain of trust.
    OfferWithdrawn {
        /// The offer.
        offer: RecordId,
        /// Why.
        why: InvalidOffer,
    },
    /// An offer that was withdrawn for now is good again.
    OfferReturned {
        /// The offer.
        offer: RecordId,
    },
    /// Marks of an offer changed.
    SlotsChanged {
        /// The offer.
        offer: RecordId,
    },
    /// Every slot of every offer is taken.
    AllTaken,
    /// The booking reached the provider's mailbox.
    BookingSent {
        /// The offer.
        offer: RecordId,
        /// The slot.
        slot: u8,
    },
    /// The booking was not sent: the offer did not pass its check any more.
    BookingWithdrawn(InvalidOffer),
    /// The provider confirmed.
    Confirmed {
        /// The offer.
        offer: RecordId,
        /// The slot.
        slot: u8,
        /// When it starts.
        start: Time,
    },
    /// The provider did not confirm; another slot may be booked.
    Rejected {
        /// The offer.
        offer: RecordId,
        /// The slot.
        slot: u8,
        /// Why.
        reason: Rejection,
    },
    /// Something came as a confirmation that is none.
    InvalidConfirmation,
    /// The provider has no other slot to offer now; it will offer one when it can.
    NothingFree {
        /// The ticket of its offers.
        ticket: TicketId,
    },
    /// A change was confirmed: the booking is for this slot now.
    Changed {
        /// The offer.
        offer: RecordId,
        /// The slot.
        slot: u8,
        /// When it starts.
        start: Time,
    },
    /// A change was not confirmed: the booking stands as it was.
    ChangeRejected {
        /// The offer of the slot that was wanted.
        offer: RecordId,
        /// The slot that was wanted.
        slot: u8,
        /// Why.
        reason: Rejection,
    },
    /// The provider cancelled the booking; another slot may be booked.
    CancelledByProvider {
        /// The offer.
        offer: RecordId,
        /// The slot.
        slot: u8,
        /// Why, to read.
        text: Text<300>,
        /// The provider says that another offer follows.
        again: bool,
    },
    /// Something came as a provider's cancellation that is none.
    InvalidCancellation,
    /// The certificate of the provider of the booking was revoked. The booking stays until the user
    /// cancels it.
    ProviderRevoked {
        /// The offer.
        offer: RecordId,
        /// The slot.
        slot: u8,
    },
    /// Listed again in the region's queue.
    Relisted,
    /// The token was listed, or booked, as often as it may: no more offers come.
    NoMoreOffers,
    /// The mediator's inbox has the report.
    Reported {
        /// The offer reported.
        offer: RecordId,
    },
    /// A report cannot be written.
    ReportRefused {
        /// The offer reported.
        offer: RecordId,
        /// Why.
        problem: Problem,
    },
    /// The booking is cancelled.
    Cancelled {
        /// The offer.
        offer: RecordId,
        /// The slot.
        slot: u8,
    },
    /// A message from a provider.
    Message {
        /// The ticket of its offer.
        ticket: TicketId,
        /// The text.
        text: Text<1500>,
    },
    /// The trust records should be fetched again: the node, or someone else, knows others.
    ViewStale(Problem),
    /// A node refused a call for a reason that does not pass by itself; it is still tried, slowly.
    Refused(Problem),
    /// A node's answer was not what it should be: best to use another.
    BadAnswer(Problem),
    /// The request is over.
    Expired,
}

/// What is known of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Its mark was not read yet.
    Unknown,
    /// Open.
    Open,
    /// Taken.
    Taken,
}

/// One slot of an offer, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// Its number in the offer.
    pub index: u8,
    /// When it starts.
    pub start: Time,
    /// How long it takes, in minutes.
    pub minutes: u16,
    /// What is offered.
    pub what: Text<80>,
    /// Whether it is still open, as far as known.
    pub state: SlotState,
}

/// A good offer, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferView {
    /// The offer's record id: names it to [`super::User::book`].
    pub id: RecordId,
    /// The practice, as the mediator verified it.
    pub practice: Practice,
    /// The slots.
    pub slots: Vec<SlotView>,
    /// Until when it may be accepted.
    pub expires: Time,
}

/// How far a user is: the short form of [`super::Overview`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserStatus {
    /// Nothing asked for.
    Idle,
    /// Proof of work, then the token.
    Drawing,
    /// The request is being placed.
    Placing,
    /// In the queue, or choosing among offers.
    Waiting,
    /// A booking, or the last one.
    Booking(BookingStatus),
}

/// Why a request was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is one already: [`super::User::abandon`] ends it.
    #[error("there is a request already")]
    Busy,
}
