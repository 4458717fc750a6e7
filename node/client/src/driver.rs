//! Runs a role's state machine over HTTP: makes its calls, moves on when its node is gone, feeds its view
//! of the chain of trust, watches its mailboxes, and stores its state before it acts on it.
//!
//! One task a role. Whoever plays the person talks to it through a [`Handle`].

mod call;
mod disk;
mod event;
pub mod feed;
mod handle;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapwing_protocol::client::Call;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::{CallId, Failure, Outcome, Pace, Role};
use lapwing_protocol::time::Time;
use lapwing_protocol::trust::TrustView;
use rand_chacha::ChaCha20Rng;
use tokio::sync::watch::Sender as Teller;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

pub use self::call::{Acknowledged, Place, Unheard, make, places_from};
pub use self::event::Event;
use self::handle::Command;
pub use self::handle::{Handle, Progress, Remote, Stopped};
use crate::file::{FileError, StateFile};
use crate::http::Client;

/// How soon the chain of trust is looked at when a role misses a record.
const STALE: Duration = Duration::from_secs(1);
/// How soon it is looked at again when a node did not answer.
const RETRY: Duration = Duration::from_secs(5);
/// How long what nobody was told of may wait for the disk.
const LATER: Duration = Duration::from_millis(250);
/// Shortest pause between two polls, so that a role with much work lets others run.
const BREATH: Duration = Duration::from_millis(2);
/// Longest pause between two polls.
const DOZE: Duration = Duration::from_secs(5);

/// The time, as this machine's clock has it.
#[must_use]
pub fn now() -> Time {
    Time::new(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
    )
}

/// What a driver runs a role with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The client.
    pub client: Client,
    /// The nodes, the first to talk to first. At least one.
    pub places: Vec<Place>,
    /// How often the role asks.
    pub pace: Pace,
    /// The role's randomness.
    pub rng: ChaCha20Rng,
    /// Between two looks at a node's chain of trust; a role that misses a record looks at once.
    pub feed: Duration,
    /// Where its state is kept.
    pub file: StateFile,
    /// Where the trust records that it knows are kept, so that a restart forgets no sequence number;
    /// nothing for a role that never restarts.
    pub trust: Option<PathBuf>,
    /// Is told what nodes acknowledge.
    pub ledger: Arc<dyn Acknowledged>,
}

/// Why a role does not run any more.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Its state or its trust records cannot be read or stored, so that it must not act.
    #[error(transparent)]
    Store(#[from] FileError),
    /// There is no node to talk to.
    #[error("a role was given no node to talk to")]
    NoPlace,
    /// Its task ended before.
    #[error("the role does not run any more")]
    Gone,
}

struct Driver<R: Role> {
    role: R,
    options: Options,
    events: mpsc::UnboundedSender<R::Event>,
    /// Which of the places is the one now.
    at: usize,
    moves: u32,
    calls: JoinSet<(CallId, Outcome)>,
    feed: feed::Feed,
    feed_at: Instant,
    watch: watch::Watching,
    /// The node is gone: it is left once all that was answered is taken in.
    leave: bool,
    /// Something could not be judged for want of a record: once there are others, all is read again.
    missed: bool,
    /// What to tell, and whom to say that it is done, once the state is on disk.
    unsaid: Vec<R::Event>,
    undone: Vec<Box<dyn FnOnce() + Send>>,
    stored: Zeroizing<Vec<u8>>,
    stored_at: Instant,
    /// The state may be another than the one on disk.
    behind: bool,
    /// The view whose records are on disk.
    known: Option<TrustView>,
    progress: Progress,
    told: Teller<Progress>,
}

impl<R> Driver<R>
where
    R: Role,
    R::Event: Event,
{
    fn new(
        role: R,
        options: Options,
        events: mpsc::UnboundedSender<R::Event>,
        told: Teller<Progress>,
    ) -> Self {
        Driver {
            role,
            options,
            events,
            at: 0,
            moves: 0,
            calls: JoinSet::new(),
            feed: feed::Feed::default(),
            feed_at: Instant::now(),
            watch: watch::Watching::default(),
            leave: false,
            missed: false,
            unsaid: Vec::new(),
            undone: Vec::new(),
            stored: Zeroizing::default(),
            stored_at: Instant::now(),
            behind: false,
            known: None,
            progress: Progress::default(),
            told,
        }
    }

    fn place(&self) -> Result<&Place, DriverError> {
        self.options.places.get(self.at).ok_or(DriverError::NoPlace)
    }

    async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Command<R>>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<Stopped<R>, DriverError> {
        if let Some(path) = &self.options.trust {
            feed::recall(path, self.role.view_mut(), now())?;
        }
        let node = self.place()?.id;
        self.role.set_node(node);
        self.role.set_pace(self.options.pace);
        loop {
            self.poll().await?;
            let place = self.options.places.get(self.at);
            let place = place.ok_or(DriverError::NoPlace)?;
            let client = &self.options.client;
            let again = self.watch.follow(&self.role, client, place, now());
            if self.feed.idle() && Instant::now() >= self.feed_at {
                self.feed.fetch(&self.options.client, place);
                self.feed_at = Instant::now() + self.options.feed;
            }
            self.report();
            let wake = self.wake().min(self.feed_at.max(Instant::now() + BREATH));
            let wake = again.map_or(wake, |at| wake.min(at));
            let wake = match self.behind {
                true => wake.min(self.stored_at + LATER),
                false => wake,
            };
            tokio::select! {
                // Sent, or the handle is gone.
                _ = &mut stop => break,
                Some(act) = orders.recv() => self.obey(act),
                Some(done) = self.calls.join_next() => {
                    self.answered(done);
                }
                Some(fetched) = self.feed.done() => self.learn(fetched).await?,
                Some(mailbox) = self.watch.changed() => self.role.touched(mailbox),
                () = sleep_until(wake) => {}
            }
            // What else is there by now goes to disk with it.
            while let Ok(act) = orders.try_recv() {
                self.obey(act);
            }
            while let Some(done) = self.calls.try_join_next() {
                self.answered(done);
            }
            if std::mem::take(&mut self.leave) {
                self.move_on().await?;
            }
            while let Some(mailbox) = self.watch.try_changed() {
                self.role.touched(mailbox);
            }
        }
        while let Ok(act) = orders.try_recv() {
            self.obey(act);
        }
        while let Some(done) = self.calls.join_next().await {
            self.answered(done);
        }
        self.settle().await?;
        Ok(Stopped {
            role: self.role,
            moves: self.moves,
        })
    }

    fn obey(&mut self, act: Command<R>) {
        let done = act(&mut self.role, now(), &mut self.options.rng);
        self.undone.push(done);
    }

    /// Tells those who wait how it gets on.
    fn report(&mut self) {
        let waits = self.role.wake().is_none_or(|at| at > now());
        self.progress.settled =
            self.progress.fed && self.feed.idle() && self.calls.is_empty() && waits;
        let progress = self.progress;
        self.told.send_if_modified(|told| {
            let differs = *told != progress;
            *told = progress;
            differs
        });
    }

    /// Stores the state, then tells what came of orders and answers since the last time.
    async fn settle(&mut self) -> Result<(), DriverError> {
        self.store().await?;
        for event in std::mem::take(&mut self.unsaid) {
            self.tell(event);
        }
        if !self.undone.is_empty() {
            // Whoever hears of it must not take an earlier rest for the end of what this began.
            self.progress.settled = false;
            self.told.send_replace(self.progress);
        }
        for done in self.undone.drain(..) {
            done();
        }
        Ok(())
    }

    /// Asks the role what to do, stores it together with what came before, then does it. What is ahead of
    /// the state need not wait for the disk; and the disk waits a little for what follows, unless somebody
    /// is to be told of something: after a crash the role asks again.
    async fn poll(&mut self) -> Result<(), DriverError> {
        let calls = self.role.poll(now(), &mut self.options.rng);
        let events = self.role.events();
        self.hear(events);
        let (ahead, others): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|(_, call)| call.is_ahead());
        self.make(ahead)?;
        let acts = !(others.is_empty() && self.unsaid.is_empty() && self.undone.is_empty());
        self.behind = !acts && self.stored_at.elapsed() < LATER;
        if self.behind {
            return Ok(());
        }
        self.settle().await?;
        self.make(others)
    }

    fn make(&mut self, calls: Vec<(CallId, Call)>) -> Result<(), DriverError> {
        for (id, call) in calls {
            let api = self.place()?.api.clone();
            let (client, ledger) = (self.options.client.clone(), self.options.ledger.clone());
            self.calls
                .spawn(async move { (id, make(&client, &api, &call, &*ledger).await) });
        }
        Ok(())
    }

    fn hear(&mut self, events: Vec<R::Event>) {
        if events.iter().any(Event::stale) {
            self.missed = true;
            self.hurry(STALE);
        }
        for event in events {
            // In their order.
            if self.unsaid.is_empty() && event.fleeting() {
                self.tell(event);
            } else {
                self.unsaid.push(event);
            }
        }
    }

    fn answered(&mut self, done: Result<(CallId, Outcome), JoinError>) {
        let Ok((id, outcome)) = done else {
            return;
        };
        self.leave |= matches!(
            outcome,
            Err(Failure::Unreachable | Failure::Refused(Problem::NotReady))
        );
        if matches!(outcome, Err(Failure::Unreachable)) {
            self.progress.unanswered = self.progress.unanswered.saturating_add(1);
        } else {
            self.progress.answered += 1;
            self.progress.unanswered = 0;
        }
        let events = self.role.answer(id, outcome, now(), &mut self.options.rng);
        self.hear(events);
    }

    /// Goes on at the next node, if there is one.
    async fn move_on(&mut self) -> Result<(), DriverError> {
        if self.options.places.len() > 1 {
            // The role forgets what it asked of this node: no answer may come after that.
            self.calls.abort_all();
            while let Some(done) = self.calls.join_next().await {
                self.answered(done);
            }
            self.leave = false;
            self.at = (self.at + 1) % self.options.places.len();
            self.moves += 1;
            let node = self.place()?.id;
            self.role.set_node(node);
        }
        Ok(())
    }

    async fn learn(&mut self, fetched: feed::Fetched) -> Result<(), DriverError> {
        match fetched {
            feed::Fetched::Records(records) => {
                self.progress.fed = true;
                self.progress.unanswered = 0;
                let learned = feed::learn(self.role.view_mut(), &records, now());
                if !learned {
                    return Ok(());
                }
                self.keep_records().await?;
                if std::mem::take(&mut self.missed) {
                    for mailbox in self.role.watching() {
                        self.role.touched(mailbox.id());
                    }
                }
                Ok(())
            }
            feed::Fetched::Unchanged => {
                self.progress.unanswered = 0;
                Ok(())
            }
            feed::Fetched::Unreachable(place) => {
                self.progress.unanswered = self.progress.unanswered.saturating_add(1);
                self.hurry(RETRY);
                // One that was left before changes nothing.
                self.leave |= self.place()? == &place;
                Ok(())
            }
        }
    }

    /// Looks at the chain of trust within this time.
    fn hurry(&mut self, within: Duration) {
        self.feed_at = self.feed_at.min(Instant::now() + within);
    }

    fn tell(&self, event: R::Event) {
        // Nobody listens any more: the role ends its work all the same.
        let _unheard = self.events.send(event);
    }

    fn wake(&self) -> Instant {
        let soon = Instant::now() + BREATH;
        match self.role.wake() {
            Some(at) => {
                let until = UNIX_EPOCH + Duration::from_secs(at.get());
                let wait = until.duration_since(SystemTime::now()).unwrap_or_default();
                soon.max(Instant::now() + wait.min(DOZE))
            }
            None => Instant::now() + DOZE,
        }
    }
}
