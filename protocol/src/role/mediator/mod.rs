//! A mediator: publishes regions and lists, verifies providers, revokes, reads reports. And what may
//! lie on other machines: its [`MediatorRoot`], offline, and its [`Refresher`], always on.
//!
//! The root signs certificates of the working keys alone, by an order that is carried to it as a file:
//! [`Mediator::order`], [`MediatorRoot::certify`], [`Mediator::certified`].

mod answers;
mod certify;
mod error;
mod event;
mod inbox;
mod keys;
mod press;
mod publish;
mod refresher;
mod regions;
mod report;
mod revoke;
mod root;
mod state;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub use certify::CertifiedProvider;
pub use error::PublishError;
pub use event::MediatorEvent;
pub use keys::WorkingKeys;
pub use refresher::Refresher;
pub use regions::{RegionPlan, RegionView};
pub use report::{MAX_REPORTS, MAX_REPORTS_PER_PROVIDER, ReportView, ReportedSlot};
pub use root::{CertifyError, MediatorRoot};

use self::press::publish_call;
use self::state::{Keys, NAME, State, VERSION};
use super::desk::{Desk, Reads};
use super::kept::{self, Many, Table};
use super::talk::{Seen, read_call, read_proof, stale, transient};
use super::{CallId, Failure, Outcome, Pace, RestoreError, Role};
use crate::bounded::Text;
use crate::client::{Answer, Call};
use crate::hash::record_hash;
use crate::id::{MailboxId, MediatorId, NodeId, RecordId};
use crate::key::SigningKey;
use crate::mailbox::Mailbox;
use crate::problem::Problem;
use crate::time::{Seconds, Time};
use crate::trust::{MAX_STATUS_LIFE, TrustView};

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// Stands for the re-dating of the status, which is no call.
    Refresh,
    /// Stands for the renewal of region keys, which is no call.
    Renew,
    Publish(RecordId),
    Open,
    Inbox(MailboxId),
    Answer(MailboxId),
    Delete,
}

impl Task {
    /// Whether it stands for something that is no call.
    fn silent(&self) -> bool {
        matches!(self, Task::Refresh | Task::Renew)
    }
}

/// Regions get new keys after so long, unless told otherwise: within the 120 days of a provider's
/// mailbox this leaves most of its sixteen slots for revocations.
const REGION_LIFE: Seconds = Seconds::days(28);

/// A mediator's state machine.
pub struct Mediator {
    state: State,
    view: TrustView,
    desk: Desk<Task>,
    reads: Reads,
    pace: Pace,
    events: Vec<MediatorEvent>,
    /// Providers left since the lists were last made.
    dirty: bool,
    /// Records were lined up since the line was last put in order.
    unsorted: bool,
    /// The time of the last poll: what is wanted depends on it.
    now: Time,
}

impl core::fmt::Debug for Mediator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Mediator({})", self.id())
    }
}

impl Mediator {
    /// The working side of the mediator whose root is `mediator`, with fresh keys that the root has yet
    /// to certify, in the federation that `view` pins, talking to `node`.
    pub fn create<R: CryptoRng + ?Sized>(
        mediator: MediatorId,
        name: Text<80>,
        view: TrustView,
        node: NodeId,
        rng: &mut R,
    ) -> Self {
        let state = State {
            federation: view.federation().clone(),
            node,
            name,
            mediator,
            keys: Keys::generate(rng),
            registrations: 0,
            orders: 0,
            ordered: None,
            certificate: None,
            former: Many::default(),
            regions: Table::default(),
            sequence: 0,
            lists: None,
            status_life: Seconds::DAY,
            region_life: REGION_LIFE,
            next_serial: 1,
            providers: Table::default(),
            revoked: Table::default(),
            past: Table::default(),
            outgoing: Many::default(),
            applications: Table::default(),
            decided: Many::default(),
            reports: Table::default(),
            reported: Table::default(),
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
            dirty: false,
            unsorted: true,
            now: Time::ZERO,
        }
    }

    /// Its readable name.
    #[must_use]
    pub fn name(&self) -> &Text<80> {
        &self.state.name
    }

    /// The mediator's id: its root key.
    #[must_use]
    pub fn id(&self) -> MediatorId {
        self.state.mediator
    }

    /// The key for a [`Refresher`]; another one after a certificate with fresh keys.
    #[must_use]
    pub fn status_key(&self) -> SigningKey {
        (*self.state.keys.status).clone()
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

    /// Does what is due and is no call: region keys and status.
    fn upkeep(&mut self, due: &[Task], now: Time, rng: &mut dyn CryptoRng) {
        if due.contains(&Task::Renew)
            && let Err(error) = self.renew_region_keys(now, rng)
        {
            self.desk.failed(&Task::Renew, now, rng);
            self.events.push(MediatorEvent::NotRenewed(error));
        }
        // The renewal may just have dated the status.
        if due.contains(&Task::Refresh)
            && self.refresh_due().is_some_and(|due| due <= now)
            && let Err(error) = self.refresh_status(now)
        {
            self.desk.failed(&Task::Refresh, now, rng);
            self.events.push(MediatorEvent::NotRefreshed(error));
        }
    }

    fn wanted(&self) -> Vec<(Task, Time)> {
        let mut wanted = Vec::new();
        if let Some(first) = self.state.outgoing.first() {
            // What follows rests on what is published: one thing after the other.
            wanted.push((Task::Publish(record_hash(first)), Time::ZERO));
            return wanted;
        }
        if let Some(due) = self.refresh_due() {
            wanted.push((Task::Refresh, due));
        }
        if let Some(due) = self.renewal_due() {
            wanted.push((Task::Renew, due));
        }
        if !self.unopened(self.now).is_empty() {
            wanted.push((Task::Open, Time::ZERO));
        }
        wanted.extend(self.inboxes().map(|(mailbox, _)| {
            let id = mailbox.id();
            (Task::Inbox(id), self.reads.due(&id))
        }));
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
            Task::Refresh | Task::Renew => None,
            Task::Publish(_) => publish_call(&self.state.outgoing),
            Task::Open => self.open_call(now),
            Task::Answer(id) => self.state.answers.get(id)?.out.call(),
            Task::Delete => self.delete_call(),
            Task::Inbox(id) => {
                let (mailbox, keys) = self.inbox(id)?;
                let (node, after) = (self.state.node, self.reads.after(id));
                let call = read_call(mailbox, &keys.inbox_read, node, after, now);
                self.reads.begin(*id);
                call
            }
        }
    }

    fn take(&mut self, task: &Task, answer: Answer, now: Time) -> Result<(), Problem> {
        match (task, answer) {
            (Task::Publish(asked), Answer::Published(id)) if id == *asked => {
                self.published(id);
                Ok(())
            }
            (Task::Open, Answer::Openings(openings)) => self.opened(&openings, now),
            (Task::Answer(id), Answer::Receipt(receipt)) => self.answered(id, &receipt),
            (Task::Delete, Answer::Receipt(receipt)) => self.deleted(&receipt),
            (Task::Inbox(id), Answer::Page(page)) => {
                let more = self.take_inbox(id, &page, now);
                self.reads.end(*id, more, now, self.pace.read);
                Ok(())
            }
            _ => Err(Problem::Malformed),
        }
    }

    fn fail(&mut self, task: &Task, failure: Failure, now: Time, rng: &mut dyn CryptoRng) {
        if let Task::Inbox(id) = task {
            if failure == Failure::Refused(Problem::NotOpened) {
                // Nobody has written to it yet: its watch tells when somebody does.
                self.reads.end(*id, None, now, self.pace.read);
                return;
            }
            self.reads.touch(*id);
        }
        match (task, failure) {
            (Task::Publish(id), Failure::Refused(p)) => self.publish_refused(id, p, now, rng),
            (Task::Open, Failure::Refused(p)) => self.open_refused(p, now, rng),
            (Task::Answer(id), Failure::Refused(p)) => self.answer_refused(id, p, now, rng),
            (Task::Delete, Failure::Refused(p)) => self.delete_refused(p, now, rng),
            (_, Failure::Refused(p)) => {
                self.desk.failed(task, now, rng);
                if stale(p) {
                    self.events.push(MediatorEvent::ViewStale(p));
                } else if !transient(p) {
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
        self.now = now;
        self.tidy(now);
        self.line_up();
        let due = self.desk.due(self.wanted(), now);
        self.upkeep(&due, now, rng);
        self.line_up();
        let due = self.desk.due(self.wanted(), now);
        let mut calls = Vec::new();
        for task in due.into_iter().filter(|t| !t.silent()) {
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
        self.inboxes().map(|(mailbox, _)| mailbox.clone()).collect()
    }

    fn watch_proofs(&self, of: &[MailboxId], now: Time) -> Vec<Vec<u8>> {
        of.iter()
            .filter_map(|id| self.inboxes().find(|(mailbox, _)| mailbox.id() == *id))
            .map(|(mailbox, keys)| read_proof(mailbox, &keys.inbox_read, self.state.node, now))
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
        kept::save(NAME, VERSION, &self.state)
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let state: State = kept::restore(NAME, VERSION, bytes)?;
        let view =
            TrustView::new(state.federation.clone()).map_err(|_| RestoreError::Federation)?;
        Ok(Self::with(state, view))
    }
}
