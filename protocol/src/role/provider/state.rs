//! What a provider's app must not forget.

use std::collections::BTreeSet;

use crate::booking::{OfferSlot, Rejection};
use crate::bounded::{List, Text};
use crate::federation::Federation;
use crate::id::{
    LockId, MailboxId, MediatorId, NodeId, Priority, RecordId, RegionId, RequestId, TicketId,
    TokenHash, TokenId,
};
use crate::key::{SealingKey, VerifyingKey};
use crate::mailbox::{Mailbox, Mark, MarkState, MarkValue, mark_by};
use crate::mediation::{MAX_PROVIDER_REGIONS, Practice};
use crate::role::kept::{Blob, Many, Secret, Seed, Table};
use crate::role::letterbox::Letter;
use crate::role::talk::{Outbox, Seen};
use crate::role::user::Wishes;
use crate::time::{Seconds, Time};
use crate::token::UserData;
use crate::{wire_code, wire_enum, wire_struct};

pub(super) const NAME: &str = "lapwing/v1/role-provider";
pub(super) const VERSION: u32 = 2;

/// How long a booking that was written before an offer's end may be underway, in seconds.
pub(super) const GRACE: Seconds = Seconds::new(120);

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
        pub(super) expires: Time,
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
    /// What came of one ticket: the request, the channel, the offers, the booking.
    pub(super) struct Deal {
        pub(super) region: RegionId,
        pub(super) request: RequestId,
        /// Its place in the queue: lottery epoch and P, smaller first.
        pub(super) rank: (u32, Priority),
        pub(super) expires: Time,
        pub(super) token: Blob,
        pub(super) token_id: TokenId,
        pub(super) token_key: VerifyingKey,
        pub(super) hash: TokenHash,
        pub(super) user: SealingKey,
        pub(super) wishes: Wishes,
        pub(super) inbox: Mailbox,
        pub(super) grants: Many<Blob>,
        pub(super) ticket_key: Seed,
        pub(super) lapses: Time,
        pub(super) channel: Channel,
        /// The slots that the first offer shall hold.
        pub(super) planned: Many<SlotId>,
        /// The write of the first offer to the inbox, once made.
        pub(super) first: Option<Blob>,
        /// It was written more than once: an earlier write may have arrived, its answer lost.
        pub(super) retried: bool,
        pub(super) sent: bool,
        pub(super) offers: Many<Made>,
        pub(super) booking: Option<Taking>,
        /// A change of the booking on its way.
        pub(super) change: Option<Moving>,
        /// The slot that a confirmed change left; freed when the user has been written to.
        pub(super) leaving: Option<SlotId>,
        /// How often the booking's mark was found set meanwhile.
        pub(super) clashes: u8,
        /// How many changes of the booking were confirmed.
        pub(super) changes: u8,
        /// How many times the user asked for other slots.
        pub(super) asks: u8,
        /// Since when the user is owed an offer, for want of a free slot.
        pub(super) owed: Option<Time>,
        /// When the user declined offers. Nothing is offered on this channel any more; letters that were
        /// under way are still answered.
        pub(super) declined: Option<Time>,
        /// The record ids of letters that were dealt with: a replay is not answered again.
        pub(super) answered: Many<RecordId>,
        /// Releases to hand to the holders.
        pub(super) releases: Many<Blob>,
    }
}

wire_struct! {
    /// The channel of a deal.
    pub(super) struct Channel {
        pub(super) to_provider: Mailbox,
        /// The id of `to_provider`.
        pub(super) id: MailboxId,
        pub(super) read: Seed,
        pub(super) out: Outbox,
        pub(super) write: Seed,
        pub(super) opened: bool,
        pub(super) seen: Seen,
    }
}

wire_struct! {
    /// An offer that was made.
    pub(super) struct Made {
        pub(super) id: RecordId,
        pub(super) sealing: Secret,
        pub(super) slots: Many<SlotId>,
        pub(super) expires: Time,
        /// It holds its slots no longer, and cannot be accepted; a booking may still be changed to one of
        /// them that is free.
        pub(super) closed: bool,
    }
}

impl Made {
    /// Whether it holds its slots and may be accepted.
    pub(super) fn open(&self, now: Time) -> bool {
        !self.closed && self.current(now)
    }

    /// Whether its time is not over.
    pub(super) fn current(&self, now: Time) -> bool {
        now <= self.expires.plus(GRACE)
    }
}

wire_enum! {
    /// The steps from a good booking to its confirmation.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) enum Step {
        /// The mark is read again.
        1 => Mark,
        /// The booking lock is taken.
        2 => Lock,
        /// The mark is set.
        3 => Take,
        /// It stands, and the confirmation is written.
        4 => Confirmed,
    }
}

wire_struct! {
    /// A good booking on its way.
    pub(super) struct Taking {
        /// The booking's record id.
        pub(super) id: RecordId,
        /// The latest confirmed change's record id, or the booking's.
        pub(super) latest: RecordId,
        /// Those of earlier changes.
        pub(super) before: Many<RecordId>,
        /// The booking lock is held.
        pub(super) locked: bool,
        pub(super) offer: RecordId,
        pub(super) index: u8,
        pub(super) slot: SlotId,
        pub(super) data: UserData,
        pub(super) accept: Blob,
        pub(super) lock: LockId,
        pub(super) step: Step,
    }
}

wire_struct! {
    /// A change on its way: as a booking, without a lock of its own.
    pub(super) struct Moving {
        /// The change's record id.
        pub(super) id: RecordId,
        pub(super) offer: RecordId,
        pub(super) index: u8,
        pub(super) slot: SlotId,
        pub(super) step: Step,
    }
}

/// The slot that a deal is taking for its user.
pub(super) struct Target {
    pub(super) slot: SlotId,
    /// What its mark shall name.
    pub(super) by: [u8; 16],
    pub(super) step: Step,
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

impl Deal {
    /// Whether the channel is still listened to.
    pub(super) fn listens(&self, now: Time) -> bool {
        self.channel.opened && (self.expects(now) || self.lingers(now))
    }

    /// Whether a booking is held, or may be made.
    fn expects(&self, now: Time) -> bool {
        self.booking.is_some() || self.owed.is_some() || self.has_open(now)
    }

    /// Whether letters may be under way that were written before the user declined: by another device of
    /// the same user, say.
    fn lingers(&self, now: Time) -> bool {
        self.declined.is_some_and(|at| now <= at.plus(GRACE))
    }

    pub(super) fn has_open(&self, now: Time) -> bool {
        self.offers.iter().any(|o| o.open(now))
    }

    /// Whether something may still come of it by itself, so that its request needs no other ticket.
    pub(super) fn live(&self, now: Time) -> bool {
        (self.channel.opened && self.expects(now)) || !self.sent
    }

    /// The slots that its open offers hold, or that its first one shall hold; each once.
    pub(super) fn held(&self, now: Time) -> BTreeSet<SlotId> {
        let planned = self.planned.iter().filter(|_| self.first.is_none());
        let offers = self.offers.iter().filter(|o| o.open(now));
        planned
            .chain(offers.flat_map(|o| o.slots.iter()))
            .copied()
            .collect()
    }

    /// The slot that is being taken now: a change's, else the booking's.
    pub(super) fn target(&self) -> Option<Target> {
        let booking = self.booking.as_ref()?;
        let target = match &self.change {
            Some(change) => Target {
                slot: change.slot,
                by: mark_by(&change.id),
                step: change.step,
            },
            None => Target {
                slot: booking.slot,
                by: mark_by(&booking.id),
                step: booking.step,
            },
        };
        (target.step != Step::Confirmed).then_some(target)
    }

    /// Goes on with [`Deal::target`].
    pub(super) fn set_step(&mut self, step: Step) {
        match (&mut self.change, &mut self.booking) {
            (Some(change), _) => change.step = step,
            (None, Some(booking)) => booking.step = step,
            (None, None) => {}
        }
    }

    /// Whether so many more letters fit into the channel to the user.
    pub(super) fn has_room(&self, letters: u32) -> bool {
        self.channel.out.has_room(letters)
    }

    /// Whether nothing can come of it any more.
    pub(super) fn over(&self, now: Time) -> bool {
        let unmade = self.first.is_none() && now > self.lapses;
        let made = self.first.is_some() && !self.has_open(now);
        let quiet = self.releases.is_empty()
            && self.channel.out.waiting.is_empty()
            && self.owed.is_none()
            && self.leaving.is_none()
            && !self.lingers(now);
        self.booking.is_none() && (unmade || (made && (quiet || now > self.expires)))
    }
}

/// Why a letter is turned down, with what the answer repeats.
#[derive(Clone, Copy)]
pub(super) struct TurnDown {
    /// The letter's record id.
    pub(super) booking: RecordId,
    pub(super) offer: RecordId,
    pub(super) index: u8,
    pub(super) start: Time,
    pub(super) reason: Rejection,
}
