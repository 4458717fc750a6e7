//! What a user's app must not forget.

use super::kept_offer::KeptOffer;
use crate::booking::{Choice, Rejection, ReportReason};
use crate::bounded::{List, Text};
use crate::federation::Federation;
use crate::id::{LockId, MediatorId, NodeId, RecordId, RegionId, RequestId, TicketId};
use crate::key::VerifyingKey;
use crate::mailbox::Mailbox;
use crate::mediation::Practice;
use crate::problem::Problem;
use crate::role::kept::{Blob, Many, Secret, Seed, Table};
use crate::role::letterbox::Letter;
use crate::role::talk::{Outbox, Seen};
use crate::time::{Day, Seconds, Time};
use crate::token::UserData;
use crate::{wire_code, wire_enum, wire_struct};

pub(super) const NAME: &str = "lapwing/v1/role-user";
pub(super) const VERSION: u32 = 4;

/// Most bookings of the past that are remembered.
pub const MAX_PAST: usize = 32;
/// Most causes of a redraw that are remembered for one request.
pub const MAX_REDRAWS: usize = 16;

/// Wishes: pairs of a key (such as `vaccine`) and a value. A key that occurs several times says that
/// any of its values will do; different keys must all be met.
pub type Wishes = List<(Text<40>, Text<120>), 8>;

wire_struct! {
    /// All of it.
    pub(super) struct State {
        pub(super) federation: Federation,
        pub(super) node: NodeId,
        pub(super) data: UserData,
        pub(super) asked: Option<Asked>,
        /// Asks to be listed again by itself.
        pub(super) automatic: bool,
        /// How long a token's issuer may be away before a new token is drawn by itself.
        pub(super) patience: Option<Seconds>,
        /// Since when the status is what it is.
        pub(super) since: Time,
        /// Bookings that are over, the oldest first.
        pub(super) past: Many<PastBooking>,
        /// Reports to mediators, of this request and those still on their way.
        pub(super) reports: Many<KeptReport>,
    }
}

wire_struct! {
    /// One request, from the draw of its token to the end.
    pub(super) struct Asked {
        pub(super) region: RegionId,
        pub(super) wishes: Wishes,
        pub(super) draw: Draw,
        /// How many tokens were drawn for it.
        pub(super) drawn: u32,
        /// Why some of them were drawn anew, the oldest first.
        pub(super) redrawn: Many<Redraw>,
        /// Since when the token's issuer is known to be away.
        pub(super) away: Option<Time>,
        pub(super) token: Option<Token>,
        pub(super) request: Option<Placed>,
        pub(super) admitted: Option<Admitted>,
        pub(super) seen: Seen,
        pub(super) offers: Table<RecordId, KeptOffer>,
        pub(super) channels: Table<TicketId, Channel>,
        /// Tickets that brought nothing good, the newest last.
        pub(super) spoiled: Many<TicketId>,
        /// How often an offer was accepted.
        pub(super) attempts: u32,
        pub(super) booking: Option<KeptBooking>,
        /// Every lock that an acceptance allowed.
        pub(super) locks: Table<LockId, Lock>,
        /// Releases that no node has acknowledged.
        pub(super) releases: Table<LockId, KeptRelease>,
        pub(super) relist: Relisting,
    }
}

wire_struct! {
    /// Why a token was drawn anew, and when.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Redraw {
        /// When.
        pub at: Time,
        /// What was wrong with the old one; nothing where the person asked for it.
        pub why: Option<Problem>,
    }
}

wire_struct! {
    /// How often a user was listed again, and what is on its way.
    #[derive(Default)]
    pub(super) struct Relisting {
        /// COSE records that no node has acknowledged, in order.
        pub(super) waiting: Many<Blob>,
        /// How many tickets were named so far.
        pub(super) tickets: u32,
        /// How many times it was asked for.
        pub(super) times: u32,
        /// Since when nothing is open.
        pub(super) bare: Option<Time>,
        /// The holders list this token no more.
        pub(super) used_up: bool,
        /// The person does not look for an appointment any more.
        pub(super) content: bool,
    }
}

wire_struct! {
    /// What a token is drawn with.
    pub(super) struct Draw {
        pub(super) nonce: [u8; 32],
        pub(super) user: Secret,
        pub(super) key: Seed,
        /// For which node and lottery epoch the work is done.
        pub(super) issuer: NodeId,
        pub(super) epoch: u32,
        /// The next proof to try.
        pub(super) tried: u64,
        /// The proof found.
        pub(super) proof: Option<u64>,
    }
}

wire_struct! {
    /// A token that was drawn and checked.
    pub(super) struct Token {
        pub(super) bytes: Blob,
        pub(super) issuer: NodeId,
        pub(super) epoch: u32,
    }
}

wire_struct! {
    /// The request as it was, or will be, sent: always the same bytes.
    pub(super) struct Placed {
        pub(super) bytes: Blob,
        pub(super) id: RequestId,
        pub(super) key_version: u32,
        pub(super) inbox: Mailbox,
        pub(super) read: Seed,
        pub(super) day: Day,
    }
}

wire_struct! {
    /// Its admission.
    pub(super) struct Admitted {
        pub(super) bytes: Blob,
        pub(super) expires: Time,
    }
}

wire_struct! {
    /// The two mailboxes of one provider's ticket.
    pub(super) struct Channel {
        pub(super) out: Outbox,
        pub(super) to_user: Mailbox,
        pub(super) signer: VerifyingKey,
        /// The ticket's key, by which the provider may release a lock.
        pub(super) key: VerifyingKey,
        pub(super) seen: Seen,
        /// Until when the region's holders count the ticket as an open offer.
        pub(super) until: Time,
        /// The offers of this ticket were given up.
        pub(super) given_up: bool,
        /// A letter that asked for other slots and was not answered yet.
        pub(super) asks: Option<RecordId>,
        /// The provider had nothing else, and owes an offer.
        pub(super) owed: bool,
    }
}

wire_code! {
    /// How far a booking is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum BookingStatus {
        /// Not yet acknowledged by the holders of the provider's mailbox.
        1 => Sending,
        /// Waiting for the provider.
        2 => Sent,
        /// Confirmed.
        3 => Confirmed,
        /// Not confirmed; another slot may be booked.
        4 => Rejected,
        /// Cancelled by the user.
        5 => Cancelled,
        /// Not sent: the offer did not pass the check just before.
        6 => Withdrawn,
        /// Cancelled by the provider; another slot may be booked.
        7 => CancelledByProvider,
    }
}

wire_struct! {
    /// The booking under way, or the last one.
    pub(super) struct KeptBooking {
        pub(super) id: RecordId,
        /// The id by which letters refer to it: of the latest confirmed change, if there was one.
        pub(super) latest: RecordId,
        pub(super) offer: RecordId,
        pub(super) ticket: TicketId,
        pub(super) slot: u8,
        pub(super) start: Time,
        pub(super) lock: LockId,
        pub(super) status: BookingStatus,
        /// Since when it is so.
        pub(super) since: Time,
        /// The provider's mailbox has it.
        pub(super) sent: bool,
        pub(super) reason: Option<Rejection>,
        /// What the provider wrote when it cancelled.
        pub(super) text: Option<Text<300>>,
        pub(super) change: Option<KeptChange>,
        /// The person was told that the provider's certificate is revoked.
        pub(super) revoked: bool,
        /// The provider answers no more wishes for other slots.
        pub(super) asked_out: bool,
    }
}

wire_struct! {
    /// A change that was asked for and is not answered.
    #[derive(Clone)]
    pub(super) struct KeptChange {
        pub(super) id: RecordId,
        pub(super) choice: Choice,
        pub(super) start: Time,
    }
}

wire_enum! {
    /// Whether a lock was ever held.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Held {
        /// The provider said that it did not get it, or did not try.
        1 => Never,
        /// Nobody said.
        2 => Maybe,
        /// It was, by a booking that was confirmed.
        3 => Yes,
    }
}

wire_struct! {
    /// A booking lock that an acceptance allowed.
    pub(super) struct Lock {
        pub(super) ticket: TicketId,
        /// The booking that carried the acceptance.
        pub(super) booking: RecordId,
        /// The offer that was accepted.
        pub(super) offer: RecordId,
        pub(super) held: Held,
        /// The booking was taken back without an answer: should it be confirmed, it is cancelled.
        pub(super) withdrawn: bool,
        /// It was named in a wish to be listed again.
        pub(super) relisted: bool,
    }
}

wire_struct! {
    /// A release on its way to the holders.
    pub(super) struct KeptRelease {
        pub(super) ticket: TicketId,
        pub(super) bytes: Blob,
    }
}

wire_struct! {
    /// A booking that is over.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PastBooking {
        /// The offer's record id.
        pub offer: RecordId,
        /// With whom.
        pub practice: Practice,
        /// When the slot starts, or started.
        pub start: Time,
        /// How long it takes, in minutes.
        pub minutes: u16,
        /// What it was for.
        pub what: Text<80>,
        /// How it ended; confirmed, if the appointment took place.
        pub status: BookingStatus,
        /// Why it was not confirmed.
        pub reason: Option<Rejection>,
        /// Since when it was so.
        pub since: Time,
    }
}

wire_struct! {
    /// A report to a mediator.
    pub(super) struct KeptReport {
        pub(super) request: RequestId,
        /// The provider reported.
        pub(super) signer: VerifyingKey,
        pub(super) offer: RecordId,
        pub(super) mediator: MediatorId,
        pub(super) reason: ReportReason,
        /// The encoded report; empty once it is written.
        pub(super) plain: Blob,
        /// Sealed to the mediator, once its keys are known.
        pub(super) letter: Option<Letter>,
        pub(super) written: bool,
    }
}

impl BookingStatus {
    /// Whether a booking is under way or confirmed, so that another must wait.
    #[must_use]
    pub fn stands(self) -> bool {
        matches!(self, Self::Sending | Self::Sent | Self::Confirmed)
    }
}

impl Channel {
    /// Whether a letter can be written and answered, and the booking cancelled after it, by either side.
    pub(super) fn has_room(&self) -> bool {
        let answered = self.seen.count().saturating_add(1);
        self.out.has_room(2) && self.to_user.slots.contains(answered)
    }
}

impl Asked {
    /// Whether another booking must wait.
    pub(super) fn busy(&self) -> bool {
        self.booking.as_ref().is_some_and(|b| b.status.stands())
    }

    /// Whether anything is still expected in the channel of a ticket: an open offer, a booking, or an
    /// offer that was asked for.
    pub(super) fn listens(&self, ticket: &TicketId, channel: &Channel, now: Time) -> bool {
        let booked = self
            .booking
            .as_ref()
            .is_some_and(|b| b.ticket == *ticket && b.status != BookingStatus::Withdrawn);
        booked
            || channel.asks.is_some()
            || channel.owed
            || self
                .offers
                .values()
                .any(|o| o.offer.ticket == *ticket && now <= o.offer.expires)
    }

    /// A booking's status changes.
    pub(super) fn becomes(&mut self, status: BookingStatus, now: Time) {
        if let Some(booking) = &mut self.booking {
            booking.status = status;
            booking.since = now;
        }
    }
}
