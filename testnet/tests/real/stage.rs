//! A federation of real nodes with the people who play at it, for tests that look at what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lapwing_client::driver::{Handle, Options, Place, Unheard, make, now, places_from};
use lapwing_client::file::StateFile;
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::client::{Answer, Call, CallKind, MAX_MARKS, MarkOrder};
use lapwing_protocol::codec::to_bytes;
use lapwing_protocol::cose::parse;
use lapwing_protocol::federation::Params;
use lapwing_protocol::id::{MailboxId, MediatorId, RegionId};
use lapwing_protocol::mailbox::{MarkState, MarkValue};
use lapwing_protocol::problem::Problem;
use lapwing_protocol::role::mediator::{Mediator, MediatorEvent, MediatorRoot, WorkingKeys};
use lapwing_protocol::role::provider::{Provider, ProviderEvent, SlotId};
use lapwing_protocol::role::{Failure, Role, User};
use lapwing_protocol::time::Seconds;
use lapwing_protocol::trust::TrustView;
use lapwing_testnet::clients::{FEED, numbered, quick_pace};
use lapwing_testnet::federation::quick_params;
use lapwing_testnet::ledger::Ledger;
use lapwing_testnet::net::{Net, NetOptions};
use lapwing_testnet::node::{Node, Probe};
use lapwing_testnet::people;
use lapwing_testnet::play::land;
use lapwing_testnet::play::wait::learns;
use lapwing_testnet::seeds::Seeds;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::machine::{self, Turn};
use crate::people::Person;
use crate::start::options;

/// How long anything is waited for: a bound on hanging, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);
/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// Longer than it takes until a node tells of itself anew.
pub(crate) const REPORTED: Duration = Duration::from_secs(2);

/// Nodes, and what their people share. The processes end with it.
pub(crate) struct Stage {
    pub(crate) net: Net,
    pub(crate) seeds: Seeds,
    pub(crate) places: Vec<Place>,
    pub(crate) ledger: Arc<Ledger>,
    clients: u16,
    _dir: TempDir,
    _turn: Turn,
}

/// A mediator at its desk.
pub(crate) struct Desk {
    pub(crate) handle: Handle<Mediator>,
    pub(crate) id: MediatorId,
}

/// A provider's device, its region, and what nodes acknowledged to the practice.
pub(crate) struct Practice {
    pub(crate) handle: Handle<Provider>,
    pub(crate) region: RegionId,
    pub(crate) ledger: Arc<Ledger>,
}

impl Stage {
    /// So many nodes, running and connected. Prints the seed from which all else follows.
    pub(crate) async fn start(nodes: usize, seed: u64, tune: impl FnOnce(&mut Params)) -> Self {
        Self::open(machine::shared(), nodes, seed, tune).await
    }

    /// The same, with the machine for itself.
    pub(crate) async fn alone(nodes: usize, seed: u64, tune: impl FnOnce(&mut Params)) -> Self {
        Self::open(machine::alone(), nodes, seed, tune).await
    }

    async fn open(turn: Turn, nodes: usize, seed: u64, tune: impl FnOnce(&mut Params)) -> Self {
        println!("seed {seed}");
        let dir = tempfile::tempdir().unwrap();
        let mut params = quick_params();
        tune(&mut params);
        let options = NetOptions {
            params,
            ..options(dir.path(), nodes, seed)
        };
        let net = Net::start(&options, now()).await.unwrap();
        let place = |n: &Node| Place {
            id: n.id(),
            api: n.api().into(),
        };
        Stage {
            places: net.nodes().iter().map(place).collect(),
            net,
            seeds: Seeds::new(seed),
            ledger: Arc::default(),
            clients: 0,
            _dir: dir,
            _turn: turn,
        }
    }

    /// What a role runs with whose own node is the `node`th.
    pub(crate) fn options(&mut self, role: &str, n: usize, node: usize) -> Options {
        self.clients += 1;
        Options {
            client: numbered(self.clients),
            places: places_from(&self.places, node),
            pace: quick_pace(),
            rng: self.seeds.stream(role, n as u64),
            feed: FEED,
            file: StateFile::plain(self.net.path().join(format!("{role}-{n}.state"))),
            trust: None,
            ledger: self.ledger.clone(),
        }
    }

    pub(crate) fn view(&self) -> TrustView {
        TrustView::new(self.net.founders().federation().clone()).unwrap()
    }

    /// A mediator with so many regions, and their ids.
    pub(crate) async fn desk(&mut self, regions: usize) -> Desk {
        let mut options = self.options("mediator", 0, 0);
        let areas = land::areas().unwrap().into_iter().take(regions);
        let plans: Vec<_> = areas.map(|area| land::plan(&area).unwrap()).collect();
        let mut root = MediatorRoot::create(&mut options.rng);
        let (node, name) = (options.places[0].id, Text::try_from("Mediator").unwrap());
        let mediator = Mediator::create(root.id(), name, self.view(), node, &mut options.rng);
        let id = mediator.id();
        let handle = Handle::start(mediator, options);
        let roster = learns(&handle, "the roster", |view| view.roster().map(drop));
        roster.await.unwrap();
        let everywhere = List::try_from(vec![Text::try_from("").unwrap()]).unwrap();
        let order = handle
            .with(|m, now, _| m.registration_order(everywhere, Seconds::days(365), now))
            .await
            .unwrap();
        let registration = self.net.founders().sign_registration(&order);
        let (order, expires) = handle
            .with(move |m, now, rng| {
                let order = m.order(WorkingKeys::Same, now.day(), now, rng).unwrap();
                (order, now.plus(Seconds::days(120)))
            })
            .await
            .unwrap();
        let certificate = root.certify(&order, expires).unwrap();
        let published = handle.with(move |m, now, rng| {
            m.registered(&registration, now)?;
            m.certified(&certificate, now, rng)?;
            m.add_regions(&plans, now, rng)
        });
        published.await.unwrap().unwrap();
        until("the regions published", async || {
            handle.with(|m, _, _| m.ready()).await.unwrap()
        })
        .await;
        Desk { handle, id }
    }

    /// The `n`th practice, certified for the `region`th region.
    pub(crate) async fn practice(&mut self, desk: &mut Desk, n: usize, region: usize) -> Practice {
        let mut options = self.options("provider", n, n);
        let ledger = Arc::new(Ledger::default());
        options.ledger = ledger.clone();
        let practice = people::practice(self.seeds, n, "10115", "Berlin").unwrap();
        let evidence = Text::try_from("licence").unwrap();
        let (node, view) = (options.places[0].id, self.view());
        let provider = Provider::create(practice, evidence, view, node, &mut options.rng);
        let mut handle = Handle::start(provider, options);
        let id = learns(&handle, "the regions", move |view| {
            view.regions().nth(region).map(|(_, r)| r.id)
        })
        .await
        .unwrap();
        let (mediator, regions) = (desk.id, List::try_from(vec![id]).unwrap());
        let apply = handle.with(move |p, _, _| p.apply(mediator, regions));
        apply.await.unwrap();
        let mut waits = (true, true);
        while waits != (false, false) {
            tokio::select! {
                told = handle.event() => match told.unwrap() {
                    ProviderEvent::Certified { .. } => waits.0 = false,
                    ProviderEvent::RegionKey { .. } => waits.1 = false,
                    _ => {}
                },
                told = desk.handle.event() => {
                    if let MediatorEvent::Applied { id, .. } = told.unwrap() {
                        let approve = desk
                            .handle
                            .with(move |m, now, rng| m.approve(&id, None, 90, now, rng));
                        approve.await.unwrap().unwrap();
                    }
                }
                () = sleep(PATIENCE) => panic!("no certificate in time"),
            }
        }
        Practice {
            handle,
            region: id,
            ledger,
        }
    }

    /// Users whose requests for a region are admitted: each `n` at the node of that number.
    pub(crate) async fn people(
        &mut self,
        numbers: impl IntoIterator<Item = usize>,
        region: RegionId,
    ) -> Vec<Person> {
        let mut asking = JoinSet::new();
        for n in numbers {
            let options = self.options("user", n, n);
            let data = people::user(self.seeds, n).unwrap();
            let user = User::create(data.clone(), self.view(), options.places[0].id);
            let person = Person {
                data,
                handle: Handle::start(user, options),
                who: format!("user {}", n + 1),
            };
            asking.spawn(async move {
                person.request(region).await;
                (n, person)
            });
        }
        let mut people = BTreeMap::new();
        while let Some(done) = asking.join_next().await {
            let (n, person) = done.unwrap();
            people.insert(n, person);
        }
        people.into_values().collect()
    }

    /// Asks each node how it is.
    pub(crate) fn probes(&self) -> Vec<Probe> {
        self.net.nodes().iter().map(Node::probe).collect()
    }

    /// Makes a call at a node, again while the refusal may pass by itself.
    pub(crate) async fn insist(&self, node: usize, call: &Call) -> Result<Answer, Problem> {
        // Clients of the tests' own begin above those of roles.
        insist(
            1000 + u16::try_from(node).unwrap(),
            &self.places[node],
            call,
        )
        .await
    }

    /// How many of these marks say "taken", as every one of the nodes has them.
    pub(crate) async fn taken(&self, marks: &BTreeSet<MailboxId>) -> usize {
        let mut counts = BTreeSet::new();
        for node in 0..self.places.len() {
            let mut taken = 0;
            for some in marks.iter().copied().collect::<Vec<_>>().chunks(MAX_MARKS) {
                let marks = List::try_from(some.to_vec()).unwrap();
                let call = Call::new(CallKind::ReadMarks, to_bytes(&MarkOrder { marks }));
                let Ok(Answer::Marks(marks)) = self.insist(node, &call).await else {
                    panic!("marks")
                };
                let value = |bytes| parse::<MarkState>(bytes).unwrap().unverified().value;
                let states = marks.states.iter().map(|b| value(b));
                taken += states.filter(|v| *v == MarkValue::Taken).count();
            }
            counts.insert(taken);
        }
        assert_eq!(counts.len(), 1, "nodes differ about marks: {counts:?}");
        counts.pop_first().unwrap()
    }
}

/// Makes a call as the client of that number, again while the refusal may pass by itself.
pub(crate) async fn insist(client: u16, place: &Place, call: &Call) -> Result<Answer, Problem> {
    let (client, begun) = (numbered(client), Instant::now());
    loop {
        match make(&client, &place.api, call, &Unheard).await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Refused(problem)) if !problem.retry() => return Err(problem),
            Err(failure) if begun.elapsed() > PATIENCE => panic!("{failure}: {call:?}"),
            Err(_) => sleep(LOOK).await,
        }
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time");
        sleep(LOOK).await;
    }
}

/// Adds slots of tomorrow from the `first` quarter of an hour on, and waits until their marks are set.
pub(crate) async fn add_slots(handle: &mut Handle<Provider>, first: u32, count: u32) {
    let added = handle.with(move |p, now, rng| {
        let morning = now.day().plus(1).start().plus(Seconds::hours(8));
        let what: Text<80> = Text::try_from("mRNA").unwrap();
        (first..first + count)
            .map(|n| {
                let start = morning.plus(Seconds::minutes(15 * n));
                p.add_slot(start, 15, what.clone(), now, rng).unwrap()
            })
            .collect::<BTreeSet<SlotId>>()
    });
    let mut missing = added.await.unwrap();
    let begun = Instant::now();
    while !missing.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "marks are not set in time");
        match tokio::time::timeout(PATIENCE, handle.event()).await {
            Ok(Ok(ProviderEvent::SlotReady(id))) => {
                missing.remove(&id);
            }
            Ok(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until a role has nothing to do but to wait for others.
pub(crate) async fn settled<R>(handle: &Handle<R>)
where
    R: Role + Send + 'static,
    R::Event: Send + 'static,
{
    let mut progress = handle.progress();
    let rest = progress.wait_for(|p| p.settled);
    let rested = tokio::time::timeout(PATIENCE, rest).await;
    rested
        .unwrap_or_else(|_| panic!("a role never rests"))
        .unwrap();
}

/// Stops a role.
pub(crate) async fn stopped<R>(handle: Handle<R>) -> R
where
    R: Role + Send + 'static,
    R::Event: Send + 'static,
{
    handle.stop().await.unwrap().role
}
