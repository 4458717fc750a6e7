//! What a user's app must not forget.

use crate::booking::{Offer, Rejection};
use crate::bounded::{List, Text};
use crate::federation::Federation;
use crate::id::{LockId, NodeId, RecordId, RegionId, RequestId, TicketId};
use crate::key::VerifyingKey;
use crate::mailbox::{Mailbox, MarkValue};
use crate::role::kept::{Blob, Many, Secret, Seed, Table};
use crate::role::talk::{Outbox, Seen};
use crate::time::{Day, Time};
use crate::token::UserData;
use crate::{wire_code, wire_struct};

pub(super) const NAME: &str = "lapwing/v1/role-user";
pub(super) const VERSION: u32 = 2;

/// Wishes: key (such as `vaccine`) and value.
pub type Wishes = List<(Text<40>, Text<120>), 8>;

wire_struct! {
    /// All of it.
    pub(super) struct State {
        pub(super) federation: Federation,
        pub(super) node: NodeId,
        pub(super) data: UserData,
        pub(super) asked: Option<Asked>,
    }
}

wire_struct! {
    /// One request, from the draw of its token to the end.
    pub(super) struct Asked {
        pub(super) region: RegionId,
        pub(super) wishes: Wishes,
        pub(super) draw: Draw,
        pub(super) token: Option<Token>,
        pub(super) request: Option<Placed>,
        pub(super) admitted: Option<Admitted>,
        pub(super) seen: Seen,
        pub(super) offers: Table<RecordId, KeptOffer>,
        pub(super) channels: Table<TicketId, Channel>,
        /// How often an offer was accepted.
        pub(super) attempts: u32,
        pub(super) booking: Option<KeptBooking>,
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
    /// What is known of one mark.
    #[derive(Clone, Copy)]
    pub(super) struct MarkSeen {
        pub(super) version: u64,
        pub(super) value: MarkValue,
    }
}

wire_struct! {
    /// An offer that passed every check when it came.
    pub(super) struct KeptOffer {
        pub(super) offer: Offer,
        /// The provider's signing key, by the certificate in the offer.
        pub(super) signer: VerifyingKey,
        /// One a slot.
        pub(super) marks: Many<Option<MarkSeen>>,
    }
}

wire_struct! {
    /// The two mailboxes of one provider's ticket.
    pub(super) struct Channel {
        pub(super) out: Outbox,
        pub(super) to_user: Mailbox,
        pub(super) signer: VerifyingKey,
        pub(super) seen: Seen,
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
    }
}

wire_struct! {
    /// The booking under way, or the last one.
    pub(super) struct KeptBooking {
        pub(super) id: RecordId,
        pub(super) offer: RecordId,
        pub(super) ticket: TicketId,
        pub(super) slot: u8,
        pub(super) start: Time,
        pub(super) lock: LockId,
        pub(super) status: BookingStatus,
        pub(super) reason: Option<Rejection>,
        /// The COSE release, once cancelled and until a node has it.
        pub(super) release: Option<Blob>,
    }
}

impl Asked {
    /// Whether another booking must wait.
    pub(super) fn busy(&self) -> bool {
        self.booking.as_ref().is_some_and(|b| {
            matches!(
                b.status,
                BookingStatus::Sending | BookingStatus::Sent | BookingStatus::Confirmed
            )
        })
    }

    /// Whether anything is still expected in the channel of a ticket: an open offer, or a booking.
    pub(super) fn listens(&self, ticket: &TicketId, now: Time) -> bool {
        let booked = self
            .booking
            .as_ref()
            .is_some_and(|b| b.ticket == *ticket && b.status != BookingStatus::Withdrawn);
        booked
            || self
                .offers
                .values()
                .any(|o| o.offer.ticket == *ticket && now <= o.offer.expires)
    }
}
