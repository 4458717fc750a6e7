//! A provider: applies, opens slots, and is watched while its role works by itself.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context;
use lapwing_client::driver::{Handle, Stopped};
use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::id::{MediatorId, RegionId};
use lapwing_protocol::mediation::MAX_PROVIDER_REGIONS;
use lapwing_protocol::role::Role;
use lapwing_protocol::role::provider::{OfferPolicy, Provider, ProviderEvent};
use lapwing_protocol::time::{Seconds, Time};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::stage::Stage;
use super::wait::{PATIENCE, learns, wait};
use super::{VACCINE, region_of};
use crate::people;
use crate::tally::Tally;

/// How long an appointment takes.
const MINUTES: u16 = 15;

/// How long after an offer the provider's state is kept: well within the time for which a deal is known
/// that its user declined. ([`Stage::keep`] is for those that end at once.)
const KEEP: Duration = Duration::from_secs(3);

/// A provider whose role runs.
#[derive(Debug)]
pub(super) struct Practice {
    /// Its number.
    pub(super) number: usize,
    /// What it is called.
    pub(super) name: String,
    /// The serial of its certificate.
    pub(super) serial: u64,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Handle<Provider>>,
}

/// What the practice of this number is called.
///
/// # Errors
/// When a text is longer than its field, which none is.
pub(super) fn name(stage_seeds: crate::seeds::Seeds, number: usize) -> anyhow::Result<String> {
    Ok(people::practice(stage_seeds, number, "", "")?
        .name
        .as_str()
        .to_owned())
}

impl Practice {
    /// Applies, is certified, opens its slots; from then on it works by itself.
    ///
    /// # Errors
    /// When any of it is not in time.
    pub(super) async fn open(
        stage: Arc<Stage>,
        number: usize,
        mediator: MediatorId,
    ) -> anyhow::Result<Self> {
        let group = number % stage.scenario.providers.groups;
        let areas = stage
            .land
            .groups
            .get(group)
            .context("no group")?
            .areas
            .clone();
        let home = areas.first().context("no area")?;
        let code = home.postal_codes.first().map_or("", String::as_str);
        let practice = people::practice(stage.seeds, number, code, &home.name)?;
        let name = practice.name.as_str().to_owned();
        let place = number % stage.places.len().max(1);
        let mut options = stage.options("provider", number, place, stage.ledger.clone());
        let evidence = Text::try_from(format!("licence {}", 4711 + number).as_str())?;
        let node = options.places.first().context("no node")?.id;
        let mut provider = Provider::create(
            practice,
            evidence,
            stage.view.clone(),
            node,
            &mut options.rng,
        );
        provider.set_policy(policy(&stage));
        let mut handle = Handle::start(provider, options);
        let mut regions = Vec::new();
        for area in &areas {
            let area = area.area.clone();
            let found = learns(&handle, "the regions", move |view| region_of(view, &area));
            regions.push(found.await?);
        }
        let who = format!("provider {}", number + 1);
        let at = stage.name_at(place).to_owned();
        let serial = certify(&mut handle, mediator, regions, &stage, (&who, &at)).await?;
        open_slots(&mut handle, &stage, (&who, &at)).await?;
        stage
            .practices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, handle.remote());
        let (stop, stopped) = oneshot::channel();
        let doomed = stage.revoked_practice == name;
        let task = tokio::spawn(async move {
            let mut handle = handle;
            tokio::select! {
                () = follow(&mut handle, &stage, number, doomed, (&who, &at)) => {}
                _ = stopped => {}
            }
            handle
        });
        Ok(Practice {
            number,
            name,
            serial,
            stop,
            task,
        })
    }

    /// Lets it finish what it has begun, and stops it.
    ///
    /// # Errors
    /// When its role had ended before.
    pub(super) async fn stop(self) -> anyhow::Result<Stopped<Provider>> {
        // A task that has ended by itself needs no word.
        let _ended = self.stop.send(());
        Ok(self.task.await?.stop().await?)
    }
}

fn policy(stage: &Stage) -> OfferPolicy {
    OfferPolicy {
        per_slot: stage.scenario.providers.per_slot,
        ..OfferPolicy::default()
    }
}

async fn certify(
    handle: &mut Handle<Provider>,
    mediator: MediatorId,
    regions: Vec<RegionId>,
    stage: &Stage,
    (who, at): (&str, &str),
) -> anyhow::Result<u64> {
    let wanted: BTreeSet<RegionId> = regions.iter().copied().collect();
    let list: List<RegionId, MAX_PROVIDER_REGIONS> = List::try_from(regions)?;
    handle.with(move |p, _, _| p.apply(mediator, list)).await?;
    let (mut certified, mut keys) = (None, BTreeSet::new());
    let serial = wait(handle, PATIENCE, "the certificate", |event| {
        match event {
            ProviderEvent::Certified { serial, .. } => certified = Some(serial),
            ProviderEvent::RegionKey { region, .. } => {
                keys.insert(region);
            }
            event => trouble(stage, who, at, &event),
        }
        certified.filter(|_| keys == wanted)
    })
    .await?;
    stage.tally.count(|p| p.certified += 1);
    Ok(serial)
}

/// Adds the slots of a day, and waits until their marks are set.
async fn open_slots(
    handle: &mut Handle<Provider>,
    stage: &Stage,
    (who, at): (&str, &str),
) -> anyhow::Result<()> {
    let what: Text<80> = Text::try_from(VACCINE)?;
    let count = stage.scenario.providers.slots;
    let added = handle.with(move |p, now, rng| {
        let morning = now.day().plus(1).start().plus(Seconds::hours(8));
        let start = |n: u32| morning.plus(Seconds::minutes(u32::from(MINUTES) * n));
        (0..count)
            .map(|n| p.add_slot(start(n), MINUTES, what.clone(), now, rng))
            .collect::<Result<BTreeSet<_>, _>>()
    });
    let mut missing = added.await??;
    wait(handle, PATIENCE, "the slots' marks", |event| {
        match event {
            ProviderEvent::SlotReady(id) => {
                missing.remove(&id);
            }
            event => {
                seen(&event, &stage.tally, false);
                trouble(stage, who, at, &event);
            }
        }
        missing.is_empty().then_some(())
    })
    .await?;
    stage.tally.count(|p| p.slots += u64::from(count));
    stage
        .say
        .detail(who, at, format!("is certified, opens {count} slots"));
    Ok(())
}

/// Counts what shows how far the run is.
fn seen(event: &ProviderEvent, tally: &Tally, doomed: bool) {
    match event {
        ProviderEvent::Claimed { listed, .. } => {
            let listed = u64::from(*listed);
            tally.count(|p| p.claimed += listed);
        }
        ProviderEvent::OfferSent { .. } => tally.count(|p| {
            p.offers += 1;
            p.doomed_offers += u64::from(doomed);
        }),
        ProviderEvent::Rejected { .. } => tally.count(|p| p.turned_down += 1),
        _ => {}
    }
}

/// Follows what a provider's role does, until it has ended.
async fn follow(
    handle: &mut Handle<Provider>,
    stage: &Stage,
    number: usize,
    doomed: bool,
    (who, at): (&str, &str),
) {
    // When its state is to be kept: what comes of an offer may end it, with its keys.
    let mut keep: Option<Instant> = None;
    loop {
        let event = tokio::select! {
            event = handle.event() => match event {
                Ok(event) => event,
                Err(_) => return,
            },
            () = sleep_until(keep.unwrap_or_else(Instant::now)), if keep.is_some() => {
                keep = None;
                if let Ok(state) = handle.with(|p, _, _| p.save()).await {
                    let mut kept = stage.kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.providers.push(state);
                }
                continue;
            }
        };
        seen(&event, &stage.tally, doomed);
        if let ProviderEvent::OfferSent { .. } = &event {
            keep.get_or_insert_with(|| Instant::now() + KEEP);
        }
        match &event {
            ProviderEvent::Claimed {
                listed, offering, ..
            } if *offering > 0 => stage.say.detail(
                who,
                at,
                format!("claims {listed} requests, makes {offering} offers"),
            ),
            ProviderEvent::Booked {
                booking,
                slot,
                start,
                data,
            } => {
                let person = data.email.as_str();
                let (slots, bookings) = stage.bookings.entered(number, *booking, *slot, person);
                twice(stage, (slots, bookings), (who, at));
                stage.say.detail(
                    who,
                    at,
                    format!("checks H, P and signature, confirms {}", clock(*start)),
                );
            }
            ProviderEvent::Changed { booking, to, .. } => {
                twice(stage, (stage.bookings.moved(booking, *to), 1), (who, at));
            }
            ProviderEvent::Cancelled { booking, .. } => stage.bookings.ended(booking),
            event => trouble(stage, who, at, event),
        }
    }
}

/// Says so at once where two stand where one may.
fn twice(stage: &Stage, (slots, bookings): (usize, usize), (who, at): (&str, &str)) {
    if slots > 1 {
        stage.tally.count(|p| p.double_bookings += 1);
        stage.say.bad(who, at, "has booked one slot twice");
    }
    if bookings > 1 {
        stage.tally.count(|p| p.multi_bookings += 1);
        stage
            .say
            .bad(who, at, "has booked somebody who has a booking");
    }
}

fn trouble(stage: &Stage, who: &str, at: &str, event: &ProviderEvent) {
    let what = match event {
        ProviderEvent::Refused(p)
        | ProviderEvent::BadAnswer(p)
        | ProviderEvent::BadEntry(p)
        | ProviderEvent::InvalidApproval(p)
        | ProviderEvent::OfferRefused { problem: p, .. }
        | ProviderEvent::LockRefused { problem: p, .. } => p.text(),
        _ => return,
    };
    stage.say.detail(who, at, format!("trouble: {what}"));
}

/// A time of day, UTC.
fn clock(time: Time) -> String {
    let minutes = time.get() / 60 % (24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}
