//! A user: draws a token, places a request, checks the offers that come, books one slot, cancels.
//!
//! One request at a time. What a node withholds does not come; whatever comes is checked to the
//! federation's roots before a person sees it, and again before the person's data leaves.

mod book;
mod check;
mod draw;
mod inbox;
mod state;

use std::collections::BTreeMap;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub use book::{BookError, CancelError};
pub use check::{InvalidOffer, OfferContext, check_offer};
pub use state::{BookingStatus, Wishes};

use self::state::{Asked, NAME, State, VERSION};
use super::desk::{Desk, Reads};
use super::talk::{next_page, read_call, read_proof, transient};
use super::{CallId, Failure, Outcome, Pace, RestoreError, Role, kept};
use crate::booking::Rejection;
use crate::bounded::Text;
use crate::client::{Answer, Call};
use crate::id::{ItemId, MailboxId, NodeId, RecordId, RegionId, TicketId};
use crate::key::SigningKey;
use crate::mailbox::{Mailbox, MarkValue};
use crate::mediation::Practice;
use crate::problem::Problem;
use crate::time::Time;
use crate::token::UserData;
use crate::trust::TrustView;

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
    /// The token's issuer has been away for some tries: wait, or [`User::draw_anew`].
    IssuerAway,
    /// The token was no longer good, for this reason; a new one is being drawn.
    Redrawn(Problem),
    /// A good offer came.
    OfferReceived(OfferView),
    /// An offer came that is not shown.
    InvalidOffer(InvalidOffer),
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
    /// The offer's record id: names it to [`User::book`].
    pub id: RecordId,
    /// The practice, as the mediator verified it.
    pub practice: Practice,
    /// The slots.
    pub slots: Vec<SlotView>,
    /// Until when it may be accepted.
    pub expires: Time,
}

/// How far a user is.
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
    /// There is one already: [`User::abandon`] ends it.
    #[error("there is a request already")]
    Busy,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Token,
    Request,
    Inbox,
    Channel(TicketId),
    Marks,
    Write(TicketId),
    Release,
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
    /// Marks are to be read.
    refresh: bool,
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
            },
            view,
        )
    }

    fn with(state: State, view: TrustView) -> Self {
        User {
            state,
            view,
            desk: Desk::new(),
            reads: Reads::default(),
            pace: Pace::default(),
            events: Vec::new(),
            waiting: BTreeMap::new(),
            refresh: false,
            now: Time::ZERO,
        }
    }

    /// Asks for an appointment in a region. The rest goes by itself up to the offers.
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
    /// booking should be cancelled first.
    pub fn abandon(&mut self) {
        self.state.asked = None;
        self.waiting.clear();
        self.desk.reset();
        self.reads.reset();
    }

    /// How far it is.
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

    /// The good offers, by id, the expired ones among them.
    #[must_use]
    pub fn offers(&self) -> Vec<OfferView> {
        let ids = self.state.asked.iter().flat_map(|a| a.offers.keys());
        ids.filter_map(|id| self.offer(id)).collect()
    }

    /// One good offer.
    #[must_use]
    pub fn offer(&self, id: &RecordId) -> Option<OfferView> {
        let kept = self.state.asked.as_ref()?.offers.get(id)?;
        let slots = kept
            .offer
            .slots
            .iter()
            .zip(kept.marks.iter())
            .zip(0u8..)
            .map(|((slot, mark), index)| SlotView {
                index,
                start: slot.start,
                minutes: slot.minutes,
                what: slot.what.clone(),
                state: match mark.map(|m| m.value) {
                    None => SlotState::Unknown,
                    Some(MarkValue::Open) => SlotState::Open,
                    Some(MarkValue::Taken) => SlotState::Taken,
                },
            });
        Some(OfferView {
            id: *id,
            practice: kept.offer.practice.clone(),
            slots: slots.collect(),
            expires: kept.offer.expires,
        })
    }

    /// Reads the marks of all open offers at the next poll.
    pub fn refresh_marks(&mut self) {
        self.refresh = true;
    }

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

    fn wanted(&self, now: Time) -> Vec<(Task, Time)> {
        let mut wanted = Vec::new();
        let Some(asked) = &self.state.asked else {
            return wanted;
        };
        match (&asked.draw.proof, &asked.token, &asked.admitted) {
            (Some(_), None, _) => wanted.push((Task::Token, Time::ZERO)),
            (_, Some(_), None) => wanted.push((Task::Request, Time::ZERO)),
            _ => {}
        }
        if let (Some(placed), Some(_)) = (&asked.request, &asked.admitted) {
            wanted.push((Task::Inbox, self.reads.due(&placed.inbox.id())));
        }
        for (ticket, channel) in asked.channels.iter() {
            if !channel.out.waiting.is_empty() {
                wanted.push((Task::Write(*ticket), Time::ZERO));
            }
            if asked.listens(ticket, now) {
                wanted.push((
                    Task::Channel(*ticket),
                    self.reads.due(&channel.to_user.id()),
                ));
            }
        }
        if self.refresh && !asked.marks(now).is_empty() {
            wanted.push((Task::Marks, Time::ZERO));
        }
        if asked.releases() {
            wanted.push((Task::Release, Time::ZERO));
        }
        wanted
    }

    fn call(&mut self, task: &Task, now: Time, rng: &mut dyn CryptoRng) -> Option<Call> {
        match task {
            Task::Token => self.token_call(),
            Task::Request => self.request_call(now, rng),
            Task::Marks => {
                self.refresh = false;
                self.marks_call(now)
            }
            Task::Write(ticket) => self.write_call(*ticket, now),
            Task::Release => self.release_call(),
            Task::Inbox | Task::Channel(_) => {
                let (mailbox, key) = self.mailbox_of(task)?;
                let id = mailbox.id();
                let call = read_call(&mailbox, &key, self.state.node, self.reads.after(&id), now);
                self.reads.begin(id);
                call
            }
        }
    }

    fn mailbox_of(&self, task: &Task) -> Option<(Mailbox, SigningKey)> {
        let asked = self.state.asked.as_ref()?;
        match task {
            Task::Inbox => asked
                .request
                .as_ref()
                .map(|r| (r.inbox.clone(), (*r.read).clone())),
            Task::Channel(ticket) => asked
                .channels
                .get(ticket)
                .map(|c| (c.to_user.clone(), (*asked.draw.key).clone())),
            _ => None,
        }
    }

    fn take(&mut self, task: &Task, answer: Answer, now: Time) -> Result<(), Problem> {
        match (task, answer) {
            (Task::Token, Answer::Token(bytes)) => self.take_token(&bytes, now),
            (Task::Request, Answer::Admission(bytes)) => self.take_admission(&bytes),
            (Task::Marks, Answer::Marks(marks)) => {
                self.take_marks(&marks);
                Ok(())
            }
            (Task::Write(ticket), Answer::Receipt(receipt)) => self.written(*ticket, &receipt),
            (Task::Release, Answer::Receipt(receipt)) => self.released(&receipt),
            (Task::Inbox | Task::Channel(_), Answer::Page(page)) => {
                let Some((mailbox, _)) = self.mailbox_of(task) else {
                    return Ok(());
                };
                match task {
                    Task::Channel(ticket) => self.take_channel(*ticket, &page, now),
                    _ => self.take_inbox(&page, now),
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
        if *task == Task::Marks {
            self.refresh = true;
        }
        match (task, failure) {
            (Task::Token, Failure::Refused(p)) => self.token_refused(p, now, rng),
            (Task::Request, Failure::Refused(p)) => self.request_refused(p, now, rng),
            (Task::Write(ticket), Failure::Refused(p)) => self.write_refused(*ticket, p, now, rng),
            (_, Failure::Refused(p)) => {
                self.desk.failed(task, now, rng);
                if !transient(p) && p != Problem::NotOpened {
                    self.events.push(UserEvent::Refused(p));
                }
            }
            (_, Failure::Unreachable) => {
                self.desk.failed(task, now, rng);
            }
        }
    }
}

impl Role for User {
    type Event = UserEvent;

    fn poll(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Vec<(CallId, Call)> {
        self.now = now;
        self.expire(now);
        self.work();
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
    ) -> Vec<UserEvent> {
        self.now = now;
        if let Some(task) = self.desk.end(id) {
            match outcome {
                Ok(answer) => match self.take(&task, answer, now) {
                    Ok(()) => self.desk.done(&task),
                    Err(problem) => {
                        self.events.push(UserEvent::BadAnswer(problem));
                        self.fail(&task, Failure::Unreachable, now, rng);
                    }
                },
                Err(failure) => self.fail(&task, failure, now, rng),
            }
        }
        self.events()
    }

    fn events(&mut self) -> Vec<UserEvent> {
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
        let offers = self
            .state
            .asked
            .as_ref()
            .map_or(0, |a| a.offers.len() + a.channels.len());
        kept::save(NAME, VERSION, &self.state, 64 * 1024 + offers * 32 * 1024)
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let state: State = kept::restore(NAME, VERSION, bytes)?;
        let view =
            TrustView::new(state.federation.clone()).map_err(|_| RestoreError::Federation)?;
        let mut user = Self::with(state, view);
        user.refresh = true;
        Ok(user)
    }
}

impl User {
    fn watched(&self) -> Vec<(Mailbox, SigningKey)> {
        let tasks = self.wanted(self.now);
        tasks
            .iter()
            .filter_map(|(t, _)| self.mailbox_of(t))
            .collect()
    }
}
