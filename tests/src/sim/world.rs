//! The world: nodes, clock, events; and what carries out the effects of the cores.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use lapwing_core::{Alarm, CallFailure, CallTag, ClientTag, Core, Input, PeerTag, Severity};
use lapwing_protocol::client::{Answer, Call, check_call};
use lapwing_protocol::id::{MailboxId, NodeId};
use lapwing_protocol::peer::{PeerCall, PeerReply, check_peer_call};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::testing::{Fixture, TestProvider};
use lapwing_protocol::time::{Millis, Time};
use lapwing_protocol::trust::TrustView;
use lapwing_store::MemoryStore;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::net::{Net, between};
use super::node::{Live, SimNode};

/// What is scheduled. `life` is the start of the node that it is meant for.
pub(super) enum Event {
    Tick {
        node: usize,
        life: u64,
    },
    Disk {
        node: usize,
        life: u64,
    },
    Call {
        from: usize,
        life: u64,
        to: usize,
        tag: CallTag,
        bytes: Vec<u8>,
    },
    Reply {
        from: usize,
        to: usize,
        life: u64,
        tag: CallTag,
        bytes: Vec<u8>,
    },
    Lost {
        node: usize,
        life: u64,
        tag: CallTag,
        why: CallFailure,
    },
    Gossip {
        from: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    CheckTrust {
        node: usize,
        life: u64,
        from: Option<NodeId>,
        records: VecDeque<Vec<u8>>,
    },
    Link {
        a: usize,
        b: usize,
    },
}

/// The tag of calls that a test makes as a peer: no call of a node has it.
pub(super) const CAUGHT: PeerTag = PeerTag(u64::MAX);

/// A question to a node; [`World::answer`] has its answer when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask(u64);

/// How many other providers are certified beside the world's.
const OTHERS: usize = 5;

/// A federation of simulated nodes.
pub struct World {
    /// Who is who, with all keys.
    pub fixture: Fixture,
    /// A provider certified for all regions.
    pub provider: TestProvider,
    /// Others, certified alike ([`World::next_provider`]).
    pub(super) others: VecDeque<TestProvider>,
    /// The seed's randomness, for tests too.
    pub rng: ChaCha20Rng,
    /// How the network behaves.
    pub net: Net,
    /// Alarms with the node that raised them.
    pub alarms: Vec<(usize, Alarm)>,
    /// Faults that nodes found with others: finder, culprit, text.
    pub faults: Vec<(usize, NodeId, Severity, &'static str)>,
    /// Which nodes told who waits there that a mailbox changed.
    pub woken: BTreeSet<(usize, MailboxId)>,
    /// How many calls went from node to node.
    pub calls: u64,
    pub(super) now: Millis,
    pub(super) nodes: Vec<SimNode>,
    pub(super) events: BTreeMap<(Millis, u64), Event>,
    pub(super) next: u64,
    pub(super) asked: BTreeMap<u64, (usize, u64)>,
    pub(super) answers: BTreeMap<u64, Result<Answer, Problem>>,
    /// Replies to [`World::peer_call`].
    pub(super) caught: BTreeMap<usize, PeerReply>,
}

impl World {
    /// A world of so many nodes that all know the chain of trust, started and connected.
    #[must_use]
    pub fn new(seed: u64, nodes: usize) -> Self {
        Self::with(Fixture::new(seed, nodes), seed)
    }

    /// A world of a fixture's nodes that all know its chain of trust.
    #[must_use]
    pub fn with(mut fixture: Fixture, seed: u64) -> Self {
        let all: Vec<usize> = (0..fixture.mediator.regions.len()).collect();
        let provider = fixture.certify(&all);
        let others = (0..OTHERS).map(|_| fixture.certify(&all)).collect();
        let view = fixture.view();
        let mut world = Self::start_with(fixture, provider, seed, &view);
        world.others = others;
        world
    }

    /// Goes on as the next provider: whose claims yield also the requests that the one before has tickets
    /// of.
    pub fn next_provider(&mut self) {
        if let Some(next) = self.others.pop_front() {
            let before = std::mem::replace(&mut self.provider, next);
            self.others.push_back(before);
        }
    }

    /// A world of nodes that know the roster alone.
    ///
    /// # Panics
    /// Where the fixture's roster is refused.
    #[must_use]
    pub fn untaught(seed: u64, nodes: usize) -> Self {
        let mut fixture = Fixture::new(seed, nodes);
        let provider = fixture.certify(&[0]);
        let mut view = TrustView::new(fixture.federation.clone()).expect("a federation");
        view.learn(&fixture.roster, fixture.now).expect("a roster");
        Self::start_with(fixture, provider, seed, &view)
    }

    /// A world of a fixture's nodes of which the last so many are not in the roster yet, and are down.
    /// [`World::join_all`] brings them in.
    ///
    /// # Panics
    /// Where the fixture has fewer nodes.
    #[must_use]
    pub fn with_absent(mut fixture: Fixture, seed: u64, absent: usize) -> Self {
        let all = fixture.operators.clone();
        fixture
            .operators
            .truncate(all.len().checked_sub(absent).expect("fewer than all"));
        fixture.sign_roster();
        let provider = fixture.certify(&[0]);
        let view = fixture.view();
        fixture.operators = all;
        let mut world = Self::build(fixture, provider, seed);
        for node in 0..world.len() - absent {
            world.start_from(node, view.clone());
        }
        world.run(3_000);
        world
    }

    /// Starts every node with the pinned federation alone, and signs a roster that has them all.
    pub fn join_all(&mut self) -> Vec<u8> {
        self.fixture.now = self.now();
        let roster = self.fixture.sign_roster();
        for node in 0..self.len() {
            self.restart(node);
        }
        roster
    }

    fn start_with(fixture: Fixture, provider: TestProvider, seed: u64, view: &TrustView) -> Self {
        let mut world = Self::build(fixture, provider, seed);
        for node in 0..world.len() {
            world.start_from(node, view.clone());
        }
        world.run(3_000);
        world
    }

    fn build(fixture: Fixture, provider: TestProvider, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 0x5157_4c41);
        let nodes = fixture.nodes().map(|n| SimNode {
            id: n.id,
            signing: n.signing.clone(),
            store: Arc::new(MemoryStore::new()),
            live: None,
            life: 0,
            skew: i64::try_from(between(&mut rng, (0, 3_000))).unwrap_or(0) - 1_500,
        });
        let nodes: Vec<SimNode> = nodes.collect();
        World {
            now: fixture.now.millis().plus_millis(60_000),
            fixture,
            provider,
            others: VecDeque::new(),
            woken: BTreeSet::new(),
            rng,
            net: Net::default(),
            alarms: Vec::new(),
            faults: Vec::new(),
            calls: 0,
            nodes,
            events: BTreeMap::new(),
            next: 0,
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            caught: BTreeMap::new(),
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The world's clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now.time()
    }

    /// The world's clock in milliseconds.
    #[must_use]
    pub fn millis(&self) -> Millis {
        self.now
    }

    /// A node's id.
    #[must_use]
    pub fn id(&self, node: usize) -> NodeId {
        self.nodes[node].id
    }

    /// A node's store, up or not.
    #[must_use]
    pub fn store(&self, node: usize) -> &MemoryStore {
        &self.nodes[node].store
    }

    /// Puts another store under a node that is down.
    ///
    /// # Panics
    /// Where the node is up.
    pub fn replace_store(&mut self, node: usize, store: MemoryStore) {
        assert!(self.nodes[node].live.is_none(), "the node is down");
        self.nodes[node].store = Arc::new(store);
    }

    /// A node's core.
    ///
    /// # Panics
    /// Where the node is down.
    #[must_use]
    pub fn core(&self, node: usize) -> &Core<Arc<MemoryStore>> {
        &self.nodes[node].live.as_ref().expect("the node is up").core
    }

    /// The view by which a node's workers check.
    ///
    /// # Panics
    /// Where the node is down.
    #[must_use]
    pub fn view(&self, node: usize) -> Arc<TrustView> {
        self.nodes[node]
            .live
            .as_ref()
            .expect("the node is up")
            .view
            .clone()
    }

    /// Whether a node is up.
    #[must_use]
    pub fn up(&self, node: usize) -> bool {
        self.nodes[node].live.is_some()
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(between(&mut self.rng, (0, n.max(1) as u64 - 1))).unwrap_or(0)
    }

    /// A node that is up.
    ///
    /// # Panics
    /// Where none is.
    pub fn some_node(&mut self) -> usize {
        let up: Vec<usize> = (0..self.len()).filter(|n| self.up(*n)).collect();
        up[self.below(up.len())]
    }

    // --- Failure. ---

    /// Stops a node where it stands. Of its commits on the way some may have reached the disk.
    pub fn crash(&mut self, node: usize) {
        let Some(live) = self.nodes[node].live.take() else {
            return;
        };
        let kept = self.below(live.pending.len() + 1);
        for (_, batch) in live.pending.iter().take(kept) {
            self.apply(node, batch);
        }
        let gone: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, (n, _))| *n == node)
            .map(|(a, _)| *a)
            .collect();
        for ask in gone {
            self.asked.remove(&ask);
            self.answers.insert(ask, Err(Problem::NotReady));
        }
        for other in 0..self.len() {
            self.tell_link(other, node, false);
        }
    }

    /// Starts a node over what is on its disk. It knows the federation and what it has stored.
    ///
    /// # Panics
    /// Where its store cannot be read.
    pub fn restart(&mut self, node: usize) {
        let view = TrustView::new(self.fixture.federation.clone()).expect("a federation");
        self.start_from(node, view);
    }

    fn start_from(&mut self, node: usize, view: TrustView) {
        if self.up(node) {
            return;
        }
        let (now, world_now) = (self.time_at(node), self.now);
        let n = &mut self.nodes[node];
        n.life += 1;
        let life = n.life;
        let (core, effects) =
            Core::open(n.identity(), n.store.clone(), view.clone(), now).expect("a store");
        n.live = Some(Live {
            core,
            view: Arc::new(view),
            pending: VecDeque::new(),
            disk_at: world_now,
            out: BTreeMap::new(),
            inbound: BTreeMap::new(),
            next_peer_tag: 0,
        });
        self.carry_out(node, effects);
        let first = between(&mut self.rng, (1, 1_000));
        self.at(first, Event::Tick { node, life });
        for other in 0..self.len() {
            self.link_soon(node, other);
        }
    }

    /// Cuts or mends the link between two nodes.
    pub fn link(&mut self, a: usize, b: usize, linked: bool) {
        self.net.set(a, b, linked);
        if linked {
            self.link_soon(a, b);
        } else {
            self.tell_link(a, b, false);
            self.tell_link(b, a, false);
        }
    }

    /// Splits the nodes into those named and the others.
    pub fn partition(&mut self, side: &[usize]) {
        for a in 0..self.len() {
            for b in 0..a {
                self.link(a, b, side.contains(&a) == side.contains(&b));
            }
        }
    }

    /// Mends every link and starts every node.
    pub fn heal(&mut self) {
        for node in 0..self.len() {
            self.restart(node);
        }
        for a in 0..self.len() {
            for b in 0..a {
                self.link(a, b, true);
            }
        }
    }

    fn link_soon(&mut self, a: usize, b: usize) {
        if a != b {
            let after = between(&mut self.rng, (1, 500));
            self.at(after, Event::Link { a, b });
        }
    }

    pub(super) fn tell_link(&mut self, node: usize, other: usize, up: bool) {
        if node == other || !self.up(node) {
            return;
        }
        let id = self.nodes[other].id;
        self.input(
            node,
            if up {
                Input::PeerUp(id)
            } else {
                Input::PeerDown(id)
            },
        );
    }

    // --- Clients. ---

    /// Asks a node; a check that fails answers at once.
    pub fn ask(&mut self, node: usize, call: &Call) -> Ask {
        self.next += 1;
        let ask = Ask(self.next);
        let (id, time) = (self.nodes[node].id, self.time_at(node).time());
        let checked = match &self.nodes[node].live {
            None => Err(Problem::NotReady),
            Some(live) => check_call(call.kind(), call.body(), &live.view, &id, time),
        };
        match checked {
            Err(problem) => {
                self.answers.insert(ask.0, Err(problem));
            }
            Ok(call) => {
                self.asked.insert(ask.0, (node, self.nodes[node].life));
                self.input(
                    node,
                    Input::Client {
                        tag: ClientTag(ask.0),
                        call,
                    },
                );
            }
        }
        ask
    }

    /// The answer, once it came.
    #[must_use]
    pub fn answer(&self, ask: Ask) -> Option<&Result<Answer, Problem>> {
        self.answers.get(&ask.0)
    }

    /// Runs until all are answered, a minute at most; what is not answered by then fails the test.
    ///
    /// # Panics
    /// Where a question stays without an answer.
    pub fn answers(&mut self, asks: &[Ask]) -> Vec<Result<Answer, Problem>> {
        let until = self.now.plus_millis(60_000);
        while asks.iter().any(|a| !self.answers.contains_key(&a.0)) && self.now < until {
            self.step(until);
        }
        asks.iter()
            .map(|a| {
                self.answers
                    .remove(&a.0)
                    .expect("every question is answered in time")
            })
            .collect()
    }

    /// Asks and runs until the answer.
    ///
    /// # Errors
    /// The node's refusal.
    pub fn call(&mut self, node: usize, call: &Call) -> Result<Answer, Problem> {
        let ask = self.ask(node, call);
        self.answers(&[ask]).pop().unwrap_or(Err(Problem::Internal))
    }

    /// Hands a node a call as if the peer `from` had made it; says what the workers' check or the core
    /// replied.
    ///
    /// # Panics
    /// Where the node is down or does not reply.
    pub fn peer_call(&mut self, from: NodeId, to: usize, call: PeerCall) -> PeerReply {
        let time = self.time_at(to).time();
        let view = self.view(to);
        let checked = match check_peer_call(call, &from, &view, time) {
            Ok(checked) => checked,
            Err(problem) => return PeerReply::Refused(problem),
        };
        let input = Input::Peer {
            tag: CAUGHT,
            from,
            call: checked,
        };
        self.input(to, input);
        let until = self.now.plus_millis(60_000);
        while self.now < until {
            if let Some(reply) = self.caught.remove(&to) {
                return reply;
            }
            self.step(until);
        }
        panic!("the node replies");
    }

    // --- Time. ---

    /// Runs for so many milliseconds.
    pub fn run(&mut self, ms: u64) {
        let until = self.now.plus_millis(ms);
        while self.now < until {
            self.step(until);
        }
    }

    /// Lets so many milliseconds pass in which nothing happens but what was under way.
    pub fn sleep(&mut self, ms: u64) {
        self.run(10_000);
        self.now = self.now.plus_millis(ms);
        let due: Vec<Event> = std::mem::take(&mut self.events).into_values().collect();
        for event in due {
            let after = between(&mut self.rng, (1, 1_000));
            self.at(after, event);
        }
    }

    fn step(&mut self, until: Millis) {
        let Some(((at, _), _)) = self.events.first_key_value() else {
            self.now = until;
            return;
        };
        if *at > until {
            self.now = until;
            return;
        }
        if let Some(((at, _), event)) = self.events.pop_first() {
            self.now = self.now.max(at);
            self.happen(event);
        }
    }

    pub(super) fn at(&mut self, after_ms: u64, event: Event) {
        self.next += 1;
        self.events
            .insert((self.now.plus_millis(after_ms), self.next), event);
    }

    pub(super) fn time_at(&self, node: usize) -> Millis {
        let ms = i64::try_from(self.now.get()).unwrap_or(i64::MAX);
        Millis::new(u64::try_from(ms.saturating_add(self.nodes[node].skew)).unwrap_or(0))
    }

    /// Sets a node's clock off by so many milliseconds.
    pub fn set_skew(&mut self, node: usize, ms: i64) {
        self.nodes[node].skew = ms;
    }
}
