//! Who does what, and how a person's day goes.

use std::sync::Arc;

use anyhow::Context;
use lapwing_protocol::role::User;
use rand_core::Rng;

use super::cheats;
use super::person::{Behaviour, Person, Who};
use super::stage::Stage;
use crate::ledger::Witness;
use crate::people;

/// Who does what: those of the first group only wait for the revocation there, if there is one; who needs
/// room lives in the last; of the others the special ones come first, spread over the groups.
pub(super) fn cast(stage: &Stage) -> anyhow::Result<Vec<(Who, usize)>> {
    let users = stage.scenario.users;
    let groups = stage.land.groups.len();
    let each = |list: &[(Behaviour, usize)]| {
        let each = list.iter().map(|(b, n)| std::iter::repeat_n(*b, *n));
        each.flatten().collect::<Vec<_>>().into_iter()
    };
    let mut with_room = each(&[
        (Behaviour::AcceptsTwice, users.double_accept),
        (Behaviour::Changes, users.change),
    ]);
    let mut special = each(&[
        (Behaviour::AtKilled, users.at_killed),
        (Behaviour::UploadsTwice, users.double_upload),
        (Behaviour::CancelsAgain, users.cancel_again),
        (Behaviour::Cancels, users.cancel),
    ]);
    let held = users.in_revoked_group;
    let first = usize::from(held > 0);
    let last = groups.saturating_sub(1);
    let others = last.saturating_sub(first).max(1);
    let doomed = stage.scenario.doomed();
    let mut rng = stage.seeds.stream("cast", 0);
    let mut cast = Vec::new();
    for number in 0..users.count {
        let (group, nth, behaviour) = if number < held {
            (0, number, Behaviour::HoldsBack)
        } else if number < held + users.in_last_group {
            let behaviour = with_room.next().or_else(|| special.next());
            (last, number - held, behaviour.unwrap_or(Behaviour::Books))
        } else {
            let n = number - held - users.in_last_group;
            let behaviour = special.next().unwrap_or(Behaviour::Books);
            (first + n % others, n / others, behaviour)
        };
        let areas = &stage.land.groups.get(group).context("no group")?.areas;
        let area = areas.get(nth % areas.len().max(1)).context("no area")?;
        let mut node = rng.next_u32() as usize % stage.places.len().max(1);
        // Two uploads at once need an issuer that is there; everybody else takes what comes.
        if behaviour == Behaviour::UploadsTwice && Some(node) == doomed {
            node = (node + 1) % stage.places.len().max(1);
        }
        cast.push((
            Who {
                number,
                behaviour,
                group,
                area: area.area.clone(),
                data: people::user(stage.seeds, number)?,
            },
            node,
        ));
    }
    Ok(cast)
}

/// One person's day. What goes wrong with it shows in the counts.
pub(super) async fn live(stage: Arc<Stage>, who: Who, node: usize) -> anyhow::Result<Person> {
    let behaviour = who.behaviour;
    let mut person = match behaviour {
        Behaviour::AtKilled => cheats::at_killed(stage, who).await?,
        Behaviour::UploadsTwice => cheats::uploads_twice(stage, who, node).await?,
        _ => {
            let place = stage.place(node).context("no node")?;
            let user = User::create(who.data.clone(), stage.view.clone(), place.id);
            let witness = Arc::new(Witness::new(stage.ledger.clone()));
            let mut person = Person::start(stage, who, user, node, witness);
            if let Err(error) = person.request().await {
                person.failed = Some(format!("{error:#}"));
            }
            person
        }
    };
    if person.failed.is_none()
        && let Err(error) = day(&mut person).await
    {
        let stands = person.stands().await;
        person.failed = Some(format!("{error:#}; {stands}"));
    }
    Ok(person)
}

async fn day(person: &mut Person) -> anyhow::Result<()> {
    person.admitted().await?;
    match person.behaviour {
        Behaviour::HoldsBack => person.hold_back().await?,
        Behaviour::AcceptsTwice => cheats::accepts_twice(person).await?,
        _ => {}
    }
    person.book().await?;
    match person.behaviour {
        Behaviour::Cancels => person.cancel(false).await,
        Behaviour::CancelsAgain => person.cancel(true).await,
        Behaviour::Changes => person.change().await,
        _ => Ok(()),
    }
}
