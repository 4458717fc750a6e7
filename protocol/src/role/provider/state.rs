//! What a provider's app must not forget.

use super::kept_deal::Deal;
use crate::booking::OfferSlot;
use crate::bounded::{List, Text};
use crate::federation::Federation;
use crate::id::{MailboxId, MediatorId, NodeId, RecordId, RegionId, RequestId, TicketId, TokenId};
use crate::mailbox::{Mailbox, Mark, MarkState, MarkValue};
use crate::mediation::{MAX_PROVIDER_REGIONS, Practice};
use crate::role::kept::{Blob, Secret, Seed, Table};
use crate::role::letterbox::Letter;
use crate::role::talk::Seen;
use crate::time::{Seconds, Time};
use crate::token::UserData;
use crate::{wire_code, wire_enum, wire_struct};

pub(super) const NAME: &str = "lapwing/v1/role-provider";
pub(super) const VERSION: u32 = 2;

wire_struct! {
    /// What an offer holds.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OfferPolicy {
        /// How many slots at most, one to eight.
        pub slots: u8,
        /// How long it may be accepted, at most.
        pub life: Seconds,
        /// How many users' open offers may hold one slot at once, one to eight. A fixed rate: who books
        /// first has the slot, the others are told and offered another.
        pub per_slot: u8,
    }
}

impl Default for OfferPolicy {
    /// Three slots, twelve hours, two users to a slot.
    fn default() -> Self {
        OfferPolicy {
            slots: 3,
            life: Seconds::hours(12),
            per_slot: 2,
        }
    }
}

/// Names a slot of a provider, on its own devices only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub(super) u64);

impl crate::codec::Wire for SlotId {
    fn encode(&self, out: &mut crate::codec::Encoder) {
        self.0.encode(out);
    }

    fn decode(d: &mut crate::codec::Decoder<'_>) -> Result<Self, crate::codec::DecodeError> {
        u64::decode(d).map(SlotId)
    }
}

wire_struct! {
    /// All of it.
    pub(super) struct State {
        pub(super) federation: Federation,
        pub(super) node: NodeId,
        pub(super) signing: Seed,
        pub(super) sealing: Secret,
        pub(super) practice: Practice,
        pub(super) evidence: Text<400>,
        pub(super) policy: OfferPolicy,
        pub(super) applied: Option<Applied>,
        pub(super) answers: Table<MailboxId, AnswerBox>,
        pub(super) certificate: Option<Certified>,
        pub(super) secrets: Table<RegionId, Table<u32, Secret>>,
        pub(super) slots: Table<SlotId, Slot>,
        pub(super) next_slot: u64,
        pub(super) deals: Table<TicketId, Deal>,
        /// Requests that no slot fits, until when they need not be looked at.
        pub(super) skipped: Table<RequestId, Skipped>,
        pub(super) book: Table<RecordId, BookEntry>,
    }
}

wire_struct! {
    /// An application under way.
    pub(super) struct Applied {
        pub(super) mediator: MediatorId,
        pub(super) regions: List<RegionId, MAX_PROVIDER_REGIONS>,
        /// The answer's mailbox, once the application is made.
        pub(super) answer: Option<MailboxId>,
        /// The sealed application and where it goes.
        pub(super) letter: Option<Letter>,
        /// The mediator's mailbox has it.
        pub(super) written: bool,
    }
}

wire_struct! {
    /// Where a mediator answers.
    pub(super) struct AnswerBox {
        pub(super) mediator: MediatorId,
        pub(super) mailbox: Mailbox,
        pub(super) read: Seed,
        pub(super) seen: Seen,
        /// A read of it succeeded: the mediator opened it.
        pub(super) opened: bool,
    }
}

wire_struct! {
    /// The certificate.
    pub(super) struct Certified {
        pub(super) bytes: Blob,
        pub(super) id: RecordId,
        pub(super) mediator: MediatorId,
        pub(super) serial: u64,
        pub(super) regions: List<RegionId, MAX_PROVIDER_REGIONS>,
        pub(super) issued: Time,
        pub(super) expires: Time,
        /// Another was applied for, since this one nears its end.
        pub(super) renewing: bool,
    }
}

wire_enum! {
    /// What a slot is used for.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) enum SlotUse {
        /// Nothing, or open offers.
        1 => Free,
        /// The booking of a ticket, from the moment it was found good.
        2 => Booked(TicketId),
        /// Nothing any more.
        3 => Removed,
        /// Another device of the practice took it, for the booking that its mark names.
        4 => Elsewhere([u8; 16]),
    }
}

wire_struct! {
    /// A slot with its mark.
    pub(super) struct Slot {
        pub(super) start: Time,
        pub(super) minutes: u16,
        pub(super) what: Text<80>,
        pub(super) key: Seed,
        pub(super) mark: Mark,
        pub(super) opened: bool,
        /// The version that holders have; zero for none.
        pub(super) version: u64,
        /// What the mark shall say, and in which version.
        pub(super) want: MarkValue,
        pub(super) want_version: u64,
        /// The booking by which it shall be taken.
        pub(super) want_by: [u8; 16],
        /// The booking by which it was taken before.
        pub(super) was_by: [u8; 16],
        pub(super) used: SlotUse,
    }
}

impl Slot {
    /// Lets the mark say something else.
    pub(super) fn set(&mut self, value: MarkValue, by: [u8; 16]) {
        if (self.want, self.want_by) != (value, by) {
            self.want = value;
            self.was_by = self.want_by;
            self.want_by = by;
            self.want_version = self.want_version.max(self.version).saturating_add(1);
        }
    }

    /// Takes over what its mark says already.
    pub(super) fn adopt(&mut self, state: &MarkState) {
        (self.want, self.want_by) = (state.value, state.by);
        self.version = self.version.max(state.version);
        self.want_version = self.version;
    }

    /// Wants a version above one that holders have.
    pub(super) fn above(&mut self, version: u64) {
        self.version = self.version.max(version);
        self.want_version = self.want_version.max(self.version.saturating_add(1));
    }

    /// Whether it can be put into an offer, as far as other offers leave room.
    pub(super) fn offerable(&self, now: Time) -> bool {
        self.opened
            && self.version > 0
            && self.want == MarkValue::Open
            && self.used == SlotUse::Free
            && self.start > now
    }

    pub(super) fn to_offer(&self) -> OfferSlot {
        OfferSlot {
            start: self.start,
            minutes: self.minutes,
            what: self.what.clone(),
            mark: self.mark.clone(),
        }
    }
}

wire_struct! {
    /// A request that is passed over for a while.
    pub(super) struct Skipped {
        pub(super) region: RegionId,
        pub(super) until: Time,
    }
}

wire_code! {
    /// Whether a booking stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum BookState {
        /// It stands.
        1 => Confirmed,
        /// The user cancelled it.
        2 => Cancelled,
        /// The provider cancelled it.
        3 => CancelledByProvider,
    }
}

wire_struct! {
    /// One line of the provider's book.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct BookEntry {
        /// The slot.
        pub slot: SlotId,
        /// When it starts.
        pub start: Time,
        /// How long it takes, in minutes.
        pub minutes: u16,
        /// What was booked.
        pub what: Text<80>,
        /// Who booked it.
        pub data: UserData,
        /// The user's token.
        pub token: TokenId,
        /// Whether it stands.
        pub state: BookState,
    }
}
