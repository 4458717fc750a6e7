//! The roles of a booking, each at a node of its own: a mediator with a few regions, a provider with slots
//! enough, and users. They answer at once: what is measured is the software, not the people.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lapwing_client::driver::{Acknowledged, Event, Handle, Options, Place, places_from};
use lapwing_client::file::StateFile;
use lapwing_protocol::id::{MediatorId, RegionId};
use lapwing_protocol::mediation::Practice;
use lapwing_protocol::role::mediator::{MediatorRoot, RegionPlan, WorkingKeys};
use lapwing_protocol::role::{Mediator, MediatorEvent, Pace, Provider, ProviderEvent, Role, User};
use lapwing_protocol::time::Seconds;
use lapwing_protocol::token::UserData;
use lapwing_protocol::trust::TrustView;
use lapwing_testnet::clients;
use tokio::time::{sleep, timeout};

use crate::mediator::{fit, text};
use crate::stage::Stage;

/// How long anybody waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what a role knows.
const LOOK: Duration = Duration::from_millis(20);
/// Regions of the mediator, which the provider serves all: holders bound claims by region and minute.
pub(crate) const REGIONS: usize = 12;
/// Slots that are added at once.
const SLOTS_AT_ONCE: usize = 64;

/// What roles run with whose own node is the `n`th.
pub(crate) fn options(
    stage: &Stage,
    role: &str,
    number: u64,
    n: usize,
    ledger: Arc<dyn Acknowledged>,
) -> Options {
    let places: Vec<Place> = stage
        .net
        .nodes()
        .iter()
        .map(|n| Place {
            id: n.id(),
            api: n.api().into(),
        })
        .collect();
    let [.., third, last] = number.to_be_bytes();
    let second = if role == "user" { 96 } else { 97 };
    Options {
        client: clients::from(std::net::Ipv4Addr::new(127, second + third, last, 1)),
        places: places_from(&places, n),
        pace: Pace::default(),
        rng: stage.seeds.stream(role, number),
        feed: Duration::from_secs(1),
        file: StateFile::plain(stage.net.path().join(format!("{role}-{number}.state"))),
        trust: None,
        ledger,
    }
}

/// What a role pins.
pub(crate) fn view(stage: &Stage) -> anyhow::Result<TrustView> {
    Ok(TrustView::new(stage.net.founders().federation().clone())?)
}

/// Waits until a role's view of the chain of trust knows something.
pub(crate) async fn learns<R, T>(
    handle: &Handle<R>,
    find: impl Fn(&TrustView) -> Option<T> + Clone + Send + 'static,
) -> anyhow::Result<T>
where
    R: Role + Send + 'static,
    R::Event: Event + Send + 'static,
    T: Send + 'static,
{
    let look = async {
        loop {
            let find = find.clone();
            if let Some(found) = handle.with(move |role, _, _| find(role.view())).await? {
                return anyhow::Ok(found);
            }
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, look)
        .await
        .context("no node tells a role what it must know")?
}

/// Waits for what events say.
pub(crate) async fn wait<R, T>(
    handle: &mut Handle<R>,
    what: &str,
    mut see: impl FnMut(R::Event) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T>
where
    R: Role + Send + 'static,
    R::Event: Event + Send + 'static,
{
    let events = async {
        loop {
            if let Some(seen) = see(handle.event().await?)? {
                return anyhow::Ok(seen);
            }
        }
    };
    timeout(PATIENCE, events)
        .await
        .with_context(|| format!("{what}: not in time"))?
}

/// A registered mediator with its regions published.
pub(crate) async fn mediator(
    stage: &Stage,
    mut options: Options,
) -> anyhow::Result<(Handle<Mediator>, Vec<RegionId>)> {
    let node = options.places.first().context("no node")?.id;
    let mut root = MediatorRoot::create(&mut options.rng);
    let name = text("Bench role mediator")?;
    let role = Mediator::create(root.id(), name, view(stage)?, node, &mut options.rng);
    let mut handle = Handle::start(role, options);
    learns(&handle, |view| view.roster().map(drop)).await?;
    let everywhere = fit(vec![text("")?])?;
    let order = handle
        .with(|m, now, _| m.registration_order(everywhere, Seconds::days(365), now))
        .await?;
    let registration = stage.net.founders().sign_registration(&order);
    let (order, expires) = handle
        .with(|m, now, rng| {
            m.order(WorkingKeys::Same, now.day(), now, rng)
                .map(|order| (order, now.plus(Seconds::days(120))))
        })
        .await??;
    let certificate = root.certify(&order, expires)?;
    let plans = (0..REGIONS)
        .map(|n| {
            Ok(RegionPlan {
                name: text(&format!("Bench region {n}"))?,
                criteria: Vec::new(),
                postal_codes: vec![text(&format!("{:05}", 10_000 + n))?],
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let regions = handle
        .with(move |m, now, rng| {
            m.registered(&registration, now)?;
            m.certified(&certificate, now, rng)?;
            m.add_regions(&plans, now, rng)
        })
        .await??;
    wait(&mut handle, "publishing the regions", |event| match event {
        MediatorEvent::Published => Ok(Some(())),
        MediatorEvent::PublishRefused(p) => bail!("a record was refused: {}", p.text()),
        _ => Ok(None),
    })
    .await?;
    Ok((handle, regions))
}

/// A provider of all the mediator's regions with so many slots, whose rounds begin when they are asked for.
pub(crate) async fn provider(
    stage: &Stage,
    mut options: Options,
    mediator: &mut Handle<Mediator>,
    regions: &[RegionId],
    slots: usize,
) -> anyhow::Result<Handle<Provider>> {
    let practice = Practice {
        name: text("Bench practice")?,
        street: text("Lindenweg 1")?,
        postal_code: text("10000")?,
        city: text("Berlin")?,
        notes: text("")?,
    };
    let node = options.places.first().context("no node")?.id;
    let evidence = text("licence 1")?;
    let role = Provider::create(practice, evidence, view(stage)?, node, &mut options.rng);
    let mut handle = Handle::start(role, options);
    let mut wanted: Vec<RegionId> = regions.to_vec();
    wanted.sort_unstable();
    for region in wanted.clone() {
        learns(&handle, move |view| view.region(&region).map(drop)).await?;
    }
    let vouches: MediatorId = mediator.with(|m, _, _| m.id()).await?;
    let asked = fit(wanted)?;
    handle
        .with(move |p, _, _| {
            p.set_automatic(false);
            p.apply(vouches, asked);
        })
        .await?;
    let id = wait(mediator, "the application", |event| match event {
        MediatorEvent::Applied { id, .. } => Ok(Some(id)),
        _ => Ok(None),
    })
    .await?;
    mediator
        .with(move |m, now, rng| m.approve(&id, None, 90, now, rng))
        .await??;
    let (mut certified, mut keys) = (false, BTreeSet::new());
    wait(&mut handle, "the certificate", |event| {
        match event {
            ProviderEvent::Certified { .. } => certified = true,
            ProviderEvent::RegionKey { region, .. } => drop(keys.insert(region)),
            _ => {}
        }
        Ok((certified && keys.len() == regions.len()).then_some(()))
    })
    .await?;
    for first in (0..slots).step_by(SLOTS_AT_ONCE) {
        let some = u32::try_from(first)?..u32::try_from(slots.min(first + SLOTS_AT_ONCE))?;
        let mut missing = handle
            .with(move |p, now, rng| {
                let morning = now.day().plus(1).start();
                some.map(|n| {
                    let start = morning.plus(Seconds::minutes(15 * n));
                    p.add_slot(start, 15, text("mRNA").unwrap_or_default(), now, rng)
                })
                .collect::<Result<BTreeSet<_>, _>>()
            })
            .await??;
        wait(&mut handle, "the slots' marks", |event| {
            if let ProviderEvent::SlotReady(id) = event {
                missing.remove(&id);
            }
            Ok(missing.is_empty().then_some(()))
        })
        .await?;
    }
    Ok(handle)
}

/// A user who knows the region.
pub(crate) async fn user(
    stage: &Stage,
    options: Options,
    number: u64,
    region: RegionId,
) -> anyhow::Result<Handle<User>> {
    let data = UserData {
        name: text("Ada Albers")?,
        address: text("Am Markt 1, 10000 Berlin")?,
        email: text(&format!("user{number}@example.org"))?,
        telephone: text("")?,
    };
    let node = options.places.first().context("no node")?.id;
    let handle = Handle::start(User::create(data, view(stage)?, node), options);
    learns(&handle, move |view| view.region(&region).map(drop)).await?;
    Ok(handle)
}
