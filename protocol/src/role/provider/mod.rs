//! A provider: applies to a mediator, keeps slots, claims requests, makes offers, confirms bookings.
//!
//! Once certified it works by itself: whenever slots are free it claims as many requests as it can
//! serve, offers, and takes the bookings that come. The book is [`Provider::bookings`].

mod apply;
mod book;
mod deal;
mod round;
mod slots;
mod state;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub use slots::{SlotError, SlotLine, SlotUsage};
pub use state::{BookEntry, BookState, OfferPolicy, SlotId};

use self::round::Rounds;
use self::state::{NAME, State, Step, VERSION};
use super::desk::{Desk, Reads};
use super::kept::{self, Secret, Seed, Table};
use super::talk::{next_page, read_call, read_proof, transient};
use super::{CallId, Failure, Outcome, Pace, RestoreError, Role};
use crate::booking::{Rejection, ToUser};
use crate::bounded::Text;
use crate::client::{Answer, Call};
use crate::id::{MailboxId, NodeId, RecordId, RegionId, TicketId};
use crate::key::{SigningKey, VerifyingKey};
use crate::mailbox::Mailbox;
use crate::mediation::Practice;
use crate::problem::Problem;
use crate::seal::Purpose;
use crate::time::{Seconds, Time};
use crate::token::UserData;
use crate::trust::TrustView;

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
    /// A booking was turned down.
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
    /// A message from a user.
    Message {
        /// The ticket.
        ticket: TicketId,
        /// The text.
        text: Text<1500>,
    },
    /// The trust records should be fetched again.
    ViewStale(Problem),
    /// A node refused a call for a reason that does not pass by itself.
    Refused(Problem),
    /// A node's answer was not what it should be: best to use another.
    BadAnswer(Problem),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Apply,
    Answers(MailboxId),
    OpenMarks,
    SetMark(SlotId),
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
            .filter(|d| d.offers.iter().any(|o| o.open(self.now)))
            .count()
    }

    /// Writes a message to the user of a ticket; false where there is no channel, or no room in it.
    pub fn message<R: CryptoRng + ?Sized>(
        &mut self,
        ticket: &TicketId,
        text: Text<1500>,
        rng: &mut R,
    ) -> bool {
        self.push_letter(ticket, &ToUser::Message(text), Purpose::Message, rng)
    }

    fn tidy(&mut self, now: Time) {
        self.now = now;
        let slots = &self.state.slots;
        self.state.deals.retain(|_, d| {
            // A booked deal is kept while the appointment may still be cancelled.
            let past = d.booking.as_ref().is_some_and(|b| {
                slots
                    .get(&b.slot)
                    .is_none_or(|s| now > s.start.plus(Seconds::DAY))
            });
            !past && !d.over(now)
        });
        self.prune_slots(now);
        self.prune_skipped(now);
        self.state.answers.retain(|_, a| now < a.mailbox.expires());
        let state = &self.state;
        self.reads.retain(|id| {
            state.answers.contains_key(id)
                || state
                    .deals
                    .values()
                    .any(|d| d.channel.to_provider.id() == *id)
        });
    }

    fn wanted(&self, now: Time) -> Vec<(Task, Time)> {
        let mut wanted: Vec<(Task, Time)> = self.slot_tasks_if_certified(now);
        let now_wanted = |task| (task, Time::ZERO);
        if self
            .state
            .applied
            .as_ref()
            .is_some_and(|a| !a.written && self.apply_call().is_some())
        {
            wanted.push(now_wanted(Task::Apply));
        }
        wanted.extend(
            self.state
                .answers
                .keys()
                .map(|id| (Task::Answers(*id), self.reads.due(id))),
        );
        match self.round_task(now) {
            Some((region, true, due)) => wanted.push((Task::Claim(region), due)),
            Some((region, false, due)) => wanted.push((Task::Challenge(region), due)),
            None => {}
        }
        for (ticket, deal) in self.state.deals.iter() {
            if !deal.channel.opened {
                wanted.push(now_wanted(Task::Channel(*ticket)));
                continue;
            }
            if !deal.sent {
                wanted.push(now_wanted(Task::Offer(*ticket)));
            }
            if deal.listens(now) {
                wanted.push((
                    Task::Read(*ticket),
                    self.reads.due(&deal.channel.to_provider.id()),
                ));
            }
            match deal.booking.as_ref().map(|b| b.step) {
                Some(Step::Mark) => wanted.push(now_wanted(Task::Mark(*ticket))),
                Some(Step::Lock) => wanted.push(now_wanted(Task::Lock(*ticket))),
                Some(Step::Take | Step::Confirmed) | None => {}
            }
            if !deal.channel.out.waiting.is_empty() {
                wanted.push(now_wanted(Task::Letter(*ticket)));
            }
            if !deal.releases.is_empty() {
                wanted.push(now_wanted(Task::Release(*ticket)));
            }
        }
        wanted
    }

    fn slot_tasks_if_certified(&self, now: Time) -> Vec<(Task, Time)> {
        // Marks are paid for by the certificate; those that are open can always be set.
        let certified = self
            .state
            .certificate
            .as_ref()
            .is_some_and(|c| now <= c.expires);
        let tasks = self
            .slot_tasks()
            .into_iter()
            .filter(|t| certified || *t != Task::OpenMarks);
        tasks.map(|t| (t, Time::ZERO)).collect()
    }

    fn call(&mut self, task: &Task, now: Time, rng: &mut dyn CryptoRng) -> Option<Call> {
        match task {
            Task::Apply => self.apply_call(),
            Task::OpenMarks => self.marks_open_call(now),
            Task::SetMark(slot) => self.mark_call(*slot),
            Task::Challenge(region) => self.challenge_call(*region),
            Task::Claim(region) => self.claim_call(*region, now),
            Task::Channel(ticket) => self.channel_call(ticket, now),
            Task::Offer(ticket) => self.offer_call(ticket, now, rng),
            Task::Mark(ticket) => self.reread_call(ticket),
            Task::Lock(ticket) => self.lock_call(ticket),
            Task::Letter(ticket) => self.state.deals.get(ticket)?.channel.out.call(),
            Task::Release(ticket) => self.release_call(ticket),
            Task::Answers(_) | Task::Read(_) => {
                let (mailbox, key) = self.mailbox_of(task)?;
                let id = mailbox.id();
                let after = self.reads.after(&id);
                let call = read_call(&mailbox, &key, self.state.node, after, now);
                self.reads.begin(id);
                call
            }
        }
    }

    fn mailbox_of(&self, task: &Task) -> Option<(Mailbox, SigningKey)> {
        match task {
            Task::Answers(id) => self
                .state
                .answers
                .get(id)
                .map(|a| (a.mailbox.clone(), (*a.read).clone())),
            Task::Read(ticket) => {
                let channel = &self.state.deals.get(ticket)?.channel;
                Some((channel.to_provider.clone(), (*channel.read).clone()))
            }
            _ => None,
        }
    }

    fn take(
        &mut self,
        task: &Task,
        answer: Answer,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Problem> {
        match (task, answer) {
            (Task::Apply, Answer::Receipt(receipt)) => self.applied(&receipt),
            (Task::OpenMarks, Answer::Openings(openings)) => self.marks_opened(&openings, now),
            (Task::SetMark(slot), Answer::Receipt(receipt)) => {
                self.mark_set(*slot, &receipt, now, rng)
            }
            (Task::Challenge(region), Answer::Challenges(challenges)) => {
                self.take_challenges(*region, &challenges, now, rng);
                Ok(())
            }
            (Task::Claim(region), Answer::Claims(claims)) => {
                self.take_claims(*region, &claims, now, rng);
                Ok(())
            }
            (Task::Channel(ticket), Answer::Openings(openings)) => {
                self.channel_opened(ticket, &openings, now)
            }
            (Task::Offer(ticket), Answer::Receipt(receipt)) => self.offer_sent(ticket, &receipt),
            (Task::Mark(ticket), Answer::Marks(marks)) => self.reread(ticket, &marks, now, rng),
            (Task::Lock(ticket), Answer::Locks(locks)) => self.locked(ticket, &locks),
            (Task::Letter(ticket), Answer::Receipt(receipt)) => {
                self.letter_written(ticket, &receipt)
            }
            (Task::Release(ticket), Answer::Receipt(receipt)) => self.released(ticket, &receipt),
            (Task::Answers(_) | Task::Read(_), Answer::Page(page)) => {
                let Some((mailbox, _)) = self.mailbox_of(task) else {
                    return Ok(());
                };
                match task {
                    Task::Read(ticket) => self.take_page(ticket, &page, now, rng),
                    _ => self.take_answers(mailbox.id(), &page, now),
                }
                self.reads
                    .end(mailbox.id(), next_page(&page), now, self.pace.read);
                Ok(())
            }
            _ => Err(Problem::Malformed),
        }
    }

    fn fail(&mut self, task: &Task, failure: Failure, now: Time, rng: &mut dyn CryptoRng) {
        if let Some((mailbox, _)) = self.mailbox_of(task) {
            self.reads.touch(mailbox.id());
        }
        match (task, failure) {
            (Task::Apply, Failure::Refused(p)) => self.apply_refused(p, now, rng),
            (Task::SetMark(slot), Failure::Refused(p)) => self.mark_refused(*slot, p, now, rng),
            (Task::Challenge(region) | Task::Claim(region), Failure::Refused(p)) => {
                self.round_refused(*region, p, now)
            }
            (Task::Challenge(region), Failure::Unreachable) => self.end_round(*region, now),
            (Task::Offer(ticket), Failure::Refused(p)) => self.offer_refused(ticket, p, now, rng),
            (Task::Lock(ticket), Failure::Refused(p)) => self.lock_refused(ticket, p, now, rng),
            (Task::Letter(ticket), Failure::Refused(p)) => self.letter_refused(ticket, p, now, rng),
            (Task::Release(ticket), Failure::Refused(p)) => {
                self.release_refused(ticket, p, now, rng)
            }
            (_, Failure::Refused(p)) => {
                self.desk.failed(task, now, rng);
                if super::talk::stale(p) {
                    self.events.push(ProviderEvent::ViewStale(p));
                } else if !transient(p) && p != Problem::NotOpened {
                    self.events.push(ProviderEvent::Refused(p));
                }
            }
            (_, Failure::Unreachable) => {
                self.desk.failed(task, now, rng);
            }
        }
    }

    fn watched(&self) -> Vec<(Mailbox, SigningKey)> {
        let tasks = self.wanted(self.now);
        tasks
            .iter()
            .filter_map(|(t, _)| self.mailbox_of(t))
            .collect()
    }
}

impl Role for Provider {
    type Event = ProviderEvent;

    fn poll(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Vec<(CallId, Call)> {
        self.tidy(now);
        self.prepare_application(now, rng);
        let mut calls = Vec::new();
        for task in self.desk.due(self.wanted(now), now) {
            match self.call(&task, now, rng) {
                Some(call) => calls.push((self.desk.begin(task), call)),
                None => {
                    self.desk.failed(&task, now, rng);
                }
            }
        }
        calls
    }

    fn answer(
        &mut self,
        id: CallId,
        outcome: Outcome,
        now: Time,
        rng: &mut dyn CryptoRng,
    ) -> Vec<ProviderEvent> {
        self.now = now;
        if let Some(task) = self.desk.end(id) {
            match outcome {
                Ok(answer) => match self.take(&task, answer, now, rng) {
                    Ok(()) => self.desk.done(&task),
                    Err(problem) => {
                        self.events.push(ProviderEvent::BadAnswer(problem));
                        self.fail(&task, Failure::Unreachable, now, rng);
                    }
                },
                Err(failure) => self.fail(&task, failure, now, rng),
            }
        }
        self.events()
    }

    fn events(&mut self) -> Vec<ProviderEvent> {
        std::mem::take(&mut self.events)
    }

    fn wake(&self) -> Option<Time> {
        if self.working() {
            return Some(Time::ZERO);
        }
        self.desk.wake(self.wanted(self.now))
    }

    fn watching(&self) -> Vec<Mailbox> {
        self.watched()
            .into_iter()
            .map(|(mailbox, _)| mailbox)
            .collect()
    }

    fn watch_proofs(&self, now: Time) -> Vec<Vec<u8>> {
        self.watched()
            .iter()
            .map(|(mailbox, key)| read_proof(mailbox, key, self.state.node, now))
            .collect()
    }

    fn touched(&mut self, mailbox: MailboxId) {
        self.reads.touch(mailbox);
    }

    fn node(&self) -> NodeId {
        self.state.node
    }

    fn set_node(&mut self, node: NodeId) {
        self.state.node = node;
        self.desk.reset();
        self.reads.reset();
        self.rounds.values_mut().for_each(|r| r.asked = false);
    }

    fn view(&self) -> &TrustView {
        &self.view
    }

    fn view_mut(&mut self) -> &mut TrustView {
        &mut self.view
    }

    fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    fn save(&self) -> Zeroizing<Vec<u8>> {
        let deals = self.state.deals.len() * 24 * 1024;
        let small =
            (self.state.slots.len() + self.state.book.len() + self.state.skipped.len()) * 1024;
        kept::save(NAME, VERSION, &self.state, 128 * 1024 + deals + small)
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let state: State = kept::restore(NAME, VERSION, bytes)?;
        let view =
            TrustView::new(state.federation.clone()).map_err(|_| RestoreError::Federation)?;
        Ok(Self::with(state, view))
    }
}
