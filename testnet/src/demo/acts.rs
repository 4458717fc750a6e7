//! The acts of the demo: providers are verified, users ask, users book while a node is killed, the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lapwing_protocol::bounded::Text;
use lapwing_protocol::id::RegionId;
use lapwing_protocol::role::User;
use lapwing_protocol::role::mediator::Mediator;
use lapwing_protocol::role::provider::Provider;
use lapwing_protocol::token::UserData;
use lapwing_protocol::trust::TrustView;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::cast::{Desk, Person, certify, learns, tell_provider};
use crate::clients::{FEED, Names, numbered, quick_pace};
use crate::ledger::Ledger;
use crate::net::Net;
use crate::people;
use crate::report::Say;
use crate::seeds::Seeds;
use lapwing_client::driver::{Handle, Options, Place, Stopped, places_from};
use lapwing_client::file::StateFile;

/// How many users there are.
pub(super) const USERS: usize = 10;
/// How many providers.
pub(super) const PROVIDERS: usize = 2;
/// The regions of each provider: by the first three digits of their postal codes, with a practice's
/// postal code and city.
pub(super) const AREAS: [([&str; 2], &str, &str); PROVIDERS] = [
    (["101", "104"], "10115", "Berlin"),
    (["201", "203"], "20144", "Hamburg"),
];
/// How many users of the node that is killed begin to book only then.
const LATE: usize = 2;
/// How long the killed node stays away.
const AWAY: Duration = Duration::from_secs(2);

/// The region whose postal codes begin so.
fn region_of(view: &TrustView, area: &str) -> Option<RegionId> {
    view.regions()
        .find(|(_, r)| r.postal_codes.iter().any(|c| c.starts_with(area)))
        .map(|(_, r)| r.id)
}

/// Everything that the parts of the demo share.
pub(super) struct Stage {
    pub(super) say: Arc<Say>,
    pub(super) net: Net,
    pub(super) seeds: Seeds,
    pub(super) places: Vec<Place>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clients: u16,
    pub(super) killed: u64,
}

impl Stage {
    pub(super) fn name(&self, n: usize) -> String {
        self.net
            .nodes()
            .get(n % self.net.nodes().len().max(1))
            .map_or_else(String::new, |n| n.name().to_owned())
    }

    /// What a role runs with whose own node is the `n`th.
    pub(super) fn options(&mut self, role: &str, number: usize, n: usize) -> Options {
        self.clients += 1;
        Options {
            client: numbered(self.clients),
            places: places_from(&self.places, n),
            pace: quick_pace(),
            rng: self.seeds.stream(role, number as u64),
            feed: FEED,
            file: StateFile::plain(self.net.path().join(format!("{role}-{}.state", number + 1))),
            trust: None,
            ledger: self.ledger.clone(),
        }
    }

    pub(super) fn view(&self) -> anyhow::Result<TrustView> {
        Ok(TrustView::new(self.net.founders().federation().clone())?)
    }
}

/// A provider whose events are told, and its handle's return.
pub(super) struct Practice {
    pub(super) stop: tokio::sync::oneshot::Sender<()>,
    pub(super) task: JoinHandle<Handle<Provider>>,
}

impl Practice {
    pub(super) fn tell(
        mut handle: Handle<Provider>,
        say: Arc<Say>,
        who: String,
        place: String,
    ) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = tell_provider(&mut handle, &say, (&who, &place)) => {}
                _ = stopped => {}
            }
            handle
        });
        Practice { stop, task }
    }

    pub(super) async fn stop(self) -> anyhow::Result<Stopped<Provider>> {
        // A task that has ended by itself needs no word.
        let _ended = self.stop.send(());
        Ok(self.task.await?.stop().await?)
    }
}

/// All roles at the end.
pub(super) struct Ended {
    pub(super) mediator: Mediator,
    pub(super) providers: Vec<Provider>,
    pub(super) users: Vec<(UserData, User)>,
    pub(super) moves: u32,
}

/// Two providers, each at a node of its own, apply and are verified.
pub(super) async fn providers(
    stage: &mut Stage,
    desk: &mut Desk,
) -> anyhow::Result<Vec<Handle<Provider>>> {
    let say = stage.say.clone();
    let mediator = desk.id();
    let mut certifying: JoinSet<anyhow::Result<(usize, Handle<Provider>)>> = JoinSet::new();
    for (n, (areas, postal_code, city)) in AREAS.into_iter().enumerate() {
        let mut options = stage.options("provider", n, n + 1);
        let practice = people::practice(stage.seeds, n, postal_code, city)?;
        let evidence = Text::try_from(format!("licence {}", 4711 + n).as_str())?;
        let node = options.places.first().context("no node")?.id;
        let provider = Provider::create(practice, evidence, stage.view()?, node, &mut options.rng);
        let (say, who, place) = (
            say.clone(),
            format!("provider {}", n + 1),
            stage.name(n + 1),
        );
        certifying.spawn(async move {
            let mut handle = Handle::start(provider, options);
            let mut regions = Vec::new();
            for area in areas {
                regions
                    .push(learns(&handle, "the regions", move |view| region_of(view, area)).await?);
            }
            certify(&mut handle, mediator, regions, &say, (&who, &place)).await?;
            Ok((n, handle))
        });
    }
    desk.verify(PROVIDERS, &say, &stage.name(0)).await?;
    let mut certified = BTreeMap::new();
    while let Some(done) = certifying.join_next().await {
        let (n, handle) = done??;
        certified.insert(n, handle);
    }
    Ok(certified.into_values().collect())
}

/// Ten users, at the nodes that no other role has, place their requests.
pub(super) async fn users(stage: &mut Stage) -> anyhow::Result<Vec<Person>> {
    let say = stage.say.clone();
    let nodes = stage.places.len();
    // Mediator and providers have the first three; with three nodes, users share.
    let own: Vec<usize> = (PROVIDERS + 1..nodes).collect();
    let own = if own.is_empty() { vec![nodes - 1] } else { own };
    let names = stage
        .net
        .nodes()
        .iter()
        .map(|n| (n.id(), n.name().to_owned()));
    let names: Arc<Names> = Arc::new(names.collect());
    let mut asking: JoinSet<anyhow::Result<(usize, Person)>> = JoinSet::new();
    for n in 0..USERS {
        let node = own.get(n % own.len()).copied().unwrap_or_default();
        let options = stage.options("user", n, node);
        let id = options.places.first().context("no node")?.id;
        let data = people::user(stage.seeds, n)?;
        let user = User::create(data.clone(), stage.view()?, id);
        let person = Person {
            data,
            handle: Handle::start(user, options),
            who: format!("user {}", n + 1),
            place: stage.name(node),
            names: names.clone(),
            newest: None,
        };
        let (areas, _, _) = AREAS.get(n / 2 % PROVIDERS).context("no provider")?;
        let area = areas
            .get(n / 4 % areas.len())
            .copied()
            .context("no region")?;
        let say = say.clone();
        asking.spawn(async move {
            let mut person = person;
            let region = learns(&person.handle, "the regions", move |view| {
                region_of(view, area)
            })
            .await?;
            person.request(region, &say).await?;
            Ok((n, person))
        });
    }
    let mut admitted = BTreeMap::new();
    while let Some(done) = asking.join_next().await {
        let (n, person) = done??;
        admitted.insert(n, person);
    }
    Ok(admitted.into_values().collect())
}

/// The users book; at the first confirmation the last node is killed, while others wait for theirs; it
/// comes back meanwhile. Its users go on at another node, and two of them only begin then.
pub(super) async fn bookings_and_a_kill(
    stage: &mut Stage,
    people: Vec<Person>,
) -> anyhow::Result<Vec<Person>> {
    let say = stage.say.clone();
    let doomed = stage.places.len() - 1;
    let name = stage.name(doomed);
    let mut booking: JoinSet<anyhow::Result<Person>> = JoinSet::new();
    let book = |booking: &mut JoinSet<_>, mut person: Person| {
        let say = say.clone();
        booking.spawn(async move {
            person.book(&say).await?;
            Ok(person)
        });
    };
    let (mut late, mut done) = (Vec::new(), Vec::new());
    for person in people {
        if person.place == name && late.len() < LATE {
            late.push(person);
        } else {
            book(&mut booking, person);
        }
    }
    if let Some(person) = booking.join_next().await {
        done.push(person??);
    }
    stage.net.kill(doomed).await?;
    stage.killed += 1;
    say.bad(&name, "", "is killed (kill -9)");
    for person in late {
        book(&mut booking, person);
    }
    sleep(AWAY).await;
    stage.net.restart(doomed).await?;
    say.good(&name, "", "is back");
    while let Some(person) = booking.join_next().await {
        done.push(person??);
    }
    Ok(done)
}

pub(super) async fn end(
    desk: Desk,
    practices: Vec<Practice>,
    people: Vec<Person>,
) -> anyhow::Result<Ended> {
    let mut moves = 0;
    let mut users = Vec::new();
    for person in people {
        let stopped = person.handle.stop().await?;
        moves += stopped.moves;
        users.push((person.data, stopped.role));
    }
    let mut providers = Vec::new();
    for practice in practices {
        let stopped = practice.stop().await?;
        moves += stopped.moves;
        providers.push(stopped.role);
    }
    let stopped = desk.into_handle().stop().await?;
    Ok(Ended {
        mediator: stopped.role,
        providers,
        users,
        moves: moves + stopped.moves,
    })
}
