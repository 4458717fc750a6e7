//! What a provider must not forget of a ticket: the request, the channel, the offers, the booking.

use std::collections::BTreeSet;

use super::state::SlotId;
use crate::booking::Rejection;
use crate::id::{LockId, MailboxId, Priority, RecordId, RegionId, RequestId, TokenHash, TokenId};
use crate::key::{SealingKey, VerifyingKey};
use crate::mailbox::{Mailbox, mark_by};
use crate::role::kept::{Blob, Many, Secret, Seed};
use crate::role::talk::{Outbox, Seen};
use crate::role::user::Wishes;
use crate::time::{Seconds, Time};
use crate::token::UserData;
use crate::{wire_enum, wire_struct};

/// How long a booking that was written before an offer's end may be underway, in seconds.
pub(super) const GRACE: Seconds = Seconds::new(120);

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
        /// The write of the first offer to the inbox, once made; empty when it was acknowledged.
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
