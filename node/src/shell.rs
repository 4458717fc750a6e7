//! The core's thread: inputs in, effects out.
//!
//! One thread owns the core. Everything else talks to it through [`Shell`]: the API asks, the network
//! and the committer report. The thread carries out effects in order and blocks on nothing but a full
//! disk queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use lapwing_api::WatchHub;
use lapwing_core::store::{Batch, CommitId};
use lapwing_core::{Alarm, ClientTag, Core, Effect, Input, Numbers, PeerNumbers, RegionNumbers};
use lapwing_net::Command;
use lapwing_protocol::client::{Answer, CheckedCall};
use lapwing_protocol::id::NodeId;
use lapwing_protocol::peer::Digest;
use lapwing_protocol::problem::Problem;
use lapwing_protocol::time::{Millis, Time};
use lapwing_protocol::trust::TrustView;
use lapwing_store::{Committer, SledStore, SubmitError};
use rand_core::UnwrapErr;
use tokio::sync::oneshot;
use tracing::{debug, error, warn};

/// Questions of clients that may wait for the core at once; more are told that the node is busy.
const MAX_ASKED: usize = 8_192;
/// How often the core is told that time passed.
const TICK: Duration = Duration::from_millis(500);

/// The present, by the system's clock.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

type Reply = oneshot::Sender<Result<Answer, Problem>>;

enum Message {
    Input(Box<Input>),
    Ask(Box<CheckedCall>, Reply),
    Report(oneshot::Sender<Report>),
    Stop,
}

/// What the core says of itself, for the operator.
pub(crate) struct Report {
    pub(crate) numbers: Numbers,
    pub(crate) peers: Vec<PeerNumbers>,
    pub(crate) regions: Vec<RegionNumbers>,
    pub(crate) digests: Vec<(NodeId, Vec<Digest>)>,
}

/// How others reach the core's thread.
#[derive(Clone)]
pub(crate) struct Shell {
    messages: Sender<Message>,
    shared: Arc<Shared>,
}

struct Shared {
    asked: AtomicUsize,
    peers_up: AtomicUsize,
    stopping: AtomicBool,
    failed: AtomicBool,
    view: ArcSwap<TrustView>,
    hub: WatchHub,
}

/// The other end of [`Shell`], for the thread.
pub(crate) struct Inbox(Receiver<Message>);

impl Shell {
    /// A shell without a thread yet: what is sent waits in the inbox.
    pub(crate) fn new(view: TrustView, hub: WatchHub) -> (Self, Inbox) {
        let (messages, inbox) = channel();
        let shared = Arc::new(Shared {
            asked: AtomicUsize::new(0),
            peers_up: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            view: ArcSwap::from_pointee(view),
            hub,
        });
        (Shell { messages, shared }, Inbox(inbox))
    }

    /// Tells the core something. Once the thread has ended this does nothing.
    pub(crate) fn tell(&self, input: Input) {
        let _ended = self.messages.send(Message::Input(Box::new(input)));
    }

    /// Asks the core for a client.
    pub(crate) async fn ask(&self, call: CheckedCall) -> Result<Answer, Problem> {
        if self.shared.stopping.load(Ordering::Relaxed) {
            return Err(Problem::NotReady);
        }
        if self.shared.asked.fetch_add(1, Ordering::Relaxed) >= MAX_ASKED {
            self.shared.asked.fetch_sub(1, Ordering::Relaxed);
            return Err(Problem::Busy);
        }
        let (reply, answer) = oneshot::channel();
        let sent = self.messages.send(Message::Ask(Box::new(call), reply));
        let result = match sent {
            Ok(()) => answer.await.unwrap_or(Err(Problem::NotReady)),
            Err(_) => Err(Problem::NotReady),
        };
        self.shared.asked.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// What the core says of itself; none once it has ended.
    pub(crate) async fn report(&self) -> Option<Report> {
        let (reply, report) = oneshot::channel();
        self.messages.send(Message::Report(reply)).ok()?;
        report.await.ok()
    }

    /// Checks a record of the chain of trust that the operator gives, and tells the core. It may take
    /// milliseconds.
    pub(crate) fn check_record(&self, record: Vec<u8>) {
        let first = self.view().check(&record, now().time());
        self.tell(Input::Trust {
            from: None,
            first,
            rest: Vec::new(),
        });
    }

    /// The view that workers check against.
    pub(crate) fn view(&self) -> Arc<TrustView> {
        self.shared.view.load_full()
    }

    /// Who waits for mailboxes.
    pub(crate) fn hub(&self) -> &WatchHub {
        &self.shared.hub
    }

    /// How many nodes of the roster are connected.
    pub(crate) fn peers_up(&self) -> usize {
        self.shared.peers_up.load(Ordering::Relaxed)
    }

    /// Whether the node is about to end.
    pub(crate) fn stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    /// Whether the disk failed, so that nothing more can be acknowledged.
    pub(crate) fn failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Notes that the disk failed.
    pub(crate) fn fail(&self) {
        self.shared.failed.store(true, Ordering::Relaxed);
    }

    /// No more questions are taken.
    pub(crate) fn drain(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.drain();
        let _ended = self.messages.send(Message::Stop);
    }
}

/// What the thread acts on.
pub(crate) struct Outlets {
    pub(crate) committer: Arc<Committer>,
    pub(crate) net: Arc<lapwing_net::Handle>,
    pub(crate) runtime: tokio::runtime::Handle,
}

/// Runs the core until it is stopped or the disk fails.
pub(crate) fn run(
    mut core: Core<Arc<SledStore>>,
    first: Vec<Effect>,
    shell: &Shell,
    inbox: &Inbox,
    outlets: &Outlets,
) {
    let mut rng = UnwrapErr(getrandom::SysRng);
    let mut actor = Actor {
        shell,
        outlets,
        replies: BTreeMap::new(),
        next_tag: 0,
    };
    actor.carry_out(first);
    let mut last_tick = Instant::now();
    loop {
        let message = inbox
            .0
            .recv_timeout(TICK.saturating_sub(last_tick.elapsed()));
        if shell.failed() {
            return;
        }
        let input = match message {
            Ok(Message::Input(input)) => Some(*input),
            Ok(Message::Ask(call, reply)) => {
                actor.next_tag += 1;
                let tag = ClientTag(actor.next_tag);
                actor.replies.insert(tag, reply);
                Some(Input::Client { tag, call: *call })
            }
            Ok(Message::Report(reply)) => {
                let _gone = reply.send(report(&core));
                None
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => None,
        };
        if let Some(input) = input {
            let effects = core.handle(input, now(), &mut rng);
            actor.carry_out(effects);
        }
        if last_tick.elapsed() >= TICK {
            last_tick = Instant::now();
            let effects = core.handle(Input::Tick, now(), &mut rng);
            actor.carry_out(effects);
            shell
                .shared
                .peers_up
                .store(core.peers_up(), Ordering::Relaxed);
        }
    }
}

fn report(core: &Core<Arc<SledStore>>) -> Report {
    let from = now().time().hour().plus(1);
    let nodes = core
        .view()
        .roster()
        .map(|r| r.nodes().map(|(_, n)| n.id).collect::<Vec<_>>())
        .unwrap_or_default();
    Report {
        numbers: core.numbers(),
        peers: core.peer_numbers(),
        regions: core.region_numbers(),
        digests: nodes
            .into_iter()
            .map(|n| (n, core.digests(&n, from)))
            .collect(),
    }
}

struct Actor<'a> {
    shell: &'a Shell,
    outlets: &'a Outlets,
    replies: BTreeMap<ClientTag, Reply>,
    next_tag: u64,
}

impl Actor<'_> {
    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Commit { id, batch } => self.commit(id, batch),
                Effect::Answer { tag, result } => {
                    if let Some(reply) = self.replies.remove(&tag) {
                        // A client that is gone misses its answer, and asks again.
                        let _gone = reply.send(result);
                    }
                }
                Effect::Reply { tag, reply } => {
                    self.outlets.net.send(Command::Reply { tag, reply })
                }
                Effect::Call {
                    tag,
                    to,
                    call,
                    timeout_ms,
                } => {
                    self.outlets.net.send(Command::Call {
                        tag,
                        to,
                        call,
                        timeout_ms,
                    });
                }
                Effect::Publish { topic, message } => {
                    self.outlets.net.send(Command::Publish { topic, message })
                }
                Effect::CheckTrust { from, records } => self.check_trust(from, records),
                Effect::View(view) => {
                    self.shell.shared.view.store(view.clone());
                    self.outlets.net.send(Command::View(view));
                }
                Effect::Changed(mailbox) => self.shell.shared.hub.notify(&mailbox),
                Effect::Fault {
                    peer,
                    severity,
                    what,
                } => {
                    debug!(%peer, ?severity, what, "a peer's fault");
                    self.outlets.net.send(Command::Fault {
                        peer,
                        severity,
                        what,
                    });
                }
                Effect::Alarm(alarm) => raise(&alarm),
            }
        }
    }

    fn commit(&self, id: CommitId, mut batch: Batch) {
        loop {
            match self.outlets.committer.submit(id, batch) {
                Ok(()) => return,
                // The disk is behind: nothing new is taken until it has caught up.
                Err(SubmitError::Full(back)) => {
                    batch = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(SubmitError::Stopped) => {
                    self.shell.fail();
                    return;
                }
            }
        }
    }

    /// Lets a worker check the first record; the view that counts is the one published by then.
    fn check_trust(&self, from: Option<NodeId>, records: Vec<Vec<u8>>) {
        let shell = self.shell.clone();
        self.outlets.runtime.spawn_blocking(move || {
            let mut records = records.into_iter();
            let Some(first) = records.next() else { return };
            let now: Time = now().time();
            let first = shell.view().check(&first, now);
            shell.tell(Input::Trust {
                from,
                first,
                rest: records.collect(),
            });
        });
    }
}

fn raise(alarm: &Alarm) {
    match alarm {
        Alarm::Equivocation { ours, theirs } => {
            error!(%ours, %theirs, "equivocation: two records with one sequence; both are kept as proof");
        }
        Alarm::DoubleAdmission {
            issuer,
            first,
            second,
        } => {
            error!(%issuer, %first, %second, "a node admitted one token twice; both admissions are kept as proof");
        }
        Alarm::DamagedRow { space } => {
            warn!(space = %char::from(*space), "a stored row does not decode; it is left out");
        }
        Alarm::LostContinuity => {
            error!("this store is older than it was: open lottery epochs are closed");
        }
    }
}
