//! The demo: a federation from nothing to booked appointments, with a node killed in the middle, and
//! everything counted at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use lapwing_protocol::bounded::Text;
use lapwing_protocol::id::{MediatorId, NodeId, RegionId};
use lapwing_protocol::mailbox::Writers;
use lapwing_protocol::mediation::RegionList;
use lapwing_protocol::role::mediator::{Mediator, RegionPlan};
use lapwing_protocol::role::provider::{BookState, Provider};
use lapwing_protocol::role::user::{BookingStatus, UserStatus};
use lapwing_protocol::role::{Role, User};
use lapwing_protocol::token::UserData;
use lapwing_protocol::trust::TrustView;
use serde::Deserialize;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::audit::{self, Audit, Reader};
use crate::cast::{Desk, Person, certify, learns, open_slots, tell_provider};
use crate::driver::{Handle, Names, Options, Place, Stopped, now, places_from, quick_pace};
use crate::federation::quick_params;
use crate::http::Client;
use crate::ledger::Ledger;
use crate::net::{Net, NetOptions};
use crate::people;
use crate::report::{Counts, Expected, Say};
use crate::seeds::Seeds;

/// How many users there are.
const USERS: usize = 10;
/// How many providers.
const PROVIDERS: usize = 2;
/// The regions of each provider: by the first three digits of their postal codes, with a practice's
/// postal code and city.
const AREAS: [([&str; 2], &str, &str); PROVIDERS] = [
    (["101", "104"], "10115", "Berlin"),
    (["201", "203"], "20144", "Hamburg"),
];
/// How long holders may take to hold the same once nobody writes any more.
const SETTLE: Duration = Duration::from_secs(30);
/// How many users of the node that is killed begin to book only then.
const LATE: usize = 2;
/// How long the killed node stays away.
const AWAY: Duration = Duration::from_secs(2);
/// The areas that the mediator publishes.
const REGION_FILE: &str = include_str!("../../configs/regions/regions-de.toml");

/// What the demo is run with.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Nodes; three at least, so that writes survive one that is killed.
    pub nodes: usize,
    /// Where randomness comes from.
    pub seeds: Seeds,
    /// Ends after one round instead of staying.
    pub once: bool,
    /// Keeps the run's directory.
    pub keep: bool,
    /// Where run directories live.
    pub base: PathBuf,
    /// The node binary.
    pub binary: PathBuf,
}

/// The areas of the region file, as a mediator publishes them.
///
/// # Errors
/// When the file is damaged.
pub fn region_plans() -> anyhow::Result<Vec<RegionPlan>> {
    #[derive(Deserialize)]
    struct File {
        region: Vec<Area>,
    }
    #[derive(Deserialize)]
    struct Area {
        name: String,
        area: String,
        postal_codes: Vec<String>,
    }
    let file: File = toml::from_str(REGION_FILE).context("the region file is damaged")?;
    file.region
        .into_iter()
        .map(|area| {
            Ok(RegionPlan {
                name: Text::try_from(area.name.as_str())?,
                criteria: vec![(Text::try_from("area")?, Text::try_from(area.area.as_str())?)],
                postal_codes: area
                    .postal_codes
                    .iter()
                    .map(|c| Text::try_from(c.as_str()))
                    .collect::<Result<_, _>>()?,
            })
        })
        .collect()
}

/// The region whose postal codes begin so.
fn region_of(view: &TrustView, area: &str) -> Option<RegionId> {
    view.regions()
        .find(|(_, r)| r.postal_codes.iter().any(|c| c.starts_with(area)))
        .map(|(_, r)| r.id)
}

/// Everything that the parts of the demo share.
struct Stage {
    say: Arc<Say>,
    net: Net,
    seeds: Seeds,
    places: Vec<Place>,
    ledger: Arc<Ledger>,
    clients: u16,
    killed: u64,
}

impl Stage {
    fn name(&self, n: usize) -> String {
        self.net
            .nodes()
            .get(n % self.net.nodes().len().max(1))
            .map_or_else(String::new, |n| n.name().to_owned())
    }

    /// What a role runs with whose own node is the `n`th.
    fn options(&mut self, role: &str, number: usize, n: usize) -> Options {
        self.clients += 1;
        Options {
            client: Client::numbered(self.clients),
            places: places_from(&self.places, n),
            pace: quick_pace(),
            rng: self.seeds.stream(role, number as u64),
            file: self.net.path().join(format!("{role}-{}.state", number + 1)),
            ledger: self.ledger.clone(),
        }
    }

    fn view(&self) -> anyhow::Result<TrustView> {
        Ok(TrustView::new(self.net.founders().federation().clone())?)
    }
}

/// A provider whose events are told, and its handle's return.
struct Practice {
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<Handle<Provider>>,
}

impl Practice {
    fn tell(mut handle: Handle<Provider>, say: Arc<Say>, who: String, place: String) -> Self {
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

    async fn stop(self) -> anyhow::Result<Stopped<Provider>> {
        // A task that has ended by itself needs no word.
        let _ended = self.stop.send(());
        Ok(self.task.await?.stop().await?)
    }
}

/// All roles at the end.
struct Ended {
    mediator: Mediator,
    providers: Vec<Provider>,
    users: Vec<(UserData, User)>,
    moves: u32,
}

/// Runs the demo. True when every count is right.
///
/// # Errors
/// When it cannot go on.
pub async fn demo(options: &DemoOptions) -> anyhow::Result<bool> {
    ensure!(
        options.nodes >= 3,
        "the demo needs three nodes or more: one of them is killed"
    );
    let say = Arc::new(Say::default());
    say.plain(format!(
        "seed {} (SEED={} runs the same again)",
        options.seeds.get(),
        options.seeds.get()
    ));
    let net = NetOptions {
        nodes: options.nodes,
        seeds: options.seeds,
        params: quick_params(),
        base: options.base.clone(),
        binary: options.binary.clone(),
        keep: options.keep,
    };
    let net = Net::start(&net, now()).await?;
    let cleaned = net.cleaned();
    if cleaned.killed + cleaned.removed > 0 {
        say.line(
            "testnet",
            "",
            format!(
                "cleans up after a crash: {} nodes, {} runs",
                cleaned.killed, cleaned.removed
            ),
        );
    }
    say.line(
        "root keys",
        "",
        format!("sign the roster of {} operators", options.nodes),
    );
    say.good("nodes", "", format!("{} are one federation", options.nodes));
    let places = net
        .nodes()
        .iter()
        .map(|n| Place {
            id: n.id(),
            api: n.api(),
        })
        .collect();
    let mut stage = Stage {
        say,
        net,
        seeds: options.seeds,
        places,
        ledger: Arc::default(),
        clients: 0,
        killed: 0,
    };
    let result = tokio::select! {
        played = play(&mut stage) => played,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    let right = match result {
        Ok(counts) => conclude(&mut stage, options, counts).await?,
        Err(error) => {
            for node in stage.net.nodes() {
                stage.say.bad(
                    node.name(),
                    "",
                    format!("the end of its log:\n{}", node.log_end()),
                );
            }
            return Err(error);
        }
    };
    if options.keep {
        stage
            .say
            .plain(format!("kept: {}", stage.net.path().display()));
    }
    stage.net.stop().await?;
    Ok(right)
}

/// Shows the counts; stays where it should; prints the JSON line last where it should not.
async fn conclude(
    stage: &mut Stage,
    options: &DemoOptions,
    counts: Counts,
) -> anyhow::Result<bool> {
    let expected = Expected {
        nodes: options.nodes as u64,
        regions: 671,
        postal_codes: 8168,
        providers: PROVIDERS as u64,
        users: USERS as u64,
        nodes_killed: 1,
    };
    let wrong = counts.wrong(&expected);
    for (name, found, expected) in &wrong {
        stage.say.bad(
            "wrong",
            "",
            format!("{name} is {found}, must be {expected}"),
        );
    }
    let json = serde_json::to_string(&counts)?;
    if options.once {
        stage.say.plain(json);
        return Ok(wrong.is_empty());
    }
    stage.say.plain(json);
    stay(&stage.net, &stage.say).await;
    Ok(wrong.is_empty())
}

/// Says where the API is, and waits for Ctrl-C.
pub async fn stay(net: &Net, say: &Say) {
    say.plain("");
    for node in net.nodes() {
        say.plain(format!("  {}  http://{}/v1/node", node.name(), node.api()));
    }
    say.plain(format!(
        "Logs, keys and data: {}. Ctrl-C ends it.",
        net.path().display()
    ));
    interrupted().await;
}

/// Waits for SIGINT or SIGTERM.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without signals there is nothing to wait for.
        _ => std::future::pending().await,
    }
}

async fn play(stage: &mut Stage) -> anyhow::Result<Counts> {
    let say = stage.say.clone();
    let at = stage.name(0);
    let options = stage.options("mediator", 0, 0);
    let mut desk = Desk::open(options, stage.net.founders(), region_plans()?, &say, &at).await?;
    let practices = providers(stage, &mut desk).await?;
    let certified = practices.len() as u64;
    let mut people = users(stage).await?;
    let admitted = people.len() as u64;
    let mut open = Vec::new();
    for (n, mut handle) in practices.into_iter().enumerate() {
        let (who, place) = (format!("provider {}", n + 1), stage.name(n + 1));
        open_slots(&mut handle, &say, (&who, &place)).await?;
        open.push(Practice::tell(handle, say.clone(), who, place));
    }
    for person in &mut people {
        person.offered(&say).await?;
    }
    let mut people = bookings_and_a_kill(stage, people).await?;
    let last = people.last_mut().context("no user")?;
    last.cancel(&say).await?;
    last.book(&say).await?;
    let ended = end(desk, open, people).await?;
    count(stage, ended, certified, admitted).await
}

/// Two providers, each at a node of its own, apply and are verified.
async fn providers(stage: &mut Stage, desk: &mut Desk) -> anyhow::Result<Vec<Handle<Provider>>> {
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
async fn users(stage: &mut Stage) -> anyhow::Result<Vec<Person>> {
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
async fn bookings_and_a_kill(
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

async fn end(desk: Desk, practices: Vec<Practice>, people: Vec<Person>) -> anyhow::Result<Ended> {
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

/// Reads everything back, compares it, and counts.
async fn count(
    stage: &mut Stage,
    ended: Ended,
    providers: u64,
    users: u64,
) -> anyhow::Result<Counts> {
    let say = stage.say.clone();
    stage.net.wait_met().await?;
    let entries = stage.ledger.read();
    let mut readers: Vec<Box<dyn Reader>> = vec![audit::reader(&ended.mediator)?];
    for provider in &ended.providers {
        readers.push(audit::reader(provider)?);
    }
    for (_, user) in &ended.users {
        readers.push(audit::reader(user)?);
    }
    stage.clients += 1;
    let client = Client::numbered(stage.clients);
    let audit = audit::read_back(&client, &stage.places, &entries, &mut readers).await?;
    say.line(
        "testnet",
        "",
        format!(
            "reads {} acknowledged writes back through every node",
            audit.writes
        ),
    );
    for (node, missing) in &audit.missing {
        let list: Vec<String> = missing
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        say.bad(
            "testnet",
            stage.net.name_of(node),
            format!("lacks {}", list.join(", ")),
        );
    }
    let begun = say.seconds();
    let diverged = audit::settle(&stage.net, SETTLE).await;
    say.line(
        "testnet",
        "",
        format!(
            "compares holders: {diverged} pairs differ after {:.1} s",
            say.seconds() - begun
        ),
    );
    let (regions, postal_codes) = regions_at_nodes(stage, &client, ended.mediator.id()).await?;
    let mut running = 0;
    for n in 0..stage.places.len() {
        running += u64::from(stage.net.node(n)?.status().await.is_ok());
    }
    stage.net.check_alive()?;
    let stands = UserStatus::Booking(BookingStatus::Confirmed);
    let confirmed: Vec<_> = ended
        .users
        .iter()
        .filter(|(_, user)| user.status() == stands)
        .collect();
    let book = standing(&ended.providers);
    let lost = confirmed
        .iter()
        .filter(|(data, user)| !holds(data, user, stage, &book, &audit))
        .count() as u64;
    table(stage, &ended, &book).await?;
    Ok(Counts {
        nodes: running,
        regions,
        postal_codes,
        providers,
        users,
        bookings_confirmed: confirmed.len() as u64,
        bookings_lost: lost,
        double_bookings: double(&ended.providers),
        nodes_killed: stage.killed,
        acknowledged_writes: audit.writes,
        acknowledged_writes_lost: audit.lost,
        replicas_diverged: diverged,
        seconds: (say.seconds() * 10.0).round() / 10.0,
    })
}

/// How many regions and postal codes every node's list has: the least of any.
async fn regions_at_nodes(
    stage: &Stage,
    client: &Client,
    mediator: MediatorId,
) -> anyhow::Result<(u64, u64)> {
    let empty = stage.view()?;
    let mut least: Option<(u64, u64)> = None;
    for place in &stage.places {
        let view = audit::view_of(client, *place, &empty).await?;
        let list: Option<&RegionList> = view
            .mediator(&mediator)
            .and_then(|m| m.regions())
            .map(|l| &**l);
        let regions = list.map_or(0, |l| l.regions.len() as u64);
        let codes: BTreeSet<&str> = list
            .into_iter()
            .flat_map(|l| l.regions.iter())
            .flat_map(|r| r.postal_codes.iter().map(|c| c.as_str()))
            .collect();
        let found = (regions, codes.len() as u64);
        least = Some(least.map_or(found, |l| l.min(found)));
    }
    Ok(least.unwrap_or_default())
}

/// Who has a standing booking in the providers' books.
fn standing(providers: &[Provider]) -> Vec<UserData> {
    let lines = providers.iter().flat_map(Provider::bookings);
    lines
        .filter(|(_, line)| line.state == BookState::Confirmed)
        .map(|(_, line)| line.data.clone())
        .collect()
}

/// Slots that stand in a book more than once.
fn double(providers: &[Provider]) -> u64 {
    let mut count: BTreeMap<(usize, _), u64> = BTreeMap::new();
    for (n, provider) in providers.iter().enumerate() {
        for (_, line) in provider.bookings() {
            if line.state == BookState::Confirmed {
                *count.entry((n, line.slot)).or_default() += 1;
            }
        }
    }
    count.values().filter(|n| **n > 1).count() as u64
}

/// Whether a confirmed booking is in a provider's book exactly once, and a letter of the provider is in
/// the user's channel at every node.
fn holds(data: &UserData, user: &User, stage: &Stage, book: &[UserData], audit: &Audit) -> bool {
    let booked = book.iter().filter(|booked| *booked == data).count() == 1;
    let channels: Vec<_> = user
        .watching()
        .into_iter()
        .filter(|m| matches!(m.writers, Writers::Keys(_)))
        .map(|m| m.id())
        .collect();
    let at = |node: NodeId| {
        channels.iter().any(|id| {
            audit
                .mailboxes
                .get(&(node, *id))
                .is_some_and(|found| !found.is_empty())
        })
    };
    booked && stage.places.iter().all(|p| at(p.id))
}

async fn table(stage: &Stage, ended: &Ended, book: &[UserData]) -> anyhow::Result<()> {
    let say = &stage.say;
    say.plain("");
    let text = |s: &str| s.to_owned();
    let mut rows = vec![vec![
        text("provider"),
        text("slots"),
        text("offers open"),
        text("booked"),
        text("cancelled"),
    ]];
    for (n, provider) in ended.providers.iter().enumerate() {
        let lines = provider.bookings();
        let of = |state| {
            lines
                .iter()
                .filter(|(_, l)| l.state == state)
                .count()
                .to_string()
        };
        rows.push(vec![
            format!("provider {}", n + 1),
            provider.slots().len().to_string(),
            provider.open_offers().to_string(),
            of(BookState::Confirmed),
            of(BookState::Cancelled),
        ]);
    }
    say.table(&rows);
    say.plain("");
    let head = [
        "node", "peers", "items", "requests", "healed", "disk", "API",
    ];
    let mut rows = vec![head.iter().map(|h| text(h)).collect::<Vec<_>>()];
    for node in stage.net.nodes() {
        let status = node.status().await?;
        rows.push(vec![
            node.name().to_owned(),
            status.peers.len().to_string(),
            status.number("items").to_string(),
            status.number("requests").to_string(),
            status.number("healed").to_string(),
            status
                .store_bytes
                .map_or_else(String::new, |b| format!("{} KiB", b / 1024)),
            format!("http://{}", node.api()),
        ]);
    }
    say.table(&rows);
    say.plain("");
    let moved = ended.moves;
    say.plain(format!(
        "{} bookings stand; roles moved on to another node {moved} times.",
        book.len()
    ));
    say.plain("");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_regions_are_there() {
        let plans = region_plans().unwrap();
        assert_eq!(plans.len(), 671);
        assert_eq!(
            plans.iter().map(|p| p.postal_codes.len()).sum::<usize>(),
            8168
        );
        for (areas, postal_code, _) in AREAS {
            for area in areas {
                assert!(
                    plans
                        .iter()
                        .any(|p| p.postal_codes.iter().any(|c| c.starts_with(area))),
                    "{area}"
                );
            }
            assert!(
                plans
                    .iter()
                    .any(|p| p.postal_codes.iter().any(|c| c.as_str() == postal_code)),
                "{postal_code}"
            );
        }
    }
}
