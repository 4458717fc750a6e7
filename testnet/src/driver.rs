//! Runs a role's state machine over HTTP: makes its calls, moves on when its node is gone, feeds its view
//! of the chain of trust, watches its mailboxes, and stores its state before it acts on it.
//!
//! One task a role. Whoever plays the person talks to it through a [`Handle`].

pub(crate) mod feed;
mod file;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use lapwing_protocol::client::{Answer, Call};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::{CallId, Failure, Outcome, Pace, Role};
use lapwing_protocol::time::{Seconds, Time};
use rand_chacha::ChaCha20Rng;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::http::{Ask, Client};
use crate::ledger::Ledger;

/// Between two looks at a node's chain of trust.
const FEED: Duration = Duration::from_secs(1);
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

/// How often roles ask here: everything is on one machine, and somebody is watching.
#[must_use]
pub fn quick_pace() -> Pace {
    Pace {
        read: Seconds::new(2),
        round: Seconds::new(1),
        work: 4096,
    }
}

/// A node that a role may talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub id: NodeId,
    /// Where its API is.
    pub api: SocketAddr,
}

/// Makes one call. Whether it was acknowledged goes to the ledger.
pub async fn make(client: &Client, place: Place, call: &Call, ledger: &Ledger) -> Outcome {
    let kind = call.kind();
    let ask = Ask::post(
        kind.path(),
        kind.content_type(),
        call.body().to_vec(),
        kind.max_answer(),
    );
    let reply = client
        .ask(place.api, &ask)
        .await
        .map_err(|_| Failure::Unreachable)?;
    if reply.status != StatusCode::OK {
        return Err(refusal(&reply.body));
    }
    let answer = Answer::parse(kind, &reply.body).map_err(|_| Failure::Unreachable)?;
    ledger.acknowledged(call, &answer);
    Ok(answer)
}

/// The problem that an error's body names; none of the protocol's counts as no answer.
fn refusal(body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Details {
        code: String,
    }
    let details: Option<Details> = serde_json::from_slice(body).ok();
    details
        .and_then(|d| Problem::from_text(&d.code))
        .map_or(Failure::Unreachable, Failure::Refused)
}

/// What a driver runs a role with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The client, from a network of its own.
    pub client: Client,
    /// The nodes, the first to talk to first. At least one.
    pub places: Vec<Place>,
    /// How often the role asks.
    pub pace: Pace,
    /// The role's randomness.
    pub rng: ChaCha20Rng,
    /// Where its state is kept.
    pub file: PathBuf,
    /// Takes down what nodes acknowledge.
    pub ledger: Arc<Ledger>,
}

/// Why a role does not run any more.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Its state cannot be stored, so that it must not act.
    #[error("the state of a role cannot be stored in {}: {source}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no node to talk to.
    #[error("a role was given no node to talk to")]
    NoPlace,
    /// Its task ended before.
    #[error("the role does not run any more")]
    Gone,
}

type Command<R> = Box<dyn FnOnce(&mut R, Time, &mut ChaCha20Rng) + Send>;

/// What is left when a role has stopped.
#[derive(Debug)]
pub struct Stopped<R> {
    /// The role.
    pub role: R,
    /// How often it moved on to another node.
    pub moves: u32,
}

/// The person's side of a running role. When it is dropped, the role stops.
#[derive(Debug)]
pub struct Handle<R: Role> {
    commands: mpsc::UnboundedSender<Command<R>>,
    events: mpsc::UnboundedReceiver<R::Event>,
    task: JoinHandle<Result<Stopped<R>, DriverError>>,
}

impl<R> Handle<R>
where
    R: Role + Send + 'static,
    R::Event: Send + 'static,
{
    /// Starts a role. Its node becomes the first of `options.places`.
    #[must_use]
    pub fn start(role: R, options: Options) -> Self {
        let (commands, orders) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(Driver::new(role, options, sender).run(orders));
        Handle {
            commands,
            events,
            task,
        }
    }

    /// Does something with the role, and gives what came of it.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut R, Time, &mut ChaCha20Rng) -> T + Send + 'static,
    ) -> Result<T, DriverError> {
        let (sender, receiver) = oneshot::channel();
        let command: Command<R> = Box::new(move |role, now, rng| {
            // Nobody waits for it any more: then nobody wants to know.
            let _unread = sender.send(act(role, now, rng));
        });
        self.commands.send(command).map_err(|_| DriverError::Gone)?;
        receiver.await.map_err(|_| DriverError::Gone)
    }

    /// The next event.
    ///
    /// # Errors
    /// [`DriverError::Gone`].
    pub async fn event(&mut self) -> Result<R::Event, DriverError> {
        self.events.recv().await.ok_or(DriverError::Gone)
    }

    /// Lets the role finish what it has begun and stops it.
    ///
    /// # Errors
    /// Why it had stopped before.
    pub async fn stop(self) -> Result<Stopped<R>, DriverError> {
        drop(self.commands);
        self.task.await.map_err(|_| DriverError::Gone)?
    }
}

struct Driver<R: Role> {
    role: R,
    options: Options,
    events: mpsc::UnboundedSender<R::Event>,
    /// Which of the places is the one now.
    at: usize,
    moves: u32,
    calls: JoinSet<(CallId, Place, Outcome)>,
    feed: feed::Feed,
    watch: watch::Watching,
    stored: Vec<u8>,
}

impl<R: Role> Driver<R> {
    fn new(role: R, options: Options, events: mpsc::UnboundedSender<R::Event>) -> Self {
        Driver {
            role,
            options,
            events,
            at: 0,
            moves: 0,
            calls: JoinSet::new(),
            feed: feed::Feed::default(),
            watch: watch::Watching::default(),
            stored: Vec::new(),
        }
    }

    fn place(&self) -> Result<Place, DriverError> {
        self.options
            .places
            .get(self.at)
            .copied()
            .ok_or(DriverError::NoPlace)
    }

    async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Command<R>>,
    ) -> Result<Stopped<R>, DriverError> {
        let mut feed_at = Instant::now();
        self.role.set_node(self.place()?.id);
        self.role.set_pace(self.options.pace);
        loop {
            self.poll()?;
            let place = self.place()?;
            self.watch
                .follow(&self.role, &self.options.client, place, now());
            if self.feed.idle() && Instant::now() >= feed_at {
                self.feed.fetch(&self.options.client, place);
                feed_at = Instant::now() + FEED;
            }
            let wake = self.wake().min(feed_at.max(Instant::now() + BREATH));
            tokio::select! {
                order = orders.recv() => match order {
                    Some(act) => act(&mut self.role, now(), &mut self.options.rng),
                    None => break,
                },
                Some(done) = self.calls.join_next() => {
                    if let Ok((id, place, outcome)) = done {
                        self.answered(id, place, outcome)?;
                    }
                }
                Some(fetched) = self.feed.done() => self.learn(fetched)?,
                Some(mailbox) = self.watch.changed() => self.role.touched(mailbox),
                () = sleep_until(wake) => {}
            }
        }
        while let Some(done) = self.calls.join_next().await {
            if let Ok((id, place, outcome)) = done {
                self.answered(id, place, outcome)?;
            }
        }
        self.store()?;
        Ok(Stopped {
            role: self.role,
            moves: self.moves,
        })
    }

    /// Asks the role what to do, stores it, then does it.
    fn poll(&mut self) -> Result<(), DriverError> {
        let calls = self.role.poll(now(), &mut self.options.rng);
        self.store()?;
        for event in self.role.events() {
            self.tell(event);
        }
        let place = self.place()?;
        for (id, call) in calls {
            let (client, ledger) = (self.options.client.clone(), self.options.ledger.clone());
            self.calls
                .spawn(async move { (id, place, make(&client, place, &call, &ledger).await) });
        }
        Ok(())
    }

    fn answered(&mut self, id: CallId, place: Place, outcome: Outcome) -> Result<(), DriverError> {
        let gone = matches!(
            outcome,
            Err(Failure::Unreachable | Failure::Refused(Problem::NotReady))
        );
        let events = self.role.answer(id, outcome, now(), &mut self.options.rng);
        self.store()?;
        for event in events {
            self.tell(event);
        }
        if gone {
            self.move_from(place)?;
        }
        Ok(())
    }

    /// Goes on at the next node, unless that was done already.
    fn move_from(&mut self, place: Place) -> Result<(), DriverError> {
        if self.options.places.len() > 1 && self.place()? == place {
            self.at = (self.at + 1) % self.options.places.len();
            self.moves += 1;
            self.role.set_node(self.place()?.id);
        }
        Ok(())
    }

    fn learn(&mut self, fetched: feed::Fetched) -> Result<(), DriverError> {
        match fetched {
            feed::Fetched::Records(records) => {
                feed::learn(self.role.view_mut(), &records, now());
                // What came before the records that it needs is looked at again.
                for mailbox in self.role.watching() {
                    self.role.touched(mailbox.id());
                }
                Ok(())
            }
            feed::Fetched::Unchanged => Ok(()),
            feed::Fetched::Unreachable(place) => self.move_from(place),
        }
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

    fn store(&mut self) -> Result<(), DriverError> {
        let state = self.role.save();
        if *state == self.stored {
            return Ok(());
        }
        let path = &self.options.file;
        file::write_whole(path, &state).map_err(|source| DriverError::Store {
            path: path.clone(),
            source,
        })?;
        self.stored.clear();
        self.stored.extend_from_slice(&state);
        Ok(())
    }
}

/// The places of a run, beginning with the `first`th.
#[must_use]
pub fn places_from(places: &[Place], first: usize) -> Vec<Place> {
    let mut places = places.to_vec();
    if !places.is_empty() {
        let first = first % places.len();
        places.rotate_left(first);
    }
    places
}

/// Names of nodes by their ids, for lines that people read.
pub type Names = BTreeMap<NodeId, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_read_and_others_count_as_no_answer() {
        assert_eq!(
            refusal(br#"{"code":"busy","status":503}"#),
            Failure::Refused(Problem::Busy)
        );
        for body in [&b"{}"[..], b"", b"{\"code\":\"slow_body\"}", b"\xff"] {
            assert_eq!(refusal(body), Failure::Unreachable);
        }
    }
}
