//! A mediator: publishes regions and lists, verifies providers, revokes. And its [`Refresher`].
//!
//! The root key signs certificates of the working keys alone; keep the stored state of the machine
//! that holds it offline, and give a [`Refresher`] the status key.

mod certify;
mod inbox;
mod press;
mod publish;
mod refresher;
mod state;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub use publish::{PublishError, RegionPlan};
pub use refresher::Refresher;

use self::state::{NAME, State, VERSION};
use super::desk::{Desk, Reads};
use super::kept::{self, Many, Secret, Seed, Table};
use super::talk::{Seen, read_call, read_proof, stale, transient};
use super::{CallId, Failure, Outcome, Pace, RestoreError, Role};
use crate::booking::Application;
use crate::bounded::Text;
use crate::client::{Answer, Call};
use crate::id::{MailboxId, MediatorId, NodeId, RecordId, RegionId};
use crate::key::SigningKey;
use crate::mailbox::Mailbox;
use crate::problem::Problem;
use crate::time::{Seconds, Time};
use crate::trust::{MAX_STATUS_LIFE, TrustView};

/// What a mediator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediatorEvent {
    /// Everything that waited is published.
    Published,
    /// A record was refused for good.
    PublishRefused(Problem),
    /// The inbox is open: providers can apply.
    InboxOpen,
    /// A provider applied.
    Applied {
        /// The application's record id.
        id: RecordId,
        /// What it says.
        application: Box<Application>,
    },
    /// A provider's answer mailbox takes nothing more: it must apply anew to get what was to be sent.
    Unanswerable {
        /// Its serial.
        serial: u64,
    },
    /// The status was not dated anew.
    NotRefreshed(PublishError),
    /// The trust records should be fetched again.
    ViewStale(Problem),
    /// A node refused a call for a reason that does not pass by itself.
    Refused(Problem),
    /// A node's answer was not what it should be: best to use another.
    BadAnswer(Problem),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Stands for the re-dating of the status, which is no call.
    Refresh,
    Publish,
    Open,
    Inbox,
    Answer(MailboxId),
    Delete,
}

/// A mediator's state machine.
pub struct Mediator {
    state: State,
    view: TrustView,
    desk: Desk<Task>,
    reads: Reads,
    pace: Pace,
    events: Vec<MediatorEvent>,
    /// Providers left (expired, or revoked by the status key) since the lists were last made.
    absorbed: bool,
}

impl core::fmt::Debug for Mediator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Mediator({})", self.id())
    }
}

impl Mediator {
    /// A mediator with fresh keys, in the federation that `view` pins, talking to `node`.
    pub fn create<R: CryptoRng + ?Sized>(
        name: Text<80>,
        view: TrustView,
        node: NodeId,
        rng: &mut R,
    ) -> Self {
        let state = State {
            federation: view.federation().clone(),
            node,
            name,
            root: Seed::generate(rng),
            signing: Seed::generate(rng),
            sealing: Secret::generate(rng),
            status: Seed::generate(rng),
            inbox_read: Seed::generate(rng),
            registrations: 0,
            certificate: None,
            regions: Table::default(),
            sequence: 0,
            lists: None,
            status_life: Seconds::DAY,
            next_serial: 1,
            providers: Table::default(),
            revoked: Table::default(),
            outgoing: Many::default(),
            applications: Table::default(),
            answers: Table::default(),
            deletions: Many::default(),
            seen: Seen::new(),
        };
        Self::with(state, view)
    }

    fn with(state: State, view: TrustView) -> Self {
        Mediator {
            state,
            view,
            desk: Desk::new(),
            reads: Reads::default(),
            pace: Pace::default(),
            events: Vec::new(),
            absorbed: false,
        }
    }

    /// The mediator's id: its root key.
    #[must_use]
    pub fn id(&self) -> MediatorId {
        MediatorId::from_bytes(*self.state.root.verifying_key().as_bytes())
    }

    /// Its regions, by id, with their names.
    pub fn regions(&self) -> impl Iterator<Item = (RegionId, &Text<120>)> {
        self.state.regions.iter().map(|(id, r)| (*id, &r.name))
    }

    /// The key for a [`Refresher`].
    #[must_use]
    pub fn status_key(&self) -> SigningKey {
        (*self.state.status).clone()
    }

    /// How long each status lasts, a week at most; it is dated anew after half of it.
    pub fn set_status_life(&mut self, life: Seconds) {
        self.state.status_life = life.min(Seconds::new(MAX_STATUS_LIFE));
    }

    /// Whether everything is published, and the inbox open.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.state.outgoing.is_empty() && self.state.certificate.as_ref().is_some_and(|c| c.opened)
    }

    fn wanted(&self) -> Vec<(Task, Time)> {
        let mut wanted = Vec::new();
        if !self.state.outgoing.is_empty() {
            // What follows rests on what is published: one thing after the other.
            wanted.push((Task::Publish, Time::ZERO));
            return wanted;
        }
        if let Some(due) = self.refresh_due() {
            wanted.push((Task::Refresh, due));
        }
        let Some(certificate) = &self.state.certificate else {
            return wanted;
        };
        if !self.unopened().is_empty() {
            wanted.push((Task::Open, Time::ZERO));
        }
        if certificate.opened {
            wanted.push((Task::Inbox, self.reads.due(&certificate.inbox.id())));
        }
        wanted.extend(
            self.answering()
                .into_iter()
                .map(|id| (Task::Answer(id), Time::ZERO)),
        );
        if !self.state.deletions.is_empty() {
            wanted.push((Task::Delete, Time::ZERO));
        }
        wanted
    }

    fn call(&mut self, task: &Task, now: Time) -> Option<Call> {
        match task {
            Task::Refresh => None,
            Task::Publish => self.publish_call(),
            Task::Open => self.open_call(now),
            Task::Answer(id) => self.state.answers.get(id)?.out.call(),
            Task::Delete => self.delete_call(),
            Task::Inbox => {
                let (mailbox, key) = self.inbox()?;
                let id = mailbox.id();
                let call = read_call(&mailbox, &key, self.state.node, self.reads.after(&id), now);
                self.reads.begin(id);
                call
            }
        }
    }

    fn inbox(&self) -> Option<(Mailbox, SigningKey)> {
        let certificate = self.state.certificate.as_ref().filter(|c| c.opened)?;
        Some((certificate.inbox.clone(), (*self.state.inbox_read).clone()))
    }

    fn take(&mut self, task: &Task, answer: Answer, now: Time) -> Result<(), Problem> {
        match (task, answer) {
            (Task::Publish, Answer::Published(id)) => self.published(id),
            (Task::Open, Answer::Openings(openings)) => self.opened(&openings, now),
            (Task::Answer(id), Answer::Receipt(receipt)) => self.answered(id, &receipt),
            (Task::Delete, Answer::Receipt(receipt)) => self.deleted(&receipt),
            (Task::Inbox, Answer::Page(page)) => {
                let more = self.take_inbox(&page, now);
                if let Some((mailbox, _)) = self.inbox() {
                    self.reads.end(mailbox.id(), more, now, self.pace.read);
                }
                Ok(())
            }
            _ => Err(Problem::Malformed),
        }
    }

    fn fail(&mut self, task: &Task, failure: Failure, now: Time, rng: &mut dyn CryptoRng) {
        if let (Task::Inbox, Some((mailbox, _))) = (task, self.inbox()) {
            self.reads.touch(mailbox.id());
        }
        match (task, failure) {
            (Task::Publish, Failure::Refused(p)) => self.publish_refused(p, now, rng),
            (Task::Open, Failure::Refused(p)) => self.open_refused(p, now, rng),
            (Task::Answer(id), Failure::Refused(p)) => self.answer_refused(id, p, now, rng),
            (Task::Delete, Failure::Refused(p)) => self.delete_refused(p, now, rng),
            (_, Failure::Refused(p)) => {
                self.desk.failed(task, now, rng);
                if stale(p) {
                    self.events.push(MediatorEvent::ViewStale(p));
                } else if !transient(p) && p != Problem::NotOpened {
                    self.events.push(MediatorEvent::Refused(p));
                }
            }
            (_, Failure::Unreachable) => {
                self.desk.failed(task, now, rng);
            }
        }
    }
}

impl Role for Mediator {
    type Event = MediatorEvent;

    fn poll(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Vec<(CallId, Call)> {
        self.tidy_applications();
        let mut due = self.desk.due(self.wanted(), now);
        if due.contains(&Task::Refresh) {
            if let Err(error) = self.refresh_status(now) {
                self.desk.failed(&Task::Refresh, now, rng);
                self.events.push(MediatorEvent::NotRefreshed(error));
            }
            due = self.desk.due(self.wanted(), now);
        }
        let mut calls = Vec::new();
        for task in due.into_iter().filter(|t| *t != Task::Refresh) {
            match self.call(&task, now) {
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
    ) -> Vec<MediatorEvent> {
        if let Some(task) = self.desk.end(id) {
            match outcome {
                Ok(answer) => match self.take(&task, answer, now) {
                    Ok(()) => self.desk.done(&task),
                    Err(problem) => {
                        self.events.push(MediatorEvent::BadAnswer(problem));
                        self.fail(&task, Failure::Unreachable, now, rng);
                    }
                },
                Err(failure) => self.fail(&task, failure, now, rng),
            }
        }
        self.events()
    }

    fn events(&mut self) -> Vec<MediatorEvent> {
        std::mem::take(&mut self.events)
    }

    fn wake(&self) -> Option<Time> {
        self.desk.wake(self.wanted())
    }

    fn watching(&self) -> Vec<Mailbox> {
        self.inbox()
            .map(|(mailbox, _)| mailbox)
            .into_iter()
            .collect()
    }

    fn watch_proofs(&self, now: Time) -> Vec<Vec<u8>> {
        self.inbox()
            .map(|(mailbox, key)| read_proof(&mailbox, &key, self.state.node, now))
            .into_iter()
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
        let records: usize = self.state.outgoing.iter().map(|b| b.len() + 16).sum();
        let providers = (self.state.providers.len() + self.state.applications.len()) * 16 * 1024;
        let answers: usize = self
            .state
            .answers
            .values()
            .map(|a| 1024 + a.out.waiting.len() * 20 * 1024)
            .sum();
        let regions = self.state.regions.len() * 32 * 1024;
        kept::save(
            NAME,
            VERSION,
            &self.state,
            256 * 1024 + records + providers + answers + regions,
        )
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let state: State = kept::restore(NAME, VERSION, bytes)?;
        let view =
            TrustView::new(state.federation.clone()).map_err(|_| RestoreError::Federation)?;
        Ok(Self::with(state, view))
    }
}
