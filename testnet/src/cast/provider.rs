//! A provider: applies, opens slots, and tells what its role does by itself.

use std::collections::BTreeSet;

use lapwing_protocol::bounded::{List, Text};
use lapwing_protocol::id::{MediatorId, RegionId};
use lapwing_protocol::mediation::MAX_PROVIDER_REGIONS;
use lapwing_protocol::role::provider::{Provider, ProviderEvent};
use lapwing_protocol::time::Seconds;

use super::{VACCINE, clock, trouble, wait};
use crate::report::Say;
use lapwing_client::driver::Handle;

/// Slots of each provider.
pub const SLOTS: u32 = 20;

/// A provider's certificate and region keys, from the application on.
///
/// # Errors
/// When they do not come in time.
pub async fn certify(
    handle: &mut Handle<Provider>,
    mediator: MediatorId,
    regions: Vec<RegionId>,
    say: &Say,
    (who, place): (&str, &str),
) -> anyhow::Result<()> {
    let wanted: BTreeSet<RegionId> = regions.iter().copied().collect();
    let list: List<RegionId, MAX_PROVIDER_REGIONS> = List::try_from(regions)?;
    handle.with(move |p, _, _| p.apply(mediator, list)).await?;
    let (mut certified, mut keys) = (false, BTreeSet::new());
    wait(handle, "the certificate", |event| {
        match event {
            ProviderEvent::Applied => say.line(who, place, "applies to the mediator"),
            ProviderEvent::Certified { serial, .. } => {
                certified = true;
                say.good(who, place, format!("is certified, serial {serial}"));
            }
            ProviderEvent::RegionKey { region, .. } => {
                keys.insert(region);
            }
            event => trouble(say, who, place, provider_trouble(&event)),
        }
        (certified && keys == wanted).then_some(())
    })
    .await?;
    say.line(
        who,
        place,
        format!("has the keys of {} regions", wanted.len()),
    );
    Ok(())
}

/// Adds the slots of a day, and waits until their marks are set.
///
/// # Errors
/// When they are not in time.
pub async fn open_slots(
    handle: &mut Handle<Provider>,
    say: &Say,
    (who, place): (&str, &str),
) -> anyhow::Result<()> {
    let what: Text<80> = Text::try_from(VACCINE)?;
    let added = handle.with(move |p, now, rng| {
        let morning = now.day().plus(1).start().plus(Seconds::hours(8));
        let start = |n: u32| morning.plus(Seconds::minutes(15 * n));
        (0..SLOTS)
            .map(|n| p.add_slot(start(n), 15, what.clone(), now, rng))
            .collect::<Result<BTreeSet<_>, _>>()
    });
    let mut missing = added.await??;
    wait(handle, "the slots' marks", |event| {
        match event {
            ProviderEvent::SlotReady(id) => {
                missing.remove(&id);
            }
            event => trouble(say, who, place, provider_trouble(&event)),
        }
        missing.is_empty().then_some(())
    })
    .await?;
    say.line(who, place, format!("opens {SLOTS} slots"));
    Ok(())
}

/// Tells what a provider's role does, until it has ended.
pub async fn tell_provider(handle: &mut Handle<Provider>, say: &Say, (who, place): (&str, &str)) {
    while let Ok(event) = handle.event().await {
        match event {
            ProviderEvent::Claimed {
                listed, offering, ..
            } if offering > 0 => {
                say.line(
                    who,
                    place,
                    format!("claims {listed} requests, makes {offering} offers"),
                );
            }
            ProviderEvent::Booked { start, .. } => {
                say.line(
                    who,
                    place,
                    format!("checks H, P and signature, confirms {}", clock(start)),
                );
            }
            ProviderEvent::Rejected { reason, .. } => {
                say.line(who, place, format!("turns a booking down: {reason:?}"))
            }
            ProviderEvent::Cancelled { again, .. } => {
                let more = if again { ", makes a new offer" } else { "" };
                say.line(who, place, format!("hears of a cancellation{more}"));
            }
            event => trouble(say, who, place, provider_trouble(&event)),
        }
    }
}

fn provider_trouble(event: &ProviderEvent) -> Option<String> {
    match event {
        ProviderEvent::Refused(p)
        | ProviderEvent::BadAnswer(p)
        | ProviderEvent::BadEntry(p)
        | ProviderEvent::InvalidApproval(p)
        | ProviderEvent::OfferRefused { problem: p, .. }
        | ProviderEvent::LockRefused { problem: p, .. } => Some(format!("trouble: {}", p.text())),
        _ => None,
    }
}
