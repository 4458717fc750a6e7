//! What a provider is told.

use super::SlotId;
use crate::booking::Rejection;
use crate::bounded::Text;
use crate::id::{RecordId, RegionId, TicketId};
use crate::problem::Problem;
use crate::time::Time;
use crate::token::UserData;

/// What a provider is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderEvent {
    /// The application is in the mediator's inbox.
    Applied,
    /// The mediator rejected it, with this reason.
    ApplicationRejected(Text<400>),
    /// A certificate came that is in force.
    Certified {
        /// Its serial.
        serial: u64,
        /// Its regions.
        regions: Vec<RegionId>,
        /// When it expires.
        expires: Time,
    },
    /// Something came as an approval that is none.
    InvalidApproval(Problem),
    /// A region's key came.
    RegionKey {
        /// The region.
        region: RegionId,
        /// The version.
        version: u32,
    },
    /// A slot's mark is set: it can be offered.
    SlotReady(SlotId),
    /// A round of claims ended.
    Claimed {
        /// The region.
        region: RegionId,
        /// How many requests were claimed.
        listed: u32,
        /// To how many of them offers are made.
        offering: u32,
    },
    /// A round ended before its claim: no challenge could be answered, or no slot is free any more.
    NotClaimed(RegionId),
    /// A claimed entry, or a letter, was not what it should be.
    BadEntry(Problem),
    /// An offer was sent.
    OfferSent {
        /// Its ticket.
        ticket: TicketId,
        /// Its slots.
        slots: Vec<SlotId>,
    },
    /// An offer's ticket bought nothing; its slots are free again.
    OfferRefused {
        /// The ticket.
        ticket: TicketId,
        /// Why.
        problem: Problem,
    },
    /// Nothing is free that fits: the user is told, and comes first when a slot gets free.
    NothingToOffer {
        /// The ticket.
        ticket: TicketId,
    },
    /// The booking lock was not granted.
    LockRefused {
        /// The ticket.
        ticket: TicketId,
        /// Why.
        problem: Problem,
    },
    /// A booking stands; the confirmation is on its way.
    Booked {
        /// Its record id.
        booking: RecordId,
        /// The slot.
        slot: SlotId,
        /// When it starts.
        start: Time,
        /// Who booked.
        data: UserData,
    },
    /// A booking was moved to another slot, as its user asked; the confirmation is on its way.
    Changed {
        /// The booking's record id.
        booking: RecordId,
        /// The slot that it had, free again.
        from: SlotId,
        /// The slot that it has.
        to: SlotId,
        /// When that starts.
        start: Time,
    },
    /// A booking, or a change of one, was turned down.
    Rejected {
        /// The ticket.
        ticket: TicketId,
        /// Why.
        reason: Rejection,
    },
    /// The user cancelled.
    Cancelled {
        /// The booking's record id.
        booking: RecordId,
        /// The slot, free again.
        slot: SlotId,
        /// Whether the user would like another offer; it is made by itself.
        again: bool,
    },
    /// A user takes none of the offers that it had by a ticket; their slots are free again.
    Declined {
        /// The ticket.
        ticket: TicketId,
    },
    /// A message from a user.
    Message {
        /// The ticket.
        ticket: TicketId,
        /// The text.
        text: Text<1500>,
    },
    /// The certificate is no longer good: nothing is claimed, offered or confirmed any more. Users can
    /// still cancel; a new certificate ends this.
    CertificateEnded(Problem),
    /// The trust records should be fetched again.
    ViewStale(Problem),
    /// A node refused a call for a reason that does not pass by itself.
    Refused(Problem),
    /// A node's answer was not what it should be: best to use another.
    BadAnswer(Problem),
}
