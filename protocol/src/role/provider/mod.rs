//! A provider: applies to a mediator, keeps slots, claims requests, makes offers, confirms bookings.
//!
//! Once certified it works by itself: whenever slots are free it claims as many requests as it can
//! serve, offers, and takes the bookings that come. The book is [`Provider::bookings`].

mod apply;
mod changing;
mod deal;
mod declined;
mod ending;
mod event;
mod held;
mod kept_deal;
mod letters;
mod marks;
mod more;
mod plan;
mod readable;
mod round;
mod run;
mod slots;
mod standing;
mod state;
mod taking;

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRng;

pub use ending::CancelError;
pub use event::ProviderEvent;
pub use slots::{MAX_SERIES, MAX_SLOTS, SlotError, SlotLine, SlotUsage};
pub use state::{BookEntry, BookState, OfferPolicy, SlotId};

use self::round::Rounds;
use self::state::State;
use super::Pace;
use super::desk::{Desk, Reads};
use super::kept::{Secret, Seed, Table};
use crate::booking::ToUser;
use crate::bounded::Text;
use crate::id::{MailboxId, NodeId, RecordId, RegionId, TicketId};
use crate::key::VerifyingKey;
use crate::mediation::Practice;
use crate::problem::Problem;
use crate::seal::Purpose;
use crate::time::Time;
use crate::trust::TrustView;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Apply,
    Answers(MailboxId),
    OpenMarks,
    SetMark(SlotId),
    Reread(SlotId),
    Challenge(RegionId),
    Claim(RegionId),
    Channel(TicketId),
    Offer(TicketId),
    Read(TicketId),
    Mark(TicketId),
    Lock(TicketId),
    Letter(TicketId),
    Release(TicketId),
}

/// A provider's state machine.
pub struct Provider {
    state: State,
    view: TrustView,
    desk: Desk<Task>,
    reads: Reads,
    rounds: Rounds,
    pace: Pace,
    automatic: bool,
    /// Slots whose mark holders know more of, until it is read.
    behind: BTreeSet<SlotId>,
    /// Tickets whose letter waits until it is decided who has a slot.
    undecided: BTreeMap<TicketId, SlotId>,
    /// Claimed requests for which there was no slot.
    held: Vec<held::Held>,
    /// What was last told of the certificate.
    trouble: Option<Problem>,
    events: Vec<ProviderEvent>,
    /// The time it was last told.
    now: Time,
}

impl core::fmt::Debug for Provider {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Provider(redacted)")
    }
}

impl Provider {
    /// A provider with fresh keys, in the federation that `view` pins, talking to `node`. `evidence` is
    /// for the mediator alone.
    pub fn create<R: CryptoRng + ?Sized>(
        practice: Practice,
        evidence: Text<400>,
        view: TrustView,
        node: NodeId,
        rng: &mut R,
    ) -> Self {
        let state = State {
            federation: view.federation().clone(),
            node,
            signing: Seed::generate(rng),
            sealing: Secret::generate(rng),
            practice,
            evidence,
            policy: OfferPolicy::default(),
            applied: None,
            answers: Table::default(),
            certificate: None,
            secrets: Table::default(),
            slots: Table::default(),
            next_slot: 0,
            deals: Table::default(),
            skipped: Table::default(),
            book: Table::default(),
        };
        Self::with(state, view)
    }

    fn with(state: State, view: TrustView) -> Self {
        Provider {
            state,
            view,
            desk: Desk::new(),
            reads: Reads::default(),
            rounds: Rounds::new(),
            pace: Pace::default(),
            automatic: true,
            behind: BTreeSet::new(),
            undecided: BTreeMap::new(),
            held: Vec::new(),
            trouble: None,
            events: Vec::new(),
            now: Time::ZERO,
        }
    }

    /// The key that signs offers; names the provider in an application.
    #[must_use]
    pub fn key(&self) -> VerifyingKey {
        self.state.signing.verifying_key()
    }

    /// The certificate's serial and expiry, if there is one.
    #[must_use]
    pub fn certificate(&self) -> Option<(u64, Time)> {
        self.state
            .certificate
            .as_ref()
            .map(|c| (c.serial, c.expires))
    }

    /// The certificate's record id, if there is one.
    #[must_use]
    pub fn certificate_id(&self) -> Option<RecordId> {
        self.state.certificate.as_ref().map(|c| c.id)
    }

    /// Whether rounds begin by themselves (they do at first), or by [`Provider::offer_round`] alone.
    pub fn set_automatic(&mut self, automatic: bool) {
        self.automatic = automatic;
    }

    /// What offers hold.
    #[must_use]
    pub fn policy(&self) -> OfferPolicy {
        self.state.policy
    }

    /// What offers hold from now on.
    pub fn set_policy(&mut self, policy: OfferPolicy) {
        self.state.policy = policy;
    }

    /// The book: every booking that stands or was cancelled, by record id.
    #[must_use]
    pub fn bookings(&self) -> Vec<(RecordId, BookEntry)> {
        self.state
            .book
            .iter()
            .map(|(id, entry)| (*id, entry.clone()))
            .collect()
    }

    /// How many offers are open.
    #[must_use]
    pub fn open_offers(&self) -> usize {
        self.state
            .deals
            .values()
            .filter(|d| d.has_open(self.now))
            .count()
    }

    /// Writes a message to the user of a ticket; false where there is no channel, or no room in it but for
    /// an answer and a cancellation.
    pub fn message<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        text: Text<1500>,
        rng: &mut R,
    ) -> bool {
        let deal = self.state.deals.get(ticket);
        deal.is_some_and(|d| d.has_room(3))
            && self.push_letter(ticket, &ToUser::Message(text), Purpose::Message, rng)
    }
}
