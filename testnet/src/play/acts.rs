//! The acts of a run: mediators and providers set the stage, everybody acts at once, the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lapwing_client::driver::{feed, now};
use lapwing_protocol::id::MediatorId;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::cast::{cast, live};
use super::count::{self, Ended, Facts, Over};
use super::desk::Desk;
use super::person::Person;
use super::practice::Practice;
use super::revoked;
use super::stage::Stage;
use crate::counts::Counts;
use crate::faults;

/// Between two looks at whether a node knows of the revocation.
const LOOK: Duration = Duration::from_millis(25);

/// All acts, and the count. Gives the roles back, so that they may go on.
pub(super) async fn acts(stage: &Arc<Stage>) -> anyhow::Result<(Counts, Ended)> {
    let desks = desks(stage).await?;
    let (desks, practices) = practices(stage, desks).await?;
    let (mut desks, revoking) = revoking(stage, desks, &practices);
    let faults = tokio::spawn(faults::play(
        stage.net.clone(),
        stage.scenario.faults.clone(),
        stage.tally.clone(),
        stage.say.clone(),
    ));
    stage.tally.count(|p| p.users_began = true);
    let people = people(stage).await?;
    // Faults that wait for what never happened would wait for ever.
    let late = sleep(stage.scenario.patience);
    tokio::select! {
        done = faults => done??,
        () = late => bail!("not every fault came about: what it waits for did not happen"),
    }
    if let Some(revoking) = revoking {
        desks.push(revoking.await??);
    }
    let ended = end(desks, practices, people).await?;
    count::quiet(stage).await?;
    let counts = count::count(stage, &ended).await?;
    Ok((counts, ended))
}

async fn desks(stage: &Arc<Stage>) -> anyhow::Result<Vec<Desk>> {
    let mut opening = JoinSet::new();
    for (number, plan) in stage.scenario.mediators.iter().enumerate() {
        let (stage, plan) = (stage.clone(), plan.clone());
        let regions = stage.land.plans.get(number).cloned().unwrap_or_default();
        opening.spawn(async move {
            let options = stage.options("mediator", number, number, stage.ledger.clone());
            let who = format!("mediator {}", number + 1);
            let place = stage.name_at(number % stage.places.len().max(1)).to_owned();
            let say = stage.say.clone();
            let desk = Desk::open(options, &stage.founders, &plan, regions, say, (who, place));
            anyhow::Ok((number, desk.await?))
        });
    }
    let mut desks = Vec::new();
    while let Some(done) = opening.join_next().await {
        desks.push(done??);
    }
    desks.sort_by_key(|(number, _)| *number);
    Ok(desks.into_iter().map(|(_, desk)| desk).collect())
}

async fn practices(
    stage: &Arc<Stage>,
    desks: Vec<Desk>,
) -> anyhow::Result<(Vec<Desk>, Vec<Practice>)> {
    let mediators: Vec<MediatorId> = desks.iter().map(Desk::id).collect();
    let mut counts = vec![0usize; desks.len()];
    let mut opening = JoinSet::new();
    for number in 0..stage.scenario.provider_count() {
        let group = number % stage.scenario.providers.groups;
        let mediator = stage.land.groups.get(group).context("no group")?.mediator;
        let id = *mediators.get(mediator).context("no mediator")?;
        if let Some(count) = counts.get_mut(mediator) {
            *count += 1;
        }
        opening.spawn(Practice::open(stage.clone(), number, id));
    }
    let mut verifying = JoinSet::new();
    for (n, (mut desk, count)) in desks.into_iter().zip(counts).enumerate() {
        verifying.spawn(async move {
            desk.verify(count).await?;
            anyhow::Ok((n, desk))
        });
    }
    let mut practices = Vec::new();
    while let Some(done) = opening.join_next().await {
        practices.push(done??);
    }
    let mut desks = Vec::new();
    while let Some(done) = verifying.join_next().await {
        desks.push(done??);
    }
    desks.sort_by_key(|(n, _)| *n);
    let desks = desks.into_iter().map(|(_, desk)| desk).collect();
    practices.sort_by_key(|p| p.number);
    stage.say.good(
        "providers",
        "",
        format!(
            "{} are certified, {} slots are open",
            practices.len(),
            stage.tally.now().slots
        ),
    );
    Ok((desks, practices))
}

/// Gives the desk back that has revoked.
type Revoking = JoinHandle<anyhow::Result<Desk>>;

/// Has the provider that is to be revoked lose its certificate once it has sent offers enough.
fn revoking(
    stage: &Arc<Stage>,
    mut desks: Vec<Desk>,
    practices: &[Practice],
) -> (Vec<Desk>, Option<Revoking>) {
    let Some(revocation) = stage.scenario.revocation else {
        return (desks, None);
    };
    let number = revoked(&stage.scenario);
    let found = practices.iter().find(|p| p.number == number);
    let mediator = stage
        .land
        .groups
        .first()
        .map_or(0, |g| g.mediator.min(desks.len().saturating_sub(1)));
    let (Some(practice), false) = (found, desks.is_empty()) else {
        return (desks, None);
    };
    let mut desk = desks.swap_remove(mediator);
    let (stage, serial, name) = (stage.clone(), practice.serial, practice.name.clone());
    let task = tokio::spawn(async move {
        let tally = &stage.tally;
        tally
            .reaches(|p| p.doomed_offers >= revocation.after_offers)
            .await;
        desk.revoke(serial, &name).await?;
        let begun = stage.say.seconds();
        reach(&stage, desk.id(), serial).await;
        stage.tally.count(|p| p.revoked = true);
        stage.say.good(
            "revocation",
            "",
            format!(
                "is at every node after {:.2} s",
                stage.say.seconds() - begun
            ),
        );
        Ok(desk)
    });
    (desks, Some(task))
}

/// Asks every node until it knows of the revocation.
async fn reach(stage: &Arc<Stage>, mediator: MediatorId, serial: u64) {
    let mut asking = JoinSet::new();
    for place in stage.places.clone() {
        let stage = stage.clone();
        asking.spawn(async move {
            let client = stage.client();
            let (mut view, mut tag) = (stage.view.clone(), None);
            loop {
                let fetched = feed::all(&client, &place.api, tag.as_deref()).await;
                if let Ok(Some((records, newer))) = fetched {
                    tag = newer;
                    feed::learn(&mut view, &records, now());
                }
                let knows = view
                    .mediator(&mediator)
                    .and_then(|m| m.revocations())
                    .is_some_and(|r| r.serials.contains(&serial));
                if knows {
                    stage.reached.mark(place.id);
                    return;
                }
                sleep(LOOK).await;
            }
        });
    }
    while asking.join_next().await.is_some() {}
}

async fn people(stage: &Arc<Stage>) -> anyhow::Result<Vec<Person>> {
    let mut living = JoinSet::new();
    for (who, node) in cast(stage)? {
        living.spawn(live(stage.clone(), who, node));
    }
    let mut people = Vec::new();
    while let Some(done) = living.join_next().await {
        let person = done??;
        stage.tally.count(|p| p.done += 1);
        if let Some(why) = &person.failed {
            stage
                .say
                .bad(&person.name(), "", format!("gives up: {why}"));
        }
        people.push(person);
    }
    people.sort_by_key(|p| p.number);
    Ok(people)
}

async fn end(
    desks: Vec<Desk>,
    practices: Vec<Practice>,
    people: Vec<Person>,
) -> anyhow::Result<Ended> {
    let mut over = Vec::new();
    for mut person in people {
        person.catch_up();
        let facts = Facts::of(&person);
        let user = person.handle.stop().await?.role;
        over.push(Over {
            person: facts,
            user,
        });
    }
    let mut providers = Vec::new();
    for practice in practices {
        providers.push(practice.stop().await?.role);
    }
    let mut mediators = Vec::new();
    for desk in desks {
        mediators.push(desk.into_handle().stop().await?.role);
    }
    Ok(Ended {
        mediators,
        providers,
        people: over,
    })
}
